"""The files of a table: NAME.md for people, NAME.csv for machines."""

import functools
import os
import pathlib

from zsnas_jax.reports import score_report
from zsnas_jax.storage import files


def write(folder: str | os.PathLike[str], name: str, markdown: str, table: str) -> None:
    """Writes NAME.md and NAME.csv, each whole or not at all.

    Raises:
        OSError: if the folder cannot be made or written.
    """
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the results folder {folder}: {error.strerror}") from error
    files.write_text(folder / f"{name}.md", markdown)
    files.write_text(folder / f"{name}.csv", table)


@functools.cache
def written_with() -> str:
    """The last line of a document: the versions of what made it."""
    versions = ", ".join(f"{name} {version}" for name, version in score_report.versions().items())
    return f"Written with {versions}."

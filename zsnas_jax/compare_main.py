"""Compares results folders: how alike their scores rank the architectures that they share, and in what they differ.

    compare_main results/first results/second           # the same proxies under another seed, batch, initialisation
    compare_main --out=compared results/a results/b results/c

Folders are of score_main or search_main, of one search space, and of any version. Each proxy that two of them have is
compared under its label, settings included. Nothing in the folders is changed.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from zsnas_jax import command

    command.run("zsnas_jax.compare_main")

from collections.abc import Sequence
import pathlib

from zsnas_jax import flags
from zsnas_jax.reports import comparison
from zsnas_jax.storage import stored

ARGUMENTS = "DIR DIR ..."


def define_flags() -> None:
    """The flags of this binary."""
    flags.RUN.path("out", None, "Folder of the results; default results/ and a name made from the folders.")


def main(given: Sequence[str]) -> None:
    """Reads the folders, compares them, writes the results."""
    folders = [pathlib.Path(folder).expanduser() for folder in given]
    if len(folders) < 2:
        raise ValueError(f"folders {', '.join(given) or 'none'}: two or more are compared, as in compare_main DIR DIR")
    if again := next((name for name in given if given.count(name) > 1), None):
        raise ValueError(f"folders {', '.join(given)}: {again} is given twice")
    compared = comparison.compare(list(given), [stored.read(folder) for folder in folders])
    out = flags.results_folder("compare", {"folders": [str(folder.absolute()) for folder in folders]})
    written = comparison.write_all(out, compared)
    print(comparison.as_text(compared))
    print(f"\nwritten: {out}/ {', '.join(written)}")

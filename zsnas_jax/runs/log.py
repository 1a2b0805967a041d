"""What a command was told and what it said, in its results folder: flags.txt starts it again, log.txt tells of it."""

from collections.abc import Sequence
import datetime
import os
import pathlib
import shlex

from zsnas_jax.storage import files

LOG, FLAGS = "log.txt", "flags.txt"


class RunLog:
    """The log of a run in its folder. Each start of the command appends to it; what a kill cuts off is the last line.

    Args:
        folder: of the results; it exists.
        program: the command.
        given: its flags as `--name=value`, those that the user gave.
        started: when, where that was before the folder was known to be this run's; now.
    """

    def __init__(
        self, folder: str | os.PathLike[str], program: str, given: Sequence[str], started: str | None = None
    ) -> None:
        self.path = pathlib.Path(folder) / LOG
        files.write_text(self.path.with_name(FLAGS), "".join(f"{flag}\n" for flag in given))
        self._append(f"{started or now()} started: {program} {shlex.join(given)}".rstrip())

    def say(self, text: str) -> None:
        """Prints a text, and appends it."""
        print(text)
        self._append(f"{now()}\n{text}")

    def _append(self, text: str) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")


def now() -> str:
    """The date and time of day where this runs."""
    return datetime.datetime.now().astimezone().isoformat(" ", "seconds")

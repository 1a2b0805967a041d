"""How long a folder took in all the processes that worked on it."""

import json
import pathlib
import time
from typing import Any

import jax
from tqdm import tqdm

from zsnas_jax.storage import files

FILE = "seconds.json"


class Stopwatch:
    """A progress bar that keeps, durably, the seconds that a folder took, by device, up to its last chunk.

    Args:
        folder: where they are kept, in `FILE`.
        **options: as tqdm's.
    """

    def __init__(self, folder: pathlib.Path, **options: Any) -> None:
        self._path, self._bar = folder / FILE, tqdm(**options)
        self._started, self._before = time.perf_counter(), read_seconds(folder)
        self._device = jax.devices()[0].device_kind

    def __enter__(self) -> "Stopwatch":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def set_description(self, text: str, refresh: bool = True) -> None:
        """What stands before the bar."""
        self._bar.set_description(text, refresh=refresh)

    def update(self, count: int) -> None:
        """Some architectures have been committed."""
        spent = self._before.get(self._device, 0.0) + time.perf_counter() - self._started
        files.write_text(self._path, json.dumps({"seconds": self._before | {self._device: round(spent, 3)}}) + "\n")
        self._bar.update(count)


def read_seconds(folder: pathlib.Path) -> dict[str, float]:
    """What a `Stopwatch` wrote, by kind of device; empty where there is nothing, or nothing readable."""
    try:
        seconds = json.loads((folder / FILE).read_text(encoding="utf-8"))["seconds"]
        return {str(kind): float(value) for kind, value in seconds.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def describe_seconds(folder: pathlib.Path) -> str:
    """`read_seconds` for a document: "12.3 on cpu"."""
    return ", ".join(f"{value:.1f} on {kind}" for kind, value in read_seconds(folder).items())

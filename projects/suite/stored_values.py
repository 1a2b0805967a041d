"""NAS-Bench-Suite-Zero's values of any space, as its files hold them, under our names. A architectures."""

import ast
from collections.abc import Callable, Mapping
import os
import pathlib
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from projects.suite.suite_zero import FAILED, PROXIES
from zsnas_jax import search_spaces
from zsnas_jax.base import SearchSpace
from zsnas_jax.benchmarks.tabular import parse_number, read_csv
from zsnas_jax.storage.reading import reading, shorten


class Values(NamedTuple):
    """What another implementation found on architectures of a space.

    Attributes:
        space: its name.
        task: of the space; empty where it has none.
        archs: as strings, each once.
        scores: our name of a proxy to float64[A]; -inf where it failed.
        accuracy: as the file has it, float64[A].
        checksum: SHA-256 of the file.
    """

    space: str
    task: str
    archs: list[str]
    scores: dict[str, np.ndarray]
    accuracy: np.ndarray
    checksum: str


class Format(NamedTuple):
    """How a file names architectures.

    Attributes:
        key: the column.
        decode: (space, its text) to the architecture.
        accuracy: the column of trained accuracy.
        task: the column of the task, or none.
    """

    key: str
    decode: Callable[[SearchSpace, str], Any]
    accuracy: str
    task: str = ""


def _digits(text: str) -> str:
    """The six digits of a TransNAS-Bench-101 network that a file has as a tuple, in the order of its string."""
    digits = ast.literal_eval(text) if len(text) < 100 else None
    if not isinstance(digits, tuple) or len(digits) != 6 or not all(isinstance(digit, int) for digit in digits):
        raise ValueError(f"{shorten(text)!r} is no tuple of six whole numbers")
    return "".join(map(str, digits))


def _of_micro(space: SearchSpace, text: str) -> Any:
    own = _digits(text)
    return space.decode(f"64-41414-{own[0]}_{own[1:3]}_{own[3:]}")


def _of_macro(space: SearchSpace, text: str) -> Any:
    return space.decode(f"64-{_digits(text).rstrip('0')}-basic")


def _of_index(space: SearchSpace, text: str) -> Any:
    index = parse_number(text, "index", 0, (space.num_archs or 1) - 1)
    if space.from_index is None or not index.is_integer():
        raise ValueError(f"index is {shorten(text)!r}: a whole number of the published order is needed")
    return space.from_index(int(index))


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "transnas101_micro": Format("naslib_ops", _of_micro, "val_metric", "task"),
        "transnas101_macro": Format("naslib_ops", _of_macro, "val_metric", "task"),
        "darts": Format("compact", lambda space, text: space.decode(text), "val_accuracy"),
        "nasbench101": Format("index", _of_index, "val_accuracy"),
    }
)
"""By space. NAS-Bench-201's file has no accuracies: `suite_zero.from_suite_zero` reads it."""


def read(path: str | os.PathLike[str], space_name: str) -> list[Values]:
    """The values of each task of a file, architectures in the file's order, each once.

    Args:
        path: a CSV, plain or gzipped.
        space_name: a key of `FORMATS`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for another space, naming the allowed ones; naming the column or line that is wrong.
    """
    if space_name not in FORMATS:
        raise ValueError(f"values of space {space_name!r}: allowed are {', '.join(FORMATS)}")
    form, space, path = FORMATS[space_name], search_spaces.make_space(space_name), pathlib.Path(path)
    found, rows, checksum = read_csv(path)
    names = [name for name in found if name in PROXIES]
    for needed in filter(None, (form.key, form.accuracy, form.task)):
        if needed not in found or not names:
            raise ValueError(
                f"{path} lacks a column {needed!r}, or one of {', '.join(PROXIES)}: it has {shorten(', '.join(found))}"
            )
    by_task: dict[str, dict[str, list[float]]] = {}
    for number, row in enumerate(rows, start=2):
        with reading(f"{path}, line {number}"):
            arch = space.encode(form.decode(space, row[form.key]))
            values = [parse_number(row[name], name) for name in (*names, form.accuracy)]
            by_task.setdefault(row[form.task] if form.task else "", {}).setdefault(arch, values)
    made = []
    for task, own in by_task.items():
        matrix = np.array(list(own.values()), float)
        matrix[:, :-1][matrix[:, :-1] == FAILED] = -np.inf
        scores = {PROXIES[name]: matrix[:, place] for place, name in enumerate(names)}
        made.append(Values(space_name, task, list(own), scores, matrix[:, -1], checksum))
    return made

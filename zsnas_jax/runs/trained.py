"""Architectures that a user has trained, with their accuracies: a CSV. T of them, G genes of each."""

import pathlib
from typing import NamedTuple

import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.benchmarks.tabular import parse_number, read_csv
from zsnas_jax.runs.selection import decode
from zsnas_jax.storage.reading import reading, shorten

UNITS = {"accuracy": 1.0, "percent": 100.0}
"""The column of accuracies to what it is divided by."""


class Trained(NamedTuple):
    """Architectures int[T, G] and accuracies float64[T], fractions."""

    archs: np.ndarray
    accuracies: np.ndarray


def read_trained(space: SearchSpace, path: pathlib.Path) -> Trained:
    """Reads a CSV, plain or gzipped, with `arch` and either `accuracy`, a fraction, or `percent`; more is passed over.

    Raises:
        ValueError: naming the line or column that is wrong, an architecture of another space, one with two accuracies.
    """
    names, rows, _ = read_csv(path)
    units = [name for name in UNITS if name in names]
    if "arch" not in names or len(units) != 1:
        raise ValueError(
            f"{path} has columns {shorten(', '.join(names))}: needed are arch and one of {', '.join(UNITS)}"
        )
    found: dict[str, tuple[np.ndarray, float]] = {}
    for line, row in enumerate(rows, start=2):
        with reading(f"{path}, line {line}"):
            arch = decode(space, row["arch"].strip())
            value = parse_number(row[units[0]], units[0], 0, UNITS[units[0]]) / UNITS[units[0]]
            if found.setdefault(space.encode(arch), (arch, value))[1] != value:
                raise ValueError(f"{shorten(row['arch'])} had another {units[0]} before")
    if not found:
        raise ValueError(f"{path} holds no trained architecture")
    return Trained(np.stack([arch for arch, _ in found.values()]), np.array([value for _, value in found.values()]))

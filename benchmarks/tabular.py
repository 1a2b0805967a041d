"""A table of trained architectures: named columns of one value per architecture, with where they come from."""

from collections.abc import Mapping, Sequence
import csv
import dataclasses
import hashlib
import io
import json
import os
import re
from typing import Any, NamedTuple

import jax
import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.search_spaces import nasbench101, nasbench201
from zsnas_jax.storage import arrays, files
from zsnas_jax.storage.reading import decompress, open_regular, read_bytes, reading, shorten

FORMAT = 1
MAX_TEXT = 1 << 28
"""Longest CSV that is read, in bytes; all of NAS-Bench-101 has about 90 MB."""
_MAX_FIELDS = 1 << 24
_MAX_ARRAY, _MAX_COLUMNS = 1 << 24, 1 << 10
_NUM_ARCHS = {"nasbench101": nasbench101.NUM_ARCHS, "nasbench201": nasbench201.NUM_ARCHS}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MAX_DIGITS = 40
_LARGEST = float(np.finfo(np.float32).max)
_ACCURACY = re.compile(r"[a-z0-9_]+_(test|valid)_.*")
"""Columns of accuracies, among those of a `TabularBenchmark`."""


class CsvFile(NamedTuple):
    """Names of the columns; the rows, of which the first stands in line 2; the SHA-256 of the file."""

    names: tuple[str, ...]
    rows: list[dict[str, str]]
    checksum: str


def read_csv(path: str | os.PathLike[str]) -> CsvFile:
    """A CSV in UTF-8, plain or gzipped, with or without a byte order mark, whatever ends its lines.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file, is larger than `MAX_TEXT`, or a row has another number of fields than the
            first, which names the columns.
    """
    with reading(f"{path} is not a CSV file"):
        with open_regular(path) as file:
            data = read_bytes(file, MAX_TEXT)
        text = decompress(data, MAX_TEXT).decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("it has NUL characters: UTF-8 is needed")
        names, *rows = _split(text)
        checksum = hashlib.sha256(data).hexdigest()
    return CsvFile(tuple(names), [dict(zip(names, row, strict=True)) for row in rows], checksum)


def _split(text: str) -> list[list[str]]:
    """The fields of every line."""
    rows: list[list[str]] = []
    num_fields, ended = 0, 0
    for number, row in enumerate(csv.reader(io.StringIO(text, newline=None), strict=True), start=1):
        if not row:
            ended = ended or number
            continue
        if ended:
            raise ValueError(f"line {ended} is empty")
        if any("\n" in field for field in row):
            raise ValueError(f"line {number} has a field of several lines")
        if rows and len(row) != len(rows[0]):
            raise ValueError(f"line {number} has {len(row)} fields, the first has {len(rows[0])}")
        if (num_fields := num_fields + len(row)) > _MAX_FIELDS:
            raise ValueError(f"it has more than {_MAX_FIELDS:,} fields")
        rows.append(row)
    if not rows:
        raise ValueError("it is empty")
    if len(set(rows[0])) != len(rows[0]):
        raise ValueError(f"two columns have one name: {shorten(', '.join(rows[0]))}")
    return rows


def parse_number(text: str, name: str, low: float = -_LARGEST, high: float = _LARGEST) -> float:
    """The number in a field of a column of that name; NaN where there is none.

    Raises:
        ValueError: if it is no finite number, or not within the bounds.
    """
    if not text:
        return np.nan
    if len(text) > _MAX_DIGITS or not _NUMBER.fullmatch(text.strip()) or not low <= (value := float(text)) <= high:
        raise ValueError(f"{name} is {shorten(text)!r}: allowed are numbers from {low:g} to {high:g}")
    return value


def fill_row(values: np.ndarray, index: int, row: Sequence[float]) -> None:
    """Puts a row into float32[P, A] at an architecture, which may have it already.

    Raises:
        ValueError: if the architecture has other values.
    """
    new, old = np.asarray(row, np.float32), values[:, index]
    if not (np.isnan(old).all() or np.array_equal(old, new, equal_nan=True)):
        raise ValueError("its architecture stands in an earlier line with other values")
    values[:, index] = new


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TabularBenchmark:
    """Measured values of N architectures of a space: of all, in its published order, or of those that are listed.

    Attributes:
        columns: name to float32[N]. The name says data set, split, epochs and seeds: `cifar10_test_200_mean` is the
            mean over the seeds there are, `..._single` one unnamed run, `..._seed777` that run. Accuracies are
            fractions.
            NaN: not measured.
        space: name of the search space.
        name: of the benchmark.
        source: what it was made from, and how.
        checksum: SHA-256 of the file it was made from (of a folder: of its files' checksums).
        archs: the architectures of the rows, as the space writes them; empty: the rows are in published order.
    """

    columns: Mapping[str, np.ndarray]
    space: str = dataclasses.field(metadata={"static": True})
    name: str = dataclasses.field(metadata={"static": True})
    source: str = dataclasses.field(metadata={"static": True})
    checksum: str = dataclasses.field(metadata={"static": True})
    archs: tuple[str, ...] = dataclasses.field(default=(), metadata={"static": True})

    def rows_of(self, space: SearchSpace, archs: Any) -> np.ndarray:
        """The rows int[A] of architectures [A, ...].

        Raises:
            ValueError: if the table is of another space, or lists one of them not.
        """
        if self.space != space.name or not (self.archs or space.to_index):
            raise ValueError(f"benchmark {self.name} is of space {self.space}, the architectures of {space.name}")
        if not self.archs:
            assert space.to_index is not None
            return np.asarray(space.to_index(archs))
        key = space.isomorphism_key or space.encode
        rows = {key(space.decode(string)): row for row, string in enumerate(self.archs)}
        keys = [key(arch) for arch in archs]
        for own, arch in zip(keys, archs, strict=True):
            if own not in rows:
                raise ValueError(
                    f"benchmark {self.name} does not list {shorten(space.encode(arch))}: --archs=benchmark takes those "
                    "that it lists"
                )
        return np.array([rows[own] for own in keys], np.int64)

    def resolve(self, column: str) -> str:
        """The full name of a column given by it or by an unambiguous beginning, as `cifar10_test_200`.

        Raises:
            ValueError: if there is none, or there are several and none is the mean.
        """
        if column in self.columns:
            return column
        found = [name for name in self.columns if name.startswith(f"{column}_")]
        if f"{column}_mean" in found:
            return f"{column}_mean"
        if len(found) != 1:
            problem = "is ambiguous in" if found else "is not in"
            raise ValueError(
                f"column {column!r} {problem} benchmark {self.name}: allowed are {', '.join(self.columns)}"
            )
        return found[0]

    def lookup(self, column: str, index: Any) -> np.ndarray:
        """Values float32[...] of a column at published indices int[...].

        Raises:
            ValueError: if the column is unknown or an architecture has no value in it.
        """
        name = self.resolve(column)
        values = np.asarray(self.columns[name])[np.asarray(index)]
        if np.isnan(values).any():
            missing = int(np.asarray(index).ravel()[np.flatnonzero(np.isnan(values.ravel()))[0]])
            raise ValueError(f"benchmark {self.name} has no {name} for architecture {missing}")
        return values

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an .npz that `load` reads: the columns, and name, space, source and checksum as JSON."""
        header = {"format": FORMAT} | {f: getattr(self, f) for f in ("name", "space", "source", "checksum")}
        header |= {"archs": self.archs} if self.archs else {}
        with files.replacing(path) as temporary, open(temporary, "wb") as file:
            arrays: dict[str, Any] = {f"column/{name}": np.asarray(v, np.float32) for name, v in self.columns.items()}
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)


def load(path: str | os.PathLike[str]) -> TabularBenchmark:
    """Reads what `TabularBenchmark.save` wrote.

    Raises:
        ValueError: if the file is something else, or holds what no table of the space does.
    """
    with reading(f"{path} is not a benchmark .npz"), arrays.open_npz(path) as archive:
        header = json.loads(str(arrays.read(archive, "header", _MAX_ARRAY)))
        if header.pop("format", None) != FORMAT:
            raise ValueError(f"it is of another format: {FORMAT} is needed")
        names = [name for name in arrays.names(archive) if name.startswith("column/")]
        if len(names) > _MAX_COLUMNS:
            raise ValueError(f"it has {len(names)} columns, allowed are at most {_MAX_COLUMNS}")
        columns = {name.removeprefix("column/"): arrays.read(archive, name, _MAX_ARRAY) for name in names}
        listed = header.pop("archs", [])
        if not isinstance(listed, list) or not all(isinstance(string, str) for string in listed):
            raise ValueError("its architectures are no texts")
        table = TabularBenchmark(columns, archs=tuple(listed), **header)
        _check(table)
    return table


def _check(table: TabularBenchmark) -> None:
    """Raises ValueError if a table is not one."""
    for name in ("name", "space", "source", "checksum"):
        if not isinstance(value := getattr(table, name), str):
            raise ValueError(f"its {name} is a {type(value).__name__}, no text")
    if not table.columns:
        raise ValueError("it has no columns")
    first = len(table.archs) or len(next(iter(table.columns.values())))
    for name, values in table.columns.items():
        if values.dtype != np.float32 or values.shape != (_NUM_ARCHS.get(table.space, first),):
            raise ValueError(
                f"column {shorten(name)} is {values.dtype}{list(values.shape)}: not float32 of each architecture"
            )
        if _ACCURACY.fullmatch(name) and np.any((values < 0) | (values > 1)):
            raise ValueError(f"column {shorten(name)} has values outside 0 to 1, which accuracies are not")

"""A table of trained architectures: named columns of one value per architecture, with where they come from."""

from collections.abc import Mapping
import csv
import dataclasses
import gzip
import hashlib
import io
import json
import os
import pathlib
from typing import Any, NamedTuple
import zipfile
import zlib

import jax
import numpy as np

from zsnas_jax.storage import files

FORMAT = 1


class CsvFile(NamedTuple):
    """Names of the columns; the rows, of which the first stands in line 2; the SHA-256 of the file."""

    names: tuple[str, ...]
    rows: list[dict[str, str]]
    checksum: str


def read_csv(path: str | os.PathLike[str]) -> CsvFile:
    """A CSV, plain or gzipped.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no text.
    """
    data = pathlib.Path(path).read_bytes()
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from error
    reader = csv.DictReader(io.StringIO(text))
    return CsvFile(tuple(reader.fieldnames or ()), list(reader), hashlib.sha256(data).hexdigest())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TabularBenchmark:
    """Measured values of the architectures of a space, in the space's published order. N architectures.

    Attributes:
        columns: name to float32[N]. The name says data set, split, epochs and seeds: `cifar10_test_200_mean` is the
            mean over the seeds there are, `..._single` one unnamed run, `..._seed777` that run. Accuracies are
            fractions.
            NaN: not measured.
        space: name of the search space.
        name: of the benchmark.
        source: what it was made from, and how.
        checksum: SHA-256 of the file it was made from (of a folder: of its files' checksums).
    """

    columns: Mapping[str, np.ndarray]
    space: str = dataclasses.field(metadata={"static": True})
    name: str = dataclasses.field(metadata={"static": True})
    source: str = dataclasses.field(metadata={"static": True})
    checksum: str = dataclasses.field(metadata={"static": True})

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
        with files.replacing(path) as temporary, open(temporary, "wb") as file:
            arrays: dict[str, Any] = {f"column/{name}": np.asarray(v, np.float32) for name, v in self.columns.items()}
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)


def load(path: str | os.PathLike[str]) -> TabularBenchmark:
    """Reads what `TabularBenchmark.save` wrote.

    Raises:
        ValueError: if the file is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            header = json.loads(str(arrays["header"]))
            columns = {key.removeprefix("column/"): arrays[key] for key in arrays if key.startswith("column/")}
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not a benchmark .npz: {error}") from error
    if header.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is a benchmark of another format: {FORMAT} is needed")
    return TabularBenchmark(columns, **header)

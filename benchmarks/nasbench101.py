"""Importers of NAS-Bench-101's ground truth: the published TFRecord files, and two extracts. Published order."""

import base64
from collections.abc import Mapping, Sequence
import functools
import gzip
import json
import os
import pathlib
import re
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from zsnas_jax.benchmarks.tabular import TabularBenchmark, fill_row, parse_number, read_csv
from zsnas_jax.benchmarks.tfrecord import read_message, read_records
from zsnas_jax.search_spaces.nasbench101 import TOKENS, decode, is_valid, num_params, to_index
from zsnas_jax.search_spaces.nasbench101.cells import (
    INPUT,
    NUM_ARCHS,
    NUM_EDGES,
    NUM_GENES,
    NUM_INTERIOR,
    NUM_OPS,
    NUM_SLOTS,
    OPS,
    OUTPUT,
    edge_position,
    table,
)
from zsnas_jax.storage import arrays, files
from zsnas_jax.storage.reading import open_regular, reading, shorten

ARRAYS = ("num_vertices", "edge_bits", "label_code", "test_correct_of_9984")
"""What an .npz of `from_arrays` holds."""

CSV_COLUMNS: Mapping[str, str] = MappingProxyType(
    {f"val{epochs}": f"cifar10_valid_{epochs}" for epochs in (4, 12, 36, 108)}
    | {"test108": "cifar10_test_108", "train_time_s": "train_seconds_108"}
)
"""The columns of a CSV of `from_csv` and what they become."""

_TEST_PICTURES = 9984
_EPOCHS, _MAX_RUNS = (4, 12, 36, 108), 3
_MAX_SECONDS = 1e6
_MAX_HEADING, _MAX_ARRAY = 1 << 16, 1 << 24
_QUANTITIES = ("cifar10_valid", "cifar10_test", "train_seconds")
_EVALUATIONS, _PARAMS = 1, 2
_EPOCH, _SECONDS, _VALID, _TEST = 1, 2, 4, 5
_TOKEN_OF_NAME = {"input": "in", "output": "out"} | dict(zip(OPS, TOKENS, strict=True))


class Run(NamedTuple):
    """One training: the cell as a string that `decode` takes, its hash, epochs, and what was measured at the end."""

    arch: str
    digits: str
    epochs: int
    values: tuple[float, float, float]
    params: int


def from_tfrecord(path: str | os.PathLike[str]) -> TabularBenchmark:
    """The published `nasbench_only108.tfrecord` or `nasbench_full.tfrecord`, read in bounded memory.

    A record is the JSON list [hash, epochs, adjacency, operations, base64 of a ModelMetrics message]. Columns: for
    each number of epochs `cifar10_valid_E`, `cifar10_test_E` and `train_seconds_E`, of each run in the order of the
    file (`..._run0`) and the mean over the runs there are (`..._mean`), all at the end of training. Training accuracy
    and what was measured half-way are left out.

    Raises:
        ValueError: if the file is damaged, or a record is not of the space or contradicts it; the message says which.
    """
    columns: dict[tuple[str, int], dict[int, np.ndarray]] = {}
    prefixes = np.zeros(NUM_ARCHS, np.uint64)
    number = 0
    for records in read_records(path):
        runs: list[Run] = []
        for record in records:
            with reading(f"{path}, record {number + len(runs)}"):
                runs.append(_read_run(record))
        _add_runs(columns, prefixes, runs, f"{path}, record", number)
        number += len(runs)
    if not columns:
        raise ValueError(f"{path} holds no records of NAS-Bench-101")
    found = prefixes[prefixes > 0]
    if np.any(found[1:] < found[:-1]):
        raise ValueError(f"{path}: its cells are not in the order of their hashes")
    source = f"NAS-Bench-101, TFRecord {pathlib.Path(path).name}"
    return TabularBenchmark(_name_columns(columns), "nasbench101", pathlib.Path(path).name, source, files.sha256(path))


def _read_run(record: bytes) -> Run:
    """The run of a record."""
    digits, epochs, adjacency, names, metrics = json.loads(record)
    fields = read_message(base64.b64decode(metrics, validate=True))
    evaluations = [value for field, value in fields if field == _EVALUATIONS and isinstance(value, bytes)]
    if len(evaluations) != 3:
        raise ValueError(f"{len(evaluations)} evaluations, 3 are needed: at the start, half-way, at the end")
    last, params = dict(read_message(evaluations[-1])), dict(fields).get(_PARAMS)
    if params is None or not {_EPOCH, _SECONDS, _VALID, _TEST} <= set(last):
        raise ValueError(
            f"fields {sorted(last)} of the last evaluation, {sorted(dict(fields))} in all: some are missing"
        )
    fields_read = (_EPOCH, _VALID, _TEST, _SECONDS)
    numbers = [value for field in fields_read if isinstance(value := last[field], float)]
    if len(numbers) != len(fields_read) or not (isinstance(params, int) and params < 2**31):
        raise ValueError("a field of the last evaluation, or the parameters, are of another type or too large")
    ended, valid, test, seconds = numbers
    if not (re.fullmatch("[0-9a-f]{32}", digits) and epochs in _EPOCHS and abs(ended - epochs) <= 1):
        raise ValueError(
            f"hash {shorten(digits)!r} at {shorten(epochs)} epochs: needed are 32 hex digits and "
            f"{', '.join(map(str, _EPOCHS))} epochs, those of the last evaluation"
        )
    if not (0 <= valid <= 1 and 0 <= test <= 1 and 0 <= seconds <= _MAX_SECONDS):
        raise ValueError(f"accuracies {valid:g} and {test:g} after {seconds:g} s: allowed are 0 to 1 and 0 to 1e6")
    return Run(f"{adjacency}:{_tokens(names)}", digits, int(epochs), (valid, test, seconds), params)


@functools.lru_cache(1024)
def _tokens(names: str) -> str:
    """The published names of operations as in our strings."""
    return "-".join(_TOKEN_OF_NAME.get(name, name) for name in names.split(","))


def _add_runs(
    columns: dict[tuple[str, int], dict[int, np.ndarray]],
    prefixes: np.ndarray,
    runs: list[Run],
    where: str,
    number: int,
) -> None:
    """Puts runs into their columns, and the first half of their hashes into `prefixes`."""
    genes = _parse_cells([run.arch for run in runs], where, number)
    index, params = to_index(genes), num_params(genes)
    digits = np.array([int(run.digits[:16], 16) for run in runs], np.uint64)
    new = np.flatnonzero(prefixes[index] == 0)[::-1]  # of several the first is kept
    prefixes[index[new]] = digits[new]
    wrong = (params != [run.params for run in runs]) | (prefixes[index] != digits)
    if wrong.any():
        bad = int(wrong.argmax())
        raise ValueError(
            f"{where} {number + bad}: {runs[bad].params} parameters, hash {runs[bad].digits}; the cell has "
            f"{params[bad]}, and a hash is one cell's"
        )
    epochs, values = np.array([run.epochs for run in runs]), np.array([run.values for run in runs], np.float32)
    for budget in np.unique(epochs):
        chosen = np.flatnonzero(epochs == budget)
        for quantity, column in zip(_QUANTITIES, values[chosen].T, strict=True):
            with reading(f"{where} {number + chosen[0]} or one of {len(runs)}"):
                _append(columns.setdefault((quantity, int(budget)), {}), index[chosen], column)


def _append(runs: dict[int, np.ndarray], index: np.ndarray, values: np.ndarray) -> None:
    """Gives each value to the first run, float32[A], that has none yet for its architecture.

    Raises:
        ValueError: if an architecture has more than `_MAX_RUNS`.
    """
    run = 0
    while len(index):
        if run == _MAX_RUNS:
            raise ValueError(f"architecture {index[0]} has more than {_MAX_RUNS} runs of one number of epochs")
        if run not in runs:
            runs[run] = np.full(NUM_ARCHS, np.nan, np.float32)
        column = runs[run]
        free = np.isnan(column[index])
        first = np.zeros(len(index), bool)
        first[np.unique(index, return_index=True)[1]] = True
        placed = free & first
        column[index[placed]] = values[placed]
        index, values, run = index[~placed], values[~placed], run + 1


def _name_columns(columns: dict[tuple[str, int], dict[int, np.ndarray]]) -> dict[str, np.ndarray]:
    """Named columns of runs, and before them their means."""
    named = {}
    for (quantity, epochs), runs in sorted(columns.items()):
        count = sum(~np.isnan(run) for run in runs.values())
        total = sum(np.nan_to_num(run) for run in runs.values())
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        named[f"{quantity}_{epochs}_mean"] = mean.astype(np.float32)
        named |= {f"{quantity}_{epochs}_run{run}": values for run, values in runs.items()}
    return named


def _parse_cells(strings: Sequence[str], where: str, number: int) -> np.ndarray:
    """Genotypes int32[R, 26] of strings as `decode` takes them, many at a time.

    Raises:
        ValueError: of the first that is not of the space, `decode`'s, with the number of its row.
    """
    genes = np.zeros((len(strings), NUM_GENES), np.int32)
    parts = [string.partition(":") for string in strings]
    sizes = np.array([names.count("-") + 1 for _, _, names in parts], np.int64)
    right = np.array([_is_matrix(bits, size) for (bits, _, _), size in zip(parts, sizes, strict=True)], bool)
    for size in np.unique(sizes[right]):
        rows = np.flatnonzero(right & (sizes == size))
        digits = np.frombuffer("".join(parts[row][0] for row in rows).encode(), np.uint8).reshape(-1, size, size) - 48
        x, y = np.triu_indices(size, 1)
        genes[rows[:, None], edge_position(x, np.where(y == size - 1, OUTPUT, y))] = digits[:, x, y]
        right[rows] = ~np.tril(digits).any((1, 2))
    ops = [_op_genes(names) for _, _, names in parts]
    genes[:, NUM_EDGES:] = np.array([op or (0,) * NUM_INTERIOR for op in ops], np.int32).reshape(-1, NUM_INTERIOR)
    right &= np.array([op is not None for op in ops], bool) & is_valid(genes)
    for row in map(int, np.flatnonzero(~right)):
        with reading(f"{where} {number + row}"):
            genes[row] = decode(strings[row])
    return genes


def _is_matrix(bits: str, size: int) -> bool:
    return 2 <= size <= NUM_SLOTS and len(bits) == size**2 and bits.strip("01") == ""


@functools.lru_cache(1024)
def _op_genes(names: str) -> tuple[int, ...] | None:
    """The operation genes of "in-OP-...-out"; None if it is something else."""
    first, *tokens, last = names.split("-") if "-" in names else ("", "")
    if (first, last) != ("in", "out") or len(tokens) > NUM_INTERIOR or not set(tokens) <= set(TOKENS):
        return None
    return (*map(TOKENS.index, tokens), *(0,) * (NUM_INTERIOR - len(tokens)))


def is_arrays(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an .npz with the arrays that `from_arrays` reads."""
    try:
        with reading(str(path)), arrays.open_npz(path) as archive:
            return set(ARRAYS) <= set(arrays.names(archive))
    except (OSError, ValueError):
        return False


def from_arrays(path: str | os.PathLike[str]) -> TabularBenchmark:
    """An .npz of all cells in published order with the correct test pictures, of 9,984, of one run at 108 epochs.

    Arrays: `num_vertices`, `edge_bits` (bit x + y(y-1)/2 for the edge from x to y), `label_code` (the operations in
    base 3), `test_correct_of_9984`. Column: `cifar10_test_108_single`.

    Raises:
        ValueError: if the file is damaged, or its cells are not the published rows.
    """
    with reading(f"{path} is not an .npz of {', '.join(ARRAYS)}"):
        with arrays.open_npz(path) as archive:
            given = [arrays.read(archive, name, _MAX_ARRAY) for name in ARRAYS]
        if any(array.dtype.kind not in "iu" for array in given):
            raise ValueError(f"its arrays are {', '.join(str(array.dtype) for array in given)}: integers are needed")
        vertices, bits, labels, correct = (array.astype(np.int64) for array in given)
        inner = (vertices - 1) * (vertices - 2) // 2  # below these bits are the edges that do not lead to the output
        edges = bits % (1 << inner) + (bits >> inner << edge_position(INPUT, OUTPUT))
        codes = edges * NUM_OPS**NUM_INTERIOR + labels * NUM_OPS ** (NUM_SLOTS - vertices)
        if not np.array_equal(codes, table().codes):
            raise ValueError(f"its cells are not the {NUM_ARCHS} published rows in their order")
        if correct.shape != codes.shape or (correct < 0).any() or (correct > _TEST_PICTURES).any():
            raise ValueError(f"{ARRAYS[-1]} is {list(correct.shape)}: needed are numbers from 0 to {_TEST_PICTURES}")
    columns = {"cifar10_test_108_single": (correct / _TEST_PICTURES).astype(np.float32)}
    name, source = pathlib.Path(path).name, "NAS-Bench-101, test accuracy of one run"
    return TabularBenchmark(columns, "nasbench101", name, source, files.sha256(path))


def is_csv(path: str | os.PathLike[str]) -> bool:
    """Whether the first line of a file, plain or gzipped, names the columns `adjacency` and `ops`."""
    try:
        with reading(str(path)), open_regular(path) as file:
            is_gzipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            text = gzip.GzipFile(fileobj=file) if is_gzipped else file
            first = text.read(_MAX_HEADING).decode("utf-8-sig", "replace").splitlines()[0]
    except (OSError, ValueError):
        return False
    return {"adjacency", "ops"} <= set(first.strip().split(","))


def from_csv(path: str | os.PathLike[str]) -> TabularBenchmark:
    """A CSV, plain or gzipped, with columns `adjacency`, `ops` ("in-c3-...-out") and some of `CSV_COLUMNS`, of one run.

    Accuracies are fractions. Rows may come in any order and be fewer than 423,624; a repeated one has to be equal. A
    column `index`, if there is one, must be the published index.

    Raises:
        ValueError: naming the row or column that is wrong.
    """
    found, rows, checksum = read_csv(path)
    names = [name for name in CSV_COLUMNS if name in found]
    if not {"adjacency", "ops"} <= set(found) or not names:
        raise ValueError(
            f"{path} lacks columns adjacency, ops, or one of {', '.join(CSV_COLUMNS)}: "
            f"it has {shorten(', '.join(found))}"
        )
    largest = {name: _MAX_SECONDS if name == "train_time_s" else 1.0 for name in names}
    index = to_index(_parse_cells([f"{row['adjacency']}:{row['ops']}" for row in rows], f"{path}, line", 2))
    values = np.full((len(names), NUM_ARCHS), np.nan, np.float32)
    for line, (row, cell) in enumerate(zip(rows, index, strict=True), start=2):
        with reading(f"{path}, line {line}"):
            if row.get("index", str(cell)) != str(cell):
                raise ValueError(f"index {shorten(row['index'])!r}, but the cell has {cell}")
            fill_row(values, cell, [parse_number(row[name], name, 0, largest[name]) for name in names])
    columns = {f"{CSV_COLUMNS[name]}_single": column for name, column in zip(names, values, strict=True)}
    name = pathlib.Path(path).name
    return TabularBenchmark(columns, "nasbench101", name, f"NAS-Bench-101, CSV {name}", checksum)

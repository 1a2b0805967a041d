"""Importers of NAS-Bench-201's ground truth: NATS-Bench's archive, a CSV, analog-nasbench. Published order."""

from collections.abc import Iterable, Iterator
import contextlib
import hashlib
import importlib.util
import io
import os
import pathlib
import re
from typing import Any

import numpy as np

from zsnas_jax.benchmarks import safe_pickle, tar_files
from zsnas_jax.benchmarks.tabular import TabularBenchmark, fill_row, parse_number, read_csv
from zsnas_jax.search_spaces.nasbench201 import NUM_ARCHS, OPS, decode, encode, from_index, to_index
from zsnas_jax.storage import files
from zsnas_jax.storage.reading import decompress, open_regular, read_bytes, reading, shorten

_CSV_COLUMN = re.compile(r"(cifar10|cifar100|imagenet16_120)_(test|valid)_(12|200)")

_NATS_SETS = {
    ("cifar10", "ori-test"): "cifar10_test",
    ("cifar10-valid", "x-valid"): "cifar10_valid",
    ("cifar10-valid", "ori-test"): "cifar10split_test",
    ("cifar100", "x-test"): "cifar100_test",
    ("cifar100", "x-valid"): "cifar100_valid",
    ("ImageNet16-120", "x-test"): "imagenet16_120_test",
    ("ImageNet16-120", "x-valid"): "imagenet16_120_valid",
}
"""(data set of the run, evaluation set) to the beginning of a column. `cifar10split` trains on half of CIFAR-10."""

_NATS_SEEDS = (777, 888, 999)
_NATS_EPOCHS = ("12", "200")
_MAX_FILE = safe_pickle.MAX_BYTES  # compressed, too
_NATS_FILE = re.compile(r"\d{6}\.pickle\.pbz2", re.ASCII)

_ANALOG_RECORDS = {("analognasbench.data", "Architecture"), ("analognasbench.data", "DriftMeasurement")}
_ANALOG_OPS = dict(enumerate(("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")))
_ANALOG_EDGES = (0, 1, 3, 2, 4, 5)
"""Where each published edge stands in analog-nasbench's order 0-1 0-2 0-3 1-2 1-3 2-3."""


def from_csv(path: str | os.PathLike[str]) -> TabularBenchmark:
    """A CSV, plain or gzipped, with a column `arch` of published strings and columns of accuracies in percent.

    Columns are named DATASET_SPLIT_EPOCHS: cifar10, cifar100 or imagenet16_120; test or valid; 12 (one seed) or 200
    (mean over seeds). Others are passed over. Rows may come in any order and be fewer than 15,625; a repeated one has
    to be equal.

    Raises:
        ValueError: naming the row or column that is wrong, also one of which all values are at most 1 percent.
    """
    found, rows, checksum = read_csv(path)
    names = [name for name in found if _CSV_COLUMN.fullmatch(name)]
    if "arch" not in found or not names:
        raise ValueError(
            f"{path} lacks a column 'arch', or columns like 'cifar10_test_200': it has {shorten(', '.join(found))}"
        )
    percent = np.full((len(names), NUM_ARCHS), np.nan, np.float32)
    for line, row in enumerate(rows, start=2):
        with reading(f"{path}, line {line}"):
            fill_row(percent, _index(row["arch"]), [parse_number(row[name], name, 0, 100) for name in names])
    for name, values in zip(names, percent, strict=True):
        if np.nanmax(values, initial=-np.inf) <= 1 and not np.isnan(values).all():
            raise ValueError(f"{path}: no value of column {name} is above 1: fractions, where percent are needed")
    columns = {
        f"{name}_{'mean' if name.endswith('_200') else 'single'}": values / 100
        for name, values in zip(names, percent, strict=True)
    }
    return TabularBenchmark(columns, "nasbench201", pathlib.Path(path).name, f"CSV {pathlib.Path(path).name}", checksum)


def _index(arch: str) -> int:
    return int(to_index(decode(arch)))


def from_analog_nasbench(path: str | os.PathLike[str] | None = None) -> TabularBenchmark:
    """The CIFAR-10 accuracies that the PyPI package analog-nasbench carries for all cells.

    Column: `cifar10_test_unstated_single`; the package states neither epochs nor seeds.

    Args:
        path: its file data.anb; default that of the installed package, which is not imported (its import needs
            pkg_resources, which new environments lack).

    Raises:
        FileNotFoundError: if the package is not installed.
        ValueError: if the file is damaged or asks for anything but its own records.
    """
    if path is None:
        spec = importlib.util.find_spec("analognasbench")
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError("benchmark analog needs the package analog-nasbench: pip install analog-nasbench")
        path = pathlib.Path(spec.submodule_search_locations[0]) / "data.anb"
    values = np.full(NUM_ARCHS, np.nan, np.float32)
    with reading(f"{path} is not the table of analog-nasbench"):
        with open_regular(path) as file:
            table = safe_pickle.load(file, "it", _ANALOG_RECORDS)
        for ops, record in table.items():
            if len(ops) != len(_ANALOG_EDGES):
                raise ValueError(f"a cell has {len(ops)} operations, {len(_ANALOG_EDGES)} are needed")
            arch = np.array([OPS.index(_ANALOG_OPS[ops[edge]]) for edge in _ANALOG_EDGES])
            values[int(to_index(arch))] = _percent(record.baseline_accuracy) / 100
    columns = {"cifar10_test_unstated_single": values}
    return TabularBenchmark(columns, "nasbench201", "analog", "analog-nasbench, baseline_accuracy", files.sha256(path))


def _percent(value: Any) -> float:
    """An accuracy of a pickle."""
    if not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ValueError(f"an accuracy is {_name(value)}: allowed are 0 to 100 percent")
    return float(value)


def _name(value: Any) -> str:
    """What stands in a pickle in the place of a number or a text, for messages."""
    return shorten(repr(value)) if isinstance(value, str | float) else f"a {type(value).__name__}"


def from_nats(path: str | os.PathLike[str]) -> TabularBenchmark:
    """NATS-Bench's "simple" archive of the topology space: the folder NATS-tss-v1_0-3ffb9-simple, or its .tar.

    One file NNNNNN.pickle.pbz2 an architecture. Columns: for every data set, split and budget (12, 200 epochs) the
    mean over the seeds there are, and each seed's own value. The archive has one seed at 12 epochs and one to three at
    200. `cifar10split_test` is the test accuracy after training on half of CIFAR-10, which the WRCor paper uses.

    Raises:
        ValueError: if a file is damaged, asks for other classes than plain data, or does not belong at its index.
    """
    path = pathlib.Path(path)
    columns: dict[str, np.ndarray] = {}
    digest = hashlib.sha256()
    for name, data in _nats_files(path):
        digest.update(name.encode() + hashlib.sha256(data).digest())
        with reading(f"{path}, {name}"):
            index = int(name[:6])
            records = safe_pickle.load(io.BytesIO(decompress(data, safe_pickle.MAX_BYTES)), "it")
            for key, value in _nats_values(records, encode(from_index(index))):
                columns.setdefault(key, np.full(NUM_ARCHS, np.nan, np.float32))[index] = value
    if not columns:
        raise ValueError(f"{path} holds no NATS-Bench file like 000000.pickle.pbz2")
    source = f"NATS-Bench archive {path.name}"
    return TabularBenchmark(dict(sorted(columns.items())), "nasbench201", "nats", source, digest.hexdigest())


def _nats_files(path: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    """(name, contents) of the archive's files of architectures, in order of their names."""
    if path.is_dir():
        for name in sorted(name for name in os.listdir(path) if _NATS_FILE.fullmatch(name)):
            with reading(f"{path}, {name}"), open_regular(path / name) as file:
                data = read_bytes(file, _MAX_FILE)
            yield name, data
        return
    with contextlib.ExitStack() as stack:
        with reading(f"{path} is not a tar archive"):
            tar = stack.enter_context(open_regular(path))
            found = [(pathlib.PurePosixPath(member.path).name, member) for member in tar_files.members(tar)]
            found = sorted((name, member) for name, member in found if _NATS_FILE.fullmatch(name))
            if len(dict(found)) < len(found):
                raise ValueError("it holds two files of one architecture")
        for name, member in found:
            with reading(f"{path}, {name}"):
                tar.seek(member.start)
                data = read_bytes(io.BytesIO(tar.read(min(member.size, _MAX_FILE + 1))), _MAX_FILE)
            yield name, data


def _nats_values(records: Any, arch: str) -> Iterable[tuple[str, float]]:
    """(column, accuracy as a fraction) of one architecture's records."""
    for epochs, state in records.items():
        if epochs not in _NATS_EPOCHS:
            raise ValueError(f"epochs are {_name(epochs)}: allowed are {', '.join(_NATS_EPOCHS)}")
        if state["arch_str"] != arch:
            raise ValueError(f"it holds {_name(state['arch_str'])}, expected is {arch}")
        for (dataset, split), column in _NATS_SETS.items():
            found = []
            for seed in state["dataset_seed"].get(dataset, ()):
                run = state["all_results"][dataset, seed]
                last = f"{split}@{run['epochs'] - 1}"
                if last in run["eval_acc1es"]:
                    found.append((seed, _percent(run["eval_acc1es"][last]) / 100))
            yield from ((f"{column}_{epochs}_seed{seed}", value) for seed, value in found if seed in _NATS_SEEDS)
            if found:
                yield f"{column}_{epochs}_mean", sum(value for _, value in found) / len(found)

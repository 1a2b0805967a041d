"""Importers of NAS-Bench-201's ground truth: NATS-Bench's archive, a CSV, analog-nasbench. Published order."""

import bz2
from collections.abc import Iterable, Iterator
import hashlib
import importlib.util
import io
import os
import pathlib
import re
import tarfile
from typing import Any

import numpy as np

from zsnas_jax.benchmarks import safe_pickle
from zsnas_jax.benchmarks.tabular import TabularBenchmark, read_csv
from zsnas_jax.search_spaces.nasbench201 import NUM_ARCHS, OPS, decode, encode, from_index, to_index
from zsnas_jax.storage import files

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

_ANALOG_RECORDS = {("analognasbench.data", "Architecture"), ("analognasbench.data", "DriftMeasurement")}
_ANALOG_OPS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_ANALOG_EDGES = (0, 1, 3, 2, 4, 5)
"""Where each published edge stands in analog-nasbench's order 0-1 0-2 0-3 1-2 1-3 2-3."""


def from_csv(path: str | os.PathLike[str]) -> TabularBenchmark:
    """A CSV, plain or gzipped, with a column `arch` of published strings and columns of accuracies in percent.

    Columns are named DATASET_SPLIT_EPOCHS: cifar10, cifar100 or imagenet16_120; test or valid; 12 (one seed) or 200
    (mean over seeds). Others are passed over. Rows may come in any order and be fewer than 15,625.

    Raises:
        ValueError: naming the row or column that is wrong.
    """
    found, rows, checksum = read_csv(path)
    names = [name for name in found if _CSV_COLUMN.fullmatch(name)]
    if "arch" not in found or not names:
        raise ValueError(f"{path} lacks a column 'arch', or columns like 'cifar10_test_200': it has {list(found)}")
    values = np.full((len(names), NUM_ARCHS), np.nan, np.float32)
    for line, row in enumerate(rows, start=2):
        try:
            values[:, _index(row["arch"])] = [float(row[name]) / 100 if row[name] else np.nan for name in names]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from error
    columns = {
        f"{name}_{'mean' if name.endswith('_200') else 'single'}": v for name, v in zip(names, values, strict=True)
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
    with open(path, "rb") as file:
        table = safe_pickle.load(file, str(path), _ANALOG_RECORDS)
    values = np.full(NUM_ARCHS, np.nan, np.float32)
    try:
        for ops, record in table.items():
            arch = np.array([OPS.index(_ANALOG_OPS[ops[edge]]) for edge in _ANALOG_EDGES])
            values[int(to_index(arch))] = record.baseline_accuracy / 100
    except (AttributeError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is not the table of analog-nasbench: {error}") from error
    columns = {"cifar10_test_unstated_single": values}
    return TabularBenchmark(columns, "nasbench201", "analog", "analog-nasbench, baseline_accuracy", files.sha256(path))


def from_nats(path: str | os.PathLike[str]) -> TabularBenchmark:
    """NATS-Bench's "simple" archive of the topology space: the folder NATS-tss-v1_0-3ffb9-simple, or its .tar.

    One file NNNNNN.pickle.pbz2 an architecture. Columns: for every data set, split and budget (12, 200 epochs) the
    mean over the seeds there are, and each seed's own value. The archive has one seed at 12 epochs and one to three at
    200. `cifar10split_test` is the test accuracy after training on half of CIFAR-10, which the WRCor paper uses.

    Raises:
        ValueError: if a file is damaged, asks for other classes than plain data, or does not belong at its index.
    """
    columns: dict[str, np.ndarray] = {}
    digest = hashlib.sha256()
    archs = [encode(arch) for arch in from_index(np.arange(NUM_ARCHS))]
    for name, data in _nats_files(pathlib.Path(path)):
        digest.update(name.encode() + hashlib.sha256(data).digest())
        try:
            index, records = int(name[:6]), safe_pickle.load(io.BytesIO(bz2.decompress(data)), name)
            for key, value in _nats_values(records, archs[index]):
                columns.setdefault(key, np.full(NUM_ARCHS, np.nan, np.float32))[index] = value
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"{path}, {name}: {error}") from error
    if not columns:
        raise ValueError(f"{path} holds no NATS-Bench file like 000000.pickle.pbz2")
    source = f"NATS-Bench archive {pathlib.Path(path).name}"
    return TabularBenchmark(dict(sorted(columns.items())), "nasbench201", "nats", source, digest.hexdigest())


def _nats_files(path: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    """(name, contents) of the archive's files of architectures, in order of their names."""
    pattern = re.compile(r"\d{6}\.pickle\.pbz2")
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if pattern.fullmatch(file.name):
                yield file.name, file.read_bytes()
        return
    with tarfile.open(path) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            name = pathlib.PurePosixPath(member.name).name
            if member.isfile() and pattern.fullmatch(name):
                yield name, tar.extractfile(member).read()  # type: ignore[union-attr]


def _nats_values(records: Any, arch: str) -> Iterable[tuple[str, float]]:
    """(column, accuracy as a fraction) of one architecture's records."""
    for epochs, state in records.items():
        if state["arch_str"] != arch:
            raise ValueError(f"it holds {state['arch_str']}, expected is {arch}")
        for (dataset, split), column in _NATS_SETS.items():
            found = []
            for seed in state["dataset_seed"].get(dataset, ()):
                run = state["all_results"][dataset, seed]
                last = f"{split}@{run['epochs'] - 1}"
                if last in run["eval_acc1es"]:
                    found.append((seed, run["eval_acc1es"][last] / 100))
            yield from ((f"{column}_{epochs}_seed{seed}", value) for seed, value in found if seed in _NATS_SEEDS)
            if found:
                yield f"{column}_{epochs}_mean", sum(value for _, value in found) / len(found)

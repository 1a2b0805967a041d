"""Importer of TransNAS-Bench-101's published file: the zip that `torch.save` wrote, read without PyTorch.

It holds for every network of both spaces and each of the seven tasks the metrics of all epochs:
`data[micro or macro][string][task]["metrics"][metric]`, a list. Accuracies are in percent.
"""

from collections.abc import Iterator, Mapping
import math
import os
import pathlib
from typing import Any
import zipfile

import numpy as np

from zsnas_jax.benchmarks import safe_pickle
from zsnas_jax.benchmarks.tabular import TabularBenchmark
from zsnas_jax.search_spaces import transnas101
from zsnas_jax.storage import files
from zsnas_jax.storage.reading import open_regular, reading, shorten

_MAX_BYTES, _MAX_OPCODES = 1 << 30, 300_000_000
_MAX_EPOCHS = 10_000
_SPACES = {"transnas101_micro": transnas101.micro_space, "transnas101_macro": transnas101.macro_space}
METRICS: Mapping[str, tuple[str, str, float]] = {
    **dict.fromkeys(("class_scene", "class_object", "jigsaw"), ("top1", "", 100.0)),
    "segmentsemantic": ("acc", "", 100.0),
    "room_layout": ("neg_loss", "negloss", 1.0),
    "autoencoder": ("ssim", "ssim", 1.0),
    "normal": ("ssim", "ssim", 1.0),
}
"""Task to (metric behind valid_ or test_, its name in columns, or none for an accuracy, what it is divided by)."""


def from_pth(path: str | os.PathLike[str], space: str) -> TabularBenchmark:
    """The table of one of the two spaces.

    Columns TASK_valid_last, TASK_valid_best and TASK_test_last, where the metric is no accuracy TASK_ssim_last or
    TASK_negloss_last, ..., TASK_ssim_test_last. The best epoch is the one with the highest value.

    Args:
        path: of transnas-bench_v10141024.pth.
        space: transnas101_micro or transnas101_macro.

    Raises:
        ValueError: if the file is something else, is damaged, or asks for other classes than plain data.
    """
    if space not in _SPACES:
        raise ValueError(f"{path} holds tables of {', '.join(_SPACES)}, not of space {shorten(space)}")
    own = _SPACES[space]()
    assert own.num_archs and own.to_index
    columns: dict[str, np.ndarray] = {}
    for string, results in _results(path, space.removeprefix("transnas101_")).items():
        with reading(f"{path}, {shorten(string)}"):
            index = int(own.to_index(own.decode(string)))
            for column, value in _values(results):
                columns.setdefault(column, np.full(own.num_archs, np.nan, np.float32))[index] = value
    if not columns:
        raise ValueError(f"{path} holds no metric of space {space}")
    name = pathlib.Path(path).name
    return TabularBenchmark(columns, space, name, f"TransNAS-Bench-101, {name}", files.sha256(path))


def _results(path: str | os.PathLike[str], kind: str) -> Mapping[str, Any]:
    """String to the results by task."""
    with reading(f"{path} is not TransNAS-Bench-101's file"):
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            if len(names) != 1:
                raise ValueError("needed is a zip with one data.pkl, as torch.save writes it since version 1.6")
            with archive.open(names[0]) as member:
                database = safe_pickle.load(member, "data.pkl", max_bytes=_MAX_BYTES, max_opcodes=_MAX_OPCODES)  # type: ignore[arg-type]
        results = database["data"][kind]
        if not isinstance(results, dict) or not all(isinstance(string, str) for string in results):
            raise ValueError(f"data[{kind!r}] is no dict by strings")
        return results


def _values(results: Any) -> Iterator[tuple[str, float]]:
    """(column, value) of one network."""
    for task, (metric, kind, unit) in METRICS.items():
        for split in ("valid", "test"):
            epochs = results.get(task, {}).get("metrics", {}).get(f"{split}_{metric}")
            if epochs is None:
                continue
            if not isinstance(epochs, list) or not 0 < len(epochs) <= _MAX_EPOCHS:
                raise ValueError(f"{split}_{metric} of {task} is no list of at most {_MAX_EPOCHS} epochs")
            if not all(isinstance(own, int | float) and math.isfinite(own) for own in epochs):
                raise ValueError(f"{split}_{metric} of {task} holds what is no finite number")
            if not kind and not 0 <= min(epochs) <= max(epochs) <= unit:
                raise ValueError(f"{split}_{metric} of {task} is not within 0 to 100 percent")
            name = (
                f"{task}_{kind}" if kind and split == "valid" else f"{task}_{kind}_test" if kind else f"{task}_{split}"
            )
            yield f"{name}_last", epochs[-1] / unit
            if split == "valid":
                yield f"{name}_best", max(epochs) / unit

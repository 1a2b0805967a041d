"""Importers of published tables with a row an architecture: CSV, plain or gzipped, in the order that they came.

Which table a file is, its columns tell. Rows may come in any order and be fewer than the space has. A repeated one has
to be equal where the space has an order; of listed architectures that are repeated, as 13 of Accel-NASBench are, the
last is looked up.
"""

import ast
from collections.abc import Callable, Mapping
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.benchmarks.tabular import TabularBenchmark, fill_row, parse_number, read_csv
from zsnas_jax.search_spaces import accel_nasbench, darts, nasbench_macro, nats_size, transnas101
from zsnas_jax.storage.reading import reading

_MAX_CELL = 10_000
_PERCENT, _FRACTION, _NEGATIVE = (0.0, 100.0), (0.0, 1.0), (-1e6, 0.0)
"""What values may be; percent become fractions."""


class Column(NamedTuple):
    """A column of a published table: our name of it, the least and the most that a value may be."""

    name: str
    bounds: tuple[float, float] = _PERCENT

    def parse(self, text: str, published: str) -> float:
        """The value in a field."""
        value = parse_number(text, published, *self.bounds)
        return value / 100 if self.bounds == _PERCENT else value


class Layout(NamedTuple):
    """A published table.

    Attributes:
        space: of its architectures.
        arch_columns: where an architecture stands.
        arch_of: (space, the row's fields) to the genotype.
        columns: published name to what it holds; a file may lack some of them, not all.
        is_of: whether a row's fields are of this table, where two have equal columns.
    """

    space: Callable[[], SearchSpace]
    arch_columns: tuple[str, ...]
    arch_of: Callable[[SearchSpace, Mapping[str, str]], np.ndarray]
    columns: Mapping[str, Column]
    is_of: Callable[[Mapping[str, str]], bool] = lambda row: True


def _transnas_columns() -> dict[str, Column]:
    """Of each task the last and the best epoch: accuracies, structural similarities, minus a loss."""
    found = {}
    for task in transnas101.HEADS:
        kind = {"room_layout": "negloss", "autoencoder": "ssim", "normal": "ssim"}.get(task, "valid")
        bounds = {"negloss": _NEGATIVE, "ssim": _FRACTION}.get(kind, _PERCENT)
        found[f"{task}_val"] = Column(f"{task}_{kind}_last", bounds)
        found[f"{task}_valbest"] = Column(f"{task}_{kind}_best", bounds)
    return found


def _accel(space: SearchSpace, row: Mapping[str, str]) -> np.ndarray:
    stages = [[row[f"block{stage}_{gene}"] for gene in ("e", "k", "l", "se")] for stage in range(7)]
    texts = ["0" if text == "False" else "1" if text == "True" else text for stage in stages for text in stage]
    return space.decode("|".join(":".join(texts[4 * stage : 4 * stage + 4]) for stage in range(7)))


def _compact(space: SearchSpace, row: Mapping[str, str]) -> np.ndarray:
    """A cell pair that JSON wrote: lists, where the published form has tuples."""
    return space.decode(str(ast.literal_eval(row["compact"].replace("[", "(").replace("]", ")"))))


_LAYOUTS = (
    *(
        Layout(
            space,
            ("arch_str",),
            lambda space, row: space.decode(row["arch_str"]),
            _transnas_columns(),
            lambda row, begins=begins: row["arch_str"].startswith("64-41414-") == begins,  # type: ignore[misc]
        )
        for space, begins in ((transnas101.micro_space, True), (transnas101.macro_space, False))
    ),
    Layout(
        nasbench_macro.space,
        ("arch", "test_acc"),
        lambda space, row: space.decode(row["arch"]),
        {"mean_acc": Column("cifar10_test_50_mean")},
    ),
    Layout(
        nats_size.space,
        ("c0", "c1", "c2", "c3", "c4"),
        lambda space, row: space.decode(":".join(row[f"c{place}"] for place in range(5))),
        {
            "c10_acc": Column("cifar10_test_90_single"),
            "c100_acc": Column("cifar100_test_90_single"),
            "in16_acc": Column("imagenet16_120_test_90_single"),
        },
    ),
    Layout(
        accel_nasbench.space,
        tuple(f"block{stage}_{gene}" for stage in range(7) for gene in ("e", "k", "l", "se")),
        _accel,
        {"val_top1": Column("imagenet_valid_16_single"), "val_top5": Column("imagenet_valid5_16_single")},
    ),
    Layout(
        darts.space,
        ("genotype",),
        lambda space, row: space.decode(row["genotype"]),
        {"val_acc": Column("cifar10_valid_200_single")},
    ),
    Layout(darts.space, ("compact",), _compact, {"val_accuracy": Column("cifar10_valid_100_surrogate")}),
)


def find_layout(names: tuple[str, ...], row: Mapping[str, str]) -> Layout | None:
    """The published table that has such columns and such a first row."""
    for layout in _LAYOUTS:
        has_all = set(layout.arch_columns) <= set(names) and set(layout.columns) & set(names)
        if has_all and layout.is_of(row):
            return layout
    return None


def from_csv(path: str | os.PathLike[str]) -> TabularBenchmark | None:
    """A published table; None where the columns are of none that is known here.

    TransNAS-Bench-101 (arch_str, TASK_val, TASK_valbest), NAS-Bench-Macro (arch, test_acc, mean_acc), NATS-Bench's size
    space (c0 to c4, c10_acc, c100_acc, in16_acc), Accel-NASBench (block0_e to block6_se, val_top1, val_top5), trained
    DARTS cells (genotype, val_acc), NAS-Bench-301's surrogate (compact, val_accuracy). Others of its columns are passed
    over. Where a space has no published order, the table lists its architectures.

    Raises:
        ValueError: naming the row that is wrong.
    """
    found, rows, checksum = read_csv(path)
    layout = find_layout(found, rows[0]) if rows else None
    if layout is None:
        return None
    space, columns = layout.space(), {name: own for name, own in layout.columns.items() if name in found}
    archs, values = list[np.ndarray](), list[list[float]]()
    for line, row in enumerate(rows, start=2):
        with reading(f"{path}, line {line}"):
            if max(len(row[name]) for name in layout.arch_columns) > _MAX_CELL:
                raise ValueError(f"an architecture has more than {_MAX_CELL:,} characters")
            archs.append(np.asarray(layout.arch_of(space, row)))
            values.append([own.parse(row[name], name) for name, own in columns.items()])
    name = pathlib.Path(path).name
    own: dict[str, Any] = {"space": space.name, "name": name, "source": f"CSV {name}", "checksum": checksum}
    if not (space.num_archs and space.to_index):
        table = np.array(values, np.float32).T
        listed = tuple(space.encode(arch) for arch in archs)
        return TabularBenchmark(dict(zip(_names(columns), table, strict=True)), archs=listed, **own)
    table = np.full((len(columns), space.num_archs), np.nan, np.float32)
    for line, (arch, row_values) in enumerate(zip(archs, values, strict=True), start=2):
        with reading(f"{path}, line {line}"):
            fill_row(table, int(space.to_index(arch)), row_values)
    return TabularBenchmark(dict(zip(_names(columns), table, strict=True)), **own)


def _names(columns: Mapping[str, Column]) -> list[str]:
    return [own.name for own in columns.values()]

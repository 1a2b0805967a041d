"""Importers of published tables with a row an architecture: CSV, plain or gzipped, in the order that they came.

Which table a file is, its columns tell, and of a file with several spaces the one that is asked for. Rows may come in
any order and be fewer than the space has. A repeated one has to be equal where the space has an order; architectures
that are listed more than once, as 13 of Accel-NASBench are, have the mean, which the table's source says.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
import functools
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.benchmarks.tabular import TabularBenchmark, fill_row, parse_number, read_csv
from zsnas_jax.benchmarks.transnas101 import METRICS
from zsnas_jax.search_spaces import accel_nasbench, autoformer, darts, nasbench_macro, nats_size, pit, transnas101
from zsnas_jax.storage.reading import reading

_MAX_CELL = 10_000
_PERCENT, _FRACTION, _NEGATIVE = (0.0, 100.0), (0.0, 1.0), (-1e6, 0.0)
"""What values may be; percent become fractions."""


class Column(NamedTuple):
    """A column of a published table.

    Attributes:
        name: our name of it.
        bounds: the least and the most that a value may be.
        may_lack: whether a field may be empty.
    """

    name: str
    bounds: tuple[float, float] = _PERCENT
    may_lack: bool = False

    def parse(self, text: str, published: str) -> float:
        """The value in a field; NaN in an empty one, where architectures may lack it."""
        if self.may_lack and not text:
            return float("nan")
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
        is_shared: whether rows of other spaces stand in the same file; else they are refused.
    """

    space: Callable[[], SearchSpace]
    arch_columns: tuple[str, ...]
    arch_of: Callable[[SearchSpace, Mapping[str, str]], np.ndarray]
    columns: Mapping[str, Column]
    is_of: Callable[[Mapping[str, str]], bool] = lambda row: True
    is_shared: bool = False


def _transnas_columns() -> dict[str, Column]:
    """Of each task the last and the best epoch: accuracies, structural similarities, minus a loss."""
    found = {}
    for task, (_, kind, _) in METRICS.items():
        bounds = {"negloss": _NEGATIVE, "ssim": _FRACTION}.get(kind, _PERCENT)
        kind = kind or "valid"
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


def _numbers(text: str, what: str) -> list[float]:
    """A list of numbers that JSON wrote."""
    values = json.loads(text)
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise ValueError(f"{what} {text[:100]!r} is no list of numbers")
    return values


def _autoformer(space: SearchSpace, row: Mapping[str, str]) -> np.ndarray:
    """A row of OoD-ViT-NAS."""
    ratios, heads = _numbers(row["mlp_ratio"], "mlp_ratio"), _numbers(row["num_heads"], "num_heads")
    depth, width = parse_number(row["depth"], "depth", 1, 1000), parse_number(row["embed_dim"], "embed_dim", 1, 1e6)
    return _of_lists(space, width, depth, ratios, heads)


def _of_lists(
    space: SearchSpace, width: float, depth: float, ratios: Sequence[float], heads: Sequence[float]
) -> np.ndarray:
    if len(ratios) != depth or len(heads) != depth:
        raise ValueError(f"{len(ratios)} ratios, {len(heads)} heads, depth {depth:g}: as many are needed")
    name = space.name.replace("_", "-")
    joined = ("-".join(f"{value:g}" for value in values) for values in (ratios, heads))
    return np.asarray(space.decode(":".join((name, f"{width:g}", *joined))))


def _vit_bench(space: SearchSpace, row: Mapping[str, str]) -> np.ndarray:
    """A row of ViT-Bench, whose architectures are JSON."""
    found = json.loads(row["arch"])
    if not isinstance(found, dict):
        raise ValueError(f"arch {row['arch'][:100]!r} is no JSON object")
    is_pit = space.name == "pit"
    one, several = (
        (("base_dim", "mlp_ratio"), ("depth", "num_heads"))
        if is_pit
        else (("hidden_dim", "depth"), ("mlp_ratio", "num_heads"))
    )
    for name in (*one, *several):
        if name not in found:
            raise ValueError(f"arch {row['arch'][:100]!r} lacks {name}")
    numbers = [*_numbers(json.dumps([found[name] for name in one]), "/".join(one))]
    lists: list[list[float]] = [_numbers(json.dumps(found[name]), name) for name in several]
    if not is_pit:
        return _of_lists(space, numbers[0], numbers[1], *lists)
    joined = ("-".join(f"{value:g}" for value in values) for values in lists)
    return np.asarray(space.decode(":".join(("pit", *(f"{value:g}" for value in numbers), *joined))))


def _vit_columns() -> dict[str, Column]:
    """Of ViT-Bench: trained from scratch, and with a teacher; with weights of a super-net."""
    sets = {"c100": "cifar100", "flower": "flowers102", "chaoyang": "chaoyang"}
    kinds = {"base": "single", "kd": "distilled"}
    found = {
        f"{own}_{kind}_acc": Column(f"{name}_test_300_{suffix}", may_lack=True)
        for own, name in sets.items()
        for kind, suffix in kinds.items()
    }
    return found | {"imagenet_super_acc": Column("imagenet_valid_supernet", may_lack=True)}


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
    *(
        Layout(
            functools.partial(autoformer.space, name),
            ("depth", "embed_dim", "mlp_ratio", "num_heads"),
            _autoformer,
            {
                "imagenet_top1": Column("imagenet_valid_supernet"),
                "gaussian_noise1": Column("imagenet_c_gaussian_noise_valid_supernet", may_lack=True),
            },
            lambda row, size=size: row.get("space") == size,  # type: ignore[misc]
            is_shared=True,
        )
        for name, size in (
            ("autoformer_t", "AutoFormer-tiny"),
            ("autoformer_s", "AutoFormer-small"),
            ("autoformer_b", "AutoFormer-base"),
        )
    ),
    *(
        Layout(
            space,
            ("arch",),
            _vit_bench,
            _vit_columns(),
            lambda row, begins=begins: row.get("space", "").startswith(begins),  # type: ignore[misc]
            is_shared=True,
        )
        for space, begins in (
            (functools.partial(autoformer.space, "autoformer_plain"), "autoformer"),
            (pit.space, "pit"),
        )
    ),
)


def find_layout(names: tuple[str, ...], rows: Sequence[Mapping[str, str]], space: str | None = None) -> Layout | None:
    """The published table that has such columns and such rows: the space's, of a file that holds several.

    Raises:
        ValueError: if it holds several spaces, and none of them is asked for.
    """
    found = []
    for layout in _LAYOUTS:
        has_all = set(layout.arch_columns) <= set(names) and set(layout.columns) & set(names)
        if has_all and any(map(layout.is_of, rows if layout.is_shared else rows[:1])):
            found.append(layout)
    if len(found) < 2:
        return found[0] if found else None
    of_spaces = {layout.space().name: layout for layout in found}
    if space not in of_spaces:
        raise ValueError(f"it holds the spaces {', '.join(of_spaces)}: say which")
    return of_spaces[space]


def from_csv(path: str | os.PathLike[str], space_name: str | None = None) -> TabularBenchmark | None:
    """A published table; None where the columns are of none that is known here.

    TransNAS-Bench-101 (arch_str, TASK_val, TASK_valbest), NAS-Bench-Macro (arch, test_acc, mean_acc), NATS-Bench's size
    space (c0 to c4, c10_acc, c100_acc, in16_acc), Accel-NASBench (block0_e to block6_se, val_top1, val_top5), trained
    DARTS cells (genotype, val_acc), NAS-Bench-301's surrogate (compact, val_accuracy), OoD-ViT-NAS (space, depth,
    embed_dim, mlp_ratio, num_heads, imagenet_top1), ViT-Bench (space, arch, c100_base_acc and others). Others of its
    columns are passed over. Where a space has no published order, the table lists its architectures.

    Args:
        path: of the file.
        space_name: whose rows are meant, where a file holds those of several spaces.

    Raises:
        ValueError: naming the row that is wrong.
    """
    found, rows, checksum = read_csv(path)
    with reading(str(path)):
        layout = find_layout(found, rows, space_name) if rows else None
    if layout is None:
        return None
    space, columns = layout.space(), {name: own for name, own in layout.columns.items() if name in found}
    archs, values = list[np.ndarray](), list[list[float]]()
    for line, row in enumerate(rows, start=2):
        with reading(f"{path}, line {line}"):
            if layout.is_shared and not layout.is_of(row):
                continue
            if max(len(row[name]) for name in layout.arch_columns) > _MAX_CELL:
                raise ValueError(f"an architecture has more than {_MAX_CELL:,} characters")
            archs.append(np.asarray(layout.arch_of(space, row)))
            values.append([own.parse(row[name], name) for name, own in columns.items()])
    name = pathlib.Path(path).name
    own: dict[str, Any] = {"space": space.name, "name": name, "source": f"CSV {name}", "checksum": checksum}
    if not (space.num_archs and space.to_index):
        rows_of: dict[str, list[list[float]]] = {}
        for arch, row_values in zip(archs, values, strict=True):
            rows_of.setdefault(space.encode(arch), []).append(row_values)
        if repeated := sum(len(several) > 1 for several in rows_of.values()):
            own["source"] += f", {repeated} architectures that it lists more than once by their mean"
        table = np.array([np.mean(several, 0) for several in rows_of.values()], np.float32).T
        named = {
            name: column for name, column in zip(_names(columns), table, strict=True) if not np.isnan(column).all()
        }
        return TabularBenchmark(named, archs=tuple(rows_of), **own)
    table = np.full((len(columns), space.num_archs), np.nan, np.float32)
    for line, (arch, row_values) in enumerate(zip(archs, values, strict=True), start=2):
        with reading(f"{path}, line {line}"):
            fill_row(table, int(space.to_index(arch)), row_values)
    return TabularBenchmark(dict(zip(_names(columns), table, strict=True)), **own)


def _names(columns: Mapping[str, Column]) -> list[str]:
    return [own.name for own in columns.values()]

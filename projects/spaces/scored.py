"""What folders of `score_main` hold: architectures, their scores, their accuracies. A architectures."""

import csv
import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from zsnas_jax import benchmarks, search_spaces
from zsnas_jax.search_spaces import autoformer


class Scored(NamedTuple):
    """What a folder holds: its report, the architectures as strings, label to scores float64[A], accuracies or None."""

    report: dict[str, Any]
    archs: list[str]
    scores: dict[str, np.ndarray]
    accuracy: np.ndarray

    @property
    def space(self) -> str:
        """Name of the space, and what tells its networks from others of that name."""
        settings = self.report["settings"]
        own = [settings[key] for key in ("space_source", "size") if settings.get(key)]
        return ", ".join((settings["space"], *map(str, own)))

    @property
    def task(self) -> str:
        """Name of the task; where a space has none, of a table that a model predicted "surrogate"."""
        is_predicted = self.report["benchmark"]["column"].endswith("surrogate")
        return self.report["settings"].get("task", "surrogate" if is_predicted else "")


def read(folder: pathlib.Path, tables: pathlib.Path) -> Scored:
    """Reads report.json and scores.csv, and the accuracies from the table.

    Raises:
        ValueError: if the run had no table of trained accuracy, or another one of its name.
    """
    report = json.loads((folder / "report.json").read_text())
    if not report["benchmark"]:
        raise ValueError(f"{folder} was scored without a benchmark: nothing to correlate with")
    with open(folder / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    scores = {name: np.array([float(row[name]) for row in rows]) for name in report["proxies"]}
    archs, truth = [row["arch"] for row in rows], report["benchmark"]
    space = search_spaces.make_space(report["settings"]["space"])
    benchmark = benchmarks.open_benchmark(tables / truth["name"], space.name)
    if benchmark.checksum != truth["sha256"]:
        raise ValueError(f"{tables / truth['name']} is not the table that {folder} was held against")
    accuracy = benchmark.lookup(truth["column"], benchmark.rows_of(space, [space.decode(arch) for arch in archs]))
    return Scored(report, archs, scores, np.asarray(accuracy, float))


def counted(scored: Scored) -> dict[str, np.ndarray]:
    """What the space counts of the architectures, float64[A] each: controls beside params, flops and num_sites."""
    space = search_spaces.make_space(scored.report["settings"]["space"])
    genotypes = [space.decode(arch) for arch in scored.archs]
    if space.name in autoformer.GRIDS:
        grid = autoformer.GRIDS[space.name]
        plans = [autoformer.plan_of(grid, arch) for arch in genotypes]
        return {
            "depth": np.array([float(len(plan.heads)) for plan in plans]),
            "width": np.array([float(plan.width) for plan in plans]),
            "sum_heads": np.array([float(sum(plan.heads)) for plan in plans]),
            "sum_ratios": np.array([float(sum(plan.ratios)) for plan in plans]),
            "sum_hidden": np.array([float(sum(grid.hidden(p.width, ratio) for ratio in p.ratios)) for p in plans]),
        }
    if space.num_convolutions is None:
        return {}
    return {"num_convolutions": np.array([float(space.num_convolutions(arch)) for arch in genotypes])}


def groups_of(counts: dict[str, np.ndarray]) -> np.ndarray | None:
    """Which architectures are alike, int[A]; None where the space counts nothing that says so."""
    own = [counts[name] for name in ("num_convolutions", "depth", "width") if name in counts]
    return np.unique(np.stack(own, 1), axis=0, return_inverse=True)[1].ravel() if own else None


def distinct(scored: Scored) -> Scored:
    """One architecture of each class of equal networks."""
    space = search_spaces.make_space(scored.report["settings"]["space"])
    if space.isomorphism_key is None:
        return scored
    keys = [space.isomorphism_key(space.decode(arch)) for arch in scored.archs]
    kept = sorted({key: i for i, key in reversed(list(enumerate(keys)))}.values())
    own = {name: values[kept] for name, values in scored.scores.items()}
    return Scored(scored.report, [scored.archs[i] for i in kept], own, scored.accuracy[kept])

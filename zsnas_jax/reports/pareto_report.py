"""What a search for trade-offs leaves behind: fronts, their hypervolume, pictures, a text.

S seeds, T steps, E objectives, A architectures of the space, P points of a curve.
"""

from collections.abc import Mapping, Sequence
import itertools
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
from tabulate import tabulate

from zsnas_jax.reports import documents, page, score_report, search_report
from zsnas_jax.reports.page import Section
from zsnas_jax.reports.search_task import Task
from zsnas_jax.search import costs_of_all, pareto
from zsnas_jax.search.objectives import Objective, signed
from zsnas_jax.search.seeds import Explored
from zsnas_jax.storage import files

_FEW_POINTS = 50
"""Of a curve of four objectives, whose hypervolumes take longer."""
_SHOWN, _MOST_ROWS = 10, 200
_COUNTS = ("params", "flops")
_PART = 2**14


class Volume(NamedTuple):
    """Hypervolume along a search.

    Attributes:
        at: int[P], the steps.
        reference: float[E], the worst of each objective in the first populations of all seeds.
        ideal: float[E], the best of each objective, of all architectures where their scores are known.
        shares: float[S, P], hypervolume as a share of the box between the two.
        best: that of the true front; None: it is not known.
    """

    at: np.ndarray
    reference: np.ndarray
    ideal: np.ndarray
    shares: np.ndarray
    best: float | None


class Trade(NamedTuple):
    """What came out of a search for trade-offs; scores are signed, so that more is better.

    Attributes:
        task: what was searched for.
        objectives: E of them.
        explored: by all seeds.
        fronts: of each seed the steps of the architectures that none of its own dominates, each once.
        merged: (seed, step) of those that none of any seed dominates, each architecture once, by the first objective.
        num_seeds_of: of each of these on the fronts of how many seeds it stands.
        volume: hypervolume, or why there is none.
        every: float[A, E], scores of all architectures, -inf beyond the limits; None: they are not known.
        best_rows: the rows of these that none dominates.
    """

    task: Task
    objectives: tuple[Objective, ...]
    explored: Explored
    fronts: list[np.ndarray]
    merged: list[tuple[int, int]]
    num_seeds_of: list[int]
    volume: Volume | str
    every: np.ndarray | None
    best_rows: np.ndarray | None


def analyse(
    task: Task,
    objectives: Sequence[Objective],
    explored: Explored,
    num_initial: int,
    every: np.ndarray | None = None,
) -> Trade:
    """Fronts and hypervolumes.

    Args:
        task: what was searched for.
        objectives: E of them.
        explored: by all seeds.
        num_initial: architectures of a first population.
        every: scores of all architectures, if they are known.
    """
    fronts = [_front(archs, scores) for archs, scores in zip(explored.archs, explored.scores, strict=True)]
    places = [(seed, int(step)) for seed, front in enumerate(fronts) for step in front]
    best_rows = None if every is None else np.flatnonzero(pareto.is_optimal(every))
    volume = _volume(explored.scores, num_initial, every)
    return Trade(task, tuple(objectives), explored, fronts, *_merge(explored, places), volume, every, best_rows)


def _volume(scores: np.ndarray, num_initial: int, every: np.ndarray | None) -> Volume | str:
    """Hypervolume along float[S, T, E], or why there is none."""
    num_steps, num_objectives = scores.shape[1:]
    if num_objectives > pareto.MOST_OBJECTIVES:
        return f"no hypervolume: of {num_objectives} objectives; it is computed of at most {pareto.MOST_OBJECTIVES}"
    defined = lambda values: values[np.isfinite(values).all(-1)].astype(np.float64)
    first = defined(scores[:, :num_initial])
    if not len(first):
        return "no hypervolume: no architecture of the first population has all objectives"
    at = search_report.points(num_steps, _FEW_POINTS if num_objectives == pareto.MOST_OBJECTIVES else None)
    reference, ideal = first.min(0), defined(scores if every is None else every).max(0)
    shares = np.stack([pareto.hypervolumes(own, reference, ideal, at) for own in scores])
    best = None if every is None else float(pareto.hypervolumes(every, reference, ideal, [len(every) - 1])[0])
    return Volume(at, reference, ideal, shares, best)


def _front(archs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The first steps of the architectures on the front of what a seed explored, in their order."""
    _, steps = np.unique(archs, axis=0, return_index=True)
    steps = np.sort(steps)
    return steps[pareto.is_optimal(scores[steps])]


def _merge(explored: Explored, places: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[int]]:
    """(places of what no other dominates, each architecture once, the best in the first objective first; how often)."""
    if not places:
        return [], []
    seeds, steps = np.array(places).T
    archs, scores = explored.archs[seeds, steps], explored.scores[seeds, steps]
    _, first, counts = np.unique(archs, axis=0, return_index=True, return_counts=True)
    kept = pareto.is_optimal(scores[first])
    first, counts = first[kept], counts[kept]
    order = np.lexsort((first, -scores[first, 0]))
    return [places[place] for place in first[order]], counts[order].tolist()


def _row(trade: Trade, seed: int, step: int) -> dict[str, Any]:
    """An architecture of a front, as JSON."""
    scores = signed(trade.objectives, trade.explored.scores[seed, step])
    found = search_report.describe(trade.task, trade.explored.archs[seed, step], np.asarray(scores))
    return {name: value for name, value in found.items() if name != "regret"}


def _directions(objectives: Sequence[Objective]) -> list[dict[str, Any]]:
    return [{"name": one.name, "is_maximised": one.sign > 0, "scores": list(one.scores)} for one in objectives]


def make_report(
    trade: Trade, settings: Mapping[str, Any], search: Mapping[str, Any], run: Mapping[str, Any]
) -> dict[str, Any]:
    """The machine-readable report; the last three as of `zsnas_jax.reports.search_report.make_report`."""
    seeds, volume = list[dict[str, Any]](), trade.volume
    for seed, front in enumerate(trade.fronts):
        own: dict[str, Any] = {"seed": seed, "num_front": len(front)}
        own["num_distinct"] = len(np.unique(trade.explored.archs[seed], axis=0))
        own["num_undefined"] = int((~np.isfinite(trade.explored.scores[seed])).any(axis=1).sum())
        own |= {"hypervolume": float(volume.shares[seed, -1])} if isinstance(volume, Volume) else {}
        seeds.append(own)
    counted = zip(trade.merged, trade.num_seeds_of, strict=True)
    rows = [_row(trade, *place) | {"num_seeds": count} for place, count in counted]
    made: dict[str, Any] = {
        "settings": dict(settings),
        "search": dict(search) | {"objectives": _directions(trade.objectives)},
        "num_seeds": len(seeds),
        "front": rows,
        "seeds": seeds,
        "hypervolume": {"note": volume if isinstance(volume, str) else None},
        "true_front": None,
        "benchmark": search_report.describe_benchmark(trade.task),
        "versions": score_report.versions(),
        "device": score_report.device(),
        "run": dict(run) | {"commits": trade.explored.seconds[0]},
    }
    if isinstance(volume, Volume):
        ends = {"reference": _named(trade, volume.reference), "ideal": _named(trade, volume.ideal)}
        made["hypervolume"] |= ends | {"summary": search_report.summarise([own["hypervolume"] for own in seeds])}
    if trade.every is not None and trade.best_rows is not None:
        assert trade.task.space.to_index is not None
        # Their rows of the table, since the sum of a vote may be rounded otherwise inside the search.
        places = [int(trade.task.space.to_index(trade.explored.archs[place])) for place in trade.merged]
        found = trade.every[np.array(places, int)]
        best = {tuple(row) for row in trade.every[trade.best_rows].tolist()}
        made["true_front"] = {
            "num_archs": len(trade.best_rows),
            "num_trade_offs": len(best),
            "num_found": len(best & {tuple(row) for row in found.tolist()}),
            "hypervolume": volume.best if isinstance(volume, Volume) else None,
        }
    return made


def _named(trade: Trade, values: np.ndarray) -> dict[str, float]:
    """Signed values float[E] by objective, as they are."""
    own = np.asarray(signed(trade.objectives, values))
    return {one.name: float(value) for one, value in zip(trade.objectives, own, strict=True)}


def write_all(folder: str | os.PathLike[str], trade: Trade, made: Mapping[str, Any]) -> list[str]:
    """Writes the files of a search for trade-offs and returns their names.

    report.json; front.csv, a row an architecture that nothing found dominates; fronts.csv, the front of each seed;
    front.png, every pair of objectives; hypervolume.csv and hypervolume.png; report.html, which shows them.
    """
    from zsnas_jax.reports import plots  # here: matplotlib would be a second of every command's start

    folder = pathlib.Path(folder)
    files.write_text(folder / "report.json", json.dumps(made, indent=2, allow_nan=False) + "\n")
    written = ["report.json"]
    title = f"{made['search']['strategy']} on {trade.task.space.name}, {search_report.say_seeds(made)}"
    if made["front"]:
        documents.write_csv(folder / "front.csv", map(_flat, made["front"]))
        every = [{"seed": seed} | _row(trade, seed, int(step)) for seed, own in enumerate(trade.fronts) for step in own]
        documents.write_csv(folder / "fronts.csv", map(_flat, every))
        plots.trade_offs(folder / "front.png", _panels(trade), title)
        written += ["front.csv", "fronts.csv", "front.png"]
    if isinstance(volume := trade.volume, Volume):
        documents.write_csv(folder / "hypervolume.csv", _volume_records(volume))
        line = None if volume.best is None else (volume.best, f"the true front, {volume.best:.3f}")
        labels = "architectures", "hypervolume of the front so far\n(share of the box from the reference point)"
        curve = search_report.with_interval(volume.shares)
        panel = plots.CurvePanel(volume.at + 1.0, curve, volume.shares[: search_report.THIN_LINES], labels, line)
        plots.incumbents(folder / "hypervolume.png", [panel], title)
        written += ["hypervolume.csv", "hypervolume.png"]
    pictures = [name for name in written if name.endswith(".png")]
    return [*written, page.write(folder, title, _sections(made, pictures))]


def _sections(made: Mapping[str, Any], pictures: Sequence[str]) -> list[Section]:
    """The parts of report.html."""
    volume = made["hypervolume"]
    rows = [{"": name} | dict(volume[name]) for name in ("reference", "ideal") if name in volume]
    said = volume["note"] or f"mean over seeds {volume['summary']['mean']:.4f}, a share of the box between the two"
    rows = [{name: v if isinstance(v, str) else _in_words(name, v) for name, v in row.items()} for row in rows]
    many = len(made["front"]) > _MOST_ROWS
    note = f"the first {_MOST_ROWS} of {len(made['front'])}; front.csv has them all" if many else ""
    return [
        Section("Front of all seeds", _table(made["front"][:_MOST_ROWS]), pictures, note),
        Section("Hypervolume", rows, note=said),
        page.settings_section(made["settings"]),
    ]


def _in_words(name: str, value: float) -> str:
    """A score of an architecture of a front: counts as whole numbers, others by their first digits."""
    return f"{value:,.0f}" if name in _COUNTS else search_report.say_score(value)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Architectures of a front, for people."""
    table = []
    for row in rows:
        own = {"architecture": str(row["arch"])}
        own |= {name: _in_words(name, value) for name, value in row["scores"].items()}
        if row.get("accuracy") is not None:
            own["accuracy"] = f"{100 * row['accuracy']:.2f} %"
        table.append(own)
    return table


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """An architecture as a record: a column an objective; costs as whole numbers where they are counted anyway."""
    first = {name: row[name] for name in ("seed", "arch", "index") if name in row}
    return first | dict(row["scores"]) | {name: value for name, value in row.items() if name not in (*first, "scores")}


def _volume_records(volume: Volume) -> list[dict[str, Any]]:
    """The rows of hypervolume.csv."""
    names = "hypervolume", "hypervolume_low", "hypervolume_high"
    blank = lambda value: None if np.isnan(value) else float(value)
    curves = search_report.with_interval(volume.shares).T
    return [
        {"architectures": int(step) + 1} | dict(zip(names, map(blank, row), strict=True))
        for step, row in zip(volume.at, curves, strict=True)
    ]


def _panels(trade: Trade) -> list[Any]:
    """A picture of each pair of objectives, and of accuracy against each that is to be small."""
    from zsnas_jax.reports import plots

    objectives, scores = trade.objectives, trade.explored.scores.reshape(-1, len(trade.objectives))
    plain = lambda values: np.asarray(signed(objectives, values), np.float64)
    shown, front = plain(scores), plain(np.array([trade.explored.scores[place] for place in trade.merged]))
    best = None if trade.every is None else plain(trade.every[trade.best_rows])
    label = lambda one: f"{plots.in_lines(one.name)}\n({'more' if one.sign > 0 else 'less'} is better)"
    panels = []
    for i, j in itertools.combinations(range(len(objectives)), 2):
        pair = [j, i]  # what comes first is usually the score, and costs lie along x
        known = None if best is None else best[:, pair]
        labels = label(objectives[j]), label(objectives[i])
        panels.append(plots.TradeOff(shown[:, pair], front[:, pair], known, labels, len(objectives) == 2))
    return panels + _accuracy_panels(trade, shown, front)


def _accuracy_panels(trade: Trade, shown: np.ndarray, front: np.ndarray) -> list[Any]:
    """Trained accuracy against each objective that is to be small, where a table has it."""
    from zsnas_jax.reports import plots

    truth, space = trade.task.truth, trade.task.space
    if not truth or not space.to_index:
        return []
    percent = lambda archs: 100 * truth.accuracy[np.asarray(space.to_index(archs))].astype(np.float64)
    accuracies = percent(trade.explored.archs.reshape(-1, *trade.explored.archs.shape[2:]))
    of_front = percent(np.stack([trade.explored.archs[place] for place in trade.merged]))
    panels = []
    for j, one in enumerate(trade.objectives):
        if one.sign > 0:
            continue
        costs, best = None, None
        if one.name in _COUNTS:
            sizes = {"num_classes": trade.task.num_classes, "image_size": trade.task.image_size}
            costs = costs_of_all(space, one.name, **sizes)
        if costs is not None:
            allowed = np.isfinite(truth.accuracy) & (True if truth.is_allowed is None else truth.is_allowed)
            both = np.stack([-costs.astype(np.float64), 100 * truth.accuracy], axis=1)
            both = np.where(allowed[:, None], both, -np.inf)
            best = np.abs(both[pareto.is_optimal(both)])
        labels = f"{plots.in_lines(one.name)}\n(less is better)", f"accuracy (%)\n{truth.column}"
        pair = lambda values, accuracy, j=j: np.stack([values[:, j], accuracy], axis=1)
        panels.append(plots.TradeOff(pair(shown, accuracies), pair(front, of_front), best, labels, True))
    return panels


def as_text(made: Mapping[str, Any]) -> str:
    """The report for the terminal."""
    search, run, rows = made["search"], made["run"], made["front"]
    says = f"{search_report.say_seeds(made)} of {search['num_architectures']} architectures"
    lines = [f"\n{search['strategy']} by {search['scores']}: {says}", ""]
    table = _table([rows[place] for place in search_report.points(len(rows), _SHOWN)] if rows else [])
    nothing = "no architecture has all objectives"
    lines.append(tabulate(table, headers="keys", disable_numparse=True) if table else nothing)
    if len(rows) > len(table):
        lines.append(f"\n{len(table)} of the {len(rows)} on the front of all seeds; front.csv has them all")
    volume = made["hypervolume"]
    if volume["note"]:
        lines.append(f"\n{volume['note']}")
    else:
        mean, low, high = (volume["summary"][name] for name in ("mean", "low", "high"))
        ends = "" if low is None else f" [{low:.3f}, {high:.3f}]"
        reference = ", ".join(f"{name} {_in_words(name, value)}" for name, value in volume["reference"].items())
        lines.append(f"\nhypervolume: {mean:.3f}{ends} of the box from the reference point ({reference}) to the best")
    if truth := made["true_front"]:
        of_it = "" if truth["hypervolume"] is None else f", hypervolume {truth['hypervolume']:.3f}"
        lines.append(f"true front: {truth['num_trade_offs']} trade-offs{of_it}; found: {truth['num_found']}")
    if made["benchmark"]:
        lines.append(f"\naccuracy: {made['benchmark']['column']} of {made['benchmark']['name']}")
        lines += [f"warning: {made['benchmark']['warning']}"] if made["benchmark"]["warning"] else []
    lines.append(f"\nexplored now: {run['num_explored_now']}; scores {run['how']} in all: {run['num_scored']}")
    return "\n".join(lines)

"""What a search leaves behind: report, curve, drawing, a text. S seeds, T steps, E experts, G genes."""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any

import numpy as np
from tabulate import tabulate

from zsnas_jax.base import Arch
from zsnas_jax.reports import documents, page, score_report
from zsnas_jax.reports.metrics import Interval, interval
from zsnas_jax.reports.page import Section
from zsnas_jax.reports.search_task import Task, name_optimum
from zsnas_jax.search.seeds import Explored
from zsnas_jax.storage import files
from zsnas_jax.votes import tournament

_RESAMPLES = 1000
THIN_LINES = 20
_POINTS = 200
_SHOWN_SEEDS = 50


def describe(task: Task, arch: Arch, scores: np.ndarray) -> dict[str, Any]:
    """One architecture, as JSON; a score that is not finite is null."""
    space = task.space
    found: dict[str, Any] = {"arch": space.encode(arch)}
    index = int(space.to_index(arch)) if space.to_index else None
    if index is not None:
        found["index"] = index
    finite = {name: float(s) if np.isfinite(s) else None for name, s in zip(task.experts, scores, strict=True)}
    found["scores"] = finite
    if space.num_params:
        found["params"] = int(space.num_params(arch, task.num_classes))
    if space.num_flops:
        found["flops"] = int(space.num_flops(arch, task.num_classes, task.image_size))
    if task.truth and index is not None:
        accuracy = float(task.truth.accuracy[index])
        known = not np.isnan(accuracy)
        best = float(task.truth.accuracy[task.truth.best])
        found |= {"accuracy": accuracy if known else None, "regret": best - accuracy if known else None}
    return found


def _found(task: Task, explored: Explored) -> list[dict[str, Any]]:
    """What every seed found, as JSON."""
    rows = []
    for seed, (archs, scores, incumbents) in enumerate(
        zip(explored.archs, explored.scores, explored.incumbents, strict=True)
    ):
        best = int(incumbents[-1])
        own = {"seed": seed, "found_at": best + 1} | describe(task, archs[best], scores[best])
        own["num_distinct"] = len(np.unique(archs, axis=0))
        rows.append(own | {"num_without_score": int((~np.isfinite(scores)).any(axis=1).sum())})
    return rows


def resampled_means(values: np.ndarray) -> np.ndarray:
    """The mean over seeds of float[S, P], then that of 1,000 resamples of the seeds: float[1 + R, P].

    Values that are not finite are left out; NaN where none is left.
    """
    num_seeds = len(values)
    rng = np.random.default_rng(0)
    draws = (
        rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), _RESAMPLES) if num_seeds > 1 else np.ones((0, 1))
    )
    weights = np.concatenate([np.ones((1, num_seeds)), draws])
    finite = np.isfinite(values)
    sums, counts = weights @ np.where(finite, values, 0), weights @ finite.astype(float)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def with_interval(values: np.ndarray) -> np.ndarray:
    """float[3, P]: mean over seeds of float[S, P] and its 95 % interval, NaN for a single seed."""
    means = resampled_means(values)
    if len(means) == 1:
        return np.concatenate([means, np.full((2, means.shape[1]), np.nan)])
    with np.errstate(all="ignore"):
        low, high = np.percentile(means[1:], [2.5, 97.5], axis=0)
    return np.stack([means[0], low, high])


def summarise(values: list[float | None]) -> dict[str, Any]:
    """Mean, deviation and interval over seeds, as JSON."""
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return {"mean": None, "std": None, "low": None, "high": None}
    bounds = interval(resampled_means(known[:, None])[:, 0]) if len(known) > 1 else Interval(known[0], np.nan, np.nan)
    as_json = lambda value: None if np.isnan(value) else float(value)
    deviation = known.std(ddof=1) if len(known) > 1 else np.nan
    return {
        "mean": float(known.mean()),
        "std": as_json(deviation),
        "low": as_json(bounds.low),
        "high": as_json(bounds.high),
    }


def measures(task: Task, explored: Explored) -> dict[str, np.ndarray]:
    """What the incumbent has after every step, by name: each expert's score float[S, T], and accuracy."""
    seats = explored.incumbents[..., None]
    scores = np.take_along_axis(explored.scores, seats, axis=1).astype(np.float64)
    found = {name: scores[..., i] for i, name in enumerate(task.experts)}
    if task.truth and task.space.to_index:
        archs = np.take_along_axis(explored.archs, seats, axis=1)
        found["accuracy"] = task.truth.accuracy[np.asarray(task.space.to_index(archs))].astype(np.float64)
    return found


def seconds(explored: Explored) -> np.ndarray:
    """Mean seconds until every step, float[T]: known at commits, linear between them."""
    steps = 1 + np.arange(explored.incumbents.shape[1])
    curves = [np.interp(steps, [0, *(s for s, _ in row)], [0, *(t for _, t in row)]) for row in explored.seconds]
    return np.mean(curves, axis=0)


def make_report(
    task: Task, explored: Explored, settings: Mapping[str, Any], search: Mapping[str, Any], run: Mapping[str, Any]
) -> dict[str, Any]:
    """The machine-readable report.

    Args:
        task: what was searched for.
        explored: by all seeds.
        settings: what the result depends on.
        search: strategy, vote and their hyper-parameters.
        run: timing and counts; all that may differ between two runs of one search. Joined by `commits`, [steps,
            seconds] of the first seeds.
    """
    rows = _found(task, explored)
    best_scores = np.array([s[i[-1]] for s, i in zip(explored.scores, explored.incumbents, strict=True)])
    first = rows[int(tournament(best_scores))]
    return {
        "settings": dict(settings),
        "search": dict(search),
        "num_seeds": len(rows),
        "best": first,
        "seeds": rows,
        "summary": {name: summarise([row[name] for row in rows]) for name in ("accuracy", "regret") if name in first},
        "benchmark": describe_benchmark(task),
        "curve": _curve(task, explored),
        "versions": score_report.versions(),
        "device": score_report.device(),
        "run": dict(run) | {"commits": explored.seconds[0]},
    }


def describe_benchmark(task: Task) -> dict[str, Any] | None:
    """The table that found architectures are held against, and its optimum, as JSON; None: there is none."""
    if not task.truth:
        return None
    truth, space = task.truth, task.space
    optimum: dict[str, Any] = {"index": truth.best, "accuracy": float(truth.accuracy[truth.best])}
    optimum["is_within_limits"] = truth.has_limits
    if space.from_index:
        optimum["arch"] = space.encode(space.from_index(truth.best))
    return {
        "name": truth.benchmark.name,
        "column": truth.column,
        "source": truth.benchmark.source,
        "sha256": truth.benchmark.checksum,
        "optimum": optimum,
        "warning": truth.warning,
    }


def points(num_steps: int, most: int | None = None) -> np.ndarray:
    """Up to 200 steps of a search, or `most`, evenly spread, the last among them: int[P], 0 the first."""
    return np.unique(np.linspace(0, num_steps - 1, min(num_steps, most or _POINTS)).round().astype(int))


def _curve(task: Task, explored: Explored) -> dict[str, Any]:
    """The curve at some steps, as JSON; curve.csv has them all."""
    at = points(explored.incumbents.shape[1])
    as_json = lambda row: [None if np.isnan(value) else float(value) for value in row]
    curve: dict[str, Any] = {"architectures": (at + 1).tolist()}
    for name, values in measures(task, explored).items():
        curve[name] = dict(zip(("mean", "low", "high"), map(as_json, with_interval(values[:, at])), strict=True))
    return curve


def _curve_records(task: Task, explored: Explored, is_live: bool) -> list[dict[str, Any]]:
    """The rows of curve.csv."""
    columns: dict[str, Any] = {"architectures": 1 + np.arange(explored.incumbents.shape[1])}
    for name, values in measures(task, explored).items():
        columns |= dict(zip((name, f"{name}_low", f"{name}_high"), with_interval(values), strict=True))
    if is_live:
        columns["seconds"] = seconds(explored)
    blank = lambda value: None if isinstance(value, float | np.floating) and np.isnan(value) else value
    return [
        {name: blank(value) for name, value in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]


def _draw_curves(path: pathlib.Path, task: Task, explored: Explored, title: str, is_live: bool) -> None:
    from zsnas_jax.reports import plots  # here: matplotlib would be a second of every command's start

    at = points(explored.incumbents.shape[1])
    panels = []
    for name, values in measures(task, explored).items():
        scale, label, line = 1.0, f"score of the best so far\n{plots.in_lines(name)}", None
        if name == "accuracy" and task.truth:
            best = 100 * float(task.truth.accuracy[task.truth.best])
            scale, label = 100.0, f"accuracy of the best so far (%)\n{task.truth.column}"
            line = best, f"{name_optimum(task.truth.has_limits)}, {best:.2f} %"
        axes = [(at + 1.0, "architectures"), *([(seconds(explored)[at], "seconds")] if is_live else [])]
        shown = scale * np.where(np.isfinite(values[:, at]), values[:, at], np.nan)
        panels += [
            plots.CurvePanel(x, with_interval(shown), shown[:THIN_LINES], (name_of_x, label), line)
            for x, name_of_x in axes
        ]
    plots.incumbents(path, panels, title, columns=2 if is_live else 0)


def write_all(
    folder: str | os.PathLike[str], task: Task, explored: Explored, made: Mapping[str, Any], is_live: bool
) -> list[str]:
    """Writes the files of a search and returns their names.

    report.json, found.csv (a row a seed), curve.csv and curve.png; cell.png, a drawing of the best architecture, where
    there is one for the space; report.html, which shows them all.
    """
    from zsnas_jax.reports import drawing

    folder = pathlib.Path(folder)
    files.write_text(folder / "report.json", json.dumps(made, indent=2, allow_nan=False) + "\n")
    documents.write_csv(folder / "found.csv", [_flat(row) for row in made["seeds"]])
    documents.write_csv(folder / "curve.csv", _curve_records(task, explored, is_live))
    written = ["report.json", "found.csv", "curve.csv", "curve.png"]
    name = f"{made['search']['strategy']} on {task.space.name} by {made['search']['scores']}, {say_seeds(made)}"
    _draw_curves(folder / "curve.png", task, explored, name, is_live)
    arch = made["best"]["arch"]
    if drawing.draw(folder / "cell.png", task.space, task.space.decode(arch), f"{arch}\n{_caption(made['best'])}"):
        written.append("cell.png")
    return [*written, _write_page(folder, made, [name for name in written if name.endswith(".png")], name)]


def _write_page(folder: pathlib.Path, made: Mapping[str, Any], pictures: list[str], title: str) -> str:
    best = [{"": name, "found": value} for name, value in shown(made).items()]
    rows = [{key: _in_words(key, value) for key, value in _flat(row).items()} for row in made["seeds"][:_SHOWN_SEEDS]]
    more = len(made["seeds"]) - len(rows)
    note = f"{more} more stand in found.csv" if more else ""
    sections = [Section("Best", best, pictures), Section("Seeds", rows, note=note)]
    return page.write(folder, title, [*sections, page.settings_section(made["settings"])])


def _in_words(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if name in ("accuracy", "regret"):
        return f"{100 * value:.2f} %"
    return f"{value:,}" if name in ("params", "flops") else say_score(value) if isinstance(value, float) else str(value)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A seed's entry as a record: a column a score."""
    return {key: value for key, value in row.items() if key != "scores"} | dict(row["scores"])


def _caption(best: Mapping[str, Any]) -> str:
    """What there is to say about an architecture in a line."""
    said = [f"index {best['index']}"] if "index" in best else []
    said += [f"{name} {say_score(score)}" for name, score in best["scores"].items()]
    said += [f"{best['params']:,} parameters"] if "params" in best else []
    said += [f"accuracy {100 * best['accuracy']:.2f} %"] if best.get("accuracy") is not None else []
    return ", ".join(said)


def say_score(score: float | None) -> str:
    """A score for people."""
    return "none" if score is None else f"{score:.6g}"


def say_seeds(made: Mapping[str, Any]) -> str:
    """How many seeds a report is of."""
    return f"{made['num_seeds']} seed{'s' if made['num_seeds'] > 1 else ''}"


def shown(made: Mapping[str, Any]) -> dict[str, str]:
    """What there is to say of the best architecture, for people."""
    best = made["best"]
    said = {"architecture": best["arch"], "index": best.get("index")}
    said |= {f"score {name}": say_score(score) for name, score in best["scores"].items()}
    said["parameters"] = f"{best['params']:,}" if "params" in best else None
    said["FLOPs"] = f"{best['flops'] / 1e6:,.2f} M" if "flops" in best else None
    if best.get("accuracy") is not None:
        said["accuracy"] = f"{100 * best['accuracy']:.2f} %"
    said["found"] = f"as number {best['found_at']} of seed {best['seed']}"
    return {name: str(value) for name, value in said.items() if value is not None}


def as_text(made: Mapping[str, Any]) -> str:
    """The report for the terminal."""
    best, search, run = made["best"], made["search"], made["run"]
    says = f"{say_seeds(made)} of {search['num_architectures']} architectures"
    lines = [f"\n{search['strategy']} by {search['scores']}: {says}", ""]
    lines.append(tabulate(list(shown(made).items()), tablefmt="plain", disable_numparse=True))
    if made["benchmark"]:
        truth, optimum = made["benchmark"], made["benchmark"]["optimum"]
        lines.append(f"\naccuracy: {truth['column']} of {truth['name']}")
        if truth["warning"]:
            lines.append(f"warning: {truth['warning']}")
        if made["num_seeds"] == 1 and best["regret"] is not None:
            lines.append(f"regret: {100 * best['regret']:.2f} %")
        elif made["num_seeds"] > 1:
            lines += [f"{name} over seeds: {_percent(summary)}" for name, summary in made["summary"].items()]
        name = name_optimum(optimum["is_within_limits"])
        lines.append(f"{name}: {100 * optimum['accuracy']:.2f} %, index {optimum['index']} {optimum.get('arch', '')}")
    lines.append(f"\nexplored now: {run['num_explored_now']}; scores {run['how']} in all: {run['num_scored']}")
    return "\n".join(lines)


def _percent(summary: Mapping[str, Any]) -> str:
    """Mean, its interval, deviation: mean 93.10 % [92.90, 93.30], deviation 0.20."""
    if summary["mean"] is None:
        return "unknown"
    spread = "" if summary["std"] is None else f", deviation {100 * summary['std']:.2f}"
    ends = "" if summary["low"] is None else f" [{100 * summary['low']:.2f}, {100 * summary['high']:.2f}]"
    return f"mean {100 * summary['mean']:.2f} %{ends}{spread}"

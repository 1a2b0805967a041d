"""What a run leaves behind: scores, report, pictures, a table on the terminal. A archs, P proxies.

Scores are columns by label (`zsnas_jax.proxies.labels`): a proxy's name with those of its settings that are not usual.
"""

from collections.abc import Mapping, Sequence
import importlib.metadata
import json
import os
import pathlib
import platform
import re
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy
from tabulate import tabulate

from zsnas_jax.base import Proxy, SearchSpace
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.reports import diagnostics, documents, metrics, page
from zsnas_jax.reports.diagnostics import ByConvolutions
from zsnas_jax.reports.page import Section
from zsnas_jax.storage import files
from zsnas_jax.storage.reading import shorten
from zsnas_jax.votes import Vote

TOP = 10
"""How many of the best are shown, unless more are asked for."""
MISSING = ("-inf", "empty")
"""What may stand in scores.csv for a score that is undefined."""
RANK = "_rank"
"""What the name of a column of ranks ends in, behind the label of the scores."""


class Sizes(NamedTuple):
    """What parameters and FLOPs of an architecture depend on: the width of the logits, pixels along a side."""

    num_classes: int
    image_size: int


def write_scores(
    path: str | os.PathLike[str],
    space: SearchSpace,
    archs: np.ndarray,
    scores: Mapping[str, np.ndarray],
    sizes: Sizes,
    truth: "Truth | None" = None,
    missing: str = "-inf",
) -> None:
    """Writes `index,arch,`, of each label score and rank, then parameters, FLOPs and looked-up accuracy, a fraction.

    The best has rank 1, equal scores share the better one. The index is empty where a space has no published order;
    params and flops are left out where the space does not know them, or they are scores already.

    Args:
        path: a CSV, written whole or not at all.
        space: the search space.
        archs: int32[A, G].
        scores: label to float64[A].
        sizes: for parameters and FLOPs.
        truth: accuracies to compare with, or None.
        missing: of `MISSING`; an undefined score that is empty has no rank either.
    """
    indices = np.asarray(space.to_index(archs)).tolist() if space.to_index else [None] * len(archs)
    columns: dict[str, Any] = {"index": indices, "arch": [space.encode(arch) for arch in archs]}
    for name, values in scores.items():
        shown = [value if np.isfinite(value) or missing == "-inf" else None for value in values]
        ranks = scipy.stats.rankdata(np.where(np.isfinite(values), -values, np.inf), "min").astype(int)
        columns[name] = shown
        columns[f"{name}{RANK}"] = [None if value is None else rank for value, rank in zip(shown, ranks, strict=True)]
    if space.num_params and "params" not in columns:
        columns["params"] = [int(space.num_params(arch, sizes.num_classes)) for arch in archs]
    if space.num_flops and "flops" not in columns:
        columns["flops"] = [int(space.num_flops(arch, *sizes)) for arch in archs]
    if truth:
        columns["accuracy"] = np.asarray(truth.accuracy)
    documents.write_csv(path, (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)))


def correlations(scores: Mapping[str, np.ndarray], truth: "Truth | None" = None) -> tuple[list[str], np.ndarray]:
    """(labels, and "accuracy" where there is a truth; Spearman's rho of each pair of them, NaN where one is constant).

    Args:
        scores: label to float64[A]; what is not finite ranks last.
        truth: accuracies to compare with, or None.
    """
    columns = dict(scores) | ({"accuracy": np.asarray(truth.accuracy, np.float64)} if truth else {})
    ranks = np.stack([scipy.stats.rankdata(np.where(np.isfinite(c), c, -np.inf)) for c in columns.values()])
    own = ranks - ranks.mean(1, keepdims=True)
    scale = np.sqrt(np.square(own).sum(1))
    product = np.outer(scale, scale)
    rho = np.divide(own @ own.T, product, out=np.full(product.shape, np.nan), where=product > 0)
    return list(columns), rho


def _write_correlations(folder: pathlib.Path, scores: Mapping[str, np.ndarray], truth: "Truth | None") -> list[str]:
    """Writes the matrix of `correlations` where there are two columns to correlate; returns the names of the files."""
    from zsnas_jax.reports import plots

    names, rho = correlations(scores, truth)
    if len(names) < 2:
        return []
    blank = lambda value: None if np.isnan(value) else float(value)
    rows = [
        {"proxy": name} | dict(zip(names, map(blank, row), strict=True)) for name, row in zip(names, rho, strict=True)
    ]
    documents.write_csv(folder / "correlations.csv", rows)
    num_archs = len(next(iter(scores.values())))
    title = f"Spearman's rho of the scores with each other, {num_archs:,} architectures"
    plots.heat_map(folder / "correlations.png", rho, names, names, title)
    return ["correlations.csv", "correlations.png"]


def versions() -> dict[str, str]:
    """Versions of what computed the scores."""
    packages = ("zsnas-jax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy")
    found = {name: importlib.metadata.version(name) for name in packages if _is_installed(name)}
    return {"python": platform.python_version()} | found


def device() -> dict[str, Any]:
    """What the scores were computed on."""
    return {"kind": jax.devices()[0].device_kind, "platform": jax.default_backend(), "cpus": os.cpu_count()}


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _correlation(scores: np.ndarray, truth: np.ndarray, top_k: int) -> dict[str, Any]:
    """Rank correlations with intervals; Kendall's with fewer resamples where there are many architectures."""
    finite = lambda interval: [None if np.isnan(value) else round(value, 6) for value in interval]
    tau_resamples = 1000 if len(scores) <= 2000 else 100
    tau = metrics.bootstrap(metrics.kendall, scores, truth, num_resamples=tau_resamples)
    rho = metrics.bootstrap_spearman(scores, truth)
    names = ("value", "low", "high")
    return {
        "spearman": dict(zip(names, finite(rho), strict=True)) | {"num_resamples": 1000},
        "kendall": dict(zip(names, finite(tau), strict=True)) | {"num_resamples": tau_resamples},
        "top_mean_accuracy": float(metrics.top_k(scores, truth, top_k).mean()),
        "best_by_score_accuracy": float(metrics.top_k(scores, truth, 1)[0]),
    }


def _top(
    space: SearchSpace, archs: np.ndarray, scores: np.ndarray, truth: np.ndarray | None, top_k: int
) -> list[dict[str, Any]]:
    rows = []
    for i in np.argsort(-scores, kind="stable")[:top_k]:
        row = {"arch": space.encode(archs[i]), "score": float(scores[i]) if np.isfinite(scores[i]) else None}
        if space.to_index:
            row["index"] = int(space.to_index(archs[i]))
        if truth is not None:
            row["accuracy"] = float(truth[i])
        rows.append(row)
    return rows


class Truth(NamedTuple):
    """Trained accuracy to compare with.

    Attributes:
        benchmark: a table.
        column: of it.
        accuracy: float32[A].
        warning: that it is of another data set than the pictures, or None.
    """

    benchmark: TabularBenchmark
    column: str
    accuracy: np.ndarray
    warning: str | None = None


def find_truth(
    benchmark: TabularBenchmark, column: str | None, space: SearchSpace, archs: np.ndarray, dataset: str
) -> Truth:
    """Looks up the architectures' accuracies.

    Args:
        benchmark: the table.
        column: name of a column or its beginning; None: the task's, else the data set's test accuracy.
        space: the search space.
        archs: int32[A, G].
        dataset: name of the data set, or path of one; a path is taken to be of the data set that its name begins with.

    Raises:
        ValueError: if the benchmark is of another space, or lacks the column or an architecture.
    """
    rows = benchmark.rows_of(space, archs)
    if column is None:
        column = _default_column(benchmark, space, dataset)
    column = benchmark.resolve(column)
    accuracy = benchmark.lookup(column, rows)
    return Truth(benchmark, column, accuracy, _warn_of_another(dataset, space, benchmark, column))


def _default_column(benchmark: TabularBenchmark, space: SearchSpace, dataset: str) -> str:
    """The task's first column; without a task the data set's test accuracy, else CIFAR-10's, else the first.

    Raises:
        ValueError: if there is none of the task.
    """
    if space.task:
        found = [name for name in benchmark.columns if name.startswith(f"{space.task.name}_")]
        if not found:
            raise ValueError(f"benchmark {benchmark.name} has no column of task {space.task.name}")
        return found[0]
    guesses = (f"{dataset}_test_200_mean", f"{dataset}_test_90_single", "cifar10_test_200_mean")
    return next((name for name in guesses if name in benchmark.columns), next(iter(benchmark.columns)))


def _warn_of_another(dataset: str, space: SearchSpace, benchmark: TabularBenchmark, column: str) -> str | None:
    """That a column is of another task or data set than what is scored; None where it is not, or pictures are noise."""
    if space.task:
        if column.startswith(f"{space.task.name}_"):
            return None
        return (
            f"scores under task {space.task.name} are compared with column {column} of {benchmark.name}, which is of "
            "another: --benchmark_column names another, --task too"
        )
    found = re.match(r"([a-z0-9_]+?)(split)?_(test|valid)_", column)
    pictures = pathlib.Path(dataset).stem
    if dataset == "noise" or not found or re.match(rf"{found[1]}(?![a-z0-9])", pictures):
        return None
    return (
        f"pictures of {shorten(pictures)} are compared with accuracies of {found[1]}, column {column} of "
        f"{benchmark.name}: --benchmark_column names another"
    )


def _count_convolutions(space: SearchSpace, archs: np.ndarray) -> np.ndarray | None:
    """int64[A]; None for a space that does not count them."""
    return np.array([int(space.num_convolutions(arch)) for arch in archs]) if space.num_convolutions else None


def diagnose(
    space: SearchSpace, archs: np.ndarray, scores: dict[str, np.ndarray], truth: Truth | None
) -> dict[str, ByConvolutions]:
    """Label to diagnosis by number of convolutions; empty without a truth, or where the space does not count them.

    Args:
        space: the search space.
        archs: int32[A, G].
        scores: label to float64[A].
        truth: accuracies to compare with, or None.
    """
    numbers = _count_convolutions(space, archs)
    if truth is None or numbers is None:
        return {}
    return {name: diagnostics.by_convolutions(values, truth.accuracy, numbers) for name, values in scores.items()}


def make_report(
    space: SearchSpace,
    archs: np.ndarray,
    scores: dict[str, np.ndarray],
    settings: dict[str, Any],
    scored_by: Mapping[str, Proxy | Vote],
    run: dict[str, Any],
    truth: Truth | None,
    diagnoses: Mapping[str, ByConvolutions] = MappingProxyType({}),
    failures: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    stored: Mapping[str, int] = MappingProxyType({}),
    top_k: int = TOP,
) -> dict[str, Any]:
    """The machine-readable report.

    Args:
        space: the search space.
        archs: int32[A, G].
        scores: label to float64[A].
        settings: what all scores depend on.
        scored_by: label to the proxy or the vote; a vote's experts are labels.
        run: timing and counts.
        truth: accuracies to compare with, or None.
        diagnoses: what `diagnose` returned.
        failures: label to why the proxy failed, by architecture.
        stored: label to how many scores the folder holds, of earlier runs too.
        top_k: how many of the best by each score are listed.
    """
    accuracy = truth.accuracy if truth else None
    report: dict[str, Any] = {
        "settings": settings,
        "num_archs": len(archs),
        "top_k": top_k,
        "stored": dict(stored),
        "run": run,
        "device": device(),
        "versions": versions(),
        "benchmark": None,
        "proxies": {},
    }
    if settings.get("share_isomorphic"):
        report["approximation"] = "architectures have the score of their pruned form, which isomorphic ones share"
    if truth:
        report["benchmark"] = {
            "name": truth.benchmark.name,
            "column": truth.column,
            "source": truth.benchmark.source,
            "sha256": truth.benchmark.checksum,
            "best_accuracy": float(truth.accuracy.max()),
            "warning": truth.warning,
        }
    for name, values in scores.items():
        entry = describe(scored_by[name]) | _count_undefined(scored_by[name], values, failures.get(name, {}))
        if truth:
            entry |= _correlation(values, truth.accuracy, top_k)
        if name in diagnoses:
            entry["by_convolutions"] = diagnostics.as_json(diagnoses[name])
        report["proxies"][name] = entry | {"top": _top(space, archs, values, accuracy, top_k)}
    return report


def describe(scored_by: Proxy | Vote) -> dict[str, Any]:
    """What a proxy or a vote is, as JSON."""
    described = {"name": scored_by.name, "settings": dict(scored_by.settings), "reference": scored_by.reference}
    return described | ({"experimental": scored_by.experimental} if isinstance(scored_by, Vote) else {})


def _count_undefined(scored_by: Proxy | Vote, scores: np.ndarray, failures: Mapping[str, str]) -> dict[str, Any]:
    """How many scores are not finite, and why."""
    entry: dict[str, Any] = {"degenerate": int(np.sum(~np.isfinite(scores)))}
    if isinstance(scored_by, Proxy) and scored_by.undefined and entry["degenerate"] > len(failures):
        entry["undefined"] = scored_by.undefined
    return entry | ({"failed": dict(failures)} if failures else {})


def _interval_text(entry: Mapping[str, Any]) -> str:
    bounds = [entry[name] for name in metrics.Interval._fields]
    return documents.format_interval(None if None in bounds else metrics.Interval(*bounds))


def _top_rows(top: list[dict[str, Any]]) -> list[dict[str, Any]]:
    columns = ("index", "score", "accuracy", "arch")
    percent = lambda row: {"accuracy": f"{100 * row['accuracy']:.2f} %"} if "accuracy" in row else {}
    rows = [{"rank": i} | {key: (row | percent(row)).get(key) for key in columns} for i, row in enumerate(top, 1)]
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def _proxy_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row a proxy or vote, for people."""
    truth, rows = report["benchmark"], []
    for name, entry in report["proxies"].items():
        row = {"proxy": name, "no finite score": f"{entry['degenerate']} of {report['num_archs']}"}
        if truth:
            row |= {
                "Spearman rho [95 %]": _interval_text(entry["spearman"]),
                "Kendall tau [95 %]": _interval_text(entry["kendall"]),
                f"mean accuracy of top {report['top_k']}": f"{100 * entry['top_mean_accuracy']:.2f} %",
            }
        rows.append(row)
    return rows


def as_text(report: dict[str, Any]) -> str:
    """The report for the terminal."""
    run, truth = report["run"], report["benchmark"]
    lines = ["", tabulate(_proxy_rows(report), headers="keys", tablefmt="simple", disable_numparse=True)]
    if truth:
        lines.append(
            f"\ntruth: {truth['column']} of {truth['name']}, best of these {100 * truth['best_accuracy']:.2f} %"
        )
        if truth["warning"]:
            lines.append(f"warning: {truth['warning']}")
    votes = [name for name, entry in report["proxies"].items() if "experts" in entry["settings"]]
    for name in votes or list(report["proxies"])[:1]:
        top = tabulate(_top_rows(report["proxies"][name]["top"]), headers="keys", floatfmt=".4f")
        lines += [f"\nbest by {name}:", top]
    for name, entry in report["proxies"].items():
        failed = entry.get("failed", {})
        if "undefined" in entry:
            lines.append(f"\n{name} has no score of {entry['degenerate'] - len(failed)}: {entry['undefined']}")
        if failed:
            arch, reason = next(iter(failed.items()))
            lines.append(f"\n{name} failed on {len(failed)} architectures, for example {arch}: {reason}")
    if others := [f"{name} ({count})" for name, count in report["stored"].items() if name not in report["proxies"]]:
        lines.append(f"\nthe folder also has scores of {', '.join(others)}")
    if "approximation" in report:
        lines.append(f"\nnote: {report['approximation']}")
    first = f"the first call with its compilation {run['first_call_seconds']:.1f} s"
    lines.append(
        f"\n{run['num_scored']} scored now, {run['num_reused']} found in the store; {run['scoring_seconds']:.1f} s, "
        f"of which {first}; {run['num_compilations']} compilations; {run['num_devices']} devices"
    )
    return "\n".join(lines)


def write_all(
    folder: str | os.PathLike[str],
    space: SearchSpace,
    archs: np.ndarray,
    scores: dict[str, np.ndarray],
    report: dict[str, Any],
    truth: Truth | None,
    diagnoses: Mapping[str, ByConvolutions] = MappingProxyType({}),
    *,
    sizes: Sizes,
    missing: str = "-inf",
) -> list[str]:
    """Writes the files of a run and returns their names.

    Always scores.csv and report.json; if there is a truth to compare with, scatter.png; with diagnoses by number of
    convolutions, convolutions.csv and convolutions.png; of several columns correlations.csv and correlations.png; and
    report.html, which shows them all.
    `sizes` and `missing` are as of `write_scores`.
    """
    from zsnas_jax.reports import plots  # here: matplotlib would be a second of every command's start

    folder = pathlib.Path(folder)
    written = ["scores.csv", "report.json"]
    write_scores(folder / "scores.csv", space, archs, scores, sizes, truth, missing)
    files.write_text(folder / "report.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    if truth:
        rho = {name: _interval_text(report["proxies"][name]["spearman"]) for name in scores}
        titles = {name: plots.in_lines(f"{name}: rho = {rho[name]}") for name in scores}
        plots.scatter(folder / "scatter.png", scores, truth.accuracy, titles, truth.column)
        written.append("scatter.png")
    numbers = _count_convolutions(space, archs)
    if truth and diagnoses and numbers is not None:
        rows = [row for name, found in diagnoses.items() for row in diagnostics.as_rows(found, proxy=name)]
        documents.write_csv(folder / "convolutions.csv", rows)
        plots.by_convolutions(folder / "convolutions.png", scores, numbers, diagnoses, truth.column)
        written += ["convolutions.csv", "convolutions.png"]
    written += _write_correlations(folder, scores, truth)
    return [*written, _write_page(folder, report, [name for name in written if name.endswith(".png")])]


def _write_page(folder: pathlib.Path, report: Mapping[str, Any], pictures: Sequence[str]) -> str:
    truth = report["benchmark"]
    note = f"{report['num_archs']:,} architectures"
    note += f"; accuracies: {truth['column']} of {truth['name']}" if truth else ""
    note += f". {truth['warning']}" if truth and truth["warning"] else ""
    sections = [Section("Scores", _proxy_rows(report), note=note), Section("Pictures", pictures=pictures)]
    in_words = lambda row: {name: f"{v:.4f}" if isinstance(v, float) else str(v) for name, v in row.items()}
    for name, entry in report["proxies"].items():
        sections.append(Section(f"Best by {name}", [in_words(row) for row in _top_rows(entry["top"])]))
    what = page.settings_section(report["settings"])
    return page.write(folder, f"Scores of {report['settings'].get('space', 'architectures')}", [*sections, what])

"""Accuracies of what searches found beside printed ones, as Markdown and CSV. S seeds."""

from collections import Counter
from collections.abc import Mapping, Sequence
import functools
from typing import Any, NamedTuple

import numpy as np

from projects.wrcor.paper import Figure
from zsnas_jax.reports import metrics
from zsnas_jax.reports.documents import markdown_table
from zsnas_jax.reports.search_report import resampled_means

NAN = float("nan")


class Summary(NamedTuple):
    """Accuracies over seeds, as fractions.

    Attributes:
        mean: over seeds, with the 95 % interval of a bootstrap over them (1,000 resamples, seed 0); no interval, NaN,
            for a single one.
        std: deviation with S - 1; NaN for a single seed.
        num_seeds: S.
    """

    mean: metrics.Interval
    std: float
    num_seeds: int


def summarise(accuracies: np.ndarray) -> Summary:
    """The summary of accuracies float[S], of which none is NaN."""
    return _summarise(tuple(np.asarray(accuracies, np.float64).tolist()))


@functools.lru_cache(4096)  # documents are written again after every search
def _summarise(accuracies: tuple[float, ...]) -> Summary:
    values = np.array(accuracies)
    if len(values) < 2:
        return Summary(metrics.Interval(float(values.mean()), NAN, NAN), NAN, len(values))
    return Summary(metrics.interval(resampled_means(values[:, None])[:, 0]), float(values.std(ddof=1)), len(values))


class Optimum(NamedTuple):
    """The best of a table: the column, the row, its accuracy."""

    column: str
    row: int
    accuracy: float


def find_optimum(column: str, accuracy: np.ndarray) -> Optimum:
    """The optimum of a column float[A], NaN where an architecture has none."""
    row = int(np.nanargmax(accuracy))
    return Optimum(column, row, float(accuracy[row]))


class Finding(NamedTuple):
    """A line: an algorithm and the accuracy that it is held to.

    Attributes:
        row: the paper's name of it, or one made like those.
        judge: ours of what it goes by; empty where nothing of ours stands there.
        how: what was searched, in words; empty where the document says it for all.
        condition: the column of the paper's table.
        paper: its figure.
        summary: ours; None where it is not done.
        optimum: best accuracy of the table that ours are looked up in; None where regret means nothing.
    """

    row: str
    judge: str
    how: str
    condition: str
    paper: Figure
    summary: Summary | None
    optimum: float | None


def as_record(finding: Finding) -> dict[str, Any]:
    """A line as numbers, None where there is none; accuracies as fractions."""
    blank = lambda value: None if np.isnan(value) else float(value)
    record: dict[str, Any] = {
        "row": finding.row,
        "score": finding.judge,
        "how": finding.how,
        "condition": finding.condition,
        "paper": blank(finding.paper.value),
        "paper_std": blank(finding.paper.std),
    }
    record |= dict.fromkeys(("ours", "std", "low", "high", "difference", "regret", "num_seeds"))
    if (summary := finding.summary) is None:
        return record
    mean, low, high = summary.mean
    record |= {"ours": mean, "std": blank(summary.std), "low": blank(low), "high": blank(high)}
    record |= {"difference": blank(mean - finding.paper.value), "num_seeds": summary.num_seeds}
    return record | {"regret": None if finding.optimum is None else finding.optimum - mean}


def percent(value: float | None, std: float | None = None, sign: str = "") -> str:
    """An accuracy for people, in percent: "93.10", "93.10 ± 0.20", empty for None."""
    if value is None:
        return ""
    return f"{100 * value:{sign}.2f}" + ("" if std is None else f" ± {100 * std:.2f}")


def as_markdown(findings: Sequence[Finding]) -> str:
    """The lines as a Markdown table in percent, without the column `how` where nothing stands in it."""
    table = []
    for line in map(as_record, findings):
        bounds = "" if line["low"] is None else f"[{percent(line['low'])}, {percent(line['high'])}]"
        told = {"how": line["how"]} if any(finding.how for finding in findings) else {}
        table.append(
            {"row": line["row"], "score": line["score"], **told, "column": line["condition"]}
            | {"paper": percent(line["paper"], line["paper_std"]), "ours": percent(line["ours"], line["std"])}
            | {"95 % interval of the mean": bounds, "difference": percent(line["difference"], sign="+")}
            | {"regret": percent(line["regret"]), "seeds": str(line["num_seeds"] or "")}
        )
    return markdown_table(table)


def cells_record(row: str, judge: str, indices: np.ndarray, named: Mapping[str, int]) -> dict[str, str]:
    """Which cells a search found: how many different ones, the most frequent, and the share of seeds with named ones.

    Args:
        row: of the search.
        judge: what it goes by.
        indices: int[S].
        named: heading to published index.
    """
    counts = Counter(indices.tolist())
    index, number = min(counts.items(), key=lambda item: (-item[1], item[0]))
    share = lambda number: f"{100 * number / len(indices):.0f} %"
    record = {"row": row, "score": judge, "different cells": str(len(counts))}
    record |= {"most found": str(index), "by": share(number)}
    return record | {heading: share(counts[index]) for heading, index in named.items()}

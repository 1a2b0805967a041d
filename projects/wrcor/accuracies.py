"""Accuracies of what searches found beside the paper's, as lines of Markdown and CSV. S seeds."""

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


class Line(NamedTuple):
    """A line of a table of searches: an algorithm and the accuracy of what it finds.

    Attributes:
        row: the paper's name of it, or one made like those.
        score: ours of what it maximises; empty where nothing of ours stands there.
        how: what was searched, in words; empty where the document says it for all.
        condition: the column of the paper's table.
        paper: its figure.
        summary: ours; None where it is not done.
        optimum: best accuracy of the table that ours are looked up in; None where regret means nothing.
    """

    row: str
    score: str
    how: str
    condition: str
    paper: Figure
    summary: Summary | None
    optimum: float | None


def as_record(line: Line) -> dict[str, Any]:
    """A line as numbers, None where there is none; accuracies as fractions."""
    blank = lambda value: None if np.isnan(value) else float(value)
    record: dict[str, Any] = {
        "row": line.row,
        "score": line.score,
        "how": line.how,
        "condition": line.condition,
        "paper": blank(line.paper.value),
        "paper_std": blank(line.paper.std),
    }
    record |= dict.fromkeys(("ours", "std", "low", "high", "difference", "regret", "num_seeds"))
    if (summary := line.summary) is None:
        return record
    mean, low, high = summary.mean
    record |= {"ours": mean, "std": blank(summary.std), "low": blank(low), "high": blank(high)}
    record |= {"difference": blank(mean - line.paper.value), "num_seeds": summary.num_seeds}
    return record | {"regret": None if line.optimum is None else line.optimum - mean}


def percent(value: float | None, std: float | None = None, sign: str = "") -> str:
    """An accuracy for people, in percent: "93.10", "93.10 ± 0.20", empty for None."""
    if value is None:
        return ""
    return f"{100 * value:{sign}.2f}" + ("" if std is None else f" ± {100 * std:.2f}")


def as_markdown(lines: Sequence[Line]) -> str:
    """The lines as a Markdown table in percent, without the column `how` where nothing stands in it."""
    table = []
    for record in map(as_record, lines):
        bounds = "" if record["low"] is None else f"[{percent(record['low'])}, {percent(record['high'])}]"
        told = {"how": record["how"]} if any(line.how for line in lines) else {}
        table.append(
            {"row": record["row"], "score": record["score"], **told, "column": record["condition"]}
            | {"paper": percent(record["paper"], record["paper_std"]), "ours": percent(record["ours"], record["std"])}
            | {"95 % interval of the mean": bounds, "difference": percent(record["difference"], sign="+")}
            | {"regret": percent(record["regret"]), "seeds": str(record["num_seeds"] or "")}
        )
    return markdown_table(table)


def cells_record(row: str, score: str, indices: np.ndarray, named: Mapping[str, int]) -> dict[str, str]:
    """Which cells a search found: how many different ones, the most frequent, and the share of seeds with named ones.

    Args:
        row: of the search.
        score: what it maximises.
        indices: int[S].
        named: heading to published index.
    """
    counts = Counter(indices.tolist())
    index, number = min(counts.items(), key=lambda item: (-item[1], item[0]))
    share = lambda number: f"{100 * number / len(indices):.0f} %"
    record = {"row": row, "score": score, "different cells": str(len(counts))}
    record |= {"most found": str(index), "by": share(number)}
    return record | {heading: share(counts[index]) for heading, index in named.items()}

"""Our rank correlations beside the paper's, as lines of Markdown and CSV. A architectures."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from zsnas_jax.reports import metrics
from zsnas_jax.reports.documents import csv_text, format_bounds, format_figure, markdown_table
from zsnas_jax.reports.score_report import TOP

NAN = float("nan")


class Outcome(NamedTuple):
    """How a score ranks architectures.

    Attributes:
        rho: Spearman's with its 95 % bootstrap interval; NaN where a score is constant.
        num_undefined: architectures without a finite score, which rank last; None for a summary of outcomes.
        top_accuracy: mean accuracy, a fraction, of the `TOP` best by the score.
    """

    rho: metrics.Interval
    num_undefined: int | None
    top_accuracy: float


def measure(scores: np.ndarray, truth: np.ndarray) -> Outcome:
    """The outcome of scores float[A] against accuracies float[A]."""
    return Outcome(
        metrics.bootstrap_spearman(scores, truth),
        int(np.sum(~np.isfinite(scores))),
        float(metrics.top_k(scores, truth, TOP).mean()),
    )


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
    """Mean ("avg.") and population deviation ("std.") of |rho|, as the paper has them; no intervals, no counts."""
    sizes = np.abs([outcome.rho.value for outcome in outcomes])
    values = {"avg.": float(sizes.mean()), "std.": float(sizes.std())}
    return {name: Outcome(metrics.Interval(value, NAN, NAN), None, NAN) for name, value in values.items()}


class Line(NamedTuple):
    """A line of a table of rank correlations.

    Attributes:
        row: the paper's name of it; empty where the paper has none.
        score: ours: a proxy, a vote, or the validation accuracy.
        condition: the column of the paper's table.
        paper: its figure; NaN where none is printed.
        paper_all_cells: its figure over the whole space; NaN where none is printed.
        outcome: ours; None where it is not done.
    """

    row: str
    score: str
    condition: str
    paper: float
    paper_all_cells: float
    outcome: Outcome | None


def _turned(line: Line) -> dict[str, Any]:
    """Columns of a line as numbers, None where there is none: the paper prints |rho|, so ours is turned by its sign."""
    blank = lambda value: None if np.isnan(value) else value
    columns: dict[str, Any] = {
        "row": line.row,
        "score": line.score,
        "condition": line.condition,
        "paper": blank(line.paper),
        "paper_all_cells": blank(line.paper_all_cells),
    }
    names = ("ours", "sign", "low", "high", "difference", "paper_in_interval", "num_undefined", "top_accuracy")
    columns |= dict.fromkeys(names)
    if line.outcome is None:
        return columns
    rho, sign = line.outcome.rho, -1 if line.outcome.rho.value < 0 else 1
    low, high = sorted((sign * rho.low, sign * rho.high))
    columns |= {"ours": abs(rho.value), "low": blank(low), "high": blank(high)}
    columns |= {"num_undefined": line.outcome.num_undefined, "top_accuracy": blank(line.outcome.top_accuracy)}
    if line.outcome.num_undefined is not None and not np.isnan(rho.value):
        columns["sign"] = "-" if sign < 0 else "+"
    if not np.isnan(rho.value - line.paper):
        columns["difference"] = abs(rho.value) - line.paper
        columns["paper_in_interval"] = None if np.isnan(low) else "yes" if low <= line.paper <= high else "no"
    return columns


def _markdown_columns(columns: Mapping[str, Any]) -> dict[str, str]:
    low, high, top = columns["low"], columns["high"], columns["top_accuracy"]
    count = columns["num_undefined"]
    return {
        "row": columns["row"],
        "score": columns["score"],
        "condition": columns["condition"],
        "paper": format_figure(columns["paper"]),
        "paper, all cells": format_figure(columns["paper_all_cells"]),
        "ours": format_figure(columns["ours"]),
        "sign": columns["sign"] or "",
        "95 % interval": format_bounds(low, high),
        "difference": format_figure(columns["difference"], "+"),
        "paper in interval": columns["paper_in_interval"] or "",
        "no finite score": "" if count is None else str(count),
        f"top {TOP} accuracy": "" if top is None else f"{100 * top:.2f} %",
    }


def as_markdown(lines: Sequence[Line]) -> str:
    """The lines as a Markdown table; the column of all cells only where the paper has such figures."""
    table = [_markdown_columns(_turned(line)) for line in lines]
    return markdown_table(_without_empty(table, "paper, all cells"))


def as_csv(lines: Sequence[Line]) -> str:
    """The lines as CSV, accuracies as fractions; an empty field is one that is not there."""
    return csv_text(_without_empty([_turned(line) for line in lines], "paper_all_cells"))


def _without_empty(table: list[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    if any(record[column] not in (None, "") for record in table):
        return table
    return [{name: value for name, value in record.items() if name != column} for record in table]

"""How results are written: records as CSV for machines and as Markdown for people, numbers in one form each.

A record is a mapping from column to value, and all records of a table have the columns of the first. None: there is no
value; NaN: there is one, and it is undefined.
"""

from collections.abc import Iterable, Mapping, Sequence
import csv
import io
import os
from typing import Any

import numpy as np
from tabulate import tabulate

from zsnas_jax.reports.metrics import Interval
from zsnas_jax.storage import files

SIGNIFICANT = 9
"""Significant digits of a number for machines: float32 comes back from them unchanged."""
DECIMALS = 3
"""Decimals of a rank correlation for people, as papers print it."""
UNDEFINED = "undefined"


def format_number(value: float) -> str:
    """A number for machines: "0.811", "1.23456789e-05", "-inf", "nan"."""
    return f"{value:.{SIGNIFICANT}g}"


def format_figure(value: float | None, sign: str = "") -> str:
    """A rank correlation for people: "0.811"; "+0.811" where `sign` is "+"; empty for None, "undefined" for NaN."""
    return "" if value is None else UNDEFINED if np.isnan(value) else f"{value:{sign}.{DECIMALS}f}"


def format_bounds(low: float | None, high: float | None) -> str:
    """The ends of an interval for people: "[0.790, 0.830]"; empty where there is none."""
    return "" if low is None or high is None else f"[{format_figure(low)}, {format_figure(high)}]"


def format_interval(interval: Interval | None) -> str:
    """An estimate with its interval for people: "0.811 [0.790, 0.830]", "undefined" for None or NaN."""
    if interval is None or np.isnan(interval.value):
        return UNDEFINED
    return f"{format_figure(interval.value)} {format_bounds(interval.low, interval.high)}"


def _field(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return format_number(float(value))
    return "" if value is None else str(value)


def csv_text(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as CSV with a heading: `SIGNIFICANT` digits, an empty field where there is no value.

    Raises:
        ValueError: if there is no record, or one has other columns than the first.
    """
    rows = [dict(record) for record in records]
    if not rows:
        raise ValueError("there is no row to write")
    if odd := next((list(row) for row in rows if list(row) != list(rows[0])), None):
        raise ValueError(f"a row has columns {', '.join(odd)}: the first has {', '.join(rows[0])}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_field(value) for value in row.values()] for row in rows)
    return text.getvalue()


def interval_record(name: str, interval: Interval | None, digits: int | None = None) -> dict[str, float | None]:
    """An estimate with its interval as columns of a CSV, `name`, `name_low`, `name_high`; None for NaN.

    Args:
        name: of the estimate.
        interval: of it; None: it is undefined.
        digits: that are kept behind the point; None: all.
    """
    own = interval or (np.nan,) * 3
    known = lambda value: None if np.isnan(value) else float(value) if digits is None else round(float(value), digits)
    return dict(zip((name, f"{name}_low", f"{name}_high"), map(known, own), strict=True))


def write_csv(path: str | os.PathLike[str], records: Iterable[Mapping[str, Any]]) -> None:
    """Writes records as `csv_text`, whole or not at all.

    Raises:
        ValueError: as `csv_text`.
        OSError: if the file cannot be written.
    """
    files.write_text(path, csv_text(records))


def markdown_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as a Markdown table, their texts as they are; columns that a record lacks are empty in it."""
    return str(tabulate(records, headers="keys", tablefmt="github", disable_numparse=True))

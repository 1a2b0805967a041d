"""Whether another implementation ranks architectures as ours does, proxy by proxy."""

from collections.abc import Mapping
import os
import pathlib
from typing import Any

import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.reports import metrics
from zsnas_jax.reports.documents import format_bounds, format_figure, markdown_table, write_csv
from zsnas_jax.storage import files

_HEADING = """# Our proxies beside NAS-Bench-Suite-Zero's

Spearman's rho between our score and theirs, over the architectures that both have; the 95 % interval is of a bootstrap
over architectures (1,000 resamples, seed 0). Another implementation with other weights and another batch: only the
ranks can be compared. Architectures without a finite score in either are counted, and left out of rho.
"""


def agreement(
    ours: Mapping[str, Mapping[str, float]], theirs: TabularBenchmark, space: SearchSpace
) -> list[dict[str, Any]]:
    """How their scores rank what ours do.

    Args:
        ours: proxy to architecture string to score; NaN or nothing where there is none.
        theirs: columns named as our proxies; NaN where an architecture is not there, -inf where it failed.
        space: of both; with a published order.

    Returns:
        A record for each column of theirs: proxy, how many architectures both have, how many of them have no finite
        score in ours and in theirs, rho and its interval; the last three are None where nothing is common.

    Raises:
        ValueError: if the table is of another space.
    """
    if theirs.space != space.name or space.to_index is None:
        raise ValueError(f"{theirs.name} is of space {theirs.space}, the scores of {space.name}")
    records = []
    for proxy, column in theirs.columns.items():
        scores = ours.get(proxy, {})
        archs = sorted(scores)  # the resamples of the bootstrap depend on the order
        indices = np.array([int(space.to_index(space.decode(arch))) for arch in archs], int)
        x, y = np.array([scores[arch] for arch in archs], float), np.asarray(column, float)[indices]
        known = ~np.isnan(x) & ~np.isnan(y)
        x, y = x[known], y[known]
        both = np.isfinite(x) & np.isfinite(y)
        rho = metrics.bootstrap_spearman(x[both], y[both])
        numbers = [None if np.isnan(value) else value for value in rho]
        counts = {"common": len(x), "ours_undefined": np.sum(~np.isfinite(x)), "theirs_failed": np.sum(~np.isfinite(y))}
        figures = dict(zip(("spearman", "low", "high"), numbers, strict=True))
        records.append({"proxy": proxy} | {name: int(count) for name, count in counts.items()} | figures)
    return records


def write(out: str | os.PathLike[str], records: list[dict[str, Any]], ours: str, theirs: TabularBenchmark) -> None:
    """Writes suite_zero.md and suite_zero.csv.

    Args:
        out: the folder.
        records: of `agreement`.
        ours: where our scores come from, for the document.
        theirs: the table.

    Raises:
        OSError: if the folder cannot be made or written.
    """
    rows = []
    for record in records:
        rho, interval = format_figure(record["spearman"]), format_bounds(record["low"], record["high"])
        counts = {name: str(record[name]) for name in ("common", "ours_undefined", "theirs_failed")}
        rows.append({"proxy": record["proxy"]} | counts | {"Spearman": rho, "95 % interval": interval})
    ending = f"Ours: {ours}. Theirs: {theirs.source}, SHA-256 {theirs.checksum}."
    folder = pathlib.Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the results folder {folder}: {error.strerror}") from error
    files.write_text(folder / "suite_zero.md", f"{_HEADING}\n{markdown_table(rows)}\n\n{ending}\n")
    write_csv(folder / "suite_zero.csv", records)

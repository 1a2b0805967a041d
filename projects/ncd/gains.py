"""How each remedy changes the rank correlation inside each group of cells with equally many convolutions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from projects.ncd.paper import REMEDIES
from zsnas_jax.reports import diagnostics, documents, metrics


def measure_gains(
    scores: Mapping[str, np.ndarray], accuracies: Mapping[str, np.ndarray], numbers: np.ndarray
) -> list[dict[str, Any]]:
    """A record for each data set, remedy and group; the gain is None where it is undefined.

    Args:
        scores: label to float[A].
        accuracies: data set to float[A].
        numbers: of convolutions, int[A].
    """
    records = []
    for dataset, truth in accuracies.items():
        for remedy, bare in REMEDIES.items():
            if remedy in scores and bare in scores:
                gains = diagnostics.gain_by_convolutions(scores[bare], scores[remedy], truth, numbers)
                for number, gain in gains.items():
                    value, low, high = gain or (None, None, None)
                    records.append(
                        {"dataset": dataset, "remedy": remedy, "of": bare, "num_convolutions": number}
                        | {"gain": value, "low": low, "high": high}
                    )
    return records


def as_markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Records of `measure_gains` as a table for people."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for record in records:
        dataset, remedy = record["dataset"], record["remedy"]
        row = rows.setdefault((dataset, remedy), {"data set": dataset, "remedy": remedy})
        known = record["gain"] is not None
        interval = metrics.Interval(record["gain"], record["low"], record["high"]) if known else None
        row[str(record["num_convolutions"])] = documents.format_interval(interval)
    return documents.markdown_table(list(rows.values()))


def summarise(
    diagnoses: Mapping[str, Mapping[str, diagnostics.ByConvolutions]], records: Sequence[Mapping[str, Any]]
) -> str:
    """Which groups are surely negative (interval below 0), and which a remedy surely raises or lowers.

    Args:
        diagnoses: data set to label to the rank correlations inside the groups.
        records: of `measure_gains`.
    """
    listed = lambda numbers: ", ".join(map(str, numbers)) or "none"
    rows = []
    for dataset, proxy, diagnosis in ((d, n, x) for d, found in diagnoses.items() for n, x in found.items()):
        rhos = {group.num_convolutions: group.spearman for group in diagnosis.groups if group.spearman}
        row = {
            "data set": dataset,
            "proxy": proxy,
            "negative estimate": listed(number for number, rho in rhos.items() if rho.value < 0),
            "interval below 0": listed(number for number, rho in rhos.items() if rho.high < 0),
        }
        same = [r for r in records if (r["dataset"], r["remedy"]) == (dataset, proxy) and r["gain"] is not None]
        if same:
            row["remedy raises"] = listed(r["num_convolutions"] for r in same if r["low"] > 0)
            row["remedy lowers"] = listed(r["num_convolutions"] for r in same if r["high"] < 0)
        rows.append(row)
    return documents.markdown_table(rows)

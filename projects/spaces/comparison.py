"""How well proxies rank the architectures of a folder: a row a proxy, the controls among them. A architectures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from projects.spaces.groups import within
from projects.spaces.published import PRINTED
from projects.spaces.scored import Scored, counted, groups_of
from zsnas_jax.reports import metrics
from zsnas_jax.reports.documents import interval_record, markdown_table
from zsnas_jax.reports.metrics import Interval

CONTROLS = ("params", "flops", "num_sites")
TOP = 10
RESAMPLES = 200


class Row(NamedTuple):
    """What a proxy is worth on a space and task.

    Attributes:
        space: with what tells its networks from others.
        task: of its networks, or none.
        proxy: label of the score.
        is_control: whether it is no proxy, but what a proxy has to beat.
        num_archs: how many are compared.
        rho: Spearman's.
        tau: Kendall's.
        ndcg: normalised discounted cumulative gain of the tenth that is ranked first, at least ten.
        alike: as `groups.within` says; None where the space says nothing of architectures that are alike.
        ten_best: mean accuracy of the ten ranked first.
        regret: the best accuracy minus that of the one ranked first.
        undefined: how many have no finite score.
        printed: a paper's rho, or None.
        below: the controls whose rho is higher; nothing where rho is undefined.
    """

    space: str
    task: str
    proxy: str
    is_control: bool
    num_archs: int
    rho: Interval
    tau: Interval
    ndcg: Interval
    alike: Interval | None
    ten_best: float
    regret: float
    undefined: int
    printed: float | None
    below: tuple[str, ...]


def compare(scored: Scored) -> list[Row]:
    """A row a proxy and control, best rho first."""
    counts = counted(scored)
    scores, groups, truth = scored.scores | counts, groups_of(counts), scored.accuracy
    rhos = {name: metrics.bootstrap_spearman(own, truth) for name, own in scores.items()}
    controls = {name: rhos[name].value for name in (*CONTROLS, *counts) if name in rhos}
    best, place = max(TOP, len(truth) // 10), (scored.report["settings"]["space"], scored.task)
    ndcg = lambda own, truth: metrics.ndcg(own, truth, best)
    rows = []
    for name in sorted(rhos, key=lambda name: -np.nan_to_num(rhos[name].value, nan=-2)):
        own, rho = scores[name], rhos[name]
        better = tuple(control for control, value in controls.items() if value > rho.value)
        first = metrics.top_k(own, truth, TOP)
        rows.append(
            Row(
                scored.space,
                scored.task,
                name,
                name in controls,
                len(truth),
                rho,
                metrics.bootstrap(metrics.kendall, own, truth, num_resamples=RESAMPLES),
                metrics.bootstrap(ndcg, own, truth, num_resamples=RESAMPLES),
                None if groups is None else within(own, truth, groups),
                float(first.mean()),
                float(truth.max() - first[0]),
                int((~np.isfinite(own)).sum()),
                PRINTED.get(name, {}).get(place),
                better,
            )
        )
    return rows


def as_markdown(rows: Sequence[Row]) -> str:
    """The rows of a folder for people."""
    return markdown_table(
        [
            {
                "proxy": row.proxy,
                "rho": _text(row.rho),
                "tau": _text(row.tau),
                "nDCG": _text(row.ndcg),
                "among alike": "" if row.alike is None else _text(row.alike),
                "ten best": f"{row.ten_best:.4f}",
                "regret": f"{row.regret:.4f}",
                "undefined": row.undefined or "",
                "printed rho": "" if row.printed is None else f"{row.printed:.2f}",
                "below": "control" if row.is_control else ", ".join(row.below),
            }
            for row in rows
        ]
    )


def as_records(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The rows as flat records for a CSV: an interval is its value, _low and _high."""
    records = []
    for row in rows:
        record: dict[str, object] = {}
        for field, value in row._asdict().items():
            if field in ("rho", "tau", "ndcg", "alike"):
                record |= interval_record(field, value, 4)
            else:
                record[field] = "+".join(value) if field == "below" else value
        records.append(record)
    return records


def _text(found: Interval) -> str:
    if not np.isfinite(found.value):
        return "-"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"

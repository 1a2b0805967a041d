"""What a proxy does as networks gain convolutions: its scores, and its rank correlation among networks of as many.

A proxy that only counts non-linear operations ranks a space well and fails where it matters: among networks that have
many of them its scores may rise as accuracies fall, the negative correlation of NCD. Pooled over the space nothing of
it is seen; the correlation inside each group of equally many convolutions shows it. Axes: A architectures.

Source: Kang et al., "Beyond the Limits: Overcoming Negative Correlation of Activation-Based Training-Free NAS" (NCD),
ICCV 2025, Figures 3 and 4.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from zsnas_jax.reports import metrics
from zsnas_jax.reports.documents import format_interval, markdown_table
from zsnas_jax.reports.metrics import Interval

MIN_GROUP = 10
"""Groups of fewer architectures have no rank correlation."""


class Group(NamedTuple):
    """The architectures of equally many convolutions.

    Attributes:
        num_convolutions: which all of them have.
        num_archs: how many they are.
        num_degenerate: how many of them have no finite score.
        score_mean: of the finite scores, like the three quartiles; None where there is none.
        score_q25: the lower quartile.
        score_median: the median.
        score_q75: the upper quartile.
        spearman: of scores with accuracies, degenerate scores last, with its 95 % bootstrap interval; None for fewer
            than `MIN_GROUP` architectures, and where scores or accuracies are constant.
        accuracy_mean: a fraction.
    """

    num_convolutions: int
    num_archs: int
    num_degenerate: int
    score_mean: float | None
    score_q25: float | None
    score_median: float | None
    score_q75: float | None
    spearman: Interval | None
    accuracy_mean: float


class ByConvolutions(NamedTuple):
    """The groups, fewest convolutions first, and what they come to.

    Attributes:
        groups: a row each.
        spearman_with_convolutions: Spearman's rho of scores with numbers of convolutions; None if one is constant.
        within_group_spearman: sum_g n_g rho_g / sum_g n_g over the groups g that have a rho; None if none has.
    """

    groups: list[Group]
    spearman_with_convolutions: Interval | None
    within_group_spearman: Interval | None


def by_convolutions(
    scores: np.ndarray, accuracies: np.ndarray, num_convolutions: np.ndarray, *, num_resamples: int = 1000
) -> ByConvolutions:
    """Scores and their rank correlation with accuracy, in each group of equally many convolutions and over all.

    Args:
        scores: float[A], larger is better; those that are not finite are degenerate and rank last.
        accuracies: float[A], fractions.
        num_convolutions: int[A].
        num_resamples: of the bootstrap; the weighted mean is resampled group by group.

    Raises:
        ValueError: if the three are not of one length, none at all, or an accuracy is not finite.
    """
    scores, accuracies, numbers = _checked(scores, accuracies, num_convolutions)
    groups, total, weight = [], np.zeros(num_resamples + 1), 0
    for number in np.unique(numbers):
        members = numbers == number
        group = _summary(int(number), scores[members], accuracies[members])
        if group.num_archs >= MIN_GROUP:
            rho = metrics.spearman_resamples(scores[members], accuracies[members], num_resamples=num_resamples)
            group = group._replace(spearman=_interval(rho))
            if group.spearman:
                # A resample in which the group is constant says nothing about it: the estimate stands in.
                total += group.num_archs * np.where(np.isfinite(rho), rho, rho[0])
                weight += group.num_archs
        groups.append(group)
    within = _interval(total / weight) if weight else None
    with_number = metrics.spearman_resamples(scores, numbers, num_resamples=num_resamples)
    return ByConvolutions(groups, _interval(with_number), within)


def gain_by_convolutions(
    before: np.ndarray,
    after: np.ndarray,
    accuracies: np.ndarray,
    num_convolutions: np.ndarray,
    *,
    num_resamples: int = 1000,
) -> dict[int, Interval | None]:
    """What a remedy mends: rho_g(after) - rho_g(before) in each group g, both over the same resamples.

    Args:
        before: float[A], scores without the remedy.
        after: float[A], scores with it.
        accuracies: float[A].
        num_convolutions: int[A].
        num_resamples: of the bootstrap.

    Returns:
        Number of convolutions to the difference with its paired 95 % interval; None as for `Group.spearman`.

    Raises:
        ValueError: as `by_convolutions`.
    """
    before, accuracies, numbers = _checked(before, accuracies, num_convolutions)
    after = _checked(after, accuracies, numbers)[0]
    gains: dict[int, Interval | None] = {}
    for number in np.unique(numbers):
        members = numbers == number
        gains[int(number)] = None
        if members.sum() >= MIN_GROUP:
            rhos = [
                metrics.spearman_resamples(x[members], accuracies[members], num_resamples=num_resamples)
                for x in (before, after)
            ]
            gains[int(number)] = _interval(rhos[1] - rhos[0])
    return gains


def _checked(
    scores: np.ndarray, accuracies: np.ndarray, num_convolutions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three as arrays, with -inf for every score that is not finite."""
    scores, accuracies, numbers = np.asarray(scores, float), np.asarray(accuracies, float), np.asarray(num_convolutions)
    shapes = [array.shape for array in (scores, accuracies, numbers)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or not shapes[0][0]:
        said = ", ".join(map(str, shapes))
        raise ValueError(f"scores, accuracies and num_convolutions have shapes {said}: needed is one length above 0")
    if not np.isfinite(accuracies).all():
        place = int(np.flatnonzero(~np.isfinite(accuracies))[0])
        raise ValueError(f"accuracy {place} is {accuracies[place]}: needed is a finite number")
    return np.where(np.isfinite(scores), scores, -np.inf), accuracies, numbers


def _summary(number: int, scores: np.ndarray, accuracies: np.ndarray) -> Group:
    """A group without its rank correlation."""
    finite = scores[np.isfinite(scores)]
    degenerate, accuracy = len(scores) - len(finite), float(accuracies.mean())
    if not len(finite):
        return Group(number, len(scores), degenerate, None, None, None, None, None, accuracy)
    q25, median, q75 = map(float, np.percentile(finite, [25, 50, 75]))
    return Group(number, len(scores), degenerate, float(finite.mean()), q25, median, q75, None, accuracy)


def _interval(values: np.ndarray) -> Interval | None:
    """`metrics.interval`, but None where it is undefined."""
    found = metrics.interval(values)
    return None if np.isnan(found.value) else found


def as_rows(diagnosis: ByConvolutions, **labels: str) -> list[dict[str, Any]]:
    """The groups as flat rows: the labels, then a group's fields, its rho as spearman, _low and _high; None: undefined.

    Args:
        diagnosis: of one proxy.
        **labels: the first columns, such as `proxy="wrcor"`.
    """
    rows = []
    for group in diagnosis.groups:
        row: dict[str, Any] = dict(labels)
        for field, value in group._asdict().items():
            row |= _flat(group.spearman) if field == "spearman" else {field: value}
        rows.append(row)
    return rows


def _flat(rho: Interval | None) -> dict[str, float | None]:
    names = ("spearman", "spearman_low", "spearman_high")
    return dict(zip(names, rho or (None, None, None), strict=True))


def as_json(diagnosis: ByConvolutions) -> dict[str, Any]:
    """The diagnosis of one proxy as JSON values; what is undefined is null."""
    pooled = {field: getattr(diagnosis, field) for field in ("spearman_with_convolutions", "within_group_spearman")}
    return {field: rho and rho._asdict() for field, rho in pooled.items()} | {"groups": as_rows(diagnosis)}


def as_markdown(diagnoses: Mapping[str, ByConvolutions]) -> str:
    """A table for people: a row a proxy, the rho inside each group, the two pooled statistics, with 95 % intervals.

    Args:
        diagnoses: proxy to its diagnosis, all of the same architectures.
    """
    rows = []
    for name, diagnosis in diagnoses.items():
        groups = {f"{g.num_convolutions} (n {g.num_archs})": format_interval(g.spearman) for g in diagnosis.groups}
        pooled = {
            "weighted mean": format_interval(diagnosis.within_group_spearman),
            "score with number": format_interval(diagnosis.spearman_with_convolutions),
        }
        rows.append({"proxy": name} | groups | pooled)
    return markdown_table(rows)

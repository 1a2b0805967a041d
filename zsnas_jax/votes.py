"""Votes: architectures ranked by several experts at once. Axes: A architectures, E experts, K contestants.

An expert is the name of a score of which more is better. The votes of the papers are pairwise strict majorities:

    x beats y  <=>  #{e : s_e(x) > s_e(y)} > E / 2,

where a score that is not finite (NaN, inf, -inf alike) is smaller than every finite one and ties with its like. The
relation is not transitive: three architectures may beat each other in a ring. A tournament therefore depends on its
order, and a set is ranked by how many each architecture beats (Copeland). More ways to rank a set are here: the papers'
comparator sort, and sums of ranks (Borda's count), of logarithms of ranks and of z-scores. Each raises a ValueError for
scores that are no matrix [A, E], and for weights that `make_vote` would refuse.

All but the sort are counted against a reference, R architectures: by default the set itself, so that a score depends on
who else is in it. Under a reference of its own it does not.

Sources: Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS" (the vote, ZeroCost); Jing et al., "WRCor:
Zero-Shot Neural Architecture Search with Weighted Response Correlation" (SPW, SJW); Lee and Ham, "AZ-NAS", CVPR 2024
(sums of logarithms of ranks); Tybl and Neumann, "Training-free Neural Architecture Search through Variance of Knowledge
of Deep Network Weights", CVPR 2025 (VKDNW's aggregate).
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = np.ndarray | jax.Array

_ZERO_COST = "Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS"
_WRCOR = "Jing et al., WRCor: Zero-Shot Neural Architecture Search with Weighted Response Correlation"
_AZ_NAS = "Lee and Ham, AZ-NAS, CVPR 2024"
_VKDNW = "Tybl and Neumann, VKDNW, CVPR 2025"
_OWN = "own combination of experts"
_EXPERIMENTAL = "experimental, zsnas_jax; measured in benchmarks/EXPERIMENTS.md"
_AZ = ("az_expressivity", "az_progressivity", "az_trainability", "flops")
_VKDNW_AGG = ("vkdnw", "jaccor", "az_expressivity", "az_trainability", "flops")
_QUARTET = ("flops", "gcor_first2", "gcor_first5", "synflow")
_ON_SPACES = "experimental, zsnas_jax; chosen on the four spaces of benchmarks/aggregates/RESULTS.md, without weights"
_QUINTET = ("gcor_first5", "wrcor", "log_params", "gcor_first2", "neg_log_fisher")


class Vote(NamedTuple):
    """Experts and how their scores are put together. One of your own needs no registration: see `make_vote`.

    Attributes:
        name: as in flags and in columns of results; tells apart votes that rank differently.
        experts: names of the scores it reads; an odd number of at least three where a majority decides.
        method: a key of `METHODS`.
        weights: a factor above 0 for each expert (sums only); None: all 1.
        experimental: whether it differs from the published votes, which are unweighted majorities of set experts.
        reference: where the combination comes from.
    """

    name: str
    experts: tuple[str, ...]
    method: str
    weights: tuple[float, ...] | None
    experimental: bool
    reference: str

    @property
    def settings(self) -> dict[str, Any]:
        """What tells the scores of a vote from those of another of its name, JSON values."""
        weights = None if self.weights is None else list(self.weights)
        return {"experts": list(self.experts), "method": self.method, "weights": weights}


VOTES: Mapping[str, Vote] = MappingProxyType(
    {
        "zerocost": Vote("zerocost", ("synflow", "jaccor", "snip"), "copeland", None, False, _ZERO_COST),
        "spw": Vote("spw", ("synflow", "pnorm", "wrcor"), "copeland", None, False, _WRCOR),
        "sjw": Vote("sjw", ("synflow", "jaccor", "wrcor"), "copeland", None, False, _WRCOR),
        "az_nas": Vote("az_nas", _AZ, "log_rank_sum", None, False, _AZ_NAS),
        "vkdnw_agg": Vote("vkdnw_agg", _VKDNW_AGG, "log_rank_sum", None, False, _VKDNW),
        "quartet": Vote("quartet", _QUARTET, "log_rank_sum", None, True, _ON_SPACES),
        "quintet": Vote("quintet", _QUINTET, "z_score_sum", (2.0, 1.0, 0.5, 0.5, 0.25), True, _EXPERIMENTAL),
    }
)
"""The votes that have a name: published ones, and two experimental ones of ours, whose experts share passes."""


def make_vote(
    name_or_experts: str | Sequence[str], method: str | None = None, weights: Sequence[float] | None = None
) -> Vote:
    """A vote that has a name, the same experts put together in another way, or experts of your own.

    Args:
        name_or_experts: a name in `VOTES` ("sjw"), or experts: a sequence, or a string with commas or plus signs
            ("wrcor,snip,zen", "wrcor+snip+zen").
        method: a key of `METHODS`; None: the named vote's own, else "copeland".
        weights: a finite factor above 0 for each expert; None: all 1.

    Returns:
        The vote. Its name is its name in `VOTES`, or the experts joined by "+", a weight w as "w*expert"; then
        ":method" unless that is the default.

    Raises:
        ValueError: for a name that is not in `VOTES`; no expert, an empty name, one given twice; an unknown method; a
            majority of fewer than three or an even number of experts; weights for a majority, not one for each expert,
            or not finite and above 0.
    """
    published, experts = _parse(name_or_experts)
    default = published.method if published else "copeland"
    if published and method in (None, default) and weights is None:
        return published
    method = method or default
    factors = None if weights is None else tuple(float(weight) for weight in weights)
    _check(experts, method, factors)
    if factors is None:
        stem = published.name if published else "+".join(experts)
    else:
        stem = "+".join(f"{factor}*{expert}" for factor, expert in zip(factors, experts, strict=True))
    return Vote(
        name=stem if method == default else f"{stem}:{method}",
        experts=experts,
        method=method,
        weights=factors,
        experimental=published is None or method not in {default, *_MAJORITIES},
        reference=published.reference if published else _OWN,
    )


def _parse(name_or_experts: str | Sequence[str]) -> tuple[Vote | None, tuple[str, ...]]:
    """The published vote, if it is one, and the experts."""
    if not isinstance(name_or_experts, str):
        return None, tuple(name_or_experts)
    text = name_or_experts.strip()
    if text in VOTES:
        return VOTES[text], VOTES[text].experts
    separator = "," if "," in text else "+"
    if separator not in text:
        raise ValueError(f"unknown vote {text!r}: allowed are {', '.join(VOTES)}, or experts joined by commas or +")
    return None, tuple(part.strip() for part in text.split(separator))


def with_experts(vote: Vote, experts: Sequence[str]) -> Vote:
    """The vote of other scores: those of its experts under the settings of a run, by their labels.

    Args:
        vote: whose name stays.
        experts: a label for each of its experts.

    Raises:
        ValueError: if two are the same.
    """
    _check(tuple(experts), vote.method, vote.weights)
    return vote._replace(experts=tuple(experts))


def vote(vote: Vote, scores: Mapping[str, Array], reference: Mapping[str, Array] | None = None) -> np.ndarray:
    """Ranks architectures by a vote.

    Args:
        vote: experts and method.
        scores: expert to float[A], larger is better; those of other experts are ignored.
        reference: expert to float[R], of the architectures that they are counted against; None: of their own set.

    Returns:
        float64[A], finite, larger is better: what `METHODS[vote.method]` says.

    Raises:
        ValueError: if an expert has no scores, or not as many as the first; for a vote that `make_vote` would refuse.
    """
    _check(vote.experts, vote.method, vote.weights)
    if reference is not None and vote.method == "comparator":
        raise ValueError(f"vote {vote.name!r}: the comparator sorts a set, and counts against no reference")
    against = None if reference is None else _of_experts(vote, reference)
    return METHODS[vote.method](_of_experts(vote, scores), vote.weights, against).astype(np.float64)


def _of_experts(vote: Vote, scores: Mapping[str, Array]) -> np.ndarray:
    """float64[A, E]."""
    missing = [expert for expert in vote.experts if expert not in scores]
    if missing:
        there = ", ".join(scores) or "none"
        raise ValueError(f"vote {vote.name!r} lacks scores of {', '.join(missing)}: there are {there}")
    columns = {expert: np.asarray(scores[expert], np.float64) for expert in vote.experts}
    first = columns[vote.experts[0]]
    for expert, column in columns.items():
        if column.ndim != 1 or column.shape != first.shape:
            raise ValueError(
                f"scores of {expert} have shape {column.shape}: one for each of the same architectures is wanted, and "
                f"{vote.experts[0]} has shape {first.shape}"
            )
    return np.stack(list(columns.values()), axis=1)


def beats(x: Array, y: Array) -> Array:
    """Whether more than half of the experts score x strictly higher than y. Traces under jit and vmap.

    Arrays of numpy are compared as they are: in JAX float64 turns into float32, which ties and overflows earlier.

    Args:
        x: float[..., E].
        y: float[..., E], of a shape that broadcasts.

    Returns:
        bool[...], in numpy if neither argument is an array of JAX.

    Raises:
        ValueError: if the number of experts differs.
    """
    xp = jnp if isinstance(x, jax.Array) or isinstance(y, jax.Array) else np
    x, y = xp.asarray(x), xp.asarray(y)
    if x.shape[-1:] != y.shape[-1:] or not x.shape:
        raise ValueError(f"scores of shapes {x.shape} and {y.shape}: the last axis must be the same experts")
    higher = xp.isfinite(x) & ((x > y) | ~xp.isfinite(y))
    return 2 * higher.sum(axis=-1) > x.shape[-1]


def tournament(scores: Array) -> jax.Array:
    """The champion after all contestants have challenged in turn: the older stays unless the newer beats it.

    Args:
        scores: float[K, E], the oldest contestant first. Traces under jit and vmap.

    Returns:
        int32[], the champion's row.

    Raises:
        ValueError: if there is no contestant.
    """
    if np.ndim(scores) != 2 or not len(scores):
        raise ValueError(f"scores of shape {np.shape(scores)}: at least one contestant by experts is wanted")
    # Ranks keep what float32 would lose of numpy's float64.
    return _champion(scores if isinstance(scores, jax.Array) else jnp.asarray(_dense_ranks(_matrix(scores))))


@jax.jit
def _champion(rows: jax.Array) -> jax.Array:
    def challenge(champion: jax.Array, newer: jax.Array) -> tuple[jax.Array, None]:
        return jnp.where(beats(rows[newer], rows[champion]), newer, champion), None

    return jax.lax.scan(challenge, jnp.int32(0), jnp.arange(1, len(rows), dtype=jnp.int32))[0]


def copeland(scores: Array, reference: Array | None = None) -> np.ndarray:
    """The number of architectures of the reference that each one beats; time grows as A R E, memory as (A + R) E.

    Args:
        scores: float[A, E].
        reference: float[R, E]; None: the scores.

    Returns:
        int64[A] in 0..R. Only the order within an expert counts, and ties are possible.

    Deviation: the papers sort by the relation itself (`comparator_sort`); this does not depend on the order given.
    """
    scores, others = _with_reference(scores, reference)
    together = _dense_ranks(scores if others is scores else np.concatenate([scores, others])).T
    own, ranks = together[:, : len(scores)], np.ascontiguousarray(together[:, -len(others) :])
    num_experts, num_archs = own.shape
    wins = np.empty(num_archs, np.int64)
    count = np.min_scalar_type(num_experts)
    for i in range(num_archs):  # a row of comparisons stays in the fastest cache: quicker than blocks of rows
        ayes = (own[:, i, None] > ranks).view(np.uint8).sum(axis=0, dtype=count)
        wins[i] = np.count_nonzero(ayes > num_experts // 2)
    return wins


def comparator_sort(scores: Array) -> np.ndarray:
    """The papers' way to rank a set: Python's sort with `beats` as the comparator, best first, older first on a tie.

    Args:
        scores: float[A, E], the oldest architecture first. The result depends on the order: the relation has rings.

    Returns:
        int64[A], A - 1 for the first in the sorted order down to 0 for the last; no ties.
    """
    rows = _dense_ranks(_matrix(scores)).tolist()
    majority = len(rows[0]) // 2 if rows else 0

    def compare(i: int, j: int) -> int:
        x, y = rows[i], rows[j]
        if sum(map(int.__gt__, x, y)) > majority:
            return -1
        return int(sum(map(int.__gt__, y, x)) > majority)

    places = np.empty(len(rows), np.int64)
    places[sorted(range(len(rows)), key=functools.cmp_to_key(compare))] = np.arange(len(rows))[::-1]
    return places


def rank_sum(scores: Array, weights: Sequence[float] | None = None, reference: Array | None = None) -> np.ndarray:
    """sum_e w_e rank_e (Borda's count), rank_e as of `ranks`.

    Args:
        scores: float[A, E].
        weights: a finite factor above 0 for each expert; None: all 1.
        reference: float[R, E]; None: the scores.

    Returns:
        float64[A].
    """
    return _weighted(ranks(*_with_reference(scores, reference)), weights)


def log_rank_sum(scores: Array, weights: Sequence[float] | None = None, reference: Array | None = None) -> np.ndarray:
    """sum_e w_e log(rank_e / R), rank_e as of `ranks`: whoever is bad in one expert's eyes loses most.

    Args:
        scores: float[A, E].
        weights: a finite factor above 0 for each expert; None: all 1.
        reference: float[R, E]; None: the scores.

    Returns:
        float64[A].

    Source: Lee and Ham, "AZ-NAS", CVPR 2024.
    """
    scores, reference = _with_reference(scores, reference)
    return _weighted(np.log(ranks(scores, reference) / len(reference)), weights)


def ranks(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """1/2 + the number of reference scores that are smaller + half of those that are equal.

    Of a set in itself that is the rank from 1 for the worst, ties sharing their mean. Scores that are not finite are
    smaller than all others, and equal among themselves.

    Args:
        scores: float[A, E].
        reference: float[R, E].

    Returns:
        float64[A, E].
    """
    found = np.empty(scores.shape)
    for column, others, own in zip(scores.T, reference.T, found.T, strict=True):
        finite, known = np.isfinite(column), np.sort(others[np.isfinite(others)])
        failed = len(others) - len(known)
        first, last = (np.searchsorted(known, column[finite], side) for side in ("left", "right"))
        own[finite] = 0.5 + failed + (first + last) / 2
        own[~finite] = 0.5 + failed / 2
    return found


def z_score_sum(scores: Array, weights: Sequence[float] | None = None, reference: Array | None = None) -> np.ndarray:
    """sum_e w_e (s_e - mean_e) / std_e: mean and population deviation over the finite reference scores of the expert.

    Where the finite scores are all equal, they count 0. A score that is not finite counts the lowest finite z of the
    reference minus 1: it loses to every finite one in its expert, by a deviation, and the other experts are still
    heard.

    Args:
        scores: float[A, E].
        weights: a finite factor above 0 for each expert; None: all 1.
        reference: float[R, E]; None: the scores.

    Returns:
        float64[A], always finite.
    """
    scores, reference = _with_reference(scores, reference)
    z = [_z_scores(column, others) for column, others in zip(scores.T, reference.T, strict=True)]
    return _weighted(np.stack(z, axis=1), weights)


def _z_scores(column: np.ndarray, reference: np.ndarray) -> np.ndarray:
    known = reference[np.isfinite(reference)] / 2  # halves, so that the span of the largest float64 does not overflow
    finite = np.isfinite(column)
    z = np.zeros(finite.sum())
    lowest = 0.0
    if len(known) and (span := np.ptp(known)) > 0:
        unit = (known - known.min()) / span  # z-scores ignore scale and shift; squares of [0, 1] stay in range
        z = ((column[finite] / 2 - known.min()) / span - unit.mean()) / unit.std()
        lowest = -unit.mean() / unit.std()
    result = np.full(len(column), lowest - 1 if len(known) else 0.0)
    result[finite] = z
    return result


def _with_reference(scores: Array, reference: Array | None) -> tuple[np.ndarray, np.ndarray]:
    """Both as matrices of as many experts."""
    own = _matrix(scores)
    others = own if reference is None else _matrix(reference)
    if others.shape[1] != own.shape[1]:
        raise ValueError(f"reference of {others.shape[1]} experts, scores of {own.shape[1]}: as many are wanted")
    return own, others


def _dense_ranks(scores: np.ndarray) -> np.ndarray:
    """Each expert's order as small integers[A, E]: equal scores share one, those that are not finite are 0."""
    dtype = np.int16 if len(scores) <= np.iinfo(np.int16).max else np.int32
    ranks = np.zeros(scores.shape, dtype)
    for column, rank in zip(scores.T, ranks.T, strict=True):
        finite = np.isfinite(column)
        rank[finite] = 1 + np.unique(column[finite], return_inverse=True)[1]
    return ranks


def _matrix(scores: Array) -> np.ndarray:
    matrix = np.asarray(scores, np.float64)
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise ValueError(f"scores of shape {matrix.shape}: a matrix of architectures by experts is wanted")
    return matrix


def _weighted(terms: np.ndarray, weights: Sequence[float] | None) -> np.ndarray:
    """sum_e w_e terms[:, e], one e at a time: equal rows have equal sums, which a BLAS product does not promise."""
    _check_weights(weights, terms.shape[1])
    factors = [1.0] * terms.shape[1] if weights is None else weights
    return sum((factor * term for factor, term in zip(factors, terms.T, strict=True)), np.zeros(len(terms)))


METHODS: Mapping[str, Callable[[np.ndarray, Sequence[float] | None, np.ndarray | None], np.ndarray]] = MappingProxyType(
    {
        "copeland": lambda scores, _, reference: copeland(scores, reference),
        "rank_sum": rank_sum,
        "comparator": lambda scores, weights, reference: comparator_sort(scores),
        "z_score_sum": z_score_sum,
        "log_rank_sum": log_rank_sum,
    }
)
"""(scores float[A, E], weights, reference float[R, E] or None) to values [A], larger is better."""

_MAJORITIES = ("copeland", "comparator")
SUMS = tuple(method for method in METHODS if method not in _MAJORITIES)
"""The methods that give an architecture a number against a reference, which a search can maximise."""


def _check(experts: tuple[str, ...], method: str, weights: Sequence[float] | None) -> None:
    """Raises a ValueError, one line, for what no vote can be made of."""
    listed = ",".join(experts)
    if not experts or not all(experts):
        raise ValueError(f"experts {listed!r}: at least one, each with a name, is wanted")
    if len(set(experts)) < len(experts):
        raise ValueError(f"experts {listed!r}: one is given twice")
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: allowed are {', '.join(METHODS)}")
    if method in _MAJORITIES and (len(experts) < 3 or len(experts) % 2 == 0):
        raise ValueError(f"{len(experts)} experts {listed!r}: a majority needs an odd number of three or more")
    if method in _MAJORITIES and weights is not None:
        raise ValueError(f"weights {list(weights)} with method {method!r}: a majority has none, a sum has")
    _check_weights(weights, len(experts))


def _check_weights(weights: Sequence[float] | None, num_experts: int) -> None:
    if weights is None:
        return
    if len(weights) != num_experts:
        raise ValueError(f"{len(weights)} weights {list(weights)} for {num_experts} experts: one for each is wanted")
    if not all(np.isfinite(weight) and weight > 0 for weight in weights):
        # A weight below 0 would turn a failure into the best score: negate the expert's scores instead.
        raise ValueError(f"weights {list(weights)}: finite numbers above 0 are wanted")

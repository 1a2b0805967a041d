"""How well scores rank architectures: rank correlations with bootstrap intervals, and what the top holds. N archs."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

_AT_ONCE = 1 << 17
"""Draws that are worked on together: what a core's cache holds."""


class Interval(NamedTuple):
    """An estimate with its 95 % bootstrap interval; NaN where there is nothing to correlate."""

    value: float
    low: float
    high: float


def spearman(scores: np.ndarray, truth: np.ndarray) -> float:
    """Spearman's rho of float[N] and float[N]: ties share their mean rank, -inf ranks last. NaN if one is constant."""
    return _pearson(scipy.stats.rankdata(scores), scipy.stats.rankdata(truth))


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt(np.square(x).sum() * np.square(y).sum())
    return float(np.sum(x * y) / scale) if scale > 0 else float("nan")


def kendall(scores: np.ndarray, truth: np.ndarray) -> float:
    """Kendall's tau-b of float[N] and float[N]. NaN if one is constant."""
    return float(scipy.stats.kendalltau(scipy.stats.rankdata(scores), scipy.stats.rankdata(truth)).statistic)


def bootstrap(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    scores: np.ndarray,
    truth: np.ndarray,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """A statistic of (scores, truth) with the 2.5 and 97.5 percentiles over resamples of the architectures.

    For Spearman's rho `bootstrap_spearman` gives the same, sooner.

    Args:
        statistic: for example `kendall`.
        scores: float[N].
        truth: float[N].
        num_resamples: how often N of the N pairs are drawn with replacement.
        seed: of the draws; equal for two statistics of the same N, so that they can be compared in pairs.
    """
    if len(scores) < 2:
        return interval(np.array([np.nan]))
    rng, size = np.random.default_rng(seed), len(scores)
    draws = (rng.integers(0, size, size) for _ in range(num_resamples))
    return interval(np.array([statistic(scores, truth), *(statistic(scores[draw], truth[draw]) for draw in draws)]))


def bootstrap_spearman(scores: np.ndarray, truth: np.ndarray, *, num_resamples: int = 1000, seed: int = 0) -> Interval:
    """What `bootstrap` says of `spearman`, from the same resamples: many at once, and none is sorted.

    Args:
        scores: float[N].
        truth: float[N].
        num_resamples: R.
        seed: of the draws.
    """
    return interval(spearman_resamples(scores, truth, num_resamples=num_resamples, seed=seed))


def spearman_resamples(
    scores: np.ndarray, truth: np.ndarray, *, num_resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Spearman's rho, then that of R resamples of the architectures, float64[1 + R]; NaN where it is undefined.

    A resample is how often each architecture is in it, w: mean ranks are running sums of w in an order that is found
    once, and rho = sum_i w_i x_i y_i / sqrt(sum_i w_i x_i^2 sum_i w_i y_i^2) of ranks x, y less their mean. Equal N get
    equal resamples, so that differences of two results are paired.

    Args:
        scores: float[N].
        truth: float[N].
        num_resamples: R.
        seed: of the draws.
    """
    size = len(scores)
    if size < 2:
        return np.full(1 + num_resamples, np.nan)
    rng, step = np.random.default_rng(seed), max(_AT_ONCE // size, 1)
    rank_x, rank_y = _ranker(scores), _ranker(truth)
    rhos = [np.array([spearman(scores, truth)])]
    for start in range(0, num_resamples, step):
        draws = rng.integers(0, size, (min(step, num_resamples - start), size))
        rows = size * np.arange(len(draws))[:, None]
        w = np.bincount((draws + rows).ravel(), minlength=draws.size).reshape(draws.shape)
        x, y = rank_x(w), rank_y(w)
        moment = lambda u, v, w=w: np.einsum("rn,rn,rn->r", w, u, v)
        scale = np.sqrt(moment(x, x) * moment(y, y))
        rhos.append(np.divide(moment(x, y), scale, out=np.full(len(w), np.nan), where=scale > 0))
    return np.concatenate(rhos)


def _ranker(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Of x float[N]: a function of counts int[R, N] to mean ranks float[R, N] in these resamples, less their mean."""
    order = np.argsort(x, kind="stable")
    level = np.unique(x, return_inverse=True)[1]
    starts = np.flatnonzero(np.diff(level[order], prepend=-1))

    def rank(counts: np.ndarray) -> np.ndarray:
        equal = np.add.reduceat(counts[:, order], starts, axis=1)
        mean_rank = equal.cumsum(axis=1) - (equal - 1) / 2
        return mean_rank[:, level] - (len(x) + 1) / 2

    return rank


def interval(values: np.ndarray) -> Interval:
    """The 95 % interval of values float[1 + R]: the estimate, then its resamples, of which NaN is left out.

    NaN where the estimate is; an estimate without a resample stands for its interval.
    """
    estimate, resamples = float(values[0]), values[1:][np.isfinite(values[1:])]
    if not np.isfinite(estimate):
        return Interval(np.nan, np.nan, np.nan)
    low, high = np.percentile(resamples, [2.5, 97.5]) if len(resamples) else (estimate, estimate)
    return Interval(estimate, float(low), float(high))


def top_k(scores: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """The truth, float[min(k, N)], of the k best-scored architectures, best first; of ties the earlier."""
    return truth[np.argsort(-scores, kind="stable")[:k]]


def ndcg(scores: np.ndarray, truth: np.ndarray, k: int) -> float:
    """Normalised discounted cumulative gain of the k best-scored: sum_j (2^a_j - 1) / log2(1 + j), over the ideal sum.

    a_j is the truth of the j-th, scaled so that it spans [0, 1] over all; architectures of equal score share the mean
    of their gains.

    Args:
        scores: float[N].
        truth: float[N].
        k: how many count.

    Returns:
        float in [0, 1]; NaN if the truth is constant.

    Source: as Tybl and Neumann (VKDNW), CVPR 2025, judge rankings.
    """
    span = np.ptp(truth)
    if not span > 0:
        return float("nan")
    gains = 2.0 ** ((truth - truth.min()) / span) - 1
    _, level, counts = np.unique(scores, return_inverse=True, return_counts=True)
    shared = (np.bincount(level, gains) / counts)[level]
    discounts = 1 / np.log2(2 + np.arange(min(k, len(truth))))
    return float(top_k(scores, shared, k) @ discounts / (top_k(gains, gains, k) @ discounts))

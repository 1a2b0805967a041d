"""How well scores rank architectures: rank correlations with bootstrap intervals, and what the top holds. N archs."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """An estimate with its 95 % bootstrap interval; NaN where there is nothing to correlate."""

    value: float
    low: float
    high: float


def spearman(scores: np.ndarray, truth: np.ndarray) -> float:
    """Spearman's rho of float[N] and float[N]: ties share their mean rank, -inf ranks last. NaN if one is constant."""
    return _pearson(stats.rankdata(scores), stats.rankdata(truth))


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt(np.square(x).sum() * np.square(y).sum())
    return float(np.sum(x * y) / scale) if scale > 0 else float("nan")


def kendall(scores: np.ndarray, truth: np.ndarray) -> float:
    """Kendall's tau-b of float[N] and float[N]. NaN if one is constant."""
    return float(stats.kendalltau(stats.rankdata(scores), stats.rankdata(truth)).statistic)


def bootstrap(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    scores: np.ndarray,
    truth: np.ndarray,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """A statistic of (scores, truth) with the 2.5 and 97.5 percentiles over resamples of the architectures.

    Args:
        statistic: for example `spearman`.
        scores: float[N].
        truth: float[N].
        num_resamples: how often N of the N pairs are drawn with replacement.
        seed: of the draws; equal for two statistics of the same N, so that they can be compared in pairs.
    """
    if len(scores) < 2:
        return Interval(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(scores), (num_resamples, len(scores)))
    values = [statistic(scores[draw], truth[draw]) for draw in draws]
    finite = [value for value in values if np.isfinite(value)]
    low, high = np.percentile(finite, [2.5, 97.5]) if finite else (np.nan, np.nan)
    return Interval(statistic(scores, truth), float(low), float(high))


def top_k(scores: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """The truth, float[min(k, N)], of the k best-scored architectures, best first; of ties the earlier."""
    return truth[np.argsort(-scores, kind="stable")[:k]]

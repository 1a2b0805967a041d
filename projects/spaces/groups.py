"""How well scores rank architectures that are alike, such as those of equal depth and width."""

import numpy as np

from zsnas_jax.reports.metrics import Interval, interval

_RESAMPLES = 200


def within(scores: np.ndarray, truth: np.ndarray, groups: np.ndarray, seed: int = 0) -> Interval:
    """Share of pairs of a group that are ranked right, minus that of those ranked wrong; equal scores count as neither.

    Args:
        scores: float[A]; undefined ones rank last.
        truth: float[A]; pairs of equal truth are left out.
        groups: int[A], which architectures are alike.
        seed: of the 200 bootstrap resamples of the architectures.
    """
    same = groups[:, None] == groups[None, :]
    sign = lambda values: np.sign(values[:, None] - values[None, :])
    scores = np.where(np.isfinite(scores), scores, np.min(scores[np.isfinite(scores)], initial=0.0) - 1.0)
    counted = np.float32(same & (sign(truth) != 0))
    agreement = np.float32(sign(scores) * sign(truth)) * counted
    rng, size = np.random.default_rng(seed), len(scores)
    times = [np.ones(size), *(np.bincount(rng.integers(0, size, size), minlength=size) for _ in range(_RESAMPLES))]
    share = lambda w: (w @ agreement @ w) / total if (total := w @ counted @ w) else np.nan
    return interval(np.array([share(np.float32(w)) for w in times]))

"""Accuracies predicted from scores, once a few networks are trained: a Gaussian process over ranks.

A score that holds on one space fails on another; a few trained networks say how much each is worth here. The model is
small and regularised by its own likelihood, so that eight networks are enough to begin with and useless scores do
little harm. Accuracies have long tails, of networks that hardly learn: the process is one of normal scores, the
quantiles of N(0, 1) at the accuracies' ranks, and predictions go back by interpolation. Axes: A architectures, T
trained ones, F features.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, Equations 2.25 and 2.26 (the
prediction), 5.8 (the likelihood), 5.12 (leaving one out).
"""

from collections.abc import Sequence
import itertools
from typing import NamedTuple

import numpy as np
import scipy

from zsnas_jax.votes import ranks

MIN_TRAINED = 8
_BOUNDS = ((-4.0, 3.0), (-4.0, 3.0), (-2.5, 2.5))
_NOISE_BOUNDS = (-4.0, 1.0)
"""Of the logarithms of a `Part`'s values and of the noise, in units of the accuracies' deviation."""
_STARTS = (((0.0, 0.0, 0.0), -1.0), ((0.0, -2.0, 0.0), 0.0), ((-2.0, 0.0, 0.5), -1.0))
_JITTER = 1e-8
_MOST_FOR_LIKELIHOOD = 256
"""A few numbers are well determined by so many networks; the prediction is that of all."""


class Part(NamedTuple):
    """k(x, y) = linear^2 x.y / F + smooth^2 exp(-|x - y|^2 / (2 F length^2)), of one group of F features.

    Attributes:
        columns: of the group.
        linear: deviation of what is linear in the features.
        smooth: deviation of what is smooth in them.
        length: over which it changes.
    """

    columns: slice
    linear: float
    smooth: float
    length: float

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """float[X, F], float[Y, F] of all features to float[X, Y]."""
        linear, smooth = self.terms(*_spread(x[:, self.columns], y[:, self.columns]))
        return linear + smooth

    def terms(self, products: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The linear and the smooth term of x.y / F and |x - y|^2 / F, as `_spread` gives them."""
        return self.linear**2 * products, self.smooth**2 * np.exp(-distances / (2 * self.length**2))

    def prior(self, x: np.ndarray) -> np.ndarray:
        """k(x, x), float[A]."""
        x = x[:, self.columns]
        return self.linear**2 * np.square(x).sum(1) / x.shape[1] + self.smooth**2


class Kernel(NamedTuple):
    """The sum of its parts, and noise^2 on the diagonal: groups of features add what each is worth."""

    parts: tuple[Part, ...]
    noise: float

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """float[X, F], float[Y, F] to float[X, Y], without the noise."""
        return np.sum([part(x, y) for part in self.parts], axis=0)

    def prior(self, x: np.ndarray) -> np.ndarray:
        """k(x, x) without the noise, float[A]."""
        return np.sum([part.prior(x) for part in self.parts], axis=0)


class Calibration(NamedTuple):
    """A fitted model.

    Attributes:
        kernel: whose values have the largest likelihood.
        features: of the trained networks, float64[T, F].
        accuracies: theirs, float64[T].
        target: their normal scores, float64[T].
        factor: lower Cholesky factor of the kernel matrix with noise, float64[T, T].
        weights: the inverse of that matrix times the normal scores, float64[T].
    """

    kernel: Kernel
    features: np.ndarray
    accuracies: np.ndarray
    target: np.ndarray
    factor: np.ndarray
    weights: np.ndarray


class Prediction(NamedTuple):
    """What is predicted, float64[A] each.

    Attributes:
        accuracy: a fraction.
        low: the lower end of the interval of 68 %, a standard deviation, without the noise of training a network.
        high: the upper end.
        score: the normal score, of which the accuracy is a monotone function.
    """

    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    score: np.ndarray


def score_features(scores: np.ndarray) -> np.ndarray:
    """Ranks of scores float[A, F] among all, scaled to [-sqrt(3), sqrt(3)]: of mean 0 and deviation 1 without ties."""
    share = (ranks(scores, scores) - 0.5) / max(len(scores) - 1, 1)
    return np.sqrt(12.0) * (share - 0.5)


def fit(features: np.ndarray, accuracies: np.ndarray, groups: Sequence[int] | None = None) -> Calibration:
    """The model of the largest likelihood, which is taken of `_MOST_FOR_LIKELIHOOD` networks at most.

    Args:
        features: of the trained networks, float[T, F].
        accuracies: float[T], fractions.
        groups: how many features belong together, of which the likelihood says what each group is worth; all F.

    Raises:
        ValueError: if there are fewer than `MIN_TRAINED`, a value is not finite, or all accuracies are equal.
    """
    x, y = np.asarray(features, np.float64), np.asarray(accuracies, np.float64)
    if len(y) < MIN_TRAINED:
        raise ValueError(f"{len(y)} trained networks: a calibration needs {MIN_TRAINED}")
    if x.shape[:1] != y.shape or not np.isfinite(x).all() or not np.isfinite(y).all():
        raise ValueError(f"features {x.shape}, accuracies {y.shape}: finite numbers, a row a network, are needed")
    if not np.ptp(y) > 0:
        raise ValueError(f"all {len(y)} trained networks have accuracy {y[0]:.4f}: there is nothing to learn")
    sizes = [x.shape[1]] if groups is None else list(groups)
    if sum(sizes) != x.shape[1] or min(sizes) < 1:
        raise ValueError(f"groups of {sizes} features: {x.shape[1]} features are to be grouped")
    target = _normal_scores(y)
    ends = np.cumsum([0, *sizes])
    some = np.unique(np.linspace(0, len(y) - 1, min(len(y), _MOST_FOR_LIKELIHOOD)).astype(int))

    def kernel_of(logs: np.ndarray) -> Kernel:
        own = np.exp(logs[:-1]).reshape(-1, len(_BOUNDS)).tolist()
        columns = map(slice, ends[:-1].tolist(), ends[1:].tolist())
        return Kernel(tuple(Part(c, *values) for c, values in zip(columns, own, strict=True)), float(np.exp(logs[-1])))

    spreads = [_spread(x[some, a:b], x[some, a:b]) for a, b in itertools.pairwise(ends)]
    cost = lambda logs: _cost(kernel_of(logs), spreads, target[some])
    bounds = [*_BOUNDS * len(sizes), _NOISE_BOUNDS]
    starts = [[*part * len(sizes), noise] for part, noise in _STARTS]
    found = [scipy.optimize.minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
    kernel = kernel_of(min(found, key=lambda own: own.fun).x)
    factor = _factor(kernel, x)
    return Calibration(kernel, x, y, target, factor, scipy.linalg.cho_solve((factor, True), target))


def _normal_scores(y: np.ndarray) -> np.ndarray:
    """The quantile of N(0, 1) at (rank - 1/2) / T; equal accuracies share their mean rank."""
    return scipy.special.ndtri((ranks(y[:, None], y[:, None])[:, 0] - 0.5) / len(y))


def _accuracies(model: Calibration, scores: np.ndarray) -> np.ndarray:
    """Accuracies at normal scores: linear between trained networks, beyond them as their outer thirds go; in [0, 1]."""
    x, first = np.unique(model.target, return_index=True)
    y, third = model.accuracies[first], max(len(x) // 3, 1)
    below, above = ((y[b] - y[a]) / (x[b] - x[a]) for a, b in ((0, third), (-1 - third, -1)))
    inside = np.interp(scores, x, y)
    outside = below * np.minimum(scores - x[0], 0) + above * np.maximum(scores - x[-1], 0)
    return np.clip(inside + outside, 0.0, 1.0)


def _factor(kernel: Kernel, x: np.ndarray) -> np.ndarray:
    noisy = kernel(x, x) + (kernel.noise**2 + _JITTER) * np.eye(len(x))
    return scipy.linalg.cholesky(noisy, lower=True)


def _spread(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x.y / F, |x - y|^2 / F) of float[X, F], float[Y, F]: float[X, Y] each, which no value of a kernel changes."""
    products, count = x @ y.T, x.shape[1]
    distances = np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * products
    return products / count, np.maximum(distances, 0.0) / count


def _cost(
    kernel: Kernel, spreads: Sequence[tuple[np.ndarray, np.ndarray]], target: np.ndarray
) -> tuple[float, np.ndarray]:
    """-log p(y) = y' K^-1 y / 2 + log |K| / 2, up to a constant, and its slope by the logarithms of the values.

    d cost / d log v = tr((K^-1 - a a') dK / d log v) / 2 with a = K^-1 y (Rasmussen and Williams, Equation 5.9).

    Args:
        kernel: of parts as many as `spreads`.
        spreads: of each part, as `_spread` gives them.
        target: y, float[T].
    """
    terms = [part.terms(*spread) for part, spread in zip(kernel.parts, spreads, strict=True)]
    eye = np.eye(len(target))
    matrix = np.sum([linear + smooth for linear, smooth in terms], axis=0) + (kernel.noise**2 + _JITTER) * eye
    factor = scipy.linalg.cholesky(matrix, lower=True)
    inverse = scipy.linalg.cho_solve((factor, True), eye)
    weights = inverse @ target
    outer = inverse - np.outer(weights, weights)
    slope: list[float] = []
    for part, (linear, smooth), (_, distances) in zip(kernel.parts, terms, spreads, strict=True):
        slope += [
            np.vdot(outer, linear),
            np.vdot(outer, smooth),
            np.vdot(outer, smooth * distances) / part.length**2 / 2,
        ]
    slope.append(kernel.noise**2 * np.trace(outer))
    return float(target @ weights / 2 + np.log(np.diag(factor)).sum()), np.array(slope)


def predict(model: Calibration, features: np.ndarray) -> Prediction:
    """Accuracies of architectures, trained or not.

    Args:
        model: fitted.
        features: float[A, F], made of the same set as those of the trained networks.
    """
    x = np.asarray(features, np.float64)
    shared = model.kernel(model.features, x)
    seen = scipy.linalg.solve_triangular(model.factor, shared, lower=True)
    deviation = np.sqrt(np.maximum(model.kernel.prior(x) - np.square(seen).sum(0), 0.0))
    score = shared.T @ model.weights
    accuracy, low, high = (_accuracies(model, score + side * deviation) for side in (0, -1, 1))
    return Prediction(accuracy, low, high, score)


def leave_one_out(model: Calibration) -> np.ndarray:
    """The normal score that the model without it would predict of each trained network: t_i - a_i / (K^-1)_ii.

    float64[T]. The kernel stays that of all.
    """
    inverse = scipy.linalg.cho_solve((model.factor, True), np.eye(len(model.weights)))
    return model.target - model.weights / np.diag(inverse)


def most_informative(model: Calibration, features: np.ndarray, count: int) -> list[int]:
    """Which architectures to train next: each the one whose accuracy is least known once those before it are trained.

    Args:
        model: fitted.
        features: of those that could be trained, float[A, F].
        count: how many, at most A.

    Returns:
        Their places, the first to train first. What they will show changes nothing: variances do not depend on it.
    """
    x = np.asarray(features, np.float64)
    seen = scipy.linalg.solve_triangular(model.factor, model.kernel(model.features, x), lower=True)
    variance = model.kernel.prior(x) - np.square(seen).sum(0)
    chosen: list[int] = []
    rows: Sequence[np.ndarray] = []
    for _ in range(min(count, len(x))):
        open_ones = np.where(np.isin(np.arange(len(x)), chosen), -np.inf, variance)
        best = int(open_ones.argmax())
        shared = model.kernel(x[best : best + 1], x)[0] - seen.T @ seen[:, best]
        shared = shared - sum(row[best] * row for row in rows)
        row = shared / np.sqrt(max(variance[best], 0.0) + model.kernel.noise**2 + _JITTER)
        variance, rows, chosen = variance - np.square(row), [*rows, row], [*chosen, best]
    return chosen

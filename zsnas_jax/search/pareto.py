"""What nothing else beats in everything: dominance, fronts, crowding, hypervolume. N architectures, D objectives.

Every objective is maximised; what is to be small has been negated. x dominates y if it is as good in every objective
and better in one. An architecture of which an objective is not finite is undefined: each that is defined dominates it,
and it is on no front of what was found.

Sources: Deb, Pratap, Agarwal and Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE
Transactions on Evolutionary Computation 6, 2002; Zitzler and Thiele, "Multiobjective Evolutionary Algorithms: A
Comparative Case Study and the Strength Pareto Approach", same journal 3, 1999 (hypervolume).
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

MOST_OBJECTIVES = 4
"""Of an exact hypervolume: its time grows with a power of the front's size that they decide."""
_ON_A_GRID = 3


def dominates(x: Any, y: Any) -> Any:
    """Whether x dominates y: float[..., D] and float[..., D], which broadcast, to bool[...]. Traces under jit."""
    xp = jnp if isinstance(x, jax.Array) or isinstance(y, jax.Array) else np
    x_is_defined, y_is_defined = xp.isfinite(x).all(-1), xp.isfinite(y).all(-1)
    return x_is_defined & (~y_is_defined | ((x >= y).all(-1) & (x > y).any(-1)))


def fronts(dominance: jax.Array) -> jax.Array:
    """The number of each one's front, int32[N]: 0 of those that nothing dominates, 1 of those that only they do, ...

    Args:
        dominance: bool[N, N], whether the row dominates the column; without rings. Traces under jit and vmap.
    """
    size = len(dominance)

    def peel(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        number, front = state
        is_left = front == size
        is_dominated = (dominance & is_left[:, None]).any(0)
        return number + 1, jnp.where(is_left & ~is_dominated, number, front)

    is_left = lambda state: (state[0] < size) & (state[1] == size).any()
    return jax.lax.while_loop(is_left, peel, (jnp.int32(0), jnp.full(size, size, jnp.int32)))[1]


def crowding(scores: jax.Array, front: jax.Array) -> jax.Array:
    """Crowding distance, float32[N]: sum_d (next above - next below) / (highest - lowest), all of one's own front.

    The first and the last of a front in an objective are infinitely far; of equal ones the earlier stands below.

    Args:
        scores: float[N, D]. Traces under jit and vmap.
        front: int32[N], the number of each one's front.
    """
    s = jnp.where(jnp.isfinite(scores), scores, 0)
    place = jnp.arange(len(s))
    here = (front[:, None] == front)[..., None]
    below = here & ((s < s[:, None]) | ((s == s[:, None]) & (place < place[:, None])[..., None]))  # [i, j]: j below i
    above = here & ~below & (place != place[:, None])[..., None]
    low, high = jnp.where(below, s, -jnp.inf).max(1), jnp.where(above, s, jnp.inf).min(1)
    span = jnp.where(here, s, -jnp.inf).max(1) - jnp.where(here, s, jnp.inf).min(1)
    gaps = jnp.where(span > 0, (high - low) / jnp.where(span > 0, span, 1), 0)
    return jnp.where(below.any(1) & above.any(1), gaps, jnp.inf).sum(1).astype(jnp.float32)


def is_better(front: Any, distance: Any, other_front: Any, other_distance: Any) -> Any:
    """NSGA-II's order: of a lower front, or of the same one and farther from its neighbours."""
    return (front < other_front) | ((front == other_front) & (distance > other_distance))


def survivors(front: jax.Array, distance: jax.Array, count: int) -> jax.Array:
    """The places, int32[count], of the best by `is_better`, best first; of equals the earlier. Traces under jit."""
    place = jnp.arange(len(front))
    better = is_better(front, distance, front[:, None], distance[:, None])  # [i, j]: j is better than i
    worse = is_better(front[:, None], distance[:, None], front, distance)
    rank = (better | (~worse & (place < place[:, None]))).sum(1)
    return jnp.zeros(len(front), jnp.int32).at[rank].set(place.astype(jnp.int32))[:count]


def is_optimal(scores: np.ndarray) -> np.ndarray:
    """Whether nothing dominates each of float[N, D]: bool[N]; time grows as N times the size of the front.

    Equal ones are all there; undefined ones never are.
    """
    scores = np.asarray(scores, np.float64)
    left = np.flatnonzero(np.isfinite(scores).all(1))
    left = left[np.lexsort(-scores[left].T[::-1])] if len(left) else left
    optimal = np.zeros(len(scores), bool)
    while len(left):  # the first in lexicographic order is not dominated: what it leaves is not dominated by it
        rows = scores[left]
        optimal[left[(rows == rows[0]).all(1)]] = True
        left = left[(rows > rows[0]).any(1)]
    return optimal


def hypervolume(scores: np.ndarray, reference: np.ndarray) -> float:
    """The volume of what some architecture dominates and the reference point does not: exact.

    HV = volume of the union over i of [r_1, s_i1] x ... x [r_D, s_iD]; architectures that are not above the reference
    in every objective add nothing.

    Args:
        scores: float[N, D].
        reference: float[D], r.

    Raises:
        ValueError: if D is above `MOST_OBJECTIVES`.
    """
    gains = np.asarray(scores, np.float64) - np.asarray(reference, np.float64)
    if gains.shape[1] > MOST_OBJECTIVES:
        raise ValueError(f"hypervolume of {gains.shape[1]} objectives: allowed are at most {MOST_OBJECTIVES}")
    return _volume(gains[np.isfinite(gains).all(1) & (gains > 0).all(1)])


def _volume(gains: np.ndarray) -> float:
    """Of boxes from 0 to float[N, D], all positive: on the grid of their coordinates, slice by slice where D is 4."""
    gains = gains[is_optimal(gains)]
    if not len(gains) or gains.shape[1] == 1:
        return float(gains.max(initial=0.0))
    if gains.shape[1] <= _ON_A_GRID:
        return _grid_volume(gains)
    gains = gains[np.argsort(-gains[:, -1], kind="stable")]
    depths = -np.diff(gains[:, -1], append=0.0)
    return sum(depth * _volume(gains[: i + 1, :-1]) for i, depth in enumerate(depths) if depth > 0)


def _grid_volume(gains: np.ndarray) -> float:
    """The last coordinate is the height of a box over a cell of the grid that the others span; the highest counts."""
    spanned = [_descending(column) for column in gains[:, :-1].T]
    edges, cells = [edge for edge, _ in spanned], tuple(cell for _, cell in spanned)
    heights = np.zeros([len(edge) for edge in edges])
    np.maximum.at(heights, cells, gains[:, -1])
    for axis in range(heights.ndim):
        heights = np.maximum.accumulate(heights, axis=axis)  # a box reaches down to 0
    for edge in edges:
        heights = np.tensordot(-np.diff(edge, append=0.0), heights, axes=1)
    return float(heights)


def _descending(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the values of a column, largest first, where each entry stands among them)."""
    values, places = np.unique(-column, return_inverse=True)
    return -values, places


def hypervolumes(scores: np.ndarray, reference: np.ndarray, ideal: np.ndarray, at: Iterable[int]) -> np.ndarray:
    """The hypervolume after some steps of a search, as a share of the box from the reference point to the ideal one.

    Args:
        scores: float[T, D], in the order explored.
        reference: float[D].
        ideal: float[D], the best of each objective; where it is no better than the reference the share is 0.
        at: the steps, rising, 0 the first.

    Returns:
        float64[len(at)], in [0, 1] where nothing is above the ideal point.

    Raises:
        ValueError: as `hypervolume`, or if one of the two points is not finite.
    """
    if not np.isfinite([reference, ideal]).all():
        raise ValueError(f"hypervolume between {np.asarray(reference)} and {np.asarray(ideal)}: both must be finite")
    box = np.asarray(ideal, np.float64) - reference
    shares, front, done, share = [], np.empty((0, len(box))), 0, 0.0
    for step in at:
        together = np.concatenate([front, scores[done : step + 1]])
        kept = together[is_optimal(together)]
        if len(kept) != len(front) or not np.array_equal(kept, front):
            share = hypervolume((kept - reference) / np.where(box > 0, box, np.inf), np.zeros(len(box)))
        shares.append(share)
        front, done = kept, step + 1
    return np.array(shares)

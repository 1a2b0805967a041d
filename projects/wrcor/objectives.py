"""What a search maximises: scores of all architectures as columns. A architectures, E experts."""

import hashlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from projects.wrcor.experts import Find, find_experts, find_vote
from projects.wrcor.paper import title
from zsnas_jax.base import SearchSpace
from zsnas_jax.search import vote_scores
from zsnas_jax.search.seeds import NUM_REFERENCE
from zsnas_jax.votes import SUMS


class Objective(NamedTuple):
    """What a search maximises: a score, or the wins in a vote of several.

    Attributes:
        name: of the score, unique among objectives.
        title: what a row is named after: the paper's name, or ours.
        columns: float32[A, E].
        conditions: data sets by whose accuracy what it finds is measured; None: all.
    """

    name: str
    title: str
    columns: np.ndarray
    conditions: tuple[str, ...] | None = None

    @property
    def digest(self) -> str:
        """Tells scores apart by what they are."""
        return hashlib.sha256(np.ascontiguousarray(self.columns).tobytes()).hexdigest()[:8]


def make_objective(score: str, find: Find, reference: np.ndarray | None = None) -> Objective | None:
    """The objective that a proxy or a vote is.

    A weighted vote becomes one column, the sum of z-scores that its searches maximise: in units of a reference.

    Args:
        score: its name.
        find: its experts' scores.
        reference: rows int[R] of the architectures that give the units; None: all.

    Returns:
        The objective, or None where an expert is missing.
    """
    found, ballot = find_experts(score, find), find_vote(score)
    if found is None:
        return None
    columns = np.stack(list(found.values()), axis=1).astype(np.float32)
    if ballot and ballot.method in SUMS:
        sample = columns if reference is None else columns[reference]
        columns = np.asarray(jax.vmap(vote_scores(lambda row: row, ballot, sample))(jnp.asarray(columns)))
    return Objective(score, title(score), columns)


def reference_rows(key: jax.Array, space: SearchSpace) -> np.ndarray:
    """Published indices int32[R] of random architectures, drawn as `search_main` draws them from such a key.

    Raises:
        ValueError: if the space has no published order.
    """
    if space.to_index is None:
        raise ValueError(f"space {space.name} has no published order: a table cannot be looked up")
    archs = jax.jit(jax.vmap(space.sample))(jax.random.split(key, NUM_REFERENCE))
    return np.asarray(space.to_index(archs))


class Maximum(NamedTuple):
    """Where a score is largest: the first such row, and how many there are; undefined scores are no candidates."""

    row: int
    num_ties: int


def maximum(values: np.ndarray) -> Maximum | None:
    """The maximum of scores float[A]; None where none is finite."""
    finite = np.where(np.isfinite(values), values, -np.inf)
    best = finite.max(initial=-np.inf)
    return Maximum(int(finite.argmax()), int(np.sum(finite == best))) if np.isfinite(best) else None

"""What a search goes by: scores of all architectures as columns. A architectures, E experts."""

from collections.abc import Callable, Mapping
import hashlib
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from projects.wrcor import paper
from projects.wrcor.tables import find_vote
from zsnas_jax.base import SearchSpace
from zsnas_jax.search import z_scores
from zsnas_jax.search.seeds import NUM_REFERENCE
from zsnas_jax.votes import VOTES, Vote, vote

Find = Callable[[str], np.ndarray | None]
"""Name of a proxy to its scores float[A], or None where there are none."""

FLIPPED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"zerocost:flipped": ("snip", "jaccor"), "sjw:flipped": ("jaccor",)}
)
"""Votes in which the paper turns experts round on NAS-Bench-101, where they rank the wrong way, and which these are."""

EXPERIMENTAL = tuple(name for name, ballot in VOTES.items() if ballot.experimental)
"""Our own votes."""

DERIVED: Mapping[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = MappingProxyType(
    {"log_params": ("params", np.log), "neg_log_fisher": ("fisher", lambda fisher: -np.log(fisher))}
)
"""Scores that are functions of another: name to (the other, what of it)."""

_TITLES = MappingProxyType({score: row for row, score in paper.NAMES.items()})


def title(name: str) -> str:
    """The paper's name of a score: "WRCor", "SJW" of "sjw:flipped", our own where it has none."""
    stem = name.partition(":")[0]
    return _TITLES.get(stem, stem)


def with_derived(find: Find) -> Find:
    """Also finds the scores of `DERIVED` where it finds what they are made of; -inf where they are undefined."""

    def found(name: str) -> np.ndarray | None:
        values = find(name)
        if values is None and name in DERIVED:
            source, function = DERIVED[name]
            if (base := find(source)) is not None:
                with np.errstate(all="ignore"):
                    derived = function(np.where(np.isfinite(base), base, np.nan))
                values = np.where(np.isfinite(derived), derived, -np.inf)
        return values

    return found


def _turn(values: np.ndarray) -> np.ndarray:
    """The other way round; what is not finite still loses."""
    return np.where(np.isfinite(values), -values, -np.inf)


def _ballot(name: str) -> Vote | None:
    return find_vote(name.partition(":")[0] if name in FLIPPED else name)


def expert_names(name: str) -> tuple[str, ...]:
    """The proxies that a score is made of: a vote's experts, else itself."""
    ballot = _ballot(name)
    return ballot.experts if ballot else (name,)


def find_experts(name: str, find: Find) -> dict[str, np.ndarray] | None:
    """The scores float[A] of a score's experts, turned where `FLIPPED` says so; None if an expert is missing."""
    experts = {expert: find(expert) for expert in expert_names(name)}
    turned = FLIPPED.get(name, ())
    found = {e: _turn(values) if e in turned else values for e, values in experts.items() if values is not None}
    return found if len(found) == len(experts) else None


def find_values(name: str, find: Find) -> np.ndarray | None:
    """A score of the whole set, float[A]: of a proxy, or of a vote over it; None where an expert is missing."""
    experts, ballot = find_experts(name, find), _ballot(name)
    if experts is None:
        return None
    return vote(ballot, experts) if ballot else experts[name]


class Judge(NamedTuple):
    """What a search goes by.

    Attributes:
        name: of the score, unique among judges.
        title: what a row is named after: the paper's name, or ours.
        columns: float32[A, E].
        conditions: columns of the table of figures to which what it finds is held; None: all.
    """

    name: str
    title: str
    columns: np.ndarray
    conditions: tuple[str, ...] | None = None

    @property
    def digest(self) -> str:
        """Tells scores apart by what they are."""
        return hashlib.sha256(np.ascontiguousarray(self.columns).tobytes()).hexdigest()[:8]


def make_judge(name: str, find: Find, reference: np.ndarray | None = None) -> Judge | None:
    """The judge of a proxy or a vote.

    A weighted vote becomes one column, the sum of z-scores that its searches go by: in units of a reference.

    Args:
        name: of the score.
        find: its experts' scores.
        reference: rows int[R] of the architectures that give the units; None: all.

    Returns:
        The judge, or None where an expert is missing.
    """
    found, ballot = find_experts(name, find), _ballot(name)
    if found is None:
        return None
    columns = np.stack(list(found.values()), axis=1).astype(np.float32)
    if ballot and ballot.method == "z_score_sum":
        weights = np.array(ballot.weights or [1.0] * len(found), np.float32)
        sample = columns if reference is None else columns[reference]
        z = z_scores(jnp.asarray(sample), jnp.asarray(columns))
        columns = np.asarray(jnp.sum(weights * z, axis=1, keepdims=True))
    return Judge(name, title(name), columns)


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

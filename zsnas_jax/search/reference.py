"""Scores in units of a sample's: what a sum over experts adds up. R reference architectures, E experts."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Arch
from zsnas_jax.votes import Vote

ScoreFn = Callable[[Arch], jax.Array]
"""arch to float32[E], larger is better; traces under jit."""


def z_scores(reference: jax.Array, scores: jax.Array) -> jax.Array:
    """z_e = (s_e - mean_e) / std_e: mean and population deviation over the finite reference scores of the expert.

    A score that is not finite counts the lowest finite reference z minus 1. Where the reference has no spread, finite
    scores count 0. Traces under jit and vmap.

    Args:
        reference: float[R, E].
        scores: float[..., E].

    Returns:
        float32[..., E], always finite.
    """
    finite = jnp.isfinite(reference)
    count = jnp.maximum(finite.sum(0), 1)
    mean = jnp.where(finite, reference, 0).sum(0) / count
    deviation = jnp.sqrt(jnp.where(finite, jnp.square(reference - mean), 0).sum(0) / count)
    scale = jnp.where(deviation > 0, deviation, jnp.inf)
    lowest = jnp.where(finite, (reference - mean) / scale, 0).min(0)
    return jnp.where(jnp.isfinite(scores), (scores - mean) / scale, lowest - 1)


def ranks(reference: jax.Array, scores: jax.Array) -> jax.Array:
    """1/2 + the number of reference scores that are smaller + half of those that are equal, as `zsnas_jax.votes.ranks`.

    Args:
        reference: float[R, E].
        scores: float[E].

    Returns:
        float32[E].
    """
    lower = lambda values: jnp.where(jnp.isfinite(values), values, -jnp.inf)
    own, others = lower(scores), lower(reference)
    return 0.5 + (others < own).sum(0) + (others == own).sum(0) / 2


def log_ranks(reference: jax.Array, scores: jax.Array) -> jax.Array:
    """log(rank / R) of `ranks`: float[R, E], float[E] to float32[E]."""
    return jnp.log(ranks(reference, scores) / len(reference))


UNITS: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = MappingProxyType(
    {"z_score_sum": z_scores, "rank_sum": ranks, "log_rank_sum": log_ranks}
)
"""Method of a vote to (reference float[R, E], scores float[E]) to what it adds up, float[E]."""


def vote_scores(score_fn: ScoreFn, vote: Vote, reference: jax.Array | np.ndarray) -> ScoreFn:
    """A source with one expert: what a vote that is a sum comes to inside a search.

    `zsnas_jax.votes.vote` counts against the whole set that it ranks; a search does not have its set yet, and counts
    against a sample.

    Args:
        score_fn: of E experts, those of the vote in its order.
        vote: of a method in `UNITS`.
        reference: float[R, E], its scores of R architectures drawn from the space.

    Returns:
        arch to float32[1], always finite.

    Raises:
        ValueError: if the vote is no sum, or of another number of experts.
    """
    sample = jnp.asarray(reference, jnp.float32)
    if vote.method not in UNITS:
        raise ValueError(f"vote {vote.name!r} is counted by {vote.method}: a search adds up {', '.join(UNITS)}")
    if sample.ndim != 2 or sample.shape[-1] != len(vote.experts):
        raise ValueError(
            f"reference scores of shape {sample.shape}: vote {vote.name!r} has {len(vote.experts)} experts"
        )
    units, factors = UNITS[vote.method], jnp.asarray(vote.weights or [1.0] * len(vote.experts))
    return lambda arch: jnp.sum(factors * units(sample, score_fn(arch)), keepdims=True)

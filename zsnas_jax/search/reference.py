"""Scores in units of a sample's spread: what a sum over experts adds up. R reference architectures, E experts."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Arch

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


def z_score_sum(
    score_fn: ScoreFn, reference: jax.Array | np.ndarray, weights: Sequence[float] | None = None
) -> ScoreFn:
    """A source with one expert: sum_e w_e z_e, what the votes of method "z_score_sum" come to inside a search.

    `zsnas_jax.votes.z_score_sum` takes mean and deviation over the whole set that it ranks; a search does not have its
    set yet, and takes them over a sample.

    Args:
        score_fn: of E experts.
        reference: float[R, E], its scores of R architectures drawn from the space.
        weights: a factor for each expert; None: all 1.

    Returns:
        arch to float32[1], always finite.

    Raises:
        ValueError: if there is not one weight for each expert.
    """
    sample = jnp.asarray(reference, jnp.float32)
    num_experts = sample.shape[-1]
    factors = [1.0] * num_experts if weights is None else [float(weight) for weight in weights]
    if len(factors) != num_experts:
        raise ValueError(f"{len(factors)} weights {factors} for {num_experts} experts: one for each is wanted")
    return lambda arch: jnp.sum(jnp.asarray(factors) * z_scores(sample, score_fn(arch)), keepdims=True)

"""NEAR: in how many directions the outputs of layers go. No labels. Axes: N batch, C channels."""

import jax
import jax.numpy as jnp

from zsnas_jax import linalg
from zsnas_jax.base import Look, Proxy
from zsnas_jax.measure.network import total


def effective_rank(x: jax.Array) -> jax.Array:
    """Exp of the entropy of s / sum s, s the singular values of the first C rows. float[..., C] to float[].

    0 of zeros.
    """
    rows = x.reshape(-1, x.shape[-1])[: x.shape[-1]]
    s = linalg.singular_values(rows)
    p = s / jnp.where(s[0] > 0, s.sum(), 1.0)
    entropy = -jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1.0)), 0.0).sum()
    return jnp.where(s[0] > 0, jnp.exp(entropy), 0.0)


def near() -> Proxy:
    """NEAR = sum over convolutions and activations of the effective rank of a C x C matrix of their outputs.

    Rows are positions, samples one after another, columns channels (`effective_rank`). No labels.

    Raises, where it is scored:
        ValueError: if the network has no response site, or no convolution.

    Source: "NEAR", ICLR 2025, its released code; no values to compare with are at hand. Deviations: the code counts
    norms and dense layers, too; it begins at a random row, here at the first, since the pictures come in no order; it
    is the mean of 32 initialisations, which the run's `repeats` are.
    """
    observe = {place: Look(place, effective_rank) for place in ("convolutions", "activated")}
    score = lambda m: total(m.observed["convolutions"]) + total(m.observed["activated"])
    return Proxy("near", score, frozenset(), {}, "NEAR, ICLR 2025", observe=observe)

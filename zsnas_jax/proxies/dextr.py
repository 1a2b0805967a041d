"""Dextr: how independent the channels of outputs are, and how a curve of pictures bends. No labels.

Axes: N batch, C channels, D pixels times channels of a picture.
"""

import math
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax import linalg
from zsnas_jax.base import Batch, Look, Proxy
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import Network, forward, need_real_pictures, total

_COORDINATES = 10
_SOURCE = "Dextr, TMLR 2025"


def inverse_condition(x: jax.Array) -> jax.Array:
    """s_min / s_max, the singular values of the first sample as C rows of positions. float[N, ..., C] to float[].

    0 where the sample is zero.
    """
    s = linalg.singular_values(x[0].reshape(-1, x.shape[-1]).T)
    return jnp.where(s[0] > 0, s[-1] / jnp.where(s[0] > 0, s[0], 1.0), 0.0)


def first_picture(network: Network) -> Network:
    """The network with the first picture of its batch alone."""
    need_real_pictures(network, "proxy dextr")
    return network._replace(batch=Batch(network.batch.image[:1], None))


def curvature(network: Network, plane: jax.Array, coordinates: jax.Array) -> jax.Array:
    """|v|^-3 sqrt(|v|^2 |w|^2 - (v . w)^2), v and w the first two derivatives by t at 0 of the logits of a curve.

    Args:
        network: under score.
        plane: float[D, 2], U of the curve x(t) = U (cos t, sin t).
        coordinates: int32[M], which of the logits count.
    """
    shape = network.batch.image.shape

    def derivatives(coordinate: jax.Array) -> tuple[jax.Array, jax.Array]:
        def run(t: jax.Array) -> jax.Array:
            image = (plane @ jnp.stack([jnp.cos(t), jnp.sin(t)])).reshape(shape)
            return forward(network, image).logits.ravel()[coordinate]

        # The operations carry derivatives of their own, which have no forward mode.
        return jax.value_and_grad(jax.grad(run))(jnp.zeros((), plane.dtype))

    v, w = lax.map(derivatives, coordinates)  # one by one: jaxlib 0.10.2 died of a ResNet's as a batch
    area = jnp.square(v).sum() * jnp.square(w).sum() - jnp.square((v * w).sum())
    return jnp.sqrt(jnp.maximum(area, 0.0)) / jnp.square(v).sum() ** 1.5


def combine(a: Any, kappa: jax.Array) -> jax.Array:
    """The score a b / (a + b) with b = log(1 + kappa); a alone where kappa is NaN, 0 where both are 0."""
    b = jnp.log1p(kappa)
    product = jnp.where(a + b > 0, a * b / jnp.where(a + b > 0, a + b, 1.0), 0.0)
    return jnp.where(jnp.isnan(kappa), a, product)


def _draw(network: Network) -> tuple[jax.Array, jax.Array]:
    """(U of the curve's plane, which logits count)."""
    of_plane, of_logits = jax.random.split(jax.random.fold_in(network.key, 7))
    size = math.prod(network.batch.image.shape)
    plane = jnp.linalg.svd(jax.random.normal(of_plane, (size, 2), network.batch.image.dtype), full_matrices=False)[0]
    width = jax.eval_shape(lambda: forward(network, network.batch.image).logits).size
    return plane, jax.random.randint(of_logits, (_COORDINATES,), 0, width)


def dextr() -> Proxy:
    """Dextr = a b / (a + b), a = log(1 + sum over activations of s_min / s_max), b = log(1 + kappa).

    s are the singular values of what comes out of an activation for the first picture of the batch alone, C x positions
    (`inverse_condition`); kappa is the curvature at one point of what becomes of a circle of noise, in ten logits drawn
    with replacement (`curvature`). Batch norm normalises by the one picture. No labels.

    Source: "Dextr", TMLR 2025, its released code; no values to compare with are at hand. Deviation: the code sums over
    all modules, so that its a depends on how they are nested.
    """

    def score(measured: Measurements) -> jax.Array:
        a = jnp.log1p(total(measured.observed["conditions"]))
        return combine(a, curvature(measured.network, *_draw(measured.network)))

    observe = {"conditions": Look("activated", inverse_condition)}
    return Proxy("dextr", score, frozenset({"network"}), {}, _SOURCE, observe=observe, prepare=first_picture)

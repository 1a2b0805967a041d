"""L-SWAG: how steady the gradients of layers are over batches, times how many activation patterns there are.

Source: "L-SWAG", CVPR 2025, by notes of others that read the paper: no code is published. Axes: N batch, P I O of a
kernel.
"""

import jax
import jax.numpy as jnp

from zsnas_jax.base import Proxy
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.proxies.activation import num_distinct, words
from zsnas_jax.proxies.weights import gradients_by_part, weight_layers


def steadiness(measured: Measurements, num_batches: int) -> jax.Array:
    """Sum over kernels of log sum over weights of 1 / sd |g|, over batches; weights without deviation are left out."""
    network = measured.network
    batches = gradients_by_part(network, "lswag", num_batches)
    result = jnp.zeros(())
    for active, arrays in weight_layers(network, "lswag", *batches):
        deviation = jnp.abs(jnp.stack(arrays)).std(0)
        inner = jnp.where(deviation > 0, 1 / jnp.where(deviation > 0, deviation, 1.0), 0.0).sum((1, 2))
        result += jnp.where(active, jnp.log(jnp.where(inner > 0, inner, 1.0)), 0.0).sum()
    return result


def lswag(*, num_batches: int = 2, num_samples: int = 32) -> Proxy:
    """L-SWAG = Lambda Psi, Lambda = sum over kernels of log sum_w 1 / sd_b |g_w|, Psi = sum over sites of its patterns.

    sd_b is over b batches and divides by b; weights without deviation are left out, and kernels that have no other. A
    pattern is what signs a neuron has over the samples; of each site the distinct ones are counted. One batch with
    labels.

    Args:
        num_batches: the run's batch is cut into that many equal batches, each with its own statistics of batch norm.
        num_samples: of a pattern, the first rows of the batch; all rows of a smaller batch.

    Raises:
        ValueError: for fewer than two batches or one sample, or when scored on a batch that they do not divide.

    Source: "L-SWAG", CVPR 2025, known from notes of others alone. Deviation: the paper takes the layers of an interval
    that it finds from 1,000 networks of a space, here all count.
    """
    if num_batches < 2:
        raise ValueError(f"lswag with num_batches={num_batches}: a deviation over batches needs at least 2")
    if num_samples < 1:
        raise ValueError(f"lswag with num_samples={num_samples}: at least 1 is needed")

    def score(measured: Measurements) -> jax.Array:
        return steadiness(measured, num_batches) * patterns(measured)

    settings = {"num_batches": num_batches, "num_samples": num_samples}
    needs = frozenset({"labels", "network"})
    observe = {"patterns": words(num_samples)}
    return Proxy("lswag", score, needs, settings, "L-SWAG, CVPR 2025 (from notes)", observe=observe)


def patterns(measured: Measurements) -> jax.Array:
    """Sum over sites of the number of distinct sample-wise patterns there, observed as "patterns". float[]."""
    count = jax.vmap(lambda own: num_distinct(own, jnp.ones(len(own), bool)))
    seen = measured.observed["patterns"]
    return sum((o.times * count(jnp.asarray(o.value))).sum() for o in seen)  # type: ignore[return-value]

"""InTrain: how many directions activations take, and how even the gradients of parameter tensors are.

Source: "InTrain", CVPR 2026, by notes of others that read the paper: no code is published, and neither the layers, the
parameters, nor the initialisation are sure. Axes: N batch, C channels, L activations, P positions of a stacked tensor.
"""

from typing import Any, Literal

from flax.traverse_util import flatten_dict
import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.base import Look, Proxy
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import total
from zsnas_jax.measure.tensors import present
from zsnas_jax.proxies.weights import Drawn

_EPSILON = 1e-10


def _log_participation(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(log (tr S)^2 / tr(S^2), S the covariance of the channels + 1e-10 I; whether a channel varies): float[] each."""
    a = x.reshape(-1, x.shape[-1])
    a = a - a.mean(0)
    covariance = jnp.matmul(a.T, a, precision=lax.Precision.HIGHEST) / len(a) + _EPSILON * jnp.eye(a.shape[1])
    return 2 * jnp.log(jnp.trace(covariance)) - jnp.log(jnp.square(covariance).sum()), jnp.any(a != 0)


def _ratios(x: jax.Array) -> jax.Array:
    """(log PR, log PR where a channel varies, 1): float[3]."""
    ratio, varies = _log_participation(x)
    return jnp.stack([ratio, jnp.where(varies, ratio, 0.0), jnp.ones_like(ratio)])


def evenness(measured: Measurements) -> jax.Array:
    """Sum over all parameter tensors of min(1, sd(g) / (max |g| + 1e-10)), g the gradient of the loss. float[]."""
    network, result = measured.network, jnp.zeros(())
    params = flatten_dict(network.params)
    for path, leaf in flatten_dict(measured.kernel_gradients).items():
        exists, weight, active = present(network, path, params[path]), network.weights[path], network.is_active(path)
        g = weight.by_position(leaf).reshape(len(exists), -1)
        if not jnp.ndim(active):
            deviation = g.std(1)
        else:  # entries that are padding are zero, and none of the tensor's
            kept = weight.by_position(jnp.broadcast_to(active, leaf.shape)).reshape(len(exists), -1)
            count = jnp.maximum(kept.sum(1), 1)
            mean = g.sum(1) / count
            deviation = jnp.sqrt(jnp.where(kept, jnp.square(g - mean[:, None]), 0.0).sum(1) / count)
        ratio = deviation / (abs(g).max(1) + _EPSILON)  # in numpy where the gradients are, as chained networks' are
        result += (exists * ratio.clip(None, 1.0)).sum()
    return result


def intrain(
    *, zero_layers: Literal["skipped", "counted"] = "skipped", pictures: Literal["noise", "own"] = "noise"
) -> Proxy:
    """InTrain = gamma (1 + o) / log(L + 1), gamma = sum_l log PR_l, o = sum over tensors of min(1, sd(g) / max |g|).

    PR = (tr S)^2 / tr(S^2) of the covariance S of the channels after each of the L activations, over all samples and
    positions; g the gradient of the loss by a parameter tensor: kernels, scales, shifts and biases. One batch of noise,
    with the labels of the run's batch, which then are random.

    Args:
        zero_layers: an activation that is zero everywhere has PR = C, the largest there is, by the 1e-10 that is added
            to the diagonal: "counted" leaves that, "skipped" takes log PR = 0.
        pictures: "noise": N(0, 1) of the batch's shape; "own": the batch's.

    Raises:
        ValueError: for other settings.

    Source: "InTrain", CVPR 2026, known from notes of others alone; the top of this file says what is open. Deviation:
    the paper's pictures have 64 x 64 pixels.
    """
    if zero_layers not in ("skipped", "counted"):
        raise ValueError(f"intrain with zero_layers={zero_layers!r}: allowed are 'skipped' and 'counted'")
    if pictures not in ("noise", "own"):
        raise ValueError(f"intrain with pictures={pictures!r}: allowed are 'noise' and 'own'")

    def score(measured: Measurements) -> jax.Array:
        sums = total(measured.observed["ratios"])
        gamma: Any = sums[0] if zero_layers == "counted" else sums[1]
        return gamma * (1 + evenness(measured)) / jnp.log(sums[2] + 1)

    settings = {"zero_layers": zero_layers, "pictures": pictures}
    reference = "InTrain, CVPR 2026 (from notes)"
    observe = {"ratios": Look("activated", _ratios)}
    needs = frozenset({"kernel_gradients"})
    return Proxy("intrain", score, needs, settings, reference, observe=observe, prepare=Drawn("own", pictures))

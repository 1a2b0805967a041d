"""GradSign: how many pictures agree on the sign of each weight's gradient. Axes: N batch, P I O of a kernel."""

from typing import Any, Literal

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.base import Proxy
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import forward
from zsnas_jax.measure.tensors import num_entries
from zsnas_jax.nn.weights import kernels_of
from zsnas_jax.proxies.weights import sum_over_layers

_AT_ONCE = 8  # pictures whose gradients are held at a time, N of them or a divisor


def sign_sums(measured: Measurements, asker: str) -> Any:
    """sum_n sign(dl_n / dw) of every kernel, a tree like `params`; l_n the loss of picture n alone, run by itself."""
    network = measured.network
    kernels = [path for path, _ in kernels_of(network.weights, asker)]
    count = len(network.batch.image)

    def loss(params: Any, picture: Any) -> jax.Array:
        image, label = jax.tree.map(lambda leaf: leaf[None], picture)
        return network.loss(forward(network, image, params=params).logits, label)

    def signs(picture: Any) -> dict[Any, jax.Array]:
        gradients = flatten_dict(jax.grad(loss)(network.params, picture))
        return {path: jnp.sign(gradients[path]) for path in kernels}

    at_once = next(size for size in range(min(_AT_ONCE, count), 0, -1) if count % size == 0)
    cut = lambda leaf: leaf.reshape(-1, at_once, *leaf.shape[1:])
    pictures = jax.tree.map(cut, (network.batch.image, network.batch.label))
    add = lambda total, some: (jax.tree.map(lambda t, s: t + s.sum(0), total, jax.vmap(signs)(some)), None)
    flat = flatten_dict(network.params)
    totals, _ = lax.scan(add, {path: jnp.zeros_like(flat[path]) for path in kernels}, pictures)
    return unflatten_dict({path: totals.get(path, leaf) for path, leaf in flat.items()})


def gradsign(*, reduction: Literal["sum", "mean"] = "sum") -> Proxy:
    """GradSign = sum_w |sum_n sign(dl_n / dw)| over the kernels' weights w, l_n the loss of picture n.

    sign(0) = 0. One batch with labels. Each picture is a pass of its own, so that batch norm normalises a batch of one;
    that costs N passes of one picture, which run eight at a time.

    Args:
        reduction: "sum", of the code whose rank correlations the paper prints; "mean": over the weights, of the other
            release, which divides the size out and ranks differently.

    Raises:
        ValueError: for another reduction.

    Source: Zhang and Jia, "GradSign: Model Performance Inference with Theoretical Insights", ICLR 2022.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"gradsign with reduction={reduction!r}: allowed are 'sum' and 'mean'")

    def score(measured: Measurements) -> jax.Array:
        network = measured.network
        agreement = lambda s: jnp.abs(s).sum((1, 2))
        total = sum_over_layers(network, "gradsign", agreement, sign_sums(measured, "gradsign"))
        if reduction == "sum":
            return total
        flat = flatten_dict(network.params)
        return total / sum(
            num_entries(network, path, flat[path]) for path, _ in kernels_of(network.weights, "gradsign")
        )

    reference, needs = "Zhang and Jia, GradSign, ICLR 2022", frozenset({"labels", "network"})
    return Proxy("gradsign", score, needs, {"reduction": reduction}, reference, is_costly=True)

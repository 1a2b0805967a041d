"""Proxies of transformers: DSS and AutoProx.

Both look at one way back from R, the sum of the logits of one picture of ones, in the network with every parameter
absolute: biases, norms, tokens and tables too; norms and softmax stay. What of a transformer a kernel is, its module
says (`zsnas_jax.nn.roles.Kernel.part`); that of the patches does not count, and a kernel of which nobody says it is
refused. Axes: P positions along an `nn.scan`, I inputs, O outputs of a kernel.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp

from zsnas_jax import linalg
from zsnas_jax.base import Batch, Proxy
from zsnas_jax.measure.losses import logit_sum
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import Network
from zsnas_jax.nn.roles import Part
from zsnas_jax.nn.weights import kernels_of


def all_absolute(network: Network) -> Network:
    """The network that both measure: every parameter absolute, one picture of ones, the loss R."""
    image = jnp.ones_like(network.batch.image[:1])
    params = jax.tree.map(abs, network.params)
    return network.with_params(params)._replace(batch=Batch(image, ()), loss=logit_sum)


_PerKernel = Callable[[jax.Array, jax.Array, Any], jax.Array]
"""(W float[P, I, O], dR/dW likewise, which entries are no padding, bool broadcastable to them) to float[P]."""


def _sum_by_part(measured: Measurements, asker: str, of: Mapping[Part, _PerKernel]) -> jax.Array:
    """The sum over kernels of what their part is measured by.

    Raises:
        ValueError: if nobody says which part a kernel is.
    """
    network = measured.network
    params, slopes = flatten_dict(network.params), flatten_dict(measured.kernel_gradients)
    total = jnp.zeros(())
    for path, weight in kernels_of(network.weights, asker):
        assert weight.kernel
        if (part := weight.kernel.part) is None:
            raise ValueError(
                f"proxy {asker} is of transformers: nobody says which part of one {'/'.join(path)} of {weight.layer} "
                "is; say by `roles` Kernel(..., part='attention'), 'mlp', 'head' or 'other'"
            )
        if part not in of:
            continue
        entries = jnp.broadcast_to(network.is_active(path), params[path].shape)
        arrays = (weight.as_matrices(array) for array in (params[path], slopes[path], entries))
        total += jnp.where(network.has(path, weight, params[path]), of[part](*arrays), 0.0).sum()
    return total


def _proxy(name: str, parts: Mapping[Part, _PerKernel], reference: str) -> Proxy:
    return Proxy(
        name,
        lambda measured: _sum_by_part(measured, name, parts),
        frozenset({"kernel_gradients"}),
        {},
        reference,
        prepare=all_absolute,
        only_for="transformers",
    )


def _nuclear_norms(matrices: jax.Array) -> jax.Array:
    return jax.vmap(lambda matrix: linalg.singular_values(matrix).sum())(matrices)


def dss() -> Proxy:
    """DSS = sum_attention ||dR/dW||_* ||W||_* + sum_mlp sum |W dR/dW| + sum_head |W dR/dW|, || ||_* the nuclear norm.

    No data, no labels. Query, key and value are one matrix where they are one kernel.

    Source: Zhou et al., "Training-free Transformer Architecture Search" (TF-TAS), CVPR 2022. Deviations: the released
    code takes the head twice, and leaves the signs of what it sliced out of the super-net; this is the paper's formula.
    """
    synaptic: _PerKernel = lambda w, g, entries: jnp.abs(w * g).sum((1, 2))
    diversity: _PerKernel = lambda w, g, entries: _nuclear_norms(g) * _nuclear_norms(w)
    parts: Mapping[Part, _PerKernel] = {"attention": diversity, "mlp": synaptic, "head": synaptic}
    return _proxy("dss", parts, "Zhou et al., TF-TAS, CVPR 2022")


def autoprox() -> Proxy:
    """AutoProx = sum_attention sum |dR/dW| + sum over kernels of mlp and head of mean sigmoid(dR/dW).

    No data, no labels. The second sum is 1/2 to 1 a layer, the first about 1e5.

    Source: Wei et al., "Auto-Prox", AAAI 2024, as the public code of OoD-ViT-NAS (NeurIPS 2024) has it: the release of
    Auto-Prox lacks what evaluates its formula.
    """
    mean = lambda values, entries: jnp.where(entries, values, 0.0).sum((1, 2)) / jnp.maximum(entries.sum((1, 2)), 1)
    size: _PerKernel = lambda w, g, entries: jnp.abs(g).sum((1, 2))
    squashed: _PerKernel = lambda w, g, entries: mean(jax.nn.sigmoid(g), entries)
    parts: Mapping[Part, _PerKernel] = {"attention": size, "mlp": squashed, "head": squashed}
    return _proxy("autoprox", parts, "Wei et al., Auto-Prox, AAAI 2024")

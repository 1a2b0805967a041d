"""The weight layers of a network: its kernels, whether one to a layer, stacked by a scan, or chosen at run time.

Weights are kernels of convolutions and dense layers: no biases, no norms. Axes: P positions along an `nn.scan` (1 for a
single kernel), I weights of one filter, O filters.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp

from zsnas_jax.measure.network import Network, num_stacked_axes


class WeightLayers(NamedTuple):
    """One kernel leaf: whether the architecture has it, and slices of the trees asked for, float[P, I, O] each."""

    active: Any
    arrays: tuple[jax.Array, ...]


def weight_layers(network: Network, *trees: Any) -> Iterator[WeightLayers]:
    """The kernels of trees like `network.params`, leaf by leaf."""
    flats = [flatten_dict(tree) for tree in trees]
    for path in (path for path in flats[0] if path[-1] == "kernel"):
        leaves = [flat[path] for flat in flats]
        positions = leaves[0].shape[0] if num_stacked_axes(leaves[0]) else 1
        arrays = tuple(leaf.reshape(positions, -1, leaf.shape[-1]) for leaf in leaves)
        yield WeightLayers(network.is_active(path), arrays)


def sum_over_layers(network: Network, per_layer: Callable[..., jax.Array], *trees: Any) -> jax.Array:
    """Sum over the weight layers that the architecture has of a function of float[P, I, O] arrays to float[P]."""
    layers = weight_layers(network, *trees)
    return sum(jnp.where(active, per_layer(*arrays).sum(), 0.0) for active, arrays in layers)  # type: ignore[return-value]


def map_kernels(function: Callable[[jax.Array], jax.Array], params: Any, *, biases: Callable[..., Any]) -> Any:
    """Parameters with every kernel and every bias of a weight layer changed; scales stay."""
    change = {"kernel": function, "bias": biases}
    return unflatten_dict({path: change.get(path[-1], lambda x: x)(x) for path, x in flatten_dict(params).items()})

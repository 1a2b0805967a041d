"""The weight layers of a network: its kernels, whether one to a layer, stacked by a scan, or chosen at run time.

Weights are kernels of convolutions and dense layers, attention's among them: no biases, no norms, no embeddings. Axes:
P positions along an `nn.scan` (1 for a single kernel), I weights of one filter, O filters.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.measure.measurements import active_positions
from zsnas_jax.measure.network import Network
from zsnas_jax.nn.roles import Role
from zsnas_jax.nn.weights import kernels_of


class WeightLayer(NamedTuple):
    """One kernel leaf: whether the architecture has it, bool[] or bool[P], and slices of trees, float[P, I, O] each."""

    active: Any
    arrays: tuple[jax.Array, ...]


def weight_layers(network: Network, asker: str, *trees: Any) -> Iterator[WeightLayer]:
    """The kernels of trees like `network.params`, leaf by leaf; the name of the proxy that asks is for errors."""
    flats = [flatten_dict(tree) for tree in trees]
    for path, weight in kernels_of(network.weights, asker):
        arrays = tuple(weight.as_matrices(flat[path]) for flat in flats)
        yield WeightLayer(active_positions(network, path, len(arrays[0])), arrays)


def sum_over_layers(network: Network, asker: str, per_layer: Callable[..., jax.Array], *trees: Any) -> jax.Array:
    """Sum over the weight layers that the architecture has of a function of float[P, I, O] arrays to float[P]."""
    layers = weight_layers(network, asker, *trees)
    return sum(jnp.where(active, per_layer(*arrays), 0.0).sum() for active, arrays in layers)  # type: ignore[return-value]


def _zero(x: Any) -> Any:
    """Zeros of an array's shape; of numpy's in numpy, as chained networks hold theirs, so that nothing is compiled."""
    return (np if isinstance(x, np.ndarray) else jnp).zeros_like(x)


def map_parameters(
    network: Network,
    asker: str,
    *,
    kernel: Callable[[jax.Array], jax.Array] = lambda w: w,
    other: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> Network:
    """The network with its kernels and other parameters changed, and the biases of its weight layers zero.

    Raises:
        ValueError: if a parameter is of no known layer.
    """
    kernels = {path for path, _ in kernels_of(network.weights, asker)}
    change = lambda path: kernel if path in kernels else _zero if network.weights[path].role is Role.BIAS else other
    return network.with_params(
        unflatten_dict({path: change(path)(leaf) for path, leaf in flatten_dict(network.params).items()})
    )

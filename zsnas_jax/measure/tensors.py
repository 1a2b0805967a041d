"""The parameter tensors of a network: how many it has, and in which order it makes them.

Axes: P positions along the axes that `nn.scan` and `nn.vmap` add, T tensors.
"""

import itertools
import math
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Path
from zsnas_jax.measure.network import Network, forward
from zsnas_jax.nn.roles import Kernel, Role
from zsnas_jax.nn.weights import Weight, called_modules

_IN_A_MODULE = (None, Role.SCALE, Role.SHIFT, Role.BIAS, Role.EMBEDDING, Role.OTHER)


class Tensor(NamedTuple):
    """A tensor of a network: the path of its array, and its position in it."""

    path: Path
    position: int


def present(network: Network, path: Path, array: jax.Array) -> jax.Array:
    """Which of the tensors that lifts stack in one array the architecture has, bool[P]."""
    weight, active = network.weights[path], network.is_active(path)
    if not np.ndim(active):
        xp: Any = jnp if isinstance(active, jax.Array) else np  # chained networks have all, and compile nothing
        return xp.broadcast_to(xp.asarray(active, bool), (_num_positions(weight, array),))
    return weight.by_position(jnp.broadcast_to(active, array.shape)).reshape(-1, math.prod(weight.shape)).any(1)


def count(network: Network) -> jax.Array:
    """How many tensors the architecture has, float[]."""
    flat = flatten_dict(network.params)
    return jnp.float32(sum(present(network, path, leaf).sum() for path, leaf in flat.items()))


def num_entries(network: Network, path: Path, array: jax.Array) -> Any:
    """How many entries of an array the architecture has."""
    active = network.is_active(path)
    return jnp.sum(active) * (array.size // max(jnp.size(active), 1))


def _num_positions(weight: Weight, array: Any) -> int:
    return array.size // math.prod(weight.shape)


def in_order(network: Network) -> list[Tensor]:
    """The tensors in the order in which modules are called; of one module the kernel, scale, shift, bias.

    Modules that one scan holds are called position by position. A network that chooses its modules at run time calls
    all; `present` says which there are.
    """
    flat, weights = flatten_dict(network.params), network.weights
    call = lambda params: forward(network, network.batch.image[:1], params=params).logits
    places = {path: place for place, path in enumerate(called_modules(network.params, call))}
    in_module = lambda role: _IN_A_MODULE.index(None if isinstance(role, Kernel) else role)

    def key(path: Path) -> tuple[int, int, Path]:
        alike = (place for own, place in places.items() if own[:2] == path[:2] and own[3:] == path[3:-1])
        place = places.get(path[:-1], next(alike, len(places)))  # modules that run as one are called by one name
        return place, in_module(weights[path].role), path

    row = lambda path: (path[0], _num_positions(weights[path], flat[path]))
    found = []
    for (_, num_positions), paths in itertools.groupby(sorted(flat, key=key), key=row):
        together = list(paths)
        found += [Tensor(path, position) for position in range(num_positions) for path in together]
    return found

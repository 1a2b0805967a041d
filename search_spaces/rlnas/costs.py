"""What a network of RLNAS's mobile space costs, counted from genotypes int[..., 21]; numpy in, numpy out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.rlnas.network import EXPANSIONS, KERNELS, RLNAS, Layer, Skeleton, layers_of


def _by_choice(arch: Any, skeleton: Skeleton, cost: Callable[[int, Layer, int, int], int], traced_as: Any) -> Any:
    """The sum over layers of cost(place, layer, k, t) of their choices, [...]; of an identity it is nothing.

    int64 for numpy, `traced_as` for jax arrays.
    """
    choices = tuple(zip(KERNELS, EXPANSIONS, strict=True))
    rows = [[0, *(cost(place, layer, k, t) for k, t in choices)] for place, layer in enumerate(layers_of(skeleton))]
    traced = isinstance(arch, jax.Array)
    table: Any = jnp.asarray(rows, traced_as) if traced else np.array(rows, np.int64)
    return table[np.arange(len(rows)), (arch if traced else np.asarray(arch)) + 1].sum(-1)


def num_params(arch: Any, num_classes: int = 1000, skeleton: Skeleton = RLNAS) -> Any:
    """Trainable parameters, batch norm's and the classifier's bias included, int[...]."""

    def cost(place: int, layer: Layer, k: int, t: int) -> int:
        c, d, middle = layer.inputs, layer.channels, t * layer.inputs
        return (c + k * k + d + 4) * middle + 2 * d

    s, width = skeleton, skeleton.stages[-1]
    first = (27 + 2) * s.stem + (9 + 2) * s.stem + s.stem * s.first + 2 * s.first
    return first + (width + 2) * s.last + (s.last + 1) * num_classes + _by_choice(arch, skeleton, cost, jnp.int32)


def num_flops(arch: Any, num_classes: int = 1000, image_size: int = 224, skeleton: Skeleton = RLNAS) -> Any:
    """Multiply-adds of one picture, of convolutions and the dense layer only; sizes are rounded up.

    Exact, int64[...], for numpy; float32[...], to rounding, for jax arrays, since an int32 may not hold them.
    """
    sizes = [-(-image_size // 2)]
    for layer in layers_of(skeleton):
        sizes.append(-(-sizes[-1] // layer.stride))

    def cost(place: int, layer: Layer, k: int, t: int) -> int:
        before, behind = sizes[place] ** 2, sizes[place + 1] ** 2
        return (layer.inputs * before + (k * k + layer.channels) * behind) * t * layer.inputs

    s, width = skeleton, skeleton.stages[-1]
    first = (27 + 9 + s.first) * s.stem * sizes[0] ** 2
    return (
        first + width * s.last * sizes[-1] ** 2 + s.last * num_classes + _by_choice(arch, skeleton, cost, jnp.float32)
    )


def num_convolutions(arch: Any) -> Any:
    """Convolutions on the longest path, int[...]: the stem, two of the first block, the last, three of a layer."""
    return 4 + 3 * (arch >= 0).sum(-1)

"""What a network of NATS-Bench's size space costs, counted from genotypes int[..., 5]; numpy in, numpy out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.nats_size.network import BLOCKS, NUM_WIDTHS, WIDTHS

_IS_BLOCK = np.isin(np.arange(NUM_WIDTHS), BLOCKS)


def _widths(arch: Any) -> tuple[Any, Any, Any]:
    """(widths int[..., 5], channels that enter each layer, weights of each layer's convolutions)."""
    xp = jnp if isinstance(arch, jax.Array) else np
    behind = xp.asarray(WIDTHS)[xp.asarray(arch)]
    before = xp.concatenate([behind[..., :1], behind[..., :-1]], -1)
    # Two edges leave a cell's input beside the skip, and three others; a residual block has three convolutions.
    cell = 9 * (2 * before + 3 * behind) * behind + xp.where(before != behind, before * behind, 0)
    block = 9 * (before + behind) * behind + before * behind
    return behind, before, xp.where(_IS_BLOCK, block, cell)


def num_params(arch: Any, num_classes: int = 10) -> Any:
    """Trainable parameters, batch norm's and the classifier's bias included, int[...]."""
    behind, before, weights = _widths(arch)
    num_norms = 2 * _IS_BLOCK + (5 + (before != behind)) * ~_IS_BLOCK
    first, last = behind[..., 0], behind[..., -1]
    layers = (weights + 2 * num_norms * behind).sum(-1)
    return (27 + 2) * first + layers + 2 * last + (last + 1) * num_classes


def num_flops(arch: Any, num_classes: int = 10, image_size: int = 32) -> Any:
    """Multiply-adds of one picture, of convolutions and the dense layer only, int[...]; sizes are a multiple of 4."""
    behind, _, weights = _widths(arch)
    pixels = (image_size // np.array([1, 2, 2, 4, 4])) ** 2
    return 27 * behind[..., 0] * image_size**2 + (weights * pixels).sum(-1) + behind[..., -1] * num_classes

"""What networks of TransNAS-Bench-101 cost, counted from genotypes int[..., 6]; numpy in, numpy out.

Of jax arrays multiply-adds are float32[...], to rounding, since an int32 may not hold them. A transposed convolution
counts k^2 C D for each pixel that enters.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.transnas101.genotype import doubles, halves
from zsnas_jax.search_spaces.transnas101.network import (
    CONV1,
    CONV3,
    EDGES,
    MICRO_MODULES,
    NUM_TILES,
    OPS,
    SKIP,
    STEM,
    STEM_MIDDLE,
    shapes,
)
from zsnas_jax.search_spaces.transnas101.tasks import Head

_STEM_KERNELS = 27 * STEM_MIDDLE + 9 * STEM_MIDDLE * STEM


def _halved(size: int) -> int:
    return -(-size // 2)


def _xp(arch: Any) -> Any:
    return jnp if isinstance(arch, jax.Array) else np


def micro_params(arch: Any, head: Head, num_outputs: int) -> Any:
    """Trainable parameters of a micro network, norms', biases and the head's included, int[...]."""
    table = np.zeros((len(EDGES), len(OPS)), np.int64)
    for shape in shapes(MICRO_MODULES):
        for edge, (source, _) in enumerate(EDGES):
            inputs = shape.inputs if source == 0 else shape.channels
            weights = inputs * shape.channels
            table[edge, CONV1] += weights + 2 * shape.channels
            table[edge, CONV3] += 9 * weights + 2 * shape.channels
            table[edge, SKIP] += (weights + 2 * shape.channels) if source == 0 and shape.stride > 1 else 0
    return (
        _STEM_KERNELS
        + 2 * (STEM_MIDDLE + STEM)
        + _looked_up(arch, table)
        + head_params(head, shape.channels, num_outputs)
    )


def micro_flops(arch: Any, head: Head, num_outputs: int, image_size: int = 256) -> Any:
    """Multiply-adds of one picture, of convolutions and dense layers only; sizes are rounded up."""
    table = np.zeros((len(EDGES), len(OPS)), np.int64)
    side = image_size // 3 if head is Head.TILES else image_size
    fixed, size = _stem_flops(side)
    for shape in shapes(MICRO_MODULES):
        size = _halved(size) if shape.stride > 1 else size
        for edge, (source, _) in enumerate(EDGES):
            weights = (shape.inputs if source == 0 else shape.channels) * shape.channels * size**2
            table[edge, CONV1] += weights
            table[edge, CONV3] += 9 * weights
            table[edge, SKIP] += weights if source == 0 and shape.stride > 1 else 0
    times = NUM_TILES if head is Head.TILES else 1
    return times * (fixed + _looked_up(arch, table)) + head_flops(head, 5, shape.channels, num_outputs, size)


def _looked_up(arch: Any, table: np.ndarray) -> Any:
    """The sum over edges of what their operations cost."""
    if isinstance(arch, jax.Array):
        return jnp.asarray(table, jnp.float32 if table.sum() > 2**31 - 1 else jnp.int32)[
            np.arange(len(table)), arch
        ].sum(-1)
    return table[np.arange(len(table)), np.asarray(arch)].sum(-1)


def _stem_flops(size: int) -> tuple[int, int]:
    """(multiply-adds of the stem, pixels along a side of what it gives out)."""
    half, quarter = _halved(size), _halved(_halved(size))
    return 27 * STEM_MIDDLE * half**2 + 9 * STEM_MIDDLE * STEM * quarter**2, quarter


def macro_params(arch: Any, head: Head, num_outputs: int) -> Any:
    """Trainable parameters of a macro network, norms', biases and the head's included, int[...]."""
    xp, total, width = _xp(arch), _STEM_KERNELS + 2 * (STEM_MIDDLE + STEM), STEM
    for place in range(arch.shape[-1]):
        kind = arch[..., place]
        out = xp.where(doubles(kind), 2 * width, width)
        first = 9 * width * out + 9 * out**2 + 4 * out + xp.where(kind > 1, width * out + 2 * out, 0)
        total = total + xp.where(kind > 0, first + 18 * out**2 + 4 * out, 0)
        width = out
    return total + head_params(head, width, num_outputs)


def macro_flops(arch: Any, head: Head, num_outputs: int, image_size: int = 256) -> Any:
    """Multiply-adds of one picture, of convolutions and dense layers only; sizes are rounded up."""
    xp = _xp(arch)
    wide = jnp.float32 if xp is jnp else np.int64
    fixed, size = _stem_flops(image_size // 3 if head is Head.TILES else image_size)
    total, width, pixels = xp.asarray(fixed, wide), xp.asarray(STEM, wide), xp.asarray(size)
    for place in range(arch.shape[-1]):
        kind = arch[..., place]
        out = xp.where(doubles(kind), 2 * width, width)
        pixels = xp.where(halves(kind), -(-pixels // 2), pixels)
        area = xp.asarray(pixels, wide) ** 2
        first = 9 * width * out + 9 * out**2 + xp.where(kind > 1, width * out, 0)
        total = total + xp.where(kind > 0, (first + 18 * out**2) * area, 0)
        width = out
    times = NUM_TILES if head is Head.TILES else 1
    return times * total + head_flops(head, 2 + halves(arch).sum(-1), width, num_outputs, pixels)


def head_params(head: Head, channels: Any, num_outputs: int) -> Any:
    """Trainable parameters of a head on so many channels."""
    if head in (Head.DENSE, Head.TILES):
        return (channels * (NUM_TILES if head is Head.TILES else 1) + 1) * num_outputs
    total: Any = 0
    for width, _ in head.layers:
        total, channels = total + 9 * channels * width + 3 * width, width
    return total + (9 * channels + 1) * num_outputs


def head_flops(head: Head, num_halvings: Any, channels: Any, num_outputs: int, size: Any) -> Any:
    """Multiply-adds of a head on so many channels and pixels along a side."""
    if head in (Head.DENSE, Head.TILES):
        return channels * (NUM_TILES if head is Head.TILES else 1) * num_outputs
    total: Any = 0
    for width, least in head.layers:
        total, channels = total + 9 * channels * width * size**2, width
        size = size * (1 + (num_halvings >= least))
    return total + 9 * channels * num_outputs * size**2


def num_halvings(modules: Sequence[int]) -> int:
    """Halvings of the encoder of a macro network, the stem's two among them."""
    return 2 + sum(kind in (3, 4) for kind in modules)

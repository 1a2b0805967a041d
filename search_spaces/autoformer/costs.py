"""What an AutoFormer costs, counted from genotypes int[2 + 2 D]; numpy in, numpy out, also under a trace."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.nn.attention import MAX_DISTANCE
from zsnas_jax.search_spaces.autoformer.genotype import Grid


class _Counted(NamedTuple):
    """Width C float[], and of each block whether it is there, the width of its queries and its hidden units."""

    width: Any
    there: Any
    inner: Any
    hidden: Any


def _counted(grid: Grid, arch: Any) -> _Counted:
    xp, arch = (jnp, arch) if isinstance(arch, jax.Array) else (np, np.asarray(arch))
    number = xp.float32 if xp is jnp else np.float64  # more than an int32 holds
    blocks = grid.num_blocks
    width = xp.asarray(grid.widths, number)[arch[1]]
    there = (xp.arange(blocks) < xp.asarray(grid.depths)[arch[0]]).astype(number)
    heads = xp.asarray(grid.heads, number)[arch[2 : 2 + blocks]]
    ratios = xp.asarray(grid.ratios, number)[arch[2 + blocks :]]
    inner = grid.head_width * heads if grid.head_width else width + 0 * heads
    return _Counted(width, there, inner, xp.floor(width * ratios))


def num_params(grid: Grid, arch: Any, num_classes: int, *, input_size: int, patch_size: int) -> Any:
    """Trainable parameters, int[]: patches, tokens and positions, blocks, norms, classifier."""
    e, there, q, f = _counted(grid, arch)
    tokens, pixels = (input_size // patch_size) ** 2 + 1, 3 * patch_size**2
    tables = 4 * (2 * MAX_DISTANCE + 2) * (grid.head_width or 0)
    blocks = 3 * e * q + 3 * q + q * e + e + 4 * e + 2 * e * f + f + e + tables
    total = pixels * e + e + e * (tokens + 1) + 2 * e + e * num_classes + num_classes + (there * blocks).sum(-1)
    return total.astype(jnp.int32) if isinstance(total, jax.Array) else round(float(total))


def num_flops(grid: Grid, arch: Any, num_classes: int, *, input_size: int, patch_size: int) -> Any:
    """What the published searches call FLOPs, float[]; their code counts the class token once more in each block.

    Of `autoformer_plain`, whose published code counts none, it is `num_multiply_adds`.
    """
    if grid.head_width is None:
        return num_multiply_adds(grid, arch, num_classes, input_size=input_size, patch_size=patch_size)
    e, there, q, f = _counted(grid, arch)
    n, pixels = (input_size // patch_size) ** 2, 3 * patch_size**2
    s = n + 2
    blocks = 2 * s * e + 3 * s * e * q + 2 * s * s * q + s * q * e + 28 * s * s + s * s / 2 + s * q / 2 + 2 * s * e * f
    return e + pixels * n * e + e * (n + 1) / 2 + (n + 1) * num_classes * e + (there * blocks).sum(-1)


def num_multiply_adds(grid: Grid, arch: Any, num_classes: int, *, input_size: int, patch_size: int) -> Any:
    """Multiply-adds of the products of one picture, float[]: no norms, biases, positions; q R is of all pairs."""
    e, there, q, f = _counted(grid, arch)
    n, pixels = (input_size // patch_size) ** 2, 3 * patch_size**2
    t = n + 1
    pairs = 4 if grid.head_width else 2  # q k and A v, and q R and A R
    blocks = 3 * t * e * q + t * q * e + 2 * t * e * f + pairs * t * t * q
    return pixels * n * e + num_classes * e + (there * blocks).sum(-1)

"""What a PiT costs, counted from genotypes int[8]; numpy in, numpy out, also under a trace."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.pit.genotype import GRID, NUM_STAGES, Grid
from zsnas_jax.search_spaces.pit.network import PATCH, grid_of


def _counted(arch: Any, grid: Grid) -> tuple[Any, Any, list[Any]]:
    """(widths of the stages, ratio, depths), float each."""
    xp, arch = (jnp, arch) if isinstance(arch, jax.Array) else (np, np.asarray(arch))
    number = xp.float32 if xp is jnp else np.float64  # more than an int32 holds
    of = lambda choices, gene: xp.asarray(choices, number)[gene]
    widths = [of(grid.bases, arch[0]) * of(grid.heads, arch[2 + NUM_STAGES + stage]) for stage in range(NUM_STAGES)]
    return widths, of(grid.ratios, arch[1]), [of(grid.depths[stage], arch[2 + stage]) for stage in range(NUM_STAGES)]


def num_params(arch: Any, num_classes: int, *, input_size: int = 224, grid: Grid = GRID) -> Any:
    """Trainable parameters, int[]: patches, tokens and positions, blocks, poolings, norm, classifier."""
    widths, ratio, depths = _counted(arch, grid)
    first, last = widths[0], widths[-1]
    total = (3 * PATCH**2 + 1) * first + grid_of(input_size) ** 2 * first + first
    for e, depth in zip(widths, depths, strict=True):
        f = e * ratio
        total = total + depth * (4 * e * e + 9 * e + 2 * e * f + f)
    for before, e in itertools.pairwise(widths):
        total = total + 10 * e + before * e + e
    total = total + 2 * last + num_classes * (last + 1)
    return total.astype(jnp.int32) if isinstance(total, jax.Array) else int(total)


def num_flops(arch: Any, num_classes: int, *, input_size: int = 224, grid: Grid = GRID) -> Any:
    """Multiply-adds of the products and convolutions of one picture, float[]: no norms, biases, positions."""
    widths, ratio, depths = _counted(arch, grid)
    side, total = grid_of(input_size), 0.0
    total = total + 3 * PATCH**2 * side**2 * widths[0] + num_classes * widths[-1]
    for stage, (e, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            side = -(-side // 2)
            total = total + 9 * side**2 * e + widths[stage - 1] * e
        tokens = side**2 + 1
        total = total + depth * (4 * tokens * e * e + 2 * tokens * e * e * ratio + 2 * tokens**2 * e)
    return total

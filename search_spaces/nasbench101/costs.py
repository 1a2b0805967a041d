"""What the network of a NAS-Bench-101 cell costs, counted from its genotypes int[..., 26]; numpy in, numpy out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.nasbench101.cells import (
    EDGES,
    INPUT,
    INTERIOR,
    NUM_EDGES,
    OUTPUT,
    Live,
    as_genes,
    find_live,
    vertex_widths,
)

STEM_CHANNELS, NUM_STACKS, CELLS_PER_STACK = 128, 3, 3
_KERNEL_SIZES = np.array([9, 1, 0], np.int32)
_SOURCES, _TARGETS = np.array(EDGES).T


def _projects(live: Live, xp: Any) -> Any:
    """Whether an edge leads from the input to slots 1 to 5, int[..., 5] 0 or 1."""
    return xp.stack([live.has_edge(INPUT, v) for v in INTERIOR], -1)


def _convolutions(arch: Any, in_channels: int, out_channels: int) -> tuple[Any, Any]:
    """(weights of the convolutions of a cell, channels that they give out), int[...] each."""
    live, genes = find_live(arch), as_genes(arch)
    xp = jnp if isinstance(genes, jax.Array) else np
    widths, projects = vertex_widths(arch, out_channels), _projects(live, xp)
    sizes = xp.asarray(_KERNEL_SIZES)[genes[..., NUM_EDGES:]]
    skip = live.has_edge(INPUT, OUTPUT)
    weights = (projects * in_channels * widths + sizes * widths**2).sum(-1) + skip * in_channels * out_channels
    given = ((projects + (sizes > 0)) * widths).sum(-1) + skip * out_channels
    return weights, given


def _stacks(arch: Any) -> list[tuple[Any, Any]]:
    """For each stack (weights, channels given out) of the convolutions of its cells."""
    sums = []
    for stack in range(NUM_STACKS):
        channels = STEM_CHANNELS << stack
        before = channels if stack == 0 else channels // 2
        first, other = _convolutions(arch, before, channels), _convolutions(arch, channels, channels)
        sums.append(tuple(a + (CELLS_PER_STACK - 1) * b for a, b in zip(first, other, strict=True)))
    return sums


def num_params(arch: Any, num_classes: int = 10) -> Any:
    """Trainable parameters of the network of a cell, batch norm's and the classifier's bias included, int[...]."""
    last = STEM_CHANNELS << (NUM_STACKS - 1)
    fixed = 27 * STEM_CHANNELS + 2 * STEM_CHANNELS + (last + 1) * num_classes
    return sum(weights + 2 * given for weights, given in _stacks(arch)) + fixed


def num_flops(arch: Any, num_classes: int = 10, image_size: int = 32) -> Any:
    """Multiply-adds of one image, of convolutions and the dense layer only.

    Exact, int64[...], for numpy; float32[...], to rounding, for jax arrays: a cell may have more than an int32 holds.
    """
    wide = np.float32 if isinstance(arch, jax.Array) else np.int64
    total = 27 * STEM_CHANNELS * image_size**2 + (STEM_CHANNELS << (NUM_STACKS - 1)) * num_classes
    for stack, (weights, _) in enumerate(_stacks(arch)):
        total = total + weights.astype(wide) * (image_size >> stack) ** 2
    return total


def num_convolutions(arch: Any) -> Any:
    """Convolutions of the network of a cell, int[...]: the stem's, then operations and projections of nine cells."""
    live, genes = find_live(arch), as_genes(arch)
    xp = jnp if isinstance(genes, jax.Array) else np
    alive = xp.stack([live.has_slot(v) for v in INTERIOR], -1)
    ops = (alive * (xp.asarray(_KERNEL_SIZES)[genes[..., NUM_EDGES:]] > 0)).sum(-1)
    return 1 + NUM_STACKS * CELLS_PER_STACK * (ops + _projects(live, xp).sum(-1) + live.has_edge(INPUT, OUTPUT))

"""What the network of a NAS-Bench-201 cell costs, counted from its genotype int[6]."""

from typing import Any

import jax
import numpy as np

from zsnas_jax.search_spaces.nasbench201.network import CONV1, CONV3, NUM_STAGES


def _per_cell(arch: Any, width: int, per_pixel: bool) -> Any:
    """Weights (and, unless per pixel, batch norm's scale and bias) of the convolutions of one cell."""
    ops = arch if isinstance(arch, jax.Array) else np.asarray(arch)
    conv1, conv3 = (ops == CONV1).sum(), (ops == CONV3).sum()
    return (conv1 + 9 * conv3) * width**2 + (0 if per_pixel else 2 * width * (conv1 + conv3))


def num_params(arch: Any, num_classes: int = 10, channels: int = 16, cells_per_stage: int = 5) -> Any:
    """Trainable parameters of the network of a cell, batch norm's and the classifier's bias included."""
    total = 27 * channels + 2 * channels
    for stage in range(NUM_STAGES):
        c = channels * 2**stage
        if stage:
            total += (9 * c * c // 2 + 2 * c) + (9 * c * c + 2 * c) + c * c // 2
        total += cells_per_stage * _per_cell(arch, c, per_pixel=False)
    return total + 2 * c + (c + 1) * num_classes


def num_flops(
    arch: Any, num_classes: int = 10, image_size: int = 32, channels: int = 16, cells_per_stage: int = 5
) -> Any:
    """Multiply-adds of one image, of convolutions and the dense layer only."""
    total = 27 * channels * image_size**2
    for stage in range(NUM_STAGES):
        c, pixels = channels * 2**stage, (image_size >> stage) ** 2
        if stage:
            total += (9 * c * c // 2 + 9 * c * c + c * c // 2) * pixels
        total += cells_per_stage * _per_cell(arch, c, per_pixel=True) * pixels
    return total + c * num_classes


def num_convolutions(arch: Any, cells_per_stage: int = 5) -> Any:
    """Convolutions of the network of a cell, the shortcuts of the two residual blocks excluded.

    5 + 15 k for a cell with k convolutions: the stem, two in each residual block, k in each of three times five cells.
    With the two shortcuts it is 7 + 15 k.
    """
    ops = arch if isinstance(arch, jax.Array) else np.asarray(arch)
    fixed = 1 + 2 * (NUM_STAGES - 1)
    return fixed + NUM_STAGES * cells_per_stage * ((ops == CONV1) | (ops == CONV3)).sum()

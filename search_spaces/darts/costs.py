"""What a DARTS network costs, counted from genotypes int[..., 2, 4, 2, 2]; numpy in, numpy out.

Keywords are fields of the network, as of `zsnas_jax.search_spaces.darts.network.steps`. All costs are a constant and a
sum over cells and operations, where an operation costs the same in every slot that has its stride.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.darts.edges import DIL_3, DIL_5, NUM_CELLS, NUM_NODES, OPS, SEP_3, SEP_5, SKIP
from zsnas_jax.search_spaces.darts.network import SIZES, CellPlan, plan

_PAIRS = {SEP_3: 2, SEP_5: 2, DIL_3: 1, DIL_5: 1}
"""How often an operation is a depthwise and a 1x1 convolution with a norm behind them."""


def _by_stride(cell: CellPlan, norm: int, pixels: int = 1) -> np.ndarray:
    """int[2, 9]: what each operation of a cell costs that reads a node, that reads an input of the cell.

    Args:
        cell: the cell.
        norm: of a norm.
        pixels: a weight of a kernel costs that much.
    """
    costs, c = np.zeros((2, len(OPS)), np.int64), cell.channels
    for op, times in _PAIRS.items():
        costs[:, op] = times * ((SIZES[op] ** 2 * c + c * c) * pixels + norm)
    costs[1, SKIP] = c * c * pixels + norm if cell.is_reduction else 0
    return costs


def _sum_over_cells(arch: Any, tables: Any) -> Any:
    """The sum of the entries that a genotype int[..., 2, 4, 2, 2] chooses, int[...].

    Args:
        arch: the genotype.
        tables: (kind of a cell, int[2, 9] as `_by_stride` makes it) of each cell.
    """
    total = np.zeros((NUM_CELLS, 2, len(OPS)), np.int64)
    for kind, table in tables:
        total[int(kind)] += table
    is_traced = isinstance(arch, jax.Array)
    genes, costs = (arch, jnp.asarray(total)) if is_traced else (np.asarray(arch), total)
    reads_input = (genes[..., 0] < 2).astype(np.int32)
    return costs[np.arange(NUM_CELLS)[:, None, None], reads_input, genes[..., 1]].sum((-1, -2, -3))


def _stem(channels: int, imagenet: bool, with_stem: bool) -> list[tuple[int, int]]:
    """(channels that enter, that leave) of the 3x3 convolutions before the first cell."""
    if imagenet:
        return [(3, channels // 2), (channels // 2, channels), (channels, channels)]
    return [(3, 3 * channels)] if with_stem else []


def num_params(
    arch: Any,
    num_classes: int = 10,
    *,
    channels: int = 16,
    layers: int = 8,
    imagenet: bool = False,
    with_stem: bool = True,
    as_nasbench301: bool = False,
) -> Any:
    """Trainable parameters, batch norm's and the classifier's bias included, an auxiliary head's not, int[...].

    Args:
        arch: int[..., 2, 4, 2, 2].
        num_classes: width of the logits.
        channels: C.
        layers: L.
        imagenet: whether the stems are ImageNet's.
        with_stem: whether there is a stem.
        as_nasbench301: whether batch norms inside operations have no scale and bias, as in the networks of
            NAS-Bench-301 (C 32, L 8) whose parameters NAS-Bench-Suite-Zero counted.
    """
    cells = plan(channels, layers, imagenet=imagenet, with_stem=with_stem)
    stem = sum(9 * c * d + 2 * d for c, d in _stem(channels, imagenet, with_stem))
    preprocess = sum((sum(cell.inputs) + 4) * cell.channels for cell in cells)
    head = (NUM_NODES * cells[-1].channels + 1) * num_classes
    norm = lambda cell: 0 if as_nasbench301 else 2 * cell.channels
    tables = [(cell.is_reduction, _by_stride(cell, norm(cell))) for cell in cells]
    return stem + preprocess + head + _sum_over_cells(arch, tables)


def num_auxiliary_params(num_classes: int = 10, *, channels: int = 16, layers: int = 8, imagenet: bool = False) -> int:
    """Parameters of the auxiliary head of training, which no published size counts.

    It reads cell 2 L // 3: 1x1 convolution to 128 channels, norm, 2x2 convolution to 768, norm (on ImageNet none),
    dense layer.
    """
    reads = NUM_NODES * plan(channels, layers, imagenet=imagenet)[2 * layers // 3].channels
    return 128 * (reads + 2) + 768 * (4 * 128 + (0 if imagenet else 2)) + (768 + 1) * num_classes


def num_flops(
    arch: Any,
    num_classes: int = 10,
    image_size: int = 32,
    *,
    channels: int = 16,
    layers: int = 8,
    imagenet: bool = False,
    with_stem: bool = True,
) -> Any:
    """Multiply-adds of one picture, of convolutions and the dense layer only, int[...]; sizes are rounded up."""
    cells, halved = plan(channels, layers, imagenet=imagenet, with_stem=with_stem), lambda size: -(-size // 2)
    fixed, size, tables = NUM_NODES * cells[-1].channels * num_classes, image_size, []
    for c, d in _stem(channels, imagenet, with_stem):
        size = halved(size) if imagenet else size
        fixed += 9 * c * d * size**2
    for cell in cells:
        fixed += sum(cell.inputs) * cell.channels * size**2
        size = halved(size) if cell.is_reduction else size
        tables.append((cell.is_reduction, _by_stride(cell, 0, size**2)))
    return fixed + _sum_over_cells(arch, tables)


def num_convolutions(
    arch: Any, *, channels: int = 16, layers: int = 8, imagenet: bool = False, with_stem: bool = True
) -> Any:
    """Convolutions of the network, shortcuts excluded, int[...].

    The stem's, two preprocesses a cell, where two side by side count as one, four in a separable convolution, two in a
    dilated one; those of a skip at stride 2 are a shortcut's.
    """
    cells = plan(channels, layers, imagenet=imagenet, with_stem=with_stem)
    each = np.zeros((2, len(OPS)), np.int64)
    each[:, list(_PAIRS)] = [2 * times for times in _PAIRS.values()]
    fixed = len(_stem(channels, imagenet, with_stem)) + 2 * len(cells)
    return fixed + _sum_over_cells(arch, [(cell.is_reduction, each) for cell in cells])

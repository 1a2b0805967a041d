"""Architectures that papers published, by the names under which they are known."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from zsnas_jax.search_spaces.darts.edges import (
    AVG_POOL,
    DIL_3,
    DIL_5,
    MAX_POOL,
    NUM_CELLS,
    NUM_NODES,
    NUM_SLOTS,
    SEP_3,
    SEP_5,
    SKIP,
)

Pairs = tuple[tuple[int, int], ...]


def _arch(normal: Pairs, reduction: Pairs) -> np.ndarray:
    """A genotype of eight pairs (operation, input) a cell, as they are published."""
    arch = np.array([normal, reduction], np.int32)[..., ::-1].reshape(NUM_CELLS, NUM_NODES, NUM_SLOTS, 2).copy()
    arch.flags.writeable = False
    return arch


DARTS_V1 = _arch(
    ((SEP_3, 1), (SEP_3, 0), (SKIP, 0), (SEP_3, 1), (SKIP, 0), (SEP_3, 1), (SEP_3, 0), (SKIP, 2)),
    ((MAX_POOL, 0), (MAX_POOL, 1), (SKIP, 2), (MAX_POOL, 0), (MAX_POOL, 0), (SKIP, 2), (SKIP, 2), (AVG_POOL, 0)),
)
"""Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019, first order."""

DARTS_V2 = _arch(
    ((SEP_3, 0), (SEP_3, 1), (SEP_3, 0), (SEP_3, 1), (SEP_3, 1), (SKIP, 0), (SKIP, 0), (DIL_3, 2)),
    ((MAX_POOL, 0), (MAX_POOL, 1), (SKIP, 2), (MAX_POOL, 1), (MAX_POOL, 0), (SKIP, 2), (SKIP, 2), (MAX_POOL, 1)),
)
"""The same, second order."""

PC_DARTS_CIFAR = _arch(
    ((SEP_3, 1), (SKIP, 0), (SEP_3, 0), (DIL_3, 1), (SEP_5, 0), (SEP_3, 1), (AVG_POOL, 0), (DIL_3, 1)),
    ((SEP_5, 1), (MAX_POOL, 0), (SEP_5, 1), (SEP_5, 2), (SEP_3, 0), (SEP_3, 3), (SEP_3, 1), (SEP_3, 2)),
)
"""Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR 2020, CIFAR-10."""

PC_DARTS_IMAGE = _arch(
    ((SKIP, 1), (SEP_3, 0), (SEP_3, 0), (SKIP, 1), (SEP_3, 1), (SEP_3, 3), (SEP_3, 1), (DIL_5, 4)),
    ((SEP_3, 0), (SKIP, 1), (DIL_5, 2), (MAX_POOL, 1), (SEP_3, 2), (SEP_3, 1), (SEP_5, 0), (SEP_3, 3)),
)
"""The same, ImageNet."""

RLDARTS = _arch(
    ((SEP_5, 0), (SEP_3, 1), (DIL_3, 0), (SEP_5, 2), (SEP_3, 0), (DIL_5, 3), (DIL_5, 1), (DIL_3, 2)),
    ((SEP_5, 0), (DIL_3, 1), (SEP_3, 0), (SEP_5, 2), (DIL_3, 1), (SEP_3, 3), (MAX_POOL, 1), (SEP_5, 2)),
)
"""Zhang et al., "Neural Architecture Search with Random Labels" (RLNAS), CVPR 2021, CIFAR-10."""

NAMED: Mapping[str, np.ndarray] = MappingProxyType(
    {
        "DARTS_V1": DARTS_V1,
        "DARTS_V2": DARTS_V2,
        "PC_DARTS_cifar": PC_DARTS_CIFAR,
        "PC_DARTS_image": PC_DARTS_IMAGE,
        "RLDARTS": RLDARTS,
    }
)
"""Their published names."""

"""The NAS-Bench-101 space: 423,624 cells of at most seven vertices and nine edges.

An architecture is int32[26]: 21 edge genes over seven slots, edge (x, y), x < y, at position x + y(y-1)/2, then the
operations of slots 1 to 5. Slot 0 is the input, slot 6 the output; a cell of V vertices fills slots 0 to V - 2 and 6.
A genotype may hold dead parts, on no path from input to output: they are pruned before anything is counted, and
`from_index(to_index(arch))` is the canonical form. Source: Ying et al., "NAS-Bench-101: Towards Reproducible Neural
Architecture Search", ICML 2019.
"""

from typing import Any

import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.search_spaces.nasbench101.cells import (
    INTERIOR,
    MAX_EDGES,
    NUM_ARCHS,
    NUM_EDGES,
    NUM_INTERIOR,
    NUM_OPS,
    OUTPUT,
    find_live,
)
from zsnas_jax.search_spaces.nasbench101.costs import num_convolutions, num_flops, num_params
from zsnas_jax.search_spaces.nasbench101.genotype import (
    TOKENS,
    decode,
    encode,
    from_index,
    is_valid,
    mutate,
    prune,
    published_hash,
    sample,
    to_index,
)
from zsnas_jax.search_spaces.nasbench101.graph import graph
from zsnas_jax.search_spaces.nasbench101.network import NASBench101

NUM_VARIANTS = 1 + MAX_EDGES // 2  # what feeds the output is fed itself: two edges each

__all__ = [
    "NUM_ARCHS",
    "NUM_VARIANTS",
    "TOKENS",
    "NASBench101",
    "decode",
    "encode",
    "from_index",
    "is_valid",
    "make_network",
    "mutate",
    "num_convolutions",
    "num_flops",
    "num_params",
    "prune",
    "published_hash",
    "sample",
    "space",
    "to_index",
    "variant_of",
]


def variant_of(arch: Any) -> Any:
    """How many interior vertices feed the output, int32[...]: the network that serves the cell.

    From 0 to 4 in a valid cell: five that feed the output, and are fed, would take ten edges.
    """
    live = find_live(arch)
    return sum(live.has_edge(v, OUTPUT) for v in INTERIOR).astype(np.int32)


def make_network(num_classes: int = 10, variant: int = 1) -> NASBench101:
    """The benchmark's network for the cells in which `variant` interior vertices feed the output."""
    return NASBench101(num_classes=num_classes, variant=variant)


def space() -> SearchSpace:
    """The space as a value."""
    network = NASBench101()
    return SearchSpace(
        name="nasbench101",
        num_archs=NUM_ARCHS,
        sample=sample,
        mutate=mutate,
        from_index=from_index,
        to_index=to_index,
        encode=encode,
        decode=decode,
        isomorphism_key=published_hash,
        prune=prune,
        num_params=num_params,
        num_flops=num_flops,
        make_network=make_network,
        layer_of=network.layer_of,
        is_active=network.is_active,
        num_convolutions=num_convolutions,
        is_valid=is_valid,
        num_choices=(2,) * NUM_EDGES + (NUM_OPS,) * NUM_INTERIOR,
        num_variants=NUM_VARIANTS,
        variant_of=variant_of,
        is_homogeneous=True,
        size_multiple=4,
        graph=graph,
        static=lambda arch: tuple(np.asarray(arch).tolist()),
    )

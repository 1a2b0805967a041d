"""The NAS-Bench-201 space: 15,625 cells of six edges with five operations each.

An architecture is int32[6], the operation of each edge in the order of the published string. Source: Dong and Yang,
"NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020.
"""

import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.search_spaces.nasbench201.costs import num_convolutions, num_flops, num_params
from zsnas_jax.search_spaces.nasbench201.genotype import (
    NUM_ARCHS,
    NUM_GENES,
    NUM_OPS,
    decode,
    encode,
    from_index,
    isomorphism_key,
    mutate,
    prune,
    sample,
    to_index,
)
from zsnas_jax.search_spaces.nasbench201.graph import graph
from zsnas_jax.search_spaces.nasbench201.network import EDGES, OPS, NASBench201, is_active

__all__ = [
    "EDGES",
    "NUM_ARCHS",
    "OPS",
    "NASBench201",
    "decode",
    "encode",
    "from_index",
    "isomorphism_key",
    "make_network",
    "mutate",
    "num_convolutions",
    "num_flops",
    "num_params",
    "prune",
    "sample",
    "space",
    "to_index",
]


def make_network(num_classes: int = 10) -> NASBench201:
    """The benchmark's network: 16 channels, five cells a stage."""
    return NASBench201(num_classes=num_classes)


def space() -> SearchSpace:
    """The space as a value."""
    return SearchSpace(
        name="nasbench201",
        num_archs=NUM_ARCHS,
        sample=sample,
        mutate=mutate,
        from_index=from_index,
        to_index=to_index,
        encode=encode,
        decode=decode,
        isomorphism_key=isomorphism_key,
        prune=prune,
        num_params=num_params,
        num_flops=num_flops,
        make_network=make_network,
        layer_of=NASBench201().layer_of,
        is_active=is_active,
        num_convolutions=num_convolutions,
        num_choices=(NUM_OPS,) * NUM_GENES,
        is_homogeneous=True,
        size_multiple=4,
        graph=graph,
        static=lambda arch: tuple(np.asarray(arch).tolist()),
    )

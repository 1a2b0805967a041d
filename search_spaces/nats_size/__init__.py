"""NATS-Bench's size space: 32,768 networks of one cell in three places, with five widths to choose.

An architecture is int32[5], the place of each width among 8, 16, ..., 64 (`genotype`). Source: Dong et al.,
"NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology and Size", PAMI 2021.
"""

import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.measure.blocks import ChainNetwork
from zsnas_jax.measure.chain import trace_chain
from zsnas_jax.search_spaces.nats_size.costs import num_flops, num_params
from zsnas_jax.search_spaces.nats_size.genotype import (
    DIGITS,
    NUM_ARCHS,
    NUM_CHOICES,
    NUM_GENES,
    decode,
    encode,
)
from zsnas_jax.search_spaces.nats_size.graph import graph
from zsnas_jax.search_spaces.nats_size.network import layer_of, steps

__all__ = [
    "NUM_ARCHS",
    "decode",
    "encode",
    "graph",
    "layer_of",
    "make_network",
    "num_flops",
    "num_params",
    "space",
    "steps",
]


def _genes(arch: object) -> tuple[int, ...]:
    return tuple(np.asarray(arch).tolist())


def make_network(num_classes: int = 10) -> ChainNetwork:
    """The benchmark's network; it is called with the five genes as Python ints."""
    return ChainNetwork(steps, num_classes)


def space() -> SearchSpace:
    """The space as a value. All its networks have as many convolutions: it states no number of them."""
    return SearchSpace(
        name="nats_size",
        num_archs=NUM_ARCHS,
        sample=DIGITS.sample,
        mutate=DIGITS.mutate,
        from_index=DIGITS.from_index,
        to_index=DIGITS.to_index,
        encode=encode,
        decode=decode,
        num_params=num_params,
        num_flops=num_flops,
        make_network=make_network,
        layer_of=layer_of,
        num_choices=(NUM_CHOICES,) * NUM_GENES,
        graph=graph,
        is_dispatched=False,
        static=_genes,
        chain=trace_chain(lambda arch, num_classes: steps(_genes(arch), num_classes), (32, 32, 3)),
        is_homogeneous=True,
        size_multiple=4,
    )

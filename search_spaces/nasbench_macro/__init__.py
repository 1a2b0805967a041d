"""The NAS-Bench-Macro space: 6,561 strings of eight layers with three choices each, 3,969 different networks.

An architecture is int32[8], the choice of each layer (`genotype`). Source: Su et al., "Prioritized Architecture
Sampling with Monte-Carlo Tree Search", CVPR 2021.
"""

import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.measure.blocks import ChainNetwork, chosen
from zsnas_jax.measure.chain import trace_chain
from zsnas_jax.search_spaces.nasbench_macro.costs import num_convolutions, num_flops, num_params
from zsnas_jax.search_spaces.nasbench_macro.genotype import (
    DIGITS,
    NUM_ARCHS,
    NUM_CHOICES,
    NUM_GENES,
    decode,
    encode,
    isomorphism_key,
    prune,
)
from zsnas_jax.search_spaces.nasbench_macro.graph import graph
from zsnas_jax.search_spaces.nasbench_macro.network import layer_of, steps

__all__ = [
    "NUM_ARCHS",
    "decode",
    "encode",
    "graph",
    "isomorphism_key",
    "layer_of",
    "make_network",
    "num_convolutions",
    "num_flops",
    "num_params",
    "prune",
    "space",
    "steps",
]


def _choices(arch: object) -> tuple[int, ...]:
    return tuple(np.asarray(arch).tolist())


def make_network(num_classes: int = 10) -> ChainNetwork:
    """The benchmark's network; it is called with the eight choices as Python ints."""
    return ChainNetwork(steps, num_classes)


def space() -> SearchSpace:
    """The space as a value."""
    return SearchSpace(
        name="nasbench_macro",
        num_archs=NUM_ARCHS,
        sample=DIGITS.sample,
        mutate=DIGITS.mutate,
        from_index=DIGITS.from_index,
        to_index=DIGITS.to_index,
        encode=encode,
        decode=decode,
        isomorphism_key=isomorphism_key,
        prune=prune,
        num_params=num_params,
        num_flops=num_flops,
        make_network=make_network,
        layer_of=layer_of,
        num_convolutions=num_convolutions,
        num_choices=(NUM_CHOICES,) * NUM_GENES,
        graph=graph,
        is_active=lambda arch: chosen(steps(jnp.asarray(arch), 1)),
        static=_choices,
        chain=trace_chain(lambda arch, num_classes: steps(_choices(arch), num_classes), (32, 32, 3)),
        is_homogeneous=True,
    )

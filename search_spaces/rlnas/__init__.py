"""RLNAS's mobile space: 21 layers in six stages, each an inverted residual of six kinds or nothing; 2.2e17 networks.

An architecture is int32[21], the choice of each layer (`genotype`). Pictures have 224 pixels along a side in the paper;
any number will do. Sources: Zhang et al., "Neural Architecture Search with Random Labels", CVPR 2021; of the
widths of `PROXYLESSNAS` Cai et al., "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware",
ICLR 2019.
"""

import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.measure.blocks import ChainNetwork, chosen
from zsnas_jax.measure.chain import trace_chain
from zsnas_jax.search_spaces.rlnas.costs import num_convolutions, num_flops, num_params
from zsnas_jax.search_spaces.rlnas.genotype import MAX_FLOPS, decode, encode, is_valid, mutate, sample
from zsnas_jax.search_spaces.rlnas.graph import graph
from zsnas_jax.search_spaces.rlnas.network import PROXYLESSNAS, RLNAS, Skeleton, layer_of, steps

PUBLISHED = "2 0 -1 2 2 0 2 4 0 4 4 2 4 2 4 2 0 0 0 2 2"
"""The network that RLNAS found."""

__all__ = [
    "MAX_FLOPS",
    "PROXYLESSNAS",
    "PUBLISHED",
    "RLNAS",
    "Skeleton",
    "decode",
    "encode",
    "graph",
    "is_valid",
    "layer_of",
    "make_network",
    "mutate",
    "num_convolutions",
    "num_flops",
    "num_params",
    "proxylessnas",
    "sample",
    "space",
    "steps",
]


def _choices(arch: object) -> tuple[int, ...]:
    return tuple(np.asarray(arch).tolist())


def make_network(num_classes: int = 1000, skeleton: Skeleton = RLNAS) -> ChainNetwork:
    """The network of a skeleton; it is called with the 21 choices as Python ints."""
    return ChainNetwork(functools.partial(steps, skeleton=skeleton), num_classes)


def space() -> SearchSpace:
    """The space of RLNAS as a value; samples have 475 M FLOPs at most."""
    return _space("rlnas", RLNAS, MAX_FLOPS)


def proxylessnas() -> SearchSpace:
    """The same choices with ProxylessNAS's widths and epsilon; samples are of any size, since it states no limit."""
    return _space("proxylessnas", PROXYLESSNAS, math.inf)


def _space(name: str, skeleton: Skeleton, max_flops: float) -> SearchSpace:
    own: dict[str, Any] = {"skeleton": skeleton}
    return SearchSpace(
        name=name,
        sample=functools.partial(sample, max_flops=max_flops, skeleton=skeleton),
        mutate=mutate,
        encode=encode,
        decode=decode,
        num_params=functools.partial(num_params, **own),
        num_flops=functools.partial(num_flops, **own),
        make_network=functools.partial(make_network, **own),
        layer_of=layer_of,
        num_convolutions=num_convolutions,
        is_valid=is_valid,
        graph=functools.partial(graph, **own),
        is_active=lambda arch: chosen(steps(jnp.asarray(arch), 1, skeleton)),
        static=_choices,
        chain=trace_chain(lambda arch, num_classes: steps(_choices(arch), num_classes, skeleton), (32, 32, 3)),
    )

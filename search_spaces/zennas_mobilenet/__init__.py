"""The MobileNet-like space of ZenNAS, ZiCo and AZ-NAS: up to 14 sub-layers of two inverted residuals each.

An architecture is int32[15, 6], the stem and up to 14 blocks in numbers (`genotype`). It is no variant of the space
`mobilenetv2`: the number of blocks and the widths are open, pictures keep their size, a sub-layer is two residuals.
Networks have no squeeze-excite, as where the papers search; `make_network` can build it in, as where they train.
Sources: Lin et al., "Zen-NAS", ICCV 2021; Li et al., "ZiCo", ICLR 2023; Lee and Ham, "AZ-NAS", CVPR 2024.
"""

import functools

from zsnas_jax.base import SearchSpace
from zsnas_jax.measure.blocks import ChainNetwork
from zsnas_jax.measure.chain import trace_chain
from zsnas_jax.search_spaces.zennas_mobilenet.costs import num_convolutions, num_flops, num_params
from zsnas_jax.search_spaces.zennas_mobilenet.genotype import (
    START,
    decode,
    encode,
    from_plan,
    is_valid,
    mutate,
    plan_of,
    sample,
)
from zsnas_jax.search_spaces.zennas_mobilenet.graph import graph
from zsnas_jax.search_spaces.zennas_mobilenet.network import BlockPlan, Plan, layer_of, steps

__all__ = [
    "START",
    "BlockPlan",
    "Plan",
    "decode",
    "encode",
    "from_plan",
    "graph",
    "is_valid",
    "layer_of",
    "make_network",
    "mutate",
    "num_convolutions",
    "num_flops",
    "num_params",
    "plan_of",
    "sample",
    "space",
    "steps",
]


def make_network(num_classes: int = 1000, squeeze_excite: bool = False) -> ChainNetwork:
    """The network, with squeeze-excite or without; it is called with `plan_of(arch)` for its architecture."""
    return ChainNetwork(functools.partial(steps, squeeze_excite=squeeze_excite), num_classes)


def space() -> SearchSpace:
    """The space as a value, of networks without squeeze-excite."""
    return SearchSpace(
        name="zennas_mobilenet",
        sample=sample,
        mutate=mutate,
        encode=encode,
        decode=decode,
        num_params=num_params,
        num_flops=num_flops,
        make_network=make_network,
        layer_of=layer_of,
        num_convolutions=num_convolutions,
        is_valid=is_valid,
        graph=graph,
        is_dispatched=False,
        static=plan_of,
        chain=trace_chain(lambda arch, num_classes: steps(plan_of(arch), num_classes), (32, 32, 3)),
        is_homogeneous=True,
    )

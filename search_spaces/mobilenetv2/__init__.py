"""The MobileNetV2 space: a stem, seven stages of inverted bottlenecks with squeeze-excite, a last convolution.

An architecture is int32[45], the place of each decision in its list of choices (`GENES`): stem and last width,
resolution, then expansion, kernel size, stride, layers, output width and bottleneck of every stage. Exactly four stages
have stride 2. Source: Jing et al., WRCor, Table 1; the blocks are those of ZenNAS. ... stands for any leading axes.
"""

from zsnas_jax.base import SearchSpace
from zsnas_jax.measure.chain import Chain
from zsnas_jax.search_spaces.mobilenetv2.costs import num_flops, num_params
from zsnas_jax.search_spaces.mobilenetv2.genotype import (
    GENES,
    NUM_GENES,
    TABLE_11,
    Values,
    decode,
    encode,
    is_valid,
    mutate,
    plan_of,
    sample,
    values_of,
)
from zsnas_jax.search_spaces.mobilenetv2.graph import graph
from zsnas_jax.search_spaces.mobilenetv2.network import MobileNetV2, Plan, StagePlan, steps, weights

__all__ = [
    "GENES",
    "NUM_GENES",
    "TABLE_11",
    "MobileNetV2",
    "Plan",
    "StagePlan",
    "Values",
    "decode",
    "encode",
    "is_valid",
    "make_network",
    "mutate",
    "num_flops",
    "num_params",
    "plan_of",
    "sample",
    "space",
    "values_of",
]


def make_network(num_classes: int = 1000) -> MobileNetV2:
    """The paper's network, with squeeze-excite; it is called with `plan_of(arch)` for its architecture."""
    return MobileNetV2(num_classes=num_classes)


def space() -> SearchSpace:
    """The space as a value."""
    return SearchSpace(
        name="mobilenetv2",
        sample=sample,
        mutate=mutate,
        encode=encode,
        decode=decode,
        make_network=make_network,
        num_params=num_params,
        num_flops=num_flops,
        layer_of=MobileNetV2().layer_of,
        is_valid=is_valid,
        num_choices=tuple(len(choices) for _, choices in GENES),
        graph=graph,
        is_dispatched=False,
        static=plan_of,
        chain=Chain(
            lambda arch, num_classes: steps(plan_of(arch), num_classes),
            lambda arch, num_classes: weights(plan_of(arch), num_classes),
        ),
    )

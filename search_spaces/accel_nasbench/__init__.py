"""The space of Accel-NASBench: seven stages of inverted residuals as in MnasNet and EfficientNet, 1.04e11 networks.

An architecture is int32[7, 4], the places of expansion, kernel size, layers and squeeze-excite of every stage in their
lists of choices (`genotype`). The table has 224 pixels along a side; any number will do. Its networks have ReLU and a
hard sigmoid, as here; kernels are drawn by the initialiser that is asked for, not by the benchmark's own (normal, by
fan out). Source: Ahmad et al., "Accel-NASBench: Sustainable Benchmarking for Accelerator-Aware NAS", DAC 2024.
"""

import jax.numpy as jnp

from zsnas_jax.base import SearchSpace
from zsnas_jax.measure.blocks import ChainNetwork, chosen
from zsnas_jax.measure.chain import trace_chain
from zsnas_jax.search_spaces.accel_nasbench.costs import num_convolutions, num_flops, num_params
from zsnas_jax.search_spaces.accel_nasbench.genotype import (
    NUM_CHOICES,
    decode,
    encode,
    from_values,
    mutate,
    plan_of,
    sample,
    values_of,
)
from zsnas_jax.search_spaces.accel_nasbench.graph import graph
from zsnas_jax.search_spaces.accel_nasbench.network import StagePlan, layer_of, steps

EFFICIENTNET_B0 = "1:3:1:1|6:3:2:1|6:5:2:1|6:3:3:1|6:5:3:1|6:5:4:1|6:3:1:1"
"""The stages of EfficientNet-B0."""

__all__ = [
    "EFFICIENTNET_B0",
    "NUM_CHOICES",
    "StagePlan",
    "decode",
    "encode",
    "from_values",
    "graph",
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
    "values_of",
]


def make_network(num_classes: int = 1000) -> ChainNetwork:
    """The benchmark's network; it is called with `plan_of(arch)` for its architecture."""
    return ChainNetwork(steps, num_classes)


def space() -> SearchSpace:
    """The space as a value."""
    return SearchSpace(
        name="accel_nasbench",
        sample=sample,
        mutate=mutate,
        encode=encode,
        decode=decode,
        num_params=num_params,
        num_flops=num_flops,
        make_network=make_network,
        layer_of=layer_of,
        num_convolutions=num_convolutions,
        graph=graph,
        is_active=lambda arch: chosen(steps(jnp.asarray(arch), 1)),
        static=plan_of,
        chain=trace_chain(lambda arch, num_classes: steps(plan_of(arch), num_classes), (32, 32, 3)),
    )

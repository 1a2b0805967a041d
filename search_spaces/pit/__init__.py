"""The PiT space: transformers that pool, 4,320 networks.

An architecture is int32[8] (`genotype`). Networks see 224 pixels along a side, and resize pictures of other sizes.
Sources: Heo et al., "Rethinking Spatial Dimensions of Vision Transformers", ICCV 2021; of what can be chosen Wei
et al., "Auto-Prox", AAAI 2024.
"""

import functools
from typing import Any

from zsnas_jax.base import SearchSpace
from zsnas_jax.measure.blocks import ChainNetwork
from zsnas_jax.measure.chain import trace_chain
from zsnas_jax.search_spaces.pit import costs
from zsnas_jax.search_spaces.pit.genotype import (
    GRID,
    Grid,
    Plan,
    arch_of,
    decode,
    encode,
    is_valid,
    mutate,
    plan_of,
    sample,
)
from zsnas_jax.search_spaces.pit.graph import graph
from zsnas_jax.search_spaces.pit.network import PATCH, layer_of, steps

__all__ = ["GRID", "Grid", "Plan", "arch_of", "decode", "encode", "plan_of", "space", "steps"]


def space(input_size: int = 224, attention_sites: bool = False, grid: Grid = GRID) -> SearchSpace:
    """The space as a value.

    Args:
        input_size: pixels along a side of what networks see.
        attention_sites: whether response sites are what enters softmax, an experiment; else what enters GELU.
        grid: what networks can be made of.

    Raises:
        ValueError: if a picture has no room for a patch.
    """
    if input_size < PATCH:
        raise ValueError(f"input_size is {input_size}: patches of a PiT have {PATCH} pixels along a side")
    fields: dict[str, Any] = {"input_size": input_size, "attention_sites": attention_sites}
    own: dict[str, Any] = {"input_size": input_size, "grid": grid}

    def training_network(num_classes: int, auxiliary: bool, drop_path: bool) -> ChainNetwork:
        if auxiliary:
            raise ValueError("networks of space pit have no auxiliary head: auxiliary_weight must be 0")
        return ChainNetwork(functools.partial(steps, drop_path=drop_path, **fields), num_classes)

    return SearchSpace(
        name="pit",
        sample=functools.partial(sample, grid=grid),
        mutate=functools.partial(mutate, grid=grid),
        encode=functools.partial(encode, grid=grid),
        decode=functools.partial(decode, grid=grid),
        make_network=lambda num_classes=1000: ChainNetwork(functools.partial(steps, **fields), num_classes),
        num_params=functools.partial(_count, costs.num_params, own),
        num_flops=functools.partial(_count, costs.num_flops, own),
        layer_of=layer_of,
        is_valid=is_valid,
        num_choices=grid.num_choices,
        graph=functools.partial(graph, input_size=input_size, grid=grid),
        is_dispatched=False,
        static=functools.partial(plan_of, grid=grid),
        chain=trace_chain(
            lambda arch, num_classes: steps(plan_of(arch, grid), num_classes, **fields),
            (input_size, input_size, 3),
        ),
        size=fields,
        with_size=lambda **changed: space(grid=grid, **{**fields, **changed}),
        training_network=training_network,
        source=", ".join(
            [f"input {input_size}"] * (input_size != 224)
            + ["sites at softmax"] * attention_sites
            + [str(grid)] * (grid != GRID)
        ),
    )


def _count(count: Any, own: dict[str, Any], arch: Any, num_classes: int = 1000, image_size: int = 0) -> Any:
    """What a network costs with the pictures that it sees, whatever the size of those that it is given."""
    del image_size
    return count(arch, num_classes, **own)

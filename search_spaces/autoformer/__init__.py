"""The AutoFormer spaces: vision transformers whose depth, width, heads and hidden units are chosen.

An architecture is int32[2 + 2 D] (`genotype`). Sizes T, S and B differ in what can be chosen; `autoformer_plain` is the
tiny one as ViT-Bench trained it, with heads that share the width and no relative positions. Sources: Chen et al.,
"AutoFormer: Searching Transformers for Visual Recognition", ICCV 2021; Wei et al., "Auto-Prox", AAAI 2024.
"""

from collections.abc import Mapping
import functools
from types import MappingProxyType
from typing import Any

from zsnas_jax.base import SearchSpace
from zsnas_jax.search_spaces.autoformer import costs, genotype
from zsnas_jax.search_spaces.autoformer.costs import num_multiply_adds
from zsnas_jax.search_spaces.autoformer.genotype import BASE, PLAIN, SMALL, TINY, Grid, Plan, arch_of, plan_of, redraw
from zsnas_jax.search_spaces.autoformer.graph import graph
from zsnas_jax.search_spaces.autoformer.network import AutoFormer, is_active, layer_of, locate

__all__ = [
    "BASE",
    "GRIDS",
    "PLAIN",
    "SMALL",
    "TINY",
    "AutoFormer",
    "Grid",
    "Plan",
    "arch_of",
    "num_multiply_adds",
    "plan_of",
    "redraw",
    "space",
]

GRIDS: Mapping[str, Grid] = MappingProxyType(
    {"autoformer_t": TINY, "autoformer_s": SMALL, "autoformer_b": BASE, "autoformer_plain": PLAIN}
)
"""By the name of the space."""


def space(
    name: str, input_size: int = 224, patch_size: int = 16, attention_sites: bool = False, grid: Grid | None = None
) -> SearchSpace:
    """A space as a value.

    Args:
        name: in `GRIDS`.
        input_size: pixels along a side of what networks see; they resize pictures of other sizes.
        patch_size: pixels along a side of a patch.
        attention_sites: whether response sites are what enters softmax, an experiment; else what enters GELU.
        grid: of your own, instead of the name's.

    Raises:
        ValueError: for an unknown name, or patches that do not divide the pictures.
    """
    if name not in GRIDS:
        raise ValueError(f"unknown space {name!r}: allowed are {', '.join(GRIDS)}")
    if input_size < 1 or patch_size < 1 or input_size % patch_size:
        raise ValueError(f"patch_size is {patch_size}: it has to divide the pictures' input_size {input_size}")
    fields: dict[str, Any] = {"input_size": input_size, "patch_size": patch_size, "attention_sites": attention_sites}
    grid, pixels = grid or GRIDS[name], {"input_size": input_size, "patch_size": patch_size}
    network: Any = functools.partial(AutoFormer, grid, **fields)

    def training_network(num_classes: int, auxiliary: bool, drop_path: bool) -> AutoFormer:
        if auxiliary:
            raise ValueError(f"networks of space {name} have no auxiliary head: auxiliary_weight must be 0")
        return network(num_classes=num_classes, drop_path=drop_path)

    return SearchSpace(
        name=name,
        sample=functools.partial(genotype.sample, grid),
        mutate=functools.partial(genotype.mutate, grid),
        encode=functools.partial(genotype.encode, grid),
        decode=functools.partial(genotype.decode, grid),
        make_network=lambda num_classes=1000: network(num_classes=num_classes),
        num_params=functools.partial(_count, costs.num_params, grid, pixels),
        num_flops=functools.partial(_num_flops, grid, pixels),
        layer_of=layer_of,
        is_active=functools.partial(is_active, grid),
        num_choices=grid.num_choices,
        graph=functools.partial(graph, grid, input_size // patch_size),
        static=functools.partial(plan_of, grid),
        locate=locate,
        size=fields,
        with_size=functools.partial(_resized, name, grid, fields),
        training_network=training_network,
        source=_told(fields, grid if grid != GRIDS[name] else None),
    )


def _told(fields: Mapping[str, Any], grid: Grid | None) -> str:
    """What tells its scores from those of the space of the name as it is by itself."""
    size, patch = fields["input_size"], fields["patch_size"]
    found = [f"input {size}, patch {patch}"] if (size, patch) != (224, 16) else []
    found += ["sites at softmax"] if fields["attention_sites"] else []
    return ", ".join(found + ([str(grid)] if grid else []))


def _count(count: Any, grid: Grid, pixels: Mapping[str, Any], arch: Any, num_classes: int = 1000) -> Any:
    return count(grid, arch, num_classes, **pixels)


def _num_flops(grid: Grid, pixels: Mapping[str, Any], arch: Any, num_classes: int = 1000, image_size: int = 0) -> Any:
    """Of the pictures that networks see, whatever the size of those that they are given."""
    del image_size
    return _count(costs.num_flops, grid, pixels, arch, num_classes)


def _resized(name: str, grid: Grid, fields: Mapping[str, Any], **changed: Any) -> SearchSpace:
    return space(name, grid=grid, **{**fields, **changed})

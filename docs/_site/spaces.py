"""A space in figures, and one of its architectures drawn, as the space itself says them."""

from collections.abc import Iterable, Mapping
import math
import pathlib
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from _site.pages import table
from _site.pages import write as write_page
from zsnas_jax import search_spaces
from zsnas_jax.base import SearchSpace
from zsnas_jax.reports import drawing


class Example(NamedTuple):
    """An architecture that stands for its space, and what it is counted for.

    Attributes:
        arch: its string.
        num_classes: width of the logits.
        image_size: pixels along a side.
    """

    arch: str
    num_classes: int
    image_size: int


_DARTS = (
    "Genotype(normal=[('avg_pool_3x3', 0), ('dil_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 1), "
    "('sep_conv_5x5', 1), ('dil_conv_3x3', 2), ('dil_conv_5x5', 0), ('sep_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('skip_connect', 0), ('max_pool_3x3', 1), ('avg_pool_3x3', 1), ('skip_connect', 2), ('avg_pool_3x3', 1), "
    "('dil_conv_3x3', 3), ('skip_connect', 2), ('sep_conv_3x3', 4)], reduce_concat=[2, 3, 4, 5])"
)
_MOBILENETV2 = (
    "SuperConvK3BNRELU(3,48,2,1)SuperResIDWE6K5(48,24,2,40,2)SuperResIDWE1K7(24,40,1,32,3)SuperResIDWE6K5(40,32,2,32,3)"
    "SuperResIDWE6K7(32,88,2,40,4)SuperResIDWE4K5(88,208,2,96,6)SuperResIDWE6K5(208,112,1,256,6)"
    "SuperResIDWE4K5(112,424,1,216,2)SuperConvK1BNRELU(424,1464,1,1)@192"
)
_ZENNAS = (
    "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE6K3(8,32,2,8,1)SuperResIDWE6K3(32,48,2,32,1)SuperResIDWE6K3(48,96,2,48,1)"
    "SuperResIDWE6K3(96,128,2,96,1)SuperConvK1BNRELU(128,2048,1,1)"
)

EXAMPLES: Mapping[str, Example] = MappingProxyType(
    {
        "nasbench201": Example(
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|", 10, 32
        ),
        "nasbench101": Example("0110011000001000010000000100000001000000010000000:in-c3-c1-c1-c1-c1-out", 10, 32),
        "transnas101_micro": Example("64-41414-3_31_231", 75, 256),
        "transnas101_macro": Example("64-32324-basic", 75, 256),
        "nats_size": Example("64:64:56:64:24", 10, 32),
        "nasbench_macro": Example("01121221", 10, 32),
        "darts": Example(_DARTS, 10, 32),
        "mobilenetv2": Example(_MOBILENETV2, 1000, 192),
        "zennas_mobilenet": Example(_ZENNAS, 1000, 224),
        "rlnas": Example("4 0 4 3 0 4 0 2 0 0 -1 -1 4 0 -1 0 0 2 -1 4 2", 1000, 224),
        "accel_nasbench": Example("1:5:2:0|4:3:3:0|6:3:1:0|4:3:1:1|4:3:1:1|4:3:4:1|1:3:3:0", 1000, 224),
        "autoformer_t": Example(
            "autoformer-t:216:3.5-3.5-3.5-4-3.5-3.5-4-4-3.5-3.5-3.5-3.5:4-3-3-3-4-3-3-3-3-3-3-3", 1000, 224
        ),
        "pit": Example("pit:16:6:2-6-4:2-4-8", 1000, 224),
    }
)
"""By the names of the spaces that pages show."""


def write(parts: pathlib.Path, pictures: pathlib.Path) -> None:
    """Writes figures and a drawing of each."""
    pictures.mkdir(parents=True, exist_ok=True)
    for name, example in EXAMPLES.items():
        space = search_spaces.make_space(name)
        says = table(("what", "as the space says it"), facts(space, example))
        write_page(parts / "spaces" / f"{name}.md", f"Drawn is `{example.arch}`.\n\n{says}")
        drawing.draw(pictures / f"{name}.png", space, space.decode(example.arch))


def facts(space: SearchSpace, example: Example) -> Iterable[tuple[str, str]]:
    """Lines of (what, figure)."""
    arch = space.decode(example.arch)
    yield "genotype", f"int32{list(np.shape(arch))}"
    yield "architectures", f"{space.num_archs:,}, in published order" if space.num_archs else "not enumerated"
    if space.num_choices:
        least, most, product = min(space.num_choices), max(space.num_choices), math.prod(space.num_choices)
        values = f"{least}" if least == most else f"{least} to {most}"
        combined = f"{product:,}" if product < 10**9 else f"{product:.1e}"
        yield "genes", f"{len(space.num_choices)}, each of {values} values: {combined} combinations"
    yield "programs", ", ".join(f"`{road}`" for road in roads(space))
    yield "size of networks", ", ".join(f"`--{name}` ({value})" for name, value in space.size.items()) or "fixed"
    if space.tasks:
        yield "tasks", ", ".join(f"`{task}`" for task in space.tasks)
    yield "the example, counted for", f"{example.num_classes} classes, {example.image_size} pixels"
    if space.num_params:
        yield "its parameters", f"{int(space.num_params(arch, example.num_classes)):,}"
    if space.num_flops:
        yield "its FLOPs", f"{int(space.num_flops(arch, example.num_classes, example.image_size)):,}"
    if space.num_convolutions:
        yield "its convolutions", f"{int(space.num_convolutions(arch))}"


def roads(space: SearchSpace) -> list[str]:
    """How networks of the space can share compiled programs."""
    offered = {
        "chained": space.chain is not None,
        "dispatched": space.is_dispatched,
        "static": space.static is not None,
    }
    return [name for name, is_offered in offered.items() if is_offered]

"""A MobileNet-like network of ZenNAS as stages to draw."""

from typing import Any

from zsnas_jax.graphs import Stage
from zsnas_jax.search_spaces.zennas_mobilenet.genotype import plan_of
from zsnas_jax.search_spaces.zennas_mobilenet.network import LAST


def graph(arch: Any, image_size: int = 224) -> list[Stage]:
    """The stem, the blocks, the last convolution."""
    plan, size = plan_of(arch), -(-image_size // 2)
    found = [Stage(1, size, "conv 3x3", "stem", str(plan.stem))]
    for number, b in enumerate(plan.blocks, start=1):
        size = -(-size // b.stride)
        name = f"block {number}\nE{b.expansion} K{b.kernel}"
        found.append(Stage(2 * b.layers, size, f"{b.kernel}x{b.kernel}", name, f"{b.bottleneck}, {b.out}"))
    return [*found, Stage(1, size, "conv 1x1", "last", str(LAST))]

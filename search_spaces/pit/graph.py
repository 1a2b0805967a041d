"""A PiT as bars to draw, a block each."""

from typing import Any

from zsnas_jax.graphs import Block
from zsnas_jax.search_spaces.pit.genotype import GRID, Grid, plan_of
from zsnas_jax.search_spaces.pit.network import grid_of


def graph(arch: Any, input_size: int = 224, grid: Grid = GRID) -> list[Block]:
    """The blocks of the three stages."""
    plan, side, found = plan_of(arch, grid), grid_of(input_size), list[Block]()
    for stage, (depth, heads, width) in enumerate(zip(plan.depths, plan.heads, plan.widths, strict=True)):
        side = -(-side // 2) if stage else side
        found += [Block(width, heads, width * plan.ratio, side**2 + 1)] * depth
    return found

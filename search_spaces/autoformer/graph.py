"""An AutoFormer as bars to draw, a block each."""

from typing import Any

from zsnas_jax.graphs import Block
from zsnas_jax.search_spaces.autoformer.genotype import Grid, plan_of


def graph(grid: Grid, patches: int, arch: Any) -> list[Block]:
    """The blocks; `patches` are those along a side of a picture."""
    plan = plan_of(grid, arch)
    tokens = patches**2 + 1
    return [
        Block(plan.width, h, grid.hidden(plan.width, m), tokens) for h, m in zip(plan.heads, plan.ratios, strict=True)
    ]

"""A PiT as bars to draw, a block each."""

from typing import Any

from zsnas_jax.graphs import Stage
from zsnas_jax.search_spaces.pit.genotype import GRID, Grid, plan_of
from zsnas_jax.search_spaces.pit.network import grid_of


def graph(arch: Any, input_size: int = 224, grid: Grid = GRID) -> list[Stage]:
    """The patches, then the stages' blocks: heads, ratio, width."""
    plan, side = plan_of(arch, grid), grid_of(input_size)
    found = [Stage(1, side, "patches", "patches", str(plan.widths[0]))]
    for stage, (depth, heads, width) in enumerate(zip(plan.depths, plan.heads, plan.widths, strict=True)):
        side = -(-side // 2) if stage else side
        found.append(Stage(depth, side, f"{heads} heads", f"stage {stage + 1}\nM {plan.ratio}", str(width)))
    return found

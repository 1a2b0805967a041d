"""An AutoFormer as bars to draw, a block each."""

from typing import Any

from zsnas_jax.graphs import Stage
from zsnas_jax.search_spaces.autoformer.genotype import Grid, plan_of


def graph(grid: Grid, patches: int, arch: Any) -> list[Stage]:
    """The patches, then the blocks: heads and ratio above, hidden units below."""
    plan = plan_of(grid, arch)
    found = [Stage(1, patches, "patches", "patches", str(plan.width))]
    for place, (heads, ratio) in enumerate(zip(plan.heads, plan.ratios, strict=True)):
        hidden = str(grid.hidden(plan.width, ratio))
        found.append(Stage(1, patches, f"{heads} heads", f"block {place}\nM {ratio:g}", hidden))
    return found

"""A network of NATS-Bench's size space as stages to draw."""

from typing import Any

from zsnas_jax.graphs import Stage
from zsnas_jax.search_spaces.nats_size.network import BLOCKS, WIDTHS


def graph(arch: Any, image_size: int = 32) -> list[Stage]:
    """The stem, the cells and the residual blocks."""
    width, size = WIDTHS[int(arch[0])], image_size
    found = [Stage(1, size, "conv 3x3", "stem", str(width))]
    for layer, gene in enumerate(arch):
        before, width = width, WIDTHS[int(gene)]
        size = size // 2 if layer in BLOCKS else size
        name = "residual" if layer in BLOCKS else "cell"
        found.append(Stage(1, size, "conv 3x3", f"layer {layer}\n{name}", f"{before} to {width}"))
    return found

"""Networks of TransNAS-Bench-101 to draw: a micro cell as a graph, a macro network as stages."""

from typing import Any

from zsnas_jax.graphs import Graph, Stage
from zsnas_jax.search_spaces.transnas101.network import EDGES, NONE, STEM, shapes

_LABELS = ("none", "skip", "conv 1x1", "conv 3x3")


def micro_graph(arch: Any) -> Graph:
    """Four nodes; an operation is an edge."""
    edges = [(*edge, _LABELS[int(op)]) for op, edge in zip(arch, EDGES, strict=True) if int(op) != NONE]
    return Graph(("input", "1", "2", "output"), tuple(edges))


def macro_stages(arch: Any, image_size: int = 256) -> list[Stage]:
    """The stem, and two blocks for each module."""
    kinds = [int(kind) for kind in arch if kind]
    size = -(-image_size // 4)
    found = [Stage(2, size, "conv 3x3", "stem", str(STEM))]
    for number, (kind, shape) in enumerate(zip(kinds, shapes(kinds)[::2], strict=True)):
        size = -(-size // shape.stride)
        found.append(Stage(2, size, f"type {kind}", f"module {number}\ntype {kind}", str(shape.channels)))
    return found

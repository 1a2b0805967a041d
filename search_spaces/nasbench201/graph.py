"""A NAS-Bench-201 cell as a graph to draw."""

from typing import Any

from zsnas_jax.graphs import Graph
from zsnas_jax.search_spaces.nasbench201.network import EDGES, OPS

_LABELS = dict(zip(OPS, ("none", "skip", "conv 1x1", "conv 3x3", "avg pool 3x3"), strict=True))


def graph(arch: Any) -> Graph:
    """Four nodes; an operation is an edge."""
    edges = [(source, target, _LABELS[OPS[int(op)]]) for op, (source, target) in zip(arch, EDGES, strict=True)]
    return Graph(("input", "1", "2", "output"), tuple(edge for edge in edges if edge[2] != "none"))

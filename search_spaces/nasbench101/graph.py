"""A NAS-Bench-101 cell as a graph to draw."""

from typing import Any

from zsnas_jax.graphs import Graph
from zsnas_jax.search_spaces.nasbench101.genotype import encode, prune

_LABELS = {"c3": "conv 3x3", "c1": "conv 1x1", "mp": "max pool 3x3", "in": "input", "out": "output"}


def graph(arch: Any) -> Graph:
    """An operation is a node. Read from the published string, without its dead parts."""
    bits, _, ops = encode(prune(arch)).partition(":")
    labels = ops.split("-")
    size = len(labels)
    edges = [(i, j, "") for i in range(size) for j in range(size) if bits[i * size + j] == "1"]
    joined = {node for i, j, _ in edges for node in (i, j)} | {0, size - 1}
    place = {node: position for position, node in enumerate(sorted(joined))}
    nodes = tuple(_LABELS[labels[node]] for node in sorted(joined))
    return Graph(nodes, tuple((place[i], place[j], label) for i, j, label in edges), "nodes")

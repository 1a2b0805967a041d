"""A DARTS network's two cells as graphs to draw."""

from typing import Any

import numpy as np

from zsnas_jax.graphs import Graph, Titled
from zsnas_jax.search_spaces.darts.edges import NONE, NUM_NODES, OPS

_LABELS = ("none", "max pool 3x3", "avg pool 3x3", "skip", "sep conv 3x3", "sep conv 5x5", "dil conv 3x3",
           "dil conv 5x5", "noise")  # fmt: skip
_NODES = ("c_{k-2}", "c_{k-1}", *map(str, range(NUM_NODES)), "c_{k}")


def graph(arch: Any) -> tuple[Titled, ...]:
    """The normal and the reduction cell, titled: an operation is an edge, the output joins the four nodes."""
    assert len(_LABELS) == len(OPS)
    cells = map(_cell, np.asarray(arch).tolist())
    return tuple(map(Titled, ("normal cell", "reduction cell"), cells))


def _cell(genes: Any) -> Graph:
    edges = [(source, node + 2, _LABELS[op]) for node, slots in enumerate(genes) for source, op in slots if op != NONE]
    return Graph(_NODES, (*edges, *((node + 2, NUM_NODES + 2, "") for node in range(NUM_NODES))), num_inputs=2)

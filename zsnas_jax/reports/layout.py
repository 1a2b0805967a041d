"""Where the parts of a graph are drawn, from left to right, so that nothing lies on anything else.

Nodes stand in the even columns, each as far right as its longest way from a node without inputs is long. An edge runs
through a stop in every column between its ends, and its label is its last stop. Stops and nodes of a column stand above
each other in an order with few crossings. After Sugiyama et al., "Methods for Visual Understanding of Hierarchical
System Structures", IEEE Transactions on Systems, Man, and Cybernetics 11, 1981.
"""

from collections.abc import Sequence
import itertools
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from zsnas_jax.graphs import Graph

_STARTS, _SWEEPS = 8, 8
_NODE, _LABEL, _BARE = 0.62, 0.42, 0.3
"""How high a node, a label, and an edge that only runs through a column are, with the gap above them."""


class Layout(NamedTuple):
    """Places in columns, y upwards around 0.

    Attributes:
        places: (column, y) of the nodes in their order, then of the edges' stops.
        routes: of each edge the numbers of the places that it runs through, its ends included; a label stands at the
            last but one.
    """

    places: Sequence[tuple[int, float]]
    routes: Sequence[Sequence[int]]

    def at(self, place: int, width: float) -> tuple[float, float]:
        """(x, y) of a place, where columns are so wide."""
        column, y = self.places[place]
        return width * column, y


def columns_of(graph: Graph) -> list[int]:
    """A node's place from left to right: the longest way to it; the last node stands behind all others."""
    columns = [0] * len(graph.nodes)
    for target in range(len(graph.nodes)):
        columns[target] = max((columns[s] + 1 for s, t, _ in graph.edges if t == target), default=columns[target])
    if len(columns) > 1:
        columns[-1] = max([*(column + 1 for column in columns[:-1]), columns[-1]])
    return columns


def lay_out(graph: Graph) -> Layout:
    """Places of the nodes and routes of the edges."""
    columns, heights = [2 * column for column in columns_of(graph)], [_NODE] * len(graph.nodes)
    routes = list[list[int]]()
    for source, target, label in graph.edges:
        inner = range(columns[source] + 1, columns[target])
        stops = range(len(columns), len(columns) + len(inner))
        columns += inner
        heights += [*[_BARE] * (len(inner) - 1), _LABEL if label else _BARE]
        routes.append([source, *stops, target])
    links = [pair for route in routes for pair in itertools.pairwise(route)]
    order = _ordered(columns, links)
    y = _heights(order, np.array(heights), links)
    return Layout(list(zip(columns, y.tolist(), strict=True)), routes)


def _ordered(columns: Sequence[int], links: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The places of each column from the top down, in the order with the fewest crossings that sweeps met.

    A sweep sorts each column by the mean rank of what it is linked to in the column before it, or behind it. Sweeps
    start from the order of the nodes and edges, then from shuffled ones; the first column stays.
    """
    given = [[place for place, own in enumerate(columns) if own == column] for column in range(max(columns) + 1)]
    before: list[list[int]] = [[s for s, t in links if t == place] for place in range(len(columns))]
    behind: list[list[int]] = [[t for s, t in links if s == place] for place in range(len(columns))]
    best, fewest, rng = given, _crossings(given, links), np.random.default_rng(0)
    for start in range(_STARTS):
        order = [given[0], *(rng.permutation(places).tolist() if start else places for places in given[1:])]
        for sweep in range(_SWEEPS):
            forward = range(1, len(order))
            neighbours, way = (behind, reversed(forward)) if sweep % 2 else (before, forward)
            for column in way:
                ranks = _ranks(order)
                centre = lambda place, ranks=ranks, of=neighbours: (
                    np.mean([ranks[other] for other in of[place]]) if of[place] else ranks[place]
                )
                order[column] = sorted(order[column], key=centre)
            if (count := _crossings(order, links)) < fewest:
                best, fewest = list(order), count
    return best


def _ranks(order: Sequence[Sequence[int]]) -> dict[int, float]:
    """Where each place stands in its column, in (0, 1)."""
    return {place: (i + 0.5) / len(column) for column in order for i, place in enumerate(column)}


def _crossings(order: Sequence[Sequence[int]], links: Sequence[tuple[int, int]]) -> int:
    """How many pairs of links cross, all links being between neighbouring columns."""
    ranks = _ranks(order)
    column = {place: number for number, places in enumerate(order) for place in places}
    ends = np.array([(column[s], ranks[s], ranks[t]) for s, t in links]).reshape(-1, 3).T
    same = ends[0][:, None] == ends[0]
    return int((same & ((ends[1][:, None] < ends[1]) & (ends[2][:, None] > ends[2]))).sum())


def _heights(order: Sequence[Sequence[int]], heights: np.ndarray, links: Sequence[tuple[int, int]]) -> np.ndarray:
    """Each y: near the mean of what it is linked to, in the order of its column and without overlaps."""
    y = np.zeros(len(heights))
    linked: list[list[int]] = [[s + t - place for s, t in links if place in (s, t)] for place in range(len(heights))]
    for _ in range(60):
        for column in filter(None, order):
            own = np.array(column)
            wanted = np.array([np.mean(y[linked[place]]) if linked[place] else 0.0 for place in column])
            down = np.cumsum(heights[own]) - heights[own] / 2
            y[own] = isotonic_regression(wanted + down, increasing=False).x - down
    return y - (y.max() + y.min()) / 2

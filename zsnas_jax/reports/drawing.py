"""Found architectures as drawings that one can read, like the papers' figures: cells as graphs, networks by stages."""

from collections.abc import Sequence
import os
import textwrap
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from zsnas_jax.base import SearchSpace
from zsnas_jax.graphs import Graph, Stage
from zsnas_jax.storage import files

_COLOURS = MappingProxyType(
    {
        "input": "#E8E8E8",
        "output": "#E8E8E8",
        "conv 3x3": "#F4C7A8",
        "conv 1x1": "#BBD7EA",
        "3x3": "#F4C7A8",
        "5x5": "#E79A76",
        "7x7": "#CF6A4D",
        "max pool 3x3": "#BFE3D0",
        "avg pool 3x3": "#BFE3D0",
    }
)
_COLUMN = 2.1
"""Between two columns, in units of the drawing."""


def draw(path: str | os.PathLike[str], space: SearchSpace, arch: Any, title: str = "") -> bool:
    """Draws an architecture, if its space says what it looks like.

    Args:
        path: a PNG, written whole or not at all.
        space: of the architecture.
        arch: of it.
        title: above it.

    Returns:
        Whether it was drawn.
    """
    if space.graph is None:
        return False
    shown = space.graph(arch)
    if isinstance(shown, Graph):
        draw_graph(path, shown, title)
    else:
        draw_stages(path, shown, title)
    return True


def draw_stages(path: str | os.PathLike[str], stages: Sequence[Stage], title: str = "") -> None:
    """Draws a network layer by layer: as high as its pictures are wide, coloured by its kernels.

    Args:
        path: a PNG, written whole or not at all.
        stages: of the network, in order.
        title: above it.
    """
    figure = Figure(figsize=(13, 3.6), dpi=130)
    figure.set_layout_engine("constrained")
    axes, x, gap = figure.add_subplot(), 0.0, 0.9
    for layers, pixels, kind, name, widths in stages:
        for place in range(layers):
            colour = _COLOURS.get(kind, "white")
            axes.bar(x + place, pixels, width=0.86, align="edge", color=colour, edgecolor="#333333", linewidth=0.8)
        middle = x + layers / 2
        axes.text(middle, pixels + 3, name, ha="center", va="bottom", fontsize=9)
        axes.text(middle, -3, f"{widths}\n{pixels} px", ha="center", va="top", fontsize=8)
        x += max(layers, 1.4) + gap
    axes.set(xlim=(-0.5, x), ylim=(-28, stages[0].pixels + 24))
    axes.set_axis_off()
    axes.set_title(_wrapped(title, 150), fontsize=8)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _wrapped(title: str, width: int) -> str:
    return "\n".join(part for line in title.split("\n") for part in textwrap.wrap(line, width))


def draw_graph(path: str | os.PathLike[str], cell: Graph, title: str = "") -> None:
    """Draws a graph from left to right: an edge over more than one column goes around what lies between.

    Args:
        path: a PNG, written whole or not at all.
        cell: what to draw.
        title: above it.
    """
    columns = _columns(cell)
    positions = _positions(columns)
    bends = _bends(cell, columns, positions)
    middles = [_middle(positions[s], positions[t], bend) for (s, t, _), bend in zip(cell.edges, bends, strict=True)]
    heights = [y for _, y in [*positions, *middles]]
    low, high = min(heights) - 0.45, max(heights) + 0.45
    figure = Figure(figsize=(0.95 * _COLUMN * (max(columns) + 1), 1.1 * (high - low) + 0.4), dpi=130)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot(xlim=(-0.8, _COLUMN * max(columns) + 0.8), ylim=(low, high))
    axes.set_axis_off()
    axes.set_aspect("equal")  # an edge's bend is measured along it, the place of its label in the drawing's units
    axes.set_title(title, fontsize=9)
    boxes = [_draw_node(axes, place, name) for name, place in zip(cell.nodes, positions, strict=True)]
    for (source, target, label), middle, bend in zip(cell.edges, middles, bends, strict=True):
        _draw_edge(axes, (positions[source], positions[target]), (boxes[source], boxes[target]), bend)
        if label:
            box = {"boxstyle": "round,pad=0.2", "facecolor": _COLOURS.get(label, "white"), "edgecolor": "none"}
            axes.text(*middle, label, ha="center", va="center", fontsize=9, bbox=box, zorder=2)
    figure.draw_without_rendering()  # an arrow ends at a box, whose place is known once it has been drawn
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _columns(cell: Graph) -> list[int]:
    """A node's column: the longest way to it from a node without inputs; the last node stands in a column after all."""
    columns = [0] * len(cell.nodes)
    for target in range(len(cell.nodes)):
        columns[target] = max((columns[s] + 1 for s, t, _ in cell.edges if t == target), default=columns[target])
    if len(columns) > 1:
        columns[-1] = max([*(column + 1 for column in columns[:-1]), columns[-1]])
    return columns


def _positions(columns: list[int]) -> list[tuple[float, float]]:
    """(x, y) of every node: the nodes of a column stand above each other, around 0."""
    positions = []
    for node, column in enumerate(columns):
        others = [other for other, place in enumerate(columns) if place == column]
        positions.append((_COLUMN * column, 1.1 * ((len(others) - 1) / 2 - others.index(node))))
    return positions


def _bends(cell: Graph, columns: list[int], positions: list[tuple[float, float]]) -> list[float]:
    """How far each edge swings out: straight between neighbouring columns, else away from what lies between.

    Away is up for an edge between nodes above the middle, down below it, and in turn for those on it.
    """
    bends, turn = [], 1.0
    for source, target, _ in cell.edges:
        span, height = columns[target] - columns[source], positions[source][1] + positions[target][1]
        side = turn if height == 0 else 1.0 if height > 0 else -1.0
        bends.append(0.0 if span <= 1 else side * (0.35 + 0.3 * span))
        turn = turn if span <= 1 or height else -turn
    return bends


def _middle(start: tuple[float, float], end: tuple[float, float], bend: float) -> tuple[float, float]:
    """Where an edge is half-way."""
    return (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + bend


def _draw_node(axes: Axes, place: tuple[float, float], name: str) -> Any:
    """Draws a node and returns its box."""
    box = {"boxstyle": "round,pad=0.45", "facecolor": _COLOURS.get(name, "white"), "edgecolor": "#333333"}
    return axes.text(*place, name, ha="center", va="center", fontsize=10, bbox=box, zorder=3).get_bbox_patch()


def _draw_edge(
    axes: Axes, ends: tuple[tuple[float, float], tuple[float, float]], boxes: tuple[Any, Any], bend: float
) -> None:
    # arc3 is a quadratic curve: its middle is half as far out as its control point.
    rad = -2 * bend / (ends[1][0] - ends[0][0])
    arrow = FancyArrowPatch(
        *ends,
        arrowstyle="-|>",
        mutation_scale=13,
        connectionstyle=f"arc3,rad={rad:.4f}",
        patchA=boxes[0],
        patchB=boxes[1],
        shrinkA=1,
        shrinkB=2,
        color="#444444",
        lw=1.3,
        zorder=1,
    )
    axes.add_patch(arrow)

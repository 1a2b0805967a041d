"""Found architectures as drawings that one can read, like the papers' figures: cells as graphs, networks by stages."""

from collections.abc import Sequence
import os
import re
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path as MatplotlibPath
import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.graphs import Block, Graph, Stage, Titled
from zsnas_jax.reports.layout import lay_out
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
        "sep conv 3x3": "#F4C7A8",
        "sep conv 5x5": "#E79A76",
        "dil conv 3x3": "#BBD7EA",
        "dil conv 5x5": "#8FB8D8",
        "c_{k-2}": "#E8E8E8",
        "c_{k-1}": "#E8E8E8",
        "c_{k}": "#E8E8E8",
    }
)
_COLUMN = 1.1
"""Between two columns of a graph, in units of the drawing."""


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
        draw_graphs(path, [Titled("", shown)], title)
    elif isinstance(shown[0], Titled):
        draw_graphs(path, shown, title)
    elif isinstance(shown[0], Block):
        draw_blocks(path, shown, title)
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


_HEADS = ("#F4E3D3", "#F4C7A8", "#E79A76", "#CF6A4D", "#A84A32")
"""Colours of few heads to many, among those that a network has."""


def draw_blocks(path: str | os.PathLike[str], blocks: Sequence[Block], title: str = "") -> None:
    """Draws a transformer block by block: as high as its hidden units, coloured by its heads, beside its width.

    Args:
        path: a PNG, written whole or not at all.
        blocks: of the network, in order.
        title: above it.
    """
    figure = Figure(figsize=(max(6.0, 0.62 * len(blocks) + 2), 3.6), dpi=130)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    heads = sorted({block.heads for block in blocks})
    shade = {h: _HEADS[-1 - i] for i, h in enumerate(reversed(heads[-len(_HEADS) :]))}
    for place, block in enumerate(blocks):
        colour = shade.get(block.heads, _HEADS[0])
        axes.bar(place, block.hidden, width=0.8, color=colour, edgecolor="#333333", linewidth=0.8)
        axes.bar(
            place, block.width, width=0.8, color="none", edgecolor="#333333", linewidth=0.8, hatch="////", alpha=0.5
        )
        ratio = f"{block.hidden / block.width:.2g}"
        axes.text(place, block.hidden, f"{block.heads} heads\nx {ratio}", ha="center", va="bottom", fontsize=7)
    edges = [i for i, block in enumerate(blocks) if i == 0 or block[0::3] != blocks[i - 1][0::3]]
    labels = [
        f"{i}" + (f"\nwidth {blocks[i].width}\n{blocks[i].tokens} tokens" if i in edges else "")
        for i in range(len(blocks))
    ]
    axes.set_xticks(range(len(blocks)), labels, fontsize=7)
    axes.set_ylabel("hidden units (hatched: width)", fontsize=8)
    axes.set(xlim=(-0.7, len(blocks) - 0.3), ylim=(0, 1.25 * max(block.hidden for block in blocks)))
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_wrapped(title, 14 * len(blocks)), fontsize=8)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _wrapped(title: str, width: int) -> str:
    """A title in lines, broken between words, and behind the ")" and "|" that end the parts of an architecture."""
    return "\n".join(part for line in title.split("\n") for part in _lines(line, width))


def _lines(text: str, width: int) -> list[str]:
    lines = [""]
    for part in re.findall(r"[^\s)|]*(?:\)+|\|\+?|\s+|$)", text):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return [line.strip() for line in lines if line.strip()]


def draw_graphs(path: str | os.PathLike[str], graphs: Sequence[Titled], title: str = "") -> None:
    """Draws graphs beside each other, each from left to right, with labels on its edges.

    Args:
        path: a PNG, written whole or not at all.
        graphs: what to draw, each with what stands above it, which may be empty.
        title: above all.
    """
    layouts = [lay_out(graph) for _, graph in graphs]
    widths = [_COLUMN * max(column for column, _ in layout.places) + 1.6 for layout in layouts]
    top = max(abs(y) for layout in layouts for _, y in layout.places) + 0.5
    title = _wrapped(title, int(12 * sum(widths)))
    figure = Figure(figsize=(0.95 * sum(widths), 2.0 * top + 0.5 + 0.2 * title.count("\n")), dpi=130)
    figure.set_layout_engine("constrained")
    every = figure.subplots(1, len(graphs), squeeze=False, gridspec_kw={"width_ratios": widths})[0]
    figure.suptitle(title, fontsize=9)
    boxes = []
    for axes, (own, graph), layout, width in zip(every, graphs, layouts, widths, strict=True):
        axes.set(xlim=(-0.8, width - 0.8), ylim=(-top, top))
        axes.set_axis_off()
        axes.set_title(own, fontsize=10)
        boxes.append([_draw_node(axes, layout.at(node, _COLUMN), name) for node, name in enumerate(graph.nodes)])
    figure.draw_without_rendering()  # an edge ends at a box, whose place is known once it has been drawn
    for axes, (_, graph), layout, own_boxes in zip(every, graphs, layouts, boxes, strict=True):
        for (source, target, label), route in zip(graph.edges, layout.routes, strict=True):
            points = [layout.at(place, _COLUMN) for place in route]
            _draw_edge(axes, points, own_boxes[source], own_boxes[target])
            if label:
                box = {"boxstyle": "round,pad=0.2", "facecolor": _COLOURS.get(label, "white"), "edgecolor": "none"}
                axes.text(*points[-2], label, ha="center", va="center", fontsize=9, bbox=box, zorder=2)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_node(axes: Axes, place: tuple[float, float], name: str) -> Any:
    """Draws a node and returns its box."""
    box = {"boxstyle": "round,pad=0.45", "facecolor": _COLOURS.get(name, "white"), "edgecolor": "#333333"}
    return axes.text(*place, name, ha="center", va="center", fontsize=10, bbox=box, zorder=3).get_bbox_patch()


def _draw_edge(axes: Axes, points: Sequence[tuple[float, float]], start: Any, end: Any) -> None:
    """An arrow through points from the right side of a box to the left side of another, level at both."""
    in_axes = axes.transData.inverted().transform_bbox
    x, y = np.array(points).T
    x[0], x[-1] = in_axes(start.get_window_extent()).x1, in_axes(end.get_window_extent()).x0
    third = np.diff(x) / 3
    slopes = np.pad(_slopes(np.diff(y) / np.diff(x)), 1)
    controls = [x[:-1] + third, y[:-1] + slopes[:-1] * third, x[1:] - third, y[1:] - slopes[1:] * third, x[1:], y[1:]]
    curve = np.stack(controls, -1).reshape(-1, 2)
    codes = [MatplotlibPath.MOVETO, *[MatplotlibPath.CURVE4] * len(curve)]
    path = MatplotlibPath([(x[0], y[0]), *curve], codes)
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=13, color="#444444", lw=1.3, zorder=1))


def _slopes(pieces: np.ndarray) -> np.ndarray:
    """Slopes at the points between pieces of such slopes: harmonic means, 0 at a turn, so that nothing overshoots."""
    before, behind = pieces[:-1], pieces[1:]
    turns = before * behind <= 0
    return np.where(turns, 0.0, 2 * before * behind / np.where(turns, 1.0, before + behind))

"""What an architecture looks like, as data: what a space says and `zsnas_jax.reports.drawing` draws."""

from typing import Literal, NamedTuple


class Graph(NamedTuple):
    """A directed graph.

    Attributes:
        nodes: their labels, in topological order: the inputs first, the output last.
        edges: (source, target, label); an empty label is not drawn.
        operations: whose labels name operations, those of the edges, or those of the nodes between inputs and output.
        num_inputs: how many of the nodes are inputs.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int, str], ...]
    operations: Literal["edges", "nodes"] = "edges"
    num_inputs: int = 1


class Titled(NamedTuple):
    """One of several graphs that are drawn beside each other."""

    title: str
    graph: Graph


class Stage(NamedTuple):
    """Equal layers one after another.

    Attributes:
        layers: how many.
        pixels: along a side of what they give out.
        kind: of their kernels, which has a colour.
        name: above them.
        widths: below them.
    """

    layers: int
    pixels: int
    kind: str
    name: str
    widths: str


class Block(NamedTuple):
    """A block of a transformer, which is drawn as a bar.

    Attributes:
        width: channels of its tokens.
        heads: of its attention.
        hidden: units of its two dense layers, which is how high it is.
        tokens: how many there are.
    """

    width: int
    heads: int
    hidden: int
    tokens: int

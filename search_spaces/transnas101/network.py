"""The networks of TransNAS-Bench-101: a stem, modules of two cells or blocks each, a head or a decoder for the task.

A module of type 1 keeps the shape, 2 doubles the channels, 3 halves the pixels, 4 does both, in the first of its two
cells. The jigsaw's encoder sees nine tiles one after another. Axes: N batch, H W C.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Step
from zsnas_jax.nn.choice import Branch, Choices, Identity
from zsnas_jax.nn.modules import ActivateConvNorm, Add, Block, FactorizedReduce, LayerSum
from zsnas_jax.nn.options import with_layer_options
from zsnas_jax.nn.probes import LayerOutput

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) of the edges of a micro cell, in the order of the published string."""
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
NONE, SKIP, CONV1, CONV3 = range(len(OPS))
MICRO_MODULES = (4, 1, 4, 1, 4)
STEM, STEM_MIDDLE = 64, 32
SHORTCUT_EPSILON = 1.0
"""Of the norm in the shortcuts of macro blocks: the published code swapped two arguments, and was trained with it."""
TILES_PER_SIDE = 3
NUM_TILES = TILES_PER_SIDE**2


class Shape(NamedTuple):
    """How a cell or block changes what enters it: channels in and out, stride."""

    inputs: int
    channels: int
    stride: int


def shapes(modules: Sequence[int]) -> list[Shape]:
    """The shapes of the cells or blocks of modules of types 1 to 4, two a module."""
    found, width = list[Shape](), STEM
    for kind in modules:
        channels = 2 * width if kind in (2, 4) else width
        found += [Shape(width, channels, 2 if kind in (3, 4) else 1), Shape(channels, channels, 1)]
        width = channels
    return found


class Stem(Block):
    """Two 3x3 convolutions at stride 2, each with its norm, an activation between them.

    float[N, H, W, 3] to float[N, H / 4, W / 4, 64].
    """

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Applies it."""
        x = self.activate(self.norm("norm1")(self.conv("conv1", STEM_MIDDLE, 3, 2)(image)))
        return LayerOutput(name="output")(self.norm("norm2")(self.conv("conv2", STEM, 3, 2)(x)))


class Zeros(Block):
    """Zeros of the shape that a cell gives out: float[N, H, W, C] to float[N, H / stride, W / stride, channels]."""

    channels: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Makes them."""
        x = x[:, :: self.stride, :: self.stride, :1]
        return jnp.zeros((*x.shape[:3], self.channels), x.dtype)


class Residual(Block):
    """A macro block: two 3x3 convolutions behind activations, each with its norm, beside a shortcut.

    float[N, H, W, C] to float[N, H / stride, W / stride, channels]. Where the shape changes the shortcut is a 1x1
    convolution with a norm, whose epsilon is 1 in the published networks: it scales by (var + 1)^-1/2.
    """

    channels: int
    stride: int
    shortcut_epsilon: float = SHORTCUT_EPSILON

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        y = self.norm("norm_a")(self.conv("conv_a", self.channels, 3, self.stride)(self.activate(x, "site_a")))
        y = self.norm("norm_b")(self.conv("conv_b", self.channels, 3)(self.activate(y, "site_b")))
        if self.stride > 1 or self.channels != x.shape[-1]:
            x = self.conv("downsample", self.channels, stride=self.stride)(x)
            x = self.norm("downsample_norm", self.shortcut_epsilon)(x)
        return LayerOutput(name="output")(x + y)


def cut_tiles(image: jax.Array) -> jax.Array:
    """A picture cut into nine, row by row: float[N, 3 h, 3 w, C] to float[N, 9, h, w, C]."""
    n, height, width, channels = image.shape
    sides = height // TILES_PER_SIDE, width // TILES_PER_SIDE
    tiles = image.reshape(n, TILES_PER_SIDE, sides[0], TILES_PER_SIDE, sides[1], channels)
    return tiles.swapaxes(2, 3).reshape(n, NUM_TILES, *sides, channels)


class CutTiles(Block):
    """A picture cut into nine: float[N, 3 h, 3 w, C] to float[N, 9, h, w, C], row by row."""

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Cuts it."""
        return cut_tiles(image)


class EachTile(Block):
    """A block applied to each of the tiles in turn, float[N, 9, ...] to float[N, 9, ...].

    Batch norm sees a tile at a time. Each activation is nine response sites.
    """

    block: nn.Module

    @nn.compact
    def __call__(self, *reads: jax.Array) -> jax.Array:
        """Applies it."""
        block = with_layer_options(self.block, self.options).clone(parent=self, name="tile")
        return jnp.stack([block(*(read[:, i] for read in reads)) for i in range(NUM_TILES)], 1)


def micro_encoder(ops: Sequence[int] | jax.Array, **own: Any) -> Iterator[Step]:
    """The stem and the ten cells of six operations: node j is the sum of op_ij(node i) over i < j."""
    yield Step("stem", Stem(**own))
    for number, shape in enumerate(shapes(MICRO_MODULES)):
        yield from _cell(f"cell{number}", ops, shape, own)


def _cell(cell: str, ops: Any, shape: Shape, own: Any) -> Iterator[Step]:
    names = tuple(f"{cell}_edge{edge}" for edge in range(len(EDGES)))
    nodes = ("x", *(f"{cell}_node{j}" for j in (1, 2, 3)))
    of_input = _operations(shape.channels, shape.stride, shape.inputs != shape.channels or shape.stride > 1, own)
    of_nodes = _operations(shape.channels, 1, False, own)
    if isinstance(ops, jax.Array):
        branches = [
            tuple(Branch(op, block or Identity(parent=None)) for op, block in every.items())
            for every in (of_input, of_nodes)
        ]
        sources, targets = zip(*EDGES, strict=True)
        yield Step(
            cell,
            Choices(names, ops, sources, targets, branches[0], None if of_input == of_nodes else branches[1]),
            writes=nodes[1:],
        )
        yield Step(f"{cell}_sum3", LayerSum(**own), (nodes[3],))
        return
    into: list[list[str]] = [[], [], [], []]
    for name, op, (source, target) in zip(names, ops, EDGES, strict=True):
        block = (of_nodes if source else of_input)[OPS[op]]
        if op != NONE:
            into[target].append(name if block else nodes[source])
            if block:
                yield Step(name, block, (nodes[source],), (name,))
        if target == source + 1:  # of the string's order, the last edge into this node
            yield _sum(cell, target, into[target], "x" if target == 3 else nodes[target], shape)


def _operations(channels: int, stride: int, is_changed: bool, own: Any) -> dict[str, nn.Module | None]:
    """The blocks of an edge by operation, whether it changes the shape or not; None is the identity."""
    conv = lambda size: ActivateConvNorm(channels, size, stride, **own)
    skip = FactorizedReduce(channels, **own) if is_changed else None
    return dict(zip(OPS, (Zeros(channels, stride, **own), skip, conv(1), conv(3)), strict=True))


def _sum(cell: str, node: int, reads: Sequence[str], write: str, shape: Shape) -> Step:
    if not reads:
        return Step(f"{cell}_zeros{node}", Zeros(shape.channels, shape.stride), ("x",), (write,))
    return Step(f"{cell}_sum{node}", LayerSum() if node == 3 else Add(), tuple(reads), (write,))


def macro_encoder(modules: Sequence[int], shortcut_epsilon: float, **own: Any) -> Iterator[Step]:
    """The stem and two blocks for each module; 0 stands for no module."""
    yield Step("stem", Stem(**own))
    for number, shape in enumerate(shapes([kind for kind in modules if kind])):
        yield Step(f"block{number}", Residual(shape.channels, shape.stride, shortcut_epsilon, **own))


def over_tiles(steps: Iterator[Step], **own: Any) -> Iterator[Step]:
    """The steps of an encoder, applied to nine tiles of the picture."""
    yield Step("tiles", CutTiles())
    for step in steps:
        wrap = lambda block: EachTile(block, **own)
        yield step._replace(block=step.block.map(wrap) if isinstance(step.block, Choices) else wrap(step.block))


def layer_of(path: Path, position: int) -> int:
    """The layer of a site, counted from 1: the stem, then every cell or block."""
    del position
    name = path[0].partition("_")[0]
    return 1 if name == "stem" else int(name.removeprefix("cell").removeprefix("block")) + 2

"""The networks of NATS-Bench's size space: one cell of NAS-Bench-201 in three places, with five widths to choose.

A stem, a cell, a residual block that halves the picture, a cell, a residual block, a cell, the last norm and
activation. The cell is that of

|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|

whose edges out of its input change the width; its skip does so by a 1x1 convolution and a norm without activation, and
is the identity where the width stays. Every edge is a block of its own, so that networks share its programs by the two
widths. Axes: N batch, H W C.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Step
from zsnas_jax.nn.layers import avg_pool_2x2
from zsnas_jax.nn.modules import ActivateConvNorm, Add, Block, PoolDense
from zsnas_jax.nn.probes import LayerOutput

WIDTHS = tuple(range(8, 72, 8))
"""What each width can be."""
NUM_WIDTHS = 5
CELLS, BLOCKS = (0, 2, 4), (1, 3)
"""The layers that are cells, and those that are residual blocks."""


class ConvNorm(Block):
    """Convolution and norm. float[N, H, W, C] to float[N, H, W, channels]."""

    channels: int
    size: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        return self.norm()(self.conv("conv", self.channels, self.size)(x))


class CellOutput(Block):
    """A cell's last node: the sum of what its edges give, float[N, H, W, C] each."""

    @nn.compact
    def __call__(self, *edges: jax.Array) -> jax.Array:
        """Adds."""
        return LayerOutput(name="output")(sum(edges[1:], start=edges[0]))


class ResidualBlock(Block):
    """Halves the picture: float[N, H, W, C] to float[N, H / 2, W / 2, channels]; H and W are even.

    Two of activation, 3x3 convolution and norm, the first at stride 2, beside an average pool and a 1x1 convolution.
    """

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        y = self.norm("norm_a")(self.conv("conv_a", self.channels, 3, 2)(self.activate(x, "site_a")))
        y = self.norm("norm_b")(self.conv("conv_b", self.channels, 3)(self.activate(y, "site_b")))
        return LayerOutput(name="output")(self.conv("downsample", self.channels)(avg_pool_2x2(x)) + y)


class NormActivate(Block):
    """The last norm and activation. float[N, H, W, C] to the same."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        return LayerOutput(name="output")(self.activate(self.norm()(x)))


def _cell(layer: int, inputs: int, channels: int, own: Mapping[str, Any]) -> Iterator[Step]:
    """The edges of a cell, in the order of its string; its input and its output are "x"."""
    conv, name = ActivateConvNorm(channels, 3, **own), f"cell{layer}"
    yield Step(f"{name}_edge0", conv, ("x",), ("node1",))
    yield Step(f"{name}_edge1", conv, ("x",), ("a",))
    yield Step(f"{name}_edge2", conv, ("node1",), ("b",))
    yield Step(f"{name}_node2", Add(**own), ("a", "b"), ("node2",))
    if inputs != channels:
        yield Step(f"{name}_edge3", ConvNorm(channels, **own))
    yield Step(f"{name}_edge4", conv, ("node1",), ("a",))
    yield Step(f"{name}_edge5", conv, ("node2",), ("b",))
    yield Step(f"{name}_node3", CellOutput(**own), ("x", "a", "b"))


def steps(arch: Sequence[int], num_classes: int, **own: Any) -> tuple[Step, ...]:
    """The blocks of a network, of its five genes; `own` are the fields that all blocks have."""
    widths = [WIDTHS[gene] for gene in arch]
    found, width = [Step("stem", ConvNorm(widths[0], 3, **own))], widths[0]
    for layer, channels in enumerate(widths):
        if layer in BLOCKS:
            found.append(Step(f"block{layer}", ResidualBlock(channels, **own)))
        else:
            found += _cell(layer, width, channels, own)
        width = channels
    return (*found, Step("last", NormActivate(**own)), Step("head", PoolDense(num_classes, **own)))


def layer_of(path: Path, position: int) -> int:
    """The layer of a site, counted from 1: cells and residual blocks in order, then the last activation."""
    del position
    if path[0] == "last":
        return NUM_WIDTHS + 1
    return int(path[0].partition("_")[0].removeprefix("cell").removeprefix("block")) + 1

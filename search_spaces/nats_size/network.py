"""The networks of NATS-Bench's size space: one cell of NAS-Bench-201 in three places, with five widths to choose.

A stem, a cell, a residual block that halves the picture, a cell, a residual block, a cell, the last norm and
activation. The cell is that of

|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|

whose edges out of its input change the width; its skip does so by a 1x1 convolution and a norm without activation, and
is the identity where the width stays. Activations, convolutions and norms are blocks of their own: only convolutions
depend on two widths, and theirs are small programs. Axes: N batch, H W C.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Step
from zsnas_jax.nn.layers import avg_pool_2x2
from zsnas_jax.nn.modules import Activate, Add, Block, Conv, LayerSum, NormOnly, PoolDense
from zsnas_jax.nn.probes import LayerOutput

WIDTHS = tuple(range(8, 72, 8))
"""What each width can be."""
NUM_WIDTHS = 5
CELLS, BLOCKS = (0, 2, 4), (1, 3)
"""The layers that are cells, and those that are residual blocks."""


class HalfPool(Block):
    """2x2 average pooling: float[N, H, W, C] to float[N, H / 2, W / 2, C]; H and W are even."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        return avg_pool_2x2(x)


class NormActivate(Block):
    """The last norm and activation. float[N, H, W, C] to the same."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        return LayerOutput(name="output")(self.activate(self.norm()(x)))


def _conv_norm(
    name: str, channels: int, size: int, read: str, write: str, own: Mapping[str, Any], stride: int = 1
) -> Iterator[Step]:
    """Convolution and norm."""
    yield Step(name, Conv(channels, size, stride, **own), (read,), (write,))
    yield Step(f"{name}_norm", NormOnly(**own), (write,), (write,))


def _edge(name: str, channels: int, read: str, write: str, own: Mapping[str, Any], stride: int = 1) -> Iterator[Step]:
    """Activation, 3x3 convolution, norm."""
    yield Step(f"{name}_site", Activate(**own), (read,), (write,))
    yield from _conv_norm(name, channels, 3, write, write, own, stride)


def _cell(layer: int, inputs: int, channels: int, own: Mapping[str, Any]) -> Iterator[Step]:
    """The edges of a cell, in the order of its string; its input and its output are "x"."""
    name = f"cell{layer}"
    yield from _edge(f"{name}_edge0", channels, "x", "node1", own)
    yield from _edge(f"{name}_edge1", channels, "x", "a", own)
    yield from _edge(f"{name}_edge2", channels, "node1", "b", own)
    yield Step(f"{name}_node2", Add(**own), ("a", "b"), ("node2",))
    if inputs != channels:
        yield from _conv_norm(f"{name}_edge3", channels, 1, "x", "x", own)
    yield from _edge(f"{name}_edge4", channels, "node1", "a", own)
    yield from _edge(f"{name}_edge5", channels, "node2", "b", own)
    yield Step(f"{name}_node3", LayerSum(**own), ("x", "a", "b"))


def _residual_block(layer: int, channels: int, own: Mapping[str, Any]) -> Iterator[Step]:
    """Two of activation, 3x3 convolution and norm, the first at stride 2, beside a pool and a 1x1 convolution."""
    name = f"block{layer}"
    yield from _edge(f"{name}_conv_a", channels, "x", "y", own, stride=2)
    yield from _edge(f"{name}_conv_b", channels, "y", "y", own)
    yield Step(f"{name}_pool", HalfPool(**own))
    yield Step(f"{name}_downsample", Conv(channels, **own))
    yield Step(f"{name}_output", LayerSum(**own), ("x", "y"))


def steps(arch: Sequence[int], num_classes: int, **own: Any) -> tuple[Step, ...]:
    """The blocks of a network, of its five genes; `own` are the fields that all blocks have."""
    widths = [WIDTHS[gene] for gene in arch]
    found, width = [*_conv_norm("stem", widths[0], 3, "x", "x", own)], widths[0]
    for layer, channels in enumerate(widths):
        if layer in BLOCKS:
            found += _residual_block(layer, channels, own)
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

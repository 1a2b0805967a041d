"""The MobileNet-like networks that ZenNAS, ZiCo and AZ-NAS search: blocks of sub-layers of two residuals each.

A residual widens its input to d channels (1x1 convolution, norm, activation), filters each of them (depthwise
convolution, norm, activation), narrows them (1x1 convolution, norm), adds a shortcut and activates. A sub-layer of a
block leads to the block's bottleneck and from there to its width. The shortcut of the first residual of a block is a
projection, and of any other that changes the width. Axes: N batch, H W C.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Step
from zsnas_jax.nn.mobile import ConvNormActivate, MobileBlock
from zsnas_jax.nn.modules import PoolDense
from zsnas_jax.nn.probes import LayerOutput
from zsnas_jax.search_spaces.mobilenetv2.network import EPSILON, SqueezeExcite

LAST = 2048
"""Channels of the last convolution, in every network."""
MAX_LAYERS = 14
"""Sub-layers of all blocks together at most, so that there are no more blocks either."""


class BlockPlan(NamedTuple):
    """A block: d / channels, kernel size of the depthwise convolutions, stride of the first, sub-layers, widths."""

    expansion: int
    kernel: int
    stride: int
    layers: int
    out: int
    bottleneck: int


class Plan(NamedTuple):
    """A network: channels of the stem, the blocks."""

    stem: int
    blocks: tuple[BlockPlan, ...]


class Residual(MobileBlock):
    """One residual: float[N, H, W, C] to float[N, H / stride, W / stride, channels].

    Attributes:
        channels: that leave.
        middle: channels that are filtered, d.
        size: of the depthwise convolution.
        stride: of it.
        projected: whether the shortcut is a 1x1 convolution with bias, and a norm.
        squeeze_excite: whether the filtered channels are weighed.
    """

    channels: int
    middle: int
    size: int
    stride: int
    projected: bool
    squeeze_excite: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        y = self.activate(self.norm("widen_norm", self.epsilon)(self.conv("widen", self.middle)(x)), "widen_site")
        y = self.conv("filter", self.middle, self.size, self.stride, depthwise=True)(y)
        y = self.activate(self.norm("filter_norm", self.epsilon)(y), "filter_site")
        if self.squeeze_excite:
            excite = SqueezeExcite(kernel_init=self.kernel_init, options=self.options, name="excite")
            y *= excite(y.mean((1, 2)))[:, None, None]
        y = self.norm("narrow_norm", self.epsilon)(self.conv("narrow", self.channels)(y))
        if self.projected:
            x = self.conv("shortcut", self.channels, stride=self.stride, use_bias=True)(x)
            x = self.norm("shortcut_norm", self.epsilon)(x)
        return LayerOutput(name="output")(self.activate(x + y, "output_site"))


def _block(name: str, inputs: int, block: BlockPlan, squeeze_excite: bool, own: dict[str, Any]) -> Iterator[Step]:
    """The residuals of a block."""
    width = inputs
    for layer in range(block.layers):
        for half, channels in zip("ab", (block.bottleneck, block.out), strict=True):
            is_first = layer == 0 and half == "a"
            stride, projected = block.stride if is_first else 1, is_first or width != channels
            middle = channels * block.expansion
            residual = Residual(channels, middle, block.kernel, stride, projected, squeeze_excite, **own)
            yield Step(f"{name}_{layer}{half}", residual)
            width = channels


def steps(plan: Plan, num_classes: int, squeeze_excite: bool = False, **own: Any) -> tuple[Step, ...]:
    """The blocks of a plan's network.

    Args:
        plan: of the network.
        num_classes: width of the logits.
        squeeze_excite: whether channels are weighed: the papers search without and train with it.
        **own: the fields that all blocks have.
    """
    mobile = {"epsilon": EPSILON, **own}
    found, width = [Step("stem", ConvNormActivate(plan.stem, 3, 2, **mobile))], plan.stem
    for number, block in enumerate(plan.blocks, start=1):
        found += _block(f"block{number}", width, block, squeeze_excite, mobile)
        width = block.out
    return (*found, Step("last", ConvNormActivate(LAST, **mobile)), Step("head", PoolDense(num_classes, **own)))


def layer_of(path: Path, position: int) -> int:
    """The layer of a site, counted from 1: the stem, places for 14 blocks, the last convolution."""
    del position
    fixed = {"stem": 1, "last": MAX_LAYERS + 2}
    return fixed.get(path[0]) or int(path[0].removeprefix("block").partition("_")[0]) + 1

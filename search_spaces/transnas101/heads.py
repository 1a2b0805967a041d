"""What stands behind an encoder of TransNAS-Bench-101: a dense layer, or a decoder back to the picture's size.

Decoders have leaky activations that the papers do not count among the response sites; they are no sites here. Axes: N
batch, H W C.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.measure.blocks import Step
from zsnas_jax.nn.modules import Block
from zsnas_jax.nn.probes import Features, LayerOutput

LEAK = 0.2


class JoinTiles(Block):
    """The dense layer on the features of all tiles side by side: float[N, 9, H, W, C] to logits float[N, K]."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        n, tiles, height, width, channels = x.shape
        side_by_side = jnp.moveaxis(x, 1, 3).reshape(n, height, width, tiles * channels)
        pooled = Features(name="features")(side_by_side).mean((1, 2))
        return nn.Dense(self.num_classes, kernel_init=self.kernel_init, name="dense")(pooled)


class DecoderLayer(Block):
    """3x3 convolution with a bias, norm, leaky activation. float[N, H, W, C] to float[N, H', W', channels].

    Attributes:
        channels: that leave.
        doubles: whether it is the transposed convolution that doubles H and W.
        is_first: of the decoder, so that what enters is the feature map.
    """

    channels: int
    doubles: bool = False
    is_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        x = Features(name="features")(x) if self.is_first else x
        y = self.norm()(self.conv("conv", self.channels, 3, transposed=self.doubles, use_bias=True)(x))
        return LayerOutput(name="output")(nn.leaky_relu(y, LEAK))


class LastLayer(Block):
    """3x3 convolution with a bias, float[N, H, W, C] to float[N, H, W, channels]; under tanh where it paints."""

    channels: int
    paints: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        y = self.conv("conv", self.channels, 3, use_bias=True)(x)
        return jnp.tanh(y) if self.paints else y


NEVER = 99
GENERATIVE = (
    *((1024, NEVER), (1024, NEVER), (512, 6), (512, NEVER), (256, 5), (128, NEVER), (64, 4), (64, NEVER), (32, 3)),
    *((32, NEVER), (16, 0), (32, NEVER), (16, 0)),
)
"""(channels, the least number of halvings of the encoder with which it doubles H and W) of the decoder's layers."""
SEGMENTATION = ((1024, NEVER), (512, 6), (256, 5), (128, 4), (64, 3), (32, 2), (32, 0))
"""Likewise."""


def decoder(
    layers: Sequence[tuple[int, int]], num_halvings: int, channels: int, paints: bool, **own: Any
) -> Iterator[Step]:
    """The steps of a decoder to maps of so many channels, behind an encoder with so many halvings."""
    for place, (width, least) in enumerate(layers):
        yield Step(f"decoder{place}", DecoderLayer(width, num_halvings >= least, place == 0, **own))
    yield Step("maps", LastLayer(channels, paints, **own))

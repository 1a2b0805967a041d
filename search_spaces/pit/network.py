"""PiT's networks: overlapping patches, three stages of blocks with a pooling before the second and the third.

The first token is the class's, the others are the pixels of a map, row by row. Axes: N batch, T tokens, C channels.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Step
from zsnas_jax.nn.attention import Dense, EncoderBlock, LayerNorm, Sizes, Table
from zsnas_jax.nn.layers import resize
from zsnas_jax.nn.modules import Block, Conv
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.probes import Features
from zsnas_jax.search_spaces.pit.genotype import Plan

PATCH, STRIDE = 16, 8
"""Pixels along a side of a patch, and from one to the next."""
EPSILON = 1e-6


def grid_of(input_size: int) -> int:
    """Rows and columns of patches in a picture."""
    return (input_size - PATCH) // STRIDE + 1


class OverlappingPatches(Block):
    """Patches as tokens behind the class token: float[N, S, S, 3] to float[N, T, width].

    A convolution of 16 x 16 at stride 8 without padding, with bias; a table of positions is added to its map, none to
    the class token. Pictures of other sizes than `input_size` are resized, bilinearly, without antialias.
    """

    width: int
    input_size: int

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Applies it."""
        n, grid = len(image), grid_of(self.input_size)
        image, halves = resize(image, self.input_size), PATCH // STRIDE
        cut = image[:, : (grid + 1) * STRIDE, : (grid + 1) * STRIDE]
        tiles = cut.reshape(n, grid + 1, STRIDE, grid + 1, STRIDE, -1).swapaxes(2, 3)  # a patch is 2 x 2 of them
        parts = [[tiles[:, i : i + grid, j : j + grid] for j in range(halves)] for i in range(halves)]
        x = jnp.concatenate([jnp.concatenate(row, axis=4) for row in parts], axis=3)
        x = x.reshape(n, grid**2, PATCH, PATCH, -1)
        dense = Dense((self.width,), 3, "other", kernel_init=self.kernel_init, options=self.options, name="patch")
        x = dense(x, self.options.key_of(self)) + Table((grid**2, self.width), name="pos")()
        token = jnp.broadcast_to(Table((1, self.width), name="cls")(), (n, 1, self.width))
        return jnp.concatenate([token, x], axis=1)


class Pool(Block):
    """Halves the map and widens it: float[N, 1 + S * S, C] to float[N, 1 + ceil(S / 2)^2, width].

    The map by a depthwise convolution of 3 x 3 at stride 2, of which each channel has width / C filters, the class
    token by a dense layer, both with bias.
    """

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        n, side, channels = len(x), math.isqrt(x.shape[1] - 1), x.shape[2]
        keys = [None, None] if (key := self.options.key_of(self)) is None else list(jax.random.split(key))
        pixels = self.options.mask(x[:, 1:], keys[0]).reshape(n, side, side, channels)
        several = jnp.repeat(pixels, self.width // channels, axis=-1)
        own: dict[str, Any] = {"kernel_init": self.kernel_init, "options": LayerOptions()}
        pooled = Conv(self.width, 3, 2, depthwise=True, use_bias=True, part="other", name="pool", **own)(several)
        dense = Dense((self.width,), part="other", kernel_init=self.kernel_init, options=self.options, name="cls")
        return jnp.concatenate([dense(x[:, :1], keys[1]), pooled.reshape(n, -1, self.width)], axis=1)


class TokenHead(Block):
    """Norm of the class token, dense layer: float[N, T, C] to logits float[N, num_classes]. Nothing is masked."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        token = Features(name="features")(LayerNorm(EPSILON, name="norm")(x[:, :1]))
        return Dense((self.num_classes,), part="head", kernel_init=self.kernel_init, name="dense")(token[:, 0])


def steps(
    plan: Plan,
    num_classes: int,
    *,
    input_size: int = 224,
    attention_sites: bool = False,
    drop_path: bool = False,
    **own: Any,
) -> tuple[Step, ...]:
    """The blocks of a plan's network; `own` are the fields that all blocks have.

    Args:
        plan: of the network.
        num_classes: width of the logits.
        input_size: pixels along a side of what networks see.
        attention_sites: whether response sites are what enters softmax, not what enters GELU.
        drop_path: whether blocks are left out at random, in training, at a rate that is a value "drop_path".
        **own: fields.
    """
    found, number, last = [Step("patches", OverlappingPatches(plan.widths[0], input_size, **own))], 0, sum(plan.depths)
    reads = ("x", "drop_path") if drop_path else ("x",)
    for stage, (depth, heads, width) in enumerate(zip(plan.depths, plan.heads, plan.widths, strict=True)):
        if stage:
            found.append(Step(f"pool{stage}", Pool(width, **own)))
        sizes = Sizes(width, heads, width * plan.ratio)
        for _ in range(depth):
            share = number / max(last - 1, 1)
            block = EncoderBlock(sizes, sizes, None, 0, EPSILON, attention_sites, share, **own)
            found.append(Step(f"block{number}", block, reads))
            number += 1
    return (*found, Step("head", TokenHead(num_classes, **own)))


def layer_of(path: Path, position: int) -> int:
    """The layer of a site, counted from 1: its block."""
    del position
    return 1 + int(path[0].removeprefix("block"))

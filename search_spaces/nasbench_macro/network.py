"""The networks of NAS-Bench-Macro: a stem, eight layers in three stages, a last convolution.

Axes: N batch, H W C.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Step, layers
from zsnas_jax.nn.mobile import ConvNormActivate, InvertedResidual
from zsnas_jax.nn.modules import Block, PoolDense
from zsnas_jax.nn.probes import LayerOutput

STEM, LAST = 32, 1280
WIDTHS = (64, 64, 128, 128, 128, 256, 256, 256)
"""Channels that leave each layer; the first of a width has stride 2."""
KERNELS, EXPANSIONS = (0, 3, 5), (0, 3, 6)
"""k and t of the choices of a layer, of which 0 is the identity."""


class Downsample(Block):
    """The identity where the shape changes: 1x1 convolution at stride 2 and norm."""

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps float[N, H, W, C] to float[N, H / 2, W / 2, channels]."""
        return LayerOutput(name="output")(self.norm()(self.conv("conv", self.channels, stride=2)(x)))


def steps(arch: Sequence[int] | jax.Array, num_classes: int, **own: Any) -> tuple[Step, ...]:
    """The blocks of a network, of its choices, eight Python ints or int32[8]; `own` are fields that all blocks have."""
    names = [f"layer{place}" for place in range(len(WIDTHS))]
    blocks, width = [], STEM
    for channels in WIDTHS:
        stride = 1 if channels == width else 2
        identity: dict[str, nn.Module | None] = {"identity": Downsample(channels, **own) if stride == 2 else None}
        residual = {
            f"k{k}_t{t}": InvertedResidual(channels, k, t, stride, **own)
            for k, t in zip(KERNELS[1:], EXPANSIONS[1:], strict=True)
        }
        blocks.append(identity | residual)
        width = channels
    stem, last = Step("stem", ConvNormActivate(STEM, 3, **own)), Step("last", ConvNormActivate(LAST, **own))
    return (stem, *layers(names, list(arch), blocks), last, Step("head", PoolDense(num_classes, **own)))


def layer_of(path: Path, position: int) -> int:
    """The layer of a site, counted from 1: the stem, the eight layers by place, the last convolution."""
    return {"stem": 1, "last": 10}.get(path[0]) or int(path[0].removeprefix("layer")) + position + 2

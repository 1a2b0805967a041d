"""The networks of Accel-NASBench: a stem, seven stages of inverted residuals, a last convolution.

Axes: N batch, H W C.
"""

from collections.abc import Sequence
import itertools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Step, layers
from zsnas_jax.nn.mobile import ConvNormActivate, InvertedResidual
from zsnas_jax.nn.modules import PoolDense

STEM, LAST = 32, 1280
INPUTS, WIDTHS = (32, 16, 24, 40, 80, 112, 192), (16, 24, 40, 80, 112, 192, 320)
"""Channels that enter and that leave each stage."""
STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""Of the first layer of each stage."""
NUM_STAGES = len(WIDTHS)
SLOTS = (3, 3, 3, 3, 3, 4, 3)
"""How many layers each stage may have; a layer that is not there uses up its place."""


EXPANSIONS, KERNELS = (1, 4, 6), (3, 5)
"""What the expansion and the kernel size of a stage can be."""


class StagePlan(NamedTuple):
    """A stage: t of its layers, k of their depthwise convolutions, how many they are, whether they squeeze-excite."""

    expansion: int
    kernel: int
    layers: int
    squeeze_excite: bool


def squeezed_of(inputs: int) -> int:
    """The channels through which the squeeze-excite of a layer looks, which so many enter."""
    return max(1, inputs // 4)


def steps(plan: Sequence[StagePlan] | jax.Array, num_classes: int, **own: Any) -> tuple[Step, ...]:
    """The blocks of a network; `own` are the fields that all blocks have.

    Args:
        plan: of its seven stages, or a genotype int32[7, 4], for a network that serves all.
        num_classes: width of the logits.
        **own: those fields.
    """
    found = [Step("stem", ConvNormActivate(STEM, 3, 2, **own))]
    for place, (inputs, channels, first_stride) in enumerate(zip(INPUTS, WIDTHS, STRIDES, strict=True)):
        names, index, blocks = [], [], []
        for slot in range(SLOTS[place]):
            width, stride = (channels, 1) if slot else (inputs, first_stride)
            kinds = list(itertools.product(EXPANSIONS, KERNELS, (False, True)))
            every: dict[str, nn.Module | None] = {"none": None} if slot else {}
            for t, k, squeezes in kinds:
                squeezed = squeezed_of(width) if squeezes else 0
                block = InvertedResidual(channels, k, t, stride, squeezed, **own)
                every[f"t{t}_k{k}{'_se' if squeezes else ''}"] = block
            names.append(f"stage{place}_{slot}")
            blocks.append(every)
            if isinstance(plan, jax.Array):
                e, k, layers_less_one, se = plan[place]
                kind, is_there = (e * len(KERNELS) + k) * 2 + se, slot <= layers_less_one
                index.append(jnp.where(is_there, kind + 1, 0) if slot else kind)
            else:
                stage = plan[place]
                kind = kinds.index((stage.expansion, stage.kernel, stage.squeeze_excite))
                index.append((kind + 1 if slot < stage.layers else 0) if slot else kind)
        found += layers(names, index, blocks)
    return (*found, Step("last", ConvNormActivate(LAST, **own)), Step("head", PoolDense(num_classes, **own)))


def layer_of(path: Path, position: int) -> int:
    """The layer of a site, counted from 1: the stem, the 22 slots of the stages by place, the last convolution."""
    fixed = {"stem": 1, "last": sum(SLOTS) + 2}
    if path[0] in fixed:
        return fixed[path[0]]
    stage, _, slot = path[0].removeprefix("stage").partition("_")
    return 2 + sum(SLOTS[: int(stage)]) + int(slot) + position

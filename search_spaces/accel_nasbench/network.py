"""The networks of Accel-NASBench: a stem, seven stages of inverted residuals, a last convolution.

Axes: N batch, H W C.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Step
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


class StagePlan(NamedTuple):
    """A stage: t of its layers, k of their depthwise convolutions, how many they are, whether they squeeze-excite."""

    expansion: int
    kernel: int
    layers: int
    squeeze_excite: bool


def squeezed_of(inputs: int) -> int:
    """The channels through which the squeeze-excite of a layer looks, which so many enter."""
    return max(1, inputs // 4)


def steps(plan: Sequence[StagePlan], num_classes: int, **own: Any) -> tuple[Step, ...]:
    """The blocks of a network, of the plans of its seven stages; `own` are the fields that all blocks have."""
    found = [Step("stem", ConvNormActivate(STEM, 3, 2, **own))]
    for place, (stage, inputs, channels, first_stride) in enumerate(zip(plan, INPUTS, WIDTHS, STRIDES, strict=True)):
        for slot in range(stage.layers):
            width, stride = (channels, 1) if slot else (inputs, first_stride)
            squeezed = squeezed_of(width) if stage.squeeze_excite else 0
            block = InvertedResidual(channels, stage.kernel, stage.expansion, stride, squeezed, **own)
            found.append(Step(f"stage{place}_{slot}", block))
    return (*found, Step("last", ConvNormActivate(LAST, **own)), Step("head", PoolDense(num_classes, **own)))


def layer_of(path: Path, position: int) -> int:
    """The layer of a site, counted from 1: the stem, the 22 slots of the stages by place, the last convolution."""
    del position
    fixed = {"stem": 1, "last": sum(SLOTS) + 2}
    if path[0] in fixed:
        return fixed[path[0]]
    stage, _, slot = path[0].removeprefix("stage").partition("_")
    return 2 + sum(SLOTS[: int(stage)]) + int(slot)

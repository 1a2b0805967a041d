"""The networks of RLNAS's mobile space: a stem, a first block, 21 layers in six stages, a last convolution.

All activations are ReLU6. RLNAS and ProxylessNAS have such networks of different widths (`Skeleton`). Axes: N batch,
H W C.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Step, layers
from zsnas_jax.nn.mobile import ConvNormActivate, InvertedResidual
from zsnas_jax.nn.modules import PoolDense
from zsnas_jax.nn.options import EPSILON

IDENTITY = -1
KERNELS, EXPANSIONS = (3, 3, 5, 5, 7, 7), (3, 6, 3, 6, 3, 6)
"""k and t of the choices of a layer, from 0; an identity is none of them."""
CEILING = 6.0
STAGE_LAYERS, STAGE_STRIDES = (4, 4, 4, 4, 4, 1), (2, 2, 2, 1, 2, 1)
"""Layers of each stage, and the stride of its first."""
FIRST_LAYERS = (0, 4, 8, 12, 16, 20)
"""The layers in which shapes change, so that none can be an identity."""
NUM_LAYERS = sum(STAGE_LAYERS)


class Skeleton(NamedTuple):
    """The widths of a space's networks.

    Attributes:
        stem: channels of the first convolution.
        first: of the first block, which widens nothing.
        stages: of the six stages.
        last: of the last convolution.
        epsilon: added to the variance by every norm.
    """

    stem: int
    first: int
    stages: tuple[int, int, int, int, int, int]
    last: int
    epsilon: float = EPSILON


RLNAS = Skeleton(40, 24, (32, 56, 112, 128, 256, 432), 1728)
PROXYLESSNAS = Skeleton(32, 16, (24, 40, 80, 96, 192, 320), 1280, 1e-3)


class Layer(NamedTuple):
    """A place for a layer: channels that enter, channels that leave, its stride."""

    inputs: int
    channels: int
    stride: int


def layers_of(skeleton: Skeleton) -> Iterator[Layer]:
    """The 21 places of a skeleton, in order."""
    width = skeleton.first
    for channels, count, stride in zip(skeleton.stages, STAGE_LAYERS, STAGE_STRIDES, strict=True):
        for place in range(count):
            yield Layer(width, channels, 1 if place else stride)
            width = channels


def steps(
    arch: Sequence[int] | jax.Array, num_classes: int, skeleton: Skeleton = RLNAS, **own: Any
) -> tuple[Step, ...]:
    """The blocks of a network, of its choices, 21 Python ints or int32[21]; `own` are fields that all blocks have."""
    mobile = {"ceiling": CEILING, "epsilon": skeleton.epsilon, **own}
    names = [f"layer{place}" for place in range(NUM_LAYERS)]
    blocks, index = [], []
    for place, layer in enumerate(layers_of(skeleton)):
        may_be_identity = place not in FIRST_LAYERS
        identity: dict[str, nn.Module | None] = {"identity": None} if may_be_identity else {}
        residual = {
            f"k{k}_t{t}": InvertedResidual(layer.channels, k, t, layer.stride, **mobile)
            for k, t in zip(KERNELS, EXPANSIONS, strict=True)
        }
        blocks.append(identity | residual)
        index.append(arch[place] + may_be_identity)  # an identity is -1
    return (
        Step("stem", ConvNormActivate(skeleton.stem, 3, 2, **mobile)),
        Step("first", InvertedResidual(skeleton.first, 3, 1, 1, **mobile)),
        *layers(names, index, blocks),
        Step("last", ConvNormActivate(skeleton.last, **mobile)),
        Step("head", PoolDense(num_classes, **own)),
    )


def layer_of(path: Path, position: int) -> int:
    """The layer of a site, counted from 1: the stem, the first block, the 21 layers by place, the last convolution."""
    fixed = {"stem": 1, "first": 2, "last": NUM_LAYERS + 3}
    return fixed.get(path[0]) or int(path[0].removeprefix("layer")) + position + 3

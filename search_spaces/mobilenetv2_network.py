"""The MobileNetV2 network of the WRCor paper as Flax modules, built from a plan of Python ints.

A layer widens its input to d channels (1x1 convolution, norm, activation), filters each of them (depthwise
convolution, norm, activation), weighs them (squeeze-excite), narrows them (1x1 convolution, norm), adds a shortcut and
activates. The first layer of a stage has the stage's stride, and a projection as its shortcut. Axes: N batch, H W C.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax

from zsnas_jax.initializers import Initializer, kaiming_uniform
from zsnas_jax.layers import conv2d, depthwise_conv2d
from zsnas_jax.marks import Features, LayerOutput, NormInput, Path, Site, slot_of, weigh
from zsnas_jax.treatments import Treatment

NUM_STAGES = 7
EPSILON = 1e-3
"""Of every batch norm."""


class StagePlan(NamedTuple):
    """A stage: d / bottleneck, kernel size of the depthwise convolutions, stride of the first, layers, widths."""

    expansion: int
    kernel: int
    stride: int
    layers: int
    out: int
    bottleneck: int


class Plan(NamedTuple):
    """A network: width of the stem, of the last convolution, pixels along a side of the pictures, seven stages."""

    stem: int
    last: int
    resolution: int
    stages: tuple[StagePlan, ...]


class ConvNorm(nn.Module):
    """Mask, convolution without bias, norm. float[N, H, W, C] to float[N, H / stride, W / stride, channels].

    Attributes:
        channels: D; of a depthwise convolution C.
        size: k.
        stride: the same in both directions.
        depthwise: whether each channel is filtered by itself.
        use_bias: whether the convolution has a bias.
    """

    channels: int
    size: int
    stride: int
    kernel_init: Initializer
    treatment: Treatment
    depthwise: bool = False
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies them."""
        shape = (self.size, self.size, 1 if self.depthwise else x.shape[-1], self.channels)
        kernel: Any = self.param("kernel", self.kernel_init, shape)  # type: ignore[arg-type]
        key = self.treatment.key_of(self)
        x = self.treatment.mask(x, key)
        convolve = depthwise_conv2d if self.depthwise else conv2d
        x = weigh(convolve(x, kernel, self.stride), slot_of(self, "kernel"), kernel.size // self.channels)
        if self.use_bias:
            x = x + self.param("bias", nn.initializers.zeros, (self.channels,))
        mark = NormInput(name="norm_input")
        if mark.wanted():
            mark.observe(jax.lax.stop_gradient(x).var((0, 1, 2), ddof=1), 1.0)
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        scale, bias = self.param("norm_scale", ones, (self.channels,)), self.param("norm_bias", zeros, (self.channels,))
        return self.treatment.normalise(x, scale, bias, key, EPSILON)


class SqueezeExcite(nn.Module):
    """Weighs channels by what they hold on average: x * sigmoid(norm(W2 relu(norm(W1 mean(x))))). The same shape."""

    kernel_init: Initializer
    treatment: Treatment

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it to float[N, H, W, C], through round(C / 4) channels."""
        conv = lambda channels, name: ConvNorm(channels, 1, 1, self.kernel_init, self.treatment, name=name)
        squeezed = conv(round(x.shape[-1] / 4), "squeeze")(x.mean((1, 2), keepdims=True))
        return x * nn.sigmoid(conv(x.shape[-1], "excite")(self.treatment.activate(Site(name="site")(squeezed))))


class Bottleneck(nn.Module):
    """A layer. float[N, H, W, C] to float[N, H / stride, W / stride, out].

    Attributes:
        middle: d.
        out: width of what it gives out; that of its input, where it is not the first of its stage.
        size: k of the depthwise convolution.
        stride: of it, and of the projection.
        is_first: whether the shortcut is a projection.
        squeeze_excite: whether channels are weighed.
    """

    middle: int
    out: int
    size: int
    stride: int
    is_first: bool
    squeeze_excite: bool
    kernel_init: Initializer
    treatment: Treatment

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        own: dict[str, Any] = {"kernel_init": self.kernel_init, "treatment": self.treatment}
        activate = lambda x, name: self.treatment.activate(Site(name=name)(x))
        y = activate(ConvNorm(self.middle, 1, 1, **own, name="expand")(x), "expand_site")
        y = ConvNorm(self.middle, self.size, self.stride, **own, depthwise=True, name="filter")(y)
        y = activate(y, "filter_site")
        if self.squeeze_excite:
            y = SqueezeExcite(**own, name="squeeze_excite")(y)
        y = ConvNorm(self.out, 1, 1, **own, name="project")(y)
        if self.is_first:
            x = ConvNorm(self.out, 1, self.stride, **own, use_bias=True, name="shortcut")(x)
        return LayerOutput(name="output")(activate(x + y, "site"))


class MobileNetV2(nn.Module):
    """The network of a plan.

    Attributes:
        num_classes: width of the logits.
        squeeze_excite: whether layers weigh their channels, as the published network does.
        kernel_init: initialisation of every kernel.
        treatment: norm, activation, and mask on what enters a convolution.
    """

    num_classes: int = 1000
    squeeze_excite: bool = True
    kernel_init: Initializer = kaiming_uniform
    treatment: Treatment = Treatment()

    @nn.compact
    def __call__(self, image: jax.Array, plan: Plan) -> jax.Array:
        """Logits float[N, num_classes] of image float[N, H, W, 3], resized to the plan's resolution.

        Bilinearly, without antialias. Batch norm uses the statistics of the batch.
        """
        own: dict[str, Any] = {"kernel_init": self.kernel_init, "treatment": self.treatment}
        activate = lambda x, name: self.treatment.activate(Site(name=name)(x))
        x = resize(image, plan.resolution)
        x = LayerOutput(name="stem_output")(activate(ConvNorm(plan.stem, 3, 2, **own, name="stem")(x), "stem_site"))
        for number, s in enumerate(plan.stages, start=1):
            for layer in range(s.layers):
                stride = s.stride if layer == 0 else 1
                middle = s.bottleneck * s.expansion
                block = Bottleneck(
                    middle,
                    s.out,
                    s.kernel,
                    stride,
                    layer == 0,
                    self.squeeze_excite,
                    **own,
                    name=f"stage{number}_{layer}",
                )
                x = block(x)
        x = activate(ConvNorm(plan.last, 1, 1, **own, name="last")(x), "last_site")
        x = Features(name="features")(LayerOutput(name="last_output")(x))
        return nn.Dense(self.num_classes, kernel_init=self.kernel_init, name="head")(x.mean((1, 2)))

    def layer_of(self, path: Path, position: int) -> int:
        """The layer of a site, counted from 1: the stem, the seven stages, the last convolution."""
        del position
        name = path[0]
        return {"stem_site": 1, "last_site": NUM_STAGES + 2}.get(name) or int(name.removeprefix("stage")[0]) + 1


def resize(image: jax.Array, size: int) -> jax.Array:
    """float[N, H, W, C] to float[N, size, size, C], bilinear between the centres of pixels, without antialias."""
    if image.shape[1:3] == (size, size):
        return image
    return jax.image.resize(image, (len(image), size, size, image.shape[-1]), "linear", antialias=False)

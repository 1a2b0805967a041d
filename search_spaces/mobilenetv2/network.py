"""The MobileNetV2 network of the WRCor paper as Flax modules, built from a plan of Python ints.

A layer widens its input to d channels (1x1 convolution, norm, activation), filters each of them (depthwise
convolution, norm, activation), weighs them (squeeze-excite), narrows them (1x1 convolution, norm), adds a shortcut and
activates. The first layer of a stage has the stage's stride, and a projection as its shortcut. Axes: N batch, H W C.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from zsnas_jax.nn.initializers import Initializer, kaiming_uniform
from zsnas_jax.nn.layers import conv2d, depthwise_conv2d
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.probes import Features, LayerOutput, NormInput, Path, Site, slot_of, weigh

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


class Layer(NamedTuple):
    """One layer of a stage.

    Attributes:
        name: stage and place in it, what its modules' names begin with.
        stage: counted from 1.
        is_first: of its stage, which makes its shortcut a projection.
        inputs: channels that enter.
        middle: channels that are filtered, d.
        outputs: channels that leave.
        kernel: size of the depthwise convolution.
        stride: of the layer.
        size: pixels along a side of what enters.
    """

    name: str
    stage: int
    is_first: bool
    inputs: int
    middle: int
    outputs: int
    kernel: int
    stride: int
    size: int


def layers_of(plan: Plan) -> Iterator[Layer]:
    """The layers of a plan's stages, in order."""
    width, size = plan.stem, plan.resolution // 2
    for number, s in enumerate(plan.stages, start=1):
        for place in range(s.layers):
            stride, middle = s.stride if place == 0 else 1, s.bottleneck * s.expansion
            yield Layer(f"stage{number}_{place}", number, place == 0, width, middle, s.out, s.kernel, stride, size)
            width, size = s.out, size // stride


def kernel_shapes(plan: Plan, num_classes: int, squeeze_excite: bool = True) -> dict[Path, tuple[int, ...]]:
    """The shapes of the kernels of `MobileNetV2`, by their paths in its parameters."""
    shapes: dict[Path, tuple[int, ...]] = {("stem", "conv", "kernel"): (3, 3, 3, plan.stem)}
    width = plan.stem
    for p in layers_of(plan):
        filtering, squeezed = f"{p.name}_filter", round(p.middle / 4)
        shapes[f"{p.name}_widen", "conv", "kernel"] = (1, 1, p.inputs, p.middle)
        shapes[filtering, "conv", "kernel"] = (p.kernel, p.kernel, 1, p.middle)
        if squeeze_excite:
            shapes[filtering, "squeeze_excite", "squeeze", "kernel"] = (1, 1, p.middle, squeezed)
            shapes[filtering, "squeeze_excite", "excite", "kernel"] = (1, 1, squeezed, p.middle)
        shapes[f"{p.name}_narrow", "conv", "kernel"] = (1, 1, p.middle, p.outputs)
        if p.is_first:
            shapes[f"{p.name}_narrow", "shortcut", "kernel"] = (1, 1, p.inputs, p.outputs)
        width = p.outputs
    shapes["head", "conv", "kernel"] = (1, 1, width, plan.last)
    shapes["head", "dense", "kernel"] = (plan.last, num_classes)
    return shapes


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
    options: LayerOptions
    depthwise: bool = False
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies them."""
        shape = (self.size, self.size, 1 if self.depthwise else x.shape[-1], self.channels)
        kernel: Any = self.param("kernel", self.kernel_init, shape)  # type: ignore[arg-type]
        key = self.options.key_of(self)
        x = self.options.mask(x, key)
        convolve = depthwise_conv2d if self.depthwise else conv2d
        x = weigh(convolve(x, kernel, self.stride), slot_of(self, "kernel"), kernel.size // self.channels)
        if self.use_bias:
            x = x + self.param("bias", nn.initializers.zeros, (self.channels,))
        probe = NormInput(name="norm_input")
        if probe.wanted():
            probe.observe(jax.lax.stop_gradient(x).var((0, 1, 2), ddof=1), 1.0)
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        scale, bias = self.param("norm_scale", ones, (self.channels,)), self.param("norm_bias", zeros, (self.channels,))
        return probe.normalise(self.options, x, scale, bias, key, EPSILON)


class SqueezeExcite(nn.Module):
    """Weighs channels by what they hold on average: x * sigmoid(norm(W2 relu(norm(W1 mean(x))))). The same shape."""

    kernel_init: Initializer
    options: LayerOptions

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it to float[N, H, W, C], through round(C / 4) channels."""
        conv = lambda channels, name: ConvNorm(channels, 1, 1, self.kernel_init, self.options, name=name)
        squeezed = conv(round(x.shape[-1] / 4), "squeeze")(x.mean((1, 2), keepdims=True))
        return x * nn.sigmoid(conv(x.shape[-1], "excite")(self.options.activate(Site(name="site")(squeezed))))


class Stem(nn.Module):
    """Resizes pictures and halves them: float[N, H, W, 3] to float[N, resolution / 2, resolution / 2, channels]."""

    channels: int
    resolution: int
    kernel_init: Initializer
    options: LayerOptions

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Applies it."""
        conv = ConvNorm(self.channels, 3, 2, self.kernel_init, self.options, name="conv")
        x = self.options.activate(Site(name="site")(conv(resize(image, self.resolution))))
        return LayerOutput(name="output")(x)


class Widen(nn.Module):
    """The first third of a layer: float[N, H, W, C] to float[N, H, W, middle]."""

    middle: int
    kernel_init: Initializer
    options: LayerOptions

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        conv = ConvNorm(self.middle, 1, 1, self.kernel_init, self.options, name="conv")
        return self.options.activate(Site(name="site")(conv(x)))


class Filter(nn.Module):
    """The second third of a layer: float[N, H, W, d] to float[N, H / stride, W / stride, d].

    Attributes:
        size: k of the depthwise convolution.
        stride: of it.
        squeeze_excite: whether channels are weighed.
    """

    size: int
    stride: int
    squeeze_excite: bool
    kernel_init: Initializer
    options: LayerOptions

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        own: dict[str, Any] = {"kernel_init": self.kernel_init, "options": self.options}
        conv = ConvNorm(x.shape[-1], self.size, self.stride, **own, depthwise=True, name="conv")
        x = self.options.activate(Site(name="site")(conv(x)))
        return SqueezeExcite(**own, name="squeeze_excite")(x) if self.squeeze_excite else x


class Narrow(nn.Module):
    """The last third of a layer, with its shortcut.

    Attributes:
        out: width of what it gives out.
        stride: of the layer.
        is_first: whether the layer is the first of its stage, whose shortcut is a projection.
    """

    out: int
    stride: int
    is_first: bool
    kernel_init: Initializer
    options: LayerOptions

    @nn.compact
    def __call__(self, y: jax.Array, x: jax.Array) -> jax.Array:
        """Maps y float[N, H / stride, W / stride, d] and the layer's input x float[N, H, W, C] to float[..., out]."""
        own: dict[str, Any] = {"kernel_init": self.kernel_init, "options": self.options}
        y = ConvNorm(self.out, 1, 1, **own, name="conv")(y)
        if self.is_first:
            x = ConvNorm(self.out, 1, self.stride, **own, use_bias=True, name="shortcut")(x)
        return LayerOutput(name="output")(self.options.activate(Site(name="site")(x + y)))


class Head(nn.Module):
    """The last convolution and the classifier: float[N, H, W, C] to logits float[N, num_classes]."""

    channels: int
    num_classes: int
    kernel_init: Initializer
    options: LayerOptions

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        conv = ConvNorm(self.channels, 1, 1, self.kernel_init, self.options, name="conv")
        x = self.options.activate(Site(name="site")(conv(x)))
        x = Features(name="features")(LayerOutput(name="output")(x))
        return nn.Dense(self.num_classes, kernel_init=self.kernel_init, name="dense")(x.mean((1, 2)))


class MobileNetV2(nn.Module):
    """The network of a plan.

    Attributes:
        num_classes: width of the logits.
        squeeze_excite: whether layers weigh their channels, as the published network does.
        kernel_init: initialisation of every kernel.
        options: norm, activation, and mask on what enters a convolution.
    """

    num_classes: int = 1000
    squeeze_excite: bool = True
    kernel_init: Initializer = kaiming_uniform
    options: LayerOptions = LayerOptions()

    @nn.compact
    def __call__(self, image: jax.Array, plan: Plan) -> jax.Array:
        """Logits float[N, num_classes] of image float[N, H, W, 3], resized to the plan's resolution.

        Bilinearly, without antialias. Batch norm uses the statistics that the options says.
        """
        own: dict[str, Any] = {"kernel_init": self.kernel_init, "options": self.options}
        x = Stem(plan.stem, plan.resolution, **own, name="stem")(image)
        for layer in layers_of(plan):
            y = Widen(layer.middle, **own, name=f"{layer.name}_widen")(x)
            y = Filter(layer.kernel, layer.stride, self.squeeze_excite, **own, name=f"{layer.name}_filter")(y)
            x = Narrow(layer.outputs, layer.stride, layer.is_first, **own, name=f"{layer.name}_narrow")(y, x)
        return Head(plan.last, self.num_classes, **own, name="head")(x)

    def layer_of(self, path: Path, position: int) -> int:
        """The layer of a site, counted from 1: the stem, the seven stages, the last convolution."""
        del position
        name = path[0]
        return {"stem": 1, "head": NUM_STAGES + 2}.get(name) or int(name.removeprefix("stage")[0]) + 1


def resize(image: jax.Array, size: int) -> jax.Array:
    """float[N, H, W, C] to float[N, size, size, C], bilinear between the centres of pixels, without antialias."""
    if image.shape[1:3] == (size, size):
        return image
    return jax.image.resize(image, (len(image), size, size, image.shape[-1]), "linear", antialias=False)

"""Flax modules that convolutional networks are built of; all apply the `LayerOptions` that they hold.

A network's own blocks are subclasses of `Block`, whose methods make the layers: `self.conv("conv", 64, 3)(x)`. Axes: N
batch, H W pixels, C channels.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.nn.initializers import Initializer, kaiming_uniform
from zsnas_jax.nn.layers import conv2d, conv_transpose2d, depthwise_conv2d, rematerialised_switch
from zsnas_jax.nn.options import EPSILON, LayerOptions
from zsnas_jax.nn.probes import ConvOutput, Features, LayerOutput, NormInput, Site, slot_of, weigh
from zsnas_jax.nn.roles import Kernel, Part, Role, Roles
from zsnas_jax.nn.weights import Weight

_KERNEL = Kernel((2,), (3,), (0, 1), weighs_itself=True)


class AnySize(NamedTuple):
    """One of several sizes of a kernel, chosen at run time.

    Attributes:
        sizes: of the kernels, all different.
        place: int32[], the place of the one that is used.
    """

    sizes: tuple[int, ...]
    place: jax.Array


class Conv(nn.Module):
    """Mask and convolution. float[N, H, W, C] to float[N, H / stride, W / stride, channels], rounded up.

    A 1x1 convolution at stride 1 is a product, also of means float[N, C].

    Attributes:
        channels: D; of a depthwise convolution C.
        size: k; the picture is padded by (k - 1) / 2 * dilation. Of an `AnySize` the parameter "kernel" is a tuple, a
            kernel of each size.
        stride: the same in both directions.
        depthwise: whether each channel is filtered by itself.
        dilation: pixels from one entry of the kernel to the next; other than 1 for depthwise convolutions alone.
        transposed: whether it is the transposed convolution of size 3, which doubles H and W; its stride is not read.
        use_bias: whether a bias is added, zero at the start.
        part: what of a transformer it is, in one.
    """

    channels: int
    size: Any = 1
    stride: int = 1
    depthwise: bool = False
    dilation: int = 1
    transposed: bool = False
    use_bias: bool = False
    part: Part | None = None
    kernel_init: Initializer = kaiming_uniform
    options: LayerOptions = LayerOptions()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        key, slot = self.options.key_of(self), slot_of(self, "kernel")
        if isinstance(self.size, AnySize):
            kernels: Any = self.get_variable("params", "kernel")
            bias = self.get_variable("params", "bias") if self.use_bias else None
            branches = [functools.partial(self._convolve, size, place) for place, size in enumerate(self.size.sizes)]
            return self._show(rematerialised_switch(self.size.place, branches, x, kernels, bias, slot, constants=key))
        shape = self.weights(x.shape[-1])["kernel"].shape
        kernel: Any = self.param("kernel", self.kernel_init, shape)  # type: ignore[arg-type]
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), jnp.float32) if self.use_bias else None
        return self._show(self._convolve(self.size, 0, key, x, [kernel], bias, slot))

    @nn.nowrap
    def _convolve(self, size: int, place: int, key: Any, x: jax.Array, kernels: Any, bias: Any, slot: Any) -> jax.Array:
        """The convolution by the kernel of a place, of a size."""
        kernel = kernels[place]
        if size == 1 and self.stride > 1:
            x = x[:, :: self.stride, :: self.stride]
        x = self.options.mask(x, key)
        if size == 1:
            y = x @ kernel[0, 0]
        elif self.depthwise:
            y = depthwise_conv2d(x, kernel, self.stride, self.dilation)
        else:
            y = conv_transpose2d(x, kernel) if self.transposed else conv2d(x, kernel, self.stride)
        y = y if bias is None else y + bias
        return weigh(y, slot, kernel.size // self.channels)

    @nn.nowrap
    def _show(self, y: jax.Array) -> jax.Array:
        return ConvOutput(name="output")(y)

    @nn.nowrap
    def weights(self, inputs: int) -> dict[str, Weight]:
        """What its parameters are where so many channels enter."""
        shape = (self.size, self.size, 1 if self.depthwise else inputs, self.channels)
        bias = {"bias": Weight("Conv", Role.BIAS, (self.channels,), ())} if self.use_bias else {}
        return {"kernel": Weight("Conv", _KERNEL._replace(part=self.part), shape, ()), **bias}

    def parameter_roles(self) -> Roles:
        """What it holds."""
        return {"kernel": _KERNEL._replace(part=self.part), "bias": Role.BIAS}


class Norm(nn.Module):
    """The norm of float[N, ..., C], with scale and bias per channel; epsilon is added to the variance."""

    options: LayerOptions = LayerOptions()
    epsilon: float = EPSILON

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        probe = NormInput(name="input")
        if probe.wanted():
            probe.observe(jax.lax.stop_gradient(x).var(tuple(range(x.ndim - 1)), ddof=1), 1.0)
        draw = lambda name, init: self.param(name, init, x.shape[-1:], jnp.float32)
        scale, bias = draw("scale", nn.initializers.ones), draw("bias", nn.initializers.zeros)
        return probe.normalise(self.options, x, scale, bias, self.options.key_of(self), self.epsilon)

    @staticmethod
    @nn.nowrap
    def weights(channels: int) -> dict[str, Weight]:
        """What its parameters are."""
        of = lambda role: Weight("Norm", role, (channels,), ())
        return {"scale": of(Role.SCALE), "bias": of(Role.SHIFT)}

    def parameter_roles(self) -> Roles:
        """What it holds."""
        return {"scale": Role.SCALE, "bias": Role.SHIFT}


class Block(nn.Module, kw_only=True):
    """Base of the blocks of a network: what its kernels are drawn from, and the options of its layers.

    Attributes:
        kernel_init: initialisation of every kernel.
        options: norm, activation, and mask on what enters a convolution.
    """

    kernel_init: Initializer = kaiming_uniform
    options: LayerOptions = LayerOptions()

    @nn.nowrap
    def conv(self, name: str, channels: int, size: int | AnySize = 1, stride: int = 1, **fields: Any) -> Conv:
        """A convolution of this block; `fields` are further ones of `Conv`."""
        return Conv(channels, size, stride, kernel_init=self.kernel_init, options=self.options, name=name, **fields)

    @nn.nowrap
    def norm(self, name: str = "norm", epsilon: float = EPSILON) -> Norm:
        """A norm of this block."""
        return Norm(self.options, epsilon, name=name)

    @nn.nowrap
    def activate(self, x: jax.Array, name: str = "site") -> jax.Array:
        """The activation of what enters a response site of this block."""
        return self.activation(Site(activation=self.activation, name=name)(x))

    @nn.nowrap
    def activation(self, x: jax.Array) -> jax.Array:
        """The activation of this block."""
        return self.options.activate(x)


class Activate(Block):
    """An activation. float[N, ...] to the same."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        return self.activate(x)


class NormOnly(Block):
    """A norm. float[N, ..., C] to the same."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        return self.norm()(x)


class ActivateConvNorm(Block):
    """Activation, convolution, norm: the operation of cells. float[N, H, W, C] to float[N, H / s, W / s, channels]."""

    channels: int
    size: int = 1
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        return self.norm()(self.conv("conv", self.channels, self.size, self.stride)(self.activate(x)))


class FactorizedReduce(Block):
    """Halves a picture without a window: float[N, H, W, C] to float[N, H / 2, W / 2, channels], rounded up.

    Activation, then two 1x1 convolutions at stride 2, the first on the picture, the second on the picture without its
    first row and column, each to half of the channels; norm. Of odd H or W the activated picture has a row and a column
    of zeros appended before it is shifted.
    """

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        x = self.activate(x)
        odd = [(0, size % 2) for size in x.shape[1:3]]
        shifted = jnp.pad(x, ((0, 0), *odd, (0, 0)))[:, 1:, 1:]
        half = self.channels // 2
        y = [self.conv("conv_1", half, stride=2)(x), self.conv("conv_2", self.channels - half, stride=2)(shifted)]
        return self.norm()(jnp.concatenate(y, -1))


class Add(Block):
    """The sum of what it reads, float[N, H, W, C] each."""

    @nn.compact
    def __call__(self, *reads: jax.Array) -> jax.Array:
        """Adds."""
        return sum(reads[1:], start=reads[0])


class LayerSum(Block):
    """The end of a layer: the sum of what it reads, float[N, H, W, C] each."""

    @nn.compact
    def __call__(self, *reads: jax.Array) -> jax.Array:
        """Adds."""
        return LayerOutput(name="output")(sum(reads[1:], start=reads[0]))


class PoolDense(Block):
    """Global average pool and dense layer: float[N, H, W, C] to logits float[N, num_classes]."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        pooled = Features(name="features")(x).mean((1, 2))
        return nn.Dense(self.num_classes, kernel_init=self.kernel_init, name="dense")(pooled)

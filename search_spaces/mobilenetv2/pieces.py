"""Parts of MobileNetV2 that recur: small programs that all its networks share.

No two networks of the space have the same shapes, and compiling one takes half a minute. Yet what happens between a
layer's 1x1 convolutions happens to each channel by itself, and a 1x1 convolution is a sum over slices of its channels.
So a layer is worked on in tiles of its middle channels, whose number then is no shape; the channels of what enters and
leaves it are padded with zeros to one of `WIDTHS`; 25 image sizes remain. Zeros stay zeros: batch norm keeps a channel
of zeros, and the kernels' padding is zero, so padding adds nothing to any sum.

Axes: N batch, H W pixels, C channels, T tile.
"""

import dataclasses
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.measure.pieces import Piece, Segment
from zsnas_jax.nn.layers import conv2d, depthwise_conv2d
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.search_spaces.mobilenetv2.network import EPSILON, resize

WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""What the channels between layers are padded to."""

SQUEEZED = (128, 384, 768, 1536)
"""What the middle channels are padded to where squeeze-excite looks at all of them, and the last ones at the end."""


def padded(width: int, widths: tuple[int, ...] = WIDTHS) -> int:
    """The least of the widths that holds so many channels."""
    return next(w for w in widths if w >= width)


def tile_of(size: int) -> int:
    """T where pictures have `size` pixels along a side: smaller pictures have more channels."""
    return 32 if size > 40 else 64 if size > 20 else 128


@dataclasses.dataclass(frozen=True)
class Treated(Piece):
    """A part of a network.

    Attributes:
        options: norm and activation.
    """

    options: LayerOptions

    def norm(self, x: jax.Array) -> jax.Array:
        """The norm of float[N, H, W, C], as it is before any training."""
        channels = x.shape[-1]
        return self.options.normalise(x, jnp.ones(channels), jnp.zeros(channels), None, EPSILON)


@dataclasses.dataclass(frozen=True)
class Stem(Treated):
    """Pictures float[N, H, W, 3] to float[N, resolution / 2, resolution / 2, C]."""

    resolution: int

    def segments(self) -> tuple[Segment, ...]:
        """Convolution and norm; activation."""
        convolve = lambda kernel, image: self.norm(conv2d(resize(image, self.resolution), kernel, 2))
        return convolve, lambda _, x: self.options.activate(x)


@dataclasses.dataclass(frozen=True)
class Widen(Piece):
    """A tile of a 1x1 convolution's output: float[N, H, W, C] to float[N, H, W, T]."""

    def segments(self) -> tuple[Segment, ...]:
        """The product."""
        return (lambda kernel, x: x @ kernel,)


@dataclasses.dataclass(frozen=True)
class Filter(Treated):
    """A tile of middle channels: float[N, H, W, T] to (float[N, H / stride, W / stride, T], its mean float[N, T])."""

    stride: int

    def segments(self) -> tuple[Segment, ...]:
        """Norm; activation, depthwise convolution, norm; activation."""
        activate = self.options.activate

        def end(_: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            x = activate(x)
            return x, x.mean((1, 2))

        convolve = lambda kernel, x: self.norm(depthwise_conv2d(activate(x), kernel, self.stride))
        return lambda _, x: self.norm(x), convolve, end


@dataclasses.dataclass(frozen=True)
class Excite(Treated):
    """Squeeze-excite's weights: means float[N, D] of all middle channels to float[N, D]."""

    def segments(self) -> tuple[Segment, ...]:
        """Convolution and norm; activation, convolution, norm, sigmoid."""
        norm = lambda x: self.norm(x[:, None, None])[:, 0, 0]
        excite = lambda kernel, x: jax.nn.sigmoid(norm(self.options.activate(x) @ kernel))
        return lambda kernel, x: norm(x @ kernel), excite


@dataclasses.dataclass(frozen=True)
class Narrow(Piece):
    """What a tile adds to a 1x1 convolution: (float[N, H, W, T], its weights float[N, T]) to float[N, H, W, C]."""

    def segments(self) -> tuple[Segment, ...]:
        """The product."""
        return (lambda kernel, x: (x[0] * x[1][:, None, None]) @ kernel,)


@dataclasses.dataclass(frozen=True)
class Join(Treated):
    """A layer's end: (narrowed, shortcut), float[N, H, W, C] each, to float[N, H, W, C]."""

    projected: bool

    def segments(self) -> tuple[Segment, ...]:
        """Norms and sum; activation."""
        add = lambda _, x: self.norm(x[0]) + (self.norm(x[1]) if self.projected else x[1])
        return add, lambda _, x: self.options.activate(x)


@dataclasses.dataclass(frozen=True)
class Cut(Piece):
    """Every `stride`-th pixel in tiles of channels: float[N, H, W, C] to float[N, H / stride, W / stride, T] each."""

    stride: int
    tile: int

    def segments(self) -> tuple[Segment, ...]:
        """The slices."""

        def cut(_: Any, x: jax.Array) -> tuple[jax.Array, ...]:
            x = x[:, :: self.stride, :: self.stride]
            x = jnp.pad(x, [(0, 0)] * 3 + [(0, -x.shape[-1] % self.tile)])
            return tuple(jnp.split(x, x.shape[-1] // self.tile, axis=-1))

        return (cut,)


@dataclasses.dataclass(frozen=True)
class Pool(Treated):
    """The network's last tile: float[N, H, W, T] to its mean float[N, T]."""

    def segments(self) -> tuple[Segment, ...]:
        """Norm; activation and mean."""
        return lambda _, x: self.norm(x), lambda _, x: self.options.activate(x).mean((1, 2))


@dataclasses.dataclass(frozen=True)
class Shrink(Piece):
    """Division by the largest absolute value, which gradients take for a constant (SynFlow). The same shape."""

    def segments(self) -> tuple[Segment, ...]:
        """The quotient."""
        return (lambda _, x: x / largest(x),)


def largest(x: jax.Array) -> jax.Array:
    """The largest absolute value, float[]; 1 where all are 0."""
    value = lax.stop_gradient(jnp.abs(x).max())
    return jnp.where(value > 0, value, 1.0)


def log_largest(piece: Piece | None, x: jax.Array) -> jax.Array:
    """The logarithm of what `Shrink` divides by, float[]."""
    del piece
    return jnp.log(largest(x))

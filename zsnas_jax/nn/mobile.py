"""The blocks of mobile networks: convolutions with norm and activation, and inverted residuals.

Axes: N batch, H W pixels, C channels. Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
CVPR 2018; squeeze-excite as in Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.nn.modules import Block
from zsnas_jax.nn.options import EPSILON
from zsnas_jax.nn.probes import LayerOutput


class MobileBlock(Block, kw_only=True):
    """Base of these blocks.

    Attributes:
        ceiling: what a ReLU is cut at, 6 for ReLU6; 0: it is not. Other activations are never cut. A network with a
            ceiling is not homogeneous.
        epsilon: added to the variance by its norms.
    """

    ceiling: float = 0.0
    epsilon: float = EPSILON

    @nn.nowrap
    def activation(self, x: jax.Array) -> jax.Array:
        """The activation of this block, cut at the ceiling."""
        y = self.options.activate(x)
        return jnp.minimum(y, self.ceiling) if self.ceiling and self.options.activation == "relu" else y


class ConvNormActivate(MobileBlock):
    """Convolution, norm, activation. float[N, H, W, C] to float[N, H / stride, W / stride, channels]."""

    channels: int
    size: int = 1
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        x = self.norm(epsilon=self.epsilon)(self.conv("conv", self.channels, self.size, self.stride)(x))
        return LayerOutput(name="output")(self.activate(x))


class InvertedResidual(MobileBlock):
    """Widened, filtered channel by channel, weighed, narrowed; the input is added at stride 1 where the width stays.

    1x1 convolution, norm, activation; depthwise convolution, norm, activation; squeeze-excite; 1x1 convolution, norm.
    float[N, H, W, C] to float[N, H / stride, W / stride, channels].

    Attributes:
        channels: that leave.
        size: of the depthwise convolution.
        expansion: channels that are filtered, of each that enters; at 1 nothing is widened.
        stride: of the depthwise convolution.
        squeezed: channels through which squeeze-excite looks at the filtered ones; 0: there is none.
    """

    channels: int
    size: int
    expansion: int
    stride: int
    squeezed: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        y, middle = x, self.expansion * x.shape[-1]
        if self.expansion > 1:
            y = self.norm("expand_norm", self.epsilon)(self.conv("expand", middle)(y))
            y = self.activate(y, "expand_site")
        y = self.conv("depthwise", middle, self.size, self.stride, depthwise=True)(y)
        y = self.activate(self.norm("depthwise_norm", self.epsilon)(y), "depthwise_site")
        if self.squeezed:
            y *= self._gate(y.mean((1, 2)))[:, None, None]
        y = self.norm("project_norm", self.epsilon)(self.conv("project", self.channels)(y))
        is_added = self.stride == 1 and x.shape[-1] == self.channels
        return LayerOutput(name="output")(x + y if is_added else y)

    @nn.nowrap
    def _gate(self, mean: jax.Array) -> jax.Array:
        """What channels are weighed by: hard_sigmoid(W2 relu(W1 m + b1) + b2) of their means m, float[N, C] each."""
        squeezed = self.conv("squeeze", self.squeezed, use_bias=True)(mean)
        return nn.hard_sigmoid(
            self.conv("excite", mean.shape[-1], use_bias=True)(self.activate(squeezed, "squeeze_site"))
        )

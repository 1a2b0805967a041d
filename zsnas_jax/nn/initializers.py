"""The three initialisations of the papers and one more, for every kernel of a weight layer.

A kernel is scale(fan) times unit noise; its fan follows from the axes that its layer tells (`zsnas_jax.nn.roles`). Of
a convolution's float[k, k, C, D] fan_in is k * k * C and fan_out k * k * D; of a dense layer's float[C, D] C and D.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from types import MappingProxyType
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
from scipy import special

from zsnas_jax.base import Path
from zsnas_jax.nn.roles import Kernel
from zsnas_jax.nn.weights import Weight


class Initializer(NamedTuple):
    """A distribution of kernels; called as Flax's initialisers are.

    Attributes:
        noise: (key, shape) to unit noise.
        scale: fan, traced or not, to what the noise is multiplied by.
        is_fan_out: whether that is fan_out, else fan_in.
        to_normal: unit noise, elementwise, to noise of N(0, 1) that grows with it; None where nobody says.
    """

    noise: Callable[..., jax.Array]
    scale: Callable[[Any], Any]
    is_fan_out: bool = False
    to_normal: Callable[[Any], Any] | None = None

    def __call__(
        self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None
    ) -> jax.Array:
        """A kernel of a shape [*window, C, D], by Flax's convention; the sharding, which Flax may pass, is not used."""
        kernel = Kernel((len(shape) - 2,), (len(shape) - 1,), tuple(range(len(shape) - 2)))
        return (self.scale_of(kernel, shape) * self.noise(key, tuple(shape))).astype(dtype)

    def scale_of(self, kernel: Kernel, shape: Sequence[int]) -> Any:
        """What unit noise is multiplied by in a kernel of a shape."""
        return self.scale(kernel.fan_out(shape) if self.is_fan_out else kernel.fan_in(shape))

    def scales(self, weight: Weight, shape: Sequence[int], active: Any) -> Any:
        """What unit noise was multiplied by in a network's kernel, broadcastable to it.

        Args:
            weight: what it is.
            shape: of the network's array.
            active: which of its entries are no padding, bool broadcastable to the shape.
        """
        assert weight.kernel
        own = self.scale_of(weight.kernel, weight.shape)
        if not jnp.ndim(active):
            return own
        mask = weight.by_position(jnp.broadcast_to(active, tuple(shape)))
        rescale = functools.partial(self.rescale, weight.kernel)
        return own * weight.spread(jnp.asarray(jax.vmap(rescale)(mask)), tuple(shape))

    def rescale(self, kernel: Kernel, mask: jax.Array) -> Any:
        """What a kernel is multiplied by where only some of its entries, bool of its shape, are no padding."""
        others = kernel.inputs if self.is_fan_out else kernel.outputs
        return self.scale(mask.any((*kernel.groups, *others)).sum()) / self.scale_of(kernel, mask.shape)


def _signed_uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0)


def _normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.normal(key, shape, jnp.float32)


def _uniform_to_normal(noise: Any) -> Any:
    """The quantile of N(0, 1) at that of U(-1, 1); in numpy for numpy's arrays, so that nothing is compiled."""
    xp, erfinv = (np, special.erfinv) if isinstance(noise, np.ndarray) else (jnp, lax.erf_inv)
    largest = 1 - 2.0**-23  # float32 noise can be -1 itself, whose quantile is infinite
    return 2**0.5 * erfinv(xp.clip(noise, -largest, largest))


def _normal_to_normal(noise: Any) -> Any:
    return noise


kaiming_uniform = Initializer(_signed_uniform, lambda fan_in: fan_in**-0.5, to_normal=_uniform_to_normal)
"""U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)): PyTorch's default for its layers, and the papers' default."""

kaiming_normal = Initializer(_normal, lambda fan_in: (2 / fan_in) ** 0.5, to_normal=_normal_to_normal)
"""N(0, 2 / fan_in), 2 / fan_in being the variance."""

normal = Initializer(_normal, lambda fan_in: 1.0, to_normal=_normal_to_normal)
"""N(0, 1)."""

kaiming_fan_out = Initializer(_normal, lambda fan_out: (2 / fan_out) ** 0.5, True, _normal_to_normal)
"""N(0, 2 / fan_out), He et al., "Delving Deep into Rectifiers", ICCV 2015, Equation 14: so NAS-Bench-Suite-Zero drew
its convolutions of NAS-Bench-101, to judge by the norms that it published. Here dense layers are drawn alike."""

TABLE_DEVIATION = 0.02
"""Of the vectors of a table, N(0, 0.02^2), whatever kernels are drawn from: as vision transformers begin."""

transformer = Initializer(_normal, lambda fan_in: TABLE_DEVIATION, to_normal=_normal_to_normal)
"""N(0, 0.02^2): so AutoFormer's dense layers begin. Its patches' convolution begins with U(-a, a), a = 1 / sqrt(768),
whose deviation is .0208, and a bias drawn alike, which is zero here."""

INITIALIZERS: Mapping[str, Initializer] = MappingProxyType(
    {
        "kaiming_uniform": kaiming_uniform,
        "kaiming_normal": kaiming_normal,
        "normal": normal,
        "kaiming_fan_out": kaiming_fan_out,
        "transformer": transformer,
    }
)


def draw_kernels(key: jax.Array, params: Any, weights: Mapping[Path, Weight], initializer: Initializer) -> Any:
    """Replaces every kernel by slices of one flat draw.

    XLA compiles every separate draw for 0.3 to 0.6 s, so that those of a network take longer than its gradient; one
    flat draw costs half a second.

    Args:
        key: of the draw.
        params: a "params" collection; parameters that are no kernels stay.
        weights: what its parameters are, by path.
        initializer: the distribution.
    """
    flat = flatten_dict(params)
    kernels = {path: kernel for path in flat if (kernel := weights[path].kernel)}
    ends = np.cumsum([flat[path].size for path in kernels])
    noise = initializer.noise(key, (int(ends[-1]) if kernels else 0,))
    for (path, kernel), end in zip(kernels.items(), ends, strict=True):
        leaf, shape = flat[path], weights[path].shape
        flat[path] = initializer.scale_of(kernel, shape) * noise[end - leaf.size : end].reshape(leaf.shape)
    return unflatten_dict(flat)

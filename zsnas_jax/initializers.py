"""The three initialisations of the papers, for every kernel of a convolution or a dense layer.

A kernel is scale(fan_in) times unit noise; fan_in is k * k * C for float[..., k, k, C, D] and C for float[C, D].
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np


class Initializer(NamedTuple):
    """A distribution of kernels; called as Flax's initialisers are.

    Attributes:
        noise: (key, shape) to unit noise.
        scale: fan_in, traced or not, to what the noise is multiplied by.
    """

    noise: Callable[..., jax.Array]
    scale: Callable[[Any], Any]

    def __call__(
        self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding: Any = None
    ) -> jax.Array:
        """A kernel of a shape; the sharding, which Flax may pass, is not used."""
        return (self.scale(_fan_in(shape)) * self.noise(key, tuple(shape))).astype(dtype)

    def rescale(self, shape: Sequence[int], fan_in: Any) -> Any:
        """What a kernel of a shape is multiplied by if only so many inputs of a filter are no padding."""
        return self.scale(fan_in) / self.scale(_fan_in(shape))


def _fan_in(shape: Sequence[int]) -> int:
    return int(np.prod(shape[-4:-1]))


def _signed_uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


kaiming_uniform = Initializer(_signed_uniform, lambda fan_in: fan_in**-0.5)
"""U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)): PyTorch's default for its layers, and the papers' default."""

kaiming_normal = Initializer(jax.random.normal, lambda fan_in: (2 / fan_in) ** 0.5)
"""N(0, 2 / fan_in), 2 / fan_in being the variance."""

normal = Initializer(jax.random.normal, lambda fan_in: 1.0)
"""N(0, 1)."""

INITIALIZERS: Mapping[str, Initializer] = MappingProxyType(
    {"kaiming_uniform": kaiming_uniform, "kaiming_normal": kaiming_normal, "normal": normal}
)


def draw_kernels(key: jax.Array, params: Any, initializer: Initializer) -> Any:
    """Replaces every parameter named "kernel" by slices of one flat draw.

    XLA compiles every separate draw for 0.3 to 0.6 s, so that those of a network take longer than its gradient; one
    flat draw costs half a second.

    Args:
        key: of the draw.
        params: a "params" collection; parameters of other names stay.
        initializer: the distribution.
    """
    flat = flatten_dict(params)
    kernels = [path for path in flat if path[-1] == "kernel"]
    ends = np.cumsum([flat[path].size for path in kernels])
    noise = initializer.noise(key, (int(ends[-1]) if kernels else 0,))
    for path, end in zip(kernels, ends, strict=True):
        leaf = flat[path]
        flat[path] = initializer.scale(_fan_in(leaf.shape)) * noise[end - leaf.size : end].reshape(leaf.shape)
    return unflatten_dict(flat)

"""The three initialisations of the papers, for every kernel of a convolution or a dense layer.

fan_in is the product of all axes of the kernel but the last: k * k * C for float[k, k, C, D], C for float[C, D].
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

Initializer = Callable[..., jax.Array]


def _fan_in(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[:-1]))


def kaiming_uniform(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)): PyTorch's default for its layers, and the papers' default."""
    bound = 1 / np.sqrt(_fan_in(shape))
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def kaiming_normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """N(0, 2 / fan_in), 2 / fan_in being the variance."""
    return np.sqrt(2 / _fan_in(shape)).astype(dtype) * jax.random.normal(key, shape, dtype)


def normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """N(0, 1)."""
    return jax.random.normal(key, shape, dtype)


INITIALIZERS: Mapping[str, Initializer] = MappingProxyType(
    {"kaiming_uniform": kaiming_uniform, "kaiming_normal": kaiming_normal, "normal": normal}
)

"""Losses: what the gradients of a score are gradients of. Each is a mean over the batch; labels are any pytree.

Axes: N batch, K classes, C channels.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax

Loss = Callable[[jax.Array, Any], jax.Array]
"""(logits of any shape [N, ...], the labels of the batch) to float[]."""


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Mean of -log softmax(logits)[label]: logits float[N, K], label int[N]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


def soft_cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Mean of -sum_k label_k log softmax(logits)_k: logits and label float[N, K], each label sums to 1."""
    return optax.softmax_cross_entropy(logits, label).mean()


def pixelwise_cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Mean over pictures and pixels of -log softmax(logits)[label]: logits float[N, ..., K], label int[N, ...]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


def absolute_error(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Mean of |logits - label|: both float[N, ...]."""
    return jnp.abs(logits - label).mean()


def squared_error(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Mean of (logits - label)^2: both float[N, ...]."""
    return jnp.square(logits - label).mean()


def ssim(logits: jax.Array, label: jax.Array, *, value_range: float = 1.0) -> jax.Array:
    """1 - mean structural similarity of pictures float[N, H, W, C], H and W at least 11.

    SSIM(x, y) = (2 m_x m_y + c_1)(2 s_xy + c_2) / ((m_x^2 + m_y^2 + c_1)(s_x^2 + s_y^2 + c_2)) at every place of an
    11 x 11 Gaussian window of deviation 1.5, c_1 = (0.01 R)^2, c_2 = (0.03 R)^2.

    Args:
        logits: x.
        label: y.
        value_range: R, the span of the pictures' values.

    Raises:
        ValueError: if the pictures are smaller than the window.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    size = 11
    if logits.ndim != 4 or min(logits.shape[1:3]) < size:
        raise ValueError(f"ssim of {logits.shape}: needed are pictures [N, H, W, C] of at least {size} pixels a side")
    line = jnp.exp(-jnp.square((jnp.arange(size) - size // 2) / 1.5) / 2).astype(logits.dtype)
    line = line / line.sum()

    def blur(x: jax.Array) -> jax.Array:
        for axis in (1, 2):
            length = x.shape[axis] - size + 1
            x = sum(w * jax.lax.slice_in_dim(x, i, i + length, axis=axis) for i, w in enumerate(line))
        return x

    x, y = logits, jnp.asarray(label, logits.dtype)
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    first, second = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2
    similarity = (2 * mean_x * mean_y + first) * (2 * covariance + second)
    similarity = similarity / ((mean_x**2 + mean_y**2 + first) * (var_x + var_y + second))
    return 1 - similarity.mean()


def logit_sum(logits: jax.Array, label: Any) -> jax.Array:
    """The sum of all logits; labels are not read."""
    del label
    return logits.sum()


LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "cross_entropy": cross_entropy,
        "soft_cross_entropy": soft_cross_entropy,
        "pixelwise_cross_entropy": pixelwise_cross_entropy,
        "absolute_error": absolute_error,
        "squared_error": squared_error,
        "ssim": ssim,
    }
)
"""The losses of the tasks, by name."""

"""The operations of convolutional networks, with gradients that XLA's CPU backend runs fast.

What autodiff makes of a convolution, a batch norm or a pooling inside a conditional or a loop costs two to ten times
what it should there (perf/RESULTS.md). The rules below are the same derivatives in forms that run fast,
also on a GPU. Axes: B batch, H height, W width, C channels in, D channels out, k kernel size.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

_AXES = ("NHWC", "HWIO", "NHWC")


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, groups: int = 1, dilation: int = 1) -> jax.Array:
    pad = (kernel.shape[0] - 1) // 2 * dilation
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=_AXES,
        feature_group_count=groups,
    )


def _spread(gradient: jax.Array, stride: int, size: int) -> jax.Array:
    """Zeros between the pixels of float[B, H / stride, W / stride, D], up to float[B, size, size, D]."""
    if stride == 1:
        return gradient
    after = size - 1 - stride * (gradient.shape[1] - 1)
    spread = (0, after, stride - 1)
    return lax.pad(gradient, jnp.zeros((), gradient.dtype), ((0, 0, 0), spread, spread, (0, 0, 0)))


def _pad(x: jax.Array, kernel_size: int, dilation: int = 1) -> jax.Array:
    pad = (kernel_size - 1) // 2 * dilation
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))


def _shifts(padded: jax.Array, kernel_size: int, size: int, stride: int, dilation: int = 1) -> list[jax.Array]:
    """The k * k shifts of a padded [..., H, W, C], each [..., size / stride, size / stride, C]."""
    shifts = [(dilation * i, dilation * j) for i, j in np.ndindex(kernel_size, kernel_size)]
    return [padded[..., i : i + size : stride, j : j + size : stride, :] for i, j in shifts]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv2d(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return _convolve(x, kernel, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _input_gradient(gradient: jax.Array, kernel: jax.Array, stride: int, size: int) -> jax.Array:
    """The transposed convolution as a plain forward one: zeros between the pixels, kernel turned by 180 degrees."""
    return _convolve(_spread(gradient, stride, size), jnp.flip(kernel, (0, 1)).swapaxes(2, 3), 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(x: jax.Array, gradient: jax.Array, kernel_size: int, stride: int) -> jax.Array:
    """The product of the output's gradient with the patches of x, k * k shifts side by side.

    On a CPU sample by sample, so that the patches stay in its cache: up to three times as fast as all at once.
    """
    x, size = _pad(x, kernel_size), stride * gradient.shape[1]

    def product(x: jax.Array, gradient: jax.Array) -> jax.Array:
        patches = jnp.concatenate(_shifts(x, kernel_size, size, stride), axis=-1)
        return jnp.einsum("...hwd,...hwp->dp", gradient, patches)

    def by_sample(x: jax.Array, gradient: jax.Array) -> jax.Array:
        wide = jnp.promote_types(x.dtype, jnp.float32)  # a sum over hundreds of samples in half precision drifts
        zeros = jnp.zeros((gradient.shape[-1], kernel_size**2 * x.shape[-1]), wide)
        return lax.scan(lambda total, pair: (total + product(*pair), None), zeros, (x, gradient))[0].astype(x.dtype)

    total = lax.platform_dependent(x, gradient, cpu=by_sample, default=product)
    return total.T.reshape(kernel_size, kernel_size, x.shape[-1], gradient.shape[-1])


# All three are derivatives of one trilinear form, <conv(x, k), g> = <x, input_gradient(g, k)> =
# <k, kernel_gradient(x, g)>:
# each has the other two as its gradients, so that second derivatives run as fast as first ones.
_conv2d.defvjp(
    lambda x, kernel, stride: (_conv2d(x, kernel, stride), (x, kernel)),
    lambda stride, saved, g: (
        _input_gradient(g, saved[1], stride, saved[0].shape[1]),
        _kernel_gradient(saved[0], g, saved[1].shape[0], stride),
    ),
)
_input_gradient.defvjp(
    lambda g, kernel, stride, size: (_input_gradient(g, kernel, stride, size), (g, kernel)),
    lambda stride, _, saved, x: (
        _conv2d(x, saved[1], stride),
        _kernel_gradient(x, saved[0], saved[1].shape[0], stride),
    ),
)
_kernel_gradient.defvjp(
    lambda x, g, kernel_size, stride: (_kernel_gradient(x, g, kernel_size, stride), (x, g)),
    lambda _, stride, saved, kernel: (
        _input_gradient(saved[1], kernel, stride, saved[0].shape[1]),
        _conv2d(saved[0], kernel, stride),
    ),
)


_FEW = 2
"""Most pixels along a side of an output that is computed as two products: as a convolution XLA's CPU backend takes 40
times as long for 2x2 pixels of 512 channels, and around a single pixel it multiplies by the padding."""


def _selection(size: int, kernel_size: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """(S float32[P, Q, T], taps int[T]): S is 1 where output pixel p reads input pixel q at tap t of the kernel.

    Taps that no output pixel reads inside the picture are left out.
    """
    pixels, pad = -(-size // stride), (kernel_size - 1) // 2
    output, tap = np.indices((pixels, kernel_size))
    reads = (stride * output + tap - pad)[:, None] == np.arange(size)[:, None]
    selection = np.einsum("aiu,bjv->abijuv", reads, reads).reshape(pixels**2, size**2, kernel_size**2)
    taps = np.flatnonzero(selection.any((0, 1)))
    return selection[..., taps].astype(np.float32), taps


def _conv2d_of_few(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """sum_{q, t, c} S[p, q, t] x[b, q, c] kernel[t, c, d]: products alone, as are all its derivatives."""
    size, (*_, channels, filters) = x.shape[1], kernel.shape
    selection, taps = _selection(size, kernel.shape[0], stride)
    patches = jnp.einsum("pqt,bqc->bptc", selection.astype(x.dtype), x.reshape(len(x), -1, channels))
    matrices = kernel.reshape(-1, channels, filters)
    read = matrices if len(taps) == len(matrices) else matrices[taps]
    outputs = jnp.einsum("bptc,tcd->bpd", patches, read)
    return outputs.reshape(len(x), -(-size // stride), -(-size // stride), filters)


def conv2d(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolution with an odd square kernel, without bias, padded by (k - 1) / 2 on every side.

    Args:
        x: float[B, H, W, C], H = W.
        kernel: float[k, k, C, D].
        stride: the same in both directions.

    Returns:
        float[B, H / stride, W / stride, D], rounded up.
    """
    few = kernel.shape[0] > 1 and -(-x.shape[1] // stride) <= _FEW
    return (_conv2d_of_few if few else _conv2d)(x, kernel, stride)


def conv_transpose2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution at stride 2 with a 3x3 kernel, without bias, padding 1, output padding 1.

    The convolution of the picture with zeros between its pixels: kernels are turned by 180 degrees against those of
    frameworks that store the kernel of the convolution whose gradient this is.

    Args:
        x: float[B, H, W, C], H = W.
        kernel: float[3, 3, C, D].

    Returns:
        float[B, 2 H, 2 W, D].
    """
    return _conv2d(_spread(x, 2, 2 * x.shape[1]), kernel, 1)


@functools.partial(jax.jit, static_argnums=(2, 3), inline=True)  # traced once for all that are alike
def _filter_channels(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    """XLA's own depthwise convolution takes 25 to 40 times as long on a CPU as the sum of shifts that it is."""

    def shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
        shifts = _shifts(_pad(x, len(kernel), dilation), len(kernel), x.shape[1], stride, dilation)
        return sum(w * shift for w, shift in zip(kernel.reshape(-1, x.shape[-1]), shifts, strict=True))

    grouped = functools.partial(_convolve, stride=stride, groups=x.shape[-1], dilation=dilation)
    return lax.platform_dependent(x, kernel, cpu=shifted, default=grouped)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    return _filter_channels(x, kernel, stride, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _depthwise_input_gradient(
    gradient: jax.Array, kernel: jax.Array, stride: int, dilation: int, size: int
) -> jax.Array:
    return _filter_channels(_spread(gradient, stride, size), jnp.flip(kernel, (0, 1)), 1, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _depthwise_kernel_gradient(
    x: jax.Array, gradient: jax.Array, kernel_size: int, stride: int, dilation: int
) -> jax.Array:
    """Sums over samples and pixels of the gradient times the k * k shifts of x.

    On a CPU row by row of each picture, so that the sums so far stay in its cache: 12 to 20 times as fast as at once.
    """
    size, k = x.shape[1], kernel_size
    padded = _pad(x, k, dilation)

    def at_once(padded: jax.Array, gradient: jax.Array) -> jax.Array:
        shifts = _shifts(padded, k, size, stride, dilation)
        return jnp.stack([jnp.sum(gradient * shift, (0, 1, 2)) for shift in shifts])

    def by_row(padded: jax.Array, gradient: jax.Array) -> jax.Array:
        height, width = gradient.shape[1:3]
        spread = [(dilation * i, dilation * j) for i, j in np.ndindex(k, k)]

        def add_row(totals: Any, place: tuple[jax.Array, jax.Array], i: jax.Array) -> Any:
            rows = lax.dynamic_slice_in_dim(place[0], i * stride, dilation * (k - 1) + 1, 0)
            own = lax.dynamic_index_in_dim(place[1], i, 0, keepdims=False)
            shifted = [rows[down, right : right + stride * (width - 1) + 1 : stride] for down, right in spread]
            return [total + own * shift for total, shift in zip(totals, shifted, strict=True)]

        def add_sample(totals: Any, place: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
            row = lambda totals, i: (add_row(totals, place, i), None)
            return lax.scan(row, totals, jnp.arange(height))[0], None

        wide = jnp.promote_types(x.dtype, jnp.float32)  # a sum over hundreds of samples in half precision drifts
        zeros = [jnp.zeros((width, x.shape[-1]), wide)] * k**2
        totals = lax.scan(add_sample, zeros, (padded, gradient))[0]
        return jnp.stack([total.sum(0) for total in totals]).astype(x.dtype)

    products = lax.platform_dependent(padded, gradient, cpu=by_row, default=at_once)
    return products.reshape(k, k, 1, x.shape[-1])


# Derivatives of one trilinear form, as those of `_conv2d` are.
_depthwise.defvjp(
    lambda x, kernel, *how: (_depthwise(x, kernel, *how), (x, kernel)),
    lambda stride, dilation, saved, g: (
        _depthwise_input_gradient(g, saved[1], stride, dilation, saved[0].shape[1]),
        _depthwise_kernel_gradient(saved[0], g, len(saved[1]), stride, dilation),
    ),
)
_depthwise_input_gradient.defvjp(
    lambda g, kernel, *how: (_depthwise_input_gradient(g, kernel, *how), (g, kernel)),
    lambda stride, dilation, _, saved, x: (
        _depthwise(x, saved[1], stride, dilation),
        _depthwise_kernel_gradient(x, saved[0], len(saved[1]), stride, dilation),
    ),
)
_depthwise_kernel_gradient.defvjp(
    lambda x, g, *how: (_depthwise_kernel_gradient(x, g, *how), (x, g)),
    lambda _, stride, dilation, saved, kernel: (
        _depthwise_input_gradient(saved[1], kernel, stride, dilation, saved[0].shape[1]),
        _depthwise(saved[0], kernel, stride, dilation),
    ),
)


def depthwise_conv2d(x: jax.Array, kernel: jax.Array, stride: int = 1, dilation: int = 1) -> jax.Array:
    """Convolution of each channel by itself with an odd square kernel, without bias.

    Args:
        x: float[B, H, W, C], H = W, padded by (k - 1) / 2 * dilation on every side.
        kernel: float[k, k, 1, C].
        stride: the same in both directions.
        dilation: pixels from one entry of the kernel to the next.

    Returns:
        float[B, H / stride, W / stride, C], rounded up.
    """
    return _depthwise(x, kernel, stride, dilation)


def _normalise(x: jax.Array, epsilon: float) -> tuple[jax.Array, jax.Array]:
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    variance = jnp.maximum(jnp.square(x).mean(axes) - jnp.square(mean), 0.0)  # rounding can make it negative
    inverse = lax.rsqrt(variance + epsilon)
    return (x - mean) * inverse, inverse


def batch_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Batch normalisation by the statistics of the batch itself, as in training.

    y = scale (x - mean) / sqrt(var + epsilon) + bias, mean and population variance per channel over all other axes.

    Args:
        x: float[B, ..., C].
        scale: float[C].
        bias: float[C].
        epsilon: added to the variance.

    Returns:
        float[B, ..., C].
    """
    axes = tuple(range(x.ndim - 1))

    @jax.custom_vjp
    def run(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        return _normalise(x, epsilon)[0] * scale + bias

    def forward(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[jax.Array, Any]:
        normal, inverse = _normalise(x, epsilon)
        return normal * scale + bias, (normal, inverse, scale)

    def backward(residuals: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        normal, inverse, scale = residuals
        along = (gradient * normal).mean(axes)
        flat = gradient.mean(axes)
        count = gradient.size // gradient.shape[-1]
        return inverse * scale * (gradient - flat - normal * along), along * count, flat * count

    run.defvjp(forward, backward)
    return run(x, scale, bias)


def _window_sum(x: jax.Array) -> jax.Array:
    size = x.shape[1]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = x[:, :size] + x[:, 1 : size + 1] + x[:, 2:]
    return x[:, :, :size] + x[:, :, 1 : size + 1] + x[:, :, 2:]


def _window_count(size: int, dtype: Any) -> np.ndarray:
    """[1, H, W, 1]: pixels under a 3x3 window; made by numpy, or XLA would fold it for seconds."""
    line = np.convolve(np.ones(size, np.float32), np.ones(3, np.float32), "same") if size > 2 else np.full(size, size)
    return np.outer(line, line).astype(dtype)[None, :, :, None]


@jax.custom_vjp
def _avg_pool_3x3(x: jax.Array) -> jax.Array:
    return _window_sum(x) / _window_count(x.shape[1], x.dtype)


_avg_pool_3x3.defvjp(
    lambda x: (_avg_pool_3x3(x), None),
    lambda _, gradient: (_window_sum(gradient / _window_count(gradient.shape[1], gradient.dtype)),),
)


def avg_pool_3x3(x: jax.Array, stride: int = 1) -> jax.Array:
    """3x3 average pooling; pixels outside the picture are not counted.

    Maps float[B, H, W, C], H = W, to float[B, H / stride, W / stride, C], rounded up.
    """
    return _avg_pool_3x3(x)[:, ::stride, ::stride]


def avg_pool_2x2(x: jax.Array) -> jax.Array:
    """2x2 average pooling at stride 2. float[B, H, W, C] to float[B, H / 2, W / 2, C], H and W even."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """2x2 max pooling at stride 2. float[B, H, W, C] to float[B, H / 2, W / 2, C], H and W even."""
    x = _larger(x[:, ::2], x[:, 1::2])
    return _larger(x[:, :, ::2], x[:, :, 1::2])


def max_pool_3x3(x: jax.Array, stride: int = 1) -> jax.Array:
    """3x3 max pooling; pixels outside the picture do not count.

    Maps float[B, H, W, C] to float[B, H / stride, W / stride, C], rounded up.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        pads = [(1, 1) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(x, pads, constant_values=-jnp.inf)
        shifted = [lax.slice_in_dim(padded, i, i + size, stride, axis) for i in range(3)]
        x = _larger(_larger(shifted[0], shifted[1]), shifted[2])
    return x


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    """max(a, b) whose gradient goes to one of them only: to the first, of equal ones."""
    return jnp.where(a >= b, a, b)


def rematerialised_switch(
    index: jax.Array,
    branches: Sequence[Callable[..., Any]],
    *operands: Any,
    constants: Any = None,
    has_aux: bool = False,
) -> Any:
    """`lax.switch` that saves its operands only and runs the chosen branch again on the way back.

    The residuals of an ordinary switch are the union over its branches, filled with zeros: at 64x32x32x16 writing
    them costs more than a 1x1 convolution.

    Args:
        index: int32[], the branch to run.
        branches: functions (constants, *operands), all with outputs of the same shapes and dtypes.
        *operands: pytrees of float arrays.
        constants: a pytree that nothing is differentiated by, for example random keys.
        has_aux: whether branches return (value, aux); nothing is differentiated through aux.

    Returns:
        What the chosen branch returns.
    """

    @jax.custom_vjp
    def run(index: jax.Array, constants: Any, *operands: Any) -> Any:
        return lax.switch(index, branches, constants, *operands)

    def backward(residuals: Any, gradient: Any) -> Any:
        index, constants, operands = residuals
        gradient = gradient[0] if has_aux else gradient
        value = lambda branch, c, *o: branch(c, *o)[0] if has_aux else branch(c, *o)
        pullbacks = [
            lambda c, o, g, branch=branch: jax.vjp(lambda *o: value(branch, c, *o), *o)[1](g) for branch in branches
        ]
        return None, None, *lax.switch(index, pullbacks, constants, operands, gradient)

    run.defvjp(lambda index, constants, *o: (run(index, constants, *o), (index, constants, o)), backward)
    return run(index, constants, *operands)


def resize(image: jax.Array, size: int) -> jax.Array:
    """float[N, H, W, C] to float[N, size, size, C], bilinear between the centres of pixels, without antialias."""
    if image.shape[1:3] == (size, size):
        return image
    return jax.image.resize(image, (len(image), size, size, image.shape[-1]), "linear", antialias=False)

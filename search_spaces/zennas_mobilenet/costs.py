"""What a MobileNet-like network of ZenNAS costs, counted from genotypes int[..., 15, 6]; numpy in, numpy out.

The network is that of the papers' searches, without squeeze-excite.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.zennas_mobilenet.genotype import (
    BOTTLENECK,
    EXPANSION,
    KERNEL,
    LAYERS,
    NUM_ROWS,
    OUT,
    STRIDE,
)
from zsnas_jax.search_spaces.zennas_mobilenet.network import LAST


def _columns(arch: Any, dtype: Any) -> tuple[Any, ...]:
    """Of the blocks (e, k, stride, sub-layers, width, bottleneck, channels that enter), [..., 14]; of the end width."""
    xp = jnp if isinstance(arch, jax.Array) else np
    arch = xp.asarray(arch).astype(dtype)
    fields = [arch[..., 1:, field] for field in (EXPANSION, KERNEL, STRIDE, LAYERS, OUT, BOTTLENECK)]
    is_last = (arch[..., LAYERS] > 0).sum(-1)[..., None] == np.arange(1, NUM_ROWS + 1)
    return (*fields, arch[..., :-1, OUT], (arch[..., OUT] * is_last).sum(-1))


def num_params(arch: Any, num_classes: int = 1000) -> Any:
    """Trainable parameters, norms' and biases included, int[...]."""
    e, k, _, layers, out, narrow, entering, width = _columns(
        arch, np.int32 if isinstance(arch, jax.Array) else np.int64
    )

    def residual(c: Any, d: Any, projected: Any) -> Any:
        return (c + k * k + d + 4) * e * d + 2 * d + projected * (c + 3) * d

    onward = residual(narrow, out, narrow != out)
    first = residual(entering, narrow, True) + onward
    later = residual(out, narrow, narrow != out) + onward
    blocks = (layers > 0) * first + (layers - 1) * (layers > 0) * later
    stem = arch[..., 0, OUT]
    return (27 + 2) * stem + blocks.sum(-1) + (width + 2) * LAST + (LAST + 1) * num_classes


def num_flops(arch: Any, num_classes: int = 1000, image_size: int = 224, *, as_published: bool = False) -> Any:
    """Multiply-adds of one picture, of convolutions and the dense layer; sizes are rounded up.

    Exact, int64[...], for numpy; float32[...], to rounding, for jax arrays, since an int32 may not hold them.

    Args:
        arch: int[..., 15, 6].
        num_classes: width of the logits.
        image_size: pixels along a side.
        as_published: as the papers' code counts, with one for every value that a norm gives out, and a strided
            projection at (r / stride)^2 pixels, r those along a side of its output.
    """
    traced = isinstance(arch, jax.Array)
    xp = jnp if traced else np
    e, k, stride, layers, out, narrow, entering, width = _columns(arch, jnp.float32 if traced else np.int64)
    sizes = [xp.full(entering.shape[:-1], -(-image_size // 2), entering.dtype)]
    for place in range(NUM_ROWS - 1):
        sizes.append(-(-sizes[-1] // xp.maximum(stride[..., place], 1)))
    before, behind = xp.stack(sizes[:-1], -1) ** 2, xp.stack(sizes[1:], -1) ** 2
    norm = 1 if as_published else 0

    def residual(c: Any, d: Any, pixels: Any, projected: Any) -> Any:
        return (
            ((c + norm) * pixels + (k * k + norm + d) * behind) * e * d + norm * d * behind + projected * (c + norm) * d
        )

    onward = residual(narrow, out, behind, (narrow != out) * behind)
    across = behind / xp.maximum(stride, 1) ** 2 if as_published else behind
    first = residual(entering, narrow, before, across) + onward
    later = residual(out, narrow, behind, (narrow != out) * behind) + onward
    blocks = (layers > 0) * first + (layers - 1) * (layers > 0) * later
    stem = arch[..., 0, OUT] * (27 + norm) * sizes[0] ** 2
    return stem + blocks.sum(-1) + (width + norm) * LAST * sizes[-1] ** 2 + LAST * num_classes


def num_convolutions(arch: Any) -> Any:
    """Convolutions on the longest path, shortcuts excluded, int[...]: the stem, the last, six of a sub-layer."""
    return 2 + 6 * arch[..., 1:, LAYERS].sum(-1)

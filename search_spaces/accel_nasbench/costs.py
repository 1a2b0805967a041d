"""What an Accel-NASBench network costs, counted from genotypes int[..., 7, 4]; numpy in, numpy out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.accel_nasbench.genotype import values_of
from zsnas_jax.search_spaces.accel_nasbench.network import INPUTS, LAST, STEM, STRIDES, WIDTHS, squeezed_of

_INPUTS, _WIDTHS = np.array(INPUTS), np.array(WIDTHS)


def _squeezed(inputs: np.ndarray) -> np.ndarray:
    return np.array([squeezed_of(int(width)) for width in inputs])


def num_params(arch: Any, num_classes: int = 1000) -> Any:
    """Trainable parameters, all biases and batch norm's included, int[...]."""
    e, k, layers, se = values_of(arch)

    def layer(c: np.ndarray) -> Any:
        middle, squeezed, d = e * c, _squeezed(c), _WIDTHS
        excite = se * (2 * middle * squeezed + middle + squeezed)
        return (e > 1) * (c + 2) * middle + (k * k + 2 + d) * middle + excite + 2 * d

    stages = layer(_INPUTS) + (layers - 1) * layer(_WIDTHS)
    return (27 + 2) * STEM + stages.sum(-1) + (WIDTHS[-1] + 2) * LAST + (LAST + 1) * num_classes


def num_flops(arch: Any, num_classes: int = 1000, image_size: int = 224, *, as_published: bool = False) -> Any:
    """Multiply-adds of one picture, of convolutions and the dense layer; sizes are rounded up.

    Exact, int64[...], for numpy; float32[...], to rounding, for jax arrays, since an int32 may not hold them.

    Args:
        arch: int[..., 7, 4].
        num_classes: width of the logits.
        image_size: pixels along a side.
        as_published: counts as the table's macs do, which add four for every value that a batch norm gives out, and
            one for every value that enters or leaves an average pool.
    """
    wide = jnp.float32 if isinstance(arch, jax.Array) else np.int64
    e, k, layers, se = (field.astype(wide) for field in values_of(arch))
    sizes = [-(-image_size // 2)]
    for stride in STRIDES:
        sizes.append(-(-sizes[-1] // stride))
    before, behind, last = np.square(sizes[:-1]), np.square(sizes[1:]), sizes[-1] ** 2
    norm, pool = (4, 1) if as_published else (0, 0)

    def layer(c: np.ndarray, pixels: np.ndarray) -> Any:
        middle, squeezed, d = e * c, _squeezed(c), _WIDTHS
        excite = se * (2 * middle * squeezed + pool * middle * (behind + 1))
        widen = (e > 1) * (c + norm) * middle * pixels
        return widen + (k * k + norm + d) * middle * behind + excite + norm * d * behind

    stages = layer(_INPUTS, before) + (layers - 1) * layer(_WIDTHS, behind)
    stem = (27 + norm) * STEM * sizes[0] ** 2
    head = (WIDTHS[-1] + norm) * LAST * last + pool * LAST * (last + 1) + LAST * num_classes
    return stem + stages.sum(-1) + head


def num_convolutions(arch: Any) -> Any:
    """Convolutions on the longest path, int[...]: the stem, the last, two or three of a layer; no squeeze-excite's."""
    e, _, layers, _ = values_of(arch)
    return 2 + (layers * (2 + (e > 1))).sum(-1)

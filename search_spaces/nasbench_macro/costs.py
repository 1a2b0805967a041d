"""What a NAS-Bench-Macro network costs, counted from genotypes int[..., 8]; numpy in, numpy out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.nasbench_macro.network import EXPANSIONS, KERNELS, LAST, STEM, WIDTHS

_WIDTHS = np.array(WIDTHS)
_INPUTS = np.array((STEM, *WIDTHS[:-1]))
_STRIDES = np.where(_INPUTS == _WIDTHS, 1, 2)


def _by_choice(arch: Any, identity: Any, residual: Any) -> Any:
    """The sum over layers of what each choice costs, int[..., 8] each: of an identity, of (k, t)."""
    every = np.stack([identity, *(residual(k, t) for k, t in zip(KERNELS[1:], EXPANSIONS[1:], strict=True))], -1)
    if isinstance(arch, jax.Array):
        return jnp.asarray(every)[np.arange(len(WIDTHS)), arch].sum(-1)
    return every[np.arange(len(WIDTHS)), np.asarray(arch)].sum(-1)


def num_params(arch: Any, num_classes: int = 10) -> Any:
    """Trainable parameters, batch norm's and the classifier's bias included, int[...]."""
    c, d, moves = _INPUTS, _WIDTHS, _STRIDES == 2
    identity = moves * (c * d + 2 * d)
    residual = lambda k, t: (c + 2 + k * k + 2) * t * c + t * c * d + 2 * d
    fixed = 27 * STEM + 2 * STEM + WIDTHS[-1] * LAST + 2 * LAST + (LAST + 1) * num_classes
    return fixed + _by_choice(arch, identity, residual)


def num_flops(arch: Any, num_classes: int = 10, image_size: int = 32) -> Any:
    """Multiply-adds of one picture, of convolutions and the dense layer only, int[...]; sizes are rounded up."""
    sizes = [image_size]
    for stride in _STRIDES:
        sizes.append(-(-sizes[-1] // int(stride)))
    before, behind, moves = np.square(sizes[:-1]), np.square(sizes[1:]), _STRIDES == 2
    c, d = _INPUTS, _WIDTHS
    residual = lambda k, t: (c * before + k * k * behind + d * behind) * t * c
    fixed = 27 * STEM * image_size**2 + WIDTHS[-1] * LAST * behind[-1] + LAST * num_classes
    return fixed + _by_choice(arch, moves * c * d * behind, residual)


def num_convolutions(arch: Any) -> Any:
    """Convolutions on the longest path, int[...]: the stem, the last, three of an inverted residual, the identities'.

    An identity that changes the shape has one.
    """
    return 2 + _by_choice(arch, np.where(_STRIDES == 2, 1, 0), lambda k, t: np.full(len(WIDTHS), 3))

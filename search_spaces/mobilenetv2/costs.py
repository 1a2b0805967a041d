"""What the network of a MobileNetV2 genotype costs, counted from genotypes int[..., 45]; numpy in, numpy out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.mobilenetv2.genotype import Values, values_of


def _sizes(values: Values) -> tuple[Any, Any]:
    """(channels that enter each stage, pixels along a side of what it gives out), int[..., 7] each."""
    xp = jnp if isinstance(values.out, jax.Array) else np
    entering = xp.concatenate([values.stem[..., None], values.out[..., :-1]], -1)
    return entering, values.resolution[..., None] // 2 // xp.cumprod(values.stride, -1)


def num_params(arch: Any, num_classes: int = 1000) -> Any:
    """Trainable parameters of the network of a genotype, norms' and the classifier's bias included, int[...]."""
    v = values_of(arch)
    entering, _ = _sizes(v)
    middle = v.bottleneck * v.expansion
    squeezed = middle // 4
    # expand, depthwise, squeeze, excite, project: weights, and two for every channel of their norms
    shared = (v.kernel**2 + 2 * squeezed) * middle + 2 * (3 * middle + squeezed)
    layer = lambda inputs: shared + inputs * middle + middle * v.out + 2 * v.out
    stages = layer(entering) + entering * v.out + 3 * v.out + (v.layers - 1) * layer(v.out)
    last = v.out[..., -1] * v.last + 2 * v.last + (v.last + 1) * num_classes
    return 27 * v.stem + 2 * v.stem + stages.sum(-1) + last


def num_flops(arch: Any, num_classes: int = 1000, image_size: int = 0, *, as_published: bool = False) -> Any:
    """Multiply-adds of one image by the rule of the paper's code, which counts norms and gates too.

    A convolution k^2 C_in C_out r^2 / groups, a norm C r^2, squeeze-excite 2 C s + C + C r^2 with s = C / 4, the dense
    layer; r the pixels along a side of its output.

    Exact, int64[...], for numpy; float32[...], to rounding, for jax arrays, since an int32 may not hold them.

    Args:
        arch: int[..., 45].
        num_classes: width of the logits.
        image_size: is not read: the network resizes its pictures to the genotype's resolution.
        as_published: counts a strided shortcut at (r / stride)^2 pixels, as the paper did (591.710 M for its Table 11,
            which has 597.447 M).
    """
    del image_size
    v = values_of(arch)
    wide = jnp.float32 if isinstance(v.out, jax.Array) else np.int64
    entering, size = _sizes(v)
    big = lambda x: x.astype(wide)
    pixels, before = big(size) ** 2, big(size * v.stride) ** 2
    middle, squeezed, out = big(v.bottleneck * v.expansion), big(v.bottleneck * v.expansion // 4), big(v.out)
    # depthwise, its norm, squeeze-excite, and the projection with its norm see the pixels behind the stride
    behind = ((v.kernel**2 + 2) * middle + middle * out + out) * pixels + 2 * middle * squeezed + middle
    layer = lambda inputs, pixels_in: (big(inputs) + 1) * middle * pixels_in + behind
    shortcut = (big(entering) + 1) * out * (big(size) / v.stride if as_published else big(size)) ** 2
    stages = layer(entering, before) + shortcut + big(v.layers - 1) * layer(v.out, pixels)
    stem, last = big(v.stem) * (27 + 1) * big(v.resolution // 2) ** 2, big(v.last)
    return stem + stages.sum(-1) + (out[..., -1] + 1) * last * pixels[..., -1] + last * num_classes

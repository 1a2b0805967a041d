"""RandAugment (Cubuk et al., NeurIPS 2020), as timm's "rand-m9-mstd0.5-inc1" has it, on AutoAugment's operations.

Two of fifteen operations are drawn, each alike, the same twice included. Each is applied with probability 1/2, at a
magnitude m ~ N(9, 0.5), cut to [0, 10], of which m / 10 is the share of its strongest; a direction is drawn, too. All
grow stronger with m, unlike in the paper, where some grow weaker.

What the operations do at m is told from memory of timm. Known deviations: translations are by whole pixels, and
Posterize leaves one bit at m = 10, where timm leaves none, a black picture.
"""

from collections.abc import Callable, Mapping
import math
from types import MappingProxyType

import numpy as np
from PIL import Image

from zsnas_jax.training import autoaugment
from zsnas_jax.training.autoaugment import TRANSLATED, Operation

_COUNT, _PROBABILITY = 2, 0.5  # of operations, and that one is applied
_MAGNITUDE, _DEVIATION, _MOST = 9, 0.5, 10


def _solarize_add(picture: Image.Image, share: float, sign: int) -> Image.Image:
    """Adds up to 110 to the dark half of the values."""
    del sign
    return picture.point(lambda value: value + int(110 * share) if value < 128 else value)


_SHARES: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        **dict.fromkeys(("AutoContrast", "Equalize", "Invert", "Rotate", "SolarizeAdd"), lambda share: share),
        **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY"), lambda share: share),
        **dict.fromkeys(("TranslateX", "TranslateY"), lambda share: 0.45 / TRANSLATED * share),
        # From 4 bits down to 1, where AutoAugment goes from 8 to 4.
        "Posterize": lambda share: 1 + min(math.floor(4 * share), 3) / 4,
        "Solarize": lambda share: math.floor(256 * share) / 256,
    }
)
"""Share of RandAugment to the share that AutoAugment's operation of the name is called with."""


def make_operations(fill: tuple[int, int, int]) -> Mapping[str, Operation]:
    """The fifteen operations by name; `fill` is the colour of what comes in from outside."""
    own = {**autoaugment.make_operations(fill, Image.Resampling.BICUBIC), "SolarizeAdd": _solarize_add}
    return MappingProxyType({name: own[name] for name in _SHARES})


def apply(rng: np.random.Generator, picture: np.ndarray, operations: Mapping[str, Operation]) -> np.ndarray:
    """Two random operations, of those of `make_operations`, on a picture uint8[H, W, 3]."""
    image, names = Image.fromarray(picture), list(operations)
    for place in rng.integers(len(names), size=_COUNT):
        magnitude = min(max(rng.normal(_MAGNITUDE, _DEVIATION), 0), _MOST)
        sign = 1 if rng.random() < 0.5 else -1
        if rng.random() < _PROBABILITY:
            image = operations[names[place]](image, _SHARES[names[place]](magnitude / _MOST), sign)
    return np.asarray(image)

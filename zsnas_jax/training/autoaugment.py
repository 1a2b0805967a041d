"""AutoAugment (Cubuk et al., CVPR 2019): the policies found for CIFAR-10 and ImageNet, on Pillow's operations.

A picture goes through one of 25 sub-policies, each of two operations with a probability and a magnitude from 0 to 9.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Step = tuple[str, float, int]
"""(operation, probability, magnitude)."""
Policy = tuple[tuple[Step, Step], ...]

TRANSLATED = 150 / 331
"""The share of a side by which the strongest translation moves."""

_LEVELS = 9  # magnitudes are shares of it


Operation = Callable[[Image.Image, float, int], Image.Image]
"""(picture, magnitude as a share, sign) to the picture; those without a direction do not read the sign."""


def make_operations(fill: tuple[int, int, int], resample: Image.Resampling) -> Mapping[str, Operation]:
    """The operations by name; `fill` is the colour of what comes in from outside, `resample` how pixels are moved."""

    def affine(picture: Image.Image, *coefficients: float) -> Image.Image:
        return picture.transform(picture.size, Image.Transform.AFFINE, coefficients, resample, fillcolor=fill)

    return MappingProxyType(
        {
            "ShearX": lambda picture, share, sign: affine(picture, 1, sign * 0.3 * share, 0, 0, 1, 0),
            "ShearY": lambda picture, share, sign: affine(picture, 1, 0, 0, sign * 0.3 * share, 1, 0),
            "TranslateX": lambda picture, share, sign: affine(
                picture, 1, 0, sign * round(TRANSLATED * share * picture.width), 0, 1, 0
            ),
            "TranslateY": lambda picture, share, sign: affine(
                picture, 1, 0, 0, 0, 1, sign * round(TRANSLATED * share * picture.height)
            ),
            "Rotate": lambda picture, share, sign: picture.rotate(sign * 30 * share, resample, fillcolor=fill),
            "Color": lambda picture, share, sign: ImageEnhance.Color(picture).enhance(1 + sign * 0.9 * share),
            "Contrast": lambda picture, share, sign: ImageEnhance.Contrast(picture).enhance(1 + sign * 0.9 * share),
            "Brightness": lambda picture, share, sign: ImageEnhance.Brightness(picture).enhance(1 + sign * 0.9 * share),
            "Sharpness": lambda picture, share, sign: ImageEnhance.Sharpness(picture).enhance(1 + sign * 0.9 * share),
            "Posterize": lambda picture, share, sign: ImageOps.posterize(picture, 8 - round(4 * share)),
            "Solarize": lambda picture, share, sign: ImageOps.solarize(picture, round(256 * (1 - share))),
            "AutoContrast": lambda picture, share, sign: ImageOps.autocontrast(picture),
            "Equalize": lambda picture, share, sign: ImageOps.equalize(picture),
            "Invert": lambda picture, share, sign: ImageOps.invert(picture),
        }
    )


_OPERATIONS = make_operations((128, 128, 128), Image.Resampling.NEAREST)

CIFAR10: Policy = (
    (("Invert", 0.1, 7), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 8), ("Equalize", 0.9, 2)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 5), ("Equalize", 0.5, 1)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 7), ("AutoContrast", 0.4, 8)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 3)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 8), ("Equalize", 0.6, 4)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 6)),
    (("AutoContrast", 0.8, 4), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 3)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 2), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 8), ("Invert", 0.1, 3)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 1)),
)

IMAGENET: Policy = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 4), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 7)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, 2)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 8), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 2)),
    (("Equalize", 0.0, 7), ("Equalize", 0.8, 8)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 8)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 9)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 3)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
)


def apply(rng: np.random.Generator, picture: np.ndarray, policy: Policy) -> np.ndarray:
    """One random sub-policy of a policy on a picture uint8[H, W, 3]; directions are drawn, too."""
    image = Image.fromarray(picture)
    for name, probability, magnitude in policy[rng.integers(len(policy))]:
        sign = 1 if rng.random() < 0.5 else -1
        if rng.random() < probability:
            image = _OPERATIONS[name](image, magnitude / _LEVELS, sign)
    return np.asarray(image)

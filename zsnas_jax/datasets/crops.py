"""Cutting and resizing pictures uint8[H, W, 3], by Pillow."""

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels."""


def resize(picture: np.ndarray, size: int, box: Box | None = None) -> np.ndarray:
    """A part of a picture, or all of it, bicubically resized to size x size."""
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC, box=box))


def centre_crop(picture: np.ndarray, size: int, share: float = 0.875) -> np.ndarray:
    """The middle of a picture, `share` of its shorter side, as size x size; one of that size already is left alone."""
    height, width = picture.shape[:2]
    if (height, width) == (size, size):
        return picture
    side = share * min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return resize(picture, size, (left, top, left + side, top + side))

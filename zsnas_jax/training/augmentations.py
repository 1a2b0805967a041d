"""Random changes of single pictures: functions of (generator, picture uint8[H, W, 3]) to uint8[H, W, 3].

A user's own is any such function. What `cutout` takes out has the mean colour, which is 0 to the network.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import functools
import math
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from zsnas_jax.datasets.crops import centre_crop, resize
from zsnas_jax.training import autoaugment, randaugment

Augmentation = Callable[[np.random.Generator, np.ndarray], np.ndarray]


class Frame(NamedTuple):
    """What augmentations have to know of the pictures: pixels along a side, mean and deviation float[3] in [0, 1]."""

    size: int
    mean: np.ndarray
    std: np.ndarray

    @property
    def fill(self) -> np.ndarray:
        """The mean colour, uint8[3]."""
        return np.round(255 * np.asarray(self.mean)).astype(np.uint8)


def flip(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Mirrors left and right with probability 1/2."""
    return picture[:, ::-1] if rng.random() < 0.5 else picture


def crop(rng: np.random.Generator, picture: np.ndarray, pad: int) -> np.ndarray:
    """A random part of the picture's size, of the picture padded with black by `pad` pixels."""
    height, width = picture.shape[:2]
    top, left = rng.integers(0, 2 * pad + 1, 2)
    # np.pad would take five times as long, and crops decide how fast pictures come.
    padded = np.zeros((height + 2 * pad, width + 2 * pad, picture.shape[2]), picture.dtype)
    padded[pad : pad + height, pad : pad + width] = picture
    return padded[top : top + height, left : left + width]


def _draw_sizes(
    rng: np.random.Generator, pixels: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Iterator[tuple[int, int]]:
    """Up to ten random (width, height): a share of the pixels between those of scale, proportions between ratio's."""
    for _ in range(10):
        area = pixels * rng.uniform(*scale)
        proportion = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        yield round(math.sqrt(area * proportion)), round(math.sqrt(area / proportion))


def resized_crop(
    rng: np.random.Generator,
    picture: np.ndarray,
    size: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """A random part of random area and proportions, resized to size x size; the middle, if ten draws do not fit."""
    height, width = picture.shape[:2]
    for w, h in _draw_sizes(rng, height * width, scale, ratio):
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
            return resize(picture, size, (left, top, left + w, top + h))
    return centre_crop(picture, size, share=1.0)


_LIGHT = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]) * np.array(
    [0.2175, 0.0188, 0.0045]
)
"""Principal components of ImageNet's colours, a column each, times their deviations (Krizhevsky et al., 2012)."""


def lighting(rng: np.random.Generator, picture: np.ndarray, std: float = 0.1) -> np.ndarray:
    """Adds a random colour along the principal components of ImageNet's, N(0, std) of each component's deviation."""
    shift = 255 * _LIGHT @ rng.normal(0, std, 3)
    return np.clip(np.round(picture + shift), 0, 255).astype(np.uint8)


def cutout(rng: np.random.Generator, picture: np.ndarray, length: int, fill: np.ndarray) -> np.ndarray:
    """Fills a square around a random pixel, as much of it as lies inside (DeVries and Taylor, 2017)."""
    height, width = picture.shape[:2]
    y, x = rng.integers(height), rng.integers(width)
    top, left = max(0, y - length // 2), max(0, x - length // 2)
    picture = picture.copy()
    picture[top : y + length // 2, left : x + length // 2] = fill
    return picture


def erasing(
    rng: np.random.Generator,
    picture: np.ndarray,
    frame: Frame,
    probability: float = 0.25,
    scale: tuple[float, float] = (0.02, 1 / 3),
) -> np.ndarray:
    """Random erasing (Zhong et al., 2020): fills a random rectangle with normal noise of the data's mean and deviation.

    Noise is clipped to what a byte holds.
    """
    if rng.random() >= probability:
        return picture
    height, width = picture.shape[:2]
    for w, h in _draw_sizes(rng, height * width, scale, ratio=(0.3, 1 / 0.3)):
        if 0 < w < width and 0 < h < height:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            noise = frame.mean + frame.std * rng.standard_normal((h, w, 3))
            picture = picture.copy()
            picture[top : top + h, left : left + w] = np.clip(255 * noise, 0, 255).astype(np.uint8)
            return picture
    return picture


AUGMENTATIONS: Mapping[str, Callable[[Frame], Augmentation]] = MappingProxyType(
    {
        "flip": lambda frame: flip,
        "crop": lambda frame: functools.partial(crop, pad=frame.size // 8),
        "cutout": lambda frame: functools.partial(cutout, length=frame.size // 2, fill=frame.fill),
        "resized_crop": lambda frame: functools.partial(resized_crop, size=frame.size),
        "lighting": lambda frame: lighting,
        "autoaugment_cifar10": lambda frame: functools.partial(autoaugment.apply, policy=autoaugment.CIFAR10),
        "autoaugment_imagenet": lambda frame: functools.partial(autoaugment.apply, policy=autoaugment.IMAGENET),
        "randaugment": lambda frame: functools.partial(
            randaugment.apply, operations=randaugment.make_operations(tuple(frame.fill.tolist()))
        ),
        "erasing": lambda frame: functools.partial(erasing, frame=frame),
    }
)
"""By name, for pictures of a frame: `crop` pads by an eighth (4 at 32 pixels, 2 at 16), `cutout` takes half a side."""


def make_augmentations(names: Sequence[str], frame: Frame) -> list[Augmentation]:
    """The augmentations of these names; pictures of another size than the frame's are cropped first."""
    fit = () if names[:1] == ("resized_crop",) else (lambda rng, picture: centre_crop(picture, frame.size),)
    return [*fit, *(AUGMENTATIONS[name](frame) for name in names)]

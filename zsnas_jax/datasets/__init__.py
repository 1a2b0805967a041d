"""Batches of standardised pictures: standard normal noise, or a data set's. N batch, H W C image."""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Batch
from zsnas_jax.datasets.copies import find_copies
from zsnas_jax.datasets.sources import (
    NUM_CLASSES,
    Examples,
    PictureSource,
    find,
    from_arrays,
    from_cifar_archive,
    from_npz,
    from_tfds,
)

__all__ = [
    "DATASETS",
    "Examples",
    "PictureSource",
    "draw_batch",
    "find",
    "from_arrays",
    "from_cifar_archive",
    "from_npz",
    "from_tfds",
    "load",
    "noise",
]

DATASETS = ("noise", *NUM_CLASSES)
_FAR = 100  # of float32's seven digits two are lost to the mean, and five are left to what differs


def noise(num_classes: int = 10, image_size: int = 32) -> PictureSource:
    """Standard normal pixels and uniform labels, as in the WRCor paper's ablation of the input."""

    def take(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        image = rng.standard_normal((count, image_size, image_size, 3), np.float32)
        return image, rng.integers(0, num_classes, count).astype(np.int32)

    return PictureSource("noise", num_classes, take, np.zeros(3, np.float32), np.ones(3, np.float32))


def load(dataset: str, data_dir: str | os.PathLike[str] | None = None, num_classes: int | None = None) -> PictureSource:
    """A source of pictures by name, or by the path of an .npz file.

    Args:
        dataset: noise, cifar10, cifar100, imagenet16_120, imagenet2012, or a path that ends in .npz.
        data_dir: where named data sets lie.
        num_classes: width of the logits; default that of the data set (noise: 10).

    Raises:
        ValueError: for an unknown name, a bad file, or fewer classes than labels.
        FileNotFoundError: if the data is not there and cannot be fetched.
    """
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}: at least 2 are needed")
    if dataset == "noise":
        return noise(num_classes or 10)
    if dataset.endswith(".npz"):
        if not pathlib.Path(dataset).is_file():
            raise FileNotFoundError(f"data set {dataset} does not exist")
        return from_npz(dataset, num_classes)
    if dataset not in NUM_CLASSES:
        raise ValueError(f"unknown data set {dataset!r}: allowed are {', '.join(DATASETS)} or the path of an .npz")
    if num_classes is not None and num_classes < NUM_CLASSES[dataset]:
        raise ValueError(f"num_classes is {num_classes}: {dataset} has {NUM_CLASSES[dataset]}")
    source = find(dataset, data_dir)
    return source._replace(num_classes=num_classes or source.num_classes)


def _augment(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Random flip, and random crop from a picture padded with black by an eighth of its size (4 at 32, 2 at 16)."""
    count, size = image.shape[:2]
    pad = size // 8
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    tops, lefts = rng.integers(0, 2 * pad + 1, (2, count))
    flips = np.where(rng.random(count) < 0.5, -1, 1)
    places = zip(padded, tops, lefts, flips, strict=True)
    return np.stack([picture[i : i + size, j : j + size][:, ::flip] for picture, i, j, flip in places])


def draw_batch(key: jax.Array, source: PictureSource, batch_size: int, *, augment: bool = False) -> Batch:
    """Draws a batch of different pictures and standardises it.

    Args:
        key: the same key draws the same batch.
        source: where from.
        batch_size: N, at least 2.
        augment: whether to flip and crop at random.

    Returns:
        Batch: image float32[N, H, W, C], label int32[N].

    Raises:
        ValueError: for a batch below 2 or larger than the source, or one that no score is defined on: pictures that are
            the same, not finite, or far from standard, a channel without variance, labels beyond the classes.
    """
    if batch_size < 2:
        raise ValueError(f"batch_size is {batch_size}: a correlation between samples needs at least 2")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    image, label = source.take(rng, batch_size)
    if augment:
        image = _augment(rng, image)
    pixels = image.astype(np.float32) / 255 if image.dtype == np.uint8 else image
    pixels = ((pixels - source.mean) / source.std).astype(np.float32)
    _check_batch(pixels, label, source)
    return Batch(jnp.asarray(pixels), jnp.asarray(label))


def _check_batch(image: np.ndarray, label: np.ndarray, source: PictureSource) -> None:
    """Raises ValueError if no score is defined on a batch, or float32 cannot hold it."""
    if image.ndim != 4 or not image.size:
        raise ValueError(f"{source.name}: a batch is of shape {list(image.shape)}, needed is [N, H, W, C]")
    if len(label) and not 0 <= label.min() <= label.max() < source.num_classes:
        raise ValueError(
            f"{source.name}: labels from {label.min()} to {label.max()} do not fit {source.num_classes} classes"
        )
    if not np.isfinite(image).all():
        raise ValueError(f"{source.name}: pictures are not finite")
    mean, std = image.mean((0, 1, 2), dtype=np.float64), image.std((0, 1, 2), dtype=np.float64)
    for channel in range(image.shape[-1]):
        if image[..., channel].min() == image[..., channel].max():
            raise ValueError(f"{source.name}: channel {channel} has no variance in a batch of {len(image)}")
        if abs(mean[channel]) > _FAR * std[channel]:
            raise ValueError(
                f"{source.name}: channel {channel} has mean {mean[channel]:.3g} and deviation {std[channel]:.3g}, too "
                f"far from standard: allowed are means up to {_FAR} deviations"
            )
    if copies := find_copies(image):
        first, before = next(iter(copies.items()))
        raise ValueError(
            f"{source.name}: {len(copies)} of {len(image)} pictures of a batch are copies, picture {first} of {before}"
        )

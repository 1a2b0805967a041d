"""The seven tasks of TransNAS-Bench-101: their heads, widths, losses, and the targets that pictures can be given.

The benchmark's own targets are Taskonomy's. Classes are those of the data set; the puzzle and the picture itself are
made of any pictures; rooms, normals and segments nobody knows of other pictures: they are drawn at random, and
`Task.targets` says so. Axes: N batch, H W pixels, K classes.
"""

from collections.abc import Mapping
import enum
import functools
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Batch
from zsnas_jax.measure.losses import absolute_error, cross_entropy, pixelwise_cross_entropy, squared_error
from zsnas_jax.search_spaces.transnas101.heads import GENERATIVE, SEGMENTATION
from zsnas_jax.search_spaces.transnas101.network import NUM_TILES, TILES_PER_SIDE, cut_tiles
from zsnas_jax.tasks import Task

NUM_PERMUTATIONS = 1000
NUM_SEGMENTS = 17
_RANDOM = "drawn at random"


class Head(enum.Enum):
    """What stands behind the encoder: a dense layer, one on nine tiles, or one of two decoders."""

    DENSE = ()
    TILES = None
    GENERATIVE = GENERATIVE
    SEGMENTATION = SEGMENTATION

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """Of a decoder: (channels, least halvings of the encoder with which it doubles) of its layers."""
        return self.value or ()


@functools.cache
def permutations() -> np.ndarray:
    """The orders of nine tiles among which the puzzle is told apart, int32[1000, 9]; not the benchmark's own list."""
    rng, found = np.random.default_rng(0), dict[tuple[int, ...], None]()
    while len(found) < NUM_PERMUTATIONS:
        found[tuple(rng.permutation(NUM_TILES).tolist())] = None
    return np.array(list(found), np.int32)


def _puzzle(key: jax.Array, batch: Batch) -> Batch:
    """Each picture's tiles in a drawn order, of which the target is the number; its sides are cut to multiples of 3."""
    label = jax.random.randint(key, (len(batch.image),), 0, NUM_PERMUTATIONS, jnp.int32)
    orders, image = jnp.asarray(permutations())[label], batch.image
    height, width = (size // TILES_PER_SIDE for size in image.shape[1:3])
    image = image[:, : TILES_PER_SIDE * height, : TILES_PER_SIDE * width]
    shuffled = jnp.take_along_axis(cut_tiles(image), orders[:, :, None, None, None], 1)
    rows = shuffled.reshape(len(image), TILES_PER_SIDE, TILES_PER_SIDE, height, width, -1)
    return Batch(rows.swapaxes(2, 3).reshape(image.shape), label)


def _itself(key: jax.Array, batch: Batch) -> Batch:
    """The picture itself, scaled to -1 to 1 by the extremes of the batch."""
    del key
    low, high = batch.image.min(), batch.image.max()
    return Batch(batch.image, 2 * (batch.image - low) / (high - low) - 1)


def _normals(key: jax.Array, batch: Batch) -> Batch:
    """Directions: unit vectors float[N, H, W, 3]."""
    drawn = jax.random.normal(key, (*batch.image.shape[:3], 3), jnp.float32)
    return Batch(batch.image, drawn / jnp.linalg.norm(drawn, axis=-1, keepdims=True))


def _rooms(key: jax.Array, batch: Batch) -> Batch:
    """Standardised numbers float[N, 9]."""
    return Batch(batch.image, jax.random.normal(key, (len(batch.image), 9), jnp.float32))


def _segments(key: jax.Array, batch: Batch) -> Batch:
    """Classes of pixels int32[N, H, W]."""
    return Batch(batch.image, jax.random.randint(key, batch.image.shape[:3], 0, NUM_SEGMENTS, jnp.int32))


HEADS: Mapping[str, tuple[Task, Head]] = MappingProxyType(
    {
        "class_scene": (Task("class_scene", cross_entropy, 47), Head.DENSE),
        "class_object": (Task("class_object", cross_entropy, 75), Head.DENSE),
        "jigsaw": (Task("jigsaw", cross_entropy, NUM_PERMUTATIONS, "made of the pictures", _puzzle), Head.TILES),
        "room_layout": (Task("room_layout", squared_error, 9, _RANDOM, _rooms), Head.DENSE),
        "autoencoder": (Task("autoencoder", absolute_error, 3, "made of the pictures", _itself), Head.GENERATIVE),
        "normal": (Task("normal", absolute_error, 3, _RANDOM, _normals), Head.GENERATIVE),
        "segmentsemantic": (
            Task("segmentsemantic", pixelwise_cross_entropy, NUM_SEGMENTS, _RANDOM, _segments),
            Head.SEGMENTATION,
        ),
    }
)
"""The tasks, by name, each with the head that its networks have."""

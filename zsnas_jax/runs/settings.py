"""What the scores of a run depend on besides their proxies, and the random draws that follow from it. N = batch."""

import dataclasses
import hashlib
from typing import Any

import jax
import numpy as np

from zsnas_jax import datasets, tasks
from zsnas_jax.base import Batch, SearchSpace, check_pictures
from zsnas_jax.datasets import PictureSource
from zsnas_jax.nn.initializers import INITIALIZERS


@dataclasses.dataclass(frozen=True)
class ScoreSettings:
    """Everything that changes a score, besides the proxy with its settings and the pictures themselves.

    Attributes:
        batch_size: N.
        augment: whether pictures are flipped and cropped at random.
        init: name of the initialisation.
        repeats: how many initialisations a score is the mean of.
        resample: whether every architecture and repeat draws its own batch.
        seed: of weights and batches.
        share_isomorphic: whether an architecture has the score of its pruned form, without operations that do
            nothing, which isomorphic architectures then share.
    """

    batch_size: int = 64
    augment: bool = False
    init: str = "kaiming_uniform"
    repeats: int = 1
    resample: bool = False
    seed: int = 0
    share_isomorphic: bool = False

    def __post_init__(self) -> None:
        if self.init not in INITIALIZERS:
            raise ValueError(f"unknown init {self.init!r}: allowed are {', '.join(INITIALIZERS)}")
        if self.repeats < 1:
            raise ValueError(f"repeats is {self.repeats}: at least 1 is needed")
        if self.batch_size < 2:
            raise ValueError(f"batch_size is {self.batch_size}: a correlation between samples needs at least 2")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is {self.seed}: allowed are 0 to {2**31 - 1}")


def batch_identity(batch: Batch) -> str:
    """The first 16 hex digits of the SHA-256 of a batch's bytes: tells data sets apart by what is in them."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves((batch.image, batch.label)):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def seed_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """(root of all weights, root of all batches) of a run's seed."""
    weight_key, batch_key = jax.random.split(jax.random.key(seed))
    return weight_key, batch_key


def stream_identity(key: jax.Array) -> str:
    """The first 16 hex digits of the SHA-256 of some draws from a key: tells implementations of randomness apart.

    Random bits change with jax's version and configuration (jax_threefry_partitionable, jax_default_prng_impl). Whole
    numbers alone are drawn, since a device may round others as it likes.
    """
    draws = [jax.random.key_data(key), jax.random.bits(key, (16,)), jax.random.permutation(key, 16)]
    draws += [jax.random.randint(jax.random.fold_in(key, i), (i + 1,), 0, 1000) for i in range(2)]
    return hashlib.sha256(b"".join(np.asarray(draw).tobytes() for draw in draws)).hexdigest()[:16]


def draw_batch(key: jax.Array, settings: ScoreSettings, source: PictureSource, space: SearchSpace) -> Batch:
    """A batch as the settings say, with the targets of the space's task.

    Raises:
        ValueError: as `zsnas_jax.datasets.draw_batch`.
    """
    batch = datasets.draw_batch(key, source, settings.batch_size, augment=settings.augment)
    return tasks.prepare(space, key, batch)


def fixed_batch(settings: ScoreSettings, source: PictureSource, space: SearchSpace) -> Batch:
    """The batch that all architectures share unless `resample` is set."""
    return draw_batch(seed_keys(settings.seed)[1], settings, source, space)


def stored_settings(settings: ScoreSettings, space: SearchSpace, source: PictureSource, dataset: str) -> dict[str, Any]:
    """What a results folder is bound to: the settings, the space, its task, the classes, and the pictures by content.

    Raises:
        ValueError: if the space takes no pictures of this size, or its task not so many classes.
    """
    batch = fixed_batch(settings, source, space)
    check_pictures(space, batch.image)
    identity = batch_identity(batch)
    num_classes = tasks.width_of(space, source.num_classes)
    data = {"dataset": dataset, "num_classes": num_classes, "batch_sha256": identity}
    named = {"space": space.name} | ({"space_source": space.source} if space.source else {})
    named |= {"task": space.task.name, "targets": space.task.targets} if space.task else {}
    return named | data | dataclasses.asdict(settings)

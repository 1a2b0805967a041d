"""Batches to train and to test on, by grain: batch t is a function of the seed and t, so that a run can go on from any.

A batch is a dict: image uint8[B, H, W, 3], label int32[B], and teacher float32[B, K] where logits are stored.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np

from zsnas_jax.datasets import Examples
from zsnas_jax.datasets.crops import centre_crop
from zsnas_jax.training.augmentations import Augmentation

NOBODY = -1
"""The label of what fills up the last batch of a test."""

_THREADS = grain.ReadOptions(num_threads=4, prefetch_buffer_size=64)


class _Augment(grain.transforms.RandomMap):
    """Applies augmentations, with a generator that belongs to the place in the epoch."""

    def __init__(self, augmentations: Sequence[Augmentation]) -> None:
        self.augmentations = augmentations

    def random_map(self, element: tuple[np.ndarray, int, int], rng: np.random.Generator) -> Any:
        picture, label, index = element
        for augment in self.augmentations:
            picture = augment(rng, picture)
        return np.ascontiguousarray(picture), label, index


def train_batches(
    examples: Examples,
    batch_size: int,
    seed: int,
    augmentations: Sequence[Augmentation] = (),
    *,
    repeats: int = 1,
    start: int = 0,
    teacher: np.ndarray | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Shuffled batches without end; what does not fill a batch at the end of an epoch is left out.

    With repeated augmentation (Hoffer et al., CVPR 2020; Touvron et al., DeiT, ICML 2021) a picture stands r times in a
    row, each augmented on its own, and an epoch ends after as many batches as without, so that it shows the first r-th
    of its order. Of several devices one gets all r of most pictures, where DeiT spreads them over devices.

    Args:
        examples: labelled pictures.
        batch_size: B.
        seed: of the order and of the augmentations.
        augmentations: applied to each picture, in order; afterwards pictures must be of one size.
        repeats: r, at least 1.
        start: the first batch to give out.
        teacher: logits float[M, K] of the M examples, or None.

    Raises:
        ValueError: if a batch is larger than the data.
    """
    steps_per_epoch(len(examples), batch_size)
    order = grain.MapDataset.range(len(examples)).seed(seed).shuffle()

    def read(number: int, unrepeated: int) -> tuple[np.ndarray, int, int]:
        place = number % len(examples)
        index = order[number - place + place // repeats] if repeats > 1 else unrepeated
        return (*examples[index], index)

    def collate(elements: Sequence[tuple[np.ndarray, int, int]]) -> dict[str, np.ndarray]:
        pictures, labels, indices = zip(*elements, strict=True)
        batch = {"image": np.stack(pictures), "label": np.array(labels, np.int32)}
        return batch if teacher is None else batch | {"teacher": teacher[list(indices)].astype(np.float32)}

    augmented = order.map_with_index(read).random_map(_Augment(augmentations))
    batches = augmented.batch(batch_size, drop_remainder=True, batch_fn=collate).repeat()
    return iter(batches[start:].to_iter_dataset(_THREADS))


def ordered_batches(examples: Examples, batch_size: int, size: int) -> Iterator[dict[str, np.ndarray]]:
    """Every picture once, in order, its middle at `size` pixels; the last batch is filled up with label -1."""
    for first in range(0, len(examples), batch_size):
        found = [examples[i] for i in range(first, min(first + batch_size, len(examples)))]
        image = np.stack([centre_crop(picture, size) for picture, _ in found])
        label = np.array([label for _, label in found], np.int32)
        empty = batch_size - len(found)
        pads = ((0, empty), (0, 0), (0, 0), (0, 0))
        yield {"image": np.pad(image, pads), "label": np.pad(label, (0, empty), constant_values=NOBODY)}


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """How many whole batches there are; ValueError where there is none."""
    if num_examples < batch_size:
        raise ValueError(f"batch_size is {batch_size}: there are {num_examples} pictures to train on")
    return num_examples // batch_size

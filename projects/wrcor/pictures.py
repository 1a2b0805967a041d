"""Pictures that stand for a data set of the paper."""

import os
import pathlib
from typing import NamedTuple

from zsnas_jax import datasets
from zsnas_jax.datasets import PictureSource
from zsnas_jax.datasets.sources import NUM_CLASSES
from zsnas_jax.storage import files


class Pictures(NamedTuple):
    """Pictures that stand for a data set: a short name, a source, and the SHA-256 of their file, if they are one."""

    name: str
    source: PictureSource
    sha256: str | None


def open_pictures(dataset: str, value: str, data_dir: str | os.PathLike[str] | None = None) -> Pictures:
    """Pictures for a data set.

    Args:
        dataset: cifar10, cifar100 or imagenet16_120, whose number of classes the networks get.
        value: a name or path that `datasets.load` understands.
        data_dir: where named data sets lie.

    Raises:
        ValueError: for an unknown name, a bad file, or more classes than the data set has.
        FileNotFoundError: if the data is not there and cannot be fetched.
    """
    source = datasets.load(value, data_dir, NUM_CLASSES[dataset])
    is_file = value.endswith(".npz")
    return Pictures(pathlib.Path(value).stem if is_file else value, source, files.sha256(value) if is_file else None)

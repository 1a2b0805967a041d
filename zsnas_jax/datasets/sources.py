"""Where pictures come from: arrays, .npz files, CIFAR's published binary archives and TFDS. M pictures, H W C image."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import http.client
import os
import pathlib
import tarfile
from typing import Any, NamedTuple

import numpy as np

from zsnas_jax.datasets.copies import digest, draw_distinct, find_copies
from zsnas_jax.storage import arrays, files
from zsnas_jax.storage.reading import open_regular, reading, shorten

Take = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Examples:
    """Labelled pictures one by one, as training reads them.

    Attributes:
        count: how many.
        get: their number to (picture uint8[H, W, 3], label).
    """

    count: int
    get: Callable[[int], tuple[np.ndarray, int]]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.get(int(index))


class PictureSource(NamedTuple):
    """Labelled pictures to draw batches from.

    Attributes:
        name: name or path, for messages and reports.
        num_classes: labels lie in [0, num_classes).
        take: (generator, count) to `count` different pictures uint8[count, H, W, C] and labels int32[count].
        mean: float32[C], of pixels in [0, 1], subtracted from a picture.
        std: float32[C], divided by.
        examples: split, "train" or "test", to its pictures, or None where there is none; None: nothing to train on.
        image_size: pixels along a side; None where pictures differ.
    """

    name: str
    num_classes: int
    take: Take
    mean: np.ndarray
    std: np.ndarray
    examples: Callable[[str], Examples | None] | None = None
    image_size: int | None = None


class CifarArchive(NamedTuple):
    """A published binary archive: a record is `label_bytes` labels, the last of which counts, and 3 x 32 x 32 bytes."""

    file: str
    url: str
    sha256: str
    members: Sequence[str]
    test_members: Sequence[str]
    label_bytes: int


_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
CIFAR_ARCHIVES = {
    "cifar10": CifarArchive(
        "cifar-10-binary.tar.gz",
        _CIFAR_URL + "cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)],
        ["cifar-10-batches-bin/test_batch.bin"],
        1,
    ),
    "cifar100": CifarArchive(
        "cifar-100-binary.tar.gz",
        _CIFAR_URL + "cifar-100-binary.tar.gz",
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ["cifar-100-binary/train.bin"],
        ["cifar-100-binary/test.bin"],
        2,
    ),
}

_IMAGENET16_MEAN, _IMAGENET16_STD = np.array([[122.68, 116.66, 104.01], [63.22, 61.26, 65.09]]) / 255
STATISTICS = {
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    "cifar100": ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
    "imagenet16_120": (_IMAGENET16_MEAN, _IMAGENET16_STD),
    "imagenet2012": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}
"""Published per-channel (mean, standard deviation) of the data sets, of pixels in [0, 1]."""

MAX_CLASSES = 1_000_000
"""Of a data set: a larger label is a mistake, and the network that it asks for would not fit."""

NUM_CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet16_120": 120, "imagenet2012": 1000}
IMAGE_SIZES = {"cifar10": 32, "cifar100": 32, "imagenet16_120": 16, "imagenet2012": None}
TFDS_NAMES = {
    "cifar10": ("cifar10", "test"),
    "cifar100": ("cifar100", "test"),
    "imagenet16_120": ("imagenet_resized/16x16", "validation"),
    "imagenet2012": ("imagenet2012", "validation"),
}
"""Name in TFDS, and the split that serves as test."""
IMAGENET_SIZE = 224
"""Pixels along a side to which a batch of ImageNet's pictures, which differ in size, is cropped."""

MAX_ARRAY = 1 << 32
"""Most bytes of an array of pictures in an .npz file."""
_MAX_MEMBER = 1 << 28  # of a CIFAR archive
_MAX_DESCRIPTION = 1 << 26  # of a data set of TFDS

Arrays = tuple[np.ndarray, np.ndarray]


def _check(image: np.ndarray, label: np.ndarray, name: str, num_classes: int | None) -> None:
    if image.dtype != np.uint8 or image.ndim != 4 or image.shape[1] != image.shape[2] or image.shape[3] != 3:
        raise ValueError(f"{name}: pictures are {image.dtype}{list(image.shape)}, needed is uint8[M, H, H, 3]")
    if label.shape != image.shape[:1] or not np.issubdtype(label.dtype, np.integer) or (label < 0).any():
        raise ValueError(f"{name}: labels are {label.dtype}{list(label.shape)}, needed is int[{len(image)}], from 0")
    if not len(image):
        raise ValueError(f"{name}: there are no pictures")
    if num_classes is not None and label.max() >= num_classes:
        raise ValueError(f"{name}: label {label.max()} does not fit {num_classes} classes")


def from_arrays(
    image: np.ndarray,
    label: np.ndarray,
    *,
    name: str,
    num_classes: int | None = None,
    statistics: Any = None,
    read_test: Callable[[], Arrays | None] = lambda: None,
) -> PictureSource:
    """Pictures in memory.

    Args:
        image: uint8[M, H, W, 3].
        label: int[M], from 0.
        name: for messages.
        num_classes: default the largest label + 1.
        statistics: (mean, std) per channel of pixels in [0, 1]; default those of the pictures.
        read_test: () to the test pictures and labels, or None; called when they are asked for.

    Raises:
        ValueError: for another dtype or shape, a single class, more than `MAX_CLASSES`, or a channel without variance.
    """
    _check(image, label, name, num_classes)
    classes = num_classes or int(label.max()) + 1
    if label.min() == label.max():
        raise ValueError(f"{name}: every label is {label.min()}, needed are at least 2 classes")
    if classes > MAX_CLASSES:
        raise ValueError(f"{name}: label {label.max()} would need {classes} classes, allowed are {MAX_CLASSES}")
    mean, std = statistics or (image.mean((0, 1, 2)) / 255, image.std((0, 1, 2)) / 255)
    if (flat := np.flatnonzero(np.asarray(std) == 0)).size:
        raise ValueError(f"{name}: every pixel of channel {flat[0]} is {image[0, 0, 0, flat[0]]}, it has no variance")

    all_copies = functools.cache(lambda: find_copies(image))  # of all pictures, which takes a while

    def take(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        if count > len(image):
            raise ValueError(f"{name} has {len(image)} pictures, fewer than a batch of {count}")
        chosen = draw_distinct(rng, image, count, name, all_copies)
        return image[chosen], label[chosen].astype(np.int32)

    def examples(split: str) -> Examples | None:
        arrays = (image, label) if split == "train" else read_test()
        if arrays is None:
            return None
        pictures, labels = arrays
        _check(pictures, labels, f"{name}, {split}", classes)
        return Examples(len(pictures), lambda i: (pictures[i], int(labels[i])))

    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return PictureSource(name, classes, take, mean, std, examples, image.shape[1])


def _read_npz(path: str | os.PathLike[str], split: str) -> Arrays | None:
    """The arrays of a split, or None if the file has neither."""
    names = f"x_{split}", f"y_{split}"
    with reading(f"{path} is not an .npz file of pictures"), arrays.open_npz(path) as archive:
        found = arrays.names(archive)
        missing = [name for name in names if name not in found]
        if missing and not (len(missing) == 2 and split == "test"):
            held = shorten(", ".join(found)) or "nothing"
            raise ValueError(f"it lacks {' and '.join(missing)}: it has {held}")
        return (
            None if missing else (arrays.read(archive, names[0], MAX_ARRAY), arrays.read(archive, names[1], MAX_ARRAY))
        )


def from_npz(path: str | os.PathLike[str], num_classes: int | None = None) -> PictureSource:
    """The arrays `x_train` (uint8[M, H, W, 3]) and `y_train` (int[M]) of an .npz file.

    `x_test` and `y_test` are read when something is to be tested; other arrays never.

    Pictures are standardised by their own per-channel statistics.

    Raises:
        ValueError: if the file is not an .npz, lacks an array, or an array has another dtype or shape, or is larger
            than `MAX_ARRAY`.
    """
    image, label = _read_npz(path, "train")  # type: ignore[misc]
    read_test = lambda: _read_npz(path, "test")
    return from_arrays(image, label, name=str(path), num_classes=num_classes, read_test=read_test)


def _read_cifar(path: str | os.PathLike[str], members: Sequence[str], label_bytes: int) -> Arrays:
    size = label_bytes + 3 * 32 * 32
    parts = []
    with reading(f"{path}"), open_regular(path) as file, tarfile.open(fileobj=file, mode="r:gz") as tar:
        for name in members:
            info = tar.getmember(name)
            if not info.isfile() or not info.size or info.size % size or info.size > _MAX_MEMBER:
                raise ValueError(f"{name} has {info.size} bytes, needed is a multiple of {size}")
            parts.append(np.frombuffer(tar.extractfile(info).read(), np.uint8).reshape(-1, size))  # type: ignore[union-attr]
    records = np.concatenate(parts)
    image = np.ascontiguousarray(records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return image, records[:, label_bytes - 1].astype(np.int32)


def from_cifar_archive(path: str | os.PathLike[str], archive: CifarArchive, dataset: str) -> PictureSource:
    """The pictures of a published CIFAR binary archive, verified by its checksum.

    Raises:
        ValueError: if the checksum does not match or a member is missing or has the wrong size.
    """
    with reading(f"{path}"), open_regular(path):
        files.verify(path, archive.sha256)
    image, label = _read_cifar(path, archive.members, archive.label_bytes)
    return from_arrays(
        image,
        label,
        name=dataset,
        num_classes=NUM_CLASSES[dataset],
        statistics=STATISTICS[dataset],
        read_test=lambda: _read_cifar(path, archive.test_members, archive.label_bytes),
    )


@dataclasses.dataclass(frozen=True)
class _Records:
    """The records of a split that TFDS has prepared, each checked when it is read."""

    found: Any
    name: str
    size: int | None
    num_classes: int

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, index: int) -> dict[str, Any]:
        with reading(f"TFDS data set {self.name}, record {index}"):
            example = self.found[index]
            image, label = example["image"], int(example["label"])
            height, width, *channels = image.shape
            if image.dtype != np.uint8 or channels != [3] or (self.size and (height, width) != (self.size, self.size)):
                size = self.size or "H, W"
                raise ValueError(f"its picture is {image.dtype}{list(image.shape)}, needed is uint8[{size}, ..., 3]")
            if not 0 <= label < self.num_classes:
                raise ValueError(f"its label is {label}: allowed are 0 to {self.num_classes - 1}")
        return {"image": image, "label": label}


def _check_folder(folder: pathlib.Path) -> None:
    """Raises ValueError if a folder of TFDS holds what its reader would wait for, or take in without a bound."""
    for path in folder.rglob("*"):
        if path.exists() and not (path.is_dir() or path.is_file()):
            raise ValueError(f"{path} is not a regular file")
        if path.suffix == ".json" and path.is_file() and path.stat().st_size > _MAX_DESCRIPTION:
            raise ValueError(f"{path} has more than {_MAX_DESCRIPTION:,} bytes")


def from_tfds(dataset: str, data_dir: str | os.PathLike[str] | None) -> PictureSource:
    """The training split of a data set that TFDS has prepared as array_record; reading it needs no TensorFlow.

    `imagenet16_120` is the first 120 classes of `imagenet_resized/16x16`: pictures are drawn at random and those of
    other classes passed over, so that no pass over the 1.28 million is needed; training needs one. A batch of
    `imagenet2012`, whose pictures differ in size, is cropped to 224 pixels.

    Raises:
        FileNotFoundError: if it is not prepared under `data_dir` (TFDS's own default folder when None).
        ValueError: if what is there is damaged, or holds something else than files.
    """
    import tensorflow_datasets as tfds  # an extra, like pillow; and a second of every command's start

    from zsnas_jax.datasets.crops import centre_crop

    (name, test_split), num_classes = TFDS_NAMES[dataset], NUM_CLASSES[dataset]
    where = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR)
    _check_folder(where / name)
    widest = NUM_CLASSES["imagenet2012"] if name.startswith("imagenet") else num_classes

    def open_split(split: str) -> _Records:
        try:
            found = tfds.data_source(name, split=split, data_dir=data_dir, download=False)
            return _Records(found, name, IMAGE_SIZES[dataset], widest)
        except Exception as error:  # TFDS raises NotImplementedError, AssertionError and others for what is not there
            if split == "train" and any((where / name).rglob("*.array_record*")):
                raise ValueError(f"TFDS data set {name} in {where} cannot be read: {shorten(error)}") from error
            raise FileNotFoundError(f"TFDS data set {name} is not prepared as array_record in {where}") from error

    records = open_split("train")
    crop = (lambda picture: picture) if IMAGE_SIZES[dataset] else lambda picture: centre_crop(picture, IMAGENET_SIZE)

    def take(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels, seen = [], [], set()
        for index in rng.permutation(len(records)):
            example = records[int(index)]
            if example["label"] < num_classes and (mark := digest(example["image"])) not in seen:
                seen.add(mark)
                images.append(crop(example["image"]))
                labels.append(example["label"])
                if len(images) == count:
                    return np.stack(images), np.array(labels, np.int32)
        raise ValueError(f"{name} has {len(images)} different pictures of {dataset}, fewer than a batch of {count}")

    def examples(split: str) -> Examples:
        found = records if split == "train" else open_split(test_split)

        def get(i: int) -> tuple[np.ndarray, int]:
            example = found[int(i)]
            return example["image"], int(example["label"])

        if dataset != "imagenet16_120":
            return Examples(len(found), get)
        chosen = [i for i in range(len(found)) if found[i]["label"] < num_classes]
        return Examples(len(chosen), lambda i: get(chosen[i]))

    mean, std = (np.asarray(s, np.float32) for s in STATISTICS[dataset])
    return PictureSource(dataset, num_classes, take, mean, std, examples, IMAGE_SIZES[dataset])


def find(dataset: str, data_dir: str | os.PathLike[str] | None = None) -> PictureSource:
    """A named data set from what there is: prepared by TFDS, else the CIFAR archive in `data_dir`, else its download.

    Args:
        dataset: cifar10, cifar100, imagenet16_120 or imagenet2012.
        data_dir: where to look and where a download goes; default ~/.cache/zsnas_jax and TFDS's own default folder.

    Raises:
        FileNotFoundError: if it is nowhere to be had; the message says what to do.
        ValueError: if an archive is damaged.
    """
    try:
        return from_tfds(dataset, data_dir)
    except FileNotFoundError as error:
        missing = str(error)
    if dataset in CIFAR_ARCHIVES:
        archive = CIFAR_ARCHIVES[dataset]
        path = pathlib.Path(data_dir or pathlib.Path.home() / ".cache" / "zsnas_jax") / archive.file
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is not a regular file")
        try:
            files.fetch(archive.url, path, archive.sha256)
        except (OSError, http.client.HTTPException) as error:
            raise FileNotFoundError(
                f"{dataset}: {missing}; {archive.file} is not in {path.parent}; {shorten(error)}. "
                f"Put one of them there, or give --dataset the path of an .npz with x_train and y_train"
            ) from error
        return from_cifar_archive(path, archive, dataset)
    raise FileNotFoundError(
        f"{dataset}: {missing}. Prepare it once, in an environment with TensorFlow: "
        f"tfds.builder('{TFDS_NAMES[dataset][0]}', data_dir=..., file_format='array_record').download_and_prepare(), "
        f"or give --dataset the path of an .npz with x_train and y_train"
    )

"""Writes the three small TFDS data sets of tests/data/tfds, in the real array_record format.

TFDS needs TensorFlow to write and none to read, so this ran once, in an environment of its own:

    python -m venv /tmp/tf && /tmp/tf/bin/pip install tensorflow-cpu tensorflow-datasets
    /tmp/tf/bin/python tests/data/make_tfds.py tests/data/tfds

The builders are TFDS's own (features, names, versions, file layout); only their examples are replaced by
seeded random pictures: 24 of CIFAR-10, 24 of CIFAR-100, 40 of ImageNet 16x16 of which 20 lie in the first 120 classes.
"""

import sys

import numpy as np
import tensorflow_datasets as tfds

DATASETS = (("cifar10", 32, 24, 10), ("cifar100", 32, 24, 100), ("imagenet_resized/16x16", 16, 40, 1000))


def examples(name, size, count, num_classes):
    """Yields (key, example) pairs: seeded flat-coloured pictures with a little texture, so the PNGs stay small."""
    rng = np.random.default_rng(7)
    for i in range(count):
        colour = rng.integers(0, 256, (1, 1, 3))
        picture = np.broadcast_to(colour, (size, size, 3)).astype(np.uint8).copy()
        picture[rng.integers(size), :, :] = rng.integers(0, 256, 3)
        label = i % num_classes if num_classes <= 100 else (i * 6 if i < 20 else 120 + i * 20)
        example = {"image": picture, "label": label}
        if name.startswith("cifar"):
            example["id"] = f"train_{i:05d}"
        if name == "cifar100":
            example["coarse_label"] = label // 5
        yield i, example


def main(data_dir):
    """Prepares each data set under data_dir."""
    for name, size, count, num_classes in DATASETS:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
        splits = {"train": examples(name, size, count, num_classes)}
        builder._split_generators = lambda *_, splits=splits, **__: splits
        builder.download_and_prepare()


if __name__ == "__main__":
    main(sys.argv[1])

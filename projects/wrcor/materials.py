"""What the paper's tables are computed from: pictures, accuracies, and the folders of the runs."""

from collections.abc import Iterable, Mapping
import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any, NamedTuple

from projects.wrcor.tables import Run
from zsnas_jax import datasets
from zsnas_jax.base import SearchSpace
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.datasets import PictureSource
from zsnas_jax.datasets.sources import NUM_CLASSES
from zsnas_jax.runs import ranking
from zsnas_jax.storage import files
from zsnas_jax.storage.store import FILE, ResultStore


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


@dataclasses.dataclass(frozen=True)
class Materials:
    """What a study is made of.

    Attributes:
        space: NAS-Bench-201; for Table 7 NAS-Bench-101.
        pictures: by data set; the runs of one that is not there are left out.
        benchmark: accuracies, in the published order.
        out: folder of the documents, and of the runs.
    """

    space: SearchSpace
    pictures: Mapping[str, Pictures]
    benchmark: TabularBenchmark
    out: pathlib.Path

    def accuracy_column(self, dataset: str) -> str | None:
        """The test accuracy: of the train/valid split, as in the paper, if it is there; else of the full training."""
        return self.find_column(f"{dataset}split_test_200", f"{dataset}_test_200", f"{dataset}_test")

    def validation_column(self, dataset: str) -> str | None:
        """The validation accuracy of one seed after 12 epochs."""
        return self.find_column(f"{dataset}_valid_12")

    def find_column(self, *beginnings: str) -> str | None:
        """The first column of the benchmark that one of some beginnings of names stands for."""
        for beginning in beginnings:
            try:
                return self.benchmark.resolve(beginning)
            except ValueError:
                continue
        return None

    def lack(self, dataset: str) -> str | None:
        """Why runs of a data set are left out; None if they are not."""
        if self.accuracy_column(dataset) is None:
            return f"the benchmark {self.benchmark.name} has no test accuracy on {dataset}"
        return None if dataset in self.pictures else f"no pictures of {dataset} were given"

    def stored(self, run: Run) -> dict[str, Any]:
        """What the results folder of a run is bound to.

        Raises:
            ValueError: if the pictures are too few for a batch.
        """
        pictures = self.pictures[run.dataset]
        return ranking.stored_settings(run.settings, self.space, pictures.source, pictures.name)

    def folder(self, run: Run, stored: Mapping[str, Any]) -> pathlib.Path:
        """The results folder of a run: a name that belongs to its settings and pictures alone."""
        digest = hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()[:8]
        settings = run.settings
        name = f"{run.dataset}-{settings.batch_size}-{settings.init}-{settings.weighting}-{digest}"
        return self.out / "runs" / name

    def read(self, run: Run, stored: Mapping[str, Any], names: Iterable[str]) -> dict[str, dict[str, float]]:
        """All scores of a run that its folder holds: proxy to architecture string to score.

        Raises:
            ValueError: if the folder is damaged or in use.
        """
        folder = self.folder(run, stored)
        if not (folder / FILE).exists():
            return {}
        with ResultStore(folder, stored) as store:
            return {name: store.get(name) for name in names}

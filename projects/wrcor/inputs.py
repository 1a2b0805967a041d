"""What the paper's tables are computed from: a space, pictures, accuracies, and the folders of the runs."""

from collections.abc import Iterable, Mapping
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from projects.wrcor.layout import Run
from projects.wrcor.pictures import Pictures
from zsnas_jax.base import SearchSpace
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.proxies.labels import parse
from zsnas_jax.runs.settings import stored_settings
from zsnas_jax.storage.store import FILE, ResultStore


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What tables are computed from, and where they go.

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
        return stored_settings(run.settings, self.space, pictures.source, pictures.name)

    def folder(self, run: Run, stored: Mapping[str, Any]) -> pathlib.Path:
        """The results folder of a run: a name that belongs to its settings and pictures alone."""
        digest = hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()[:8]
        batches = f"{run.settings.batch_size}{'each' if run.settings.resample else ''}"
        return self.out / "runs" / f"{run.dataset}-{batches}-{run.settings.init}-{digest}"

    def read(self, run: Run, stored: Mapping[str, Any], labels: Iterable[str]) -> dict[str, dict[str, float]]:
        """All scores of a run that its folder holds: label of a proxy to architecture string to score.

        Raises:
            ValueError: if the folder is damaged or in use.
        """
        folder = self.folder(run, stored)
        if not (folder / FILE).exists():
            return {}
        with ResultStore(folder, stored) as store:
            return {label: store.get(parse(label)) for label in labels}

"""NAS-Bench-101's ground truth for Tables 7 and 8: test accuracy at 108 epochs, validation accuracy at 12 and 108."""

import os

import numpy as np

from zsnas_jax import benchmarks
from zsnas_jax.benchmarks import TabularBenchmark

SPACE = "nasbench101"
TEST, VALID, SHORT_VALID = "cifar10_test_108", "cifar10_valid_108", "cifar10_valid_12"


def open_truth(path: str | os.PathLike[str], valid_path: str | os.PathLike[str] | None = None) -> TabularBenchmark:
    """One table of what the importers of NAS-Bench-101 read: the columns that the paper's tables need, where they are.

    Args:
        path: with the test accuracy: the published .tfrecord, or an .npz, as `benchmarks.open_benchmark` takes them.
        valid_path: with validation accuracies, if the first has none; those that the first has come first.

    Raises:
        ValueError: if a table is of another space, or the first has no test accuracy.
        FileNotFoundError: if one is not there.
    """
    tables = [benchmarks.open_benchmark(each) for each in (path, valid_path) if each]
    columns: dict[str, np.ndarray] = {}
    for table in tables:
        if table.space != SPACE:
            raise ValueError(f"{table.name} is a table of space {table.space}, needed is one of {SPACE}")
        for beginning in (TEST, SHORT_VALID, VALID):
            known = any(name.startswith(f"{beginning}_") for name in columns)
            if not known and any(name.startswith(f"{beginning}_") for name in table.columns):
                name = table.resolve(beginning)
                columns[name] = np.asarray(table.columns[name])
        if not any(name.startswith(f"{TEST}_") for name in columns):
            raise ValueError(f"{table.name} has no {TEST}: its columns are {', '.join(table.columns)}")
    join = lambda parts, by: by.join(dict.fromkeys(parts))
    return TabularBenchmark(
        columns,
        SPACE,
        join([table.name for table in tables], "+"),
        join([table.source for table in tables], "; "),
        join([table.checksum for table in tables], ", "),
    )


def find_column(truth: TabularBenchmark, beginning: str) -> str | None:
    """The full name of the column that `TEST`, `VALID` or `SHORT_VALID` stands for; None where it is not there."""
    return next((name for name in truth.columns if name.startswith(f"{beginning}_")), None)

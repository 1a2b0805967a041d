"""What a search is for, and what it is held against. E experts, A architectures."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.reports import score_report


class Truth(NamedTuple):
    """Trained accuracy to hold the found ones against.

    Attributes:
        benchmark: a table.
        column: of it.
        accuracy: float32[A], NaN where it is unknown.
        is_allowed: which architectures the search may find, bool[A]; None: all.
        warning: that it is of another data set than the pictures, or None.
    """

    benchmark: TabularBenchmark
    column: str
    accuracy: np.ndarray
    is_allowed: np.ndarray | None = None
    warning: str | None = None

    @property
    def best(self) -> int:
        """The index of the optimum, of what the search may find."""
        allowed = True if self.is_allowed is None else self.is_allowed
        return int(np.nanargmax(np.where(allowed, self.accuracy, np.nan)))

    @property
    def has_limits(self) -> bool:
        """Whether the search may not find everything."""
        return self.is_allowed is not None


MAXIMA: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "nasbench201": MappingProxyType(
            {
                **dict.fromkeys(("wrcor", "rcor", "acor", "naswot"), "six 1x1 convolutions, 89.37 % on CIFAR-10"),
                "snip": "three 3x3 convolutions in a row, 88.52 % on CIFAR-10",
                "pgnorm": "three 3x3 convolutions in a row, 88.52 % on CIFAR-10",
                **dict.fromkeys(("params", "flops"), "six 3x3 convolutions, 93.76 % on CIFAR-10"),
            }
        )
    }
)
"""Space to label of a score to what its maximum is, as far as it was measured: the shipped scores, accuracies of
NAS-Bench-201, whose best is 94.37 % (benchmarks/reproduction/table9.md)."""


def say_maximum(space: SearchSpace, score: str) -> str:
    """What a search by a single score will find, in a line."""
    known = MAXIMA.get(space.name, {}).get(score)
    measured = f": on {space.name} that was measured to be {known}, where the best has 94.37 %" if known else ""
    return f"by {score} alone a search finds the maximum of {score}, which need not be the best network{measured}"


def name_optimum(has_limits: bool) -> str:
    """What to call the best that a search may find."""
    return "optimum within the limits" if has_limits else "optimum"


class Task(NamedTuple):
    """What was searched for.

    Attributes:
        space: the search space.
        experts: labels of the scores, E of them (`zsnas_jax.proxies.labels`); of a vote that is one score, its name.
        num_classes: width of the logits, for the costs.
        image_size: of the pictures, for the costs.
        truth: accuracies, or None.
    """

    space: SearchSpace
    experts: tuple[str, ...]
    num_classes: int
    image_size: int
    truth: Truth | None


def find_truth(
    benchmark: TabularBenchmark,
    column: str | None,
    space: SearchSpace,
    dataset: str,
    is_allowed: np.ndarray | None = None,
) -> Truth:
    """The column of a benchmark that found architectures are held against.

    Args:
        benchmark: the table.
        column: name of a column or its beginning; None: as `zsnas_jax.reports.score_report.find_truth` chooses.
        space: what is searched, without limits.
        dataset: name of the data set.
        is_allowed: which architectures the search may find, bool[A]; None: all.

    Raises:
        ValueError: as `zsnas_jax.reports.score_report.find_truth`, if the table lists some architectures only, or the
            column holds no value of an allowed one.
    """
    if benchmark.archs:
        raise ValueError(
            f"benchmark {benchmark.name} lists {len(benchmark.archs)} architectures of space {benchmark.space}: a "
            "search needs a table of all"
        )
    nothing = np.asarray(space.from_index(np.arange(0))) if space.from_index else np.zeros((0, 1), np.int32)
    _, name, _, warning = score_report.find_truth(benchmark, column, space, nothing, dataset)
    accuracy = np.asarray(benchmark.columns[name])
    if np.isnan(accuracy if is_allowed is None else accuracy[is_allowed]).all():
        raise ValueError(f"column {name} of benchmark {benchmark.name} holds no value of what may be found")
    return Truth(benchmark, name, accuracy, is_allowed, warning)

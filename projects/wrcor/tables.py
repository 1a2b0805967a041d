"""The WRCor paper's Tables 2 to 6 as data, for `projects.wrcor.study`: what each figure is computed from.

A table is cells; a cell is a score under a run; a run is pictures and settings. A architectures: the first of the
published order of NAS-Bench-201.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from types import MappingProxyType
from typing import Any, NamedTuple

from projects.wrcor import paper
from zsnas_jax.runs.ranking import ScoreSettings
from zsnas_jax.votes import VOTES, Vote, make_vote

GROUPS = (
    (
        *("pnorm", "pgnorm", "snip", "fisher", "jaccor", "epe", "lydyniso", "netsens", "naswot", "params", "flops"),
        *("acor", "rcor", "wrcor"),
    ),
    *(("synflow",), ("phi",), ("phi_bn",), ("zen",), ("bt",), ("bndlent",), ("zico",), ("grasp",), ("dyniso",)),
)
"""Proxies that are scored together: those of one pass, and each other one alone, so that a stop loses little."""

SLOW = ("grasp", "dyniso")
"""Scored last, and only if asked for."""

TABLES: Mapping[int, tuple[str, int]] = MappingProxyType(
    {
        2: ("all proxies and votes", 1000),
        3: ("layer weights of WRCor", 1000),
        4: ("data sets", 1000),
        5: ("batch sizes", 300),
        6: ("initialisations", 300),
    }
)
"""Number to (what varies, A)."""

DATASETS = ("cifar10", "cifar100", "imagenet16_120")
"""Those that NAS-Bench-201 has accuracies of."""

_CONDITIONS: Mapping[int, Mapping[str, tuple[str, Mapping[str, Any]]]] = MappingProxyType(
    {
        2: {"est.": ("cifar10", {})},
        4: {"c10": ("cifar10", {}), "c100": ("cifar100", {}), "im120": ("imagenet16_120", {})},
        5: {str(size): ("cifar10", {"batch_size": size}) for size in (32, 64, 128)},
        6: {
            "uniform": ("cifar10", {"init": "kaiming_uniform"}),
            "normal": ("cifar10", {"init": "kaiming_normal"}),
            "n01": ("cifar10", {"init": "normal"}),
        },
    }
)
"""Column of a table to data set and settings. Table 3 varies by row."""


class OtherReading(NamedTuple):
    """A second way to read what the paper says of a row.

    Attributes:
        score: ours, `PROXY` or `PROXY:HOW`.
        changes: what it changes of the settings.
        why: how it differs from the first.
    """

    score: str
    changes: Mapping[str, Any]
    why: str


OTHER_READINGS: Mapping[str, OtherReading] = MappingProxyType(
    {
        "Phi": OtherReading("phi_bn", {}, "phi leaves norms out, as its formula says; phi_bn keeps batch norm"),
        "EPE": OtherReading(
            "epe:resample",
            {"resample": True},
            "epe sees one batch, as all scores do; epe:resample a batch of its own for every architecture, so that the "
            "number of pictures that share a class varies, which with 100 classes is noise",
        ),
    }
)
"""Rows of the paper that can be read in two ways."""

_SUMMARIES = ("avg.", "std.")
_VOTES = tuple(name for name in paper.NAMES.values() if name in VOTES)
_OTHER_METHODS = ("comparator", "rank_sum")


def find_vote(score: str) -> Vote | None:
    """The vote that a score is, by its name: `sjw` or `sjw:rank_sum`; None for any other score."""
    name, _, method = score.partition(":")
    return make_vote(name, method or None) if name in VOTES else None


def proxy_of(score: str) -> str:
    """The proxy of a score that is no vote: `epe` of `epe:resample`."""
    return score.partition(":")[0]


class Run(NamedTuple):
    """Pictures, by the data set that they are of, and settings."""

    dataset: str
    settings: ScoreSettings

    def __str__(self) -> str:
        settings = self.settings
        batches = f"batch {settings.batch_size}" + (" each" if settings.resample else "")
        return f"{self.dataset}, {batches}, {settings.init}, {settings.weighting}"


class Cell(NamedTuple):
    """A place in a table.

    Attributes:
        row: the paper's name; empty for a vote by a method that the paper does not print.
        column: the paper's.
        run: what the score depends on; None in a column that sums up its row.
        score: a proxy, a vote, or `paper.VALIDATION_ACCURACY`.
    """

    row: str
    column: str
    run: Run | None
    score: str

    @property
    def proxies(self) -> tuple[str, ...]:
        """The proxies that it is computed from."""
        if ballot := find_vote(self.score):
            return ballot.experts
        return () if self.score == paper.VALIDATION_ACCURACY else (proxy_of(self.score),)


class Table(NamedTuple):
    """A table of the paper: its number, A, and its cells in the order of the document."""

    number: int
    num_archs: int
    cells: tuple[Cell, ...]

    @property
    def runs(self) -> dict[Run, list[str]]:
        """The runs that its cells need, each with the columns that it is for."""
        columns: dict[Run, list[str]] = {}
        for cell in self.cells:
            if cell.run and cell.column not in columns.setdefault(cell.run, []):
                columns[cell.run].append(cell.column)
        return columns


def make_table(number: int, base: ScoreSettings, num_archs: int = 0) -> Table:
    """A table under settings from which its conditions differ.

    Args:
        number: a key of `TABLES`.
        base: what no condition changes, such as the seed.
        num_archs: A; 0: as in `TABLES`.

    Raises:
        ValueError: for another number, or too few architectures for a rank correlation.
    """
    if number not in TABLES:
        raise ValueError(f"table {number} is not one of {', '.join(map(str, TABLES))}")
    if num_archs < 0 or num_archs == 1:
        raise ValueError(f"num_architectures is {num_archs}: allowed are 0 (each table's own) and 2 or more")
    figures = paper.paper_figures(number)
    cells = _weighting_cells(figures, base) if number == 3 else _condition_cells(number, figures, base)
    return Table(number, num_archs or TABLES[number][1], tuple(cells))


def _weighting_cells(figures: Mapping[tuple[str, str], float], base: ScoreSettings) -> list[Cell]:
    """Table 3: a weighting a row. None is RCor, which the run of all proxies has."""
    cells = []
    for row, column in figures:
        if (3, column) not in paper.NOT_COVERED:
            weighting = paper.WEIGHTINGS[row]
            settings = base if weighting == "none" else dataclasses.replace(base, weighting=weighting)
            cells.append(Cell(row, column, Run("cifar10", settings), "rcor" if weighting == "none" else "wrcor"))
    return cells


def _condition_cells(number: int, figures: Mapping[tuple[str, str], float], base: ScoreSettings) -> list[Cell]:
    """A row a score, and one its other reading, a column a condition; then the votes by other methods."""
    rows = dict.fromkeys(row for row, _ in figures)
    others = [make_vote(name, method).name for method in _OTHER_METHODS for name in _VOTES]
    named: list[tuple[str, str, Mapping[str, Any]]] = []
    for row in rows:
        named.append((row, paper.NAMES[row], {}))
        if other := OTHER_READINGS.get(row):
            named.append((row, other.score, other.changes))
    named += [("", name, {}) for name in others]
    conditions = _CONDITIONS[number]
    cells = []
    for row, score, changes in named:
        for column, (dataset, condition) in conditions.items():
            run = Run(dataset, dataclasses.replace(base, **{**condition, **changes}))
            cells.append(Cell(row, column, run, score))
        if len(conditions) > 1 and row:
            cells += [Cell(row, column, None, score) for column in _SUMMARIES]
    return cells


class Step(NamedTuple):
    """A call of the scorer: proxies of a group, on the first A architectures of a run."""

    run: Run
    proxies: tuple[str, ...]
    num_archs: int


def plan(tables: Sequence[Table], datasets: Sequence[str], groups: Sequence[Sequence[str]] = GROUPS) -> list[Step]:
    """What has to be scored for tables, each thing once, slow proxies last.

    Args:
        tables: what is wanted.
        datasets: those that can be had; runs of others are passed over.
        groups: proxies that are scored together; what is in none is not scored.
    """
    steps: dict[tuple[Run, int, int], dict[str, None]] = {}
    for slow in (False, True):
        for table in tables:
            for run in table.runs:
                needed = {proxy for cell in table.cells if cell.run == run for proxy in cell.proxies}
                for place, group in enumerate(groups):
                    names = [name for name in group if name in needed]
                    if names and run.dataset in datasets and bool(set(group) & set(SLOW)) == slow:
                        steps.setdefault((run, place, table.num_archs), {}).update(dict.fromkeys(names))
    return [Step(run, tuple(names), num_archs) for (run, _, num_archs), names in steps.items()]

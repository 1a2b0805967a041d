"""The layout of the WRCor paper's Tables 2 to 6: what each of their figures is computed from.

A table has entries; an entry is a score under a run; a run is pictures and settings. A architectures: the first of the
published order of NAS-Bench-201.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from types import MappingProxyType
from typing import Any, NamedTuple

from projects.wrcor import paper
from projects.wrcor.experts import expert_names
from zsnas_jax.runs.settings import ScoreSettings
from zsnas_jax.votes import VOTES, make_vote

SHARED_PASS = (
    *("pnorm", "pgnorm", "snip", "fisher", "jaccor", "epe", "lydyniso", "netsens", "naswot", "params", "flops"),
    *("acor", "rcor", "wrcor"),
)
"""Proxies that one pass serves."""

GROUPS = (
    tuple(dict.fromkeys((*SHARED_PASS, *paper.WEIGHTED.values()))),
    *(("synflow",), ("phi",), ("phi_bn",), ("zen",), ("bt",), ("bndlent",), ("zico",), ("grasp",), ("dyniso",)),
)
"""Proxies, by label, that are scored together: those of one pass, and each other one alone: a stop loses little."""

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
        proxy: ours.
        shown: what documents call it.
        changes: what it changes of the settings.
        why: how it differs from the first.
    """

    proxy: str
    shown: str
    changes: Mapping[str, Any]
    why: str


OTHER_READINGS: Mapping[str, OtherReading] = MappingProxyType(
    {
        "Phi": OtherReading(
            "phi_bn", "phi_bn", {}, "phi leaves norms out, as its formula says; phi_bn keeps batch norm"
        ),
        "EPE": OtherReading(
            "epe",
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


class Run(NamedTuple):
    """Pictures, by the data set that they are of, and settings."""

    dataset: str
    settings: ScoreSettings

    def __str__(self) -> str:
        settings = self.settings
        batches = f"batch {settings.batch_size}" + (" each" if settings.resample else "")
        return f"{self.dataset}, {batches}, {settings.init}"


class Entry(NamedTuple):
    """An entry of a table.

    Attributes:
        row: the paper's name; empty for a vote by a method that the paper does not print.
        column: the paper's.
        run: what the score depends on; None in a column that sums up its row.
        score: the label of a proxy, a vote, or `paper.VALIDATION_ACCURACY`.
        shown: what documents call the score; with the row it tells the lines of a table apart.
    """

    row: str
    column: str
    run: Run | None
    score: str
    shown: str

    @property
    def proxies(self) -> tuple[str, ...]:
        """The proxies that it is computed from, by label."""
        return () if self.score == paper.VALIDATION_ACCURACY else expert_names(self.score)


class Table(NamedTuple):
    """A table of the paper: its number, A, and its entries in the order of the document."""

    number: int
    num_archs: int
    entries: tuple[Entry, ...]

    @property
    def runs(self) -> dict[Run, list[str]]:
        """The runs that its entries need, each with the columns that it is for."""
        columns: dict[Run, list[str]] = {}
        for entry in self.entries:
            if entry.run and entry.column not in columns.setdefault(entry.run, []):
                columns[entry.run].append(entry.column)
        return columns

    def proxies(self, run: Run | None = None) -> list[str]:
        """The proxies that it needs, by label: under a run, or, for None, under any."""
        chosen = [entry for entry in self.entries if run in (None, entry.run)]
        return list(dict.fromkeys(proxy for entry in chosen for proxy in entry.proxies))


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
    entries = _weighting_entries(figures, base) if number == 3 else _condition_entries(number, figures, base)
    return Table(number, num_archs or TABLES[number][1], tuple(entries))


def _weighting_entries(figures: Mapping[tuple[str, str], float], base: ScoreSettings) -> list[Entry]:
    """Table 3: a weighting a row, all of one run."""
    run, entries = Run("cifar10", base), []
    for row, column in figures:
        if (3, column) not in paper.NOT_COVERED:
            proxy = paper.WEIGHTED[row]
            entries.append(Entry(row, column, run, proxy, shown=proxy.partition(":")[0]))
    return entries


def _condition_entries(number: int, figures: Mapping[tuple[str, str], float], base: ScoreSettings) -> list[Entry]:
    """A row a score, and one its other reading, a column a condition; then the votes by other methods."""
    rows = dict.fromkeys(row for row, _ in figures)
    others = [make_vote(name, method).name for method in _OTHER_METHODS for name in _VOTES]
    named: list[tuple[str, str, str, Mapping[str, Any]]] = []
    for row in rows:
        named.append((row, paper.NAMES[row], paper.NAMES[row], {}))
        if other := OTHER_READINGS.get(row):
            named.append((row, other.proxy, other.shown, other.changes))
    named += [("", name, name, {}) for name in others]
    conditions = _CONDITIONS[number]
    entries = []
    for row, score, shown, changes in named:
        for column, (dataset, condition) in conditions.items():
            run = Run(dataset, dataclasses.replace(base, **{**condition, **changes}))
            entries.append(Entry(row, column, run, score, shown))
        if len(conditions) > 1 and row:
            entries += [Entry(row, column, None, score, shown) for column in _SUMMARIES]
    return entries


class Step(NamedTuple):
    """A call of the scorer: proxies of a group, by label, on the first A architectures of a run."""

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
                needed = table.proxies(run)
                for place, group in enumerate(groups):
                    names = [name for name in group if name in needed]
                    if names and run.dataset in datasets and bool(set(group) & set(SLOW)) == slow:
                        steps.setdefault((run, place, table.num_archs), {}).update(dict.fromkeys(names))
    return [Step(run, tuple(names), num_archs) for (run, _, num_archs), names in steps.items()]

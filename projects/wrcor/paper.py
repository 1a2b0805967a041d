"""The figures of the WRCor paper's Tables 2 to 9, as printed, and its names in ours.

Absolute values of Spearman's rho between a score and trained accuracy; Tables 2 to 6 are of NAS-Bench-201. Where not
said otherwise: CIFAR-10, batch 64, kernels U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the first 1,000 indices of the
published order (`est.`); `real` is of all 15,625. In Tables 4 to 6 ZiCo, Params and FLOPs repeat Table 2's `real`.

Source: Jing et al., "WRCor: Zero-Shot Neural Architecture Search with Weighted Response Correlation". The file
`paper_tables.csv` has the columns table, proxy, column, value, "-" where nothing is printed; its SHA-256 is
965588c846954a3a47dc9a93dfd628866fd84a4b524f29b7efe76670b2d0080b.

Tables 8 and 9 are of searches: mean and deviation over three runs. The file `paper_tables_8_to_10.csv` has the columns
table, algorithm, column, value, std, accuracies in percent; its SHA-256 is
f42328df286fe57a3447318055584648bdb678737b806bd26a526f0362d6305a. It carries Table 10 (ImageNet)
too, which nothing reads yet: it has a name twice.
"""

from collections.abc import Mapping
import csv
import functools
import pathlib
from types import MappingProxyType
from typing import NamedTuple

FILE = pathlib.Path(__file__).with_name("paper_tables.csv")
SEARCH_FILE = pathlib.Path(__file__).with_name("paper_tables_8_to_10.csv")
VALIDATION_ACCURACY = "valacc"

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "PNorm": "pnorm",
        "PGNorm": "pgnorm",
        "SNIP": "snip",
        "GraSP": "grasp",
        "SynFlow": "synflow",
        "Fisher": "fisher",
        "JacCor": "jaccor",
        "EPE": "epe",
        "Phi": "phi",
        "Zen": "zen",
        "BT": "bt",
        "BndlEnt": "bndlent",
        "LyDynIso": "lydyniso",
        "DynIso": "dyniso",
        "NetSens": "netsens",
        "NASWOT": "naswot",
        "ZiCo": "zico",
        "Params": "params",
        "FLOPs": "flops",
        "ValAcc": VALIDATION_ACCURACY,
        "ACor": "acor",
        "RCor": "rcor",
        "WRCor": "wrcor",
        "ZeroCost": "zerocost",
        "SPW": "spw",
        "SJW": "sjw",
    }
)
"""A row of Tables 2 and 4 to 7 to a proxy, a vote, or `VALIDATION_ACCURACY` (of one seed after 12 epochs)."""

WEIGHTED: Mapping[str, str] = MappingProxyType(
    {
        "no (RCor)": "rcor",
        "linear": "wrcor:weighting=linear",
        "quad": "wrcor:weighting=quad",
        "expb2t (WRCor)": "wrcor",
        "expt2b": "wrcor:weighting=expt2b",
    }
)
"""A row of Table 3 to the label of a proxy."""

_DIFFERENCE = "a difference of printed figures"
_OTHER_SPACE = "Table 7 is of two spaces, in `projects.wrcor.table7`, and has a difference of printed figures"
NOT_COVERED: Mapping[tuple[int, str], str] = MappingProxyType(
    {
        **{(table, column): _DIFFERENCE for table in (2, 3) for column in ("Δ", "%")},
        **{(7, column): _OTHER_SPACE for column in ("NB101", "NB201", r"$ \Delta $")},
    }
)
"""(table, column) to why `projects.wrcor.layout` has no figure of ours for it."""


_TITLES = MappingProxyType({score: row for row, score in NAMES.items()})


def title(score: str) -> str:
    """The paper's name of a score: "WRCor", "SJW" of "sjw:flipped"; our own where it has none."""
    stem = score.partition(":")[0]
    return _TITLES.get(stem, stem)


@functools.cache
def _figures() -> dict[int, dict[tuple[str, str], float]]:
    tables: dict[int, dict[tuple[str, str], float]] = {}
    with open(FILE, encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            value = float("nan") if line["value"] == "-" else float(line["value"])
            tables.setdefault(int(line["table"]), {})[line["proxy"], line["column"]] = value
    return tables


def paper_figures(table: int) -> dict[tuple[str, str], float]:
    """The figures of a table.

    Args:
        table: its number.

    Returns:
        (row, column), in the paper's names and order, to what is printed; NaN where nothing is.

    Raises:
        ValueError: if the table is not carried.
    """
    tables = _figures()
    if table not in tables:
        raise ValueError(f"table {table} of the WRCor paper is not carried: allowed are {', '.join(map(str, tables))}")
    return dict(tables[table])


class Figure(NamedTuple):
    """What a table of searches prints: mean and deviation over runs, as fractions or seconds; NaN where nothing is."""

    value: float
    std: float


SEARCH_TABLES = (8, 9)
NO_FIGURE = Figure(float("nan"), float("nan"))
COST = "cost_seconds"
"""The column that is no accuracy."""


@functools.cache
def search_figures(table: int) -> Mapping[tuple[str, str], Figure]:
    """The figures of a table of searches.

    Args:
        table: 8 (NAS-Bench-101) or 9 (NAS-Bench-201).

    Returns:
        (algorithm, column), in the paper's names and order, to what is printed; accuracies as fractions.

    Raises:
        ValueError: if the table is another one.
    """
    if table not in SEARCH_TABLES:
        raise ValueError(f"table {table} of the WRCor paper is not of searches: allowed are 8, 9")
    with open(SEARCH_FILE, encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["table"] == str(table)]
    figures = {}
    for line in lines:
        scale = 1.0 if line["column"] == COST else 100.0
        value, std = (float(line[name] or "nan") / scale for name in ("value", "std"))
        figures[line["algorithm"], line["column"]] = Figure(value, std)
    return MappingProxyType(figures)

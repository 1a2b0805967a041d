"""Importer of NAS-Bench-Suite-Zero's proxies of NAS-Bench-201: another implementation's values, under our names."""

from collections.abc import Mapping
import os
import pathlib
from types import MappingProxyType

import numpy as np

from zsnas_jax.benchmarks.tabular import TabularBenchmark, fill_row, parse_number, read_csv
from zsnas_jax.search_spaces.nasbench201 import NUM_ARCHS
from zsnas_jax.storage.reading import reading, shorten

PROXIES: Mapping[str, str] = MappingProxyType(
    {
        "epe_nas": "epe",
        "fisher": "fisher",
        "flops": "flops",
        "grad_norm": "pgnorm",
        "grasp": "grasp",
        "jacov": "jaccor",
        "l2_norm": "pnorm",
        "nwot": "naswot",
        "params": "params",
        "snip": "snip",
        "synflow": "synflow",
        "zen": "zen",
    }
)
"""Its names to ours. Its `plain`, sum W * g, has no counterpart here."""

FAILED = -1e8
"""Its value where a proxy failed."""


def from_suite_zero(path: str | os.PathLike[str]) -> TabularBenchmark:
    """A CSV, plain or gzipped, with a column `index` (published order) and one a proxy, named as in `PROXIES`.

    Args:
        path: the file. Other columns are passed over; rows may come in any order and be fewer than 15,625;
            a repeated one has to be equal.

    Returns:
        A column a proxy, under our name; NaN where a cell is not there, -inf where its value is -1e8: failed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the column or line that is wrong.
    """
    path = pathlib.Path(path)
    try:
        found, rows, checksum = read_csv(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"suite_zero file {path} does not exist") from error
    names = [name for name in found if name in PROXIES]
    if "index" not in found or not names:
        raise ValueError(
            f"{path} lacks a column 'index', or one of {', '.join(PROXIES)}: it has {shorten(', '.join(found))}"
        )
    values = np.full((len(names), NUM_ARCHS), np.nan, np.float32)
    for number, row in enumerate(rows, start=2):
        with reading(f"{path}, line {number}"):
            index = parse_number(row["index"], "index", 0, NUM_ARCHS - 1)
            if not index.is_integer():
                raise ValueError(f"index is {shorten(row['index'])!r}: allowed are 0 to {NUM_ARCHS - 1}")
            fill_row(values, int(index), [parse_number(row[name], name) for name in names])
    values[values == np.float32(FAILED)] = -np.inf
    columns = {PROXIES[name]: column for name, column in zip(names, values, strict=True)}
    source = f"NAS-Bench-Suite-Zero, CSV {path.name}"
    return TabularBenchmark(columns, "nasbench201", path.name, source, checksum)

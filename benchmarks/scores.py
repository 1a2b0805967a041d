"""Scores that are shipped with the package, so that a search over real scores needs no scoring."""

import pathlib

from zsnas_jax.benchmarks.tabular import TabularBenchmark, load

_FILE = pathlib.Path(__file__).parent / "nasbench201_scores.npz"


def shipped_scores() -> TabularBenchmark:
    """Scores of NAS-Bench-201's cells in published order, a column a proxy, computed by this package.

    Made by projects/wrcor/score_table.py; `source` holds the settings: pictures, batch, initialisation, seed, versions.
    -inf: the score is undefined for that cell. NaN: not scored.
    """
    return load(_FILE)

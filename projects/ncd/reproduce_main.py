"""Shows NCD's negative correlation and its mending on NAS-Bench-201, from scores that are there already.

    python -m projects.ncd.reproduce_main --table=nasbench201_scores --benchmark=nasbench201.csv.gz

Run it in a clone of the repository; projects/ncd/README.md says more. Writes to --out, for the 200-epoch test
accuracies of the three data sets: RESULTS.md, the tables as CSV (convolutions.csv, gains.csv, search.csv), a picture of
scores by number of convolutions a data set, and within_groups.png with the rank correlation inside each group. Compares
only cells that every proxy has a score for. Scores come from folders of `score_main` (--store) and from tables
(--table); proxies under another norm or mask are told apart by their labels, as naswot:norm=gn8. A store that a running
job fills is locked: copy results.sqlite with its -wal file first.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from zsnas_jax import command

    command.run("projects.ncd.reproduce_main")

from collections.abc import Mapping
import pathlib
from typing import Any

from absl import flags as absl_flags
import numpy as np

from projects.ncd import paper, report, scores
from projects.ncd.random_search import RandomSearch
from zsnas_jax import benchmarks
from zsnas_jax.arguments import Range, Subject
from zsnas_jax.reports import diagnostics
from zsnas_jax.search_spaces import nasbench201

FLAGS = absl_flags.FLAGS
SCORES, RESULTS = Subject("Scores"), Subject("What is made of them")
MIN_CELLS = 20


def define_flags() -> None:
    """The flags of this binary."""
    SCORES.repeated_paths("store", "Folder of results.sqlite, or of scores.csv and report.json; may be repeated.")
    SCORES.repeated_paths(
        "table",
        "nasbench201_scores, or a CSV (may be gzipped) or npz: `index` or `arch`, a column a proxy; may be repeated.",
    )
    SCORES.words("proxies", [], "Which, by label, in this order; default the paper's, WRCor and Params.")
    RESULTS.path("benchmark", "nasbench201.csv.gz", "Table of trained accuracies.")
    RESULTS.path("out", "results/ncd", "Folder of what is written.")
    RESULTS.whole("num_samples", 3000, "Cells that one random search scores.", Range(1, nasbench201.NUM_ARCHS))
    RESULTS.whole("num_seeds", 200, "Random searches; the first 5 stand beside the paper's.", Range(5, 10_000))


def _described(settings: Mapping[str, Any]) -> str:
    shown = [f"{name} {settings[name]}" for name in ("dataset", "batch_size", "init", "seed") if name in settings]
    return f"({', '.join(shown)})" if shown else ""


def main() -> None:
    """Reads the scores, writes the folder."""
    sources = {name: scores.read_store(pathlib.Path(name)) for name in FLAGS.store}
    sources |= {name: scores.read_table(name) for name in FLAGS.table}
    merged = scores.merge(sources)
    others = [label for label in paper.NORM_OF if label in merged and label not in paper.PROXIES]
    wanted = FLAGS.proxies or [*paper.PROXIES, *others]
    missing = [label for label in wanted if label not in merged]
    chosen = {label: merged[label] for label in wanted if label in merged}
    if not chosen:
        there = ", ".join(sources) or "the scores: give --store or --table"
        raise ValueError(f"none of {', '.join(wanted)} is in {there}")
    index = scores.common_cells(chosen.values())
    if len(index) < MIN_CELLS:
        counts = ", ".join(f"{label} {np.sum(~np.isnan(values))}" for label, values in chosen.items())
        raise ValueError(f"{len(index)} cells have all scores, {MIN_CELLS} are needed; cells of each: {counts}")
    benchmark = benchmarks.open_benchmark(FLAGS.benchmark)
    introduction = report.INTRODUCTION.format(
        min_group=diagnostics.MIN_GROUP,
        cells=f"{len(index):,}",
        missing=f"Not among the scores: {', '.join(missing)}. " if missing else "",
        sources="; ".join(f"{name} {_described(source.settings)}".rstrip() for name, source in sources.items()),
        truth=f"{benchmark.source}, SHA-256 {benchmark.checksum[:16]}",
    )
    out, search = pathlib.Path(FLAGS.out), RandomSearch(FLAGS.num_seeds, FLAGS.num_samples)
    values = {label: column[index] for label, column in chosen.items()}
    report.write(out, values, index, benchmark, introduction, search)
    print(f"{len(index)} cells; written: {', '.join(sorted(str(path) for path in out.iterdir()))}")

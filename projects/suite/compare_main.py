"""Compares the ranks of our proxies with those of NAS-Bench-Suite-Zero's implementation, on NAS-Bench-201.

    python -m projects.suite.compare_main --suite_zero=nasbench201_suite_zero_cifar10.csv.gz
    python -m projects.suite.compare_main --suite_zero=nasbench201_suite_zero_cifar10.csv.gz --store=results/FOLDER

Run it in a clone of the repository. Our scores are those of the shipped table (--scores, half a minute), or of a folder
that score_main or projects.wrcor.reproduce_main left (--store), which is read and not changed. Writes suite_zero.md and
suite_zero.csv to --out.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from zsnas_jax import command

    command.run("projects.suite.compare_main")

from collections.abc import Mapping

from absl import flags as absl_flags
import numpy as np

from projects.suite import agreement
from projects.suite.suite_zero import from_suite_zero
from zsnas_jax import benchmarks
from zsnas_jax.arguments import Subject
from zsnas_jax.base import SearchSpace
from zsnas_jax.reports import score_report
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage import stored

FLAGS = absl_flags.FLAGS
COMPARISON = Subject("The comparison")

Scores = Mapping[str, Mapping[str, float]]
"""Label of a proxy to architecture string to score."""


def define_flags() -> None:
    """The flags of this binary."""
    COMPARISON.path("suite_zero", None, "CSV of NAS-Bench-Suite-Zero's values: index, and a column a proxy.")
    COMPARISON.path("scores", "nasbench201_scores", "Table of our scores: the shipped one, a csv or an npz.")
    COMPARISON.path("store", None, "Folder of our scores, a results.sqlite, instead of a table.")
    COMPARISON.path("out", "results/suite", "Folder of the documents.")


def read_table(name: str, space: SearchSpace) -> tuple[Scores, str]:
    """(scores, what they are) of a table.

    Raises:
        ValueError: if there is no such table, or it is of another space.
    """
    table = benchmarks.open_benchmark(name)
    if table.space != space.name:
        raise ValueError(f"{table.name} is of space {table.space}: needed is {space.name}")
    archs = [space.encode(arch) for arch in nasbench201.from_index(np.arange(nasbench201.NUM_ARCHS))]
    scores = {proxy: dict(zip(archs, np.asarray(c, float), strict=True)) for proxy, c in table.columns.items()}
    return scores, f"{table.name}, SHA-256 {table.checksum}"


def read_store(folder: str, space: SearchSpace) -> tuple[Scores, str]:
    """(scores, what they are) of a results folder.

    Raises:
        ValueError: if there is no readable results file, or it is of another space.
    """
    settings, scores, *_ = stored.read(folder)
    if settings.get("space") != space.name:
        raise ValueError(f"{folder} is of space {settings.get('space')!r}: needed is {space.name}")
    described = [f"{name} {value}" for name, value in settings.items() if name not in ("format", "space")]
    return scores, ", ".join(described)


def main() -> None:
    """Reads the flags and the scores, compares, writes the folder."""
    if FLAGS.suite_zero is None:
        raise ValueError("no values of NAS-Bench-Suite-Zero are given: --suite_zero is a CSV of them")
    theirs = from_suite_zero(FLAGS.suite_zero)
    space = nasbench201.space()
    ours, described = read_store(FLAGS.store, space) if FLAGS.store else read_table(FLAGS.scores, space)
    records = agreement.agreement(ours, theirs, space)
    versions = ", ".join(f"{name} {version}" for name, version in score_report.versions().items())
    agreement.write(FLAGS.out, records, f"{described}; {versions}", theirs)
    compared = sum(record["common"] > 0 for record in records)
    print(f"{compared} of {len(records)} proxies compared; written: {FLAGS.out}/ suite_zero.md, suite_zero.csv")

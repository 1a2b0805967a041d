"""Computes the WRCor paper's Tables 2 to 6 on NAS-Bench-201 and writes them beside the paper's figures.

    reproduce_main --table=3 --num_architectures=100 --benchmark=nasbench201.csv.gz
    reproduce_main --benchmark=nasbench201.csv.gz --suite_zero=nasbench201_suite_zero_cifar10.csv.gz

Tables 2 to 4 take the first 1,000 indices, 5 and 6 the first 300. Each is written to --out (default results/reproduce)
as Markdown and CSV, and again whenever a part of it is done. Stopped at any moment and started again with the same
flags, it goes on where it was.
"""

import dataclasses
import pathlib

from absl import flags as absl_flags

from zsnas_jax import benchmarks, flags, report, search_spaces
from zsnas_jax.benchmarks.suite_zero import from_suite_zero
from zsnas_jax.datasets.sources import NUM_CLASSES
from zsnas_jax.ranking import ScoreSettings
from zsnas_jax.reproduction import agreement, study
from zsnas_jax.reproduction import tables as paper_tables
from zsnas_jax.reproduction.materials import Materials, open_pictures

FLAGS = absl_flags.FLAGS
_NONE = "none"


def define_flags() -> None:
    """The flags of this binary."""
    flags.define_run_flags()
    known = [str(number) for number in paper_tables.TABLES]
    absl_flags.DEFINE_list("table", known, f"Which tables, of {', '.join(known)}; empty: none.")
    absl_flags.DEFINE_integer("num_architectures", 0, "The first so many indices; 0: 1,000 (2 to 4), 300 (5 and 6).")
    for dataset in NUM_CLASSES:
        absl_flags.DEFINE_string(
            dataset,
            dataset,
            f"Pictures for {dataset}: a data set's name, the path of an .npz, or none to leave it out.",
        )
    absl_flags.DEFINE_bool("slow", True, f"Whether to score {' and '.join(paper_tables.SLOW)}, which take hours.")
    absl_flags.DEFINE_string("suite_zero", None, "CSV of NAS-Bench-Suite-Zero's proxies, to compare our ranks with.")


def _tables(base: ScoreSettings) -> list[paper_tables.Table]:
    tables = []
    for text in dict.fromkeys(FLAGS.table):
        if text not in map(str, paper_tables.TABLES):
            raise ValueError(f"table {text!r}: allowed are {', '.join(map(str, paper_tables.TABLES))}")
        tables.append(paper_tables.make_table(int(text), base, FLAGS.num_architectures))
    if not tables and not FLAGS.suite_zero:
        raise ValueError("no table is asked for: give --table, or --suite_zero")
    return tables


def _materials(tables: list[paper_tables.Table], base_run: paper_tables.Run) -> Materials:
    """What the tables and the comparison need; a data set that nothing can be computed of is not looked for.

    Raises a ValueError where that is every one.
    """
    space = search_spaces.make_space("nasbench201")
    benchmark = benchmarks.open_benchmark("analog" if FLAGS.benchmark == "auto" else FLAGS.benchmark)
    materials = Materials(space, {}, benchmark, pathlib.Path(FLAGS.out or "results/reproduce"))
    runs = [run for table in tables for run in table.runs]
    needed = {run.dataset for run in runs if materials.accuracy_column(run.dataset)}
    needed |= {base_run.dataset} if FLAGS.suite_zero else set()
    given = {dataset: str(FLAGS[dataset].value) for dataset in NUM_CLASSES if dataset in needed}
    pictures = {d: open_pictures(d, value, FLAGS.data_dir) for d, value in given.items() if value != _NONE}
    materials = dataclasses.replace(materials, pictures=pictures)
    lacks = dict.fromkeys(materials.lack(run.dataset) for run in runs)
    if lacks and None not in lacks:
        raise ValueError(f"nothing of the tables can be computed: {'; '.join(map(str, lacks))}")
    return materials


def _compare(theirs: benchmarks.TabularBenchmark, materials: Materials, run: paper_tables.Run) -> None:
    """Writes the comparison with another implementation, over all that the run of Table 2 holds."""
    stored = materials.stored(run)
    ours = agreement.agreement(materials.read(run, stored, theirs.columns), theirs, materials.space)
    pictures = materials.pictures[run.dataset]
    source = f"{run}, seed {run.settings.seed}, pictures {pictures.name}, batch {stored['batch_sha256']}"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions().items())
    agreement.write(materials.out, ours, f"{source}; {versions}", theirs)
    print(f"suite_zero: {sum(record['common'] > 0 for record in ours)} of {len(ours)} proxies compared")


def main() -> None:
    """Reads the flags, scores, writes the tables."""
    flags.configure()
    base = ScoreSettings(batch_size=FLAGS.batch_size, seed=FLAGS.seed)
    tables, base_run = _tables(base), paper_tables.Run("cifar10", base)
    theirs = from_suite_zero(FLAGS.suite_zero) if FLAGS.suite_zero else None
    materials = _materials(tables, base_run)
    if theirs and base_run.dataset not in materials.pictures:
        raise ValueError("suite_zero compares scores on cifar10: give --cifar10 pictures")
    groups = [group for group in paper_tables.GROUPS if FLAGS.slow or not set(group) & set(paper_tables.SLOW)]
    candidates = flags.candidates_per_step()
    made = study.reproduce(tables, materials, groups=groups, candidates_per_step=candidates)
    names = [f"table{table.number}" for table in tables]
    if theirs:
        _compare(theirs, materials, base_run)
        names.append("suite_zero")
    print(f"written: {materials.out}/ {', '.join(f'{name}.md, {name}.csv' for name in names)}")
    if made.failures:
        raise ValueError(f"{len(made.failures)} runs failed: the tables say which and why")


def cli() -> None:
    """The console command."""
    define_flags()
    flags.run(main, __doc__)


if __name__ == "__main__":
    cli()

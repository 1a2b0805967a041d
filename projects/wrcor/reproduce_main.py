"""Computes the WRCor paper's Tables 2 to 9 and writes them beside the paper's figures.

    python -m projects.wrcor.reproduce_main --table=9 --benchmark=nasbench201.csv.gz
    python -m projects.wrcor.reproduce_main --table=3 --num_architectures=100 --benchmark=nasbench201.csv.gz
    python -m projects.wrcor.reproduce_main --benchmark=nasbench201.csv.gz --cifar10=cifar10.npz
    python -m projects.wrcor.reproduce_main --table=7,8 --benchmark=nasbench201.csv.gz \
      --nasbench101=nasbench_only108.tfrecord

Run it in a clone of the repository; projects/wrcor/README.md says more. Tables 2 to 4 take the first 1,000 indices of
NAS-Bench-201, 5 and 6 the first 300; Table 7 the first 1,000 of NAS-Bench-101, which is a job of hours; Table 9
searches the shipped scores, in a minute or two, and Table 8 what Table 7 has scored. Each is written to --out (default
results/reproduce) as Markdown and CSV, and again whenever a part of it is done. Stopped at any moment and started again
with the same flags, it goes on where it was.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from zsnas_jax import command

    command.run("projects.wrcor.reproduce_main")

from collections.abc import Callable, Sequence
import dataclasses
import functools
import pathlib
from typing import NamedTuple

from absl import flags as absl_flags

from projects.wrcor import layout, nasbench101_truth, table7, table8, table9, tables_2_to_6
from projects.wrcor.inputs import Inputs
from projects.wrcor.layout import Run, Table
from projects.wrcor.pictures import Pictures, open_pictures
from projects.wrcor.searches import SearchSettings
from zsnas_jax import benchmarks, flags, search_spaces
from zsnas_jax.arguments import Range, Subject
from zsnas_jax.runs.settings import ScoreSettings

FLAGS = absl_flags.FLAGS
TABLE = Subject("Tables")
TABLES = (*layout.TABLES, 7, 8, 9)
"""Those that can be asked for."""

Groups = Sequence[Sequence[str]]


class Written(NamedTuple):
    """The names of the files of some tables, and how many runs for them failed."""

    names: list[str]
    num_failed: int


Job = Callable[[], Written]
"""Computes tables and writes them."""

_NONE = "none"


def define_flags() -> None:
    """The flags of this binary."""
    usual = [str(number) for number in layout.TABLES]
    TABLE.words("table", usual, f"Which tables, of {', '.join(map(str, TABLES))}.")
    TABLE.whole(
        "num_architectures",
        0,
        "The first so many indices; 0: 1,000, but 300 in 5 and 6. In 8 and 9: that a search explores.",
        Range(0, 100_000),
    )
    TABLE.whole("num_seeds", 100, "Tables 8 and 9: how often each search runs.", Range(1, 10_000))
    TABLE.switch("slow", True, f"Whether to score {' and '.join(layout.SLOW)}, which take hours.")
    TABLE.path(
        "scores",
        "nasbench201_scores",
        "Scores of NAS-Bench-201 that Table 9 searches, and 7 shows where its own runs lack them: as of --benchmark.",
    )
    TABLE.paths("live_reports", "Table 8: report.json of live searches of NAS-Bench-101 by search_main.")
    for dataset in layout.DATASETS:
        flags.DATA.path(
            dataset,
            dataset,
            f"Pictures for {dataset}: a data set's name, the path of an .npz, or none to leave it out.",
        )
    flags.define_run_flags()
    flags.TRUTH.path(
        "nasbench101",
        None,
        "Tables 7 and 8: the published .tfrecord of NAS-Bench-101, or an .npz of its test accuracy.",
    )
    flags.TRUTH.path(
        "nasbench101_valid", None, "Validation accuracies of NAS-Bench-101 if --nasbench101 has none: a CSV."
    )


def _numbers() -> list[int]:
    """The tables that are asked for."""
    for text in FLAGS.table:
        if text not in map(str, TABLES):
            raise ValueError(f"table {text!r}: allowed are {', '.join(map(str, TABLES))}")
    if not FLAGS.table:
        raise ValueError(f"no table is asked for: allowed are {', '.join(map(str, TABLES))}")
    return [int(text) for text in dict.fromkeys(FLAGS.table)]


def _out() -> pathlib.Path:
    return pathlib.Path(FLAGS.out or "results/reproduce")


@functools.cache
def _benchmark(name: str) -> benchmarks.TabularBenchmark:
    return benchmarks.open_benchmark("analog" if name == "auto" else name)


@functools.cache
def _pictures(dataset: str, value: str, data_dir: str | None) -> Pictures:
    return open_pictures(dataset, value, data_dir)


@functools.cache
def _nasbench101(path: str | None, valid_path: str | None) -> benchmarks.TabularBenchmark:
    if path is None:
        raise ValueError("tables 7 and 8 need --nasbench101, the published .tfrecord or an .npz of its test accuracy")
    return nasbench101_truth.open_truth(path, valid_path)


def _inputs_of_all(tables: list[Table]) -> Inputs:
    """What Tables 2 to 6 need; pictures of a data set that nothing can be computed of are not looked for.

    Raises a ValueError where that is every one.
    """
    inputs = _inputs("nasbench201", _benchmark(FLAGS.benchmark))
    runs = [run for table in tables for run in table.runs]
    needed = {run.dataset for run in runs if inputs.accuracy_column(run.dataset)}
    given = {dataset: str(FLAGS[dataset].value) for dataset in layout.DATASETS if dataset in needed}
    pictures = {d: _pictures(d, value, FLAGS.data_dir) for d, value in given.items() if value != _NONE}
    inputs = dataclasses.replace(inputs, pictures=pictures)
    lacks = dict.fromkeys(inputs.lack(run.dataset) for run in runs)
    if None not in lacks:
        raise ValueError(f"nothing of the tables can be computed: {'; '.join(map(str, lacks))}")
    return inputs


def _inputs(space: str, benchmark: benchmarks.TabularBenchmark, run: Run | None = None) -> Inputs:
    """What a table of a space needs, with the pictures of a run if it has some."""
    value = str(FLAGS[run.dataset].value) if run else _NONE
    pictures = {run.dataset: _pictures(run.dataset, value, FLAGS.data_dir)} if run and value != _NONE else {}
    return Inputs(search_spaces.make_space(space), pictures, benchmark, _out())


def _scores() -> benchmarks.TabularBenchmark | None:
    return None if FLAGS.scores == _NONE else _benchmark(FLAGS.scores)


def _search_settings() -> SearchSettings:
    default = SearchSettings.num_architectures
    return SearchSettings(FLAGS.num_architectures or default, FLAGS.num_seeds, FLAGS.seed)


def _table7(run: Run, candidates: int) -> Job:
    first = _inputs("nasbench101", _nasbench101(FLAGS.nasbench101, FLAGS.nasbench101_valid), run)
    second = _inputs("nasbench201", _benchmark(FLAGS.benchmark), run)
    table = table7.make_table(run.settings, FLAGS.num_architectures)
    setup, groups = table7.Setup(first, second, _scores(), table), _wanted(table7.GROUPS)

    def job() -> Written:
        names = table7.reproduce(setup, groups=groups, candidates_per_step=candidates)
        return Written(names, len(setup.scored.failures))

    return job


def _table8(run: Run) -> Job:
    inputs = _inputs("nasbench101", _nasbench101(FLAGS.nasbench101, FLAGS.nasbench101_valid), run)
    live = [table8.read_live(path) for path in FLAGS.live_reports]
    setup = table8.Setup(inputs, run, _search_settings(), live)
    return lambda: Written(table8.reproduce(setup), 0)


def _table9() -> Job:
    inputs = _inputs("nasbench201", _benchmark(FLAGS.benchmark))
    setup = table9.Setup(inputs, _scores(), _search_settings())
    return lambda: Written(table9.reproduce(setup), 0)


def _tables_2_to_6(numbers: list[int], run: Run, candidates: int) -> Job:
    tables = [layout.make_table(number, run.settings, FLAGS.num_architectures) for number in numbers]
    inputs = _inputs_of_all(tables)

    def job() -> Written:
        groups = _wanted(layout.GROUPS)
        scored = tables_2_to_6.reproduce(tables, inputs, groups=groups, candidates_per_step=candidates)
        names = [f"table{number}.{ending}" for number in numbers for ending in ("md", "csv")]
        return Written(names, len(scored.failures))

    return job


def _wanted(groups: Groups) -> Groups:
    """The groups of proxies without those that --slow=false leaves out."""
    return [group for group in groups if FLAGS.slow or not set(group) & set(layout.SLOW)]


def main() -> None:
    """Reads the flags, scores and searches, writes the tables. What is wrong is found before anything is written."""
    flags.configure()
    flags.check_memory("nasbench201", None, FLAGS.batch_size, flags.num_together())
    numbers = _numbers()
    run = Run("cifar10", ScoreSettings(batch_size=FLAGS.batch_size, seed=FLAGS.seed))
    candidates, jobs = FLAGS.candidates_per_step, list[Job]()
    first = [number for number in numbers if number in layout.TABLES]
    if 9 in numbers:  # the quickest
        jobs.append(_table9())
    if first:
        jobs.append(_tables_2_to_6(first, run, candidates))
    if 7 in numbers:
        jobs.append(_table7(run, candidates))
    if 8 in numbers:  # which searches what 7 has scored
        jobs.append(_table8(run))
    written = [job() for job in jobs]
    print(f"written: {_out()}/ {', '.join(name for one in written for name in one.names)}")
    if num_failed := sum(one.num_failed for one in written):
        raise ValueError(f"{num_failed} runs failed: the tables say which and why")

"""Table 9 of the WRCor paper: searches of NAS-Bench-201 over the shipped scores. A architectures, S seeds."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

import numpy as np

from projects.wrcor import accuracies, experts, objectives, paper, searches, table_files
from projects.wrcor.accuracies import Line
from projects.wrcor.inputs import Inputs
from projects.wrcor.layout import DATASETS
from projects.wrcor.objectives import Objective
from projects.wrcor.searches import PREFIXES, Found, Search, SearchSettings
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.reports import documents
from zsnas_jax.reports.documents import csv_text, markdown_table

OBJECTIVES = ("wrcor", "zerocost", "sjw", "spw", "ncd_nwot", "ncd_swap", *experts.EXPERIMENTAL)
"""The scores that are maximised, beside the validation accuracy. The paper has the first three."""

_ALSO = "cifar10"
"""The data set by whose validation accuracy the others are searched, too."""

ALL_1X1 = 2
"""The operation of every edge of the cell to which evolution by WRCor collapses in the paper."""

_HEADING = """# Table 9 of the WRCor paper: searches of NAS-Bench-201

{settings.num_seeds} seeds of {settings.num_architectures:,} architectures each. **{done} of {total} searches done.**

*paper* is the test accuracy in percent as Jing et al. print it, mean ± deviation of 3 runs. *ours* is mean ± deviation
over the seeds, with the 95 % interval of a bootstrap of the mean over them (1,000 resamples, seed 0); *difference* is
ours less the paper's, *regret* what is missing to the optimum of the same table. R random search, RL REINFORCE, RE
regularized evolution, with the settings of `search_main`. Every score is looked up in a table, so the paper's search
costs have no counterpart. Scores are of one batch of CIFAR-10 and one initialisation for all data sets and seeds: the
seeds differ in what a search draws. ValAcc is the validation accuracy after 12 epochs (one training): that of CIFAR-10
for all data sets, whose maximum, index 13714, is what the paper prints for RE-ValAcc on all three, and beside it that
of each data set for itself. In a vote the experts of a tournament decide by majority; REINFORCE adds z-scores, as do
all searches by an experimental vote ({experimental}), whose weights were chosen on cells of this space. Rows without a
score are the paper's alone.
"""

_MAXIMA = """## What each score's maximum is

The best of all {count:,} cells by each score, the first of equals, and what it is worth; a vote's is the cell that
beats most others. A search that does its task well comes to this, whatever the score is good for.
"""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What the table is made of.

    Attributes:
        inputs: NAS-Bench-201, its accuracies, the folder of the documents.
        scores: of all architectures, by column; None: there are none.
        settings: of the searches.

    Raises:
        ValueError: if the scores are of another space, no accuracy is there, or a search is too short.
    """

    inputs: Inputs
    scores: TabularBenchmark | None
    settings: SearchSettings

    def __post_init__(self) -> None:
        space, benchmark = self.inputs.space, self.inputs.benchmark
        for table in (benchmark, self.scores):
            if table is not None and table.space != space.name:
                raise ValueError(f"{table.name} is of space {table.space}, the searches are of {space.name}")
        if not self.test_columns:
            raise ValueError(f"the benchmark {benchmark.name} has no test accuracy on {', '.join(DATASETS)}")
        searches.check_budget(space, self.settings)

    @functools.cached_property
    def test_columns(self) -> dict[str, str]:
        """Data set to the column of its test accuracy, of the full training as in the paper."""
        find = self.inputs.find_column
        columns = {d: find(f"{d}_test_200", f"{d}split_test_200", f"{d}_test") for d in DATASETS}
        return {dataset: column for dataset, column in columns.items() if column}

    def accuracy(self, dataset: str) -> np.ndarray:
        """The test accuracies float[A] of a data set."""
        return np.asarray(self.inputs.benchmark.columns[self.test_columns[dataset]])

    def find(self, name: str) -> np.ndarray | None:
        """The scores float[A] of a proxy; None unless every architecture has been scored."""
        values = self.scores.columns.get(name) if self.scores else None
        return None if values is None or np.isnan(values).any() else np.asarray(values)


def make_objectives(setup: Setup) -> list[Objective]:
    """What can be maximised, the validation accuracies first."""
    made: list[Objective | None] = []
    for dataset in setup.test_columns:
        if column := setup.inputs.validation_column(dataset):
            values = np.asarray(setup.inputs.benchmark.columns[column], np.float32)
            name = f"{paper.VALIDATION_ACCURACY}:{dataset}"
            conditions = None if dataset == _ALSO else (dataset,)
            made.append(Objective(name, paper.title(name), values[:, None], conditions))
    find = experts.with_derived(setup.find)
    rows = objectives.reference_rows(setup.settings.reference_key, setup.inputs.space) if setup.scores else None
    made += [objectives.make_objective(name, find, rows) for name in OBJECTIVES]
    return [objective for objective in made if objective]


def maxima(setup: Setup) -> list[dict[str, Any]]:
    """For each score of the table and each vote the cell that it likes best, with its accuracies as fractions."""
    space, find = setup.inputs.space, experts.with_derived(setup.find)
    names = [*(setup.scores.columns if setup.scores else ()), *experts.SHOWN]
    values: dict[str, np.ndarray | None] = {name: experts.find_values(name, find) for name in names}
    validation = {dataset: setup.inputs.validation_column(dataset) for dataset in setup.test_columns}
    columns = {column: np.asarray(setup.inputs.benchmark.columns[column]) for column in validation.values() if column}
    tops = {name: objectives.maximum(column) for name, column in (columns | values).items() if column is not None}
    records = []
    for name, top in tops.items():
        if top and space.from_index:
            arch = space.encode(space.from_index(top.row))
            record: dict[str, Any] = {"score": name, "index": top.row, "num_equal": top.num_ties, "arch": arch}
            records.append(record | {c: float(setup.accuracy(d)[top.row]) for d, c in setup.test_columns.items()})
    return records


def make_lines(setup: Setup, plan: Sequence[Search], found: Sequence[Found], dataset: str) -> list[Line]:
    """The lines of a data set: every search, the optimum, and what else the paper prints."""
    accuracy, condition = setup.accuracy(dataset), f"{dataset}_test"
    figures = {row: figure for (row, column), figure in paper.search_figures(9).items() if column == condition}
    optimum = accuracies.find_optimum(setup.test_columns[dataset], accuracy)
    done = {one.search.key: accuracies.summarise(accuracy[one.indices]) for one in found}
    lines = []
    for search in plan:
        if search.objective.conditions is None or dataset in search.objective.conditions:
            figure = figures.get(search.row, paper.NO_FIGURE)
            name, best = search.objective.name, optimum.accuracy
            lines.append(Line(search.row, name, "", condition, figure, done.get(search.key), best))
    ours = {search.row for search in plan} | {"Optimum"}
    itself = accuracies.summarise(np.array([optimum.accuracy]))
    lines.append(Line("Optimum", optimum.column, "", condition, figures["Optimum"], itself, None))
    others = {row: figure for row, figure in figures.items() if row not in ours}
    return lines + [Line(row, "", "", condition, figure, None, None) for row, figure in others.items()]


def reproduce(setup: Setup, *, say: Callable[[str], Any] = print) -> list[str]:
    """Searches, and rewrites the documents after each search.

    Args:
        setup: what the table is made of.
        say: takes lines of progress.

    Returns:
        The names of the files: table9.md and table9.csv, table9_cells.csv and table9_maxima.csv.

    Raises:
        ValueError: if the folder of the searches is damaged, of other settings or in use.
        OSError: if it cannot be written.
    """
    space = setup.inputs.space
    run = searches.make_runner(space, setup.settings)
    plan = [(Search(strategy, objective), run) for objective in make_objectives(setup) for strategy in PREFIXES]
    tops, planned = maxima(setup), [search for search, _ in plan]
    write = lambda found: _write(setup, planned, found, tops)
    write([])
    found = searches.run_all(setup.inputs.out, space, plan, setup.settings, write)
    say(f"table 9: {len(found)} of {len(plan)} searches done")
    return write(found)


def _write(
    setup: Setup, plan: Sequence[Search], found: Sequence[Found], tops: Sequence[Mapping[str, Any]]
) -> list[str]:
    lines = {dataset: make_lines(setup, plan, found, dataset) for dataset in setup.test_columns}
    named = ", ".join(experts.EXPERIMENTAL)
    heading = _HEADING.format(settings=setup.settings, done=len(found), total=len(plan), experimental=named)
    parts = [heading, *(f"- {note}" for note in _notes(setup, plan)), ""]
    for dataset, column in setup.test_columns.items():
        parts += [f"## {dataset}", "", f"Accuracy: {column}.", "", accuracies.as_markdown(lines[dataset]), ""]
    out, cells = setup.inputs.out, _cells(setup, found)
    if cells:
        parts += ["## Which cells were found", "", markdown_table(cells), ""]
    if tops:
        shown = [{key: _as_text(value) for key, value in top.items()} for top in tops]
        parts += [_MAXIMA.format(count=setup.inputs.space.num_archs), markdown_table(shown), ""]
    records = [accuracies.as_record(line) for each in lines.values() for line in each]
    table_files.write(out, "table9", "\n".join([*parts, _ending(setup)]), csv_text(records))
    tables = {"table9_cells.csv": cells, "table9_maxima.csv": tops}
    for name, rows in tables.items():
        if rows:
            documents.write_csv(out / name, rows)
    return [
        "table9.md",
        "table9.csv",
        *(["table9_cells.csv"] if plan else []),
        *(["table9_maxima.csv"] if tops else []),
    ]


def _as_text(value: Any) -> str:
    """A field for people; the bars of an architecture's string would end a field of Markdown."""
    return accuracies.percent(value) if isinstance(value, float) else str(value).replace("|", "\\|")


def _cells(setup: Setup, found: Sequence[Found]) -> list[dict[str, str]]:
    space = setup.inputs.space
    assert space.to_index is not None and space.num_choices is not None
    collapse = int(space.to_index(np.full(len(space.num_choices), ALL_1X1)))
    named = {f"all 1x1 ({collapse})": collapse}
    return [accuracies.cells_record(one.search.row, one.search.objective.name, one.indices, named) for one in found]


def _notes(setup: Setup, plan: Sequence[Search]) -> list[str]:
    """Why rows are missing."""
    benchmark = setup.inputs.benchmark.name
    lost = [dataset for dataset in DATASETS if dataset not in setup.test_columns]
    notes = [f"{dataset} left out: the benchmark {benchmark} has no test accuracy on it" for dataset in lost]
    there, find = {search.objective.name for search in plan}, experts.with_derived(setup.find)
    for dataset in setup.test_columns:
        if f"{paper.VALIDATION_ACCURACY}:{dataset}" not in there:
            notes.append(f"ValAcc: the benchmark {benchmark} has no {dataset}_valid_12")
    lacking = [name for name in OBJECTIVES if name not in there]
    needed = dict.fromkeys(expert for name in lacking for expert in experts.expert_names(name))
    missing = [expert for expert in needed if find(expert) is None]
    table = setup.scores.name if setup.scores else "(none)"
    return notes + (
        [f"{', '.join(lacking)} left out: the table of scores {table} lacks {', '.join(missing)}"] if lacking else []
    )


def _ending(setup: Setup) -> str:
    inputs, scores = setup.inputs, setup.scores
    spent = searches.seconds(inputs.out, inputs.space, setup.settings)
    made = f"Scores: {scores.name}, SHA-256 {scores.checksum}: {scores.source}" if scores else "Scores: none"
    return (
        f"{made}\n\nGround truth: {inputs.benchmark.source}, SHA-256 {inputs.benchmark.checksum}.\n\n"
        f"Seed {setup.settings.seed}; seconds of the searches, compilation included: {spent}.\n\n"
        f"{table_files.written_with()}\n"
    )

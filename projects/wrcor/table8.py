"""Table 8 of the WRCor paper: searches of NAS-Bench-101. A architectures, M of them scored, S seeds.

The whole space has not been scored: what is searched by scores is the cells that Table 7's run left, at random, and by
live searches of `search_main`, whose reports are read.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from projects.wrcor import accuracies, experts, nasbench101_truth, objectives, paper, searches, table_files
from projects.wrcor.accuracies import Line
from projects.wrcor.inputs import Inputs
from projects.wrcor.layout import Run
from projects.wrcor.objectives import Objective
from projects.wrcor.searches import PREFIXES, Found, Runner, Search, SearchSettings
from zsnas_jax import votes
from zsnas_jax.reports import documents
from zsnas_jax.reports.documents import csv_text, markdown_table

OBJECTIVES = (
    *("wrcor", "zerocost", "zerocost:flipped", "sjw", "sjw:flipped", "spw", "ncd_nwot", "ncd_swap"),
    *experts.EXPERIMENTAL,
)
"""The scores that random search over the scored cells maximises."""

CONDITIONS = {"test": nasbench101_truth.TEST, "valid": nasbench101_truth.VALID}
"""Column of the paper's table to the beginning of ours."""

_HEADING = """# Table 8 of the WRCor paper: searches of NAS-Bench-101

**{done} of {total} searches done**, of {settings.num_architectures:,} architectures and {settings.num_seeds} seeds,
where nothing else is said.

*paper* is the accuracy in percent as Jing et al. print it, mean ± deviation of 3 runs, of means over three trainings.
*ours* is mean ± deviation over the seeds, with the 95 % interval of a bootstrap of the mean over them (1,000 resamples,
seed 0); *difference* is ours less the paper's. *test* is {test}, *regret* what is missing to the best of that column,
{best:.2f} (index {row}); the published means have 94.32. A single training's best is the luckiest of 423,624, so that
regrets to it are larger. R random search, RL REINFORCE, RE regularized evolution, with the settings of `search_main`.

- *{whole}*: the column stands for what a search trains{oracle}.
- *random over M scored cells*: the whole space has not been scored, or not been trained for so long. Drawing with
  replacement from M cells that are themselves a random sample, rows in the order of hashes, is a bootstrap of random
  search over the space; its deviation is that of the draws alone, too small where M is not much more than
  {settings.num_architectures:,}.
- *live*: by `search_main`, which scored every network that it met; seconds without compilation.
"""

_ORACLE = ", here an **oracle**: the test accuracy itself, for lack of a validation accuracy of all cells"


class Live(NamedTuple):
    """What a report of `search_main` says.

    Attributes:
        row: its name as the paper has them.
        score: what it maximised.
        how: what was searched and how, in words.
        indices: published, of what it found, int[S].
    """

    row: str
    score: str
    how: str
    indices: np.ndarray


def read_live(path: str | os.PathLike[str]) -> Live:
    """What a report.json of a live search of NAS-Bench-101 found.

    Raises:
        ValueError: if the file is no such report.
        FileNotFoundError: if it is not there.
    """
    text = pathlib.Path(path).read_text(encoding="utf-8")
    try:
        made = json.loads(text)
        space, search, run = made["settings"]["space"], made["search"], made["run"]
        indices = np.array([seed["index"] for seed in made["seeds"]], int)
        count, strategy, name = int(search["num_architectures"]), PREFIXES[search["strategy"]], str(search["scores"])
        looked_up, (_, spent) = run["how"] != "computed", run["commits"][-1]
        data, device = pathlib.Path(made["settings"]["dataset"]).stem, made["device"]["kind"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"{path} is not a report of search_main: {type(error).__name__} {error}") from error
    if space != nasbench101_truth.SPACE or looked_up:
        kind = "looked up" if looked_up else "live"
        raise ValueError(f"{path} is of a {kind} search of {space}: needed is a live one of {nasbench101_truth.SPACE}")
    seeds = f"{len(indices)} seed{'s' if len(indices) > 1 else ''}"
    how = f"live, {seeds} of {count:,} architectures, {data}, {spent:,.0f} s on {device}"
    return Live(f"{strategy}-{paper.title(name)}", name, how, indices)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What the table is made of.

    Attributes:
        inputs: NAS-Bench-101, accuracies of `nasbench101_truth.open_truth`, and the pictures of Table 7's run, if the
            scores that it left are to be searched.
        run: of Table 7.
        settings: of the searches.
        live: reports of live searches.

    Raises:
        ValueError: if a search is too short, or the table has no test accuracy of some cells.
    """

    inputs: Inputs
    run: Run
    settings: SearchSettings
    live: Sequence[Live] = ()

    def __post_init__(self) -> None:
        searches.check_budget(self.inputs.space, self.settings)
        if missing := int(np.isnan(self.accuracy("test")).sum()):
            name = self.inputs.benchmark.name
            raise ValueError(f"table 8 needs the test accuracy of all cells: {name} lacks {missing:,}")

    def column(self, condition: str) -> str | None:
        """Our column of a key of `CONDITIONS`."""
        return nasbench101_truth.find_column(self.inputs.benchmark, CONDITIONS[condition])

    def accuracy(self, condition: str) -> np.ndarray:
        """Accuracies float[A], NaN where there is none."""
        column = self.column(condition)
        total = self.inputs.space.num_archs or 0
        return np.asarray(self.inputs.benchmark.columns[column]) if column else np.full(total, np.nan)

    @functools.cached_property
    def trained(self) -> str:
        """The column of the searches by accuracy: a validation accuracy of all cells, else the test accuracy."""
        for beginning in (nasbench101_truth.SHORT_VALID, nasbench101_truth.VALID):
            column = nasbench101_truth.find_column(self.inputs.benchmark, beginning)
            if column and not np.isnan(self.inputs.benchmark.columns[column]).any():
                return column
        return str(self.column("test"))

    @property
    def is_oracle(self) -> bool:
        """Whether these go by what they are held to."""
        return self.trained == self.column("test")


class Scored(NamedTuple):
    """The cells that all experts of an objective have scored: rows int[M], and the objective over them."""

    rows: np.ndarray
    objective: Objective


def find_scored(setup: Setup) -> list[Scored]:
    """The objectives over the cells that Table 7's run left.

    Raises:
        ValueError: if its folder is damaged or in use.
    """
    inputs, space = setup.inputs, setup.inputs.space
    if setup.run.dataset not in inputs.pictures or space.to_index is None:
        return []
    proxies = dict.fromkeys(expert for name in OBJECTIVES for expert in experts.expert_names(name))
    scores = inputs.read(setup.run, inputs.stored(setup.run), proxies)
    cells = sorted({cell for known in scores.values() for cell in known})
    if not cells:
        return []
    rows = np.asarray(space.to_index(np.array([space.decode(cell) for cell in cells])))
    values = {e: np.array([known.get(cell, np.nan) for cell in cells]) for e, known in scores.items()}
    found = []
    for name in OBJECTIVES:
        columns = [values[expert] for expert in experts.expert_names(name)]
        complete = np.flatnonzero(~np.isnan(columns).any(axis=0))
        order = complete[np.argsort(rows[complete])]
        chosen = {expert: column[order] for expert, column in values.items()} if len(order) else {}
        if objective := objectives.make_objective(name, chosen.get):
            found.append(Scored(rows[order], objective))
    return found


def find_validated(setup: Setup) -> list[Scored]:
    """The cells whose validation accuracy after 12 epochs is known, if they are some and not all."""
    column = nasbench101_truth.find_column(setup.inputs.benchmark, nasbench101_truth.SHORT_VALID)
    if column is None or column == setup.trained:
        return []
    values = np.asarray(setup.inputs.benchmark.columns[column], np.float32)
    rows = np.flatnonzero(~np.isnan(values))
    title = paper.title(paper.VALIDATION_ACCURACY)
    return [Scored(rows, Objective(column, title, values[rows, None]))] if len(rows) else []


def make_plan(setup: Setup, scored: Sequence[Scored]) -> list[tuple[Search, Runner]]:
    """The searches and what runs them: by accuracy over the space, at random over the scored cells."""
    space, settings = setup.inputs.space, setup.settings
    values = np.asarray(setup.inputs.benchmark.columns[setup.trained], np.float32)
    objective = Objective(setup.trained, paper.title(paper.VALIDATION_ACCURACY), values[:, None])
    run = searches.make_runner(space, settings)
    plan = [(Search(strategy, objective, _whole(setup)), run) for strategy in PREFIXES]
    make_runner = functools.cache(lambda count: searches.make_runner(searches.subspace(space, count), settings))
    for rows, objective in scored:
        find_row = functools.partial(_find_row, rows, make_runner(len(rows)))
        plan.append((Search("random", objective, f"random over {len(rows):,} scored cells"), find_row))
    return plan


def _find_row(rows: np.ndarray, find_place: Runner, one: Search, seeds: Sequence[int]) -> np.ndarray:
    """A runner over some rows."""
    return np.asarray(rows[find_place(one, seeds)])


def _whole(setup: Setup) -> str:
    return f"whole space, by {setup.trained}" + (" (oracle)" if setup.is_oracle else "")


def make_lines(setup: Setup, plan: Sequence[Search], found: Sequence[Found]) -> list[Line]:
    """The lines: every search, the live ones, what the paper has beside them, the optima."""
    figures = {key: figure for key, figure in paper.search_figures(8).items() if key[1] in CONDITIONS}
    done = {one.search.key: one.indices for one in found}
    ours = [(one.row, one.objective.name, one.how, done.get(one.key)) for one in plan]
    ours += [(live.row, live.score, live.how, live.indices) for live in setup.live]
    named = {row for row, *_ in ours} | {"Optimum"}
    ours += [(row, "", "", None) for row in dict.fromkeys(row for row, _ in figures) if row not in named]
    lines = []
    for condition in CONDITIONS:
        accuracy, column = setup.accuracy(condition), setup.column(condition)
        best = accuracies.find_optimum(column, accuracy) if column and not np.isnan(accuracy).any() else None
        for row, score, how, indices in ours:
            values = None if indices is None else accuracy[indices]
            known = None if values is None or np.isnan(values).any() else accuracies.summarise(values)
            figure = figures.get((row, condition), paper.NO_FIGURE)
            lines.append(Line(row, score, how, condition, figure, known, best.accuracy if best else None))
        itself = accuracies.summarise(np.array([best.accuracy])) if best else None
        lines.append(Line("Optimum", column or "", "", condition, figures["Optimum", condition], itself, None))
    return lines


def reproduce(setup: Setup, *, say: Callable[[str], Any] = print) -> list[str]:
    """Searches, and rewrites the documents after each search.

    Args:
        setup: what the table is made of.
        say: takes lines of progress.

    Returns:
        The names of the files: table8.md, table8.csv and table8_cells.csv.

    Raises:
        ValueError: if a folder is damaged, of other settings or in use.
        OSError: if it cannot be written.
    """
    scored = find_validated(setup) + find_scored(setup)
    plan, tops = make_plan(setup, scored), _maxima(setup, scored)
    planned = [search for search, _ in plan]
    write = lambda found: _write(setup, planned, found, tops)
    write([])
    found = searches.run_all(setup.inputs.out, setup.inputs.space, plan, setup.settings, write)
    say(f"table 8: {len(found)} of {len(plan)} searches done")
    return write(found)


def _maxima(setup: Setup, scored: Sequence[Scored]) -> list[dict[str, str]]:
    """For each score the cell that it likes best among those scored; a vote's is the one that beats most others."""
    space, records = setup.inputs.space, []
    accuracy = setup.accuracy("test")
    for rows, objective in scored:
        is_vote = objective.columns.shape[1] > 1
        values = votes.copeland(objective.columns) if is_vote else objective.columns[:, 0]
        if (top := objectives.maximum(values)) and space.from_index:
            row = int(rows[top.row])
            record = {"score": objective.name, "scored cells": str(len(rows)), "index": str(row)}
            record |= {"arch": space.encode(space.from_index(row)), "test": accuracies.percent(float(accuracy[row]))}
            records.append(record)
    return records


def _found_live(setup: Setup) -> list[dict[str, str]]:
    """The cells that live searches ended at, one of each seed."""
    space, accuracy = setup.inputs.space, setup.accuracy("test")
    assert space.from_index is not None
    records = []
    for live in setup.live:
        for row in live.indices.tolist():
            record = {"row": live.row, "score": live.score, "index": str(row)}
            record |= {"arch": space.encode(space.from_index(row)), "test": accuracies.percent(float(accuracy[row]))}
            records.append(record)
    return records


def _write(
    setup: Setup, plan: Sequence[Search], found: Sequence[Found], tops: Sequence[Mapping[str, str]]
) -> list[str]:
    lines = make_lines(setup, plan, found)
    test = str(setup.column("test"))
    best = accuracies.find_optimum(test, setup.accuracy("test"))
    heading = _HEADING.format(
        settings=setup.settings, done=len(found), total=len(plan), test=test, best=100 * best.accuracy, row=best.row,
        whole=_whole(setup), oracle=_ORACLE if setup.is_oracle else "",
    )  # fmt: skip
    parts = [heading, *(f"- {note}" for note in _notes(setup, plan)), "", accuracies.as_markdown(lines), ""]
    cells = [accuracies.cells_record(one.search.row, one.search.objective.name, one.indices, {}) for one in found]
    if cells:
        parts += ["## Which cells were found", "", markdown_table(cells), ""]
    if live := _found_live(setup):
        parts += ["## What each seed of the live searches found", "", markdown_table(live), ""]
    if tops:
        parts += ["## What each score likes best among the scored cells", "", markdown_table(tops), ""]
    out = setup.inputs.out
    records = [accuracies.as_record(line) for line in lines]
    table_files.write(out, "table8", "\n".join([*parts, _ending(setup)]), csv_text(records))
    if cells:
        documents.write_csv(out / "table8_cells.csv", cells)
    return ["table8.md", "table8.csv", *(["table8_cells.csv"] if cells else [])]


def _notes(setup: Setup, plan: Sequence[Search]) -> list[str]:
    """Why rows are missing."""
    lacking = [name for name in OBJECTIVES if name not in {search.objective.name for search in plan}]
    notes = [f"no scored cells: {', '.join(lacking)}; Table 7's run scores them"] if lacking else []
    if (column := setup.column("valid")) is None or np.isnan(setup.accuracy("valid")).any():
        name = column or nasbench101_truth.VALID
        notes.append(f"valid is left empty where {name} is not known of all that were found")
    return notes + ([] if setup.live else ["no reports of live searches were given"])


def _ending(setup: Setup) -> str:
    inputs, settings = setup.inputs, setup.settings
    spent = searches.seconds(inputs.out, inputs.space, settings)
    made = ""
    if setup.run.dataset in inputs.pictures:
        batch = inputs.stored(setup.run)["batch_sha256"]
        name = inputs.pictures[setup.run.dataset].name
        made = f"Scores: {setup.run}, seed {setup.run.settings.seed}, pictures {name}, batch {batch}.\n\n"
    return (
        f"{made}Ground truth: {inputs.benchmark.source}, SHA-256 {inputs.benchmark.checksum}.\n\n"
        f"Seed {settings.seed}; seconds of the searches, compilation included: {spent}.\n\n"
        f"{table_files.written_with()}\n"
    )

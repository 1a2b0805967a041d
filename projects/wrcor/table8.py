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

from projects.wrcor import comparison, findings, judges, nasbench101, paper, searches
from projects.wrcor.findings import Finding
from projects.wrcor.judges import Judge
from projects.wrcor.materials import Materials
from projects.wrcor.searches import PREFIXES, Found, Runner, Search, SearchSettings
from projects.wrcor.tables import Run
from zsnas_jax import votes
from zsnas_jax.reports import documents, score_report
from zsnas_jax.reports.documents import csv_text, markdown_table

JUDGES = (
    *("wrcor", "zerocost", "zerocost:flipped", "sjw", "sjw:flipped", "spw", "ncd_nwot", "ncd_swap"),
    *judges.EXPERIMENTAL,
)
"""What random search over the scored cells goes by."""

CONDITIONS = {"test": nasbench101.TEST, "valid": nasbench101.VALID}
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
    """A report of `search_main`: row as the paper has them, what it goes by, in words, published indices int[S]."""

    row: str
    judge: str
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
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is not a report of search_main: {type(error).__name__} {error}") from error
    if space != nasbench101.SPACE or looked_up:
        kind = "looked up" if looked_up else "live"
        raise ValueError(f"{path} is of a {kind} search of {space}: needed is a live one of {nasbench101.SPACE}")
    seeds = f"{len(indices)} seed{'s' if len(indices) > 1 else ''}"
    how = f"live, {seeds} of {count:,} architectures, {data}, {spent:,.0f} s on {device}"
    return Live(f"{strategy}-{judges.title(name)}", name, how, indices)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What the table is made of.

    Attributes:
        materials: NAS-Bench-101, accuracies of `nasbench101.open_truth`, and the pictures of Table 7's run, if the
            scores that it left are to be searched.
        run: of Table 7.
        settings: of the searches.
        live: reports of live searches.

    Raises:
        ValueError: if a search is too short, or the table has no test accuracy of some cells.
    """

    materials: Materials
    run: Run
    settings: SearchSettings
    live: Sequence[Live] = ()

    def __post_init__(self) -> None:
        searches.check_budget(self.materials.space, self.settings)
        if missing := int(np.isnan(self.accuracy("test")).sum()):
            name = self.materials.benchmark.name
            raise ValueError(f"table 8 needs the test accuracy of all cells: {name} lacks {missing:,}")

    def column(self, condition: str) -> str | None:
        """Our column of a key of `CONDITIONS`."""
        return nasbench101.find_column(self.materials.benchmark, CONDITIONS[condition])

    def accuracy(self, condition: str) -> np.ndarray:
        """Accuracies float[A], NaN where there is none."""
        column = self.column(condition)
        total = self.materials.space.num_archs or 0
        return np.asarray(self.materials.benchmark.columns[column]) if column else np.full(total, np.nan)

    @functools.cached_property
    def trained(self) -> str:
        """The column of the searches by accuracy: a validation accuracy of all cells, else the test accuracy."""
        for beginning in (nasbench101.SHORT_VALID, nasbench101.VALID):
            column = nasbench101.find_column(self.materials.benchmark, beginning)
            if column and not np.isnan(self.materials.benchmark.columns[column]).any():
                return column
        return str(self.column("test"))

    @property
    def is_oracle(self) -> bool:
        """Whether these go by what they are held to."""
        return self.trained == self.column("test")


class Scored(NamedTuple):
    """The cells that all experts of a judge have scored: rows int[M], and the judge over them."""

    rows: np.ndarray
    judge: Judge


def find_scored(setup: Setup) -> list[Scored]:
    """The judges over the cells that Table 7's run left.

    Raises:
        ValueError: if its folder is damaged or in use.
    """
    materials, space = setup.materials, setup.materials.space
    if setup.run.dataset not in materials.pictures or space.to_index is None:
        return []
    experts = dict.fromkeys(expert for name in JUDGES for expert in judges.expert_names(name))
    scores = materials.read(setup.run, materials.stored(setup.run), experts)
    cells = sorted({cell for known in scores.values() for cell in known})
    rows = np.asarray(space.to_index(np.array([space.decode(cell) for cell in cells]))) if cells else np.zeros(0, int)
    values = {e: np.array([known.get(cell, np.nan) for cell in cells]) for e, known in scores.items()}
    found = []
    for name in JUDGES:
        own = [values[expert] for expert in judges.expert_names(name) if expert in values]
        complete = np.flatnonzero(~np.isnan(own).any(axis=0)) if own else np.zeros(0, int)
        order = complete[np.argsort(rows[complete])]
        chosen = {expert: column[order] for expert, column in values.items()} if len(order) else {}
        if judge := judges.make_judge(name, chosen.get):
            found.append(Scored(rows[order], judge))
    return found


def find_validated(setup: Setup) -> list[Scored]:
    """The cells whose validation accuracy after 12 epochs is known, if they are some and not all."""
    column = nasbench101.find_column(setup.materials.benchmark, nasbench101.SHORT_VALID)
    if column is None or column == setup.trained:
        return []
    values = np.asarray(setup.materials.benchmark.columns[column], np.float32)
    rows = np.flatnonzero(~np.isnan(values))
    title = judges.title(paper.VALIDATION_ACCURACY)
    return [Scored(rows, Judge(column, title, values[rows, None]))] if len(rows) else []


def make_plan(setup: Setup, scored: Sequence[Scored]) -> list[tuple[Search, Runner]]:
    """The searches and what runs them: by accuracy over the space, at random over the scored cells."""
    space, settings = setup.materials.space, setup.settings
    values = np.asarray(setup.materials.benchmark.columns[setup.trained], np.float32)
    judge = Judge(setup.trained, judges.title(paper.VALIDATION_ACCURACY), values[:, None])
    run = searches.make_runner(space, settings)
    plan = [(Search(strategy, judge, _whole(setup)), run) for strategy in PREFIXES]
    make_runner = functools.cache(lambda count: searches.make_runner(searches.subspace(space, count), settings))
    for rows, judge in scored:
        find_row = functools.partial(_find_row, rows, make_runner(len(rows)))
        plan.append((Search("random", judge, f"random over {len(rows):,} scored cells"), find_row))
    return plan


def _find_row(rows: np.ndarray, find_place: Runner, one: Search, seeds: Sequence[int]) -> np.ndarray:
    """A runner over some rows."""
    return np.asarray(rows[find_place(one, seeds)])


def _whole(setup: Setup) -> str:
    return f"whole space, by {setup.trained}" + (" (oracle)" if setup.is_oracle else "")


def make_findings(setup: Setup, plan: Sequence[Search], found: Sequence[Found]) -> list[Finding]:
    """The lines: every search, the live ones, what the paper has beside them, the optima."""
    figures = {key: figure for key, figure in paper.search_figures(8).items() if key[1] in CONDITIONS}
    done = {one.search.key: one.indices for one in found}
    ours = [(one.row, one.judge.name, one.how, done.get(one.key)) for one in plan]
    ours += [(live.row, live.judge, live.how, live.indices) for live in setup.live]
    named = {row for row, *_ in ours} | {"Optimum"}
    ours += [(row, "", "", None) for row in dict.fromkeys(row for row, _ in figures) if row not in named]
    lines = []
    for condition in CONDITIONS:
        accuracy, column = setup.accuracy(condition), setup.column(condition)
        best = findings.find_optimum(column, accuracy) if column and not np.isnan(accuracy).any() else None
        for row, judge, how, indices in ours:
            values = None if indices is None else accuracy[indices]
            known = None if values is None or np.isnan(values).any() else findings.summarise(values)
            figure = figures.get((row, condition), paper.NO_FIGURE)
            lines.append(Finding(row, judge, how, condition, figure, known, best.accuracy if best else None))
        itself = findings.summarise(np.array([best.accuracy])) if best else None
        lines.append(Finding("Optimum", column or "", "", condition, figures["Optimum", condition], itself, None))
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
    found = searches.run_all(setup.materials.out, setup.materials.space, plan, setup.settings, write)
    say(f"table 8: {len(found)} of {len(plan)} searches done")
    return write(found)


def _maxima(setup: Setup, scored: Sequence[Scored]) -> list[dict[str, str]]:
    """For each score the cell that it likes best among those scored; a vote's is the one that beats most others."""
    space, records = setup.materials.space, []
    accuracy = setup.accuracy("test")
    for rows, judge in scored:
        experts = dict(enumerate(judge.columns.T))
        values = votes.copeland(judge.columns) if len(experts) > 1 else experts[0]
        if (top := judges.maximum(values)) and space.from_index:
            row = int(rows[top.row])
            record = {"score": judge.name, "scored cells": str(len(rows)), "index": str(row)}
            record |= {"arch": space.encode(space.from_index(row)), "test": findings.percent(float(accuracy[row]))}
            records.append(record)
    return records


def _found_live(setup: Setup) -> list[dict[str, str]]:
    """The cells that live searches ended at, one of each seed."""
    space, accuracy = setup.materials.space, setup.accuracy("test")
    assert space.from_index is not None
    records = []
    for live in setup.live:
        for row in live.indices.tolist():
            record = {"row": live.row, "score": live.judge, "index": str(row)}
            record |= {"arch": space.encode(space.from_index(row)), "test": findings.percent(float(accuracy[row]))}
            records.append(record)
    return records


def _write(
    setup: Setup, plan: Sequence[Search], found: Sequence[Found], tops: Sequence[Mapping[str, str]]
) -> list[str]:
    lines = make_findings(setup, plan, found)
    test = str(setup.column("test"))
    best = findings.find_optimum(test, setup.accuracy("test"))
    heading = _HEADING.format(
        settings=setup.settings, done=len(found), total=len(plan), test=test, best=100 * best.accuracy, row=best.row,
        whole=_whole(setup), oracle=_ORACLE if setup.is_oracle else "",
    )  # fmt: skip
    parts = [heading, *(f"- {note}" for note in _notes(setup, plan)), "", findings.as_markdown(lines), ""]
    cells = [findings.cells_record(one.search.row, one.search.judge.name, one.indices, {}) for one in found]
    if cells:
        parts += ["## Which cells were found", "", markdown_table(cells), ""]
    if live := _found_live(setup):
        parts += ["## What each seed of the live searches found", "", markdown_table(live), ""]
    if tops:
        parts += ["## What each score likes best among the scored cells", "", markdown_table(tops), ""]
    out = setup.materials.out
    records = [findings.as_record(line) for line in lines]
    comparison.write(out, "table8", "\n".join([*parts, _ending(setup)]), csv_text(records))
    if cells:
        documents.write_csv(out / "table8_cells.csv", cells)
    return ["table8.md", "table8.csv", *(["table8_cells.csv"] if cells else [])]


def _notes(setup: Setup, plan: Sequence[Search]) -> list[str]:
    """Why rows are missing."""
    lacking = [name for name in JUDGES if name not in {search.judge.name for search in plan}]
    notes = [f"no scored cells: {', '.join(lacking)}; Table 7's run scores them"] if lacking else []
    if (column := setup.column("valid")) is None or np.isnan(setup.accuracy("valid")).any():
        notes.append(f"valid is left empty where {column or nasbench101.VALID} is not known of all that were found")
    return notes + ([] if setup.live else ["no reports of live searches were given"])


def _ending(setup: Setup) -> str:
    materials, settings = setup.materials, setup.settings
    spent = searches.seconds(materials.out, materials.space, settings)
    made = ""
    if setup.run.dataset in materials.pictures:
        batch = materials.stored(setup.run)["batch_sha256"]
        name = materials.pictures[setup.run.dataset].name
        made = f"Scores: {setup.run}, seed {setup.run.settings.seed}, pictures {name}, batch {batch}.\n\n"
    versions = ", ".join(f"{name} {version}" for name, version in score_report.versions().items())
    return (
        f"{made}Ground truth: {materials.benchmark.source}, SHA-256 {materials.benchmark.checksum}.\n\n"
        f"Seed {settings.seed}; seconds of the searches, compilation included: {spent}.\n\n"
        f"Written with {versions}.\n"
    )

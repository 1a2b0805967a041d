"""Computes and writes the tables of `projects.wrcor.tables`. A architectures: the first of the published order.

Every run has a results folder, which all tables share. What the folders hold decides what the documents say: a study
that is stopped leaves readable ones, and goes on where it was.
"""

from collections.abc import Callable, Sequence
import functools
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from projects.wrcor import comparison, paper
from projects.wrcor.comparison import Line, Outcome
from projects.wrcor.materials import Materials
from projects.wrcor.tables import (
    GROUPS,
    OTHER_READINGS,
    TABLES,
    Cell,
    Run,
    Step,
    Table,
    find_vote,
    plan,
    proxy_of,
)
from zsnas_jax.proxies import make_proxies
from zsnas_jax.reports import score_report
from zsnas_jax.reports.documents import markdown_table
from zsnas_jax.runs import ranking
from zsnas_jax.storage import files
from zsnas_jax.storage.store import ResultStore
from zsnas_jax.votes import vote

_SECONDS = "seconds.json"

_HEADING = """# Table {number} of the WRCor paper: {title}

NAS-Bench-201, the first {num_archs:,} indices of the published order. **{done} of {total} rows done.**

*paper* is |Spearman's rho| as Jing et al. print it, over the first 1,000 indices (*all cells*: over all 15,625). *ours*
is of the architectures above, with its sign apart and the 95 % interval of a bootstrap over them (1,000 resamples, seed
0), turned by the sign; *difference* is ours less the paper's. Architectures without a finite score rank last. A
condition *avg.* or *std.* is the mean or deviation of a row's |rho|. Rows without a name are votes by methods that the
paper does not print; the order of `comparator` depends on that of the indices.
"""

_ENDING = """
Seconds are of a run's folder, which tables share, up to its last committed chunk.

Ground truth: {truth.source}, SHA-256 {truth.checksum}.

Written with {versions}.
"""


class Stopwatch:
    """A progress bar that keeps, durably, the seconds that a folder took, by device, up to its last chunk.

    Args:
        path: the file.
        **options: as tqdm's.
    """

    def __init__(self, path: pathlib.Path, **options: Any) -> None:
        self._path, self._bar = path, tqdm(**options)
        self._started, self._before = time.perf_counter(), read_seconds(path)
        self._device = jax.devices()[0].device_kind

    def __enter__(self) -> "Stopwatch":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def set_description(self, text: str, refresh: bool = True) -> None:
        """What stands before the bar."""
        self._bar.set_description(text, refresh=refresh)

    def update(self, count: int) -> None:
        """Some architectures have been committed."""
        own = self._before.get(self._device, 0.0) + time.perf_counter() - self._started
        files.write_text(self._path, json.dumps({"seconds": self._before | {self._device: round(own, 3)}}) + "\n")
        self._bar.update(count)


def read_seconds(path: pathlib.Path) -> dict[str, float]:
    """What a `Stopwatch` wrote, by kind of device; empty where there is nothing, or nothing readable."""
    try:
        seconds = json.loads(path.read_text(encoding="utf-8"))["seconds"]
        return {str(kind): float(value) for kind, value in seconds.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def describe_seconds(path: pathlib.Path) -> str:
    """`read_seconds` for a document: "12.3 on cpu"."""
    return ", ".join(f"{value:.1f} on {kind}" for kind, value in read_seconds(path).items())


class Study:
    """Tables in the making: what the folders of their runs hold.

    Args:
        tables: what is to be written.
        materials: from what.

    Raises:
        ValueError: if there are more architectures asked for than there are, the pictures are too few for a batch, the
            benchmark lacks an architecture, or a folder is damaged or in use.
    """

    def __init__(self, tables: Sequence[Table], materials: Materials) -> None:
        self.tables, self.materials = tables, materials
        space, num_archs = materials.space, max((table.num_archs for table in tables), default=0)
        if space.num_archs is None or space.from_index is None or num_archs > space.num_archs:
            raise ValueError(f"num_architectures is {num_archs}: {space.name} has {space.num_archs} in its order")
        self._archs = np.asarray(space.from_index(np.arange(num_archs)))
        self._names = [space.encode(arch) for arch in self._archs]
        runs = dict.fromkeys(run for table in tables for run in table.runs if not materials.lack(run.dataset))
        self.datasets = tuple(dict.fromkeys(run.dataset for run in runs))
        self._truth = {dataset: self._accuracy(dataset) for dataset in self.datasets}
        self._stored = {run: materials.stored(run) for run in runs}
        proxies = {proxy for table in tables for cell in table.cells for proxy in cell.proxies}
        self._scores = {run: materials.read(run, stored, proxies) for run, stored in self._stored.items()}
        self._outcomes: dict[tuple[Run, str, int], Outcome] = {}
        self.failures: dict[Step, str] = {}

    def _accuracy(self, dataset: str) -> np.ndarray:
        column = self.materials.accuracy_column(dataset)
        return score_report.find_truth(
            self.materials.benchmark, column, self.materials.space, self._archs, dataset
        ).accuracy

    def score(self, step: Step, *, candidates_per_step: int = 1) -> None:
        """Scores what a step's folder lacks; a step that fails is noted in `failures`, and what it had done is kept."""
        stored, pictures = self._stored[step.run], self.materials.pictures[step.run.dataset]
        folder = self.materials.folder(step.run, stored)
        chosen = make_proxies(step.proxies, weighting=step.run.settings.weighting)
        with ResultStore(folder, stored) as store:
            try:
                ranking.score_archs(
                    store,
                    self.materials.space,
                    self._archs[: step.num_archs],
                    chosen,
                    pictures.source,
                    step.run.settings,
                    candidates_per_step=candidates_per_step,
                    progress=functools.partial(Stopwatch, folder / _SECONDS),
                )
            except RuntimeError as error:
                self.failures[step] = " ".join(str(error).split())
            self._scores[step.run] |= {proxy.name: store.get(proxy.name) for proxy in chosen}

    def scores(self, run: Run, name: str, num_archs: int) -> np.ndarray | None:
        """A score float64[A] under a run: of a proxy, a vote or the validation accuracy; None if it is not done."""
        if name == paper.VALIDATION_ACCURACY:
            column = self.materials.validation_column(run.dataset)
            return None if column is None else self.materials.benchmark.lookup(column, np.arange(num_archs))
        if ballot := find_vote(name):
            experts = {expert: self.scores(run, expert, num_archs) for expert in ballot.experts}
            found = {expert: values for expert, values in experts.items() if values is not None}
            return vote(ballot, found) if len(found) == len(experts) else None
        known, names = self._scores[run].get(proxy_of(name), {}), self._names[:num_archs]
        return np.array([known[arch] for arch in names]) if all(arch in known for arch in names) else None

    def outcome(self, table: Table, cell: Cell) -> Outcome | None:
        """How a cell's score ranks the architectures of its table; None if it is not done."""
        if cell.run is None:
            same = [peer for peer in table.cells if peer.run and (peer.row, peer.score) == (cell.row, cell.score)]
            peers = [self.outcome(table, peer) for peer in same]
            done = [peer for peer in peers if peer]
            return comparison.summarise(done)[cell.column] if len(done) == len(peers) else None
        if cell.run not in self._scores:
            return None
        key = cell.run, cell.score, table.num_archs
        if key not in self._outcomes:
            values = self.scores(*key)
            if values is None:
                return None
            self._outcomes[key] = comparison.measure(values, self._truth[cell.run.dataset][: table.num_archs])
        return self._outcomes[key]

    def lines(self, table: Table) -> list[Line]:
        """The lines of a table's document."""
        figures, nothing = paper.paper_figures(table.number), float("nan")
        find = lambda row, column: figures.get((row, column), nothing)
        return [
            Line(c.row, c.score, c.column, find(c.row, c.column), find(c.row, "real"), self.outcome(table, c))
            for c in table.cells
        ]

    def write(self, table: Table) -> str:
        """Writes a table's documents, and says in a line how far it is."""
        lines = self.lines(table)
        done = sum(line.outcome is not None for line in lines)
        heading = _HEADING.format(
            number=table.number, title=TABLES[table.number][0], num_archs=table.num_archs, done=done, total=len(lines)
        )
        versions = ", ".join(f"{name} {version}" for name, version in score_report.versions().items())
        ending = _ENDING.format(truth=self.materials.benchmark, versions=versions)
        notes = "".join(f"- {note}\n" for note in self._notes(table, lines))
        runs = f"## Runs\n\n{markdown_table(self.run_records(table))}"
        markdown = "\n".join([heading, *([notes] if notes else []), comparison.as_markdown(lines), "", runs, ending])
        comparison.write(self.materials.out, f"table{table.number}", markdown, comparison.as_csv(lines))
        return f"table {table.number}: {done} of {len(lines)} rows done"

    def _notes(self, table: Table, lines: Sequence[Line]) -> list[str]:
        """Why rows stand twice, and why some are empty."""
        columns: dict[str, dict[str, None]] = {}
        for run, names in table.runs.items():
            columns.setdefault(run.dataset, {}).update(dict.fromkeys(names))
        lacks = {dataset: self.materials.lack(dataset) for dataset in columns}
        rows = {cell.row for cell in table.cells}
        notes = [f"{row} has two readings: {other.why}" for row, other in OTHER_READINGS.items() if row in rows]
        notes += [f"{', '.join(columns[dataset])} left out: {lack}" for dataset, lack in lacks.items() if lack]
        for dataset in columns if any(cell.score == paper.VALIDATION_ACCURACY for cell in table.cells) else ():
            if not lacks[dataset] and self.materials.validation_column(dataset) is None:
                notes.append(f"ValAcc: the benchmark {self.materials.benchmark.name} has no {dataset}_valid_12")
        failed = [(step, why) for step, why in self.failures.items() if step.run in table.runs]
        notes += [f"failed: {', '.join(step.proxies)} of {step.run}: {why}" for step, why in failed]
        left = dict.fromkeys(line.score for line in lines if line.outcome is None)
        return notes + ([f"rows without a figure of ours: {', '.join(left)}"] if left else [])

    def run_records(self, table: Table) -> list[dict[str, str]]:
        """What each run of a table is made of."""
        records = []
        for run, columns in table.runs.items():
            if run in self._stored:
                pictures, stored, settings = self.materials.pictures[run.dataset], self._stored[run], run.settings
                seconds = describe_seconds(self.materials.folder(run, stored) / _SECONDS)
                record = {
                    "condition": ", ".join(columns),
                    "pictures": pictures.name,
                    "SHA-256 of the file": pictures.sha256 or "",
                    "SHA-256 of the batch": "" if settings.resample else stored["batch_sha256"],
                    "accuracy": self.materials.accuracy_column(run.dataset) or "",
                    "classes": stored["num_classes"],
                    "batch": f"{settings.batch_size}, one each" if settings.resample else settings.batch_size,
                    "initialisation": settings.init,
                    "weighting": settings.weighting,
                    "seed": settings.seed,
                    "seconds": seconds,
                }
                records.append({name: str(value) for name, value in record.items()})
        return records


def reproduce(
    tables: Sequence[Table],
    materials: Materials,
    *,
    groups: Sequence[Sequence[str]] = GROUPS,
    candidates_per_step: int = 1,
    say: Callable[[str], Any] = print,
) -> Study:
    """Scores what tables need and rewrites their documents whenever a part of them is done.

    Args:
        tables: what is wanted.
        materials: from what.
        groups: proxies that are scored together; what is in none is left empty.
        candidates_per_step: how many candidates a device works on at once.
        say: takes lines of progress.

    Returns:
        The study, whose `failures` say what could not be scored.

    Raises:
        ValueError: as `Study`.
        OSError: if the folder cannot be written.
    """
    study = Study(tables, materials)
    for table in tables:
        study.write(table)
    steps = plan(tables, study.datasets, groups)
    for number, step in enumerate(steps, start=1):
        say(f"run {number} of {len(steps)}: {step.run}: {', '.join(step.proxies)}; {step.num_archs} architectures")
        study.score(step, candidates_per_step=candidates_per_step)
        for table in tables:
            if step.run in table.runs:
                say(study.write(table))
    return study

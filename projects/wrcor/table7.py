"""Table 7 of the WRCor paper: the same scores on NAS-Bench-101 and NAS-Bench-201. A architectures of each."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools

import numpy as np

from projects.wrcor import correlations, experts, paper, table_files
from projects.wrcor.correlations import Line, Outcome
from projects.wrcor.experts import Find
from projects.wrcor.inputs import Inputs
from projects.wrcor.layout import GROUPS as OTHER_GROUPS
from projects.wrcor.layout import OTHER_READINGS, SHARED_PASS, SLOW, Entry, Run, Table, plan
from projects.wrcor.scored_runs import ScoredRuns
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.reports.documents import markdown_table
from zsnas_jax.runs.settings import ScoreSettings

NUMBER, NUM_ARCHS = 7, 1000
NASBENCH101, NASBENCH201 = "NB101", "NB201"

_NCD = ("ncd_nwot", "ncd_swap")
NOT_IN_PAPER = (*_NCD, *experts.EXPERIMENTAL)
"""Scores that the paper does not have."""

_REST = OTHER_GROUPS[1:]
_MORE = tuple(expert for score in experts.EXPERIMENTAL for expert in experts.expert_names(score))
GROUPS = (
    tuple(dict.fromkeys((*SHARED_PASS, *_MORE))),
    *(group for group in _REST if not set(group) & set(SLOW)),
    _NCD,
    *(group for group in _REST if set(group) & set(SLOW)),
)
"""As `projects.wrcor.layout.GROUPS`, with what `NOT_IN_PAPER` needs."""

_SECOND_READINGS = tuple(row for row, other in OTHER_READINGS.items() if not other.changes)
"""Those that need no run of their own."""

_HEADING = """# Table 7 of the WRCor paper: NAS-Bench-101 beside NAS-Bench-201

The first {num_archs:,} cells of each in published order. **{done} of {total} rows done.**

*paper* is |Spearman's rho| as Jing et al. print it, over the first 1,000 cells. *ours* is of the cells above, with its
sign apart and the 95 % interval of a bootstrap over them (1,000 resamples, seed 0), turned by the sign; *difference* is
ours less the paper's. Cells without a finite score rank last. On NAS-Bench-101 the paper turns SNIP and JacCor round in
its votes, since they rank the wrong way there: `:flipped` does so, the plain vote does not. Rows without a name are
scores that the paper does not have.
"""

_ENDING = """
Seconds are of a run's folder, which tables share, up to its last committed chunk. Test accuracy: {columns}.

Ground truth of NAS-Bench-101: {first.source}, SHA-256 {first.checksum}; of NAS-Bench-201: {second.source}, SHA-256
{second.checksum}.

{written}
"""


def make_table(base: ScoreSettings, num_archs: int = 0) -> Table:
    """What is scored on NAS-Bench-101: one run, an entry for each row.

    Args:
        base: settings of all scores.
        num_archs: A; 0: `NUM_ARCHS`.

    Raises:
        ValueError: for too few architectures for a rank correlation.
    """
    if num_archs < 0 or num_archs == 1:
        raise ValueError(f"num_architectures is {num_archs}: allowed are 0 (each table's own) and 2 or more")
    run = Run("cifar10", base)
    scores = [(row, score) for row, score in _rows() if score not in experts.FLIPPED]
    entries = [Entry(row, NASBENCH101, run, score, score) for row, score in scores]
    return Table(NUMBER, num_archs or NUM_ARCHS, tuple(entries))


def _rows() -> list[tuple[str, str]]:
    """(the paper's name, our score) of every line."""
    rows = []
    for row, score in paper.NAMES.items():
        flipped = [name for name in experts.FLIPPED if name.partition(":")[0] == score]
        other = [OTHER_READINGS[row].proxy] if row in _SECOND_READINGS else []
        rows += [(row, name) for name in (score, *other, *flipped)]
    return rows + [("", score) for score in NOT_IN_PAPER]


@dataclasses.dataclass(frozen=True)
class Setup:
    """What the table is made of.

    Attributes:
        first: NAS-Bench-101, its accuracies, pictures of CIFAR-10, the folder.
        second: NAS-Bench-201, the same pictures, the same folder: the scores that Tables 2 to 6 left there are read.
        shipped: scores of NAS-Bench-201 where that folder has none; None: there are none.
        table: of `make_table`.

    Raises:
        ValueError: as `ScoredRuns`, or if the shipped scores are of another space.
    """

    first: Inputs
    second: Inputs
    shipped: TabularBenchmark | None
    table: Table

    def __post_init__(self) -> None:
        if self.shipped and self.shipped.space != self.second.space.name:
            raise ValueError(f"{self.shipped.name} is of space {self.shipped.space}, not {self.second.space.name}")
        for lack in (self.first.lack(self.run.dataset), self.second.lack(self.run.dataset)):
            if lack:
                raise ValueError(f"table {NUMBER} cannot be computed: {lack}")
        _ = self.scored

    @property
    def run(self) -> Run:
        """Pictures and settings of all scores."""
        return self.table.entries[0].run or Run("cifar10", ScoreSettings())

    @functools.cached_property
    def scored(self) -> ScoredRuns:
        """NAS-Bench-101's scores."""
        return ScoredRuns([self.table], self.first)

    @functools.cached_property
    def _second_scores(self) -> dict[str, Mapping[str, float]]:
        return dict(self.second.read(self.run, self.second.stored(self.run), self.table.proxies()))

    @functools.cached_property
    def _names(self) -> list[str]:
        space = self.second.space
        assert space.from_index is not None and space.num_archs is not None
        return [space.encode(arch) for arch in space.from_index(np.arange(min(self.table.num_archs, space.num_archs)))]

    def accuracy(self, condition: str) -> np.ndarray:
        """Test accuracies float[A] of a condition's cells."""
        inputs = self.first if condition == NASBENCH101 else self.second
        column, total = inputs.accuracy_column(self.run.dataset), inputs.space.num_archs or 0
        assert column is not None
        return inputs.benchmark.lookup(column, np.arange(min(self.table.num_archs, total)))

    def validation(self, condition: str) -> np.ndarray | None:
        """Validation accuracies float[A]; None unless all cells have one."""
        inputs = self.first if condition == NASBENCH101 else self.second
        if (column := inputs.validation_column(self.run.dataset)) is None:
            return None
        values = np.asarray(inputs.benchmark.columns[column])[: self.table.num_archs]
        return None if np.isnan(values).any() else values

    def find(self, condition: str) -> Find:
        """Finds the scores of proxies under a condition."""
        if condition == NASBENCH101:
            return lambda name: self.scored.scores(self.run, name, self.table.num_archs)
        return experts.with_derived(self._find_second)

    def _find_second(self, name: str) -> np.ndarray | None:
        known, names = self._second_scores.get(name, {}), self._names
        if all(arch in known for arch in names):
            return np.array([known[arch] for arch in names])
        shipped = self.shipped.columns.get(name) if self.shipped else None
        values = None if shipped is None else np.asarray(shipped)[: len(names)]
        return None if values is None or np.isnan(values).any() else values

    @functools.cached_property
    def from_shipped(self) -> list[str]:
        """The proxies whose scores on NAS-Bench-201 come from the shipped table."""
        named = set(self._names)
        return [
            proxy
            for proxy in self.table.proxies()
            if not named <= self._second_scores.get(proxy, {}).keys() and self._find_second(proxy) is not None
        ]


def _outcome(setup: Setup, condition: str, score: str) -> Outcome | None:
    if score == paper.VALIDATION_ACCURACY:
        values = setup.validation(condition)
    else:
        values = experts.find_values(score, setup.find(condition))
    return None if values is None else correlations.measure(values, setup.accuracy(condition))


def make_lines(setup: Setup, known: dict[tuple[str, str], Outcome]) -> list[Line]:
    """The lines of the table.

    Args:
        setup: what the table is made of.
        known: outcomes by (condition, score), to which new ones are added: they cost a bootstrap each.
    """
    figures, nothing = paper.paper_figures(NUMBER), float("nan")
    lines = []
    for row, score in _rows():
        for condition in (NASBENCH101, NASBENCH201):
            if score in experts.FLIPPED and condition == NASBENCH201:
                continue
            key = condition, score
            if key not in known and (outcome := _outcome(setup, condition, score)):
                known[key] = outcome
            lines.append(Line(row, score, condition, figures.get((row, condition), nothing), nothing, known.get(key)))
    return lines


def _write(setup: Setup, lines: Sequence[Line]) -> str:
    done = sum(line.outcome is not None for line in lines)
    heading = _HEADING.format(num_archs=setup.table.num_archs, done=done, total=len(lines))
    notes = "".join(f"- {note}\n" for note in _notes(setup, lines))
    runs = f"## Runs\n\n{markdown_table(setup.scored.records(setup.table))}"
    columns = f"{setup.first.accuracy_column('cifar10')}, {setup.second.accuracy_column('cifar10')}"
    ending = _ENDING.format(
        columns=columns,
        first=setup.first.benchmark,
        second=setup.second.benchmark,
        written=table_files.written_with(),
    )
    markdown = "\n".join([heading, *([notes] if notes else []), correlations.as_markdown(lines), "", runs, ending])
    table_files.write(setup.first.out, f"table{NUMBER}", markdown, correlations.as_csv(lines))
    return f"table {NUMBER}: {done} of {len(lines)} rows done"


def _notes(setup: Setup, lines: Sequence[Line]) -> list[str]:
    """Where scores come from, and why rows are empty."""
    notes = [f"{row} has two readings: {OTHER_READINGS[row].why}" for row in _SECOND_READINGS]
    if setup.from_shipped and setup.shipped:
        named = f"{setup.shipped.name}, SHA-256 {setup.shipped.checksum}"
        notes.append(f"{NASBENCH201} from {named}: {', '.join(setup.from_shipped)}")
    for condition, inputs in ((NASBENCH101, setup.first), (NASBENCH201, setup.second)):
        if setup.validation(condition) is None:
            name = inputs.benchmark.name
            notes.append(
                f"ValAcc of {condition}: {name} has no cifar10_valid_12 of all {setup.table.num_archs:,} cells"
            )
        left = dict.fromkeys(line.score for line in lines if line.condition == condition and line.outcome is None)
        notes += [f"{condition} without a figure of ours: {', '.join(left)}"] if left else []
    return notes + [f"failed: {', '.join(step.proxies)}: {why}" for step, why in setup.scored.failures.items()]


def reproduce(
    setup: Setup,
    *,
    groups: Sequence[Sequence[str]] = GROUPS,
    candidates_per_step: int = 1,
    say: Callable[[str], object] = print,
) -> list[str]:
    """Scores what NAS-Bench-101's folder lacks, and rewrites the documents after each group of proxies.

    Args:
        setup: what the table is made of.
        groups: proxies that are scored together; what is in none is left empty.
        candidates_per_step: how many candidates a device works on at once.
        say: takes lines of progress.

    Returns:
        The names of the files: table7.md and table7.csv.

    Raises:
        ValueError: if a folder is damaged or in use.
        OSError: if it cannot be written.
    """
    known: dict[tuple[str, str], Outcome] = {}
    _write(setup, make_lines(setup, known))
    for step in plan([setup.table], ["cifar10"], groups):
        say(f"table {NUMBER}: {step.run} on NAS-Bench-101: {', '.join(step.proxies)}; {step.num_archs} architectures")
        setup.scored.score(step, candidates_per_step=candidates_per_step)
        say(_write(setup, make_lines(setup, known)))
    return [f"table{NUMBER}.md", f"table{NUMBER}.csv"]

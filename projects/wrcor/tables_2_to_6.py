"""Tables 2 to 6 of the WRCor paper: rank correlations on NAS-Bench-201. A architectures, first of the published order.

Every run has a results folder, which all tables share. What the folders hold decides what the documents say: a run that
is stopped leaves readable ones, and goes on where it was.
"""

from collections.abc import Callable, Sequence
from typing import Any

from projects.wrcor import correlations, paper, table_files
from projects.wrcor.correlations import Line, Outcome
from projects.wrcor.inputs import Inputs
from projects.wrcor.layout import GROUPS, OTHER_READINGS, TABLES, Entry, Table, plan
from projects.wrcor.scored_runs import ScoredRuns
from zsnas_jax.reports.documents import markdown_table

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

{written}
"""


def find_outcome(scored: ScoredRuns, table: Table, entry: Entry) -> Outcome | None:
    """How an entry's score ranks the architectures of its table; None if it is not done."""
    if entry.run:
        return scored.outcome(entry.run, entry.score, table.num_archs)
    line = entry.row, entry.shown
    peers = [peer for peer in table.entries if peer.run and (peer.row, peer.shown) == line]
    outcomes = [find_outcome(scored, table, peer) for peer in peers]
    done = [outcome for outcome in outcomes if outcome]
    return correlations.summarise(done)[entry.column] if len(done) == len(peers) else None


def make_lines(scored: ScoredRuns, table: Table) -> list[Line]:
    """The lines of a table's document."""
    figures, nothing = paper.paper_figures(table.number), float("nan")
    find = lambda row, column: figures.get((row, column), nothing)
    return [
        Line(e.row, e.shown, e.column, find(e.row, e.column), find(e.row, "real"), find_outcome(scored, table, e))
        for e in table.entries
    ]


def write(scored: ScoredRuns, table: Table) -> str:
    """Writes a table's documents, and says in a line how far it is."""
    lines, inputs = make_lines(scored, table), scored.inputs
    done = sum(line.outcome is not None for line in lines)
    heading = _HEADING.format(
        number=table.number, title=TABLES[table.number][0], num_archs=table.num_archs, done=done, total=len(lines)
    )
    ending = _ENDING.format(truth=inputs.benchmark, written=table_files.written_with())
    notes = "".join(f"- {note}\n" for note in _notes(scored, table, lines))
    runs = f"## Runs\n\n{markdown_table(scored.records(table))}"
    markdown = "\n".join([heading, *([notes] if notes else []), correlations.as_markdown(lines), "", runs, ending])
    table_files.write(inputs.out, f"table{table.number}", markdown, correlations.as_csv(lines))
    return f"table {table.number}: {done} of {len(lines)} rows done"


def _notes(scored: ScoredRuns, table: Table, lines: Sequence[Line]) -> list[str]:
    """Why rows stand twice, and why some are empty."""
    inputs, columns = scored.inputs, dict[str, dict[str, None]]()
    for run, names in table.runs.items():
        columns.setdefault(run.dataset, {}).update(dict.fromkeys(names))
    lacks = {dataset: inputs.lack(dataset) for dataset in columns}
    rows = {entry.row for entry in table.entries}
    notes = [f"{row} has two readings: {other.why}" for row, other in OTHER_READINGS.items() if row in rows]
    notes += [f"{', '.join(columns[dataset])} left out: {lack}" for dataset, lack in lacks.items() if lack]
    for dataset in columns if any(entry.score == paper.VALIDATION_ACCURACY for entry in table.entries) else ():
        if not lacks[dataset] and inputs.validation_column(dataset) is None:
            notes.append(f"ValAcc: the benchmark {inputs.benchmark.name} has no {dataset}_valid_12")
    failed = [(step, why) for step, why in scored.failures.items() if step.run in table.runs]
    notes += [f"failed: {', '.join(step.proxies)} of {step.run}: {why}" for step, why in failed]
    left = dict.fromkeys(line.score for line in lines if line.outcome is None)
    return notes + ([f"rows without a figure of ours: {', '.join(left)}"] if left else [])


def reproduce(
    tables: Sequence[Table],
    inputs: Inputs,
    *,
    groups: Sequence[Sequence[str]] = GROUPS,
    candidates_per_step: int = 1,
    say: Callable[[str], Any] = print,
) -> ScoredRuns:
    """Scores what tables need and rewrites their documents whenever a part of them is done.

    Args:
        tables: what is wanted.
        inputs: from what.
        groups: proxies that are scored together; what is in none is left empty.
        candidates_per_step: how many candidates a device works on at once.
        say: takes lines of progress.

    Returns:
        The scores, whose `failures` say what could not be computed.

    Raises:
        ValueError: as `ScoredRuns`.
        OSError: if the folder cannot be written.
    """
    scored = ScoredRuns(tables, inputs)
    for table in tables:
        write(scored, table)
    steps = plan(tables, scored.datasets, groups)
    for number, step in enumerate(steps, start=1):
        say(f"run {number} of {len(steps)}: {step.run}: {', '.join(step.proxies)}; {step.num_archs} architectures")
        scored.score(step, candidates_per_step=candidates_per_step)
        for table in tables:
            if step.run in table.runs:
                say(write(scored, table))
    return scored

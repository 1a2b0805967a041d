"""The scores that tables are made of, as the folders of their runs hold them. A architectures, in published order."""

from collections.abc import Sequence
import functools

import numpy as np

from projects.wrcor import correlations, paper
from projects.wrcor.correlations import Outcome
from projects.wrcor.experts import find_values
from projects.wrcor.inputs import Inputs
from projects.wrcor.layout import Run, Step, Table
from projects.wrcor.stopwatch import Stopwatch, describe_seconds
from zsnas_jax.proxies import make_proxies
from zsnas_jax.proxies.labels import label, parse
from zsnas_jax.reports import score_report
from zsnas_jax.runs import scores as run_scores
from zsnas_jax.storage.store import ResultStore


class ScoredRuns:
    """The runs that tables need, with the scores that their folders hold, and those that are still to be computed.

    Args:
        tables: what is to be written.
        inputs: from what.

    Attributes:
        datasets: those of whose runs something can be computed.
        failures: the steps that could not be scored, and why.

    Raises:
        ValueError: if there are more architectures asked for than there are, the pictures are too few for a batch, the
            benchmark lacks an architecture, or a folder is damaged or in use.
    """

    def __init__(self, tables: Sequence[Table], inputs: Inputs) -> None:
        self.inputs = inputs
        space, num_archs = inputs.space, max((table.num_archs for table in tables), default=0)
        if space.num_archs is None or space.from_index is None or num_archs > space.num_archs:
            raise ValueError(f"num_architectures is {num_archs}: {space.name} has {space.num_archs} in its order")
        self._archs = np.asarray(space.from_index(np.arange(num_archs)))
        self._names = [space.encode(arch) for arch in self._archs]
        runs = dict.fromkeys(run for table in tables for run in table.runs if not inputs.lack(run.dataset))
        self.datasets = tuple(dict.fromkeys(run.dataset for run in runs))
        self._accuracies = {dataset: self._accuracy(dataset) for dataset in self.datasets}
        self._stored = {run: inputs.stored(run) for run in runs}
        proxies = dict.fromkeys(proxy for table in tables for proxy in table.proxies())
        self._scores = {run: inputs.read(run, stored, proxies) for run, stored in self._stored.items()}
        self._outcomes: dict[tuple[Run, str, int], Outcome] = {}
        self.failures: dict[Step, str] = {}

    def _accuracy(self, dataset: str) -> np.ndarray:
        column = self.inputs.accuracy_column(dataset)
        return score_report.find_truth(self.inputs.benchmark, column, self.inputs.space, self._archs, dataset).accuracy

    def score(self, step: Step, *, candidates_per_step: int = 1) -> None:
        """Scores what a step's folder lacks; a step that fails is noted in `failures`, and what it had done is kept."""
        stored, pictures = self._stored[step.run], self.inputs.pictures[step.run.dataset]
        folder, proxies = self.inputs.folder(step.run, stored), make_proxies(step.proxies)
        with ResultStore(folder, stored) as store:
            try:
                run_scores.score_archs(
                    store,
                    self.inputs.space,
                    self._archs[: step.num_archs],
                    proxies,
                    pictures.source,
                    step.run.settings,
                    candidates_per_step=candidates_per_step,
                    progress=functools.partial(Stopwatch, folder),
                )
            except RuntimeError as error:
                self.failures[step] = " ".join(str(error).split())
            self._scores[step.run] |= {label(proxy): store.get(proxy) for proxy in proxies}

    def scores(self, run: Run, score: str, num_archs: int) -> np.ndarray | None:
        """Scores float64[A] under a run: of a proxy, a vote or the validation accuracy; None if they are not done.

        Args:
            run: one of the tables'.
            score: as `layout.Entry.score`.
            num_archs: A.
        """
        if score == paper.VALIDATION_ACCURACY:
            column = self.inputs.validation_column(run.dataset)
            return None if column is None else self.inputs.benchmark.lookup(column, np.arange(num_archs))
        return find_values(score, functools.partial(self._proxy_scores, run, num_archs))

    def _proxy_scores(self, run: Run, num_archs: int, proxy: str) -> np.ndarray | None:
        known, names = self._scores[run].get(proxy, {}), self._names[:num_archs]
        return np.array([known[arch] for arch in names]) if all(arch in known for arch in names) else None

    def outcome(self, run: Run, score: str, num_archs: int) -> Outcome | None:
        """How a score ranks the first A architectures; None if it is not done. Arguments as of `scores`."""
        key = run, score, num_archs
        if key not in self._outcomes and run in self._scores:
            values = self.scores(*key)
            if values is None:
                return None
            self._outcomes[key] = correlations.measure(values, self._accuracies[run.dataset][:num_archs])
        return self._outcomes.get(key)

    def records(self, table: Table) -> list[dict[str, str]]:
        """What each run of a table is made of, for its document."""
        weightings = dict.fromkeys(_weighting(proxy) for proxy in table.proxies() if _weighting(proxy))
        records = []
        for run, columns in table.runs.items():
            if run in self._stored:
                pictures, stored, settings = self.inputs.pictures[run.dataset], self._stored[run], run.settings
                record = {
                    "condition": ", ".join(columns),
                    "pictures": pictures.name,
                    "SHA-256 of the file": pictures.sha256 or "",
                    "SHA-256 of the batch": "" if settings.resample else stored["batch_sha256"],
                    "accuracy": self.inputs.accuracy_column(run.dataset) or "",
                    "classes": stored["num_classes"],
                    "batch": f"{settings.batch_size}, one each" if settings.resample else settings.batch_size,
                    "initialisation": settings.init,
                    "weighting": ", ".join(weightings),
                    "seed": settings.seed,
                    "seconds": describe_seconds(self.inputs.folder(run, stored)),
                }
                records.append({name: str(value) for name, value in record.items()})
        return records


def _weighting(proxy: str) -> str:
    """The layer weights of a label of WRCor; empty for another proxy."""
    made = parse(proxy)
    return str(made.settings["weighting"]) if made.name == "wrcor" else ""

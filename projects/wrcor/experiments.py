"""Measures proxies and votes, published and experimental, by NAS-Bench-201's accuracies on all three data sets.

    python -m projects.wrcor.experiments --benchmark=nasbench201.csv.gz
    python -m projects.wrcor.experiments --benchmark=nasbench201.csv.gz --samples --cifar10=cifar10.npz

The first takes the scores that the package ships, or another table (--scores), of the cells that every column has, in
half a minute. The second scores two fixed disjoint samples of 1,000 cells with three batches and initialisations each
(about an hour; it goes on where it was stopped). For every score: Spearman's rho, mean accuracy of the top 10 and top
100, rank of the cell whose six edges are 1x1 convolutions, and the regret of the best-scored cell.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from zsnas_jax import command

    command.run("projects.wrcor.experiments")

from collections.abc import Mapping
import pathlib

from absl import flags as absl_flags
import numpy as np

from projects.wrcor.experts import DERIVED, with_derived
from zsnas_jax import benchmarks, datasets, flags, proxies, votes
from zsnas_jax.reports import documents, metrics
from zsnas_jax.runs import scores as run_scores
from zsnas_jax.runs.selection import select_archs
from zsnas_jax.runs.settings import ScoreSettings, stored_settings
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage import files
from zsnas_jax.storage.store import ResultStore

FLAGS = absl_flags.FLAGS
TRUTHS = {
    "CIFAR-10": "cifar10_test_200",
    "CIFAR-100": "cifar100_test_200",
    "ImageNet16-120": "imagenet16_120_test_200",
}
ALL_1X1 = 4317
SAMPLE_SIZE, NUM_SAMPLES, NUM_DRAWS = 1000, 2, 3
SCORED = "wrcor,rcor,naswot,swap,synflow,jaccor,snip,pnorm,pgnorm,fisher,params,gcor_first2,gcor_first5"
VOTES = ("zerocost", "spw", "sjw", "quintet", "trio")
# The z-score sum that the quintet grew from: without the first two layers and -log Fisher.
TRIO = votes.make_vote(("gcor_first5", "wrcor", "log_params"), "z_score_sum", (2.0, 1.0, 0.5))._replace(name="trio")


def define_flags() -> None:
    """The flags of this script."""
    flags.SCORES.path("scores", "nasbench201_scores", "Table of scores: the shipped one, or the path of an .npz.")
    flags.SCORES.path("archs", "all", "Which cells of the table: as in score_main.")
    flags.SCORES.switch("samples", False, "Score the fixed samples instead of taking a table.")
    flags.DATA.path("cifar10", "cifar10", "Pictures of the samples.")
    flags.define_run_flags()
    flags.RUN.path("document", None, "Where to write the table.")


def with_votes(scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores float[A] by name, and those of the logarithms and votes that can be made of them."""
    find = with_derived(scores.get)
    scores = {**scores, **{name: values for name in DERIVED if (values := find(name)) is not None}}
    known = {name: TRIO if name == "trio" else votes.make_vote(name) for name in VOTES}
    made = {name: votes.vote(v, scores) for name, v in known.items() if set(v.experts) <= set(scores)}
    return scores | made


def measure(scores: np.ndarray, accuracies: Mapping[str, np.ndarray], index: np.ndarray) -> dict[str, dict[str, float]]:
    """By data set: rho, tops and regret in percent; the rank of the all-1x1 cell (1 is best) where it is among them."""
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    order = np.argsort(-scores, kind="stable")
    rank = np.flatnonzero(index[order] == ALL_1X1)
    rows = {}
    for dataset, accuracy in accuracies.items():
        rows[dataset] = {
            "rho": metrics.spearman(scores, accuracy),
            "top 10": 100 * accuracy[order[:10]].mean(),
            "top 100": 100 * accuracy[order[:100]].mean(),
            "regret": 100 * (accuracy.max() - accuracy[order[0]]),
            "all-1x1": float(rank[0] + 1) if len(rank) else float("nan"),
        }
    return rows


def as_table(measured: Mapping[str, list[dict[str, dict[str, float]]]]) -> str:
    """Rows by score; over several draws the mean and, in brackets, the lowest and the highest rho."""
    rows = []
    for name, draws in measured.items():
        row = {"score": name}
        for dataset in TRUTHS:
            rho = [draw[dataset]["rho"] for draw in draws]
            spread = f" {documents.format_bounds(min(rho), max(rho))}" if len(rho) > 1 else ""
            row[f"rho {dataset}"] = f"{documents.format_figure(float(np.mean(rho)))}{spread}"
        mean = lambda what, draws=draws: [np.mean([draw[d][what] for draw in draws]) for d in TRUTHS]
        for what in ("top 10", "top 100", "regret"):
            row[what] = " / ".join(f"{value:.2f}" for value in mean(what))
        ranks = [draw["CIFAR-10"]["all-1x1"] for draw in draws]
        row["rank of all-1x1"] = "-" if np.isnan(ranks).all() else f"{np.nanmean(ranks):.0f}"
        rows.append(row)
    return documents.markdown_table(rows)


def _existing() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(scores of the cells that all proxies have a score of, their indices)."""
    table = benchmarks.open_benchmark(FLAGS.scores)
    columns = {name: np.asarray(column, np.float64) for name, column in table.columns.items()}
    there = ~np.any([np.isnan(column) for column in columns.values()], axis=0)
    chosen = nasbench201.to_index(select_archs(nasbench201.space(), FLAGS.archs))
    there[np.setdiff1d(np.arange(len(there)), chosen)] = False
    return {name: column[there] for name, column in columns.items()}, np.flatnonzero(there)


def _sampled(draw: int, sample: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Scores of one sample under one batch and initialisation, scored now where they are missing."""
    space = nasbench201.space()
    everything = np.random.default_rng(2026).permutation(nasbench201.NUM_ARCHS)
    index = np.sort(everything[sample * SAMPLE_SIZE : (sample + 1) * SAMPLE_SIZE])
    settings = ScoreSettings(seed=100 + draw)
    source = datasets.load(FLAGS.cifar10, None, None)
    stored = stored_settings(settings, space, source, pathlib.Path(FLAGS.cifar10).stem)
    chosen = proxies.make_proxies(SCORED.split(","))
    with ResultStore(pathlib.Path(FLAGS.out or "results/experiments") / f"draw{draw}", stored) as store:
        matrix, _ = run_scores.score_archs(
            store, space, np.asarray(nasbench201.from_index(index)), chosen, source, settings
        )
    return {proxy.name: matrix[:, i] for i, proxy in enumerate(chosen)}, index


def main() -> None:
    """Measures and writes."""
    flags.configure()
    table = benchmarks.open_benchmark(FLAGS.benchmark)
    draws = [(d, s) for s in range(NUM_SAMPLES) for d in range(NUM_DRAWS)] if FLAGS.samples else [None]
    measured: dict[str, list[dict[str, dict[str, float]]]] = {}
    for draw in draws:
        scores, index = _sampled(*draw) if draw else _existing()
        accuracies = {dataset: table.lookup(column, index) for dataset, column in TRUTHS.items()}
        for name, values in with_votes(scores).items():
            measured.setdefault(name, []).append(measure(values, accuracies, index))
    heading = f"{len(index)} cells, {len(draws)} draws. Accuracies and regret in percent, by data set."
    text = f"{heading}\n\n{as_table(measured)}\n"
    print(text)
    if FLAGS.document:
        files.write_text(FLAGS.document, text)

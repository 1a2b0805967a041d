"""Scores architectures of a space with training-free proxies and compares the ranking with trained accuracy.

    score_main                                                  # 100 random NAS-Bench-201 cells, WRCor, noise
    score_main --archs=0:1000 --dataset=cifar10 --proxies=wrcor,acor --benchmark=nasbench201.csv.gz
    score_main --proxies=wrcor,wrcor:weighting=none,naswot:norm=ln    # proxies under settings of their own
    score_main --list                                           # proxies, votes, spaces, strategies, recipes

Stopped at any moment and started again with the same flags, it goes on where it was. Proxies that differ in a setting,
also in --weighting, --norm, --mask_rate or --activation, share a results folder and have a column each.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from zsnas_jax import command

    command.run("zsnas_jax.score_main")

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from absl import flags as absl_flags
import numpy as np

from zsnas_jax import flags, proxies, search, tasks, votes
from zsnas_jax.arguments import Range
from zsnas_jax.base import Proxy, SearchSpace
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.datasets import PictureSource
from zsnas_jax.proxies import response
from zsnas_jax.proxies.labels import label, parse
from zsnas_jax.reports import calibration_report, profile_report, score_report
from zsnas_jax.reports.score_report import Sizes
from zsnas_jax.runs.log import RunLog
from zsnas_jax.runs.merging import Shard, parse_shard
from zsnas_jax.runs.scores import score_archs, scorer_for
from zsnas_jax.runs.selection import select_archs
from zsnas_jax.runs.settings import ScoreSettings, fixed_batch, stored_settings
from zsnas_jax.runs.trained import read_trained
from zsnas_jax.storage import files
from zsnas_jax.storage.store import ResultStore
from zsnas_jax.votes import Vote

FLAGS = absl_flags.FLAGS


def define_flags() -> None:
    """The flags of this binary."""
    flags.RUN.switch("list", False, "Show the proxies, votes, spaces, strategies and recipes that there are.")
    flags.NETWORK.path(
        "archs",
        "random:100",
        "all, START:STOP by published index, random:COUNT, benchmark or benchmark:COUNT of those that it lists, "
        "or a file with one string a line.",
    )
    flags.NETWORK.text("shard", None, "NUMBER/COUNT: of --archs only this part, of COUNT equal ones; see merge_main.")
    flags.define_scoring_flags()
    flags.SCORES.words(
        "votes",
        [],
        f"Votes, separated by commas: {', '.join(votes.VOTES)}, or experts joined by +. Their experts are scored too.",
    )
    flags.SCORES.choice("vote_method", None, "How votes are counted; default copeland for most.", votes.METHODS)
    flags.SCORES.whole(
        "vote_reference",
        None,
        "Votes are counted against so many random architectures, which are scored, too; default: the ones at hand.",
        Range(2, 1_000_000),
    )
    flags.SCORES.path(
        "calibrate",
        None,
        "CSV of networks that you have trained, arch and accuracy (a fraction) or percent: accuracies are predicted "
        "from the scores.",
    )
    flags.SCORES.switch(
        "structure",
        True,
        "With --calibrate: genes and graphs are features, too, where the space has them.",
    )
    flags.SCORES.whole("train_next", 5, "With --calibrate: how many networks to propose for training.", Range(0, 1000))
    flags.SCORES.choice("profile", None, "The score of every layer alone, too, as CSV and picture.", response.FAMILY)
    flags.RUN.choice("missing", "-inf", "What stands in scores.csv for an undefined score.", score_report.MISSING)
    flags.RUN.whole("top_k", score_report.TOP, "How many of the best by each score are shown.", Range(1, 1000))
    flags.SCORES.switch(
        "share_isomorphic",
        False,
        "Architectures have the score of their pruned form, which isomorphic ones share.",
    )


def _chosen(asked_votes: Sequence[Vote]) -> tuple[tuple[Proxy, ...], list[Vote]]:
    """(the proxies of the flags and the votes' experts, each once; the votes, their experts as labels)."""
    under: dict[str, Any] = {"weighting": FLAGS.weighting, "options": flags.layer_options()}
    chosen = {proxy.identity: proxy for proxy in proxies.make_proxies(FLAGS.proxies, **under)}
    experts = {name: parse(name, **under) for vote in asked_votes for name in vote.experts}
    chosen |= {proxy.identity: proxy for proxy in experts.values() if proxy.identity not in chosen}
    labelled = [votes.with_experts(vote, [label(experts[name]) for name in vote.experts]) for vote in asked_votes]
    return tuple(chosen.values()), labelled


def _archs(space: SearchSpace, sizes: Sizes, benchmark: TabularBenchmark | None) -> np.ndarray:
    """The architectures that the flags name, within the limits."""
    own: dict[str, Any] = {"listed": benchmark.archs if benchmark else ()}
    limits = flags.limits()
    if set(limits.values()) == {None}:
        return select_archs(space, FLAGS.archs, FLAGS.seed, **own)
    within = search.constrained(space, **limits, **sizes._asdict())
    return select_archs(within, FLAGS.archs, FLAGS.seed, has_limits=True, **own)


def _reference(
    store: ResultStore,
    space: SearchSpace,
    chosen: Sequence[Proxy],
    asked_votes: Sequence[Vote],
    source: PictureSource,
    settings: ScoreSettings,
    how: Mapping[str, Any],
) -> dict[str, np.ndarray] | None:
    """Label to scores of the architectures that votes are counted against, those of --archs=random:N of the seed."""
    if FLAGS.vote_reference is None or not asked_votes:
        return None
    if sorting := [vote.name for vote in asked_votes if vote.method == "comparator"]:
        raise ValueError(f"vote {sorting[0]!r}: the comparator sorts a set, and counts against no --vote_reference")
    archs = select_archs(space, f"random:{FLAGS.vote_reference}", FLAGS.seed)
    matrix, _ = score_archs(store, space, archs, chosen, source, settings, **how)
    return dict(zip(map(label, chosen), matrix.T, strict=True))


def main() -> None:
    """Reads the flags, scores, writes the results."""
    if FLAGS.list:
        from zsnas_jax.reports import catalogue  # here: the recipes' packages take a second to import

        print(catalogue.as_text())
        return
    flags.configure()
    space = flags.search_space()
    chosen, asked_votes = _chosen([votes.make_vote(name, FLAGS.vote_method) for name in FLAGS.votes])
    settings = ScoreSettings(
        batch_size=FLAGS.batch_size,
        augment=FLAGS.augment,
        init=FLAGS.init,
        repeats=FLAGS.repeats,
        resample=FLAGS.resample,
        seed=FLAGS.seed,
        share_isomorphic=FLAGS.share_isomorphic,
    )
    source = flags.pictures(space)
    flags.check_memory(space.name, source.image_size, FLAGS.batch_size, flags.num_together())
    benchmark = flags.ground_truth(space.name)
    image_size = fixed_batch(settings, source, space).image.shape[1]
    sizes = Sizes(tasks.width_of(space, source.num_classes), image_size)
    shard = parse_shard(FLAGS.shard) if FLAGS.shard else Shard(1, 1)
    archs = shard.of(_archs(space, sizes, benchmark))
    # Looked up first: a missing architecture is an error now, not after the scoring.
    column = FLAGS.benchmark_column
    truth = score_report.find_truth(benchmark, column, space, archs, FLAGS.dataset) if benchmark else None
    how: dict[str, Any] = {"candidates_per_step": FLAGS.candidates_per_step, "programs": FLAGS.programs}
    programs = scorer_for(space, chosen, source, settings, **how).programs  # or says what is wrong, now
    trained = read_trained(space, pathlib.Path(FLAGS.calibrate)) if FLAGS.calibrate else None
    if trained:
        calibration_report.check_count(len(trained.accuracies), len(chosen))
    stored = stored_settings(settings, space, source, FLAGS.dataset)
    out = flags.results_folder(f"{space.name}-{pathlib.Path(FLAGS.dataset).stem}", stored)
    with ResultStore(out, stored) as store:
        files.sweep(out)
        log = RunLog(out, "score_main", flags.given())
        reference = _reference(store, space, chosen, asked_votes, source, settings, how)
        counting = [response.num_layers()] if FLAGS.profile else []
        matrix, times = score_archs(store, space, archs, [*chosen, *counting], source, settings, **how)
        matrix, counted = matrix[:, : len(chosen)], matrix[:, len(chosen) :]
        scored_by: dict[str, Proxy | Vote] = {label(proxy): proxy for proxy in chosen}
        failures = {label(proxy): store.failures(proxy) for proxy in chosen}
        scores = dict(zip(scored_by, matrix.T, strict=True))
        for vote in asked_votes:
            scores[vote.name], scored_by[vote.name] = votes.vote(vote, scores, reference), vote
        diagnoses = score_report.diagnose(space, archs, scores, truth)
        run = times._asdict() | how | {"programs": programs, "vote_reference": FLAGS.vote_reference}
        run |= {"shard": FLAGS.shard} if FLAGS.shard else {}
        what = scores, stored, scored_by, run, truth, diagnoses, failures, store.counts(), FLAGS.top_k
        summary = score_report.make_report(space, archs, *what)
        calibrated = None
        if trained:
            of_trained, _ = score_archs(store, space, trained.archs, chosen, source, settings, **how)
            columns = [dict(zip(map(label, chosen), own.T, strict=True)) for own in (matrix, of_trained)]
            given = space, archs, columns[0], trained, columns[1], FLAGS.train_next, FLAGS.structure
            calibrated = calibration_report.calibrate(*given)
            summary["calibration"] = calibration_report.as_json(calibrated)
        how_written: dict[str, Any] = {"sizes": sizes, "missing": FLAGS.missing}
        written = score_report.write_all(out, space, archs, scores, summary, truth, diagnoses, **how_written)
        written += calibration_report.write(out, calibrated) if calibrated else []
        if FLAGS.profile:
            by = lambda chosen: score_archs(store, space, archs, chosen, source, settings, **how)[0]
            profile = profile_report.profile(FLAGS.profile, list(map(space.encode, archs)), counted, by)
            written += profile_report.write(out, profile, truth.accuracy if truth else None)
    log.say(score_report.as_text(summary))
    if calibrated:
        log.say(f"\n{calibration_report.as_text(calibrated)}")
    log.say(f"\nwritten: {out}/ {', '.join(written)}")

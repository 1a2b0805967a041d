"""Scores architectures of a space with training-free proxies and compares the ranking with trained accuracy.

    score_main                                                  # 100 random NAS-Bench-201 cells, WRCor, noise
    score_main --archs=0:1000 --dataset=cifar10 --proxies=wrcor,acor --benchmark=nasbench201.csv.gz

Stopped at any moment and started again with the same flags, it goes on where it was.
"""

import pathlib

from absl import flags as absl_flags
import numpy as np

from zsnas_jax import datasets, flags, proxies, search, search_spaces, votes
from zsnas_jax.base import SearchSpace
from zsnas_jax.datasets import PictureSource
from zsnas_jax.reports import score_report
from zsnas_jax.runs import ranking
from zsnas_jax.storage.store import ResultStore

FLAGS = absl_flags.FLAGS


def define_flags() -> None:
    """The flags of this binary."""
    flags.define_scoring_flags()
    absl_flags.DEFINE_string(
        "archs", "random:100", "all, START:STOP by published index, random:COUNT, or a file with one string a line."
    )
    absl_flags.DEFINE_list(
        "votes",
        [],
        f"Votes, separated by commas: {', '.join(votes.VOTES)}, or experts joined by +. Their experts are scored too.",
    )
    absl_flags.DEFINE_string(
        "vote_method", None, f"How votes are counted: {', '.join(votes.METHODS)}; default copeland for most."
    )
    absl_flags.DEFINE_bool(
        "share_isomorphic",
        False,
        "Architectures have the score of their pruned form, which isomorphic ones share.",
    )


def _archs(space: SearchSpace, source: PictureSource, settings: ranking.ScoreSettings) -> np.ndarray:
    """The architectures that the flags name, within the limits."""
    limits = {"max_params": FLAGS.params_limit, "max_flops": FLAGS.flops_limit}
    if set(limits.values()) == {None}:
        return ranking.select_archs(space, FLAGS.archs, FLAGS.seed)
    image_size = ranking.fixed_batch(settings, source).image.shape[1]
    within = search.constrained(space, **limits, num_classes=source.num_classes, image_size=image_size)
    return ranking.select_archs(within, FLAGS.archs, FLAGS.seed, has_limits=True)


def main() -> None:
    """Reads the flags, scores, writes the results."""
    flags.configure()
    space = search_spaces.make_space(FLAGS.space)
    asked_votes = [votes.make_vote(name, FLAGS.vote_method) for name in FLAGS.votes]
    names = proxies.expand(FLAGS.proxies)
    names += list(dict.fromkeys(e for vote in asked_votes for e in vote.experts if e not in names))
    chosen = proxies.make_proxies(names, weighting=FLAGS.weighting)
    settings = ranking.ScoreSettings(
        batch_size=FLAGS.batch_size,
        augment=FLAGS.augment,
        init=FLAGS.init,
        norm=FLAGS.norm,
        mask_rate=FLAGS.mask_rate,
        activation=FLAGS.activation,
        weighting=FLAGS.weighting,
        repeats=FLAGS.repeats,
        resample=FLAGS.resample,
        seed=FLAGS.seed,
        share_isomorphic=FLAGS.share_isomorphic,
    )
    source = datasets.load(FLAGS.dataset, FLAGS.data_dir, FLAGS.num_classes)
    archs = _archs(space, source, settings)
    benchmark = flags.ground_truth(space.name)
    # Looked up first: a missing architecture is an error now, not after the scoring.
    column = FLAGS.benchmark_column
    truth = score_report.find_truth(benchmark, column, space, archs, FLAGS.dataset) if benchmark else None
    candidates = flags.candidates_per_step()
    stored = ranking.stored_settings(settings, space, source, FLAGS.dataset)
    out = flags.results_folder(f"{space.name}-{pathlib.Path(FLAGS.dataset).stem}", stored)
    with ResultStore(out, stored) as store:
        matrix, times = ranking.score_archs(
            store, space, archs, chosen, source, settings, candidates_per_step=candidates
        )
        scores = {proxy.name: matrix[:, i] for i, proxy in enumerate(chosen)}
        run = times._asdict() | {"candidates_per_step": candidates}
        hyper = {proxy.name: proxy.settings for proxy in chosen}
        failures = {proxy.name: store.failures(proxy.name) for proxy in chosen}
        for vote in asked_votes:
            scores[vote.name] = votes.vote(vote, scores)
            hyper[vote.name] = vote._asdict()
        diagnoses = score_report.diagnose(space, archs, scores, truth)
        summary = score_report.make_report(space, archs, scores, stored, hyper, run, truth, diagnoses, failures)
        written = score_report.write_all(out, space, archs, scores, summary, truth, diagnoses)
    print(score_report.as_text(summary))
    print(f"\nwritten: {out}/ {', '.join(written)}")


def cli() -> None:
    """The console command."""
    define_flags()
    flags.run(main, __doc__)


if __name__ == "__main__":
    cli()

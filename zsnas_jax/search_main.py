"""Searches a space for the architecture with the best training-free score, and reports what was found.

    search_main                                                 # evolution by WRCor on NAS-Bench-201, noise, live
    search_main --scores=nasbench201_scores --vote=sjw --num_seeds=100      # looked up in a table of scores: seconds
    search_main --strategy=reinforce --dataset=cifar10 --proxies=swap --params_limit=1e6 --benchmark=nasbench201.csv.gz

Stopped at any moment and started again with the same flags, it goes on where it was; with a larger --num_seeds a
finished search goes on with the seeds that are missing. Searches that differ only in what they go by (--proxies with
their settings, --vote) can share a folder, given as --out, and its scores; the reports there are of the last.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from zsnas_jax import command

    command.run("zsnas_jax.search_main")

import json
from typing import Any, NamedTuple

from absl import flags as absl_flags
import jax
import numpy as np

from zsnas_jax import benchmarks, datasets, flags, proxies, search, tasks, votes
from zsnas_jax.arguments import Range, Subject
from zsnas_jax.base import Proxy, SearchSpace
from zsnas_jax.datasets import PictureSource
from zsnas_jax.datasets.sources import NUM_CLASSES
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.proxies.labels import label
from zsnas_jax.reports import score_report, search_report
from zsnas_jax.reports.search_task import Task, find_truth
from zsnas_jax.runs.scores import score_archs, scorer_for
from zsnas_jax.runs.settings import ScoreSettings, fixed_batch, seed_keys, stored_settings, stream_identity
from zsnas_jax.scoring import Scorer
from zsnas_jax.search import seeds
from zsnas_jax.storage import files
from zsnas_jax.votes import Vote

FLAGS = absl_flags.FLAGS
SEARCH = Subject("The search")
LIVE_CHUNK, HOST_CHUNK, TABLE_CHUNK, TABLE_GROUP = 32, 1, 250, 500
_OWN_FLAGS = {"random": (), "reinforce": ("learning_rate",), "evolution": ("population_size", "tournament_size")}
_OWN_FLAGS |= {"genetic": ("generation_size", "num_parents")}
_ONE_BY_ONE = {"repeats": (1,), "resample": (False,), "candidates_per_step": (1,), "num_devices": (0, 1)}
_MOST = 20_000_000
"""Architectures of all seeds together: their states are held in memory, and written whole at each commit."""
_OF_PROXIES = ("weighting", "norm", "mask_rate", "activation")


def define_flags() -> None:
    """The flags of this binary."""
    SEARCH.choice("strategy", "evolution", "How to search.", search.STRATEGIES)
    SEARCH.whole("num_architectures", 1000, "Architectures that a seed explores.", Range(1, _MOST))
    SEARCH.whole("num_seeds", 1, "How often to search; the report says how much the seeds differ.", Range(1, _MOST))
    SEARCH.whole("population_size", 64, "Of evolution.", Range(1, _MOST))
    SEARCH.whole("tournament_size", 10, "Of evolution.", Range(1, _MOST))
    SEARCH.whole("generation_size", 50, "Of genetic.", Range(1, _MOST))
    SEARCH.whole(
        "num_parents", 10, "Of genetic: the best so far, whose children the next generation is.", Range(1, _MOST)
    )
    SEARCH.real("learning_rate", 1e-3, "Of reinforce.", Range(0.0, 1e6, without=(0,)))
    SEARCH.whole(
        "chunk",
        0,
        "Steps between two commits; 0: 32, 1 where programs are chained or static, in a table 250.",
        Range(0, _MOST),
    )
    flags.define_scoring_flags()
    flags.SCORES.text(
        "vote", None, f"A vote in the place of one proxy: {', '.join(votes.VOTES)}, or experts joined by +."
    )
    flags.SCORES.path(
        "scores",
        None,
        "Look scores up in a table instead of computing them: nasbench201_scores, or a path as of --benchmark. Its "
        "columns are what --proxies and --vote name, settings included.",
    )


class Plan(NamedTuple):
    """What the flags ask for, checked, before anything is written.

    Attributes:
        space: within the limits.
        proxies: those of a live search; none where scores are looked up.
        experts: labels of the scores that are computed, or the columns that are looked up.
        vote: how they are put together; None: there is one.
        strategy: how architectures are picked.
        table: benchmark with the scores, or None: live.
        source: pictures of a live search, or None.
        scorer: of a live search, or None.
        task: what the report needs.
        settings: what the results folder is bound to.
        objective: what the search goes by.
    """

    space: SearchSpace
    proxies: tuple[Proxy, ...]
    experts: tuple[str, ...]
    vote: Vote | None
    strategy: search.SearchStrategy
    table: benchmarks.TabularBenchmark | None
    source: PictureSource | None
    scorer: Scorer | None
    task: Task
    settings: dict[str, Any]
    objective: dict[str, Any]

    @property
    def is_on_host(self) -> bool:
        """Whether the scores of a live search cannot be traced inside it."""
        return self.scorer is not None and self.scorer.programs != "dispatched"

    @property
    def is_sum(self) -> bool:
        """Whether the experts come to one score, in units of a sample."""
        return self.vote is not None and self.vote.method in votes.SUMS


def _experts() -> tuple[tuple[str, ...], Vote | None]:
    """(names of the scores, how they are put together)."""
    names = tuple(proxies.expand(FLAGS.proxies))
    if FLAGS.vote:
        vote = votes.make_vote(FLAGS.vote)
        if FLAGS["proxies"].present and set(names) != set(vote.experts):
            raise ValueError(f"proxies {', '.join(names)}: vote {FLAGS.vote} is of {', '.join(vote.experts)}")
        return vote.experts, vote
    if len(names) != 1:
        given = ", ".join(names) or "none"
        raise ValueError(f"proxies {given}: a search needs one, or --vote to put several together")
    return names, None


def _scoring_settings() -> ScoreSettings:
    for name, allowed in _ONE_BY_ONE.items():
        value = FLAGS[name].value
        if value not in allowed:
            raise ValueError(f"{name} is {value}: a search scores each architecture once, one after another")
    return ScoreSettings(batch_size=FLAGS.batch_size, augment=FLAGS.augment, init=FLAGS.init, seed=FLAGS.seed)


def _check_size() -> None:
    if FLAGS.num_architectures * FLAGS.num_seeds > _MOST:
        raise ValueError(
            f"num_architectures is {FLAGS.num_architectures}, num_seeds {FLAGS.num_seeds}: together at most "
            f"{_MOST:,} are explored"
        )


def _strategy(space: SearchSpace, num_experts: int) -> search.SearchStrategy:
    own = {name: FLAGS[name].value for name in _OWN_FLAGS.get(FLAGS.strategy, ())}
    strategy = search.make_strategy(FLAGS.strategy, space, num_experts=num_experts, **own)
    if FLAGS.num_architectures < strategy.num_initial:
        name = next(name for name, value in strategy.settings.items() if value == strategy.num_initial)
        raise ValueError(
            f"num_architectures is {FLAGS.num_architectures}: {strategy.name} begins with "
            f"{strategy.num_initial} random ones, its {name}"
        )
    return strategy


def _table(space: SearchSpace, experts: tuple[str, ...]) -> tuple[benchmarks.TabularBenchmark, tuple[str, ...]]:
    """(the table of scores, the full names of the experts' columns)."""
    for name in _OF_PROXIES:
        if FLAGS[name].value != FLAGS[name].default:
            value = FLAGS[name].value
            raise ValueError(
                f"{name} is {value!r}: scores are looked up in a table, by the columns that --proxies names"
            )
    if FLAGS.dataset not in datasets.DATASETS and not FLAGS.dataset.endswith(".npz"):
        raise ValueError(f"unknown data set {FLAGS.dataset!r}: allowed are {', '.join(datasets.DATASETS)} or an .npz")
    table = benchmarks.open_benchmark(FLAGS.scores)
    if table.space != space.name:
        raise ValueError(f"scores {FLAGS.scores} are of space {table.space}, the search is of {space.name}")
    return table, tuple(table.resolve(expert) for expert in experts)


def _plan() -> Plan:
    """Everything that can be wrong is found here."""
    _check_size()
    scoring, (names, vote) = _scoring_settings(), _experts()
    whole = flags.search_space()
    table, source, scorer, chosen = None, None, None, tuple[Proxy, ...]()
    if FLAGS.scores:
        table, experts = _table(whole, names)
        classes = FLAGS.num_classes or NUM_CLASSES.get(FLAGS.dataset, 10)
        image_size = 16 if FLAGS.dataset == "imagenet16_120" else 32
        bound: dict[str, Any] = {"space": whole.name, "seed": scoring.seed, "scores": table.name}
        bound |= {"scores_sha256": table.checksum}
        bound |= {"random_sha256": stream_identity(seeds.search_keys(scoring.seed)[1])}
    else:
        chosen = proxies.make_proxies(names, weighting=FLAGS.weighting, options=flags.layer_options())
        experts = tuple(map(label, chosen))
        source = flags.pictures(whole)
        flags.check_memory(whole.name, source.image_size, FLAGS.batch_size)
        classes, image_size = (
            tasks.width_of(whole, source.num_classes),
            fixed_batch(scoring, source, whole).image.shape[1],
        )
        bound = stored_settings(scoring, whole, source, FLAGS.dataset)
        scorer = scorer_for(whole, chosen, source, scoring, programs=FLAGS.programs)  # or says what is wrong
    limits = flags.limits()
    sizes: dict[str, Any] = {"num_classes": classes, "image_size": image_size}
    rows = search.allowed_rows(whole, **limits, **sizes)
    space = search.constrained(whole, **limits, rows=rows, **sizes)
    vote = vote and votes.with_experts(vote, experts)
    is_sum = vote is not None and vote.method in votes.SUMS
    strategy = _strategy(space, 1 if is_sum else len(experts))
    benchmark, column = flags.ground_truth(whole.name), FLAGS.benchmark_column
    truth = find_truth(benchmark, column, whole, FLAGS.dataset, rows) if benchmark else None
    scores = vote.name if vote else experts[0]
    own = {"strategy": strategy.name, **strategy.settings, "num_architectures": FLAGS.num_architectures} | limits
    objective: dict[str, Any] = {"scores": scores, "experts": [proxy.identity for proxy in chosen] or list(experts)}
    objective |= {"method": vote and vote.method, "weights": vote and vote.weights}
    task = Task(whole, (scores,) if is_sum or not vote else experts, classes, image_size, truth)
    return Plan(space, chosen, experts, vote, strategy, table, source, scorer, task, bound | own, objective)


def _score_fn(plan: Plan, store: seeds.SearchStore) -> search.ScoreFn:
    """The source of the scores; a vote that is a sum scores its reference first."""
    settings = _scoring_settings()
    if plan.table:
        columns = np.stack([plan.table.columns[name] for name in plan.experts], axis=1)
        score_fn = search.table_scores(plan.space, columns)
    else:
        assert plan.source is not None and plan.scorer is not None
        batch = fixed_batch(settings, plan.source, plan.task.space)
        if plan.is_on_host:
            score_fn = search.host_scores(plan.scorer, batch)
        else:
            weight_key, _ = seed_keys(settings.seed)  # as score_main, whose scores these are
            own: dict[str, Any] = {"num_classes": plan.task.num_classes, "initializer": INITIALIZERS[settings.init]}
            score_fn = search.live_scores(weight_key, plan.task.space, plan.proxies, batch, **own)
    if not plan.is_sum:
        return score_fn
    assert plan.vote is not None
    keys = jax.random.split(seeds.search_keys(FLAGS.seed)[0], seeds.NUM_REFERENCE)
    archs = np.asarray(jax.jit(jax.vmap(plan.space.sample))(keys))
    if plan.source:
        what = plan.task.space, archs, plan.proxies, plan.source, settings
        reference, _ = score_archs(store, *what, programs=FLAGS.programs)
    else:
        reference = np.asarray(jax.jit(jax.vmap(score_fn))(archs))
    return search.vote_scores(score_fn, plan.vote, reference)


def _stored_as(plan: Plan) -> tuple[Proxy | Vote, ...]:
    """What the store knows the scores of a search under; nothing where they are looked up."""
    if not plan.proxies:
        return ()
    return (plan.vote,) if plan.vote and plan.is_sum else plan.proxies


def main() -> None:
    """Reads the flags, searches, writes the results."""
    if FLAGS.num_devices == 0:
        FLAGS["num_devices"].parse(1)  # one architecture at a time, with every thread
    flags.configure()
    plan = _plan()
    stem = f"search-{plan.settings['space']}-{plan.settings['strategy']}"
    out = flags.results_folder(stem, plan.settings | {"objective": plan.objective})
    is_live = plan.table is None
    with seeds.SearchStore(out, plan.settings) as store:
        files.sweep(out)
        running = seeds.Search(
            key=seeds.search_keys(FLAGS.seed)[1],
            space=plan.space,
            strategy=plan.strategy,
            score_fn=_score_fn(plan, store),
            experts=_stored_as(plan),
            num_steps=FLAGS.num_architectures,
            chunk=FLAGS.chunk or (TABLE_CHUNK if not is_live else HOST_CHUNK if plan.is_on_host else LIVE_CHUNK),
            group_size=1 if is_live else TABLE_GROUP,
            objective=json.dumps(plan.objective, sort_keys=True),
            is_on_host=plan.is_on_host,
        )
        explored, num_now = seeds.run_seeds(store, running, FLAGS.num_seeds)
        described = {name: plan.settings[name] for name in ("strategy", *plan.strategy.settings, "num_architectures")}
        described |= {"scores": plan.objective["scores"], "vote": plan.vote and plan.vote._asdict()}
        described |= {"proxies": {label(proxy): score_report.describe(proxy) for proxy in plan.proxies}}
        run: dict[str, Any] = {
            "num_explored_now": num_now,
            "num_scored": int(explored.is_new.sum()),
            "chunk": running.chunk,
        }
        run |= {"how": "computed", "programs": plan.scorer.programs} if plan.scorer else {"how": "looked up"}
        made = search_report.make_report(plan.task, explored, plan.settings, described, run)
        written = search_report.write_all(out, plan.task, explored, made, is_live)
    print(search_report.as_text(made))
    print(f"\nwritten: {out}/ {', '.join(written)}")

"""Searches a space for the architecture with the best training-free score, and reports what was found.

    search_main                                                 # evolution by quartet on NAS-Bench-201, noise, live
    search_main --proxies=wrcor                                 # by one proxy, as the WRCor paper does
    search_main --scores=nasbench201_scores --vote=sjw --num_seeds=100      # looked up in a table of scores: seconds
    search_main --strategy=reinforce --dataset=cifar10 --proxies=swap --params_limit=1e6 --benchmark=nasbench201.csv.gz
    search_main --scores=nasbench201_scores --objectives=quintet,-flops,-params    # the best trade-offs, by NSGA-II

Stopped at any moment and started again with the same flags, it goes on where it was; with a larger --num_seeds a
finished search goes on with the seeds that are missing. Searches that differ only in what they go by (--proxies with
their settings, --vote, --objectives) can share a folder, given as --out, and its scores; the reports there are of the
last.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from zsnas_jax import command

    command.run("zsnas_jax.search_main")

from collections.abc import Mapping
import json
from typing import Any, NamedTuple

from absl import flags as absl_flags
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax import benchmarks, datasets, flags, proxies, search, tasks, votes
from zsnas_jax.arguments import Range, Subject
from zsnas_jax.base import Arch, Proxy, SearchSpace
from zsnas_jax.datasets import PictureSource
from zsnas_jax.datasets.sources import NUM_CLASSES
from zsnas_jax.measure import latency
from zsnas_jax.measure.latency import Latency
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.proxies.labels import Identified, label
from zsnas_jax.reports import pareto_report, score_report, search_report
from zsnas_jax.reports.search_task import Task, find_truth, say_maximum
from zsnas_jax.runs.log import RunLog
from zsnas_jax.runs.scores import score_archs, scorer_for
from zsnas_jax.runs.settings import ScoreSettings, fixed_batch, seed_keys, stored_settings, stream_identity
from zsnas_jax.scoring import Scorer
from zsnas_jax.search import objectives, seeds
from zsnas_jax.search.objectives import LATENCY, Objective
from zsnas_jax.storage import files
from zsnas_jax.votes import Vote

FLAGS = absl_flags.FLAGS
SEARCH = Subject("The search")
LIVE_CHUNK, HOST_CHUNK, TABLE_CHUNK, TABLE_GROUP = 32, 1, 250, 500
_OWN_FLAGS = {"random": (), "reinforce": ("learning_rate",), "evolution": ("population_size", "tournament_size")}
_OWN_FLAGS |= {"genetic": ("generation_size", "num_parents"), "nsga2": ("population_size",)}
_OF_TRADE_OFFS = "nsga2"
_ONE_BY_ONE = {"repeats": (1,), "resample": (False,), "candidates_per_step": (1,), "num_devices": (0, 1)}
_MOST = 20_000_000
"""Architectures of all seeds together: their states are held in memory, and written whole at each commit."""
_OF_PROXIES = ("weighting", "norm", "mask_rate", "activation")


DEFAULT_VOTE, WITHOUT_FLOPS = "quartet", "quintet"
"""By one proxy a search ends where it is wrong: WRCor's best cell of NAS-Bench-201 is 5 points below the best one.
`quartet` is above parameters and FLOPs on all spaces that it was measured on; `quintet` counts no FLOPs."""


def define_flags() -> None:
    """The flags of this binary."""
    SEARCH.choice("strategy", "evolution", "How to search; where there are --objectives, by nsga2.", search.STRATEGIES)
    SEARCH.whole("num_architectures", 1000, "Architectures that a seed explores.", Range(1, _MOST))
    SEARCH.whole("num_seeds", 1, "How often to search; the report says how much the seeds differ.", Range(1, _MOST))
    SEARCH.whole("population_size", 64, "Of evolution and nsga2.", Range(1, _MOST))
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
        "vote",
        None,
        f"A vote: {', '.join(votes.VOTES)}, or experts joined by +. Where neither this nor --proxies nor --objectives "
        f"is given {DEFAULT_VOTE}, or {WITHOUT_FLOPS} in a space that counts no FLOPs.",
    )
    flags.SCORES.words(
        "objectives",
        [],
        "In the place of one score several, separated by commas, whose best trade-offs are searched: a proxy or a vote "
        "that is a sum (NAME or +NAME: the more the better, -NAME: the less), -params, -flops, -latency.",
    )
    flags.SCORES.whole("latency_batch_size", 1, "Pictures whose forward pass is timed.", Range(1, 65_536))
    flags.SCORES.whole("latency_repeats", 20, "Runs of which the median is a latency.", Range(1, 10_000))
    flags.SCORES.path(
        "scores",
        None,
        "Look scores up in a table instead of computing them: nasbench201_scores, or a path as of --benchmark. Its "
        "columns are what --proxies, --vote and --objectives name, settings included; params, flops are the space's.",
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
        objectives: of a search for trade-offs, by the labels of their scores; empty: there is one score.
        costs: which of the space's costs are scores beside those of a table.
        latency: how networks are timed, if that is an objective.
        rows: which architectures of the published order are within the limits, bool[A]; None: there are no limits.
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
    objectives: tuple[Objective, ...] = ()
    costs: tuple[str, ...] = ()
    latency: Latency | None = None
    rows: np.ndarray | None = None

    @property
    def is_on_host(self) -> bool:
        """Whether the scores cannot be traced inside the search."""
        return self.latency is not None or (self.scorer is not None and self.scorer.programs != "dispatched")

    @property
    def needs_reference(self) -> bool:
        """Whether a vote adds up experts in units of a sample."""
        return self.is_sum or any(objective.vote for objective in self.objectives)

    @property
    def is_sum(self) -> bool:
        """Whether the experts come to one score, in units of a sample."""
        return self.vote is not None and self.vote.method in votes.SUMS


def _objectives() -> tuple[Objective, ...]:
    """Those of --objectives; none for a search by one score."""
    if not FLAGS["objectives"].present:
        if FLAGS.strategy == _OF_TRADE_OFFS:
            raise ValueError(f"strategy is {FLAGS.strategy}: it searches trade-offs, give --objectives=wrcor,-flops")
        return ()
    asked = objectives.parse(FLAGS.objectives)
    for name in ("proxies", "vote"):
        if FLAGS[name].present:
            said = ", ".join(FLAGS.objectives)
            raise ValueError(f"{name} is {FLAGS[name].value}: a search goes by it or by objectives, here {said}")
    if FLAGS["strategy"].present and FLAGS.strategy != _OF_TRADE_OFFS:
        raise ValueError(f"strategy is {FLAGS.strategy}: several objectives are searched by {_OF_TRADE_OFFS}")
    return asked


def _experts(space: SearchSpace) -> tuple[tuple[str, ...], Vote | None]:
    """(names of the scores, how they are put together)."""
    names = tuple(proxies.expand(FLAGS.proxies))
    usual = DEFAULT_VOTE if space.num_flops else WITHOUT_FLOPS
    if asked := FLAGS.vote or ("" if FLAGS["proxies"].present else usual):
        vote = votes.make_vote(asked)
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
    chosen = _OF_TRADE_OFFS if FLAGS["objectives"].present else FLAGS.strategy
    own = {name: FLAGS[name].value for name in _OWN_FLAGS.get(chosen, ())}
    strategy = search.make_strategy(chosen, space, num_experts=num_experts, **own)
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


def _split_costs(space: SearchSpace, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the names of scores that a table has, those of costs that the space knows better)."""
    costs = tuple(name for name in names if name in objectives.COSTS)
    for name in costs:
        _check_cost(space, name)
    return tuple(name for name in names if name not in costs), costs


def _check_cost(space: SearchSpace, name: str) -> None:
    if getattr(space, f"num_{name}") is None:
        raise ValueError(f"objective {name!r}: space {space.name} has no num_{name}")


def _plan() -> Plan:
    """Everything that can be wrong is found here."""
    _check_size()
    asked = _objectives()
    scoring, whole = _scoring_settings(), flags.search_space()
    names, vote = (objectives.score_names(asked), None) if asked else _experts(whole)
    table, source, scorer, chosen, costs = None, None, None, tuple[Proxy, ...](), tuple[str, ...]()
    if is_timed := asked and LATENCY in names:
        latency.check(whole)
        names = tuple(name for name in names if name != LATENCY)
    if FLAGS.scores:
        names, costs = _split_costs(whole, names) if asked else (names, ())
        table, experts = _table(whole, names)
        classes = FLAGS.num_classes or NUM_CLASSES.get(FLAGS.dataset, 10)
        image_size = 16 if FLAGS.dataset == "imagenet16_120" else 32
        bound: dict[str, Any] = {"space": whole.name, "seed": scoring.seed, "scores": table.name}
        bound |= {"scores_sha256": table.checksum}
        bound |= {"random_sha256": stream_identity(seeds.search_keys(scoring.seed)[1])}
    else:
        if "flops" in names and asked:
            _check_cost(whole, "flops")
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
    kind = _latency(sizes) if is_timed else None
    asked = objectives.relabel(asked, dict(zip(names, experts, strict=True)) | ({LATENCY: kind.name} if kind else {}))
    strategy = _strategy(space, len(asked) or (1 if is_sum else len(experts)))
    benchmark, column = flags.ground_truth(whole.name), FLAGS.benchmark_column
    truth = find_truth(benchmark, column, whole, FLAGS.dataset, rows) if benchmark else None
    scores = ", ".join(map(str, asked)) if asked else vote.name if vote else experts[0]
    own = {"strategy": strategy.name, **strategy.settings, "num_architectures": FLAGS.num_architectures} | limits
    objective: dict[str, Any] = {"scores": scores, "experts": [proxy.identity for proxy in chosen] or list(experts)}
    objective |= {"method": vote and vote.method, "weights": vote and vote.weights}
    objective |= {"latency": kind.settings} if kind else {}
    columns = tuple(one.name for one in asked) or ((scores,) if is_sum or not vote else experts)
    task = Task(whole, columns, classes, image_size, truth)
    what = table, source, scorer, task, bound | own, objective
    return Plan(space, chosen, experts, vote, strategy, *what, asked, costs, kind, rows)


def _latency(sizes: Mapping[str, int]) -> Latency:
    return Latency(FLAGS.latency_batch_size, FLAGS.latency_repeats, **sizes, device=latency.device_name())


def _table_fn(plan: Plan) -> search.ScoreFn:
    """Columns of the table, and costs of the space behind them."""
    assert plan.table is not None
    space, num_classes, image_size = plan.task.space, plan.task.num_classes, plan.task.image_size
    columns = [plan.table.columns[name] for name in plan.experts]
    looked_up = search.table_scores(plan.space, np.stack(columns, axis=1)) if columns else None
    sizes = {"params": (num_classes,), "flops": (num_classes, image_size)}

    def score(arch: Arch) -> jax.Array:
        found = [] if looked_up is None else [looked_up(arch)]
        own = [jnp.float32(getattr(space, f"num_{name}")(arch, *sizes[name])) for name in plan.costs]
        return jnp.concatenate([*found, *(cost[None] for cost in own)])

    return score if plan.costs else looked_up or score


def _score_fn(plan: Plan, store: seeds.SearchStore) -> search.ScoreFn:
    """The source of the scores; where a vote is a sum its reference is scored first."""
    settings = _scoring_settings()
    if plan.table:
        score_fn = _table_fn(plan)
    else:
        assert plan.source is not None and plan.scorer is not None
        batch = fixed_batch(settings, plan.source, plan.task.space)
        if plan.is_on_host:
            score_fn = search.host_scores(plan.scorer, batch)
        else:
            weight_key, _ = seed_keys(settings.seed)  # as score_main, whose scores these are
            own: dict[str, Any] = {"num_classes": plan.task.num_classes, "initializer": INITIALIZERS[settings.init]}
            score_fn = search.live_scores(weight_key, plan.task.space, plan.proxies, batch, **own)
    reference = _reference(plan, store, score_fn)
    if plan.objectives:
        names = [*plan.experts, *plan.costs]
        if plan.latency:
            untimed = jax.jit(score_fn) if plan.table else score_fn
            timed = search.latency_scores(store, plan.task.space, plan.latency)
            score_fn, names = lambda arch: jnp.append(untimed(arch), timed(arch)), [*names, plan.latency.name]
        return search.objective_scores(score_fn, plan.objectives, names, reference)
    if not plan.is_sum:
        return score_fn
    assert plan.vote is not None and reference is not None
    return search.vote_scores(score_fn, plan.vote, reference)


def _reference(plan: Plan, store: seeds.SearchStore, score_fn: search.ScoreFn) -> np.ndarray | None:
    """Scores float[R, P] of a sample of the space, in whose units votes add up; None where none does."""
    if not plan.needs_reference:
        return None
    keys = jax.random.split(seeds.search_keys(FLAGS.seed)[0], seeds.NUM_REFERENCE)
    archs = np.asarray(jax.jit(jax.vmap(plan.space.sample))(keys))
    if plan.source is None:
        return np.asarray(jax.jit(jax.vmap(score_fn))(archs))
    what = plan.task.space, archs, plan.proxies, plan.source, _scoring_settings()
    return score_archs(store, *what, programs=FLAGS.programs)[0]


def _scores_of_all(plan: Plan, store: seeds.SearchStore) -> np.ndarray | None:
    """Objectives float32[A, E] of all architectures in published order, -inf beyond the limits; None: nobody knows."""
    if not plan.table or plan.latency:
        return None
    sizes = {"num_classes": plan.task.num_classes, "image_size": plan.task.image_size}
    costs = [search.costs_of_all(plan.task.space, name, **sizes) for name in plan.costs]
    known = [*(plan.table.columns[name] for name in plan.experts), *(cost for cost in costs if cost is not None)]
    columns = np.stack(known, axis=1).astype(np.float32)
    what = plan.objectives, [*plan.experts, *plan.costs], _reference(plan, store, _table_fn(plan))
    scores = np.asarray(jax.jit(jax.vmap(search.objective_scores(lambda row: row, *what)))(columns))
    return scores if plan.rows is None else np.where(plan.rows[:, None], scores, -np.inf)


def _stored_as(plan: Plan) -> tuple[Identified, ...]:
    """What the store knows the scores of a search under; nothing where they are looked up."""
    if not plan.proxies:
        return ()
    if plan.objectives:
        known: dict[str, Identified] = dict(zip(plan.experts, plan.proxies, strict=True))
        known |= {plan.latency.name: plan.latency} if plan.latency else {}
        return tuple(objective.vote or known[objective.name] for objective in plan.objectives)
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
    if not plan.objectives and not plan.vote:
        print(say_maximum(plan.task.space, plan.experts[0]))
    with seeds.SearchStore(out, plan.settings) as store:
        files.sweep(out)
        log = RunLog(out, "search_main", flags.given())
        score_fn = _score_fn(plan, store)
        running = seeds.Search(
            key=seeds.search_keys(FLAGS.seed)[1],
            space=plan.space,
            strategy=plan.strategy,
            score_fn=score_fn,
            experts=_stored_as(plan),
            num_steps=FLAGS.num_architectures,
            chunk=FLAGS.chunk or (HOST_CHUNK if plan.is_on_host else LIVE_CHUNK if is_live else TABLE_CHUNK),
            group_size=1 if is_live or plan.is_on_host else TABLE_GROUP,
            objective=json.dumps(plan.objective, sort_keys=True),
            is_on_host=plan.is_on_host,
            objectives=plan.objectives,
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
        if plan.objectives:
            described |= {"latency": plan.latency.settings} if plan.latency else {}
            every = _scores_of_all(plan, store)
            trade = pareto_report.analyse(plan.task, plan.objectives, explored, plan.strategy.num_initial, every)
            made = pareto_report.make_report(trade, plan.settings, described, run)
            written, said = pareto_report.write_all(out, trade, made), pareto_report.as_text(made)
        else:
            made = search_report.make_report(plan.task, explored, plan.settings, described, run)
            written, said = (
                search_report.write_all(out, plan.task, explored, made, is_live),
                search_report.as_text(made),
            )
    log.say(said)
    log.say(f"\nwritten: {out}/ {', '.join(written)}")

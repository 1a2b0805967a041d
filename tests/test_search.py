"""Strategies, the loop, the sources, the limits."""

import functools

import golden
import jax
from jax.experimental import io_callback
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import benchmarks, proxies, scoring, search, search_spaces, votes
from zsnas_jax.base import SearchSpace
from zsnas_jax.search import strategies

SPACE = search_spaces.make_space("nasbench201")
TABLE = np.random.default_rng(0).standard_normal((15625, 3)).astype(np.float32)
SMALL = {
    "random": {},
    "reinforce": {"num_reference": 4, "learning_rate": 0.1},
    "evolution": {"population_size": 6, "tournament_size": 3},
}
every_strategy = pytest.mark.parametrize("name", SMALL)


def make(name, num_experts=1, space=SPACE):
    return search.make_strategy(name, space, num_experts=num_experts, **SMALL[name])


def same(one, other):
    unkeyed = lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(unkeyed(a), unkeyed(b))


def python_loop(body, state, steps):
    for step in steps:
        state, _ = body(state, step)
    return state, None


def line_space(size=5, num_genes=3):
    """A user's own space: a dictionary of two kinds of genes, nothing published."""
    names = dict.fromkeys(SearchSpace._fields)

    def sample(key):
        width_key, op_key = jax.random.split(key)
        draw = lambda key, shape: jax.random.randint(key, shape, 0, size)
        return {"width": draw(width_key, (num_genes,)), "op": draw(op_key, ())}

    def mutate(key, arch):
        return arch | {"op": (arch["op"] + jax.random.randint(key, (), 1, size)) % size}

    own = {"name": "line", "sample": sample, "mutate": mutate, "is_valid": lambda arch: True, "num_variants": 1}
    return SearchSpace(**(names | own))


# --- strategies


def test_contestants_are_drawn_uniformly_without_replacement_the_oldest_first():
    keys = jax.random.split(jax.random.key(0), 20_000)
    ages = np.asarray(jax.vmap(lambda key: strategies.draw_contestants(key, 9, 4))(keys))
    assert (np.diff(ages, axis=1) > 0).all() and ages.min() == 0 and ages.max() == 8
    chosen = (ages[:, :, None] == np.arange(9)).any(1)
    np.testing.assert_allclose(chosen.mean(0), 4 / 9, atol=0.02)
    pairs = np.einsum("ni,nj->ij", chosen, chosen.astype(float)) / len(keys)
    np.testing.assert_allclose(pairs[~np.eye(9, dtype=bool)], (4 / 9) * (3 / 8), atol=0.02)
    np.testing.assert_array_equal(strategies.draw_contestants(keys[0], 5, 5), np.arange(5))


@pytest.mark.parametrize("num_experts", [1, 3])
def test_the_fittest_is_that_of_the_votes(num_experts):
    rng = np.random.default_rng(1)
    for _ in range(50):
        scores = rng.integers(0, 3, (5, num_experts)).astype(np.float32)
        scores[rng.random(scores.shape) < 0.2] = rng.choice([np.nan, np.inf, -np.inf])
        assert strategies.fittest(jnp.asarray(scores)) == votes.tournament(scores), scores


def test_a_population_keeps_the_last_it_was_told():
    strategy = search.evolution(SPACE, population_size=4, tournament_size=2)
    state = strategy.init(jax.random.key(0))
    told = SPACE.from_index(np.arange(11))
    for i, arch in enumerate(told):
        state = strategy.tell(state, jnp.asarray(arch), jnp.float32([i]))
    ring = (np.arange(4) + 11) % 4
    np.testing.assert_array_equal(np.asarray(state.archs)[ring], told[-4:])
    np.testing.assert_array_equal(np.asarray(state.scores)[ring, 0], np.arange(7, 11))


def test_a_child_is_one_mutation_from_the_oldest_of_the_best():
    strategy = search.evolution(SPACE, population_size=4, tournament_size=4)
    state = strategy.init(jax.random.key(0))
    told = SPACE.from_index(np.arange(5))
    for arch, score in zip(told, [9, np.nan, 2, 2, 1], strict=True):  # 9 is gone by its age
        state = strategy.tell(state, jnp.asarray(arch), jnp.float32([score]))
    ask = jax.jit(strategy.ask)
    for i in range(20):
        assert (np.asarray(ask(jax.random.key(i), state)) != told[2]).sum() == 1


def test_evolution_begins_with_samples_of_the_space():
    strategy = search.evolution(SPACE, population_size=3, tournament_size=1)
    key = jax.random.key(5)
    np.testing.assert_array_equal(strategy.ask(key, strategy.init(key)), SPACE.sample(key))


def test_evolution_with_exact_accuracies_reaches_the_optimum_region():
    table = benchmarks.open_benchmark(golden.shared_file("data/nasbench201.csv.gz"))
    accuracy = np.asarray(table.columns["cifar10_test_200_mean"])
    score_fn = search.table_scores(SPACE, accuracy)
    keys = jax.random.split(jax.random.key(0), 20)
    found = {}
    for name in ("evolution", "random"):
        strategy = search.make_strategy(name, SPACE)
        states = jax.jit(jax.vmap(lambda key: search.run(key, strategy, score_fn, 500)))(keys)
        found[name] = np.asarray(states.scores[:, :, 0].max(1))
    assert found["evolution"].mean() > 0.9425 > found["random"].mean()
    assert found["evolution"].max() == accuracy.max()


def test_a_policy_has_one_logit_for_two_choices_else_one_a_choice():
    policy = strategies.make_policy((2, 3))
    logits = jnp.array([0.4, 1.0, 2.0, 3.0])
    probs = np.exp(policy.log_probs(logits))
    assert policy.num_logits == 4
    np.testing.assert_allclose(probs[0], [1 / (1 + np.exp(0.4)), 1 / (1 + np.exp(-0.4)), 0], rtol=1e-6)
    np.testing.assert_allclose(probs[1], np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum(), rtol=1e-6)


def test_the_gradient_of_a_policy_is_that_of_the_hand():
    policy, logits = strategies.make_policy((2, 3)), jnp.array([0.4, 1.0, 2.0, 3.0])
    gradient = jax.grad(lambda logits: strategies.log_likelihood(policy, logits, jnp.array([1, 2])))(logits)
    softmax = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    by_hand = np.concatenate([[1 - 1 / (1 + np.exp(-0.4))], [0, 0, 1] - softmax])
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-5)


def test_reinforce_takes_the_steps_of_the_equations():
    num_experts, learning_rate, momentum = 3, 0.05, 0.9
    strategy = search.reinforce(SPACE, num_experts=num_experts, learning_rate=learning_rate, num_reference=4)
    rng = np.random.default_rng(2)
    archs, scores = SPACE.from_index(rng.integers(0, 15625, 9)), rng.standard_normal((9, num_experts))
    scores[1, 0], scores[6, 2] = np.nan, -np.inf
    state = strategy.init(jax.random.key(3))
    logits = np.asarray(state.logits, np.float64).reshape(6, 5)
    assert 2e-4 < logits.std() < 2e-3
    tell = jax.jit(strategy.tell)
    mean = first = second = 0.0
    for t, (arch, score) in enumerate(zip(archs, scores, strict=True)):
        state = tell(state, jnp.asarray(arch), jnp.float32(score))
        if t >= 4:
            reward = 0.0
            for s, reference in zip(score, scores[:4].T, strict=True):
                known = reference[np.isfinite(reference)]
                z = (np.append(known, s) - known.mean()) / known.std()
                reward += z[-1] if np.isfinite(s) else z[:-1].min() - 1
            n = t - 3
            mean = momentum * mean + (1 - momentum) * reward
            advantage = reward - mean / (1 - momentum**n)
            softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            gradient = advantage * (np.eye(5)[arch] - softmax)
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            logits = logits + learning_rate * (first / (1 - 0.9**n)) / (np.sqrt(second / (1 - 0.999**n)) + 1e-8)
        np.testing.assert_allclose(np.asarray(state.logits).reshape(6, 5), logits, atol=2e-4)
    assert np.abs(logits).max() > 0.05


def test_reinforce_draws_again_until_the_architecture_is_of_the_space():
    ends_with_2 = lambda arch: arch[-1] == 2
    strategy = search.reinforce(SPACE._replace(is_valid=ends_with_2), num_reference=1)
    state = strategy.tell(strategy.init(jax.random.key(0)), SPACE.from_index(0), jnp.zeros(1))
    asked = jax.vmap(strategy.ask, (0, None))(jax.random.split(jax.random.key(1), 50), state)
    assert (asked[:, -1] == 2).all() and len(np.unique(asked[:, 0])) == 5


def test_reinforce_gives_up_and_samples_where_nothing_is_valid():
    marked = SPACE._replace(is_valid=lambda arch: False, sample=lambda key: jnp.full(6, 4, jnp.int32))
    strategy = search.reinforce(marked, num_reference=1)
    state = strategy.tell(strategy.init(jax.random.key(0)), SPACE.from_index(0), jnp.zeros(1))
    np.testing.assert_array_equal(strategy.ask(jax.random.key(1), state), np.full(6, 4))


def test_reinforce_learns_what_pays():
    score_fn = lambda arch: (arch == 3).sum().astype(jnp.float32)
    strategy = search.reinforce(SPACE, learning_rate=0.05, num_reference=20)
    states = jax.jit(jax.vmap(lambda key: search.run(key, strategy, score_fn, 300)))(
        jax.random.split(jax.random.key(0), 8)
    )
    assert states.scores[:, 20:60].mean() < 2 < 4 < states.scores[:, -40:].mean()


def test_hyper_parameters_vmap():
    score_fn = search.table_scores(SPACE, TABLE[:, 0])

    def logits(learning_rate):
        strategy = search.reinforce(SPACE, learning_rate=learning_rate, num_reference=4)
        return search.run(jax.random.key(0), strategy, score_fn, 12).strategy.logits

    rates = jnp.array([1e-3, 0.1])
    together = jax.jit(jax.vmap(logits))(rates)
    for rate, row in zip(rates, together, strict=True):
        np.testing.assert_allclose(row, jax.jit(logits)(rate), rtol=1e-5, atol=1e-7)
    assert np.abs(together[1]).max() > 10 * np.abs(together[0]).max()


# --- units of a sample's spread


def test_z_scores_of_the_sample_itself_are_those_of_the_votes():
    scores = np.random.default_rng(0).standard_normal((7, 3)) * [1, 100, 0] + [0, 5, 2]
    scores[2, 0], scores[4, 1] = np.nan, np.inf
    weights = (2.0, 1.0, 0.5)
    reference = jnp.asarray(scores, jnp.float32)
    score_fn = search.z_score_sum(lambda index: reference[index], reference, weights)
    ours = jax.vmap(score_fn)(jnp.arange(7))
    assert ours.shape == (7, 1)
    np.testing.assert_allclose(ours[:, 0], votes.z_score_sum(scores, weights), rtol=1e-4, atol=1e-5)


def test_z_scores_are_finite_whatever_the_sample():
    nothing = jnp.full((4, 2), jnp.nan)
    np.testing.assert_array_equal(search.z_scores(nothing, jnp.array([1.0, jnp.nan])), [0, -1])


# --- the loop


@every_strategy
def test_scan_python_loop_vmapped_seeds_and_portions_agree(name):
    strategy, score_fn = make(name), search.table_scores(SPACE, TABLE[:, :1])
    keys = jax.random.split(jax.random.key(1), 3)
    whole = functools.partial(search.run, strategy=strategy, score_fn=score_fn, num_steps=15)
    scanned = [jax.jit(whole)(key) for key in keys]
    together = jax.jit(jax.vmap(whole))(keys)
    for i, state in enumerate(scanned):
        mine = jax.tree.map(lambda leaf: leaf[i], together)
        same((state.archs, state.scores, state.incumbents), (mine.archs, mine.scores, mine.incumbents))
    looped = whole(keys[0], loop_fn=python_loop)
    same((scanned[0].archs, scanned[0].incumbents), (looped.archs, looped.incumbents))
    state = search.start(keys[0], strategy, score_fn, 15)
    portion = jax.jit(lambda state: search.advance(state, strategy, score_fn, 5))
    for _ in range(3):
        state = portion(state)
    same((scanned[0].archs, scanned[0].scores, scanned[0].incumbents), (state.archs, state.scores, state.incumbents))
    for one, other in zip(jax.tree.leaves(scanned[0].strategy), jax.tree.leaves(state.strategy), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert state.step == 15 and len(np.unique(state.archs, axis=0)) > 5


@pytest.mark.parametrize("num_experts", [1, 3])
def test_the_incumbent_stays_until_it_is_beaten_strictly(num_experts):
    rows = np.random.default_rng(4).integers(0, 4, (40, num_experts)).astype(np.float32)
    rows[rows == 3] = np.nan
    rows[:2] = np.nan
    numbered = line_space()._replace(sample=lambda key: {"op": jnp.int32(0), "width": jnp.zeros(1, jnp.int32)})
    counting = search.random_search(numbered)._replace(
        init=lambda key: jnp.int32(0),
        ask=lambda key, state: {"op": state, "width": jnp.zeros(1, jnp.int32)},
        tell=lambda state, arch, scores: state + 1,
    )
    state = search.run(jax.random.key(0), counting, lambda arch: jnp.asarray(rows)[arch["op"]], 40)
    champion, expected = 0, []
    for t, row in enumerate(rows):
        champion = t if votes.beats(row, rows[champion]) else champion
        expected.append(champion)
    np.testing.assert_array_equal(state.incumbents, expected)
    assert state.best == expected[-1] > 1


def test_steps_draw_from_the_key_and_their_number():
    state = search.run(jax.random.key(7), search.random_search(SPACE), search.table_scores(SPACE, TABLE), 5)
    for t in range(5):
        np.testing.assert_array_equal(state.archs[t], SPACE.sample(jax.random.fold_in(state.key, t)))


def counted(score_fn, calls):
    def count(arch):
        calls.append(np.asarray(arch))
        return np.zeros((), np.float32)

    return lambda arch: score_fn(arch) + io_callback(count, jax.ShapeDtypeStruct((), jnp.float32), arch)


def test_reuse_scores_an_architecture_once_and_changes_nothing():
    few = SPACE._replace(sample=lambda key: SPACE.from_index(jax.random.randint(key, (), 0, 30)))
    strategy = make("evolution", num_experts=3, space=few)
    calls = []
    score_fn = search.table_scores(SPACE, TABLE)
    plain = jax.jit(lambda key: search.run(key, strategy, score_fn, 60))(jax.random.key(0))
    with_reuse = jax.jit(lambda key: search.run(key, strategy, counted(score_fn, calls), 60, reuse=True))
    reused = jax.block_until_ready(with_reuse(jax.random.key(0)))
    same((plain.archs, plain.scores, plain.incumbents), (reused.archs, reused.scores, reused.incumbents))
    distinct = np.unique(plain.archs, axis=0)
    assert len(calls) == len(distinct) == int(reused.is_new.sum()) < 60 == int(plain.is_new.sum())
    np.testing.assert_array_equal(np.unique(calls, axis=0), distinct)


def test_what_is_known_is_not_scored():
    strategy, score_fn, calls = make("evolution"), search.table_scores(SPACE, TABLE[:, 0]), []
    plain = search.run(jax.random.key(0), strategy, score_fn, 20)
    padding = lambda array: jnp.concatenate([array[:10], jnp.zeros_like(array)])
    known = search.Known(padding(plain.archs), padding(plain.scores), jnp.int32(10))
    calls = []
    again = jax.jit(
        lambda known: search.run(jax.random.key(0), strategy, counted(score_fn, calls), 20, reuse=True, known=known)
    )
    state = jax.block_until_ready(again(known))
    same((plain.archs, plain.scores), (state.archs, state.scores))
    new = {tuple(arch) for arch in np.asarray(plain.archs)} - {tuple(arch) for arch in np.asarray(plain.archs[:10])}
    assert {tuple(arch) for arch in calls} == new and not state.is_new[:10].any()


def test_canonical_forms_are_scored_and_recorded_and_the_strategy_hears_its_own():
    strategy, calls = make("evolution"), []
    mirror = lambda arch: jnp.where(arch[0] > arch[-1], arch[::-1], arch)
    score_fn = lambda arch: arch.sum().astype(jnp.float32)
    searched = jax.jit(
        lambda key: search.run(key, strategy, counted(score_fn, calls), 30, reuse=True, canonical=mirror)
    )
    state = jax.block_until_ready(searched(jax.random.key(0)))
    plain = search.run(jax.random.key(0), strategy, score_fn, 30)
    np.testing.assert_array_equal(state.archs, jax.vmap(mirror)(plain.archs))
    same(state.strategy, plain.strategy)
    np.testing.assert_array_equal(np.unique(calls, axis=0), np.unique(state.archs, axis=0))


def test_a_space_of_ones_own_is_searched_inside_ones_own_jit():
    space = line_space()
    score_fn = lambda arch: -jnp.abs(arch["op"] - 3.0) - jnp.abs(arch["width"] - jnp.arange(3)).sum()
    strategy = search.evolution(space, population_size=8, tournament_size=3)

    @jax.jit
    def best_op(seed):
        state = search.run(jax.random.key(seed), strategy, score_fn, 60, reuse=True)
        return state.archs["op"][state.best], state.scores[state.best]

    op, score = best_op(3)
    assert op == 3 and score[0] <= 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: search.make_strategy("bandit", SPACE), "unknown strategy 'bandit': allowed are random, reinforce, evolution"),
        (lambda: search.evolution(SPACE, tournament_size=65), "tournament_size is 65: at most population_size, 64, is allowed"),
        (lambda: search.evolution(SPACE, tournament_size=0), "tournament_size is 0: at least 1"),
        (lambda: search.evolution(SPACE, population_size=0), "population_size is 0: at least 1"),
        (lambda: search.reinforce(SPACE, num_reference=0), "num_reference is 0: at least 1"),
        (lambda: search.reinforce(line_space()), "strategy reinforce needs the num_choices of every gene, which space line lacks"),
        (lambda: search.run(jax.random.key(0), search.evolution(SPACE), lambda arch: 0.0, 63), "num_steps is 63: strategy evolution begins with 64"),
        (lambda: search.run(jax.random.key(0), search.random_search(SPACE), lambda arch: 0.0, 0), "num_steps is 0: strategy random begins with 1"),
        (lambda: search.run(jax.random.key(0), make("evolution"), lambda arch: jnp.zeros(3), 9), r"scores of shape \(3,\): the strategy was made for num_experts 1"),
        (lambda: search.table_scores(SPACE, np.zeros(3)), r"table of shape \(3, 1\): space nasbench201 has 15625 architectures"),
        (lambda: search.table_scores(line_space(), np.zeros(3)), "space line has no published order"),
        (lambda: search.z_score_sum(lambda arch: arch, np.zeros((4, 3)), (1, 2)), "2 weights .* for 3 experts"),
    ],
)  # fmt: skip
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_a_search_does_not_go_beyond_its_end():
    strategy, score_fn = search.random_search(SPACE), search.table_scores(SPACE, TABLE)
    state = search.run(jax.random.key(0), strategy, score_fn, 4)
    with pytest.raises(ValueError, match="num_steps is 1: 0 of 4 are left"):
        search.advance(state, strategy, score_fn, 1)


# --- sources


def test_a_table_is_looked_up_by_index_and_what_is_not_of_the_space_loses():
    score_fn = search.table_scores(SPACE, TABLE)
    np.testing.assert_array_equal(score_fn(SPACE.from_index(77)), TABLE[77])
    outside = search.table_scores(SPACE._replace(to_index=lambda arch: jnp.int32(-1)), TABLE)
    np.testing.assert_array_equal(outside(SPACE.from_index(77)), np.full(3, -np.inf))


def test_the_canonical_form_is_the_published_row_where_a_space_judges_its_genotypes():
    arch = jnp.asarray(SPACE.from_index(5))
    assert search.canonical_form(SPACE)(arch) is arch
    many_to_one = SPACE._replace(is_valid=lambda arch: True, to_index=lambda arch: jnp.int32(9))
    np.testing.assert_array_equal(search.canonical_form(many_to_one)(arch), SPACE.from_index(9))


def test_live_scores_are_those_of_the_scorer():
    space, batch = tiny.space(), tiny.batch()
    chosen = proxies.make_proxies(["naswot", "params"])
    key = jax.random.key(11)
    score_fn = search.live_scores(key, space, chosen, batch, num_classes=10)
    strategy = search.evolution(space, num_experts=1, population_size=3, tournament_size=2)
    first = lambda arch: score_fn(arch)[:1]
    state = jax.jit(lambda key: search.run(key, strategy, first, 6, reuse=True))(jax.random.key(0))
    archs = np.asarray(state.archs)
    scorer = scoring.make_scorer(key, space, chosen, num_classes=10, devices=jax.devices()[:1])
    expected = scorer.score(archs, np.zeros(6), batch)[:, 0]
    np.testing.assert_allclose(state.scores[:, 0], expected, rtol=1e-5)


def test_networks_of_several_shapes_are_switched():
    made = []

    def make_network(num_classes, variant):
        made.append(variant)
        return tiny.network(num_classes)

    space = tiny.space()
    several = space._replace(
        make_network=make_network, num_variants=2, variant_of=lambda arch: (arch[0] > 2).astype(jnp.int32)
    )
    chosen, batch = proxies.make_proxies(["params"]), tiny.batch()
    score_fn = search.live_scores(jax.random.key(0), several, chosen, batch, num_classes=10)
    archs = jnp.asarray(SPACE.from_index(np.arange(3)))
    found = jax.jit(lambda archs: jax.lax.map(score_fn, archs))(archs)[:, 0]
    np.testing.assert_array_equal(found, [SPACE.num_params(np.asarray(arch)) for arch in archs])
    assert set(made) == {0, 1}


# --- limits


def test_a_limited_space_samples_uniformly_what_keeps_to_the_limit():
    limit = 200_000
    space = search.constrained(SPACE, max_params=limit)
    members = {i for i, arch in enumerate(SPACE.from_index(np.arange(15625))) if SPACE.num_params(arch) <= limit}
    archs = jax.jit(jax.vmap(space.sample))(jax.random.split(jax.random.key(0), 20_000))
    drawn, counts = np.unique(SPACE.to_index(np.asarray(archs)), return_counts=True)
    assert set(drawn) <= members and len(members) > 100
    assert len(drawn) > len(members) * (1 - np.exp(-20_000 / len(members))) * 0.95
    assert counts.max() < 20_000 / len(members) + 8 * np.sqrt(20_000 / len(members))
    parents = archs[:500]
    children = jax.jit(jax.vmap(space.mutate))(jax.random.split(jax.random.key(1), 500), parents)
    assert set(SPACE.to_index(np.asarray(children))) <= members
    assert ((children != parents).sum(1) == 1).all()


@every_strategy
def test_no_strategy_leaves_the_limits(name):
    space = search.constrained(SPACE, max_flops=30e6, allowed=lambda arch: arch[0] != 1)
    strategy, score_fn = make(name, space=space), lambda arch: SPACE.num_flops(arch).astype(jnp.float32)
    state = jax.jit(lambda key: search.run(key, strategy, score_fn, 40))(jax.random.key(0))
    assert state.scores.max() <= 30e6 and (state.archs[:, 0] != 1).all()


def test_a_space_that_cannot_be_enumerated_is_limited_by_rejection():
    space = search.constrained(line_space(), allowed=lambda arch: (arch["op"] == 2) & (arch["width"][0] > 1))
    archs = jax.vmap(space.sample)(jax.random.split(jax.random.key(0), 200))
    assert (archs["op"] == 2).all() and set(np.unique(archs["width"][:, 0])) == {2, 3, 4}
    one = jax.tree.map(lambda leaf: leaf[0], archs)
    child = space.mutate(jax.random.key(1), one)  # every mutation changes op: none is allowed
    assert child["op"] == 2


def test_without_a_limit_the_space_stays_as_it_is():
    assert search.constrained(SPACE) is SPACE


def test_limits_are_exact_beyond_float32():
    arch = SPACE.from_index(0)
    flops = SPACE.num_flops(arch) + 2**25
    shifted = SPACE._replace(num_flops=lambda arch, num_classes, image_size: SPACE.num_flops(arch) + 2**25)
    assert search.constrained(shifted, max_flops=flops).is_valid(arch)
    assert not search.constrained(shifted, max_flops=flops - 1).is_valid(arch)


@pytest.mark.parametrize(
    ("space", "limits", "message"),
    [
        (SPACE, {"max_params": 5}, r"no architecture of space nasbench201 satisfies params at most 5 \(the smallest is 73,306\), of all 15625"),
        (SPACE, {"max_flops": 1e3, "max_params": 1e9}, r"flops at most 1,000 \(the smallest is 7,783,040\)"),
        (line_space(), {"allowed": lambda arch: False}, "satisfies the predicate, of 10000 sampled"),
    ],
)  # fmt: skip
def test_a_limit_that_nothing_satisfies_is_named(space, limits, message):
    with pytest.raises(ValueError, match=message):
        search.constrained(space, **limits)

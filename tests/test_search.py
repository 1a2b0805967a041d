"""The loop, the sources of scores."""

import functools

import jax
from jax.experimental import io_callback
import jax.numpy as jnp
import numpy as np
import pytest
from searching import SPACE, TABLE, line_space, make, python_loop, same
import tiny

from zsnas_jax import proxies, scoring, search, votes


@pytest.mark.parametrize(
    "name", ["evolution", *(pytest.param(name, marks=pytest.mark.slow) for name in ("random", "reinforce"))]
)
def test_scan_python_loop_vmapped_seeds_and_portions_agree(name):
    strategy, score_fn = make(name), search.table_scores(SPACE, TABLE[:, :1])
    keys = jax.random.split(jax.random.key(1), 3)
    whole = functools.partial(search.run, strategy=strategy, score_fn=score_fn, num_steps=15)
    one = jax.jit(whole)
    scanned = [one(key) for key in keys]
    together = jax.jit(jax.vmap(whole))(keys)
    for i, state in enumerate(scanned):
        mine = jax.tree.map(lambda leaf: leaf[i], together)
        same((state.archs, state.scores, state.incumbents), (mine.archs, mine.scores, mine.incumbents))
    looped = whole(keys[0], loop_fn=python_loop)
    same((scanned[0].archs, scanned[0].incumbents), (looped.archs, looped.incumbents))
    state = jax.jit(lambda key: search.start(key, strategy, score_fn, 15))(keys[0])
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


@pytest.mark.slow
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
    plain = jax.jit(lambda key: search.run(key, strategy, score_fn, 20))(jax.random.key(0))
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
    plain = jax.jit(lambda key: search.run(key, strategy, score_fn, 30))(jax.random.key(0))
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
        (lambda: search.vote_scores(lambda arch: arch, votes.make_vote("quintet"), np.zeros((4, 3))), r"shape \(4, 3\): vote 'quintet' has 5 experts"),
        (lambda: search.vote_scores(lambda arch: arch, votes.make_vote("sjw"), np.zeros((4, 3))), "'sjw' is counted by copeland: a search adds up z_score_sum"),
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

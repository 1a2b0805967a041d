"""Fronts, crowding, hypervolume and NSGA-II, against what the definitions say."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from searching import SPACE

from zsnas_jax import search
from zsnas_jax.search import pareto

VALUES = st.sampled_from([-np.inf, np.nan, 0.0, 1.0, 2.0, 3.0])
SCORES = hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.sampled_from([1, 3])), elements=VALUES)
few = settings(max_examples=40, deadline=None)


def dominates(x, y):
    """By the words of the definition."""
    if not np.isfinite(x).all():
        return False
    if not np.isfinite(y).all():
        return True
    return all(a >= b for a, b in zip(x, y, strict=True)) and any(a > b for a, b in zip(x, y, strict=True))


def fronts(scores):
    """Deb's sort, one front after the other: the number of each one's."""
    left, numbers = set(range(len(scores))), {}
    for number in itertools.count():
        if not left:
            return [numbers[i] for i in range(len(scores))]
        best = {i for i in left if not any(dominates(scores[j], scores[i]) for j in left)}
        numbers |= dict.fromkeys(best, number)
        left -= best


@few
@given(SCORES)
def test_fronts_are_peeled_off(scores):
    scores = np.pad(scores, ((0, 9 - len(scores)), (0, 0)), mode="edge")  # one shape, one compilation a width
    dominance = pareto.dominates(jnp.asarray(scores)[:, None], jnp.asarray(scores))
    expected = [[dominates(x, y) for y in scores] for x in scores]
    np.testing.assert_array_equal(dominance, expected)
    np.testing.assert_array_equal(pareto.dominates(scores[:, None], scores), expected)
    np.testing.assert_array_equal(jax.jit(pareto.fronts)(dominance), fronts(scores))
    not_dominated = (np.array(fronts(scores)) == 0) & np.isfinite(scores).all(1)
    np.testing.assert_array_equal(pareto.is_optimal(scores), not_dominated)


def test_crowding_is_that_of_the_paper():
    scores = np.array([[0, 9], [1, 6], [4, 5], [9, 0], [2, 2], [3, 1]], np.float32)
    front = jnp.array([0, 0, 0, 0, 1, 1])
    distance = np.asarray(pareto.crowding(jnp.asarray(scores), front))
    inside = [4 / 9 + 4 / 9, 8 / 9 + 6 / 9]  # (next - before) / span, summed over both
    np.testing.assert_allclose(distance, [np.inf, *inside, np.inf, np.inf, np.inf], rtol=1e-6)
    np.testing.assert_array_equal(pareto.survivors(front, jnp.asarray(distance), 5), [0, 3, 2, 1, 4])
    alone = pareto.crowding(jnp.zeros((1, 2)), jnp.zeros(1, int))
    assert np.isposinf(alone).all()


@pytest.mark.parametrize("num_objectives", [1, 2, 3, 4])
def test_hypervolume_is_that_of_inclusion_and_exclusion_and_of_darts_thrown(num_objectives):
    rng = np.random.default_rng(num_objectives)
    scores = rng.random((8, num_objectives))
    scores[0], scores[1, 0] = scores[2], -1  # a copy, and one that is not above the reference
    reference = np.full(num_objectives, 0.1)
    gains = np.maximum(scores - reference, 0)
    exact = sum(
        (-1) ** (size + 1) * np.prod(np.min(gains[list(some)], axis=0))
        for size in range(1, 9)
        for some in itertools.combinations(range(8), size)
    )
    found = pareto.hypervolume(np.append(scores, [np.full(num_objectives, -np.inf)], 0), reference)
    assert found == pytest.approx(exact, rel=1e-12)
    darts = rng.uniform(reference, 1, (200_000, num_objectives))
    hit = (darts[:, None] <= scores).all(-1).any(-1).mean() * 0.9**num_objectives
    assert found == pytest.approx(hit, abs=4e-3)


def test_hypervolume_of_nothing_is_nothing_and_of_five_refused():
    assert pareto.hypervolume(np.zeros((0, 3)), np.zeros(3)) == 0.0
    with pytest.raises(ValueError, match="hypervolume of 5 objectives: allowed are at most 4"):
        pareto.hypervolume(np.ones((2, 5)), np.zeros(5))


def test_hypervolumes_rise_to_that_of_the_front():
    scores = np.random.default_rng(0).random((30, 3))
    reference, ideal = np.array([0.2, 0.1, 0.3]), scores.max(0)
    shares = pareto.hypervolumes(scores, reference, ideal, range(30))
    whole = pareto.hypervolume(scores, reference) / np.prod(ideal - reference)
    assert (np.diff(shares) >= 0).all() and shares[-1] == pytest.approx(whole) and 0 < whole < 1


def test_nsga2_keeps_the_best_of_parents_and_children():
    """Against its own words in numpy: fronts, then crowding, copies behind."""
    strategy = search.nsga2(SPACE, num_experts=2, population_size=4)
    state = strategy.init(jax.random.key(0))
    told = SPACE.from_index(np.array([3, 50, 700, 9000, 50, 12, 13, 14]))
    scores = [[1, 1], [5, 5], [0, 9], [np.nan, 2], [5, 5], [9, 0], [2, 8], [4, 4]]
    tell = jax.jit(strategy.tell)
    for arch, score in zip(told[:4], scores[:4], strict=True):
        state = tell(state, jnp.asarray(arch), jnp.float32(score))
    indices = lambda: SPACE.to_index(np.asarray(state.archs)[:4]).tolist()
    assert sorted(indices()) == [3, 50, 700, 9000] and sorted(state.front.tolist()) == [0, 0, 1, 2]
    for arch, score in zip(told[4:], scores[4:], strict=True):
        state = tell(state, jnp.asarray(arch), jnp.float32(score))
    assert set(indices()) == {50, 700, 12, 13} and state.front.tolist() == [0, 0, 0, 0]


def test_a_parent_is_of_the_lower_front_or_the_less_crowded():
    strategy = search.nsga2(SPACE, num_experts=2, population_size=2)
    state = strategy.init(jax.random.key(0))
    for index, score in ((3, [1, 1]), (15000, [2, 2])):
        state = strategy.tell(state, SPACE.from_index(np.array(index)), jnp.float32(score))
    ask = jax.jit(strategy.ask)
    better = np.asarray(SPACE.from_index(np.array(15000)))
    children = [np.asarray(ask(jax.random.key(i), state)) for i in range(40)]  # place 0: mutations
    assert 0.6 < np.mean([(child != better).sum() == 1 for child in children]) < 0.9  # three tournaments of four


@pytest.mark.dear
def test_nsga2_finds_more_of_a_front_than_chance_and_seeds_end_alike_together_and_alone():
    """On the front are the 64 cells of the last two operations, by which of them stand where."""
    gain, price = jnp.array([1, 2, 4, 8, 16, 32]), jnp.array([32, 16, 8, 4, 2, 1])

    def score_fn(arch):
        chosen, waste = arch == 3, 10 * (arch < 3).sum()
        return jnp.float32([(gain * chosen).sum() - waste, -(price * chosen).sum() - waste])

    strategy = search.nsga2(SPACE, population_size=20)
    find = lambda key: search.run(key, strategy, score_fn, 200)
    keys = jax.random.split(jax.random.key(0), 6)
    together, alone = jax.jit(jax.vmap(find))(keys), jax.jit(find)(keys[4])
    np.testing.assert_array_equal(alone.archs, together.archs[4])
    np.testing.assert_array_equal(alone.strategy.distance, together.strategy.distance[4])
    volume = lambda scores: np.mean([pareto.hypervolume(own, np.array([-40.0, -100.0])) for own in np.asarray(scores)])
    chosen = SPACE.from_index(np.random.default_rng(0).integers(0, 15625, (6, 200)))
    by_chance, every = (
        volume(jax.vmap(jax.vmap(score_fn))(jnp.asarray(archs)))
        for archs in (chosen, SPACE.from_index(np.arange(15625))[None])
    )
    assert by_chance < 0.8 * volume(together.scores) and 0.9 * every < volume(together.scores) <= every


def test_a_population_without_anyone_is_refused():
    with pytest.raises(ValueError, match="population_size is 0: at least 1 is needed"):
        search.nsga2(SPACE, population_size=0)


def test_a_box_without_an_end_is_refused():
    with pytest.raises(ValueError, match="hypervolume between .*inf.*: both must be finite"):
        pareto.hypervolumes(np.ones((1, 2)), np.array([-np.inf, 0.0]), np.ones(2), [0])

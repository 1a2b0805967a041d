"""Strategies: what they draw, remember and learn."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from searching import SPACE, TABLE

from zsnas_jax import benchmarks, search, search_spaces, votes
from zsnas_jax.search import strategies


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


def test_a_generation_is_children_of_the_best_so_far():
    strategy = search.genetic(SPACE, generation_size=4, num_parents=2)
    state = strategy.init(jax.random.key(0))
    told = SPACE.from_index(np.array([3, 50, 50, 700, 9000]))
    for arch, score in zip(told, [1, 5, 5, np.nan, 9], strict=True):  # 50 counts once; 9 is of the next generation
        state = strategy.tell(state, jnp.asarray(arch), jnp.float32([score]))
    assert sorted(SPACE.to_index(np.asarray(state.archs)).tolist()) == [50, 9000]
    parents = np.asarray(state.parents)
    assert sorted(SPACE.to_index(parents).tolist()) == [3, 50]
    ask = jax.jit(strategy.ask)
    for i in range(20):
        child = np.asarray(ask(jax.random.key(i), state))
        assert min((child != parent).sum() for parent in parents) == 1  # place 1 of 4: a mutation
        child = np.asarray(ask(jax.random.key(i), state._replace(num_told=jnp.int32(6))))
        assert ((child == parents[0]) | (child == parents[1])).all()


def test_children_are_of_the_space():
    space = search_spaces.make_space("autoformer_t")
    strategy = search.genetic(space, generation_size=8, num_parents=4)
    score_fn = lambda arch: space.num_params(arch, 10).astype(jnp.float32)
    states = jax.jit(jax.vmap(lambda key: search.run(key, strategy, score_fn, 64)))(
        jax.random.split(jax.random.key(0), 4)
    )
    assert jax.vmap(jax.vmap(space.is_valid))(states.archs).all()
    scores = np.asarray(states.scores[:, :, 0])
    assert (scores[:, 32:].mean(1) > scores[:, :8].mean(1)).all()
    with pytest.raises(ValueError, match="genetic goes by one score, not by 3 experts"):
        search.genetic(space, num_experts=3)
    with pytest.raises(ValueError, match="num_parents is 9: allowed are 1 to generation_size, 8"):
        search.genetic(space, generation_size=8, num_parents=9)


@pytest.mark.dear
def test_evolution_with_exact_accuracies_reaches_the_optimum_region():
    table = benchmarks.open_benchmark(golden.shared_file("data/nasbench201.csv.gz"))
    accuracy = np.asarray(table.columns["cifar10_test_200_mean"])
    score_fn = search.table_scores(SPACE, accuracy)
    keys = jax.random.split(jax.random.key(0), 20)
    found = {}
    for name in ("evolution", "genetic", "random"):
        strategy = search.make_strategy(name, SPACE)
        states = jax.jit(jax.vmap(lambda key: search.run(key, strategy, score_fn, 500)))(keys)
        found[name] = np.asarray(states.scores[:, :, 0].max(1))
    assert found["evolution"].mean() > 0.9425 > found["random"].mean()
    assert found["genetic"].mean() > 0.9415 and found["evolution"].max() == accuracy.max()


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


@pytest.mark.parametrize("method", votes.SUMS)
def test_sums_over_the_sample_itself_are_those_of_the_votes(method):
    scores = np.random.default_rng(0).standard_normal((7, 3)) * [1, 100, 0] + [0, 5, 2]
    scores[2, 0], scores[4, 1] = np.nan, np.inf
    vote = votes.make_vote(["a", "b", "c"], method, (2.0, 1.0, 0.5))
    reference = jnp.asarray(scores, jnp.float32)
    ours = jax.vmap(search.vote_scores(lambda index: reference[index], vote, reference))(jnp.arange(7))
    assert ours.shape == (7, 1)
    expected = votes.vote(vote, dict(zip(vote.experts, scores.T, strict=True)))
    np.testing.assert_allclose(ours[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_z_scores_are_finite_whatever_the_sample():
    nothing = jnp.full((4, 2), jnp.nan)
    np.testing.assert_array_equal(search.z_scores(nothing, jnp.array([1.0, jnp.nan])), [0, -1])

"""Spaces that limits make smaller."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from searching import SPACE, every_strategy, line_space, make

from zsnas_jax import search


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


def test_a_window_has_two_sides():
    space = search.constrained(SPACE, min_params=100_000, max_params=200_000, min_flops=20e6)
    archs = jax.jit(jax.vmap(space.sample))(jax.random.split(jax.random.key(0), 500))
    params, flops = (np.asarray(jax.vmap(cost)(archs)) for cost in (SPACE.num_params, SPACE.num_flops))
    assert params.min() >= 100_000 and params.max() <= 200_000 and flops.min() >= 20e6


@every_strategy
def test_no_strategy_leaves_the_limits(name):
    space = search.constrained(SPACE, max_flops=30e6, allowed=lambda arch: arch[0] != 1)
    strategy, score_fn = make(name, space=space), lambda arch: SPACE.num_flops(arch).astype(jnp.float32)
    state = jax.jit(lambda key: search.run(key, strategy, score_fn, 40))(jax.random.key(0))
    assert state.scores.max() <= 30e6 and (state.archs[:, 0] != 1).all()


@pytest.mark.slow
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
        (SPACE, {"max_params": 5}, r"no architecture of space nasbench201 satisfies params at most 5 \(the smallest is 73,306, the largest 1,531,546\), of all 15625"),
        (SPACE, {"min_params": 2e6}, r"satisfies params at least 2,000,000 \(the smallest is 73,306, the largest"),
        (SPACE, {"min_params": 3e5, "max_params": 2e5}, "params at least 300,000 and at most 200,000: the first is more than"),
        (SPACE, {"max_flops": 1e3, "max_params": 1e9}, r"flops at most 1,000 \(the smallest is 7,783,040, the largest"),
        (line_space(), {"allowed": lambda arch: False}, "satisfies the predicate, of 10000 sampled"),
    ],
)  # fmt: skip
def test_a_limit_that_nothing_satisfies_is_named(space, limits, message):
    with pytest.raises(ValueError, match=message):
        search.constrained(space, **limits)

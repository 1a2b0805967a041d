"""Searches whose scores cannot be traced: the host scores what is asked for, step by step, and ends as the scan does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tqdm import tqdm

from zsnas_jax import search, search_spaces
from zsnas_jax.proxies import acor
from zsnas_jax.search import seeds
from zsnas_jax.search.host import HostLoop


@pytest.mark.parametrize(
    "name", [name if name == "random" else pytest.param(name, marks=pytest.mark.slow) for name in search.STRATEGIES]
)
def test_a_search_on_the_host_ends_as_the_scan_does(name):
    space = search_spaces.make_space("nasbench201")
    sizes = {"evolution": {"population_size": 3, "tournament_size": 2}, "reinforce": {"num_reference": 3}}
    options = (sizes | {"genetic": {"generation_size": 3, "num_parents": 2}, "nsga2": {"population_size": 3}}).get(
        name, {}
    )
    strategy = search.make_strategy(name, space, num_experts=1, **options)
    score_fn = lambda arch: jnp.asarray(arch).sum()[None].astype(jnp.float32)
    key = jax.random.key(2)
    scanned = jax.jit(lambda: search.run(key, strategy, score_fn, 12, reuse=True))()
    scored = []
    state = search.start(key, strategy, score_fn, 12)
    loop = HostLoop(strategy, lambda arch: scored.append(arch) or score_fn(arch))
    for count in (5, 7):
        state = loop.advance(state, count, {})
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(scanned), strict=True):
        plain = lambda leaf: np.asarray(jax.random.key_data(leaf) if leaf.dtype == key.dtype else leaf)
        np.testing.assert_allclose(plain(one), plain(other), rtol=1e-5, atol=1e-6)
    assert len(scored) == int(state.is_new.sum())


def test_a_search_on_the_host_that_is_stopped_goes_on(tmp_path):
    class Stop(Exception):
        pass

    class StoppedBar(tqdm):
        def set_postfix_str(self, *args, **kwargs):  # called behind the first commit
            raise Stop

    space, scored = search_spaces.make_space("nasbench201"), []
    strategy = search.evolution(space, population_size=3, tournament_size=2)
    score_fn = lambda arch: scored.append(arch) or np.float32([np.sum(arch)])
    running = seeds.Search(jax.random.key(0), space, strategy, score_fn, (acor(),), 6, 4, 1, is_on_host=True)
    with seeds.SearchStore(tmp_path / "whole", {}) as store:
        whole, _ = seeds.run_seeds(store, running, 2)
    num_scored = len(scored)
    with seeds.SearchStore(tmp_path / "stopped", {}) as store, pytest.raises(Stop):
        seeds.run_seeds(store, running, 2, progress=StoppedBar)
    with seeds.SearchStore(tmp_path / "stopped", {}) as store:
        again, num_now = seeds.run_seeds(store, running, 2)
    assert num_now == 8 and len(scored) == 2 * num_scored
    for one, other in zip(whole[:4], again[:4], strict=True):
        np.testing.assert_array_equal(one, other)

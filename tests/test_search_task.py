"""A search in chunks: its state's bytes, stops between chunks, stores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tqdm import tqdm

from zsnas_jax import search
from zsnas_jax.base import Proxy
from zsnas_jax.reports import search_report
from zsnas_jax.search import seeds
from zsnas_jax.search_spaces import nasbench201

SPACE = nasbench201.space()
SUM = Proxy("sum", lambda measured: 0.0, frozenset(), {}, "the sum of the genes")


def test_a_state_survives_its_bytes():
    strategy = search.reinforce(SPACE, num_reference=2)
    state = search.run(jax.random.key(3), strategy, lambda arch: arch.sum(), 4)
    like = jax.eval_shape(lambda: search.start(jax.random.key(0), strategy, lambda arch: arch.sum(), 4))
    again = seeds.unpack(seeds.pack(state), like)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        assert one.dtype == other.dtype and jnp.all(one == other)
    with pytest.raises(ValueError, match="does not fit this version of the search"):
        seeds.unpack(seeds.pack((jnp.zeros(3),)), like)


def live_search(space, strategy):
    """Of 6 architectures in chunks of 4."""
    score_fn = lambda arch: arch.sum().astype(jnp.float32)
    return seeds.Search(jax.random.key(0), space, strategy, score_fn, (SUM,), 6, 4, 1)


@pytest.mark.slow
def test_chunks_of_any_length_are_one_program_and_a_stop_between_them_changes_nothing(tmp_path, monkeypatch):
    running = live_search(SPACE, search.evolution(SPACE, population_size=3, tournament_size=2))
    built, build = [], seeds._compile
    monkeypatch.setattr(seeds, "_compile", lambda search, given: built.append(search) or build(search, given))
    with seeds.SearchStore(tmp_path / "whole", {}) as store:
        whole, _ = seeds.run_seeds(store, running, 2)
    assert len(built) == 1

    class Stop(Exception):
        pass

    class StoppedBar(tqdm):
        def set_postfix_str(self, *args, **kwargs):  # called behind the first commit
            raise Stop

    with seeds.SearchStore(tmp_path / "stopped", {}) as store, pytest.raises(Stop):
        seeds.run_seeds(store, running, 2, progress=StoppedBar)
    with seeds.SearchStore(tmp_path / "stopped", {}) as store:
        assert len(store.get(SUM)) > 0
        again, num_now = seeds.run_seeds(store, running, 2)
    assert num_now == 8
    for one, other in zip(whole[:4], again[:4], strict=True):  # all but the seconds
        np.testing.assert_array_equal(one, other)


def test_live_seeds_take_scores_from_those_before(tmp_path):
    few = SPACE._replace(sample=lambda key: SPACE.from_index(jax.random.randint(key, (), 0, 5)))
    running = live_search(few, search.random_search(few))
    with seeds.SearchStore(tmp_path, {}) as store:
        explored, num_now = seeds.run_seeds(store, running, 3)
        assert (
            len(store.get(SUM)) == explored.is_new.sum() == len(np.unique(explored.archs.reshape(-1, 6), axis=0)) <= 5
        )
        assert num_now == 18 and [len(row) for row in explored.seconds] == [2, 2, 2]
        again, num_now = seeds.run_seeds(store, running, 3)
        assert num_now == 0
        np.testing.assert_array_equal(again.scores, explored.scores)
        assert len(seeds.run_seeds(store, running, 2)[0].scores) == 2


def test_searches_that_go_by_other_scores_share_a_folder_and_what_they_have_in_common(tmp_path):
    few = SPACE._replace(sample=lambda key: SPACE.from_index(jax.random.randint(key, (), 0, 5)))
    by_sum = live_search(few, search.random_search(few))._replace(objective="sum")
    halved = SUM._replace(settings={"factor": 0.5})
    by_half = by_sum._replace(objective="half", experts=(halved,), score_fn=lambda arch: 0.5 * arch.sum())
    with seeds.SearchStore(tmp_path, {}) as store:
        first, _ = seeds.run_seeds(store, by_sum, 2)
        second, num_now = seeds.run_seeds(store, by_half, 2)
        assert num_now == 12 and second.is_new.any()
        np.testing.assert_array_equal(second.scores, 0.5 * first.scores)
        assert store.get(halved) == {arch: 0.5 * score for arch, score in store.get(SUM).items()}
        assert [len(store.groups(objective)) for objective in ("sum", "half", "other")] == [2, 2, 0]
        again, num_now = seeds.run_seeds(store, by_sum, 2)
        assert num_now == 0
        np.testing.assert_array_equal(again.scores, first.scores)
        third, _ = seeds.run_seeds(store, by_sum._replace(objective="sum, again"), 2)
        assert not third.is_new.any()


def test_an_expert_that_the_folder_knows_as_another_is_refused(tmp_path):
    searched = live_search(SPACE, search.random_search(SPACE))
    with seeds.SearchStore(tmp_path, {}) as store:
        seeds.run_seeds(store, searched, 1)
        other = SUM._replace(reference="another sum")
        with pytest.raises(ValueError, match=r"of sum \(the sum of the genes\), not of sum \(another sum\)"):
            seeds.run_seeds(store, searched._replace(experts=(other,)), 2)
        with pytest.raises(ValueError, match="not of sum"):
            store.commit("", seeds.Group(9, 1, [], b""), (other,), {"a": np.ones(1)})
        assert [group.first_seed for group in store.groups("")] == [0]


def test_a_store_that_fails_says_so(tmp_path):
    with seeds.SearchStore(tmp_path, {}) as store:
        store._connection.close()
        with pytest.raises(ValueError, match="results.sqlite is damaged or not a results file"):
            store.groups("")
        with pytest.raises(OSError, match="cannot write .*results.sqlite"):
            store.commit("", seeds.Group(0, 1, [], b""), (), {})


def test_means_over_seeds_leave_out_what_is_not_finite():
    values = np.array([[1.0, -np.inf, -np.inf], [3.0, 4.0, -np.inf]])
    means = search_report.resampled_means(values)
    np.testing.assert_array_equal(means[0], [2, 4, np.nan])
    assert len(means) == 1001 and means[1:, 0].min() == 1 and means[1:, 0].max() == 3
    assert len(search_report.resampled_means(values[:1])) == 1

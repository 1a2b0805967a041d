from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest
from scipy import stats

from zsnas_jax.reports import metrics, plots

RNG = np.random.default_rng(0)
X = RNG.standard_normal(200)
Y = X + RNG.standard_normal(200)


def test_correlations_are_scipys():
    np.testing.assert_allclose(metrics.spearman(X, Y), stats.spearmanr(X, Y).statistic)
    np.testing.assert_allclose(metrics.kendall(X, Y), stats.kendalltau(X, Y).statistic)


def test_minus_infinity_ranks_last():
    scores = np.where(X < -1, -np.inf, X)
    np.testing.assert_allclose(metrics.spearman(scores, Y), metrics.spearman(np.maximum(X, -1), Y), atol=1e-12)


def test_a_constant_has_no_correlation():
    assert np.isnan(metrics.spearman(np.zeros(5), Y[:5]))
    assert np.isnan(metrics.bootstrap_spearman(np.zeros(5), Y[:5])).all()
    assert np.isnan(metrics.bootstrap(metrics.kendall, np.zeros(5), Y[:5])).all()
    assert np.isnan(metrics.bootstrap_spearman(X[:1], Y[:1])).all()
    assert np.isnan(metrics.bootstrap(metrics.kendall, X[:1], Y[:1])).all()


def test_bootstrap_intervals_cover_the_estimate_and_shrink():
    few, many = (metrics.bootstrap_spearman(X[:n], Y[:n]) for n in (30, 200))
    assert few.low < few.value < few.high and many.high - many.low < few.high - few.low
    fisher = np.tanh(np.arctanh(many.value) + np.array([-1.96, 1.96]) / np.sqrt(197))
    np.testing.assert_allclose(many[1:], fisher, atol=0.05)


TIED = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1e300])


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float64, st.tuples(st.just(2), st.integers(2, 9)), elements=TIED), st.integers(0, 3))
def test_resamples_are_those_of_the_plain_bootstrap(pair, seed):
    found = metrics.bootstrap_spearman(*pair, num_resamples=20, seed=seed)
    np.testing.assert_allclose(
        found, metrics.bootstrap(metrics.spearman, *pair, num_resamples=20, seed=seed), rtol=1e-12
    )


def test_many_architectures_are_resampled_in_parts(monkeypatch):
    monkeypatch.setattr(metrics, "_AT_ONCE", 1500)
    found = metrics.bootstrap_spearman(X, Y, num_resamples=50)
    np.testing.assert_allclose(found, metrics.bootstrap(metrics.spearman, X, Y, num_resamples=50), rtol=1e-12)


def test_an_interval_leaves_undefined_resamples_out():
    assert metrics.interval(np.array([0.5, np.nan, 0.25, np.nan])) == metrics.Interval(0.5, 0.25, 0.25)
    assert metrics.interval(np.array([0.5, np.nan])) == metrics.Interval(0.5, 0.5, 0.5)
    assert np.isnan(metrics.interval(np.array([np.nan, 0.5]))).all()


def test_top_k_takes_the_earlier_of_ties():
    np.testing.assert_array_equal(metrics.top_k(np.array([1.0, 2, 2, 0]), np.array([10, 20, 30, 40]), 3), [20, 30, 10])
    assert len(metrics.top_k(X, Y, 500)) == 200


def test_scatter_draws_what_is_finite(tmp_path):
    scores = {"a": np.where(X < 0, -np.inf, X), "none": np.full(200, -np.inf), "few": np.full(200, 1.0)}
    plots.scatter(tmp_path / "s.png", scores, Y, dict.fromkeys(scores, "title"), "accuracy")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_gain_is_that_of_the_formula():
    truth, scores = np.array([50.0, 90, 70, 60]), np.array([1.0, 2, 3, -np.inf])
    gains = 2 ** np.array([0.5, 1.0]) - 1  # of 70, then 90
    ideal = (2**1.0 - 1) + (2**0.5 - 1) / np.log2(3)
    assert metrics.ndcg(scores, truth, 2) == pytest.approx((gains[0] + gains[1] / np.log2(3)) / ideal)
    assert metrics.ndcg(truth, truth, 3) == 1 and np.isnan(metrics.ndcg(scores, np.ones(4), 2))
    tied = metrics.ndcg(np.ones(4), truth, 2)
    assert tied == pytest.approx(metrics.ndcg(np.ones(4), truth[::-1], 2)) and 0 < tied < 1

import numpy as np
from scipy import stats

from zsnas_jax import metrics, plots

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
    assert np.isnan(metrics.bootstrap(metrics.spearman, np.zeros(5), Y[:5]).low)
    assert np.isnan(metrics.bootstrap(metrics.spearman, X[:1], Y[:1]).value)


def test_bootstrap_intervals_cover_the_estimate_and_shrink():
    few, many = (metrics.bootstrap(metrics.spearman, X[:n], Y[:n]) for n in (30, 200))
    assert few.low < few.value < few.high and many.high - many.low < few.high - few.low
    fisher = np.tanh(np.arctanh(many.value) + np.array([-1.96, 1.96]) / np.sqrt(197))
    np.testing.assert_allclose(many[1:], fisher, atol=0.05)


def test_top_k_takes_the_earlier_of_ties():
    np.testing.assert_array_equal(metrics.top_k(np.array([1.0, 2, 2, 0]), np.array([10, 20, 30, 40]), 3), [20, 30, 10])
    assert len(metrics.top_k(X, Y, 500)) == 200


def test_scatter_draws_what_is_finite(tmp_path):
    scores = {"a": np.where(X < 0, -np.inf, X), "none": np.full(200, -np.inf), "few": np.full(200, 1.0)}
    plots.scatter(tmp_path / "s.png", scores, Y, dict.fromkeys(scores, "title"), "accuracy")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")

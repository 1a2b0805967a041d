import chex
from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsnas_jax import correlation, proxies
from zsnas_jax.base import ResponseMatrices
from zsnas_jax.measure.measurements import Measurements

RNG = np.random.default_rng(0)


def rows(n=5, d=40, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def layered(num_layers=4, n=5, sites=(2, 1, 3, 1), seed=0):
    """Matrices float[L, N, N] with the given numbers of sites."""
    draw = lambda layer, site: correlation.response_matrix(rows(n, seed=100 * seed + 10 * layer + site))
    return jnp.stack([sum(draw(layer, site) for site in range(sites[layer])) for layer in range(num_layers)])


def test_correlation_is_numpys():
    x = rows()
    np.testing.assert_allclose(correlation.correlation_matrix(x.reshape(5, 4, 5, 2)), np.corrcoef(x), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.lists(st.floats(0.01, 100), min_size=5, max_size=5), st.floats(-50, 50))
def test_correlation_ignores_positive_scale_and_shift_of_rows(seed, scales, shift):
    x = rows(seed=seed)
    moved = x * np.array(scales, np.float32)[:, None] + np.float32(shift) * np.array(scales, np.float32)[:, None]
    np.testing.assert_allclose(correlation.response_matrix(moved), correlation.response_matrix(x), atol=2e-4)


def test_a_site_with_a_constant_row_is_skipped_whole():
    x = rows()
    x[2] = 3.0
    chex.assert_trees_all_equal(correlation.response_matrix(x), jnp.zeros((5, 5)))


def test_traces_count_sites():
    np.testing.assert_array_equal(correlation.num_sites(layered()), [2, 1, 3, 1])


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.9])
def test_closed_form_of_the_determinant_at_equal_correlations(rho):
    """Corollary 2: c sites whose N samples all correlate by rho: c^N (1 - rho)^(N - 1) (1 + (N - 1) rho)."""
    n, c = 8, 3
    matrix = c * ((1 - rho) * jnp.eye(n) + rho * jnp.ones((n, n)))
    expected = n * np.log(c) + (n - 1) * np.log(1 - rho) + np.log(1 + (n - 1) * rho)
    score = correlation.log_determinant(matrix[None], jnp.zeros(1))
    np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 1e4), st.integers(0, 20))
def test_a_factor_on_all_weights_adds_n_log_of_it(factor, seed):
    matrices = layered(seed=seed)
    log_weights = jnp.arange(4.0)
    shifted = correlation.log_determinant(matrices, log_weights + np.log(factor))
    expected = correlation.log_determinant(matrices, log_weights) + 5 * np.log(factor)
    np.testing.assert_allclose(shifted, expected, atol=1e-3)


def test_counting_layers_from_zero_shifts_wrcor_by_n_log_2():
    matrices = ResponseMatrices(layered(seed=1), layered(seed=2))
    from_zero = proxies.wrcor(weighting=lambda layer, _: (layer - 1) * np.log(2))
    difference = proxies.wrcor().score(Measurements(None, matrices)) - from_zero.score(Measurements(None, matrices))
    np.testing.assert_allclose(difference, 5 * np.log(2), atol=1e-4)


def test_weights_over_many_orders_stay_finite():
    matrices = jnp.tile(layered()[:1], (300, 1, 1))
    score = correlation.log_determinant(matrices, jnp.arange(1, 301) * np.log(2))
    total = np.log(2) * 301  # sum of 2^l for l to 300 is 2^301 - 2
    expected = jnp.linalg.slogdet(np.asarray(matrices[0], np.float64))[1] + 5 * total
    np.testing.assert_allclose(score, expected, rtol=1e-5)


def test_count_exponent_zero_forgets_how_many_sites_there_are():
    one, three = layered(1, sites=(1,)), 3 * layered(1, sites=(1,))
    forget = lambda m: correlation.log_determinant(m, jnp.zeros(1), count_exponent=0.0)
    np.testing.assert_allclose(forget(one), forget(three), atol=1e-4)
    papers = lambda m: correlation.log_determinant(m, jnp.zeros(1))
    np.testing.assert_allclose(papers(three) - papers(one), 5 * np.log(3), atol=1e-4)


def test_no_defined_site_scores_minus_infinity():
    assert correlation.log_determinant(jnp.zeros((4, 5, 5)), jnp.zeros(4)) == -jnp.inf


def test_log_determinant_maps_over_candidates():
    candidates = jnp.stack([layered(seed=seed) for seed in range(3)] + [jnp.zeros((4, 5, 5))])
    score = jax.jit(jax.vmap(correlation.log_determinant, (0, None)))(candidates, jnp.arange(4.0))
    single = [correlation.log_determinant(candidate, jnp.arange(4.0)) for candidate in candidates]
    np.testing.assert_allclose(score, np.array(single), rtol=1e-5)


@pytest.mark.parametrize("weighting", proxies.WEIGHTINGS)
def test_wrcor_is_the_determinant_of_the_weighted_sum(weighting):
    weights = {"none": [1, 1, 1, 1], "linear": [1, 2, 3, 4], "quad": [1, 4, 9, 16], "expb2t": [2, 4, 8, 16]}
    w = np.array(weights.get(weighting, [16, 8, 4, 2]))
    a, g = layered(seed=3), layered(seed=4)
    expected = np.linalg.slogdet(np.tensordot(w, np.asarray(a + g, np.float64), 1))[1]
    score = proxies.wrcor(weighting=weighting).score(Measurements(None, ResponseMatrices(a, g)))
    np.testing.assert_allclose(score, expected, rtol=1e-4)


def test_recipes_choose_responses_and_layers():
    matrices = ResponseMatrices(layered(seed=5), layered(seed=6))
    slogdet = lambda m: np.linalg.slogdet(np.asarray(m, np.float64))[1]
    np.testing.assert_allclose(
        proxies.acor().score(Measurements(None, matrices)), slogdet(matrices.activations.sum(0)), rtol=1e-4
    )
    np.testing.assert_allclose(
        proxies.gcor().score(Measurements(None, matrices)), slogdet(matrices.gradients.sum(0)), rtol=1e-4
    )
    both = matrices.activations + matrices.gradients
    np.testing.assert_allclose(proxies.rcor().score(Measurements(None, matrices)), slogdet(both.sum(0)), rtol=1e-4)
    early = proxies.response_correlation("early", responses=["gradients"], layers=[1, 3])
    np.testing.assert_allclose(
        early.score(Measurements(None, matrices)), slogdet(matrices.gradients[0] + matrices.gradients[2]), rtol=1e-4
    )
    assert proxies.acor().needs == {"activations"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weighting": "cubic"}, "unknown weighting 'cubic': allowed are none, linear"),
        ({"responses": ["weights"]}, "unknown responses .*weights.*: allowed are activations"),
        ({"layers": [0]}, "bad layers .*counted from 1"),
    ],
)
def test_bad_recipes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        proxies.response_correlation("mine", **arguments)


def test_a_layer_beyond_the_network_is_refused():
    proxy = proxies.response_correlation("deep", layers=[9])
    with pytest.raises(ValueError, match="layer 9 asked for by proxy 'deep': the network has 4"):
        proxy.score(Measurements(None, ResponseMatrices(layered(), layered())))


def test_unknown_and_doubled_proxies_are_refused():
    with pytest.raises(ValueError, match="unknown proxy 'wcor': allowed are all, pnorm, .*, rcor, wrcor"):
        proxies.make_proxies(["wcor"])
    with pytest.raises(ValueError, match="given twice"):
        proxies.make_proxies(["acor", "acor"])


def test_the_first_layers_are_those_of_the_input():
    matrices = Measurements(None, ResponseMatrices(layered(seed=1), layered(seed=2)))
    count = len(matrices.responses.gradients)
    first = proxies.gcor_first(num_layers=2, count_exponent=1.0)
    by_number = proxies.response_correlation("g", responses=["gradients"], layers=[1, 2])
    assert first.score(matrices) == by_number.score(matrices)
    assert proxies.gcor_first(num_layers=count + 3, count_exponent=1.0).score(matrices) == proxies.gcor().score(
        matrices
    )
    with pytest.raises(ValueError, match="num_first_layers is 0, layers None: at least 1 is needed"):
        proxies.gcor_first(num_layers=0)

"""VKDNW: golden values, both kinds of networks, the matrix and its spectrum beside their formulas in numpy."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies
from zsnas_jax.measure.tensors import in_order
from zsnas_jax.proxies.vkdnw import fisher_matrix, spectrum_entropy

OWN = {"weights": "own", "pictures": "own"}
FORMS = {"paper": "vkdnw_entropy", "released": "vkdnw_entropy_released"}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_golden_values(form):
    golden.check_costly([proxies.vkdnw_entropy(form=form, **OWN)], [FORMS[form]], {"atol": 0.02})


@pytest.mark.slow  # two programs
def test_a_static_network_scores_as_the_dispatched_one():
    tiny.compare_kinds(["vkdnw"])


@pytest.mark.slow
@pytest.mark.parametrize("arch", [(1, 0, 0, 2, 0, 0), (2, 2, 3, 2, 2, 2)])
def test_few_tensors_are_the_first_of_both_networks(arch):
    tiny.compare_kinds(["vkdnw_entropy:num_tensors=12", "num_tensors"], arch)


def test_tensors_are_in_the_order_in_which_they_are_made():
    params = tiny.select_params(tiny.draw_params(jax.random.key(0)), (2, 0, 0, 3, 0, 0))
    network = tiny.scored(tiny.network(), {"params": params}, tiny.batch(2), (2, 0, 0, 3, 0, 0))
    cell = [("edge0", "conv_1x1", "kernel"), ("edge0", "norm", "scale"), ("edge0", "norm", "bias")]
    cell += [("edge3", "conv_3x3", "kernel"), ("edge3", "norm", "scale"), ("edge3", "norm", "bias")]
    expected = [("stem", "kernel"), ("stem_norm", "scale"), ("stem_norm", "bias")]
    expected += [("stage0", *path) for _ in range(2) for path in cell]
    expected += [("head_norm", "scale"), ("head_norm", "bias"), ("head", "kernel"), ("head", "bias")]
    found = in_order(network)
    assert [path for path, _ in found] == expected
    assert [position for path, position in found if path[0] == "stage0"] == [0] * 6 + [1] * 6


def factors(logits):
    for row in np.asarray(logits, np.float64):
        s = np.exp(row) / np.exp(row).sum() * 0.95 + 0.05 / len(row)
        yield np.diag(s) - np.outer(s, s)


def test_the_matrix_is_its_formula_and_as_released_another():
    rng = np.random.default_rng(0)
    logits, rows = rng.standard_normal((4, 5)), rng.standard_normal((4, 5, 7))
    right = np.mean([j.T @ a @ j for a, j in zip(factors(logits), rows, strict=True)], 0)
    np.testing.assert_allclose(fisher_matrix(jnp.asarray(logits), jnp.asarray(rows), "paper"), right, atol=1e-5)
    # The last pivot of the singular matrix is what a little more than rounding leaves of it: about zero.
    released = [np.linalg.cholesky(a + 1e-12 * np.eye(5)) @ j for a, j in zip(factors(logits), rows, strict=True)]
    expected = np.mean([lj.T @ lj for lj in released], 0)
    found = fisher_matrix(jnp.asarray(logits), jnp.asarray(rows), "released")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(found - right).max() > 0.1


def test_the_spectrum_has_as_many_eigenvalues_as_there_are_tensors():
    values = np.array([0.0, 0.0, 0.5, 1.0, 4.0, 9.0])
    q = np.quantile(values[1:], np.linspace(0.1, 0.9, 9))
    t = q / q.sum()
    expected = -(t * np.log(t + 1e-10)).sum()
    np.testing.assert_allclose(spectrum_entropy(jnp.diag(jnp.asarray(values)), jnp.int32(5)), expected, rtol=1e-5)
    np.testing.assert_allclose(spectrum_entropy(jnp.eye(4), jnp.int32(4)), np.log(9), rtol=1e-6)
    assert abs(float(spectrum_entropy(jnp.zeros((3, 3)), jnp.int32(3)))) < 1e-6  # nothing depends on the weights


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"num_tensors": 0}, "vkdnw with num_tensors=0: at least 1 is needed"),
        ({"form": "other"}, "vkdnw with form='other': allowed are 'paper' and 'released'"),
        ({"weights": "drawn"}, "vkdnw with weights='drawn': allowed are 'normal' and 'own'"),
    ],
)
def test_bad_settings_are_one_clear_error(own, message):
    with pytest.raises(ValueError, match=message):
        proxies.vkdnw(**own)

"""Decompositions take one matrix at a time on a CPU, and are otherwise those of jax.numpy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import linalg, proxies, scoring

SQUARE = jax.random.normal(jax.random.key(0), (3, 4, 6, 6))
SYMMETRIC = SQUARE + SQUARE.swapaxes(-1, -2)
WIDE = SQUARE.reshape(3, 4, 4, 9)
CASES = [
    (linalg.log_abs_det, lambda m: jnp.linalg.slogdet(m)[1], SQUARE),
    (linalg.eigenvalues, jnp.linalg.eigvalsh, SYMMETRIC),
    (linalg.singular_values, jnp.linalg.svdvals, WIDE),
    (linalg.left_singular_vectors, lambda m: jnp.linalg.svd(m, full_matrices=False)[0], WIDE),
]


def batched_calls(lowered):
    """The LAPACK calls of a lowered program whose matrices come as a batch of several."""
    calls = re.findall(r"custom_call @(lapack_\w+)\(.*?: \(tensor<([0-9x]+)xf32>", lowered.as_text())
    assert calls
    return [(name, shape) for name, shape in calls if np.prod([int(n) for n in shape.split("x")[:-2]]) > 1]


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only a CPU decomposes one matrix at a time")
@pytest.mark.parametrize(("ours", "plain", "matrices"), CASES)
def test_a_batch_is_decomposed_one_matrix_at_a_time(ours, plain, matrices):
    nested = jax.jit(jax.vmap(jax.vmap(ours)))
    np.testing.assert_allclose(nested(matrices), plain(matrices), rtol=1e-4, atol=1e-5)
    assert not batched_calls(nested.lower(matrices))
    assert batched_calls(jax.jit(plain).lower(matrices))  # the pattern would have seen one


@pytest.mark.parametrize(("ours", "plain", "matrices"), CASES[:3])
def test_derivatives_are_those_of_the_plain_function(ours, plain, matrices):
    gradient = lambda f: jax.vmap(jax.grad(lambda m: f(m).sum()))(matrices[0])
    np.testing.assert_allclose(gradient(ours), gradient(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only a CPU decomposes one matrix at a time")
@pytest.mark.slow
def test_no_proxy_decomposes_a_batch_when_candidates_are_vmapped():
    network = tiny.network()
    batch = tiny.batch()
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), batch.image, jnp.zeros(6, jnp.int32)))
    chosen = proxies.make_proxies(["wrcor", "jaccor", "naswot", "dyniso"])

    def score(params, arch):
        return scoring.score_network(tiny.scored(network, params, batch, arch), chosen)

    archs = jax.ShapeDtypeStruct((4, 6), jnp.int32)
    assert not batched_calls(jax.jit(jax.vmap(score, in_axes=(None, 0))).lower(params, archs))

"""NEAR and Dextr: both kinds of networks, ranks and curvature by hand. Their formulas stand in test_conformance, too."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch
from zsnas_jax.nn.probes import Site
from zsnas_jax.proxies.dextr import combine, inverse_condition
from zsnas_jax.proxies.near import effective_rank


@pytest.mark.slow  # two programs
def test_a_static_network_scores_as_the_dispatched_one():
    tiny.compare_kinds(["near", "dextr"], rtol=1e-2)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_the_effective_rank_of_equal_singular_values_is_their_number(rank):
    rows = jnp.concatenate([2 * jnp.eye(5)[:rank], jnp.zeros((7, 5))])
    np.testing.assert_allclose(effective_rank(rows.reshape(1, 1, -1, 5)), rank, rtol=1e-5)
    assert effective_rank(0 * rows) == 0


def test_the_condition_is_of_the_first_sample():
    x = jnp.stack([jnp.diag(jnp.array([4.0, 1.0, 2.0])), jnp.zeros((3, 3))])
    np.testing.assert_allclose(inverse_condition(x), 0.25, rtol=1e-6)
    assert inverse_condition(x[1:]) == 0


def test_without_a_curvature_the_first_term_stands_alone():
    assert combine(0.5, jnp.nan) == 0.5 and combine(0.0, jnp.float32(0.0)) == 0.0
    np.testing.assert_allclose(combine(0.5, jnp.float32(np.e - 1)), 0.5 / 1.5, rtol=1e-6)


class Linear(nn.Module):
    """Logits that are linear in the picture: a circle becomes an ellipse, of which the first term is known."""

    @nn.compact
    def __call__(self, x):
        Site()(x)
        return nn.Dense(2, use_bias=False)(x.reshape(len(x), -1))


def test_the_curvature_of_an_ellipse():
    image = jnp.ones((1, 2, 2, 2)).at[0, 0, 0, 0].set(3.0)
    module = Linear()
    variables, key = module.init(jax.random.key(0), image), jax.random.key(1)
    found = scoring.score_module(key, module, variables, Batch(image, None), proxies=[proxies.dextr()])[0]
    of_plane, of_logits = jax.random.split(jax.random.fold_in(key, 7))
    u = jnp.linalg.svd(jax.random.normal(of_plane, (8, 2)), full_matrices=False)[0]
    chosen = jax.random.randint(of_logits, (10,), 0, 2)
    v, w = (np.float64(variables["params"]["Dense_0"]["kernel"].T @ column)[chosen] for column in (u[:, 1], -u[:, 0]))
    kappa = np.sqrt((v @ v) * (w @ w) - (v @ w) ** 2) / (v @ v) ** 1.5
    a = np.log1p(inverse_condition(image))
    np.testing.assert_allclose(found, combine(a, jnp.float32(kappa)), rtol=1e-4)


def test_texts_have_no_curve():
    class Text(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(Site()(nn.Embed(5, 4)(x)).mean(1))

    image = jnp.zeros((2, 3), jnp.int32)
    variables = Text().init(jax.random.key(0), image)
    with pytest.raises(ValueError, match="proxy dextr needs pictures of floats"):
        scoring.score_module(jax.random.key(0), Text(), variables, Batch(image, None), proxies=[proxies.dextr()])

"""TE-NAS's two scores: golden values, both kinds of networks, patterns counted by hand."""

import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch
from zsnas_jax.nn.probes import Site


@pytest.mark.slow
def test_golden_values():
    chosen = [proxies.ntk_cond(num_samples=8, parameters=own) for own in ("kernels", "with_scales")]
    names = ["ntk_cond", "ntk_cond_with_norm_scales"]
    golden.check_costly(chosen, names, {"rtol": 1e-2}, sign=-1)


@pytest.mark.slow  # two programs
def test_a_static_network_scores_as_the_dispatched_one():
    tiny.compare_kinds(["ntk_cond", "regions"], rtol=1e-3)


def test_equal_pictures_have_no_condition_and_one_pattern():
    class Tiny(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.relu(Site()(nn.Dense(6)(x))))

    image = jax.random.normal(jax.random.key(0), (5, 4)).at[3].set(1.0).at[4].set(1.0)
    module, batch = Tiny(), Batch(image, None)
    variables = module.init(jax.random.key(1), image)
    chosen = proxies.make_proxies(["ntk_cond", "regions", "ntk_cond:num_samples=3"])
    equal, patterns, three = scoring.score_module(jax.random.key(2), module, variables, batch, proxies=chosen)
    codes = np.asarray(image @ variables["params"]["Dense_1"]["kernel"]) > 0
    assert patterns == len({tuple(row) for row in codes}) <= 4
    assert equal == -np.inf or equal < -1e6
    assert -1e4 < three < -1


def test_the_kernels_own_gradient_is_by_hand():
    """Logits W x without more: the gradient of their sum by W is x for every class, so that Theta is K x^T x."""
    module = nn.Dense(3, use_bias=False)
    image = jnp.asarray([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])[:2]
    variables = module.init(jax.random.key(0), image)
    found = scoring.score_module(jax.random.key(0), module, variables, Batch(image, None), proxies=[proxies.ntk_cond()])
    v = np.linalg.eigvalsh(3 * np.asarray(image @ image.T))
    np.testing.assert_allclose(found, -v[-1] / v[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"num_samples": 1}, "ntk_cond with num_samples=1: at least 2 are needed"),
        ({"parameters": "all"}, "ntk_cond with parameters='all': allowed are 'with_scales' and 'kernels'"),
    ],
)
def test_bad_settings_are_one_clear_error(own, message):
    with pytest.raises(ValueError, match=message):
        proxies.ntk_cond(**own)

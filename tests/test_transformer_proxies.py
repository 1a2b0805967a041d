"""DSS and AutoProx of a transformer in plain Flax, beside their formulas in numpy."""

import flax.linen as nn
from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch
from zsnas_jax.nn.roles import Kernel, Role


class Tiny(nn.Module):
    @nn.compact
    def __call__(self, image):
        x = nn.Conv(4, (4, 4), (4, 4), name="patches")(image).reshape(len(image), -1, 4)
        x = x + nn.MultiHeadDotProductAttention(2, name="attention")(nn.LayerNorm()(x))
        x = x + nn.Dense(4, name="narrow")(nn.gelu(nn.Dense(6, name="widen")(nn.LayerNorm()(x))))
        return nn.Dense(3, name="head")(x.mean(1))


PARTS = {"patches": "other", "widen": "mlp", "narrow": "mlp", "head": "head"}
IMAGE = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))


def roles(module):
    if module.name not in PARTS:
        return None
    axes = (0,), (1,)
    if module.name == "patches":
        axes = (2,), (3,), (0, 1)
    return {"kernel": Kernel(*axes, part=PARTS[module.name]), "bias": Role.BIAS}


def score(names, **own):
    module = Tiny()
    variables = module.init(jax.random.key(1), IMAGE[:1])
    batch = Batch(IMAGE, None)
    return scoring.score_module(
        jax.random.key(2), module, variables, batch, proxies=proxies.make_proxies(names), **own
    ), variables


def test_both_are_their_formulas():
    found, variables = score(["dss", "autoprox"], roles=roles)
    params = jax.tree.map(jnp.abs, variables["params"])
    total = lambda params: Tiny().apply({"params": params}, jnp.ones((1, 8, 8, 3))).sum()
    slopes = flatten_dict(jax.jit(jax.grad(total))(params))
    dss = autoprox = 0.0
    nuclear = lambda matrix: np.linalg.norm(matrix, "nuc")
    for path, w in flatten_dict(params).items():
        if path[-1] != "kernel" or path[0] == "patches":
            continue
        w, g = np.float64(w), np.float64(slopes[path])
        if path[0] == "attention":
            shape = (-1, w.shape[-1]) if path[1] == "out" else (w.shape[0], -1)
            dss += nuclear(g.reshape(shape)) * nuclear(w.reshape(shape))
            autoprox += np.abs(g).sum()
        else:
            dss += np.abs(w * g).sum()
            autoprox += (1 / (1 + np.exp(-g))).mean()
    np.testing.assert_allclose(found, [dss, autoprox], rtol=1e-4)


@pytest.mark.parametrize("name", ["dss", "autoprox"])
def test_a_kernel_of_which_nobody_says_what_it_is_is_refused(name):
    with pytest.raises(
        ValueError, match=f"proxy {name} is of transformers: nobody says which part of one .*kernel"
    ) as e:
        score([name])
    assert "\n" not in str(e.value)


def test_they_are_not_among_all():
    assert {"dss", "autoprox"}.isdisjoint(proxies.expand(["all"]))
    assert all(proxy.only_for == "transformers" for proxy in proxies.make_proxies(["dss", "autoprox"]))

"""MeCo: golden values, both kinds of networks, the eigenvalue beside numpy's."""

import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch
from zsnas_jax.measure.measurements import asked_for, measure, measurements_for
from zsnas_jax.nn.probes import Site
from zsnas_jax.proxies.meco import smallest_eigenvalue, weighed_smallest_eigenvalue

KINDS = {"convolutions": "conv", "activations": "relu", "trunk": "cell"}
CHOSEN = {
    f"{name}_{short}": proxies.PROXIES[name](outputs=kind)
    for kind, short in KINDS.items()
    for name in ("meco", "meco_opt")
}


@pytest.mark.slow
def test_golden_values():
    def run(params, batch, arch, picture):
        network = golden.network201(params, Batch(picture, None), arch)
        measured = measure(network, *asked_for(list(CHOSEN.values())))
        return jnp.stack([proxy.score(measurements_for(proxy, measured)) for proxy in CHOSEN.values()])

    score = golden.compiled(run)
    for cell in golden.more_cells():
        picture = np.random.default_rng([cell["seed"], 950]).standard_normal((1, 64, 64, 3)).astype(np.float32)
        expected = [cell["scores"][name] for name in CHOSEN]
        np.testing.assert_allclose(score(cell, golden.batch(16), np.float64(picture)), expected, rtol=1e-6)


LABELS = [f"{name}:outputs={kind}" for name in ("meco", "meco_opt") for kind in ("convolutions", "trunk")]


@pytest.mark.slow  # two programs
def test_a_static_network_scores_as_the_dispatched_one():
    tiny.compare_kinds(["meco", "meco_opt", *LABELS], atol=1e-3)


@pytest.mark.dear
def test_a_cell_without_a_path_has_what_its_stem_and_classifier_have():
    scores = tiny.dispatched_scores(["meco", "meco_opt", *LABELS], (0,) * 6)
    assert np.isfinite(scores).all()


def test_the_eigenvalue_is_numpys_and_a_dead_channel_makes_it_zero():
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 9))
    few = np.linalg.eigvalsh(np.corrcoef(x[0].reshape(25, 9).T))[0]
    np.testing.assert_allclose(smallest_eigenvalue(jnp.asarray(x)), few, rtol=1e-4)
    eight = np.linalg.eigvalsh(np.corrcoef(x[0].reshape(25, 9)[:, :8].T))[0] * 9 / 8
    np.testing.assert_allclose(weighed_smallest_eigenvalue(jnp.asarray(x)), eight, rtol=1e-4)
    np.testing.assert_allclose(smallest_eigenvalue(jnp.asarray(x).at[..., 2].set(3.0)), 0, atol=1e-6)
    np.testing.assert_allclose(smallest_eigenvalue(jnp.asarray(x[:, :2, :2])), 0, atol=1e-5)


class Flat(nn.Module):
    """Takes pictures of one size alone."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.relu(Site()(nn.Dense(4)(x.reshape(len(x), -1)))))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: proxies.meco(outputs="modules"),
            "meco with outputs='modules': allowed are 'convolutions', 'activations'",
        ),
        (
            lambda: score(["meco:outputs=convolutions"], nn.Dense(3)),
            "Dense has no convolution whose output could be seen",
        ),
        (lambda: score(["meco"], nn.Dense(3)), "Dense has no response site"),
        (lambda: score(["meco"], Flat()), "pictures of 64 pixels: Flat does not take them"),
    ],
)
def test_bad_input_is_one_clear_error(run, message):
    with pytest.raises(ValueError, match=message) as caught:
        run()
    assert "\n" not in str(caught.value)


def score(names, module):
    image = jnp.ones((4, 8, 8, 3))
    variables = module.init(jax.random.key(0), image)
    chosen = proxies.make_proxies(names)
    return scoring.score_module(jax.random.key(1), module, variables, Batch(image, None), proxies=chosen)

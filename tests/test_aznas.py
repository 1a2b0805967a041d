"""AZ-NAS: golden values, both kinds of networks, what is redrawn. Its formulas in numpy stand in test_conformance."""

import flax.linen as nn
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_autoformer_space as autoformer
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch
from zsnas_jax.measure.measurements import asked_for, measure, measurements_for
from zsnas_jax.measure.trunk import random_signs
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.nn.probes import LayerOutput
from zsnas_jax.proxies import aznas
from zsnas_jax.proxies.weights import redrawn

NAMES = ("az_expressivity", "az_progressivity", "az_trainability")
OWN = {"weights": "own", "pictures": "own"}
SHAPES = [(16, 32, 32, 16)] * 6 + [(16, 16, 16, 32)] * 6 + [(16, 8, 8, 64)] * 6


def golden_signs(seed, shapes):
    """By shape, the signs of every number; zeros for those of other shapes, and for 0, which has none."""
    draw = lambda i, shape: np.random.default_rng([seed, 700 + i]).integers(0, 2, shape) * 2 - 1
    signs = lambda i, shape: draw(i, shape) if i and shapes[i] == shape else np.zeros(shape)
    return {s: np.stack([signs(i, s) for i in range(len(shapes))]).astype(np.int8) for s in dict.fromkeys(shapes)}


def scores_of(network, names, signs):
    chosen = [proxies.PROXIES[name](**OWN) for name in names]
    draw = lambda number, shape: jnp.asarray(signs[shape])[number]
    measured = measure(network, *asked_for(chosen), draw_signs=draw)
    return jnp.stack([proxy.score(measurements_for(proxy, measured)) for proxy in chosen])


@pytest.mark.slow
def test_golden_values_of_nasbench201():
    run = lambda params, batch, arch, signs: scores_of(golden.network201(params, batch, arch), NAMES, signs)
    score = golden.compiled(run)
    for cell in golden.more_cells():
        found = score(cell, golden.batch(16), golden_signs(cell["seed"], SHAPES))
        np.testing.assert_allclose(found, [cell["scores"][name] for name in NAMES], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("road", ["dispatched", "static"])
@pytest.mark.parametrize("number", [0, 1])
def test_golden_values_of_autoformer(number, road):
    entry = autoformer.entries()[number]
    network = autoformer.golden_network(number, road)
    width = entry["embed_dim"] if road == "static" else 240
    own = {(8, 17, entry["embed_dim"]): None}
    signs = golden_signs(entry["seed"], list(own) * 2 * len(entry["num_heads"]))[next(iter(own))]
    padded = np.pad(signs, ((0, 0),) * 3 + ((0, width - signs.shape[-1]),))
    run = lambda params: scores_of(
        network._replace(variables={"params": params}),
        ("az_expressivity", "az_trainability"),
        {padded.shape[1:]: padded},
    )
    found = jax.jit(run)(network.params)
    expected = [entry["scores"][name] for name in ("az_expressivity", "az_trainability")]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


BATCH = tiny.batch(batch_size=4)


@pytest.mark.dear  # two programs
def test_a_static_network_scores_as_the_dispatched_one():
    tiny.compare_kinds(NAMES)


@pytest.mark.dear
def test_a_cell_without_a_path_has_no_spectrum_but_a_trainability():
    scores = tiny.dispatched_scores(NAMES, (0,) * 6)
    assert (scores[:2] == -np.inf).all()
    np.testing.assert_allclose(scores[2], 2 - 1e6, rtol=1e-5)  # all between the outputs of two cells


@pytest.mark.parametrize("name", ["kaiming_uniform", "transformer", None])
def test_redrawn_kernels_are_normal(name):
    params = tiny.draw_params(jax.random.key(0), INITIALIZERS[name or "kaiming_uniform"])
    params = jax.tree.map(lambda leaf: leaf + (leaf.ndim < 3), params)  # norms and biases are set back
    network = tiny.scored(tiny.network(), {"params": params}, BATCH, jnp.array(tiny.CELL))
    own = redrawn(network._replace(initializer=INITIALIZERS.get(name)), "a test").params
    kernel = np.asarray(own["stage0"]["edge0"]["conv_3x3"]["kernel"]) / (2 / 36) ** 0.5
    np.testing.assert_allclose([kernel.mean(), kernel.std(), (kernel**4).mean()], [0, 1, 3], atol=0.6)
    assert 2.5 < np.abs(kernel).max() < 6
    assert (own["head_norm"]["scale"] == 1).all() and not own["head"]["bias"].any()
    before = np.argsort(np.ravel(params["stage0"]["edge0"]["conv_3x3"]["kernel"]))
    assert (np.argsort(kernel.ravel()) == before).all() == (name is not None)  # quantile by quantile


class Paths(nn.Module):
    """A block of as many paths of nothing, between two layers."""

    paths: int = 1

    @nn.compact
    def __call__(self, x):
        x = LayerOutput()(nn.Conv(4, (3, 3))(x))
        x = LayerOutput()(sum([x] * self.paths))
        return nn.Dense(3)(x.mean((1, 2)))


def score(module, name, batch=BATCH):
    variables = module.init(jax.random.key(0), batch.image)
    return scoring.score_module(jax.random.key(1), module, variables, batch, proxies=proxies.make_proxies([name]))[0]


def test_a_block_that_passes_its_input_through_by_one_path_is_undefined():
    assert score(Paths(1), "az_trainability") == -np.inf
    many = score(Paths(4), "az_trainability")  # g_in = 4 g_out, and M about 4 I
    assert -3 < many < -2


class Upsampled(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = LayerOutput()(nn.Conv(4, (3, 3))(x))
        x = LayerOutput()(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2))
        return nn.Dense(3)(x.mean((1, 2)))


class Fewer(nn.Module):
    """Tokens, of which every other one goes on."""

    @nn.compact
    def __call__(self, x):
        x = LayerOutput()(nn.Dense(4)(x.reshape(len(x), -1, 3)))
        return nn.Dense(3)(LayerOutput()(x[:, ::2]).mean(1))


def test_maps_that_grow_are_compared_at_the_pixels_of_those_before():
    """g_in is the sum of the four signs of a pixel, so that M is about four identities side by side, of norm 2."""
    np.testing.assert_allclose(score(Upsampled(), "az_trainability"), 2 - 2 - 1 / 2, atol=0.3)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: score(Fewer(), "az_trainability"),
            r"feature map \[4, 32, 4\] follows one of \[4, 64, 4\], whose positions do not lie on its own",
        ),
        (
            lambda: aznas.az_expressivity(weights="mine"),
            "az_expressivity with weights='mine': allowed are 'normal' and",
        ),
        (lambda: aznas.az_trainability(pictures="real"), "az_trainability with pictures='real': allowed are 'noise'"),
        (lambda: score(nn.Dense(3), "az_expressivity"), "Dense has no layer output: mark it with LayerOutput"),
    ],
)
def test_bad_input_is_one_clear_error(run, message):
    with pytest.raises(ValueError, match=message) as caught:
        run()
    assert "\n" not in str(caught.value)


def test_signs_of_a_channel_do_not_depend_on_how_many_there_are():
    draw = random_signs(jax.random.key(0))
    few, many = draw(jnp.int32(3), (4, 5, 6)), draw(jnp.int32(3), (4, 5, 9))
    np.testing.assert_array_equal(few, many[..., :6])
    assert set(np.unique(many)) == {-1, 1} and abs(many.mean()) < 0.3


def test_odd_pictures_are_padded_to_lie_on_the_next():
    arriving, leaving = (
        jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(2, 7, 7, 3), (2, 4, 4, 5)])
    )
    even = jnp.pad(arriving, ((0, 0), (0, 1), (0, 1), (0, 0)))
    np.testing.assert_allclose(aznas.isometry(arriving, leaving), aznas.isometry(even, leaving), rtol=1e-5)


def test_pictures_that_are_no_floats_are_refused():
    batch = Batch(jnp.zeros((4, 8, 8, 3), jnp.int32), None)
    with pytest.raises(ValueError, match="pictures='noise' needs pictures of floats"):
        score(Paths(2), "az_expressivity", batch)

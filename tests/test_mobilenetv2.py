import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.measure import capture
from zsnas_jax.search_spaces import mobilenetv2
from zsnas_jax.search_spaces.mobilenetv2.network import MobileNetV2, Plan, StagePlan

SPACE = mobilenetv2.space()
# The network of the WRCor paper's Table 11.
TABLE_11 = mobilenetv2.TABLE_11
TINY = Plan(
    8, 16, 32, tuple(StagePlan(2, 3, stride, layers, 8, 8) for stride, layers in [(2, 1), (1, 2)] * 3 + [(2, 1)])
)


@functools.cache
def draw():
    return jax.jit(jax.vmap(SPACE.sample))(jax.random.split(jax.random.key(0), 4000))


def test_the_published_network_has_its_published_costs():
    arch = SPACE.decode(TABLE_11)
    assert SPACE.encode(arch) == TABLE_11
    assert mobilenetv2.num_params(arch) == 10_807_432
    assert mobilenetv2.num_flops(arch, as_published=True) / 1e6 == pytest.approx(591.710, abs=5e-4)
    assert mobilenetv2.num_flops(arch) == 597_446_712


@pytest.mark.slow
def test_costs_are_those_of_the_network():
    for arch in np.asarray(draw())[:3]:
        plan = mobilenetv2.plan_of(arch)
        init = lambda image, plan=plan: SPACE.make_network(10).init(jax.random.key(0), image, plan)
        shapes = jax.eval_shape(init, jnp.zeros((2, 64, 64, 3)))["params"]
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == mobilenetv2.num_params(arch, 10)


def test_traced_costs_are_the_exact_ones():
    archs = draw()
    exact = mobilenetv2.num_flops(np.asarray(archs))
    np.testing.assert_allclose(jax.jit(mobilenetv2.num_flops)(archs), exact, rtol=1e-5)
    np.testing.assert_array_equal(jax.jit(mobilenetv2.num_params)(archs), mobilenetv2.num_params(np.asarray(archs)))
    one = mobilenetv2.num_flops(np.asarray(archs)[5])
    assert one == exact[5] and one.dtype == np.int64


def test_samples_are_uniform_and_strings_tell_them_apart():
    archs = np.asarray(draw())
    assert SPACE.is_valid(archs).all()
    for gene, (name, choices) in enumerate(mobilenetv2.GENES):
        counts = np.bincount(archs[:, gene], minlength=len(choices))
        expected = np.full(len(choices), len(archs) / len(choices))
        if name.endswith("stride"):
            expected = len(archs) * np.array([3, 4]) / 7
        assert len(counts) == len(choices) and stats.chisquare(counts, expected).pvalue > 1e-5, name
    for arch in archs[:50]:
        np.testing.assert_array_equal(SPACE.decode(SPACE.encode(arch)), arch)


def test_a_mutation_changes_one_decision_and_every_one_is_as_likely():
    before = np.asarray(draw())
    after = np.asarray(jax.jit(jax.vmap(SPACE.mutate))(jax.random.split(jax.random.key(1), len(before)), before))
    assert SPACE.is_valid(after).all()
    changed = before != after
    strides = changed[:, [name.endswith("stride") for name, _ in mobilenetv2.GENES]]
    swapped = strides.any(1)
    assert (strides.sum(1)[swapped] == 2).all() and (changed.sum(1) == np.where(swapped, 2, 1)).all()
    counts = [swapped.sum(), *changed[~swapped].sum(0)[[not n.endswith("stride") for n, _ in mobilenetv2.GENES]]]
    assert len(counts) == 39 and stats.chisquare(counts).pvalue > 1e-5


BAD_STRINGS = [
    ("SuperResIDWE6K5(152", "SuperResIDWE6K5(160", "block 8 is .*: 152 channels enter it"),
    ("(88,104,1,56,6)", "(88,104,1,57,6)", "stage 5's bottleneck is 57, allowed are 48, 56, 64, 72, 80, 88, 96"),
    ("(104,152,2,192,6)", "(104,152,1,192,6)", "3 stages have stride 2, needed are 4"),
    ("(104,152,2,192,6)", "(104,152,3,192,6)", "stage 6's stride is 3, allowed are 1, 2"),
    ("SuperResIDWE6K5(152", "SuperResIDWE5K5(152", "stage 7's expansion is 5, allowed are 1, 2, 4, 6"),
    ("SuperResIDWE6K5(152", "SuperResIDWE6K9(152", "stage 7's kernel is 9, allowed are 3, 5, 7"),
    ("(152,240,1,136,2)", "(152,240,1,136,4)", "stage 7's layers is 4, allowed are 1, 2"),
    ("K1BNRELU(240,1264", "K1BNRELU(240,1265", "last is 1265, allowed are 128 to 1536 in steps of 8"),
    ("@224", "@225", "resolution is 225, allowed are 192, 224, 256, 288, 320"),
    ("@224", "", "its end '' is no resolution"),
    ("SuperResIDWE2K7(32,32,2,48,3)", "", "8 blocks, needed are 9"),
    ("(152,240,1,136,2)", "(152,240,1,136)", "block 8 is .* of 5 numbers"),
    ("SuperConvK3BNRELU(3,48,2,1)", "SuperConvK3BNRELU(3,48,1,1)", "block 1 is .*, needed is SuperConvK3BNRELU"),
    ("SuperConvK1", "ConvK1", "needed are SuperConvK3BNRELU"),
]


@pytest.mark.parametrize(("old", "new", "complaint"), BAD_STRINGS)
def test_bad_strings_are_refused_by_name(old, new, complaint):
    assert old in TABLE_11
    with pytest.raises(ValueError, match=complaint):
        SPACE.decode(TABLE_11.replace(old, new))


def test_sites_are_every_activation_and_layers_the_stages():
    network, batch = MobileNetV2(num_classes=10), tiny.batch(batch_size=4)
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), batch.image, TINY))["params"]
    found = []
    jax.eval_shape(lambda params: found.extend(capture.capture(network, {"params": params}, batch, TINY)), params)
    paths = [response.path for response in found]
    num_layers = sum(stage.layers for stage in TINY.stages)
    assert len(paths) == 2 + 4 * num_layers
    assert sorted({network.layer_of(path, 0) for path in paths}) == list(range(1, 10))


def score_tiny(names):
    network, batch = MobileNetV2(num_classes=10), tiny.batch(batch_size=4)
    params = jax.jit(lambda: network.init(jax.random.key(0, impl="rbg"), batch.image, TINY))()["params"]
    chosen, own = proxies.make_proxies(names), {"layer_of": network.layer_of}
    score = lambda p: scoring.score_module(
        jax.random.key(1), network, {"params": p}, batch, TINY, proxies=chosen, **own
    )
    return np.asarray(jax.jit(score)(params))


@pytest.mark.slow
def test_proxies_score_the_network():
    assert np.isfinite(score_tiny(["naswot", "acor", "pnorm"])).all()


@pytest.mark.slow
def test_all_proxies_score_the_network():
    assert np.isfinite(score_tiny(["all"])).all()


def test_squeeze_excite_can_be_left_out():
    def count(squeeze_excite):
        network = MobileNetV2(num_classes=10, squeeze_excite=squeeze_excite)
        shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((2, 32, 32, 3)), TINY))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    middle, squeezed, num_layers = 16, 4, sum(stage.layers for stage in TINY.stages)
    assert count(True) - count(False) == num_layers * (2 * middle * squeezed + 2 * (middle + squeezed))

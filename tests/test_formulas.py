"""Proxies and layer options against their equations in numpy, on hand-made measurements and small modules."""

import functools

import flax.linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch, Proxy
from zsnas_jax.measure import costs
from zsnas_jax.measure.measurements import Measurements, measure
from zsnas_jax.measure.network import Network, Observation, forward
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.probes import Features, LayerOutput, Site
from zsnas_jax.proxies.activation import code_agreement
from zsnas_jax.search_spaces import nasbench201

KEY = jax.random.key(0)


class Net(nn.Module):
    """A user's network: Flax's own layers, marked."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, x):
        for width in (8, 16):
            x = nn.Conv(width, (3, 3), use_bias=False)(x)
            x = nn.BatchNorm(use_running_average=True)(x)  # whatever it says, scoring uses the batch's statistics
            x = LayerOutput()(nn.relu(Site()(x)))
        return nn.Dense(self.num_classes)(Features()(x).mean((1, 2)))


class Bare(nn.Module):
    """A network without probes, norms and convolutions."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x.reshape(len(x), -1))


def batch(n=8):
    image = np.random.default_rng(0).standard_normal((n, 8, 8, 2)).astype(np.float32)
    return Batch(jnp.asarray(image), jnp.arange(n) % 3)


@functools.cache
def variables(module):
    return jax.jit(module.init)(jax.random.key(1), batch().image)


def score(names, module=None, data=None, **options):
    module = module or Net()
    chosen = proxies.make_proxies(names) if isinstance(names[0], str) else names
    run = lambda v: scoring.score_module(KEY, module, v, data or batch(), proxies=chosen, **options)
    return np.asarray(jax.jit(run)(variables(module)))


@pytest.mark.slow
def test_a_users_module_scores_with_every_proxy():
    scores = dict(zip(proxies.expand(["all"]), score(["all"]), strict=True))
    assert np.isfinite([value for name, value in scores.items() if name != "bndlent"]).all(), scores
    kernels = [np.asarray(layer["kernel"]) for layer in variables(Net())["params"].values() if "kernel" in layer]
    np.testing.assert_allclose(scores["pnorm"], sum(np.linalg.norm(k) for k in kernels), rtol=1e-5)
    assert scores["params"] == sum(k.size for k in kernels) + 2 * 8 + 2 * 16 + 3
    assert scores["flops"] == 64 * (9 * 2 * 8 + 9 * 8 * 16) + 16 * 3


def test_costs_of_a_static_network_are_the_spaces_formulas():
    for arch in [(3, 0, 2, 1, 4, 3), (2, 2, 2, 2, 2, 2)]:
        network = nasbench201.make_network(10)
        image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        shapes = jax.eval_shape(lambda image, a=arch, n=network: n.init(KEY, image, a), image)
        assert costs.count_params(shapes) == nasbench201.num_params(arch)
        run = lambda v, x, a=arch, n=network: n.apply(v, x, a)
        assert costs.count_multiply_adds(run, shapes, image) == nasbench201.num_flops(arch)


def test_costs_count_the_dearest_branch_and_every_step():
    product = lambda x: x @ x
    assert costs.count_multiply_adds(product, jnp.ones((4, 4))) == 64
    steps = lambda x: jax.lax.scan(lambda c, _: (product(c), None), x, None, length=5)[0]
    assert costs.count_multiply_adds(steps, jnp.ones((4, 4))) == 5 * 64
    choice = lambda i, x: jax.lax.switch(i, [lambda x: x, product], x)
    assert costs.count_multiply_adds(choice, 0, jnp.ones((4, 4))) == 64


def reading_of_jacobian(jacobian, label=None):
    batch = Batch(None, None if label is None else jnp.asarray(label))
    network = Network(Net(), {"params": {}}, batch, (), KEY, LayerOptions(), None, lambda path: True, 0, 0, {})
    return Measurements(network, jacobian=jnp.asarray(jacobian, jnp.float32), zero_jacobian=jnp.bool(False))


def test_jaccor_netsens_and_epe_are_their_formulas():
    rng = np.random.default_rng(0)
    jacobian, label = rng.standard_normal((12, 40)), np.arange(12) % 5
    correlation, k = np.corrcoef(jacobian), 1e-5
    v = np.linalg.eigvalsh(correlation)
    found = proxies.jaccor().score(reading_of_jacobian(jacobian))
    np.testing.assert_allclose(found, -np.sum(np.log(v + k) + 1 / (v + k)), rtol=1e-4)
    np.testing.assert_allclose(
        proxies.netsens().score(reading_of_jacobian(jacobian)), np.abs(jacobian).mean(), rtol=1e-5
    )
    classes = [np.abs(correlation[np.ix_(label == c, label == c)]) for c in range(5)]
    expected = sum(abs(np.log(c + k).sum()) for c in classes)
    np.testing.assert_allclose(proxies.epe().score(reading_of_jacobian(jacobian, label)), expected, rtol=1e-4)


@pytest.mark.parametrize("num_classes", [3, 20])  # fewer and more than the 16 channels before the pooling
def test_dyniso_is_its_formula_with_rounding_floored(num_classes):
    net, data = Net(num_classes), batch(4)
    network = tiny.scored(net, variables(net), data)
    shifted = lambda shift: forward(network, data.image + shift).logits
    jacobian = np.asarray(jax.jit(jax.jacrev(shifted))(jnp.zeros((8, 8, 2)))).reshape(4, num_classes, -1)
    values = np.linalg.svd(jacobian, compute_uv=False)
    largest, rank = values.max(1, keepdims=True), min(num_classes, 16)
    assert (values[:, :rank] > 1e-3 * largest).all() and (values[:, rank:] < 1e-5 * largest).all()
    v = np.log(np.maximum(values, jacobian.shape[-1] * np.finfo(np.float32).eps * largest)).mean(1)
    np.testing.assert_allclose(score(["dyniso"], net, data)[0], -(v + np.exp(-v)).mean(), rtol=1e-4)


def test_dyniso_of_a_network_without_a_path_is_undefined():
    net = Net(20)
    dead = jax.tree.map(jnp.zeros_like, variables(net))
    dead_score = lambda: scoring.score_module(KEY, net, dead, batch(), proxies=[proxies.dyniso()])
    assert np.asarray(jax.jit(dead_score)())[0] == -np.inf


def test_epe_with_more_than_a_hundred_classes():
    rng = np.random.default_rng(0)
    label = np.concatenate([np.arange(101), np.arange(30)])
    jacobian = rng.standard_normal((len(label), 60))
    correlation = np.abs(np.corrcoef(jacobian))
    s = [np.log(correlation[np.ix_(label == c, label == c)] + 1e-5).mean() for c in range(101)]
    expected = np.abs(np.subtract.outer(s, s)).sum() / 101
    np.testing.assert_allclose(proxies.epe().score(reading_of_jacobian(jacobian, label)), expected, rtol=1e-3)


# Few shapes, of fewer samples than a word holds, as many, and more: each compiles.
SHAPES = st.sampled_from([(2, 1), (32, 5), (33, 30), (70, 9)])
signs = SHAPES.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=st.sampled_from([-1, 0, 1])))


@settings(max_examples=30, deadline=None)
@given(signs)
def test_code_agreement_counts_equal_codes(x):
    codes = x > 0
    expected = (codes[:, None] == codes[None, :]).sum(-1)
    np.testing.assert_array_equal(code_agreement(jnp.asarray(x)), expected)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(signs, st.sampled_from([1, 32, 33, 70]))
def test_swap_counts_distinct_patterns_of_present_sites(x, num_samples):
    proxy = proxies.swap(num_samples=num_samples)
    (statistic,) = proxy.observe.values()
    words = statistic(jnp.asarray(x))
    absent = Observation(jnp.zeros(1), jnp.full((1, *words.shape), 7, jnp.uint32), ("absent",), (1,))
    present = Observation(jnp.ones(1), words[None], ("present",), (1,))
    measured = Measurements(None, observed={next(iter(proxy.observe)): [absent, present]})
    expected = len({tuple(neuron) for neuron in (x[:num_samples] > 0).T})
    assert proxy.score(measured) == expected
    assert proxy.score(Measurements(None, observed={next(iter(proxy.observe)): [absent]})) == 0


def test_regularised_swap_is_swap_times_its_factor():
    plain, regular = score([proxies.swap(), proxies.swap_regularized(mu=2.0, sigma=3.0)])
    thousands = score(["params"])[0] / 1e3
    np.testing.assert_allclose(regular, plain * np.exp(-((thousands - 2) ** 2) / 3), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("ln", nn.LayerNorm(reduction_axes=(1, 2, 3), feature_axes=-1, epsilon=1e-5)),
        ("gn8", nn.GroupNorm(num_groups=8, epsilon=1e-5)),
        ("gn16", nn.GroupNorm(num_groups=16, epsilon=1e-5)),
        ("in", nn.GroupNorm(num_groups=None, group_size=1, epsilon=1e-5)),
    ],
)
def test_norms_are_flaxs(name, module):
    x = 3 * jax.random.normal(KEY, (4, 5, 5, 32)) + 1
    scale, bias = jnp.linspace(0.5, 2, 32), jnp.linspace(-1, 1, 32)
    expected = module.apply({"params": {"scale": scale, "bias": bias}}, x)
    found = LayerOptions(norm=name).normalise(x, scale, bias, None)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_mask_keeps_its_share_of_elements_and_their_values():
    x = jnp.ones((64, 16, 16, 8)) * 3
    masked = LayerOptions(mask_rate=0.9).mask(x, KEY)
    assert set(np.unique(masked)) == {0, 3}
    np.testing.assert_allclose((masked > 0).mean(), 0.1, atol=0.003)
    assert not np.array_equal(masked[0], masked[1])
    np.testing.assert_array_equal(LayerOptions().mask(x, None), x)
    kept = LayerOptions(norm="dropout").normalise(x, None, None, KEY)
    assert set(np.unique(kept)) == {0, 6}


def test_options_act_on_a_users_module():
    plain, layer_norm, masked = (
        score(["naswot"], options=options)[0]
        for options in (LayerOptions(), LayerOptions("ln"), LayerOptions(mask_rate=0.5))
    )
    assert np.isfinite([plain, layer_norm, masked]).all() and len({plain, layer_norm, masked}) == 3
    assert score(["naswot", "sam_nwot", "ncd_nwot"])[1] != plain


def test_batch_norm_of_a_users_module_uses_the_batch():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(Site()(nn.BatchNorm(use_running_average=True)(x)).mean((1, 2)))

    first = Proxy("m", lambda r: r.observed["moments"][0].value.ravel()[1], frozenset(), {}, "")
    moments = first._replace(observe={"moments": lambda x: jnp.stack([x.mean(), x.std()])})
    data = batch()
    shifted = Batch(5 * data.image + 7, data.label)
    np.testing.assert_allclose(score([moments], Normed(), shifted)[0], 1.0, atol=1e-3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LayerOptions(norm="bnn"), "unknown norm 'bnn': allowed are bn, ln, gn16, gn8, in, dropout, identity"),
        (lambda: LayerOptions(mask_rate=1.0), "mask_rate is 1.0: allowed are 0 to 1, 1 excluded"),
        (lambda: LayerOptions(mask_rate=-0.1), "mask_rate is -0.1"),
        (lambda: LayerOptions(activation="tanh"), "unknown activation 'tanh': allowed are relu, gelu, leaky_relu"),
        (lambda: proxies.zico(num_batches=1), "zico with num_batches=1: a deviation over batches needs at least 2"),
        (lambda: score([proxies.zico(num_batches=3)]), "zico cuts a batch of 8 into 3"),
        (lambda: proxies.swap(num_samples=0), "swap with num_samples=0"),
        (lambda: proxies.swap(mu=1.0), "swap with mu=1.0, sigma=None: both are needed"),
        (lambda: proxies.dyniso(num_samples=0), "dyniso with num_samples=0"),
        (lambda: score(["wrcor"], Bare()), "Bare has no response site: mark what enters"),
        (lambda: score(["naswot"], Bare()), "Bare has no response site: mark what enters"),
        (lambda: score(["zen"], Bare()), "Bare has no feature map: mark it with Features"),
        (lambda: score(["bndlent"], Bare()), "Bare has no layer output: mark it with LayerOutput"),
        (
            lambda: score(["snip"], Bare(), options=LayerOptions("ln")),
            "Bare has no batch norm that norm 'ln' could replace",
        ),
        (
            lambda: score(["snip"], Bare(), options=LayerOptions(mask_rate=0.5)),
            "Bare has no convolution that mask_rate 0.5",
        ),
        (lambda: score(["snip"], Net(), options=LayerOptions(activation="gelu")), "Net chooses its own activation"),
        (
            lambda: LayerOptions("gn8").normalise(jnp.ones((2, 2, 2, 12)), 1, 0, None),
            "norm gn8 on 12 channels: they must be a multiple of 8",
        ),
        (lambda: measure(None, frozenset({"colour"})), "unknown needs .'colour'.: allowed are activations"),
    ],
)
def test_bad_input_is_one_clear_error(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("name", ["snip", "epe", "zico", "grasp", "bndlent", "wrcor", "fisher"])
def test_missing_labels_are_named(name):
    with pytest.raises(ValueError, match="labels are needed, the batch has none"):
        score([name], data=Batch(batch().image, None))


def test_proxies_without_labels_need_none():
    names = ["pnorm", "synflow", "naswot", "jaccor", "netsens", "acor", "swap", "params"]
    unlabelled = score(names, data=Batch(batch().image, None))
    np.testing.assert_allclose(unlabelled, score(names), rtol=1e-5)

import chex
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies
from zsnas_jax.measure import capture
from zsnas_jax.measure.losses import cross_entropy
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.search_spaces.nasbench201.network import NASBench201

CELLS = [tuple(int(g) for g in arch) for arch in nasbench201.from_index(np.arange(0, 15625, 760))]
PAPERS_OFFSET = 16 * np.log(2)  # the golden WRCor counts layers from 0, ours from 1


def static(arch):
    return tuple(int(gene) for gene in arch)


@pytest.fixture(scope="module")
def dispatched():
    """The dispatched tiny network: its parameters, and its logits as one compiled program."""
    network, batch = tiny.network(), tiny.batch()
    drawn = tiny.draw_params(jax.random.key(0))
    shake = lambda path, x: x + 0.1 * jax.random.normal(jax.random.key(x.size + len(str(path))), x.shape)
    params = jax.tree_util.tree_map_with_path(shake, drawn)  # as after training: biases are not zero
    return params, jax.jit(lambda arch: network.apply({"params": params}, batch.image, arch))


@pytest.mark.parametrize("arch", CELLS, ids=str)
def test_static_and_dispatched_networks_are_one(dispatched, arch):
    params, logits = dispatched
    network, batch = tiny.network(), tiny.batch()
    chosen = tiny.select_params(params, arch)
    with jax.disable_jit():  # step by step: quicker than a program a cell
        expected = network.apply({"params": chosen}, batch.image, arch)
    chex.assert_trees_all_close(logits(jnp.array(arch)), expected, rtol=1e-5, atol=1e-5)


def test_a_pruned_cell_computes_the_same_at_the_start():
    """With biases of zero, as drawn; a dead convolution's bias would reach the output once it is trained."""
    network, batch = tiny.network(), tiny.batch()
    params = tiny.draw_params(jax.random.key(0))
    logits = jax.jit(lambda arch: network.apply({"params": params}, batch.image, arch))
    for arch in [(0, 2, 3, 1, 3, 2), (3, 0, 0, 2, 0, 4), (0, 0, 3, 3, 2, 1), (3, 3, 3, 0, 0, 0)]:
        pruned = nasbench201.prune(arch)
        assert (pruned != arch).any()
        chex.assert_trees_all_close(logits(jnp.array(arch)), logits(jnp.array(pruned)), rtol=1e-5, atol=1e-6)


def test_static_and_dispatched_networks_draw_alike():
    network, image, key = tiny.network(), tiny.batch().image, jax.random.key(0, impl="rbg")  # quick to compile
    every = jax.jit(lambda: network.init(key, image, jnp.zeros(6, jnp.int32)))()["params"]
    for arch in (CELLS[5], (0, 1, 4, 0, 1, 4)):
        own = jax.jit(lambda arch=arch: network.init(key, image, arch))()["params"]
        chex.assert_trees_all_equal(own, tiny.select_params(every, arch))


def test_at_least_twenty_cells_are_compared():
    assert len(CELLS) >= 20


@pytest.mark.slow  # what SNIP, PGNorm and Fisher come to in both networks is held together in test_proxies.py
def test_weight_gradients_of_both_networks_are_one(dispatched):
    params, _ = dispatched
    network, batch, arch = tiny.network(), tiny.batch(), (0, 2, 3, 1, 3, 2)
    loss = lambda p, arch: cross_entropy(network.apply({"params": p}, batch.image, arch), batch.label)
    run_time = tiny.select_params(jax.jit(jax.grad(loss))(params, jnp.array(arch)), arch)
    alone = jax.jit(jax.grad(lambda p: loss(p, arch)))(tiny.select_params(params, arch))
    chex.assert_trees_all_close(run_time, alone, atol=1e-5)


@pytest.fixture(scope="module")
def stream_tiny():
    network, batch = tiny.network(), tiny.batch()
    return jax.jit(lambda p, arch: tiny.stream(network, {"params": p}, batch, arch, layer_of=network.layer_of))


MORE = [
    pytest.param(arch, marks=pytest.mark.slow) for arch in [(3, 0, 2, 0, 0, 0), (0, 3, 3, 3, 2, 2), (0, 0, 0, 0, 0, 0)]
]


@pytest.mark.parametrize("arch", [CELLS[3], *MORE], ids=str)
def test_three_readings_of_the_tiny_network_agree(dispatched, stream_tiny, arch):
    params, _ = dispatched
    network, batch = tiny.network(), tiny.batch()
    chosen = tiny.select_params(params, arch)
    stream = lambda p, a: tiny.stream(network, {"params": p}, batch, a, layer_of=network.layer_of)
    captured = lambda p: capture.aggregate(capture.capture(network, {"params": p}, batch, arch), network.layer_of)
    plain, one = jax.jit(lambda p: (captured(p), stream(p, arch)))(chosen)
    other = stream_tiny(params, jnp.array(arch))
    chex.assert_trees_all_close(plain, one, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_close(plain, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_fields_set_the_size():
    network = NASBench201(num_classes=3, channels=2, cells_per_stage=2)
    params = network.init(jax.random.key(0), jnp.zeros((2, 16, 16, 3)), (3,) * 6)["params"]
    assert params["stage2"]["edge0"]["conv_3x3"]["kernel"].shape == (2, 3, 3, 8, 8)
    assert params["head"]["kernel"].shape == (8, 3)
    assert network.layer_of(("head_site",), 0) == 9 and network.layer_of(("reduction2", "site_a"), 0) == 6


def test_layers_are_counted_as_in_the_paper():
    layer_of = NASBench201().layer_of
    assert [layer_of(("stage0",), i) for i in range(5)] == [1, 2, 3, 4, 5]
    assert [layer_of((name,), 0) for name in ("reduction1", "stage1", "reduction2", "stage2", "head_site")] == [
        6,
        7,
        12,
        13,
        18,
    ]


@pytest.fixture(scope="module")
def read_streamed():
    network = NASBench201()
    read = lambda p, b, arch: tiny.stream(network, {"params": p}, b, arch, layer_of=network.layer_of)
    return jax.jit(read)


@pytest.mark.slow  # what the dispatched network comes to is held to the same values in test_proxies.py
@pytest.mark.parametrize("number", range(6))
def test_golden_values(read_streamed, number):
    cell = golden.cells()[number]
    arch, batch, params = nasbench201.decode(cell["arch"]), golden.batch(16), golden.nasbench201_params(cell["seed"])
    network = NASBench201()
    chosen = tiny.select_params(params, static(arch), network, 32)
    read = lambda p: capture.aggregate(capture.capture(network, {"params": p}, batch, static(arch)), network.layer_of)
    streamed, plain = read_streamed(params, batch, jnp.asarray(arch)), jax.jit(read)(chosen)
    for name in ("acor", "gcor", "rcor", "wrcor"):
        expected = cell["scores"][name]
        expected = -np.inf if expected is None else expected + (PAPERS_OFFSET if name == "wrcor" else 0)
        for matrices in (streamed, plain):
            np.testing.assert_allclose(
                proxies.PROXIES[name]().score(Measurements(None, matrices)), expected, atol=2e-3, err_msg=name
            )
        scores = [proxies.PROXIES[name]().score(Measurements(None, matrices)) for matrices in (streamed, plain)]
        np.testing.assert_allclose(*scores, rtol=1e-4)


@pytest.mark.slow
def test_golden_values_in_float64(read_streamed):
    """One cell to 1e-6 in double precision: what is left in single precision is rounding."""
    cell = golden.cells()[1]
    batch, params = golden.batch(16), golden.nasbench201_params(cell["seed"])
    with jax.enable_x64(True):
        network, arch = NASBench201(), jnp.asarray(nasbench201.decode(cell["arch"]))
        double = lambda tree: jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), tree)
        batch64 = type(batch)(double(batch.image), jnp.asarray(np.asarray(batch.label)))
        read = jax.jit(lambda p, b: tiny.stream(network, {"params": p}, b, arch, layer_of=network.layer_of))
        matrices = read(double(params), batch64)
        assert matrices.activations.dtype == jnp.float64
        for name in ("acor", "gcor", "rcor", "wrcor"):
            expected = cell["scores"][name] + (PAPERS_OFFSET if name == "wrcor" else 0)
            np.testing.assert_allclose(proxies.PROXIES[name]().score(Measurements(None, matrices)), expected, rtol=1e-6)

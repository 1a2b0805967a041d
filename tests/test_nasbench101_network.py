"""The NAS-Bench-101 network: golden values, the static network against the dispatched one, layers, padding."""

import functools
import json

from flax.traverse_util import flatten_dict, unflatten_dict
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_proxies import GOLDEN, LOG_DETERMINANTS, LOOSE, golden_noise
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.base import fingerprint
from zsnas_jax.proxies import function_space
from zsnas_jax.search_spaces import nasbench101
from zsnas_jax.search_spaces.nasbench101.cells import ABSENT, OPS, edge_position
from zsnas_jax.search_spaces.nasbench101.network import NASBench101, share_output, wire

CHANNELS = 8
NARROW = 185  # three vertices feed its output, 8 channels as 3 + 3 + 2: two convolutions and a pooling are narrow
GOLDEN_CELLS = range(3)


def golden_cell(number):
    return json.loads(golden.shared_file("golden/nasbench101.json").read_text())[number]


def genes(cell):
    """The genotype of a golden cell, 26 Python ints."""
    matrix, arch = np.array(cell["matrix"]), [0] * 26
    slot = [*range(len(matrix) - 1), 6]
    for source, target in np.argwhere(matrix):
        arch[edge_position(slot[source], slot[target])] = 1
    for v, op in enumerate(cell["ops"][1:-1]):
        arch[21 + v] = OPS.index(op)
    return tuple(arch)


def golden_leaf(path, leaf, cell):
    """The golden weights of a parameter of the static network."""
    if path[-1] != "kernel":
        return np.full(leaf.shape, float(path[-1] == "scale"), np.float32)
    if not path[0].startswith("stack"):
        return golden.kernel(cell["seed"], path[0], leaf.shape)
    stack, _, first = path[0].removeprefix("stack").partition("_")
    kind, slot = path[1][:-1], int(path[1][-1])
    vertex = len(cell["matrix"]) - 1 if slot == 6 else slot
    draw = lambda m, shape: golden.kernel(cell["seed"], f"stack{stack}/module{m}/{kind}{vertex}", shape)
    if first:
        return draw(0, leaf.shape)
    return np.stack([draw(m + (stack != "0"), leaf.shape[1:]) for m in range(leaf.shape[0])])


def check_golden(number, names):
    cell = golden_cell(number)
    arch, batch, network = genes(cell), golden.batch(cell["batch_size"]), NASBench101()
    shapes = jax.eval_shape(lambda image: network.init(jax.random.key(0), image, arch), batch.image[:1])["params"]
    params = unflatten_dict({p: golden_leaf(p, leaf, cell) for p, leaf in flatten_dict(shapes).items()})
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == cell["num_params"]
    chosen = [proxies.PROXIES[name]() for name in names]
    of_noise = {name: getattr(function_space, f"{name}_of_noise") for name in ("phi", "zen", "bt")}

    @jax.jit
    def score(params, noise):
        net = tiny.scored(network, {"params": params}, batch, arch, layer_of=network.layer_of)
        rest = [proxy for proxy in chosen if proxy.name not in of_noise]
        scores = dict(zip([proxy.name for proxy in rest], scoring.score_network(net, rest), strict=True))
        scores |= {name: of(net, noise) for name, of in of_noise.items() if name in names}
        return scoring.degenerate_to_minus_inf(jnp.stack([scores[name] for name in names]))

    found = score(params, golden_noise(cell["seed"], cell["batch_size"]))
    through = {"synflow": np.log, "phi": np.log1p, "wrcor": lambda score: score + cell["batch_size"] * np.log(2)}
    for name, value in zip(names, np.asarray(found), strict=True):
        expected = through.get(name, lambda score: score)(cell["scores"][name])
        rtol, atol = (0, 0.05) if name in LOG_DETERMINANTS else ((LOOSE | {"epe": 1e-2}).get(name, 1e-3), 1e-6)
        np.testing.assert_allclose(value, expected, rtol=rtol, atol=atol, err_msg=name)


ALL_GOLDEN = [name for name in GOLDEN if name != "dyniso"]  # there is no golden value of dyniso here


@pytest.mark.slow
def test_golden_values_of_the_response_family():
    check_golden(1, ["acor", "gcor", "wrcor", "naswot", "pnorm", "lydyniso"])


@pytest.mark.slow
@pytest.mark.parametrize("number", GOLDEN_CELLS)
def test_golden_values(number):
    check_golden(number, ALL_GOLDEN)


def make_tiny(num_classes=10, variant=1, cells_per_stack=1):
    return NASBench101(num_classes=num_classes, variant=variant, channels=CHANNELS, cells_per_stack=cells_per_stack)


def tiny_space(cells_per_stack=1):
    make = functools.partial(make_tiny, cells_per_stack=cells_per_stack)
    network = make()
    return nasbench101.space()._replace(make_network=make, layer_of=network.layer_of, is_active=network.is_active)


def check_static(space, rows, names):
    """The run-time-dispatched network, whose padding is zero, scores as the built one with the same weights."""
    chosen, batch, archs = proxies.make_proxies(names), tiny.batch(), nasbench101.from_index(np.array(rows))
    root = jax.random.key(0)
    found = scoring.make_scorer(root, space, chosen, num_classes=10).score(archs, np.zeros(len(rows)), batch)
    for arch, scores in zip(archs, found, strict=True):
        key = jax.random.fold_in(jax.random.fold_in(root, fingerprint(jnp.asarray(arch))), 0)
        network = space.make_network(variant=int(space.variant_of(arch)))
        params = jax.jit(lambda key, arch: scoring.draw_params(key, arch, batch, space=space, module=network)[0])(
            key, jnp.asarray(arch)
        )
        built = tuple(arch.tolist())
        params = tiny.select_params(params, built, network, batch.image.shape[1])
        score = jax.jit(
            lambda params: scoring.score_module(
                jax.random.fold_in(key, 1),
                network,
                {"params": params},
                batch,
                built,
                proxies=chosen,
                layer_of=space.layer_of,
                is_homogeneous=True,
            )
        )
        # ZiCo divides by the deviation of a gradient over two batches, which may be close to nothing: noise of 1e-7 on the
        # pictures moves it by up to 1.6 % here.
        loose = np.where([name == "zico" for name in names], 3e-2, 2e-3)
        np.testing.assert_array_less(np.abs(scores - score(params)), 2e-3 + loose * np.abs(score(params)))
        assert np.isfinite(scores).all()


@pytest.mark.slow
def test_a_static_network_scores_as_the_dispatched_one_with_its_padding():
    arch = nasbench101.from_index(NARROW)
    assert nasbench101.variant_of(arch) == 3
    assert any(wire(tuple(arch.tolist()), CHANNELS).narrow)
    check_static(tiny_space(), [NARROW], ["wrcor", "naswot", "fisher", "pnorm", "lydyniso"])


@pytest.mark.slow
@pytest.mark.parametrize("names", [["wrcor", "swap", "snip", "synflow"], ["zen", "jaccor", "zico"], ["grasp"]], ids=str)
def test_static_networks_of_every_variant_score_as_the_dispatched_ones(names):
    check_static(tiny_space(cells_per_stack=2), [7, 0, NARROW, 42], names)


def test_the_static_network_has_the_published_number_of_parameters():
    for row in (NARROW, 42):
        arch = nasbench101.from_index(row)
        init = lambda image, arch=arch: NASBench101().init(jax.random.key(0), image, tuple(arch.tolist()))
        shapes = jax.eval_shape(init, jnp.zeros((1, 32, 32, 3)))["params"]
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == nasbench101.num_params(arch)


def test_a_wiring_is_the_same_traced_and_not():
    for row in (0, NARROW, 423_623):
        arch = nasbench101.from_index(row)
        traced = jax.jit(functools.partial(wire, channels=128))(jnp.asarray(arch))
        assert jax.tree.map(lambda leaf: leaf.item(), traced) == wire(tuple(arch.tolist()), 128)


def test_dead_vertices_are_left_out_of_the_wiring():
    arch = list(genes({"matrix": [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0] * 4], "ops": ["", OPS[0], OPS[2], ""]}))
    wiring = wire(tuple(arch), 128)
    assert wiring.ops[1:3] == [0, ABSENT] and not wiring.edges[0][2]


def test_layers_are_the_stem_the_cells_and_the_poolings():
    paths = [("stem_site", 1)]
    for stack in range(3):
        paths += [(f"stack{stack}_first", 1), (f"stack{stack}", 2)] if stack else [("stack0", 3)]
    layers = [NASBench101().layer_of((path,), position) for path, count in paths for position in range(count)]
    assert layers == [1, 2, 3, 4, 6, 7, 8, 10, 11, 12]


def test_the_output_is_the_concatenation_of_those_that_feed_it():
    vertices = [jax.random.normal(jax.random.key(i), (2, 3, 3, 3)) for i in range(5)]
    feeds, ranks = [jnp.bool(f) for f in (0, 1, 1, 0, 1)], [jnp.int32(r) for r in (0, 0, 1, 2, 2)]
    plain = lambda v: jnp.concatenate([v[1], v[2], v[4][..., :2]], -1)
    shared = lambda v: share_output(v, feeds, ranks, (3, 3, 2))
    np.testing.assert_array_equal(shared(vertices), plain(vertices))
    for a, b in zip(*(jax.grad(lambda v, f=f: jnp.sin(f(v)).sum())(vertices) for f in (plain, shared)), strict=True):
        np.testing.assert_allclose(a, b)

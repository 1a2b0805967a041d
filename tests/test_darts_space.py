"""DARTS and S1 to S4: codecs, draws, sizes as published, networks as the golden ones, chained as whole."""

import functools
import itertools

import chains
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsnas_jax import search_spaces
from zsnas_jax.search_spaces import darts
from zsnas_jax.search_spaces.darts.edges import CELLS, DIL_3, EDGES, FIRST_EDGES, NOISE, NONE, OPS, SEP_3, SKIP, drawn
from zsnas_jax.search_spaces.darts.network import Noise

SPACE = darts.space()
V2 = darts.NAMED["DARTS_V2"]
# CIFAR parameters and FLOPs, ImageNet's (C 48), those at C 16 and L 8, sites there
SIZES = {
    "DARTS_V1": (3_169_414, 500.988, 4_510_432, 505.865, 232_890, 41.356, 76),
    "DARTS_V2": (3_349_342, 528.359, 4_718_752, 529.912, 246_106, 43.445, 82),
    "PC_DARTS_cifar": (3_634_678, 556.671, 5_270_560, 571.137, 335_738, 53.259, 104),
    "PC_DARTS_image": (None, None, 5_342_464, 581.627, None, None, None),
    "RLDARTS": (4_034_710, 630.380, None, None, 364_154, 59.837, 112),
}


every_space = pytest.mark.parametrize(  # three are as the last is
    "name",
    [name if name in ("darts", "darts_s4") else pytest.param(name, marks=pytest.mark.slow) for name in darts.OFFERS],
)


@functools.cache
def drawn_archs(name):
    """(1,000 samples, a mutation of each)."""
    space = search_spaces.make_space(name)
    archs = chains.draw(space)
    return archs, chains.mutants(space, archs)


def every_operation():
    """All operations but pooling of the largest, nodes of none alone, nodes that read an input twice."""
    normal = [[(0, NONE), (1, NONE)], [(0, SEP_3), (2, SKIP)], [(2, 5), (2, NOISE)], [(1, 2), (3, 7)]]
    reduction = [[(0, SKIP), (1, NOISE)], [(1, NONE), (0, NONE)], [(2, DIL_3), (2, SKIP)], [(1, SEP_3), (4, 2)]]
    return np.array([normal, reduction], np.int32)


def test_every_trained_cell_is_read_and_written_as_published():
    rows = chains.rows("swap_darts1000")
    archs = np.stack([SPACE.decode(row["genotype"]) for row in rows])
    assert [SPACE.encode(arch) for arch in archs] == [row["genotype"] for row in rows]
    outside = (archs[..., 1] == NONE).any((1, 2, 3)) | (archs[..., 0, 0] == archs[..., 1, 0]).any((1, 2))
    assert outside.sum() == 939
    small = darts.num_params(archs, channels=3, layers=1, with_stem=False)  # the networks that SWAP's script scores
    assert (small.min(), small.max()) == (310, 2692)


def test_every_row_of_nasbench301_is_read_written_and_counted():
    rows = chains.rows("nb301_surrogate_1225")
    archs = np.stack([SPACE.decode(row["compact"]) for row in rows])
    assert [str([list(cell) for cell in darts.to_compact(arch)]) for arch in archs] == [row["compact"] for row in rows]
    assert (np.stack([SPACE.decode(str(darts.to_compact(arch))) for arch in archs[:100]]) == archs[:100]).all()
    counted = darts.num_params(archs, channels=32, layers=8, as_nasbench301=True)
    assert len(rows) == 1225
    np.testing.assert_array_equal(counted, [round(1e6 * float(row["params"])) for row in rows])


@every_space
def test_samples_are_of_the_space(name):
    archs, _ = drawn_archs(name)
    space = search_spaces.make_space(name)
    assert archs.dtype == np.int32 and (archs[..., 0, 0] < archs[..., 1, 0]).all() and (archs[..., 1] != NONE).all()
    assert all((space.decode(space.encode(arch)) == arch).all() for arch in archs)
    edges = FIRST_EDGES[:, None] + archs[..., 0]
    seen = np.zeros((2, len(EDGES), len(OPS)), bool)
    seen[np.broadcast_to(np.arange(2)[:, None, None], edges.shape), edges, archs[..., 1]] = True
    np.testing.assert_array_equal(seen, drawn(darts.OFFERS[name]))


@every_space
def test_mutations_change_one_decision(name):
    archs, mutants = drawn_archs(name)
    space, offer = search_spaces.make_space(name), darts.OFFERS[name]
    assert all((space.decode(space.encode(arch)) == arch).all() for arch in mutants)
    assert (mutants[..., 0, 0] != mutants[..., 1, 0]).all() and (mutants[..., 1] != NONE).all()
    changed = (archs != mutants).any(-1)
    assert (changed.sum((1, 2, 3)) == 1).all()
    (source, op), (moved, other) = archs[changed].T, mutants[changed].T
    _, kind, node, _ = np.nonzero(changed)
    may_stay = offer[kind, FIRST_EDGES[node] + moved, op]
    assert (((source == moved) != (op == other)) | ~may_stay).all()
    assert (source == moved).any() and (source != moved).any() and (source == moved)[node == 0].all()


def test_mutations_are_drawn_as_by_trying_again():
    arch = jnp.asarray(V2)
    keys = jax.random.split(jax.random.key(1), 20000)
    mutants = np.asarray(jax.jit(jax.vmap(SPACE.mutate, (0, None)))(keys, arch))
    weights = [16 / 2 * 6 / 7, *(2 * 2 / 2 * node / (node + 2) for node in range(4))]  # of operations, of inputs
    is_op = (mutants != V2)[..., 1].any((1, 2, 3))
    of_nodes = (mutants != V2)[..., 0].any((1, 3)).sum(0)
    share = np.array([is_op.sum(), *of_nodes]) / len(keys)
    np.testing.assert_allclose(share, np.array(weights) / sum(weights), atol=0.015)


@pytest.mark.parametrize("name", darts.OFFERS)
def test_there_are_as_many_cells_as_published(name):
    counts = drawn(darts.OFFERS[name]).sum(-1)
    for kind in range(len(CELLS)):
        at = lambda source, node, kind=kind: int(counts[kind, EDGES.index((source, node))])
        pairs = [sum(at(a, n) * at(b, n) for a, b in itertools.combinations(range(n + 2), 2)) for n in range(4)]
        assert np.prod(pairs) == (180 * 7**8 if name == "darts" else 46_080)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_published_ones(name):
    arch, cifar, imagenet = darts.NAMED[name], {"channels": 36, "layers": 20}, {"channels": 48, "layers": 14}
    imagenet["imagenet"] = True
    params, flops, large_params, large_flops, small_params, small_flops, _ = SIZES[name]
    if params:
        assert (darts.num_params(arch, **cifar), darts.num_params(arch)) == (params, small_params)
        assert round(darts.num_flops(arch, **cifar) / 1e6, 3) == flops
        assert round(darts.num_flops(arch) / 1e6, 3) == small_flops
    if large_params:
        assert darts.num_params(arch, 1000, **imagenet) == large_params
        assert round(darts.num_flops(arch, 1000, 224, **imagenet) / 1e6, 3) == large_flops


def test_further_sizes():
    own = {"channels": 46, "layers": 14, "imagenet": True}
    assert darts.num_params(darts.NAMED["RLDARTS"], 1000, **own) == 5_257_581
    assert round(darts.num_flops(darts.NAMED["RLDARTS"], 1000, 224, **own) / 1e6, 3) == 579.816
    assert darts.num_auxiliary_params(channels=36, layers=20) == 476_426
    assert darts.num_convolutions(V2) == 1 + 2 * 8 + 6 * (5 * 4 + 2)


def test_costs_are_counted_for_many_at_once_and_traced():
    archs = np.stack([drawn_archs("darts_s4")[0], drawn_archs("darts")[0]])
    for count in (darts.num_params, darts.num_flops, darts.num_convolutions):
        many = count(archs)
        assert many.shape == (2, 1000) and many[1, 7] == count(archs[1, 7])
        np.testing.assert_array_equal(jax.jit(count)(jnp.asarray(archs)), many)


@pytest.mark.parametrize(
    ("own", "image_size"),
    [
        pytest.param({}, 32, marks=pytest.mark.slow),  # eight cells, where three tell the same
        ({"name": "darts_s4", "channels": 6, "layers": 3}, 20),
        ({"channels": 8, "layers": 4, "imagenet": True}, 64),
        ({"channels": 3, "layers": 1, "with_stem": False}, 32),
    ],
)
def test_costs_are_those_of_the_network(own, image_size):
    space = darts.space(**own)
    for arch in [*drawn_archs(own.get("name", "darts"))[0][:1], every_operation()]:
        assert space.num_params(arch, 7) == chains.params(space, arch, 7)
        assert space.num_flops(arch, 7, image_size) == chains.flops(space, arch, 7, image_size)


def test_sites_stand_in_the_layers_of_their_cells():
    for entry in golden.chain_entries("darts"):
        assert chains.sites_per_layer(SPACE, SPACE.decode(entry["arch"])) == entry["sites_per_layer"]
    imagenet = darts.space(channels=8, layers=3, imagenet=True)
    assert chains.sites_per_layer(imagenet, V2, image_size=64) == [2, 13, 2, 2]  # the stems, a normal cell, reductions


@pytest.mark.parametrize("name", ["PC_DARTS_cifar", pytest.param("RLDARTS", marks=pytest.mark.slow)])
def test_there_are_as_many_sites_as_published(name):
    assert sum(chains.sites_per_layer(SPACE, darts.NAMED[name])) == SIZES[name][-1]


def test_the_key_does_not_tell_slots_apart():
    swapped = V2.copy()
    swapped[0, 2] = swapped[0, 2, ::-1]
    assert SPACE.encode(swapped) != SPACE.encode(V2)
    assert SPACE.isomorphism_key(swapped) == SPACE.isomorphism_key(V2)
    other = V2.copy()
    other[0, 2, 0, 1] = DIL_3
    assert SPACE.isomorphism_key(other) != SPACE.isomorphism_key(V2)


def test_every_form_of_a_string_is_read():
    text = SPACE.encode(V2)
    forms = (
        text,
        text.replace("[2, 3, 4, 5]", "range(2, 6)"),
        text.replace(" ", ""),
        f" {text}\n",
        text.replace("'", '"'),
    )
    assert all((SPACE.decode(form) == V2).all() for form in forms)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("normal_concat=[2, 3, 4, 5]", "normal_concat=[3, 4, 5]", "normal_concat is [3,4,5], allowed are"),
        ("sep_conv_3x3", "sep_conv_7x7", "unknown operation 'sep_conv_7x7', known are none, max_pool_3x3"),
        ("('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ", "('sep_conv_3x3', 0), ", "normal has 7 entries, 8 are needed"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)", "normal entry 7 reads 5, node 5 can read 0 to 4"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', -2)", "normal has \"('dil_conv_3x3',-2)\", needed are pairs"),
        ("('dil_conv_3x3', 2)", "('noise', 2)", "normal entry 7 is noise on the edge 2 to 5, which offers none, max_pool"),
        ("Genotype(", "", "needed is Genotype(normal=["),
        ("Genotype(", "__import__('os').system('x')", "needed is Genotype(normal=["),
        ("'", "", "needed are pairs ('operation', input)"),
        ("0), (", "0)(", "normal has \"('sep_conv_3x3',0)('sep_conv_3x3',1)\", needed are pairs"),
        ("[(", "[" + "(" * 2000, "characters, at most 2000 are allowed"),
    ],
)  # fmt: skip
def test_a_wrong_string_is_one_clear_line(old, new, message):
    chains.check_refused(SPACE, SPACE.encode(V2).replace(old, new, 1), message)


@pytest.mark.parametrize(
    ("name", "edge"),
    [
        ("darts_s1", "normal entry 0 is sep_conv_3x3 on the edge 0 to 2, which offers skip_connect, dil_conv_3x3"),
        ("darts_s2", "normal entry 7 is dil_conv_3x3 on the edge 2 to 5, which offers skip_connect, sep_conv_3x3"),
        ("darts_s4", "normal entry 5 is skip_connect on the edge 0 to 4, which offers sep_conv_3x3, noise"),
    ],
)
def test_operations_that_an_edge_does_not_offer_are_refused(name, edge):
    chains.check_refused(search_spaces.make_space(name), SPACE.encode(V2), edge)


def test_wrong_compact_strings_and_numbers():
    chains.check_refused(SPACE, "(((0, 3)), ((0, 3)))", "normal has 1 entries")
    chains.check_refused(SPACE, "[[(0, 7)], [(0, 3)]]", "normal has the operation 7, allowed are 0 to 6")
    arch = V2.copy()
    arch[1, 3, 0, 1] = NONE
    with pytest.raises(ValueError, match="reduce entry 6 is none: the compact form has numbers for max_pool_3x3"):
        darts.to_compact(arch)
    with pytest.raises(ValueError, match="unknown DARTS space 'darts_s5': allowed are darts, darts_s1"):
        darts.space("darts_s5")


@pytest.mark.slow
def test_a_chain_scores_as_the_whole_network():
    names = ("wrcor", "naswot", "jaccor", "snip", "params")
    chains.compare(darts.space("darts_s4", channels=4, layers=1), every_operation(), names, 8)


@pytest.mark.slow
def test_a_longer_chain_scores_as_the_whole_network():
    names = ("wrcor", "naswot", "swap", "jaccor", "pnorm", "fisher", "synflow", "sam_nwot")
    chains.compare(darts.space("darts_s4", channels=4, layers=4), every_operation(), names, 16, rtol=5e-4)


def test_noise_is_drawn_anew_and_leads_nowhere_back():
    x, block = jnp.ones((2, 6, 6, 3)), Noise(2)
    draw = lambda seed, x: block.apply({}, x, rngs={"noise": jax.random.key(seed)})
    assert draw(0, x).shape == (2, 3, 3, 3) and abs(draw(0, jnp.ones((8, 32, 32, 8))).std() - 1) < 0.02
    assert (draw(0, x) == draw(0, 2 * x)).all() and not (draw(0, x) == draw(1, x)).any()
    assert not jax.grad(lambda x: draw(0, x).sum())(x).any()
    assert (block.apply({}, x) == block.apply({}, x)).all()  # without keys, as a trained network is called

import chains
from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsnas_jax.search_spaces import zennas_mobilenet
from zsnas_jax.search_spaces.zennas_mobilenet import BlockPlan, Plan, from_plan, plan_of

SPACE = zennas_mobilenet.space()
START = (
    "SuperConvK3BNRELU(3,8,2,1)SuperResIDWE6K3(8,32,2,8,1)SuperResIDWE6K3(32,48,2,32,1)"
    "SuperResIDWE6K3(48,96,2,48,1)SuperResIDWE6K3(96,128,2,96,1)SuperConvK1BNRELU(128,2048,1,1)"
)
SMALL = from_plan(Plan(8, (BlockPlan(2, 5, 2, 2, 8, 16), BlockPlan(1, 3, 1, 1, 16, 16))))


def test_the_first_network_is_the_papers():
    assert SPACE.encode(zennas_mobilenet.START) == START
    np.testing.assert_array_equal(SPACE.decode(START), zennas_mobilenet.START)
    assert SPACE.is_valid(zennas_mobilenet.START)


def test_samples_are_valid_and_strings_tell_them_apart():
    archs = chains.draw(SPACE, 500)
    assert SPACE.is_valid(archs).all() and jax.jit(SPACE.is_valid)(jnp.asarray(archs)).all()
    assert len({SPACE.encode(arch) for arch in archs}) == len(np.unique(archs, axis=0)) > 495
    for arch in archs:
        np.testing.assert_array_equal(SPACE.decode(SPACE.encode(arch)), arch)
        plan = plan_of(arch)
        assert sum(block.layers for block in plan.blocks) <= 14
        assert np.prod([block.stride for block in plan.blocks]) == 16 and max(b.layers for b in plan.blocks) <= 5
    assert {len(plan_of(arch).blocks) for arch in archs} > {4, 5}


def test_a_mutation_replaces_two_rows():
    archs = np.repeat(zennas_mobilenet.START[None], 6000, 0)
    mutants = chains.mutants(SPACE, archs)
    assert SPACE.is_valid(mutants).all()
    changed = (mutants != archs).any(-1)
    assert changed.any(1).all() and (changed.sum(1) <= 2).all() and not changed[:, 5:].any()
    shares = changed.mean(0)
    assert (shares[1:5] > 0.37).all() and (shares[1:5] < 0.43).all()
    assert 0.1 < shares[0] < 0.16  # of nine factors, six leave the stem at 8
    second = mutants[changed[:, 2], 2]
    assert set(np.unique(second[:, 4])) == {16, 24, 32, 40, 48, 64, 72, 96, 120}  # 48 times a factor, rounded
    assert set(np.unique(second[:, 0])) == {1, 2, 4, 6} and set(np.unique(second[:, 1])) == {3, 5, 7}
    assert set(np.unique(second[:, 3])) == {1, 2, 3} and (second[:, 2] == 2).all()


def test_long_blocks_are_split():
    long = from_plan(Plan(8, (BlockPlan(1, 3, 2, 5, 16, 8), BlockPlan(1, 3, 1, 5, 24, 8))))
    mutants = chains.mutants(SPACE, np.repeat(long[None], 6000, 0))[:500]
    assert SPACE.is_valid(mutants).all() and mutants[..., 3].max() == 5
    plans = [plan_of(mutant).blocks for mutant in mutants]
    assert {len(blocks) for blocks in plans} == {2, 3, 4}
    for blocks in plans:
        if len(blocks) == 4:
            assert [block.layers for block in blocks[::2]] == [3, 3] and [b.stride for b in blocks] == [2, 1, 1, 1]
            assert blocks[0][-2:] == blocks[1][-2:] and blocks[0].expansion == blocks[1].expansion


@pytest.mark.parametrize(
    "arch", [pytest.param(zennas_mobilenet.START, marks=pytest.mark.slow), SMALL], ids=["start", "small"]
)
def test_costs_are_those_of_the_network(arch):
    assert SPACE.num_params(arch, 7) == chains.params(SPACE, arch, 7)
    for size in (224, 36):
        assert SPACE.num_flops(arch, 7, size) == chains.flops(SPACE, arch, 7, size)


def test_published_flops_add_norms_and_shrink_strided_projections():
    own, published = (zennas_mobilenet.num_flops(SMALL, 7, 32, as_published=how) for how in (False, True))
    before, behind = 16**2, 8**2
    norms = (8 + 32) * before + (32 + 16) * behind + 16 * behind / 4  # the stem; 8 to 16 at stride 2, projected
    norms += 2 * (16 + 16 + 8 + 8) * behind + (32 + 32 + 16 + 16) * behind  # 16 to 8 to 16 to 8, all projected
    norms += (16 + 16 + 16 + 16) * behind + (16 + 16 + 16) * behind + 2048 * behind  # 8 to 16 to 16; the last
    assert published - own == norms - 3 / 4 * behind * 8 * 16


@pytest.mark.slow
def test_traced_costs_are_the_exact_ones():
    archs = chains.draw(SPACE, 500)[:200]
    for how in (False, True):
        flops = lambda archs: zennas_mobilenet.num_flops(archs, as_published=how)
        np.testing.assert_allclose(jax.jit(flops)(jnp.asarray(archs)), flops(archs), rtol=1e-5)
    for count in (SPACE.num_params, SPACE.num_convolutions):
        np.testing.assert_array_equal(jax.jit(count)(jnp.asarray(archs)), count(archs))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(8,32,2,8,1)", "(8,32,2,8)", "block 1 is SuperResIDWE6K3(8,32,2,8), needed is SuperResIDWE..K..(in,out"),
        ("(32,48,2,32,1)", "(40,48,2,32,1)", "block 2 is SuperResIDWE6K3(40,48,2,32,1): 32 channels enter it"),
        ("E6K3(8,", "E5K3(8,", "block 1's expansion is 5, allowed are 1, 2, 4, 6"),
        ("E6K3(8,", "E6K4(8,", "block 1's kernel is 4, allowed are 3, 5, 7"),
        ("48,2,32,1)", "48,3,32,1)", "block 2's stride is 3, allowed are 1, 2"),
        ("(48,96,2,48,1)", "(48,96,2,44,1)", "block 3's bottleneck is 44, allowed are 8 to 2048 in steps of 8"),
        ("(48,96,2,48,1)", "(48,96,2,48,0)", "block 3 has 0 sub-layers"),
        ("(48,96,2,48,1)", "(48,96,2,48,12)", "15 sub-layers, 14 are allowed"),
        ("K3BNRELU(3,8,2,1)", "K3BNRELU(3,8,1,1)", "block 0 is SuperConvK3BNRELU(3,8,1,1), needed is SuperConvK3BNRELU"),
        ("2048", "1024", "block 5 is SuperConvK1BNRELU(128,1024,1,1), needed is SuperConvK1BNRELU(in,2048,1,1)"),
        (START, "", "needed are SuperConvK3BNRELU"),
        (START, f"{START}x", "needed are SuperConvK3BNRELU"),
    ],
)  # fmt: skip
def test_bad_strings_name_what_is_wrong(old, new, message):
    chains.check_refused(SPACE, START.replace(old, new), message)


def test_sites_stand_in_their_layers():
    assert chains.sites_per_layer(SPACE, SMALL) == [1, 12, 6, *[0] * 12, 1]


@pytest.mark.parametrize("squeeze_excite", [False, True])
def test_shortcuts_are_projections_where_the_width_changes_or_a_block_begins(squeeze_excite):
    network = zennas_mobilenet.make_network(3, squeeze_excite)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(lambda image: network.init(jax.random.key(0), image, plan_of(SMALL)), image)["params"]
    flat = {"/".join(path): leaf.shape for path, leaf in flatten_dict(params).items()}
    projections = {path.split("/")[0]: shape for path, shape in flat.items() if path.endswith("shortcut/kernel")}
    assert projections == {
        "block1_0a": (1, 1, 8, 16),
        "block1_0b": (1, 1, 16, 8),
        "block1_1a": (1, 1, 8, 16),
        "block1_1b": (1, 1, 16, 8),
        "block2_0a": (1, 1, 8, 16),
    }
    assert sum(path.endswith("shortcut/bias") for path in flat) == 5
    assert ("block1_0a/excite/squeeze/kernel" in flat) == squeeze_excite


@pytest.mark.slow
def test_blocks_score_as_the_whole_network_does():
    """A stem, a residual with a projection, one without, and the end."""
    space = chains.shortened(SPACE, [0, 5, 6, -2, -1], 8)
    chains.compare(space, SMALL, ("wrcor", "snip"), 8)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("wrcor", "snip", "naswot"), ("jaccor", "fisher", "pgnorm", "swap"), ("synflow",)])
def test_all_blocks_do_so(names):
    chains.compare(SPACE, SMALL, names, 16, rtol=1e-3)


def test_blocks_are_drawn():
    drawn = SPACE.graph(SMALL)
    assert [(stage.layers, stage.pixels) for stage in drawn] == [(1, 112), (4, 56), (2, 56), (1, 56)]
    assert drawn[1].name == "block 1\nE2 K5" and drawn[1].widths == "16, 8"

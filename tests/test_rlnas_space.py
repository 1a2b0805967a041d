import chains
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax.nn.mobile import ConvNormActivate
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.search_spaces import rlnas

SPACE, PROXYLESSNAS = rlnas.space(), rlnas.proxylessnas()
FIRST = [0, 4, 8, 12, 16, 20]
SHORT = " ".join("0" if place in FIRST else "-1" for place in range(21))  # no layer but those that change shapes


@pytest.mark.parametrize(
    ("string", "params", "flops"),
    [
        (rlnas.PUBLISHED, 5_255_648, 471.521),
        (" ".join("0" * 21), 5_151_552, 460.909),
        (" ".join("5" * 21), 8_382_408, 1_036.674),
    ],
)
def test_published_sizes(string, params, flops):
    arch = SPACE.decode(string)
    assert SPACE.encode(arch) == string and SPACE.is_valid(arch)
    assert SPACE.num_params(arch, 1000) == params
    assert SPACE.num_flops(arch, 1000, 224) / 1e6 == pytest.approx(flops, abs=5e-4)


@pytest.mark.slow  # networks of full size
@pytest.mark.parametrize(
    "space", [SPACE, pytest.param(PROXYLESSNAS, marks=pytest.mark.slow)], ids=["rlnas", "proxylessnas"]
)
def test_costs_are_those_of_the_network(space):
    for string, size in ((rlnas.PUBLISHED, 224), (SHORT, 36)):
        arch = space.decode(string)
        assert space.num_params(arch, 7) == chains.params(space, arch, 7)
        assert space.num_flops(arch, 7, size) == chains.flops(space, arch, 7, size)
    archs = chains.draw(PROXYLESSNAS, 7000)[:50]
    np.testing.assert_array_equal(jax.jit(space.num_params)(jnp.asarray(archs)), space.num_params(archs))
    np.testing.assert_allclose(jax.jit(space.num_flops)(jnp.asarray(archs)), space.num_flops(archs), rtol=1e-6)
    [small, large] = [archs[0], np.where(archs[0] < 0, 0, archs[0])]
    assert space.num_convolutions(large) - space.num_convolutions(small) == 3 * (archs[0] < 0).sum()


def test_samples_stay_below_the_limit_of_flops():
    archs = chains.draw(SPACE, 200)
    assert SPACE.is_valid(archs).all() and len(np.unique(archs, axis=0)) == 200
    flops = SPACE.num_flops(archs, 1000, 224)
    assert flops.max() <= rlnas.MAX_FLOPS and flops.std() > 1e6
    for arch in archs:
        np.testing.assert_array_equal(SPACE.decode(SPACE.encode(arch)), arch)


def test_without_a_limit_samples_are_uniform():
    archs = chains.draw(PROXYLESSNAS, 7000)
    assert SPACE.is_valid(archs).all()
    for place in range(21):
        counts = np.bincount(archs[:, place] + 1, minlength=7)
        expected = 7000 / 6 if place in FIRST else 1000
        assert (np.abs(counts[place in FIRST :] - expected) < 5 * np.sqrt(expected)).all(), place


def test_a_mutation_changes_one_layer():
    archs = chains.draw(PROXYLESSNAS, 7000)
    mutants = chains.mutants(SPACE, archs)
    changed = mutants != archs
    assert (changed.sum(1) == 1).all() and SPACE.is_valid(mutants).all()
    assert (np.abs(changed.sum(0) - 7000 / 21) < 5 * np.sqrt(7000 / 21)).all()
    for place in (4, 5):
        pairs = {(int(a), int(b)) for a, b in zip(archs[:, place], mutants[:, place], strict=True) if a != b}
        count = 6 if place == 4 else 7
        assert len(pairs) == count * (count - 1)


@pytest.mark.parametrize(
    ("string", "message"),
    [
        ("0 0 0", "3 integers, 21 are needed"),
        (SHORT.replace("-1", "6", 1), "'6' at layer 1, allowed are -1, 0, 1, 2, 3, 4, 5"),
        (f"-1{SHORT[1:]}", "layer 0 is -1, an identity, but its shape changes: allowed there are 0 to 5"),
        (f"{SHORT[:-1]}-1", "layer 20 is -1"),
        (SHORT.replace("-1", "x", 1), "'x' at layer 1"),
    ],
)
def test_bad_strings_name_what_is_wrong(string, message):
    chains.check_refused(SPACE, string, message)


@pytest.mark.parametrize("size", [pytest.param(224, marks=pytest.mark.slow), 32])
def test_sites_stand_in_their_layers(size):
    arch = SPACE.decode(rlnas.PUBLISHED)
    sites = chains.sites_per_layer(SPACE, arch, 10, size)
    assert sites == [1, 1, *np.where(arch < 0, 0, 2), 1] and sum(sites) == 43


def test_a_relu_is_cut_at_six_and_no_other_activation_is():
    image = 50 * tiny.batch().image
    largest = {}
    for activation in ("relu", "gelu"):
        block = ConvNormActivate(3, ceiling=6.0, options=LayerOptions("identity", activation=activation))
        largest[activation] = float(block.init_with_output(jax.random.key(0), image)[0].max())
    assert largest["relu"] == 6 and largest["gelu"] > 6


@pytest.mark.slow
def test_a_network_is_six_stages_of_inverted_residuals():
    """Against the layers in the words of the paper, of Flax's own."""
    arch = [2 if place in (1, *FIRST) else -1 for place in range(21)]
    network, image = SPACE.make_network(3), tiny.batch(2, 32).image
    variables = jax.jit(network.init, static_argnums=2)(jax.random.key(0), image, tuple(arch))

    def conv(x, own, stride=1):
        kernel = own["kernel"]
        pad, depthwise = len(kernel) // 2, kernel.shape[2] == 1
        axes, groups = ("NHWC", "HWIO", "NHWC"), x.shape[-1] if depthwise else 1
        pads = [(pad, pad)] * 2
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, dimension_numbers=axes, feature_group_count=groups
        )

    def norm(x):
        return (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-5)

    @jax.jit
    def run(p, x):
        x = nn.relu6(norm(conv(x, p["stem"]["conv"], 2)))
        x = norm(conv(nn.relu6(norm(conv(x, p["first"]["depthwise"]))), p["first"]["project"]))
        for place, choice in enumerate(arch):
            if choice < 0:
                continue
            own, stride = p[f"layer{place}"], 2 if place in (0, 4, 8, 16) else 1
            y = nn.relu6(norm(conv(x, own["expand"])))
            y = nn.relu6(norm(conv(y, own["depthwise"], stride)))
            y = norm(conv(y, own["project"]))
            x = x + y if place not in FIRST else y
        x = nn.relu6(norm(conv(x, p["last"]["conv"])))
        return x.mean((1, 2)) @ p["head"]["dense"]["kernel"]

    found = jax.jit(network.apply, static_argnums=2)(variables, image, tuple(arch))
    np.testing.assert_allclose(found, run(variables["params"], image), rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_blocks_score_as_the_whole_network_does():
    space = chains.shortened(SPACE, [0, 1, 2, 3, -2, -1], 8)
    chains.compare(space, SPACE.decode(SHORT.replace("-1", "0", 1)), ("wrcor", "snip"), 8)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("wrcor", "snip", "naswot"), ("jaccor", "fisher", "pgnorm", "swap"), ("synflow",)])
def test_all_blocks_do_so(names):
    chains.compare(SPACE, SPACE.decode(SHORT), names, 32, rtol=1e-3)


def test_what_is_not_there_is_not_drawn():
    drawn = SPACE.graph(SPACE.decode(SHORT))
    assert [stage.pixels for stage in drawn] == [112, 112, 56, 28, 14, 14, 7, 7, 7]
    assert drawn[2].name == "layer 0\nE3 K3" and drawn[2].widths == "72 to 32"

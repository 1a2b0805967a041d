import functools
import itertools

import chains
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax.search_spaces import accel_nasbench

SPACE = accel_nasbench.space()
B0 = accel_nasbench.EFFICIENTNET_B0
SMALL = "1:3:1:1|4:5:1:0|1:3:2:1|1:3:1:0|1:3:1:0|1:3:1:0|4:3:1:1"


@functools.cache
def table():
    """(genotypes, macs, parameters) of the published table."""
    rows = chains.rows("accel_nasbench_5138")
    number = lambda word: {"False": 0, "True": 1}[word] if word.isalpha() else int(word)
    fields = [[f"block{stage}_{field}" for field in ("e", "k", "l", "se")] for stage in range(7)]
    values = [[[number(row[name]) for name in stage] for stage in fields] for row in rows]
    column = lambda name: [float(row[name]) for row in rows]
    return accel_nasbench.from_values(values), column("macs"), column("params")


def test_everything_equals_the_published_table():
    archs, macs, params = table()
    assert archs.shape == (5138, 7, 4)
    np.testing.assert_array_equal(SPACE.num_params(archs) / 1e6, params)
    np.testing.assert_array_equal(accel_nasbench.num_flops(archs, as_published=True) / 1e6, macs)
    for arch in archs:
        np.testing.assert_array_equal(SPACE.decode(SPACE.encode(arch)), arch)


def test_efficientnet_b0_has_its_published_sizes():
    arch = SPACE.decode(B0)
    assert SPACE.encode(arch) == B0
    assert SPACE.num_params(arch, 1000) == 5_288_548
    assert SPACE.num_flops(arch, 1000, 224) / 1e6 == pytest.approx(385.815, abs=5e-4)
    assert SPACE.num_convolutions(arch) == 2 + 2 + 15 * 3


@pytest.mark.slow  # another space's hold the same code
def test_costs_are_those_of_the_network():
    for string, size in ((B0, 224), (SMALL, 36)):
        arch = SPACE.decode(string)
        assert SPACE.num_params(arch, 7) == chains.params(SPACE, arch, 7)
        assert SPACE.num_flops(arch, 7, size) == chains.flops(SPACE, arch, 7, size)
    archs = chains.draw(SPACE, 12000)[:1000]
    np.testing.assert_array_equal(jax.jit(SPACE.num_params)(jnp.asarray(archs)), SPACE.num_params(archs))
    np.testing.assert_allclose(jax.jit(SPACE.num_flops)(jnp.asarray(archs)), SPACE.num_flops(archs), rtol=1e-6)
    np.testing.assert_array_equal(jax.jit(SPACE.num_convolutions)(jnp.asarray(archs)), SPACE.num_convolutions(archs))


def test_samples_and_mutations_are_uniform():
    archs = chains.draw(SPACE, 12000)
    for stage, field in np.ndindex(7, 4):
        count = accel_nasbench.NUM_CHOICES[stage, field]
        counts = np.bincount(archs[:, stage, field], minlength=count)
        assert len(counts) == count and (np.abs(counts - 12000 / count) < 5 * np.sqrt(12000 / count)).all()
    assert accel_nasbench.NUM_CHOICES.prod(dtype=np.int64) == 3**7 * 2**7 * 3**6 * 4 * 2**7
    mutants = chains.mutants(SPACE, archs)
    changed = mutants != archs
    assert (changed.sum((1, 2)) == 1).all() and ((mutants >= 0) & (mutants < accel_nasbench.NUM_CHOICES)).all()
    assert (np.abs(changed.sum(0) - 12000 / 28) < 5 * np.sqrt(12000 / 28)).all()
    for arch in archs[:1000]:
        np.testing.assert_array_equal(SPACE.decode(SPACE.encode(arch)), arch)


@pytest.mark.parametrize(
    ("string", "message"),
    [
        (B0[:-8], "6 stages joined by '|', 7 are needed"),
        (B0.replace("6:3:2:1", "6:3:2"), "stage 1 is '6:3:2', needed is e:k:l:se"),
        (B0.replace("1:3:1:1", "5:3:1:1", 1), "e of stage 0 is '5', allowed are 1, 4, 6"),
        (B0.replace("6:3:3:1", "6:7:3:1"), "k of stage 3 is '7', allowed are 3, 5"),
        (B0.replace("6:5:3:1", "6:5:4:1"), "l of stage 4 is '4', allowed are 1, 2, 3"),
        (B0.replace("6:5:4:1", "6:5:5:1"), "l of stage 5 is '5', allowed are 1, 2, 3, 4"),
        (B0.replace("6:3:2:1", "6:3:2:2"), "se of stage 1 is '2', allowed are 0, 1"),
        ("", "1 stages"),
    ],
)
def test_bad_strings_name_what_is_wrong(string, message):
    chains.check_refused(SPACE, string, message)


@pytest.mark.parametrize("size", [224, 32])
def test_sites_stand_in_their_layers(size):
    """Of two or three in a layer, squeeze-excite's is one; a layer that is not there uses up its slot."""
    expected = [[1], [2, 0, 0], [2, 0, 0], [2, 2, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0, 0], [3, 0, 0], [1]]
    assert chains.sites_per_layer(SPACE, SPACE.decode(SMALL), 10, size) == [*itertools.chain(*expected)]


@pytest.mark.slow
def test_a_network_is_seven_stages_of_inverted_residuals():
    """Against the layers in the words of the paper."""
    network, image = SPACE.make_network(3), tiny.batch(4, 32).image
    plan = SPACE.static(SPACE.decode(SMALL))
    variables = jax.jit(network.init, static_argnums=2)(jax.random.key(0), image, plan)
    biased = lambda path, leaf: leaf + (0.5 if path[-1].key == "bias" else 0.0)  # where biases stand, they are seen
    params = jax.tree_util.tree_map_with_path(biased, variables["params"])

    def conv(x, own, stride=1):
        kernel = own["kernel"]
        pads, depthwise = [(len(kernel) // 2,) * 2] * 2, kernel.shape[2] == 1
        axes, groups = ("NHWC", "HWIO", "NHWC"), x.shape[-1] if depthwise else 1
        y = jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, dimension_numbers=axes, feature_group_count=groups
        )
        return y + own.get("bias", 0.0)

    def norm(x, own):
        return (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-5) * own["scale"] + own["bias"]

    @jax.jit
    def run(p, x):
        x = nn.relu(norm(conv(x, p["stem"]["conv"], 2), p["stem"]["norm"]))
        for place, (stage, stride) in enumerate(zip(plan, (1, 2, 2, 2, 1, 2, 1), strict=True)):
            for slot in range(stage.layers):
                own, y = p[f"stage{place}_{slot}"], x
                if stage.expansion > 1:
                    y = nn.relu(norm(conv(y, own["expand"]), own["expand_norm"]))
                y = nn.relu(norm(conv(y, own["depthwise"], 1 if slot else stride), own["depthwise_norm"]))
                if stage.squeeze_excite:
                    squeezed = nn.relu(conv(y.mean((1, 2), keepdims=True), own["squeeze"]))
                    y *= nn.relu6(conv(squeezed, own["excite"]) + 3) / 6
                    assert squeezed.shape[-1] == x.shape[-1] // 4
                y = norm(conv(y, own["project"]), own["project_norm"])
                x = x + y if slot else y
        x = nn.relu(norm(conv(x, p["last"]["conv"]), p["last"]["norm"]))
        return x.mean((1, 2)) @ p["head"]["dense"]["kernel"] + p["head"]["dense"]["bias"]

    found = jax.jit(network.apply, static_argnums=2)({"params": params}, image, plan)
    np.testing.assert_allclose(found, run(params, image), rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_blocks_score_as_the_whole_network_does():
    """The stem, two layers with squeeze-excite, the second of which adds its input, and the end."""
    space = chains.shortened(SPACE, [0, 1, 2, -2, -1], 8)
    chains.compare(space, SPACE.decode(SMALL.replace("1:3:1:1", "1:3:2:1", 1)), ("wrcor", "snip"), 8)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("wrcor", "snip", "naswot"), ("jaccor", "fisher", "pgnorm", "swap"), ("synflow",)])
def test_all_blocks_do_so(names):
    chains.compare(SPACE, SPACE.decode(SMALL), names, 32, rtol=1e-3)


def test_stages_are_drawn():
    drawn = SPACE.graph(SPACE.decode(SMALL))
    assert [stage.pixels for stage in drawn] == [112, 112, 56, 28, 14, 14, 7, 7, 7]
    assert drawn[1].name == "stage 0\nE1 K3 SE" and drawn[2].name == "stage 1\nE4 K5" and drawn[3].layers == 2

import chains
import jax
import numpy as np
import pytest

from zsnas_jax.search_spaces import nasbench_macro

SPACE = nasbench_macro.space()
ALL = SPACE.from_index(np.arange(nasbench_macro.NUM_ARCHS))


def test_indices_and_strings_round_trip_over_the_whole_space():
    np.testing.assert_array_equal(SPACE.to_index(ALL), np.arange(6561))
    np.testing.assert_array_equal(jax.jit(SPACE.from_index)(jax.numpy.arange(6561)), ALL)
    np.testing.assert_array_equal(jax.jit(SPACE.to_index)(jax.numpy.asarray(ALL)), np.arange(6561))
    strings = [SPACE.encode(arch) for arch in ALL]
    assert strings == sorted(set(strings))
    np.testing.assert_array_equal([SPACE.decode(string) for string in strings], ALL)


def test_everything_equals_the_published_table():
    rows = chains.rows("nasbench_macro_6561")
    archs = np.array([SPACE.decode(row["arch"]) for row in rows])
    assert sorted(SPACE.to_index(archs)) == list(range(6561))
    params, flops = SPACE.num_params(archs), SPACE.num_flops(archs)
    np.testing.assert_array_equal(params, [int(row["params"]) for row in rows])
    np.testing.assert_array_equal(flops, [int(row["flops"]) for row in rows])
    assert (params.min(), params.max()) == (387_882, 2_932_586)
    assert (flops.min(), flops.max()) == (7_713_280, 105_660_928)


def test_strings_of_one_network_share_their_row():
    rows = {row["arch"]: row for row in chains.rows("nasbench_macro_6561")}
    for string, row in rows.items():
        first = SPACE.isomorphism_key(SPACE.decode(string))
        assert {**row, "arch": first} == rows[first], string


def test_pruning_leaves_3969_networks():
    pruned = np.array([SPACE.prune(arch) for arch in ALL])
    assert len(np.unique(pruned, axis=0)) == len({SPACE.isomorphism_key(arch) for arch in ALL}) == 3969
    np.testing.assert_array_equal([SPACE.prune(arch) for arch in pruned], pruned)
    for count in (SPACE.num_params, SPACE.num_flops, SPACE.num_convolutions):
        np.testing.assert_array_equal(count(pruned), count(ALL))


def test_costs_are_those_of_the_network():
    for count in (SPACE.num_params, SPACE.num_flops, SPACE.num_convolutions):
        np.testing.assert_array_equal(jax.jit(count)(jax.numpy.asarray(ALL)), count(ALL))
    for string in ("00000000", "12010221"):
        arch = SPACE.decode(string)
        assert SPACE.num_params(arch, 7) == chains.params(SPACE, arch, 7)
        assert SPACE.num_flops(arch, 7, 20) == chains.flops(SPACE, arch, 7, 20)
    assert [SPACE.num_convolutions(SPACE.decode(string)) for string in ("00000000", "22222222")] == [5, 26]


def test_samples_and_mutations_are_uniform():
    archs = chains.draw(SPACE, 6000)
    counts = np.stack([np.bincount(archs[:, place], minlength=3) for place in range(8)])
    assert counts.shape == (8, 3) and (np.abs(counts - 2000) < 5 * np.sqrt(1333)).all()
    changed = (mutants := chains.mutants(SPACE, archs)) != archs
    assert (changed.sum(1) == 1).all() and mutants.min() == 0 and mutants.max() == 2
    assert (np.abs(changed.sum(0) - 750) < 5 * np.sqrt(656)).all()


@pytest.mark.parametrize(
    ("string", "message"),
    [
        ("0120120", "7 characters, 8 digits are needed"),
        ("01201203", "'3' at place 7, allowed are 0, 1, 2"),
        ("", "0 characters"),
    ],
)
def test_bad_strings_name_what_is_wrong(string, message):
    chains.check_refused(SPACE, string, message)


@pytest.mark.parametrize("index", [-1, 6561])
def test_indices_out_of_range_are_refused(index):
    with pytest.raises(ValueError, match=f"index {index} is out of range: allowed are 0 to 6560"):
        SPACE.from_index(index)


@pytest.mark.parametrize(
    ("string", "sites"), [("12010221", [1, 2, 2, 0, 2, 0, 2, 2, 2, 1]), ("00000000", [1, *[0] * 8, 1])]
)
def test_sites_stand_in_their_layers(string, sites):
    assert chains.sites_per_layer(SPACE, SPACE.decode(string)) == sites


@pytest.mark.slow  # golden values tell the same of the blocks alone
@pytest.mark.parametrize("names", [("wrcor", "naswot", "jaccor", "snip"), ("synflow", "fisher", "pgnorm", "swap")])
def test_blocks_score_as_the_whole_network_does(names):
    chains.compare(SPACE, SPACE.decode("01000010"), names, 8)


def test_what_is_not_there_is_not_drawn():
    drawn = SPACE.graph(SPACE.decode("01000010"))
    assert [stage.name for stage in drawn] == [
        *["stem", "layer 0\nidentity", "layer 1\nE3 K3", "layer 2\nidentity", "layer 5\nidentity"],
        *["layer 6\nE3 K3", "last"],
    ]

import chains
import jax
import numpy as np
import pytest

from zsnas_jax.search_spaces import nats_size

SPACE = nats_size.space()
ALL = SPACE.from_index(np.arange(nats_size.NUM_ARCHS))
CLASSES = {"c10": 10, "c100": 100, "in16": 120}


def test_indices_and_strings_round_trip_over_the_whole_space():
    np.testing.assert_array_equal(SPACE.to_index(ALL), np.arange(32768))
    np.testing.assert_array_equal(jax.jit(SPACE.from_index)(jax.numpy.arange(32768)), ALL)
    np.testing.assert_array_equal(jax.jit(SPACE.to_index)(jax.numpy.asarray(ALL)), np.arange(32768))
    strings = [SPACE.encode(arch) for arch in ALL]
    assert len(set(strings)) == 32768 and strings[32698] == "64:64:56:64:24"
    np.testing.assert_array_equal([SPACE.decode(string) for string in strings], ALL)


def test_everything_equals_the_published_table():
    rows = chains.rows("nats_sss_32768")
    index = np.array([int(row["index"]) for row in rows])
    np.testing.assert_array_equal(np.sort(index), np.arange(32768))
    widths = np.array([[int(row[f"c{place}"]) for place in range(5)] for row in rows])
    np.testing.assert_array_equal(8 * (ALL[index] + 1), widths)
    for name, classes in CLASSES.items():
        published = [int(float(row[f"{name}_params"])) for row in rows]
        np.testing.assert_array_equal(SPACE.num_params(ALL[index], classes), published)


def test_costs_are_those_of_the_network():
    flops = SPACE.num_flops(ALL, 10, 32)
    assert flops.min() / 1e6 == pytest.approx(4.481, abs=5e-4) and flops.max() / 1e6 == pytest.approx(274.4, abs=5e-4)
    np.testing.assert_array_equal(jax.jit(SPACE.num_flops)(jax.numpy.asarray(ALL)), flops)
    np.testing.assert_array_equal(jax.jit(SPACE.num_params)(jax.numpy.asarray(ALL)), SPACE.num_params(ALL))
    for string in ("8:8:8:8:8", "64:8:24:24:48"):
        arch = SPACE.decode(string)
        assert SPACE.num_params(arch, 7) == chains.params(SPACE, arch, 7)
        assert SPACE.num_flops(arch, 7, 16) == chains.flops(SPACE, arch, 7, 16)


def test_samples_and_mutations_are_uniform():
    archs = chains.draw(SPACE, 8000)
    counts = np.stack([np.bincount(archs[:, place], minlength=8) for place in range(5)])
    assert counts.shape == (5, 8) and (np.abs(counts - 1000) < 5 * np.sqrt(875)).all()
    changed = (mutants := chains.mutants(SPACE, archs)) != archs
    assert (changed.sum(1) == 1).all() and mutants.min() == 0 and mutants.max() == 7
    assert (np.abs(changed.sum(0) - 1600) < 5 * np.sqrt(1280)).all()
    assert (np.abs(np.bincount((mutants - archs)[changed] % 8, minlength=8)[1:] - 8000 / 7) < 5 * np.sqrt(980)).all()


@pytest.mark.parametrize(
    ("string", "message"),
    [
        ("8:8:8:8", "4 widths joined by ':', 5 are needed"),
        ("8:8:12:8:8", "width '12' at place 2, allowed are 8, 16, 24"),
        ("8:8:8:8:", "width '' at place 4"),
        ("", "1 widths"),
    ],
)
def test_bad_strings_name_what_is_wrong(string, message):
    chains.check_refused(SPACE, string, message)


@pytest.mark.parametrize("index", [-1, 32768])
def test_indices_out_of_range_are_refused(index):
    with pytest.raises(ValueError, match=f"index {index} is out of range: allowed are 0 to 32767"):
        SPACE.from_index(index)


def test_sites_stand_in_their_layers():
    for string in ("8:8:8:8:8", "64:8:24:24:48"):
        assert chains.sites_per_layer(SPACE, SPACE.decode(string)) == [5, 2, 5, 2, 5, 1]


@pytest.mark.slow  # golden values tell the same of the blocks alone
@pytest.mark.parametrize("names", [("wrcor", "naswot", "jaccor", "snip"), ("synflow", "fisher", "pgnorm", "swap")])
def test_blocks_score_as_the_whole_network_does(names):
    chains.compare(SPACE, SPACE.decode("8:8:8:8:16"), names, 8)


def test_a_network_is_drawn_layer_by_layer():
    drawn = SPACE.graph(SPACE.decode("64:8:24:24:48"))
    assert [(stage.pixels, stage.widths) for stage in drawn] == [
        *[(32, "64"), (32, "64 to 64"), (16, "64 to 8"), (16, "8 to 24"), (8, "24 to 24"), (8, "24 to 48")]
    ]

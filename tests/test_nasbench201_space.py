import csv
import gzip

from golden import shared_file
from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from zsnas_jax import search_spaces
from zsnas_jax.base import fingerprint
from zsnas_jax.search_spaces import nasbench201

SPACE = nasbench201.space()
genotypes = st.lists(st.integers(0, 4), min_size=6, max_size=6).map(lambda genes: np.array(genes, np.int32))


@settings(deadline=None)
@given(genotypes)
def test_strings_and_indices_round_trip(arch):
    np.testing.assert_array_equal(SPACE.decode(SPACE.encode(arch)), arch)
    np.testing.assert_array_equal(SPACE.from_index(SPACE.to_index(arch)), arch)


def test_published_order_round_trips_over_the_whole_space():
    archs = SPACE.from_index(np.arange(15625))
    np.testing.assert_array_equal(SPACE.to_index(archs), np.arange(15625))
    np.testing.assert_array_equal(jax.jit(SPACE.to_index)(jax.numpy.asarray(archs)), np.arange(15625))
    assert len({SPACE.isomorphism_key(arch) for arch in archs}) == 6466


def test_known_cells():
    first = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    assert SPACE.encode(SPACE.from_index(0)) == first
    assert SPACE.num_params(SPACE.decode(first), 10) == 129306
    assert SPACE.num_flops(SPACE.decode(first), 10, 32) == 15647360
    np.testing.assert_array_equal(SPACE.from_index(4317), [2] * 6)  # all 1x1 convolutions


def test_everything_equals_the_published_table():
    with gzip.open(shared_file("data/nasbench201.csv.gz"), "rt") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15625
    for row, arch in zip(rows, SPACE.from_index(np.arange(15625)), strict=True):
        assert SPACE.encode(arch) == row["arch"]
        assert SPACE.isomorphism_key(arch) == row["isomorphism_key"]
        for dataset, classes in (("cifar10", 10), ("cifar100", 100), ("imagenet16_120", 120)):
            assert SPACE.num_params(arch, classes) == int(row[f"{dataset}_params"])


def test_parameters_are_those_of_the_network():
    arch = (3, 2, 0, 4, 1, 2)
    shapes = jax.eval_shape(
        lambda: SPACE.make_network(num_classes=7).init(jax.random.key(0), np.zeros((1, 32, 32, 3)), arch)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == SPACE.num_params(arch, 7)


def test_sampling_is_uniform():
    archs = jax.vmap(SPACE.sample)(jax.random.split(jax.random.key(0), 20000))
    counts = np.stack([np.bincount(np.asarray(archs[:, edge]), minlength=5) for edge in range(6)])
    assert (np.abs(counts - 4000) < 5 * np.sqrt(4000 * 0.8)).all()


def test_mutation_changes_one_edge_uniformly():
    arch = np.array([0, 1, 2, 3, 4, 0], np.int32)
    mutants = np.asarray(
        jax.vmap(SPACE.mutate, (0, None))(jax.random.split(jax.random.key(1), 24000), jax.numpy.asarray(arch))
    )
    changed = mutants != arch
    assert (changed.sum(axis=1) == 1).all()
    pairs = {(edge, op): 0 for edge in range(6) for op in range(5) if op != arch[edge]}
    for mutant, edge in zip(mutants, changed.argmax(axis=1), strict=True):
        pairs[int(edge), int(mutant[edge])] += 1
    assert len(pairs) == 24 and all(abs(count - 1000) < 160 for count in pairs.values())


def test_fingerprints_of_the_space_are_distinct_and_traceable():
    codes = jax.jit(jax.vmap(fingerprint))(SPACE.from_index(np.arange(15625)))
    assert len(np.unique(codes)) == 15625
    assert fingerprint(SPACE.from_index(77)) == codes[77]


@pytest.mark.parametrize(
    ("string", "message"),
    [
        ("|none~0|+|none~0|none~1|", "2 nodes joined by '\\+', 3 are needed"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "node 2 has 1 edges, 2 are needed"),
        (
            "|none~0|+|none~0|none~1|+|none~0|none~1|conv~2|",
            "token 'conv~2', needed is OP~2 with OP of none, skip_connect",
        ),
        ("|none~0|+|none~0|none~2|+|none~0|none~1|none~2|", "token 'none~2', needed is OP~1"),
        ("", "1 nodes"),
    ],
)
def test_bad_strings_name_what_is_wrong(string, message):
    with pytest.raises(ValueError, match=message):
        SPACE.decode(string)


@pytest.mark.parametrize("index", [-1, 15625])
def test_indices_out_of_range_are_refused(index):
    with pytest.raises(ValueError, match=f"index {index} is out of range: allowed are 0 to 15624"):
        SPACE.from_index(index)


def test_unknown_spaces_are_refused():
    with pytest.raises(ValueError, match="unknown space 'nb301': allowed are nasbench201"):
        search_spaces.make_space("nb301")


def test_pruning_leaves_9445_cells_that_isomorphism_puts_into_6285_classes():
    archs = SPACE.from_index(np.arange(15625))
    pruned = np.array([SPACE.prune(arch) for arch in archs])
    assert ((pruned == archs) | (pruned == 0)).all()
    fixed = (pruned == archs).all(1)
    assert fixed.sum() == 9445 and fixed[SPACE.to_index(pruned)].all()
    assert len({SPACE.isomorphism_key(arch) for arch in pruned}) == 6285


def test_the_pruned_cells_are_those_that_nas_bench_suite_zero_scored():
    with gzip.open(shared_file("data/nasbench201_suite_zero_cifar10.csv.gz"), "rt") as file:
        theirs = {int(row["index"]) for row in csv.DictReader(file)}
    ours = {i for i in range(15625) if (SPACE.prune(SPACE.from_index(i)) == SPACE.from_index(i)).all()}
    assert theirs == ours

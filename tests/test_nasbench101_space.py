import csv
import functools
import gzip
import itertools

from golden import shared_file
from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsnas_jax.search_spaces import nasbench101
from zsnas_jax.search_spaces.nasbench101 import cells as nasbench101_cells
from zsnas_jax.search_spaces.nasbench101.cells import EDGES, NUM_ARCHS

SPACE = nasbench101.space()
ROWS = np.linspace(0, NUM_ARCHS - 1, 5000).astype(np.int32)
genotypes = st.tuples(
    st.lists(st.sampled_from([0, 0, 1]), min_size=21, max_size=21), st.lists(st.integers(0, 2), min_size=5, max_size=5)
).map(lambda parts: np.array(parts[0] + parts[1], np.int32))
valid = genotypes.filter(nasbench101.is_valid)
mutate_often = jax.jit(jax.vmap(SPACE.mutate, (0, None)))


@functools.cache
def drawn(count=5000):
    """Genotypes with dead parts: what five mutations make of the rows."""
    archs = jnp.asarray(SPACE.from_index(ROWS[:count]))
    step = jax.jit(jax.vmap(SPACE.mutate))
    for number in range(5):
        archs = step(jax.random.split(jax.random.key(number), count), archs)
    return np.asarray(archs)


def graph(arch):
    """The living edges and operations of a genotype, found by walking: the plain way."""
    edges = [edge for edge, gene in zip(EDGES, arch[:21], strict=True) if gene]
    fed, read = {0}, {6}
    for _ in range(7):
        fed |= {y for x, y in edges if x in fed}
        read |= {x for x, y in edges if y in read}
    slots = fed & read
    return [(x, y) for x, y in edges if {x, y} <= slots], sorted(slots), [0, *arch[21:], 0]


def official_widths(arch, channels):
    """`compute_vertex_channels` of the published code, on the pruned matrix."""
    edges, slots, _ = graph(arch)
    feeding = [v for v in slots if (v, 6) in edges and v]
    widths = dict.fromkeys(range(1, 6), 0)
    for place, v in enumerate(feeding):
        widths[v] = channels // len(feeding) + (place < channels % len(feeding))
    for v in reversed([v for v in slots if 0 < v < 6 and v not in feeding]):
        widths[v] = max(widths[y] for x, y in edges if x == v)
    return [widths[v] for v in range(1, 6)]


def official_weights(arch, channels_in, channels):
    """Weights of the convolutions of a cell as the published code builds it, and the channels that they give out."""
    edges, slots, ops = graph(arch)
    widths = [0, *official_widths(arch, channels), channels]
    shapes = [(1, channels_in, widths[y]) for x, y in edges if x == 0]
    shapes += [((9, 1)[ops[v]], widths[v], widths[v]) for v in slots if 0 < v < 6 and ops[v] < 2]
    return sum(k * a * b for k, a, b in shapes), sum(b for _, _, b in shapes), len(shapes)


def relabel(arch, order):
    """The genotype with its interior slots in another order; None if an edge then leads back."""
    place, genes = [0, *order, 6], np.zeros(26, np.int32)
    for (x, y), gene in zip(EDGES, arch[:21], strict=True):
        if gene and place[x] > place[y]:
            return None
        if gene:
            genes[nasbench101_cells.edge_position(place[x], place[y])] = 1
    for v in range(5):
        genes[20 + order[v]] = arch[21 + v]
    return genes


def test_indices_and_strings_round_trip():
    archs = SPACE.from_index(ROWS)
    assert archs.dtype == np.int32 and SPACE.is_valid(archs).all()
    np.testing.assert_array_equal(SPACE.to_index(archs), ROWS)
    np.testing.assert_array_equal(jax.jit(SPACE.to_index)(jnp.asarray(archs)), ROWS)
    np.testing.assert_array_equal(jax.jit(SPACE.from_index)(jnp.asarray(ROWS)), archs)
    np.testing.assert_array_equal([SPACE.decode(SPACE.encode(arch)) for arch in archs], archs)


@settings(deadline=None)
@given(valid)
def test_strings_of_any_valid_genotype_round_trip(arch):
    np.testing.assert_array_equal(SPACE.decode(SPACE.encode(arch)), arch)


@settings(deadline=None)
@given(genotypes)
def test_validity_and_pruning_equal_a_walk(arch):
    edges, slots, ops = graph(arch)
    assert SPACE.is_valid(arch) == (len(slots) > 0 and len(edges) <= 9)
    interior = [v for v in slots if 0 < v < 6]
    place = {0: 0, 6: 6, **{v: i for i, v in enumerate(interior, start=1)}}
    moved = np.zeros(26, np.int32)
    moved[[nasbench101_cells.edge_position(place[x], place[y]) for x, y in edges]] = 1
    moved[21 : 21 + len(interior)] = [ops[v] for v in interior]
    np.testing.assert_array_equal(SPACE.prune(arch), moved)
    np.testing.assert_array_equal(SPACE.prune(moved), moved)


@settings(deadline=None, max_examples=30)
@given(valid, st.permutations(range(1, 6)))
def test_isomorphic_cells_have_one_row(arch, order):
    index = SPACE.to_index(arch)
    assert 0 <= index < NUM_ARCHS
    row = SPACE.from_index(index)
    assert SPACE.isomorphism_key(row) == SPACE.isomorphism_key(arch) == SPACE.isomorphism_key(SPACE.prune(arch))
    other = relabel(arch, order)
    if other is not None:
        assert SPACE.to_index(other) == index and SPACE.isomorphism_key(other) == SPACE.isomorphism_key(arch)


@pytest.mark.slow
def test_traced_functions_equal_numpy():
    archs = drawn()
    archs = np.concatenate([archs, 1 - archs[:50] % 2])  # and some that are not valid
    functions = (SPACE.to_index, SPACE.is_valid, SPACE.prune, SPACE.num_params, SPACE.num_convolutions)
    functions += (SPACE.variant_of, lambda arch: nasbench101_cells.vertex_widths(arch, 128))
    together = jax.jit(jax.vmap(lambda arch: [function(arch) for function in functions]))(jnp.asarray(archs))
    for function, traced in zip(functions, together, strict=True):
        np.testing.assert_array_equal(traced, function(archs))
    assert not SPACE.is_valid(archs).all() and (np.asarray(together[0] < 0) == ~SPACE.is_valid(archs)).all()
    flops = jax.jit(lambda arch: SPACE.num_flops(arch, 10, 32))(jnp.asarray(archs))
    np.testing.assert_allclose(flops, SPACE.num_flops(archs, 10, 32), rtol=1e-6)
    np.testing.assert_array_equal(jax.jit(SPACE.to_index)(jnp.asarray(archs[7])), SPACE.to_index(archs[7]))


def test_sizes_equal_those_of_the_published_code():
    for arch in np.concatenate([drawn()[:60], SPACE.from_index(ROWS[::100])]):
        for channels in (128, 7):
            np.testing.assert_array_equal(
                nasbench101_cells.vertex_widths(arch, channels), official_widths(arch, channels)
            )
        params, flops = 27 * 128 + 2 * 128 + 513 * 7, 27 * 128 * 32**2 + 512 * 7
        for cell in range(9):
            channels = 128 << cell // 3
            weights, given_out, count = official_weights(arch, channels // (2 if cell in (3, 6) else 1), channels)
            params += weights + 2 * given_out
            flops += weights * (32 >> cell // 3) ** 2
        assert SPACE.num_params(arch, 7) == params and SPACE.num_flops(arch, 7, 32) == flops
        assert SPACE.num_convolutions(arch) == 1 + 9 * count
        assert SPACE.variant_of(arch) == sum((v, 6) in graph(arch)[0] for v in range(1, 6))


def test_published_arrays_are_reproduced():
    with np.load(shared_file("data/nasbench101.npz")) as arrays:
        vertices, bits, labels, params = (arrays[n] for n in ("num_vertices", "edge_bits", "label_code", "params"))
    assert len(params) == SPACE.num_archs == NUM_ARCHS
    archs = SPACE.from_index(np.arange(NUM_ARCHS))
    np.testing.assert_array_equal(SPACE.num_params(archs, 10), params)
    for row in ROWS[::5]:
        size = int(vertices[row])
        slots = [*range(size - 1), 6]
        for x, y in itertools.combinations(range(size), 2):
            gene = nasbench101_cells.edge_position(slots[x], slots[y])
            assert archs[row, gene] == (int(bits[row]) >> (x + y * (y - 1) // 2)) & 1
        ops = [labels[row] // 3 ** (size - 3 - i) % 3 for i in range(size - 2)]
        np.testing.assert_array_equal(archs[row, 21:], ops + [0] * (7 - size))


def test_published_hashes_and_strings_are_reproduced():
    with gzip.open(shared_file("data/nasbench101_valid_30001.csv.gz"), "rt") as file:
        rows = list(itertools.islice(csv.DictReader(file), 0, None, 100))
    for row in rows:
        arch = SPACE.from_index(int(row["index"]))
        assert SPACE.encode(arch) == f"{row['adjacency']}:{row['ops']}"
        assert SPACE.isomorphism_key(arch) == row["hash"]
        np.testing.assert_array_equal(SPACE.decode(row["hash"]), arch)


def test_rows_are_in_the_order_of_their_hashes():
    hashes = [SPACE.isomorphism_key(arch) for arch in SPACE.from_index(ROWS)]
    assert hashes == sorted(set(hashes))
    assert hashes[0] == "00005c142e6f48ac74fdcf73e3439874"


@pytest.mark.slow
def test_the_whole_space_is_enumerated_in_its_order_with_unique_hashes(tmp_path):
    nasbench101_cells.write_table(tmp_path / "cells.npz")  # raises where two cells share a hash
    with np.load(tmp_path / "cells.npz") as made, np.load(nasbench101_cells._FILE) as shipped:
        assert set(made.files) == set(shipped.files)
        for name in made.files:
            np.testing.assert_array_equal(made[name], shipped[name])


@pytest.mark.slow
def test_every_row_is_its_own_canonical_form():
    archs = SPACE.from_index(np.arange(NUM_ARCHS))
    assert SPACE.is_valid(archs).all()
    np.testing.assert_array_equal(SPACE.prune(archs), archs)
    np.testing.assert_array_equal(SPACE.to_index(archs), np.arange(NUM_ARCHS))
    with np.load(shared_file("data/nasbench101.npz")) as arrays:
        vertices, bits, labels = (arrays[n].astype(np.int64) for n in ("num_vertices", "edge_bits", "label_code"))
    inner = (vertices - 1) * (vertices - 2) // 2
    edges = bits % (1 << inner) + (bits >> inner << 15)
    np.testing.assert_array_equal(nasbench101_cells.table().codes, edges * 243 + labels * 3 ** (7 - vertices))


def test_cells_that_share_a_hash_have_no_order(tmp_path, monkeypatch):
    monkeypatch.setattr(nasbench101_cells, "enumerate_codes", lambda: np.array([243 << 15, 244 << 15], np.uint32))
    monkeypatch.setattr(nasbench101_cells, "hash_stripped", lambda genes: "0" * 32)
    with pytest.raises(ValueError, match="2 cells have 1 hashes: the published order is undefined"):
        nasbench101_cells.write_table(tmp_path / "cells.npz")
    assert not list(tmp_path.iterdir())


def test_sampling_is_uniform_over_the_rows():
    archs = jax.jit(jax.vmap(SPACE.sample))(jax.random.split(jax.random.key(0), 20000))
    index = SPACE.to_index(np.asarray(archs))
    counts = np.bincount(index * 20 // NUM_ARCHS, minlength=20)
    assert (np.abs(counts - 1000) < 5 * np.sqrt(1000 * 0.95)).all()
    assert len(np.unique(index)) > 19000


def neighbours(arch):
    """The genotypes a mutation apart, with what their probability is proportional to."""
    for v, step in itertools.product(range(21, 26), (1, 2)):
        yield np.where(np.arange(26) == v, (arch + step) % 3, arch).astype(np.int32), 1 / 20
    for e in range(21):
        yield np.where(np.arange(26) == e, 1 - arch, arch).astype(np.int32), 1 / 42


@pytest.mark.parametrize("string", ["0100001000010000:in-c3-mp-out", "0100:in-out"])
def test_mutation_changes_one_gene_by_its_law(string):
    arch = SPACE.decode(string)
    keys = jax.random.split(jax.random.key(1), 40000)
    made, times = np.unique(mutate_often(keys, jnp.asarray(arch)), axis=0, return_counts=True)
    law = {tuple(n.tolist()): p for n, p in neighbours(arch) if SPACE.is_valid(n)}
    assert {tuple(genes) for genes in made.tolist()} == set(law)
    expected = np.array([law[tuple(genes)] for genes in made.tolist()]) / sum(law.values()) * len(keys)
    assert (np.abs(times - expected) < 5 * np.sqrt(expected)).all()


def test_an_invalid_cell_is_mutated_once():
    assert ((mutate_often(jax.random.split(jax.random.key(1), 40000), jnp.ones(26, jnp.int32)) != 1).sum(1) == 1).all()


def test_a_cell_grows_to_seven_vertices_through_a_dangling_one():
    small = SPACE.decode("010000001000000100000010000001000000:in-c3-c3-c3-c3-out")
    dangling, grown = small.copy(), small.copy()
    dangling[nasbench101_cells.edge_position(1, 5)] = 1
    grown[[nasbench101_cells.edge_position(1, 5), nasbench101_cells.edge_position(5, 6)]] = 1
    assert SPACE.is_valid(dangling) and SPACE.to_index(dangling) == SPACE.to_index(small)
    assert SPACE.is_valid(grown) and len(graph(SPACE.from_index(SPACE.to_index(grown)))[1]) == 7


@pytest.mark.parametrize(
    ("string", "message"),
    [
        ("0100:in-conv-out", "operations 'in-conv-out', needed are in-OP-...-out with OP of c3, c1, mp"),
        ("01", "operations '', needed are"),
        ("0100:in", "operations 'in', needed are"),
        ("0" * 64 + ":in-c3-c3-c3-c3-c3-c3-out", "8 vertices, allowed are at most 7"),
        ("0101:in-c3-out", "adjacency '0101', needed are 3x3 digits 0 or 1 for 3 vertices"),
        ("012001000:in-c3-out", "adjacency '012001000', needed are 3x3 digits"),
        ("010101000:in-c3-out", "not upper triangular"),
        ("010000000:in-c3-out", "no path joins input and output"),
        ("0111100111000110000100000:in-c3-c3-c3-out", "10 edges on paths from input to output, allowed are at most 9"),
        ("f" * 32, "no cell has this hash"),
    ],
)
def test_bad_strings_name_what_is_wrong(string, message):
    with pytest.raises(ValueError, match=message):
        SPACE.decode(string)


@pytest.mark.parametrize("index", [-1, NUM_ARCHS])
def test_indices_out_of_range_are_refused(index):
    with pytest.raises(ValueError, match=f"index {index} is out of range: allowed are 0 to 423623"):
        SPACE.from_index(index)


def test_dead_edges_do_not_count_among_the_nine():
    arch = np.zeros(26, np.int32)
    arch[nasbench101_cells.edge_position(0, 6)] = 1
    dead = [nasbench101_cells.edge_position(x, y) for x, y in itertools.combinations(range(1, 6), 2)]
    arch[dead] = 1
    assert len(dead) == 10 and SPACE.is_valid(arch)
    np.testing.assert_array_equal(SPACE.decode(SPACE.encode(arch)), arch)
    assert SPACE.encode(SPACE.prune(arch)) == "0100:in-out"

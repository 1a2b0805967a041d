"""PiT: codec, draws, costs, layers as convolutions, chained as whole."""

import chains
import golden
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from zsnas_jax import benchmarks, proxies, scoring, search_spaces
from zsnas_jax.base import Batch
from zsnas_jax.search_spaces import pit
from zsnas_jax.search_spaces.pit.network import OverlappingPatches, Pool

SPACE = pit.space()
SMALL = pit.GRID._replace(bases=(2, 4), depths=((1,), (1,), (1,)), heads=(1, 2))
TINY = pit.space(input_size=32, grid=SMALL)


def test_samples_and_mutations_are_of_the_space():
    archs = chains.draw(SPACE, 500)
    mutants = chains.mutants(SPACE, archs)
    assert {SPACE.encode(arch) for arch in archs} == {SPACE.encode(SPACE.decode(SPACE.encode(a))) for a in archs}
    for arch, mutant in zip(archs, mutants, strict=True):
        before, after = pit.plan_of(arch), pit.plan_of(mutant)
        decisions = [(before.base, after.base), (before.ratio, after.ratio), (before.heads, after.heads)]
        decisions += list(zip(before.depths, after.depths, strict=True))
        assert sum(first != second for first, second in decisions) == 1
        assert bool(SPACE.is_valid(arch)) and bool(SPACE.is_valid(mutant))
    assert len({tuple(arch[5:]) for arch in archs}) == 10


@pytest.mark.parametrize(
    ("string", "message"),
    [
        ("pit:16:6:2-6-4:4-2-8", "heads 4-2-8 decrease"),
        ("pit:17:6:2-6-4:2-4-8", "base width 17: allowed are 16, 24, 32, 40"),
        ("pit:16:6:4-6-4:2-4-8", "depth of stage 1 4: allowed are 1, 2, 3"),
        ("pit:16:6:2-6:2-4-8", "2 depths: 3 are needed"),
        ("pit:16:6:2-6-4:2-4-x", "'x' is no whole number"),
        ("pit:16-16:6:2-6-4:2-4-8", "one base width and one ratio are needed"),
        ("vit:16:6:2-6-4:2-4-8", "needed is pit:BASE:RATIO:DEPTHS:HEADS"),
    ],
)
def test_a_bad_string_is_refused_in_one_line(string, message):
    chains.check_refused(SPACE, string, message)
    with pytest.raises(ValueError, match="patches of a PiT have 16 pixels"):
        search_spaces.make_space("pit", {"input_size": 15})


def test_costs_are_those_of_its_network():
    assert SPACE.num_params(SPACE.decode("pit:16:6:2-8-4:2-4-4"), 100) == 893_828  # as stated of the table's first row
    for arch in chains.draw(TINY, 3):
        init = lambda arch=arch: TINY.make_network(4).init(
            jax.random.key(0), jnp.zeros((1, 32, 32, 3)), TINY.static(arch)
        )
        shapes = jax.eval_shape(init)
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == TINY.num_params(arch, 4)


@pytest.mark.dear
def test_patches_and_pooling_are_convolutions():
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.standard_normal((2, 33, 33, 3)), jnp.float32)
    patches = OverlappingPatches(5, 33)
    variables = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), patches.init(jax.random.key(0), image))
    own = variables["params"]
    numbers = ("NHWC", "HWIO", "NHWC")
    convolved = lax.conv_general_dilated(
        image, jnp.float32(own["patch"]["kernel"]), (8, 8), "VALID", dimension_numbers=numbers
    )
    tokens = patches.apply(variables, image)
    expected = convolved.reshape(2, -1, 5) + own["patch"]["bias"] + own["pos"]["table"]
    np.testing.assert_allclose(tokens[:, 1:], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(tokens[:, 0], np.broadcast_to(own["cls"]["table"], (2, 5)), rtol=1e-6)
    x = jnp.asarray(rng.standard_normal((2, 10, 4)), jnp.float32)
    pool = Pool(8)
    variables = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), pool.init(jax.random.key(0), x))
    own = variables["params"]
    convolved = lax.conv_general_dilated(
        x[:, 1:].reshape(2, 3, 3, 4),
        jnp.float32(own["pool"]["kernel"]),
        (2, 2),
        [(1, 1)] * 2,
        dimension_numbers=numbers,
        feature_group_count=4,
    )
    pooled = pool.apply(variables, x)
    np.testing.assert_allclose(pooled[:, 1:], convolved.reshape(2, 4, 8) + own["pool"]["bias"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(pooled[:, 0], x[:, 0] @ own["cls"]["kernel"] + own["cls"]["bias"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["acor", "swap"], marks=pytest.mark.dear),  # two programs of a network
        pytest.param(
            [
                *("wrcor", "gcor", "snip", "pgnorm", "pnorm", "fisher", "netsens", "synflow", "phi", "naswot", "swap"),
                *("dss", "autoprox", "lydyniso", "params", "flops", "sam_swap:mask_rate=0.5"),
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["few", "all"],
)
def test_a_chain_scores_as_the_network_whole(names):
    rng = np.random.default_rng(0)
    batch = Batch(jnp.asarray(rng.standard_normal((6, 32, 32, 3)), jnp.float32), jnp.arange(6) % 4)
    arch, scores = np.array([0, 0, 0, 0, 0, 0, 0, 1], np.int32), {}
    for road in ("chained", "static"):
        scorer = scoring.make_scorer(
            jax.random.key(1),
            TINY,
            proxies.make_proxies(names),
            num_classes=4,
            programs=road,
            devices=jax.devices()[:1],
        )
        scores[road] = scorer.score(arch[None], np.zeros(1, np.int32), batch)[0]
    np.testing.assert_allclose(scores["chained"], scores["static"], rtol=1e-3, atol=1e-5)


def test_the_published_table_is_read():
    table = benchmarks.open_benchmark(golden.shared_file("data/extra/autoprox_vitbench_300.csv.gz"), "pit")
    params = [SPACE.num_params(SPACE.decode(string), 100) for string in table.archs]
    rank = lambda values: np.argsort(np.argsort(values))
    correlation = np.corrcoef(rank(params), rank(table.columns["cifar100_test_300_distilled"]))[0, 1]
    assert round(correlation, 2) == 0.95  # parameters alone, as published of these networks

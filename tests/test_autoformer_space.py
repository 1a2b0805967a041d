"""AutoFormer: codec, draws, costs as published, golden values, one program for all as each network built alone."""

import functools
import json
import zlib

import chains
from flax.traverse_util import flatten_dict, unflatten_dict
import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsnas_jax import benchmarks, proxies, scoring, search_spaces
from zsnas_jax.base import Batch
from zsnas_jax.measure.network import Network
from zsnas_jax.nn import attention
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.roles import Role
from zsnas_jax.nn.weights import init_with_weights
from zsnas_jax.search_spaces import autoformer
from zsnas_jax.search_spaces.autoformer import TINY, Grid, Plan

OWN = Grid("tiny", (6, 12), (1, 2), (2, 3), (1.5, 2.0), 4)
SHARED = OWN._replace(head_width=None)
GRIDS = {"heads of one width": OWN, "heads that share the width": SHARED}
kinds = [kind if kind.startswith("heads of") else pytest.param(kind, marks=pytest.mark.slow) for kind in GRIDS]
STRING = "autoformer-t:192:" + "-".join(["4"] * 12) + ":" + "-".join(["3"] * 12)
BATCH = Batch(
    jnp.asarray(np.random.default_rng(0).standard_normal((6, 8, 8, 3)), jnp.float32), jnp.asarray([0, 1, 2, 3, 0, 1])
)


def tiny_space(grid, **sizes):
    return autoformer.space("autoformer_t", **{"input_size": 8, "patch_size": 4, **sizes}, grid=grid)


def draw(space, count=8, seed=0):
    return np.asarray(jax.jit(jax.vmap(space.sample))(jax.random.split(jax.random.key(seed), count)))


# Genotype


@pytest.mark.parametrize("name", autoformer.GRIDS)
def test_samples_have_every_choice_and_zeros_beyond_their_depth(name):
    grid, space = autoformer.GRIDS[name], search_spaces.make_space(name)
    archs, blocks = draw(space, 500), autoformer.GRIDS[name].num_blocks
    for gene, choices in enumerate(grid.num_choices):
        assert set(archs[:, gene]) == set(range(choices))
    beyond = np.arange(blocks) >= np.array(grid.depths)[archs[:, :1]]
    assert not archs[:, 2:][np.tile(beyond, 2)].any()
    assert abs((archs[:, 0] == 0).mean() - 1 / 3) < 0.1  # depths, not networks, are drawn uniformly


@pytest.mark.parametrize("name", ["autoformer_t", "autoformer_b"])
def test_a_mutation_changes_one_decision(name):
    grid, space = autoformer.GRIDS[name], search_spaces.make_space(name)
    archs = draw(space, 300)
    mutants = np.asarray(jax.jit(jax.vmap(space.mutate))(jax.random.split(jax.random.key(1), len(archs)), archs))
    for arch, mutant in zip(archs, mutants, strict=True):
        before, after = autoformer.plan_of(grid, arch), autoformer.plan_of(grid, mutant)
        common = min(len(before.heads), len(after.heads))
        pairs = [(before.width, after.width), (len(before.heads), len(after.heads))]
        for first, second in ((before.heads, after.heads), (before.ratios, after.ratios)):
            pairs += list(zip(first[:common], second[:common], strict=True))
        assert sum(first != second for first, second in pairs) == 1


def test_the_papers_mutation_draws_as_often_as_it_is_told():
    space = search_spaces.make_space("autoformer_t")
    archs, keys = draw(space, 200), jax.random.split(jax.random.key(1), 200)
    changed = lambda **rates: jax.jit(jax.vmap(functools.partial(autoformer.redraw, TINY, **rates)))
    redraw = lambda **rates: np.asarray(changed(**rates)(keys, archs))
    np.testing.assert_array_equal(redraw(depth_rate=0.0, width_rate=0.0, block_rate=0.0), archs)
    widths = redraw(depth_rate=0.0, width_rate=1.0, block_rate=0.0)
    assert (np.delete(widths, 1, 1) == np.delete(archs, 1, 1)).all() and 0.5 < (widths != archs).any(1).mean() < 0.8
    assert all(bool(autoformer.genotype.is_canonical(TINY, arch)) for arch in redraw())


@pytest.mark.parametrize(
    ("string", "message"),
    [
        (STRING.replace("autoformer-t", "autoformer-s"), "it begins with 'autoformer-s', needed is 'autoformer-t'"),
        (STRING.replace("192", "200"), "width 200: allowed are 192, 216, 240"),
        (STRING.replace(":4-", ":5-"), "ratio 5: allowed are 3.5, 4"),
        (STRING[:-1] + "5", "heads 5: allowed are 3, 4"),
        (STRING + "-3", "12 ratios and 13 heads: as many are needed"),
        ("autoformer-t:192:4-4:3-3", "depth 2: allowed are 12, 13, 14"),
        (STRING.replace("192", "nan"), "'nan' is no number"),
        (STRING.replace("192", "1e3"), "'1e3' is no number"),
        (STRING.replace("192", "-"), "'-' is no number"),
        ("autoformer-t:192", "2 parts between colons"),
        (STRING + "-3" * 1000, "at most 1000 are read"),
    ],
)
def test_a_bad_string_is_refused_in_one_line(string, message):
    with pytest.raises(ValueError, match="bad architecture") as caught:
        search_spaces.make_space("autoformer_t").decode(string)
    assert message in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("sizes", [{"patch_size": 15}, {"input_size": 100}, {"input_size": 0}, {"patch_size": 0}])
def test_patches_that_do_not_divide_a_picture_are_refused(sizes):
    with pytest.raises(ValueError, match="patch_size is .*: it has to divide the pictures' input_size"):
        search_spaces.make_space("autoformer_t", sizes)


def test_networks_of_another_size_have_other_scores():
    """Or a folder of 64 pixels would go on with scores of 224."""
    sizes = ({}, {"input_size": 64}, {"patch_size": 8}, {"attention_sites": True})
    for name in ("autoformer_t", "pit"):
        known = [own for own in sizes if set(own) <= set(search_spaces.make_space(name).size)]
        assert len({search_spaces.make_space(name, own).source for own in known}) == len(known)
    assert tiny_space(OWN).source != tiny_space(SHARED).source


# Costs and tables


@pytest.mark.parametrize(
    ("name", "size"),
    [("autoformer_t", "AutoFormer-tiny"), ("autoformer_s", "AutoFormer-small"), ("autoformer_b", "AutoFormer-base")],
)
def test_every_published_row_is_read_and_counted(name, size):
    rows = [row for row in chains.rows("oodvit_autoformer_3003") if row["space"] == size]
    space = search_spaces.make_space(name)
    path = golden.shared_file("data/extra/oodvit_autoformer_3003.csv.gz")
    table = benchmarks.open_benchmark(path, name)
    assert len(rows) == len(table.archs) == 1001
    for row, string in zip(rows, table.archs, strict=True):
        arch = space.decode(string)
        assert space.encode(arch) == string
        assert space.num_params(arch, 1000) == round(1e6 * float(row["params_M"]))
        assert abs(space.num_flops(arch, 1000, 32) - 1e6 * float(row["flops_M"])) < 1e-3
    first = space.decode(table.archs[0])
    assert float(jax.jit(lambda arch: space.num_flops(arch, 1000, 32))(first)) == pytest.approx(
        float(rows[0]["flops_M"]) * 1e6, rel=1e-6
    )
    accuracies = [float(row["imagenet_top1"]) / 100 for row in rows]
    np.testing.assert_allclose(table.columns["imagenet_valid_supernet"], accuracies, rtol=1e-6)


def test_vit_bench_is_read_and_a_file_of_several_spaces_asks_which():
    path = golden.shared_file("data/extra/autoprox_vitbench_300.csv.gz")
    assert len(benchmarks.open_benchmark(path, "autoformer_plain").archs) == 200
    assert len(benchmarks.open_benchmark(path, "pit").archs) == 100
    with pytest.raises(ValueError, match="it holds the spaces autoformer_plain, pit: say which"):
        benchmarks.open_benchmark(path)


# Networks


def test_relative_positions_are_those_of_every_pair():
    grid, heads, channels, rng = 4, 2, 3, np.random.default_rng(0)
    module = attention.RelativePositions(channels, grid)
    variables = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), module.init(jax.random.key(0)))
    tables = [variables["params"][name]["table"] for name in ("vertical", "horizontal")]
    tokens = 1 + grid**2
    r = np.zeros((tokens, tokens, channels))
    for a in range(tokens):
        for b in range(tokens):
            places = [(0, 0), *np.ndindex(grid, grid)]
            steps = [places[b][i] - places[a][i] for i in range(2)]
            for table, step in zip(tables, steps, strict=True):
                r[a, b] += table[0 if 0 in (a, b) else np.clip(step, -14, 14) + 15]
    relative = module.apply(variables)
    q, w = rng.standard_normal((5, tokens, heads, channels)), rng.random((5, heads, tokens, tokens))
    w /= w.sum(-1, keepdims=True)
    logits, values = attention.relative_logits(q, relative), attention.relative_values(jnp.asarray(w), relative)
    np.testing.assert_allclose(logits, np.einsum("nahd,abd->nhab", q, r), atol=1e-5)
    np.testing.assert_allclose(values, np.einsum("nhab,abd->nahd", w, r), atol=1e-5)


@pytest.mark.slow  # another program
@pytest.mark.parametrize("kind", kinds)
def test_padding_has_no_gradient_and_entries_of_an_architecture_are_its_parameters(kind):
    space = tiny_space(GRIDS[kind])
    module, archs = space.make_network(4), draw(space, 4)
    variables, _ = init_with_weights(module, jax.random.key(0), BATCH.image[:1], archs[0])
    loss = lambda params, arch: (module.apply({"params": params}, BATCH.image, arch) ** 2).sum()
    gradient = jax.jit(jax.grad(loss))
    for arch in archs:
        flat, entries, has = flatten_dict(variables["params"]), {}, space.is_active(jnp.asarray(arch))
        for path, leaf in flat.items():
            entries[path] = np.broadcast_to(np.asarray(has(path, leaf.shape)), leaf.shape)
        assert sum(mask.sum() for mask in entries.values()) == space.num_params(arch, 4)
        masked = unflatten_dict({path: np.where(entries[path], leaf, 0.0) for path, leaf in flat.items()})
        for path, slope in flatten_dict(gradient(masked, jnp.asarray(arch))).items():
            assert not np.asarray(slope)[~entries[path]].any(), path


def scores_of(space, names, arch, road):
    scorer = scoring.make_scorer(
        jax.random.key(1), space, proxies.make_proxies(names), num_classes=4, programs=road, devices=jax.devices()[:1]
    )
    return scorer.score(jnp.asarray(arch)[None], np.zeros(1, np.int32), BATCH)[0]


def check_roads(space, names):
    """Whether one program for all scores a network with less of everything as its own does."""
    arch = np.array([0, 0, 1, 0, 1, 0], np.int32)
    dispatched, static = (scores_of(space, names, arch, road) for road in ("dispatched", "static"))
    assert np.isfinite(static).all()
    np.testing.assert_allclose(dispatched, static, rtol=2e-3, atol=1e-4)


@pytest.mark.dear  # two programs of a network each
@pytest.mark.parametrize("kind", GRIDS)
def test_one_program_scores_a_network_as_it_is_built(kind):
    check_roads(tiny_space(GRIDS[kind]), ["wrcor", "snip"])


@pytest.mark.slow
@pytest.mark.parametrize("sites", [False, True])
@pytest.mark.parametrize("kind", GRIDS)
def test_one_program_scores_a_network_as_it_is_built_by_every_proxy(kind, sites):
    norms, of_convolutions = (
        {"nir_nwot", "nir_swap", "ncd_nwot", "ncd_swap"},
        {"az_progressivity", "meco", "meco_opt", "near"},
    )
    names = [name for name in proxies.expand(["all"]) if name not in norms | of_convolutions | {"bndlent"}]
    check_roads(tiny_space(GRIDS[kind], attention_sites=sites), [*names, "dss", "autoprox", "w_pca"])


def test_options_that_act_on_nothing_are_refused():
    space, arch = tiny_space(OWN), np.zeros(6, np.int32)
    for options, message in (
        (LayerOptions("ln"), "has no batch norm that norm 'ln' could replace"),
        (LayerOptions(activation="gelu"), "chooses its own activation"),
    ):
        with pytest.raises(ValueError, match=message):
            scoring.make_scorer(jax.random.key(1), space, [proxies.naswot()], num_classes=4, options=options).score(
                arch[None], [0], BATCH
            )


@pytest.mark.slow  # two networks
def test_blocks_are_left_out_in_training():
    space, plan = tiny_space(OWN), Plan(6, (2, 3), (1.5, 2.0))
    network = space.training_network(num_classes=4, auxiliary=False, drop_path=True)
    params = jax.jit(space.make_network(4).init, static_argnums=2)(jax.random.key(0), BATCH.image, plan)["params"]
    run = lambda rate, key: network.apply(
        {"params": params}, BATCH.image, plan, drop_path=jnp.float32(rate), rngs={"drop_path": key}
    )
    whole = space.make_network(4).apply({"params": params}, BATCH.image, plan)
    np.testing.assert_allclose(run(0.0, jax.random.key(0)), whole, rtol=1e-5, atol=1e-6)
    assert not np.allclose(run(0.5, jax.random.key(0)), run(0.5, jax.random.key(1)))
    with pytest.raises(ValueError, match="no auxiliary head"):
        space.training_network(num_classes=4, auxiliary=True, drop_path=False)


# Golden values


def entries():
    return json.loads(golden.shared_file("golden/autoformer.json").read_text())


def golden_name(path):
    if path[0] in ("patches", "head"):
        return "head" if path[0] == "head" else path[1]
    if path[1].startswith("relative_"):
        return f"{path[0]}/rel_{'k' if path[1].endswith('key') else 'v'}_{path[2]}"
    return f"{path[0]}/{path[1]}"


def golden_params(seed, shapes, weights):
    """The golden weights of a network that is built, by path."""
    flat = {}
    for path, leaf in flatten_dict(shapes).items():
        weight, name = weights[path], golden_name(path)
        if weight.kernel:
            inputs, outputs = (
                int(np.prod([leaf.shape[axis] for axis in axes]))
                for axes in (weight.kernel.inputs, weight.kernel.outputs)
            )
            shape = leaf.shape if name == "patch" else (inputs, outputs)
            flat[path] = golden.kernel(seed, name, shape).reshape(leaf.shape)
        elif weight.role is Role.EMBEDDING:
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
            flat[path] = (rng.standard_normal(leaf.shape) * 0.02).astype(np.float32)
        else:
            flat[path] = np.full(leaf.shape, float(weight.role is Role.SCALE), np.float32)
    return flat


def padded(flat, blocks, shapes):
    """The same as the parameters of the network of all sizes."""
    found = {path: np.zeros(leaf.shape, np.float32) for path, leaf in flatten_dict(shapes).items()}
    for path, leaf in flat.items():
        where, place = autoformer.network.locate(path)
        found[where][(*place, *(slice(0, size) for size in leaf.shape))] = leaf
    return unflatten_dict(found)


LOG_DETERMINANTS = {"acor", "gcor", "rcor", "wrcor", "naswot"}
THROUGH = {"synflow": np.exp, "wrcor": lambda score: score - 8 * np.log(2)}  # 2^l, l from 0 there


def golden_network(number, road):
    """A golden network under score, built alone or as one of all."""
    entry = entries()[number]
    space = autoformer.space("autoformer_t", input_size=64)
    plan = Plan(entry["embed_dim"], tuple(entry["num_heads"]), tuple(map(float, entry["mlp_ratio"])))
    arch, module = autoformer.arch_of(TINY, plan), space.make_network(10)
    image = np.random.default_rng([entry["seed"], 800]).standard_normal((8, 64, 64, 3)).astype(np.float32)
    shapes = lambda own: jax.eval_shape(lambda: module.init(jax.random.key(0), image[:1], own))["params"]
    survey = lambda own: _weights(module, image, own)
    flat = golden_params(entry["seed"], shapes(plan), survey(plan))
    if road == "static":
        params, args, active = unflatten_dict(flat), (plan,), lambda path: True
    else:
        full = shapes(jnp.asarray(arch))
        params, args = padded(flat, TINY.num_blocks, full), (jnp.asarray(arch),)
        sizes, has = {path: leaf.shape for path, leaf in flatten_dict(full).items()}, space.is_active(jnp.asarray(arch))
        active = lambda path: has(path, sizes[path])
    return Network(
        module=module,
        variables={"params": params},
        batch=Batch(jnp.asarray(image), jnp.arange(8)),
        args=args,
        key=jax.random.key(0),
        options=LayerOptions(),
        layer_of=space.layer_of,
        is_active=active,
        num_params=space.num_params(arch, 10),
        num_flops=space.num_flops(arch, 10, 64),
        weights=survey(args[0]),
    )


def check_golden(number, names, road):
    entry, network = entries()[number], golden_network(number, road)
    chosen = [proxies.swap(num_samples=8) if name == "swap" else proxies.PROXIES[name]() for name in names]
    run = jax.jit(lambda params: scoring.score_network(network._replace(variables={"params": params}), chosen))
    for name, score in zip(names, np.asarray(run(network.params)), strict=True):
        expected = entry["scores"][{"params": "num_params"}.get(name, name)]
        rtol, atol = (0, 0.05) if name in LOG_DETERMINANTS else (1e-2 if name == "zico" else 2e-3, 0)
        score = THROUGH.get(name, lambda score: score)(score)
        np.testing.assert_allclose(score, expected, rtol=rtol, atol=atol, err_msg=name)


def _weights(module, image, own):
    found = {}
    jax.eval_shape(lambda: found.update(init_with_weights(module, jax.random.key(0), image[:1], own)[1]) or 0)
    return found


def test_golden_values_of_a_pass_forward():
    check_golden(0, ["acor", "naswot", "swap", "pnorm", "params", "flops"], "dispatched")


EVERY = (
    *("acor", "gcor", "rcor", "wrcor", "naswot", "swap", "pnorm", "pgnorm", "snip", "grasp", "jaccor", "netsens"),
    *("zico", "synflow", "dss", "autoprox", "params", "flops"),
)


@pytest.mark.slow
@pytest.mark.parametrize("road", ["dispatched", "static"])
@pytest.mark.parametrize("number", [0, 1])
def test_golden_values(number, road):
    check_golden(number, EVERY, road)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_golden_values_of_single_pictures_and_halves(number):
    entry, network = entries()[number], golden_network(number, "static")
    chosen = [proxies.gradsign(), proxies.ntk_cond(num_samples=8, parameters="kernels"), proxies.lswag()]
    run = jax.jit(lambda params: scoring.score_network(network._replace(variables={"params": params}), chosen))
    expected = entry["scores"]["gradsign"], -entry["scores"]["ntk_cond"], entry["scores"]["lswag_all"]
    for found, right, rtol in zip(run(network.params), expected, (1e-3, 1e-2, 1e-2), strict=True):
        np.testing.assert_allclose(found, right, rtol=rtol)

import ast

import chains
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies, scoring, search_spaces, tasks
from zsnas_jax.base import Batch
from zsnas_jax.search_spaces import transnas101
from zsnas_jax.search_spaces.transnas101 import genotype
from zsnas_jax.search_spaces.transnas101.tasks import permutations

MICRO, MACRO = transnas101.micro_space(), transnas101.macro_space()
SPACES = {"micro": MICRO, "macro": MACRO}
TASKS = tuple(transnas101.HEADS)
PUBLISHED_CLASSES = {"class_scene": 63, "class_object": 100}
"""Of the networks whose parameters the published tables count; others as here."""

both = pytest.mark.parametrize("kind", SPACES)
every_task = pytest.mark.parametrize(  # a head and both decoders; the puzzle is nine networks, others are like these
    "task",
    [task if task in ("class_scene", "autoencoder") else pytest.param(task, marks=pytest.mark.slow) for task in TASKS],
)


def everything(space):
    return space.from_index(np.arange(space.num_archs))


@both
def test_indices_and_strings_are_those_of_the_published_table(kind):
    space, rows = SPACES[kind], chains.rows(f"transnas101_{kind}_val")
    archs = everything(space)
    assert len(rows) == space.num_archs == len(np.unique(archs, axis=0))
    by_index = {int(row["idx"]): row["arch_str"] for row in rows}
    strings = [space.encode(arch) for arch in archs]
    assert strings == [by_index[i] for i in range(len(rows))]
    np.testing.assert_array_equal([space.decode(string) for string in strings], archs)
    np.testing.assert_array_equal(space.to_index(archs), np.arange(len(rows)))
    np.testing.assert_array_equal(jax.jit(space.to_index)(jnp.asarray(archs)), np.arange(len(rows)))


@both
def test_parameters_are_those_of_every_published_row(kind):
    rows = chains.rows(f"transnas101_{kind}_suite_zero")
    archs = np.array([ast.literal_eval(row["naslib_ops"]) for row in rows])
    for task in TASKS:
        chosen = [i for i, row in enumerate(rows) if row["task"] == task]
        assert len(chosen) > 600, task
        space = tasks.with_task(SPACES[kind], task)
        params = space.num_params(archs[chosen], PUBLISHED_CLASSES.get(task, space.task.num_outputs))
        np.testing.assert_allclose(params / 1e6, [float(rows[i]["params"]) for i in chosen], rtol=1e-12)


def test_costs_have_the_published_ranges():
    micro, macro = everything(MICRO), everything(MACRO)
    assert [f(MICRO.num_params(micro, 47)) for f in (np.min, np.max)] == [43_599, 41_435_727]
    assert [f(MACRO.num_params(macro, 47)) for f in (np.min, np.max)] == [995_023, 40_175_951]
    flops = MICRO.num_flops(micro, 47, 256), MACRO.num_flops(macro, 47, 256)
    np.testing.assert_allclose([own.min() for own in flops], [89.68e6, 301.7e6], rtol=1e-3)
    np.testing.assert_allclose([own.max() for own in flops], [8.470e9, 132.4e9], rtol=1e-3)
    arch = MICRO.decode("64-41414-1_00_210")
    assert [MICRO.num_flops(arch, n, 256) for n in (63, 47)] == [257_457_664, 257_449_472]


@both
@every_task
def test_costs_are_those_of_the_network(kind, task):
    space = tasks.with_task(SPACES[kind], task)
    for string in {"micro": ("64-41414-1_21_310",), "macro": ("64-411311-basic", "64-2234-basic")}[kind]:
        arch, outputs, size = space.decode(string), space.task.num_outputs, 96
        assert space.num_params(arch, outputs) == chains.params(space, arch, outputs)
        assert space.num_flops(arch, outputs, size) == chains.flops(space, arch, outputs, size)
        traced = jax.jit(lambda arch, space=space: space.num_flops(arch, outputs, size))(jnp.asarray(arch))
        np.testing.assert_allclose(traced, space.num_flops(arch, outputs, size), rtol=1e-6)


def test_the_puzzle_costs_nine_encoders_of_a_tile():
    scene, puzzle = MICRO, tasks.with_task(MICRO, "jigsaw")
    arch = MICRO.decode("64-41414-3_32_132")
    encoder = scene.num_flops(arch, 47, 64) - 512 * 47
    assert puzzle.num_flops(arch, 1000, 192) == 9 * encoder + 9 * 512 * 1000


@pytest.mark.dear
def test_networks_without_a_path_are_169_and_have_no_score():
    archs = everything(MICRO)
    connected = np.array([MICRO.is_connected(arch) for arch in archs])
    assert (~connected).sum() == 169
    np.testing.assert_array_equal(jax.jit(jax.vmap(MICRO.is_connected))(jnp.asarray(archs)), connected)
    cut = MICRO.decode("64-41414-3_00_000")
    chosen = proxies.make_proxies(["acor", "params"])
    scorer = scoring.make_scorer(jax.random.key(0), MICRO, chosen, num_classes=47)
    assert scorer.score(cut[None], [0], tiny.batch(batch_size=4, image_size=8)).tolist() == [
        [-np.inf, MICRO.num_params(cut, 47)]
    ]


def test_samples_and_mutations_stay_in_the_space():
    micro, macro = chains.draw(MICRO), chains.draw(MACRO)
    assert (MACRO.to_index(macro) >= 0).all()
    changed = chains.mutants(MICRO, micro) != micro
    assert (changed.sum(1) == 1).all()
    drawn = jax.jit(jax.vmap(genotype.sample_macro_by_counts))(jax.random.split(jax.random.key(0), 3000))
    counts = lambda archs: np.stack([(archs > 0).sum(1), genotype.doubles(archs).sum(1), genotype.halves(archs).sum(1)])
    for count, (low, high) in zip(counts(np.asarray(drawn)), [(4, 6), (1, 3), (1, 4)], strict=True):
        share = np.bincount(count)[low:] / 3000
        assert len(share) == high - low + 1 and np.abs(share - 1 / len(share)).max() < 0.05
    mutants = chains.mutants(MACRO, macro)
    assert (MACRO.to_index(mutants) >= 0).all()
    assert ((counts(mutants) != counts(macro)).sum(0) == 1).all()


@both
@every_task
def test_sites_stand_in_their_layers(kind, task):
    space = tasks.with_task(SPACES[kind], task)
    string, expected = {
        "micro": ("64-41414-1_02_333", [1, 5, 4, 4, 4, 5, 4, 4, 4, 5, 4]),
        "macro": ("64-1234-basic", [1, 2, 2, 2, 2, 2, 2, 2, 2]),
    }[kind]
    times = 9 if task == "jigsaw" else 1
    assert chains.sites_per_layer(space, space.decode(string), image_size=48) == [times * count for count in expected]


@pytest.mark.parametrize(
    ("space", "string", "message"),
    [
        (MICRO, "64-41414-1_02_33", "needed is 64-41414-a_bc_def"),
        (MICRO, "64-41414-1_42_333", "operation '4' of edge 1, allowed are 0 to 3"),
        (MICRO, "64-1234-basic", "needed is 64-41414-a_bc_def"),
        (MACRO, "64-123-basic", "3 modules, allowed are 4 to 6"),
        (MACRO, "64-1234123-basic", "7 modules"),
        (MACRO, "64-1115-basic", "type '5' of module 3, allowed are 1 to 4"),
        (MACRO, "64-3333-basic", "0 doublings, allowed are 1 to 3"),
        (MACRO, "64-2222-basic", "4 doublings, allowed are 1 to 3"),
        (MACRO, "64-1121-basic", "0 halvings, allowed are 1 to 4"),
        (MACRO, "64-433334-basic", "6 halvings, allowed are 1 to 4"),
        (MACRO, "64-41414-1_02_333", "needed is 64-DIGITS-basic"),
    ],
)
def test_bad_strings_name_what_is_wrong(space, string, message):
    chains.check_refused(space, string, message)


def test_a_task_that_a_space_lacks_is_refused():
    with pytest.raises(ValueError, match="unknown task 'depth' of space transnas101_micro: allowed are class_scene"):
        tasks.with_task(MICRO, "depth")
    with pytest.raises(ValueError, match="task 'jigsaw': space nasbench_macro has no tasks"):
        tasks.with_task(search_spaces.make_space("nasbench_macro"), "jigsaw")
    with pytest.raises(ValueError, match="class_scene has 47 classes, the pictures have 10"):
        tasks.width_of(MICRO, 10)


def test_targets_are_made_for_each_task():
    image = jax.random.normal(jax.random.key(0), (5, 13, 13, 3))
    batch, key = Batch(image, jnp.arange(5, dtype=jnp.int32)), jax.random.key(1)
    shapes = {"class_scene": (5,), "class_object": (5,), "jigsaw": (5,), "room_layout": (5, 9)}
    shapes |= dict.fromkeys(("autoencoder", "normal"), (5, 13, 13, 3)) | {"segmentsemantic": (5, 13, 13)}
    for task in TASKS:
        made = tasks.prepare(tasks.with_task(MICRO, task), key, batch)
        assert made.label.shape == shapes[task], task
    puzzle = tasks.prepare(tasks.with_task(MICRO, "jigsaw"), key, batch)
    tiles = lambda picture: [picture[4 * i : 4 * i + 4, 4 * j : 4 * j + 4] for i in range(3) for j in range(3)]
    for picture, shuffled, label in zip(image, puzzle.image, puzzle.label, strict=True):
        expected = np.stack(tiles(picture))[permutations()[label]]
        np.testing.assert_array_equal(np.stack(tiles(shuffled)), expected)
    itself = tasks.prepare(tasks.with_task(MICRO, "autoencoder"), key, batch).label
    assert (float(itself.min()), float(itself.max())) == (-1, 1)
    np.testing.assert_allclose(np.corrcoef(itself.ravel(), image.ravel())[0, 1], 1, rtol=1e-5)


@pytest.mark.slow
@both
@pytest.mark.parametrize("task", TASKS)
def test_every_task_scores_alike_by_blocks_and_whole(kind, task):
    """Under its own loss and targets; the puzzle's tiles have 8 pixels."""
    space = tasks.with_task(SPACES[kind], task)
    arch = space.decode({"micro": "64-41414-1_02_310", "macro": "64-1314-basic"}[kind])
    size = {"jigsaw": 24}.get(task, 32 if space.size_multiple == 32 else 8)
    drawn = tiny.batch(batch_size=4, image_size=size)
    batch = tasks.prepare(space, jax.random.key(1), drawn)
    names = ("acor", "gcor", "wrcor", "naswot", "snip", "fisher", "pgnorm", "params")
    scores = []
    for programs in ("static", "chained"):
        own = {"num_classes": space.task.num_outputs, "programs": programs}
        scorer = scoring.make_scorer(jax.random.key(3), space, proxies.make_proxies(names), **own)
        scores.append(scorer.score(arch[None], [0], batch)[0])
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-3)

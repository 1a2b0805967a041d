"""Networks that choose their blocks at run time: the scores, weights and masks are those of the networks built."""

import chains
from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies, scoring, search_spaces
from zsnas_jax.measure.blocks import ChainNetwork
from zsnas_jax.measure.chain import draw_dispatched, trace_chain
from zsnas_jax.nn.initializers import kaiming_uniform
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.search_spaces import darts

BOTH = [name for name, make in search_spaces.SPACES.items() if (space := make()).chain and space.is_dispatched]


def with_steps(name, kept, image_size):
    """A space with some steps of its networks alone, by the beginning of their names."""
    space = search_spaces.make_space(name)
    cut = lambda steps: tuple(step for step in steps if step.name.partition("_")[0] in kept)
    whole = space.make_network().list_steps
    list_steps = lambda *which, **own: cut(whole(*which, **own))
    return space._replace(
        make_network=lambda num_classes: ChainNetwork(list_steps, num_classes),
        chain=trace_chain(lambda *which: cut(space.chain.steps(*which)), (image_size, image_size, 3)),
        num_params=None,
    )


SMALL = {
    "darts": (darts.space(channels=4, layers=3), 8),
    "darts_s1": (darts.space("darts_s1", channels=4, layers=3), 8),
    "darts_s2": (darts.space("darts_s2", channels=4, layers=1), 8),
    "darts_s4": (darts.space("darts_s4", channels=4, layers=2), 8),
    "nasbench_macro": (with_steps("nasbench_macro", ("stem", "layer0", "layer1", "head"), 8), 8),
    "transnas101_micro": (with_steps("transnas101_micro", ("stem", "cell0", "cell1", "head"), 16), 16),
    "rlnas": (with_steps("rlnas", ("stem", "first", *(f"layer{i}" for i in range(4)), "head"), 8), 8),
    "accel_nasbench": (with_steps("accel_nasbench", ("stem", "stage0", "stage1", "head"), 8), 8),
}


def scores(space, image_size, archs, names, programs, **own):
    batch = tiny.batch(batch_size=6, image_size=image_size)
    batch = type(batch)(batch.image, batch.label % 3)
    chosen = proxies.make_proxies(names)
    own |= {"num_classes": 3, "programs": programs, "devices": jax.devices()[:1]}
    scorer = scoring.make_scorer(jax.random.key(3), space, chosen, **own)
    if programs == "dispatched":
        found = scorer.score(archs, np.zeros(len(archs)), batch)
        assert scorer.num_compilations() == 1
        return found
    return np.concatenate([scorer.score(arch[None], [0], batch) for arch in archs])


def compare(name, names, count, programs="static", rtol=1e-3, **own):
    space, size = SMALL[name]
    archs = chains.draw(space, count)
    found = scores(space, size, archs, names, "dispatched", **own)
    own.pop("candidates_per_step", None)
    expected = scores(space, size, archs, names, programs, **own)
    np.testing.assert_allclose(found, expected, rtol=rtol, err_msg=str(names))


@pytest.mark.dear  # two programs of a whole cell
def test_a_cell_of_two_shapes_scores_as_the_network_built():
    """Under masks, which are drawn alike, too."""
    compare("transnas101_micro", ("wrcor",), 1, options=LayerOptions(mask_rate=0.3))


@pytest.mark.slow
def test_rescaled_layers_do_so():
    compare("nasbench_macro", ("synflow",), 2, "chained")


EVERY = tuple(name for name in proxies.PROXIES if name not in ("bndlent", "lydyniso", "dyniso"))


@pytest.mark.slow  # minutes
@pytest.mark.parametrize("name", SMALL)
def test_every_space_does_so(name):
    compare(name, ("wrcor", "snip", "fisher", "sam_nwot", "jaccor", "synflow", "swap"), 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["darts_s2", "nasbench_macro"])
def test_every_proxy_does_so(name):
    compare(name, EVERY, 2, rtol=5e-3)


@pytest.mark.slow
def test_candidates_run_side_by_side():
    compare("darts_s2", ("wrcor", "snip", "sam_nwot"), 4, candidates_per_step=2)


QUICK = ("transnas101_micro",)


@pytest.mark.parametrize("name", [own if own in QUICK else pytest.param(own, marks=pytest.mark.slow) for own in BOTH])
def test_active_parameters_are_counted(name):
    space = search_spaces.make_space(name)
    module = space.make_network(num_classes=10)
    image_size = 3 * 2**5

    def draw(arch):
        return draw_dispatched(
            jax.random.key(0), module.list_steps(arch, 10), (image_size,) * 2 + (3,), kaiming_uniform
        )[0]

    shapes = flatten_dict(jax.eval_shape(draw, space.sample(jax.random.key(0))))
    for arch in chains.draw(space, 2):
        has = space.is_active(arch)
        masks = [(leaf, np.asarray(has(path, leaf.shape))) for path, leaf in shapes.items()]
        total = sum(int(mask.sum()) * (leaf.size // mask.size) for leaf, mask in masks)
        assert total == space.num_params(arch, 10)


@pytest.mark.slow  # draws of whole cells
@pytest.mark.parametrize("name", ["darts_s2", pytest.param("darts_s4", marks=pytest.mark.slow)])
def test_chosen_blocks_have_the_weights_of_the_network_built(name):
    space, size = SMALL[name]
    arch, key = chains.draw(space, 1)[0], jax.random.key(5)
    steps = space.make_network(num_classes=3).list_steps(jnp.asarray(arch), 3)
    dispatched = flatten_dict(draw_dispatched(key, steps, (size, size, 3), kaiming_uniform)[0])
    built = flatten_dict(space.chain.draw_params(key, arch, 3, kaiming_uniform))
    has, used = space.is_active(arch), dict.fromkeys(built, 0)
    for path, leaf in dispatched.items():
        if path in built:
            used[path] += 1
            np.testing.assert_array_equal(leaf, built[path])
            continue
        block = next(step.block for step in steps if step.name == path[0])
        phase = next(phase for phase in block.phases() if phase.name == path[1])
        for number in np.flatnonzero(has(path, leaf.shape)):
            own = block.names[phase.positions[number]], *path[3:]
            used[own] += 1
            np.testing.assert_array_equal(leaf[number], built[own])
    assert set(used.values()) == {1}


def test_auto_is_chained_on_a_cpu_and_dispatched_elsewhere():
    space = search_spaces.make_space("nasbench_macro")
    assert [scoring.choose_programs(space, platform=own) for own in ("cpu", "gpu")] == ["chained", "dispatched"]
    macro = search_spaces.make_space("transnas101_macro")
    assert scoring.choose_programs(macro, platform="gpu") == "chained"


def test_parts_of_training_are_refused():
    with pytest.raises(ValueError, match="an auxiliary head or drop path is built for one architecture"):
        darts.steps(jnp.zeros((2, 4, 2, 2), jnp.int32), 10, drop_path=True)

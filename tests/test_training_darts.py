"""DARTS in training: drop path, the auxiliary head, and what is left of them in a trained network."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_training

from zsnas_jax import search_spaces, training
from zsnas_jax.datasets import Examples
from zsnas_jax.measure import costs
from zsnas_jax.search_spaces import darts
from zsnas_jax.search_spaces.darts.edges import DIL_3, NOISE, NONE, SKIP
from zsnas_jax.search_spaces.darts.network import AuxiliaryHead, DropPath, steps
from zsnas_jax.training import Data, Frame, Recipe
from zsnas_jax.training.steps import make_drop_path, make_loss

# In its only cell, a reduction cell, skips and pooling of stride 2, an identity, and a convolution.
CELL = [[(0, SKIP), (1, 2)], [(1, SKIP), (2, SKIP)], [(2, DIL_3), (2, SKIP)], [(0, NONE), (3, SKIP)]]
ARCH = np.array([CELL, CELL], np.int32)
SPACE = darts.space(channels=2, layers=1)
RECIPE = Recipe(source="a test", epochs=2, batch_size=4, clip=5.0, auxiliary_weight=0.4, drop_path=0.4)
IN_TRAINING = {"auxiliary": True, "drop_path": True}


def model(space=SPACE, arch=ARCH, **in_training):
    return training.make_model(space, arch, 4, mean=test_training.MEAN, std=test_training.STD, **in_training)


def pictures(count=4, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3)), jnp.uint8)


@functools.cache
def variables():
    return jax.jit(model(**IN_TRAINING).init)(jax.random.key(0), pictures())


def test_every_operation_but_the_identity_may_be_left_out():
    arch = ((((0, SKIP), (1, NOISE)), ((1, NONE), (2, DIL_3)), ((0, 1), (2, SKIP)), ((0, NONE), (1, NONE))),) * 2
    own = steps(arch, 4, channels=2, layers=3, drop_path=True)
    dropped = [step.reads for step in own if isinstance(step.block, DropPath)]
    normal, reduction = ["op1", "op3", "op4"], ["op0", "op1", "op3", "op4"]  # there an identity halves the picture
    cells = enumerate((normal, reduction, reduction))
    assert dropped == [(f"cell{number}_{part}", "drop_path") for number, parts in cells for part in parts]
    plain = steps(arch, 4, channels=2, layers=3)
    assert [step.name for step in own if not isinstance(step.block, DropPath)] == [step.name for step in plain]


def test_drop_path_keeps_the_mean():
    x = jnp.linspace(1, 2, 12).reshape(1, 2, 2, 3) * jnp.ones((20_000, 1, 1, 1))
    drop = lambda rate: DropPath().apply({}, x, rate, rngs={"drop_path": jax.random.key(0)})
    assert (drop(0.0) == x).all()
    ratio = np.asarray(drop(jnp.float32(0.4)) / x)
    kept = ratio[:, 0, 0, 0] > 0
    np.testing.assert_allclose(ratio, np.broadcast_to(kept[:, None, None, None] / 0.6, x.shape), rtol=1e-6)
    assert abs(ratio.mean() - 1) < 0.02


def test_the_rate_of_drop_path_grows_by_the_epoch():
    rate = make_drop_path(training.find_recipe("darts"), 520)
    assert [float(rate(step)) for step in (0, 519, 520)] == pytest.approx([0, 0, 0.2 / 600])
    assert float(rate(600 * 520 - 1)) == pytest.approx(0.2 * 599 / 600)


@pytest.mark.parametrize(("own", "size"), [({"channels": 36, "layers": 20}, 8), ({"channels": 48, "layers": 14, "imagenet": True}, 7)])  # fmt: skip
def test_the_auxiliary_head_has_the_published_size(own, size):
    num_classes, imagenet = (1000, True) if "imagenet" in own else (10, False)
    x = jax.ShapeDtypeStruct((1, size, size, 16 * own["channels"]), jnp.float32)
    head = AuxiliaryHead(num_classes, imagenet)
    found = costs.count_params(jax.eval_shape(head.init, jax.random.key(0), x)["params"])
    assert found == darts.num_auxiliary_params(num_classes, **own)
    assert imagenet or found == 476_426
    with pytest.raises(ValueError, match=rf"reads 6 x 6 pixels, at least {size} x {size} are needed"):
        jax.eval_shape(head.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 6, 6, 8), jnp.float32))


def test_the_auxiliary_head_is_its_equation():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 8, 8, 3)).astype(np.float32)
    params = AuxiliaryHead(4).init(jax.random.key(0), x)["params"]
    p = jax.tree.map(np.asarray, params)

    def normalised(x):  # and activated; scale is one and shift zero
        return np.maximum((x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5), 0)

    starts = [(i, j) for i in (0, 3) for j in (0, 3)]
    pooled = np.stack([np.maximum(x, 0)[:, i : i + 5, j : j + 5].mean((1, 2)) for i, j in starts], 1)
    y = normalised(pooled.reshape(5, 2, 2, 3) @ p["conv_1"]["kernel"][0, 0])
    y = normalised(np.einsum("nijc,ijcd->nd", y, p["conv_2"]["kernel"])[:, None, None])[:, 0, 0]
    logits = y @ p["dense"]["kernel"] + p["dense"]["bias"]
    np.testing.assert_allclose(AuxiliaryHead(4).apply({"params": params}, x), logits, atol=1e-4)


def test_without_its_extras_the_network_in_training_is_the_plain_one():
    own, plain, trained = model(**IN_TRAINING), model(), variables()
    calls = {"mutable": ["batch_stats"], "rngs": {"drop_path": jax.random.key(0)}}
    run = jax.jit(lambda rate: own.train.apply(trained, pictures(), drop_path=rate, **calls)[0])
    (logits, auxiliary), (dropped, _) = run(0.0), run(0.5)
    expected, _ = jax.jit(lambda: plain.train.apply(trained, pictures(), mutable=["batch_stats"]))()
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    assert auxiliary.shape == logits.shape and jnp.abs(dropped - logits).max() > 1e-3
    logits, expected = (jax.jit(view.apply)(trained, pictures()) for view in (own.evaluate, plain.evaluate))
    np.testing.assert_array_equal(logits, expected)
    sizes = training.count_costs(own, 16), training.count_costs(plain, 16)
    assert sizes[0] == sizes[1] and sizes[0][0] == SPACE.num_params(ARCH, 4)


@pytest.mark.slow
def test_training_moves_the_auxiliary_head_and_loading_leaves_it_away(tmp_path):
    images = np.asarray(pictures(8))
    examples = Examples(8, lambda i: (images[i], i % 4))
    data = Data(examples, examples, Frame(16, test_training.MEAN, test_training.STD), 4)
    settings = {"space": "darts", "arch": SPACE.encode(ARCH), "size": dict(SPACE.size)}
    own = model(**IN_TRAINING)
    trained = training.fit(tmp_path, own, RECIPE, data, settings=settings)
    begun = jax.eval_shape(own.init, jax.random.key(0), pictures())["params"]["network"]
    network = trained.state.variables["params"]["network"]
    assert set(network) == set(begun) and "auxiliary" in network
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(network["auxiliary"]))  # biases begin with 0
    module, found = training.load(tmp_path)
    assert set(found["params"]["network"]) == set(network) - {"auxiliary"}
    assert costs.count_params(found["params"]) == SPACE.num_params(ARCH, 4)
    hits = jax.jit(module.apply)(found, images).argmax(-1) == np.arange(8) % 4
    assert trained.history[-1]["test_accuracy"] == pytest.approx(hits.mean())


def test_a_recipe_and_a_network_that_do_not_agree_are_refused():
    plain = dataclasses.replace(RECIPE, auxiliary_weight=0.0, drop_path=0.0)
    with pytest.raises(ValueError, match=r"auxiliary_weight is 0.4: the model was made without it"):
        make_loss(model(), RECIPE, 4)
    with pytest.raises(ValueError, match=r"drop_path is 0.0: the model was made for it"):
        make_loss(model(drop_path=True), plain, 4)
    with pytest.raises(ValueError, match="networks of space nats_size have no auxiliary head and no drop path"):
        model(search_spaces.make_space("nats_size"), np.zeros(5, int), drop_path=True)


def test_the_size_of_networks_is_chosen():
    space = search_spaces.make_space("darts_s2", {"channels": 36, "layers": 20})
    assert (
        space.size == {"channels": 36, "layers": 20, "imagenet": False, "with_stem": True}
        and space.source == "C 36, L 20"
    )
    assert space.num_params(darts.NAMED["DARTS_V2"], 10) == 3_349_342
    large = search_spaces.make_space("darts", {"imagenet": True}).with_size(channels=48, layers=14)
    assert large.num_params(darts.NAMED["DARTS_V2"], 1000) == 4_718_752
    with pytest.raises(ValueError, match="layers is 3: networks of space rlnas have no such size to choose"):
        search_spaces.make_space("rlnas", {"layers": 3})
    with pytest.raises(ValueError, match="no such size to choose: allowed are channels, layers, imagenet"):
        search_spaces.make_space("darts", {"depth": 3})

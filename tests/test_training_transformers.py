"""What the recipes of transformers need: AdamW, a rate that ends above 0, CutMix, drop path of a constant rate."""

import dataclasses

import flax.linen as nn
import foreign
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_training import MEAN, STD, Frame, batch, examples

from zsnas_jax import training
from zsnas_jax.nn.roles import Role
from zsnas_jax.training import Data, Model, Recipe, steps

RECIPE = Recipe(source="a test", epochs=2, batch_size=8, optimizer="adamw", learning_rate=0.01, weight_decay=0.05)


class Token(nn.Module):
    """A class token in front of tokens, which tells what it is."""

    @nn.compact
    def __call__(self, x):
        token = self.param("token", nn.initializers.normal(0.02), (1, 1, x.shape[-1]))
        return jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, x.shape[-1])), x], axis=1)

    def parameter_roles(self):
        return {"token": Role.EMBEDDING}


class Tiny(nn.Module):
    """Patches, a class token, a residual layer that drop path leaves out."""

    @nn.compact
    def __call__(self, x, drop_path=0.0):
        x = nn.Conv(4, (4, 4), strides=(4, 4), name="patches")(x)
        x = Token(name="class")(x.reshape(len(x), -1, x.shape[-1]))
        y = nn.Dense(x.shape[-1], name="layer")(nn.LayerNorm(name="norm")(x))
        if self.has_rng("drop_path"):
            y *= jax.random.bernoulli(self.make_rng("drop_path"), 1 - drop_path, (len(x), 1, 1)) / (1 - drop_path)
        return nn.Dense(4, name="head")((x + y)[:, 0])


def model(network):
    return Model(network, network, network.init)


def decayed(network, recipe=RECIPE):
    image = jnp.asarray(batch()["image"])
    variables = jax.eval_shape(network.init, jax.random.key(0), image)
    found = steps.find_decayed(model(network), recipe, variables, image)
    return found if found is None else {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(found)}  # fmt: skip


def test_adamw_decays_what_modules_call_kernels():
    found = decayed(Tiny())
    assert {name for name, is_kernel in found.items() if is_kernel} == {"patches/kernel", "layer/kernel", "head/kernel"}
    assert {"class/token", "norm/scale", "layer/bias"} < set(found)
    found = decayed(foreign.Scanned(params_axis=1))
    assert found["stack/Conv_0/kernel"] and not found["stack/BatchNorm_0/scale"]
    found = decayed(foreign.ViT())
    assert not found["positions/embedding"] and found["block0/MultiHeadDotProductAttention_0/query/kernel"]
    own = foreign.Own()
    assert decayed(own) == {"Dense_0/bias": False, "Dense_0/kernel": True, "Scaled_0/gain": False, "Scaled_0/offset": False, "Scaled_0/rows": True}  # fmt: skip
    for further in ({"optimizer": "sgd"}, {"weight_decay": 0.0}):
        assert decayed(own, dataclasses.replace(RECIPE, **further)) is None
    with pytest.raises(ValueError, match="whether positions of ViT is one nobody tells, give the module a method"):
        decayed(foreign.ViT(is_table=False))


def test_adamw_is_its_equation():
    mask = {"kernel": True, "bias": False}
    optimizer = steps.make_optimizer(RECIPE, optax.constant_schedule(0.01), mask)
    params = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([3.0, 0.5])}
    own = {name: np.asarray(value, np.float64) for name, value in params.items()}
    m, v, state = dict.fromkeys(own, 0.0), dict.fromkeys(own, 0.0), optimizer.init(params)
    for t in (1, 2, 3):
        gradient = {name: t * np.array([0.5, -0.1]) for name in own}
        updates, state = optimizer.update(jax.tree.map(jnp.float32, gradient), state, params)
        params = optax.apply_updates(params, updates)
        for name, g in gradient.items():
            m[name], v[name] = 0.9 * m[name] + 0.1 * g, 0.999 * v[name] + 0.001 * g**2
            step = m[name] / (1 - 0.9**t) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
            own[name] = own[name] - 0.01 * (step + 0.05 * mask[name] * own[name])
    for name, expected in own.items():
        np.testing.assert_allclose(params[name], expected, rtol=1e-5)


def test_a_step_decays_kernels_alone():
    """Of a picture that is the mean, with a network whose gradient is 0, only the decay is left."""

    class Still(nn.Module):
        @nn.compact
        def __call__(self, image):
            x = nn.LayerNorm(scale_init=nn.initializers.constant(2.0))(image.mean((1, 2)))
            return nn.Dense(4, bias_init=nn.initializers.ones)(0.0 * x) * 0.0

    own = model(Still())
    state = steps.init_state(jax.random.key(0), own, RECIPE, jnp.zeros((1, 8, 8, 3), jnp.uint8))
    before = jax.device_get(state.variables["params"])
    step = steps.make_train_step(own, RECIPE, 4, optax.constant_schedule(0.01))
    after = step(state, batch(), jax.random.key(1))[0].variables["params"]
    np.testing.assert_allclose(after["Dense_0"]["kernel"], before["Dense_0"]["kernel"] * (1 - 0.01 * 0.05), rtol=1e-6)
    np.testing.assert_array_equal(after["Dense_0"]["bias"], np.ones(4))
    np.testing.assert_array_equal(after["LayerNorm_0"]["scale"], np.full(3, 2.0))


def test_the_rate_ends_where_the_recipe_says():
    own = dataclasses.replace(RECIPE, epochs=4, warmup_epochs=1, warmup_rate=0.002, final_rate=0.001)
    schedule, num_steps = steps.make_schedule(own, 10)
    rates = [float(schedule(i)) for i in (0, 5, 10, 25, num_steps)]
    assert rates == pytest.approx([0.002, 0.006, 0.01, 0.0055, 0.001])
    linear, _ = steps.make_schedule(dataclasses.replace(own, schedule="linear"), 10)
    assert [float(linear(i)) for i in (10, 25, 40)] == pytest.approx([0.01, 0.0055, 0.001])


def test_drop_path_is_constant_where_it_does_not_grow():
    rate = steps.make_drop_path(dataclasses.replace(RECIPE, drop_path=0.1, drop_path_grows=False), 5)
    assert [float(rate(step)) for step in (0, 5, 9)] == pytest.approx([0.1] * 3) and rate(0).dtype == jnp.float32


def test_a_box_has_the_area_that_is_asked_for():
    """Of 12 x 20 pixels with 0.7 of each side: 8 x 14, less what lies beyond the border."""
    draw = jax.jit(jax.vmap(lambda key: steps.draw_box(key, (12, 20), jnp.float32(0.51))))
    boxes = np.asarray(draw(jax.random.split(jax.random.key(0), 300)))
    assert boxes.shape == (300, 12, 20) and set(np.unique(boxes)) == {0, 1}
    rows, columns = boxes.any(2).sum(1), boxes.any(1).sum(1)
    np.testing.assert_array_equal(boxes.sum((1, 2)), rows * columns)  # a rectangle
    # A centre at row 0 leaves the rows 0 to 3, one at row 11 the rows 7 to 11.
    assert set(rows) == {4, 5, 6, 7, 8} and set(columns) == set(range(7, 15))
    assert not steps.draw_box(jax.random.key(0), (12, 20), jnp.float32(1)).any()


@pytest.mark.parametrize(("mixup", "least", "most"), [(0.8, 0.4, 0.6), (0.0, 0.0, 0.0)])
def test_cutmix_weighs_labels_by_what_is_left_of_pictures(mixup, least, most):
    """With mixup half of the batches are blended; of the others every pixel is one of two pictures'."""
    image = jnp.broadcast_to(jnp.eye(6)[:, None, None], (6, 8, 8, 6))
    mix = jax.jit(jax.vmap(lambda key: steps.mix(key, image, jnp.eye(6), mixup, 1.0)))
    mixed, target = jax.device_get(mix(jax.random.split(jax.random.key(0), 200)))
    np.testing.assert_allclose(mixed.mean((2, 3)), target, atol=1e-5)
    is_blend = ((mixed > 0.001) & (mixed < 0.999)).any((1, 2, 3, 4))
    assert least <= is_blend.mean() <= most
    assert target.max(-1).mean() < 0.95 and target.max(-1).max() == 1  # some boxes are empty


EVERYTHING = dataclasses.replace(training.find_recipe("autoformer"), epochs=1, batch_size=8, warmup_epochs=0.5)
OWN = Model(Tiny(), Tiny(), Tiny().init, has_drop_path=True)


def fit(folder, recipe, **further):
    return training.fit(
        folder, OWN, recipe, Data(examples(), examples(count=12, seed=1), Frame(8, MEAN, STD), 4), **further
    )


@pytest.mark.dear  # seven seconds
def test_a_transformer_is_trained_by_the_whole_recipe(tmp_path):
    trained = fit(tmp_path, EVERYTHING)
    assert [row["step"] for row in trained.history] == [5]
    module, variables = training.load(tmp_path, OWN)
    assert module.apply(variables, batch()["image"] / np.float32(255)).shape == (8, 4)


@pytest.mark.slow
def test_a_run_by_the_whole_recipe_goes_on_as_if_it_had_not_stopped(tmp_path):
    class Stop(Exception):
        pass

    def stop(history):
        raise Stop

    recipe = dataclasses.replace(EVERYTHING, epochs=2)
    whole = fit(tmp_path / "whole", recipe)
    with pytest.raises(Stop):
        fit(tmp_path / "stopped", recipe, on_epoch=stop)
    again = fit(tmp_path / "stopped", recipe)
    for found, expected in zip(jax.tree.leaves(again.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [row["step"] for row in again.history] == [5, 10]


def test_the_recipes_are_the_published_ones():
    asked = ("epochs", "batch_size", "optimizer", "learning_rate", "final_rate", "warmup_epochs", "weight_decay",
             "label_smoothing", "mixup", "cutmix", "repeats", "drop_path", "drop_path_grows")  # fmt: skip
    values = lambda name: tuple(getattr(training.find_recipe(name), field) for field in asked)
    assert values("autoformer") == (500, 1024, "adamw", 1e-3, 1e-5, 20, 0.05, 0.1, 0.8, 1, 3, 0.1, False)
    assert values("autoformer_plain") == (300, 128, "adamw", 5e-4, 5e-6, 20, 0.05, 0, 0, 0, 1, 0.1, False)
    for name in ("autoformer", "autoformer_plain"):
        assert training.find_recipe(name).augmentations == ("resized_crop", "flip", "randaugment", "erasing")

"""The step, the loop and what they are made of, on tiny networks."""

import dataclasses

import chex
import flax.linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_spaces import every_space
import tiny

from zsnas_jax import search_spaces, train_main, training
from zsnas_jax.datasets import Examples
from zsnas_jax.search_spaces import mobilenetv2, nasbench101
from zsnas_jax.search_spaces.mobilenetv2.network import MobileNetV2, Plan, StagePlan
from zsnas_jax.search_spaces.nasbench101.network import NASBench101
from zsnas_jax.training import Data, Frame, Model, Recipe, loop, steps

CELL = (3, 1, 2, 4, 3, 1)
RECIPE = Recipe(source="a test", epochs=3, batch_size=8, nesterov=True, weight_decay=5e-4)
MEAN, STD = np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32)


def examples(count=40, size=8, num_classes=4, seed=0):
    """Pictures whose colour tells their class."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % num_classes
    image = rng.integers(0, 100, (count, size, size, 3))
    image += (150 * label / num_classes).astype(int)[:, None, None, None]
    return Examples(count, lambda i: (image[i].astype(np.uint8), int(label[i])))


def data(num_classes=4, **kinds):
    return Data(examples(**kinds), examples(count=12, seed=1), Frame(8, MEAN, STD), num_classes)


def model(space=None, arch=CELL, num_classes=4):
    return training.make_model(space or tiny.space(), arch, num_classes, mean=MEAN, std=STD)


def batch(size=8):
    found = [examples()[i] for i in range(size)]
    return {
        "image": np.stack([image for image, _ in found]),
        "label": np.array([label for _, label in found], np.int32),
    }


def begin(recipe=RECIPE, own=None):
    return steps.init_state(jax.random.key(0), own or model(), recipe, jnp.zeros((1, 8, 8, 3), jnp.uint8))


def step_of(recipe, own=None, **kinds):
    return steps.make_train_step(own or model(), recipe, 4, optax.constant_schedule(0.1), **kinds)


def test_running_statistics_come_to_those_of_the_batch():
    own, pictures = model(), jnp.asarray(batch()["image"])
    variables = begin().variables
    follow = jax.jit(lambda variables: own.train.apply(variables, pictures, mutable=["batch_stats"]))
    for _ in range(80):
        logits, moved = follow(variables)
        variables = variables | moved
    # The running variance is unbiased, the batch's is not: 32 pixels at the last stage of a tiny network.
    evaluated = jax.jit(own.evaluate.apply)(variables, pictures)
    assert jnp.abs(evaluated - logits).max() < 0.05 * jnp.abs(logits).max() + 0.05


def test_the_first_step_moves_statistics_as_the_equation_says():
    own, pictures = model(), jnp.asarray(batch()["image"])
    variables = begin().variables
    _, moved = jax.jit(lambda variables: own.train.apply(variables, pictures, mutable=["batch_stats"]))(variables)
    standard = (pictures / 255 - MEAN) / STD
    kernel = variables["params"]["network"]["stem"]["kernel"]
    response = jax.lax.conv_general_dilated(
        standard, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    seen = moved["batch_stats"]["network"]["stem_conv_norm"]["NormInput_0"]
    np.testing.assert_allclose(seen["mean"], 0.1 * response.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(seen["var"], 0.9 + 0.1 * response.var((0, 1, 2), ddof=1), rtol=1e-5)


PLAN = Plan(8, 16, 32, tuple(StagePlan(2, 3, s, n, 8, 8) for s, n in [(2, 1), (1, 2)] * 3 + [(2, 1)]))
NETWORKS = {
    "nasbench201": (tiny.network(4), CELL),
    "nasbench101": (NASBench101(num_classes=4, channels=8, cells_per_stack=1), tuple(np.asarray(nasbench101.sample(jax.random.key(1))).tolist())),
    "mobilenetv2": (MobileNetV2(num_classes=4), PLAN),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["nasbench201", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nasbench101", "mobilenetv2"))]
)  # the others compile for half a minute; that it is built for training, the next test sees
def test_a_network_of_every_space_learns(name):
    network, arch = NETWORKS[name]
    space = search_spaces.make_space(name)._replace(make_network=lambda num_classes: network, static=lambda _: arch)
    own = model(space, arch)
    state, step = begin(own=own), step_of(RECIPE, own)
    params = state.variables["params"]
    assert set(state.variables) == {"params", "batch_stats"}
    losses = []
    for _ in range(12):
        state, metrics = step(state, batch(), jax.random.key(1))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0], losses
    chex.assert_trees_all_equal_shapes(params, state.variables["params"])
    assert np.isfinite(jax.jit(own.evaluate.apply)(state.result, batch()["image"])).all()


@every_space
def test_every_space_says_how_one_architecture_is_built(name):
    space = search_spaces.make_space(name)
    arch = space.sample(jax.random.key(0))
    own = training.make_model(space, arch, 10, mean=MEAN, std=STD)
    assert isinstance(own.evaluate.arch, tuple) and hash(own.evaluate.arch)
    if name in ("nasbench201", "nats_size"):  # one of each kind; the others' own tests count likewise
        assert training.count_costs(own, 16)[0] == space.num_params(arch, 10)


def test_mobilenetv2_is_built_from_its_plan():
    arch = mobilenetv2.decode(mobilenetv2.TABLE_11)
    assert search_spaces.make_space("mobilenetv2").static(arch) == mobilenetv2.plan_of(arch)


def test_sgd_follows_the_published_update():
    """v <- m v + g + w d, w <- w - r (g + w d + m v) with Nesterov's momentum."""
    recipe = dataclasses.replace(RECIPE, momentum=0.9, weight_decay=0.01)
    optimizer = steps.make_optimizer(recipe, optax.constant_schedule(0.1))
    params, gradient = jnp.array([1.0, -2.0]), jnp.array([0.5, 0.25])
    state, velocity, own = optimizer.init(params), np.zeros(2), np.array([1.0, -2.0])
    for _ in range(3):
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        g = np.asarray(gradient) + 0.01 * own
        velocity = 0.9 * velocity + g
        own = own - 0.1 * (g + 0.9 * velocity)
    np.testing.assert_allclose(params, own, rtol=1e-6)


def test_rmsprop_is_tensorflows():
    """s <- .9 s + .1 g^2 from 1, v <- m v + r g / sqrt(s + 1), w <- w - v."""
    recipe = dataclasses.replace(training.find_recipe("nasbench101"), weight_decay=0.0)
    optimizer = steps.make_optimizer(recipe, optax.constant_schedule(0.2))
    params, gradient = jnp.array([1.0]), jnp.array([0.5])
    state, s, v, own = optimizer.init(params), 1.0, 0.0, 1.0
    for _ in range(3):
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        s = 0.9 * s + 0.1 * 0.25
        v = 0.9 * v + 0.2 * 0.5 / np.sqrt(s + 1)
        own -= v
    np.testing.assert_allclose(params, [own], rtol=1e-6)


def test_the_rate_rises_and_falls():
    schedule, num_steps = steps.make_schedule(dataclasses.replace(RECIPE, epochs=4, warmup_epochs=1), 10)
    assert num_steps == 40
    rates = [float(schedule(i)) for i in range(41)]
    assert rates[0] == 0 and rates[10] == pytest.approx(0.1) and rates[25] == pytest.approx(0.05) and rates[40] == pytest.approx(0, abs=1e-9)  # fmt: skip
    plain, _ = steps.make_schedule(RECIPE, 10)
    assert float(plain(0)) == pytest.approx(0.1) and float(plain(15)) == pytest.approx(0.05)
    linear, _ = steps.make_schedule(dataclasses.replace(RECIPE, schedule="linear", warmup_epochs=1), 10)
    assert [float(linear(i)) for i in (5, 10, 15, 30)] == pytest.approx([0.05, 0.1, 0.075, 0])
    exponential, _ = steps.make_schedule(dataclasses.replace(RECIPE, schedule="exponential"), 10)
    assert [float(exponential(i)) for i in (0, 9, 10, 29)] == pytest.approx([0.1, 0.1, 0.097, 0.1 * 0.97**2])


def test_gradients_are_cut_before_the_weight_decay():
    recipe = dataclasses.replace(RECIPE, momentum=0.0, nesterov=False, weight_decay=0.1, clip=1.0)
    optimizer = steps.make_optimizer(recipe, optax.constant_schedule(0.5))
    params = {"a": jnp.array([1.0]), "b": jnp.array([2.0])}
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([-4.0])}, {"a": jnp.array([0.3]), "b": jnp.array([0.0])}
    for gradient, cut in zip(gradients, ((0.6, -0.8), (0.3, 0.0)), strict=True):
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        np.testing.assert_allclose(updates["a"], -0.5 * (cut[0] + 0.1), rtol=1e-6)
        np.testing.assert_allclose(updates["b"], -0.5 * (cut[1] + 0.2), rtol=1e-6)


@given(alpha=st.floats(0.05, 4.0), seed=st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_mixup_keeps_pictures_beside_their_labels(alpha, seed):
    image = jnp.eye(6).reshape(6, 6, 1, 1)
    mixed, target = steps.mix(jax.random.key(seed), image, {"label": jnp.eye(6)}, alpha)
    np.testing.assert_allclose(mixed.reshape(6, 6), target["label"], atol=1e-6)
    np.testing.assert_allclose(target["label"].sum(1), 1, atol=1e-5)


def test_no_mixup_leaves_everything():
    image, target = steps.mix(jax.random.key(0), jnp.ones((2, 1, 1, 1)), jnp.eye(2), 0.0)
    assert (image == 1).all() and (target == jnp.eye(2)).all()


def test_label_smoothing_and_a_teacher_are_in_the_loss():
    class Constant(nn.Module):
        @nn.compact
        def __call__(self, image):
            return jnp.zeros((len(image), 4)) + self.param("bias", nn.initializers.zeros, (4,))

    own = Model(Constant(), Constant(), Constant().init)
    bias = {"bias": jnp.log(jnp.array([0.7, 0.1, 0.1, 0.1]))}
    one = {"image": np.zeros((1, 8, 8, 3), np.uint8), "label": np.zeros(1, np.int32)}
    loss_of = lambda recipe, batch, **kinds: float(steps.make_loss(own, recipe, 4, **kinds)(bias, {}, batch, jax.random.key(0))[0])  # fmt: skip
    plain = -np.log(0.7)
    assert loss_of(RECIPE, one) == pytest.approx(plain)
    smoothed = -0.925 * np.log(0.7) - 0.075 * np.log(0.1)
    assert loss_of(dataclasses.replace(RECIPE, label_smoothing=0.1), one) == pytest.approx(smoothed)
    logits = np.log(np.array([[0.4, 0.3, 0.2, 0.1]], np.float32))
    soft = -0.4 * np.log(0.7) - 0.6 * np.log(0.1)
    taught = dataclasses.replace(RECIPE, teacher_weight=0.5)
    assert loss_of(taught, one | {"teacher": logits}) == pytest.approx(plain + 0.5 * soft)
    assert loss_of(taught, one, teacher=lambda image: jnp.asarray(logits)) == pytest.approx(plain + 0.5 * soft)


def test_averages_follow_the_weights():
    recipe = dataclasses.replace(RECIPE, ema_decay=0.75)
    before = begin(recipe)
    old = jax.device_get(before.variables)
    after, _ = step_of(recipe)(before, batch(), jax.random.key(1))
    expected = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, old, after.variables)
    chex.assert_trees_all_close(after.result, expected, atol=1e-6)
    assert after.result is after.average and begin().average is None


@pytest.mark.slow
def test_half_precision_is_that_of_the_passes_alone():
    recipe = dataclasses.replace(RECIPE, precision="bfloat16")
    state, metrics = step_of(recipe)(begin(recipe), batch(), jax.random.key(1))
    _, exact = step_of(RECIPE)(begin(), batch(), jax.random.key(1))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.variables)} == {jnp.dtype("float32")}
    assert float(metrics["loss"]) == pytest.approx(float(exact["loss"]), rel=0.05)
    program = {r: str(step_of(r).trace(begin(r), batch(), jax.random.key(1)).jaxpr) for r in (recipe, RECIPE)}
    assert "bf16[8,8,8,4] = conv_general_dilated" in program[recipe] and "bf16" not in program[RECIPE]


def test_a_user_trains_a_module_of_their_own(tmp_path):
    class Net(nn.Module):
        is_training: bool

        @nn.compact
        def __call__(self, image):
            x = nn.Conv(4, (3, 3))(image)
            x = nn.relu(nn.BatchNorm(use_running_average=not self.is_training)(x))
            return nn.Dense(4)(x.mean((1, 2)))

    own = Model(Net(True), Net(False), Net(True).init)
    recipe = dataclasses.replace(RECIPE, epochs=2)
    trained = training.fit(tmp_path, own, recipe, Data(examples(), examples(), Frame(8, MEAN, STD), 4))
    assert [row["epoch"] for row in trained.history] == [1, 2]
    with pytest.raises(ValueError, match="does not say of which space its network is: give load its model"):
        training.load(tmp_path)
    module, variables = training.load(tmp_path, own)
    assert module == Net(False)
    chex.assert_trees_all_equal(variables, jax.device_get(trained.state.result))
    pictures = np.stack([examples()[i][0] for i in range(40)])
    hits = module.apply(variables, pictures / np.float32(255)).argmax(-1) == np.arange(40) % 4
    assert trained.history[-1]["test_accuracy"] == pytest.approx(hits.mean())


def test_a_state_that_is_not_finite_is_never_saved(tmp_path):
    """The loss of the only step is finite still: it is of the weights before."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, image):
            return nn.Dense(4)(image.mean((1, 2)))

    own = Model(Net(), Net(), Net().init)
    recipe = dataclasses.replace(RECIPE, learning_rate=1e38, weight_decay=1e6, epochs=0.2)
    match = r"after step 1 [0-9]+ of [0-9]+ arrays are not finite, first \..*: try a smaller learning rate"
    with pytest.raises(RuntimeError, match=match):
        training.fit(tmp_path, own, recipe, data())
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        training.load(tmp_path, own)


def test_a_teacher_with_other_classes_is_refused(tmp_path):
    for teacher in (np.zeros((40, 7), np.float32), lambda image: jnp.zeros((len(image), 7))):
        with pytest.raises(ValueError, match=r"teacher's logits are of shape \[\d+, 7\]: 4 classes are needed"):
            training.fit(tmp_path, model(), RECIPE, data(), teacher=teacher)
    with pytest.raises(ValueError, match="logits are of 39 pictures: the data set has 40"):
        training.fit(tmp_path, model(), RECIPE, data(), teacher=np.zeros((39, 4)))


def test_a_network_with_other_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the network's logits are of 4 classes: the data has 6"):
        training.fit(tmp_path, model(), RECIPE, data()._replace(num_classes=6))


def test_labels_beyond_the_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"labels from \d to [4-7] do not fit 4 classes"):
        training.fit(tmp_path, model(), RECIPE, data()._replace(train=examples(num_classes=8)))


@pytest.mark.dear
def test_another_run_is_not_gone_on_with(tmp_path):
    short = dataclasses.replace(RECIPE, epochs=1)
    training.fit(tmp_path, model(), short, data())
    logits = np.zeros((40, 4), np.float32)
    for change, complaint in [({"teacher": logits}, "teacher_sha256 is '.*', there it was None"), ({"seed": 1}, "seed is 1")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"is of another run: {complaint}"):
            training.fit(tmp_path, model(), short, data(), **change)
    with pytest.raises(ValueError, match="is of another run: examples_sha256"):
        training.fit(tmp_path, model(), short, data(seed=5))
    with pytest.raises(ValueError, match="test_every is 0, checkpoint_every 0: at least 1 and 0"):
        training.fit(tmp_path, model(), short, data(), test_every=0)
    seen = []
    training.fit(tmp_path, model(), short, data(), on_epoch=seen.append)  # nothing is left to do but to say so
    assert [row["epoch"] for row in seen[0]] == [1]


def test_one_value_a_channel_is_too_few_to_train():
    own, picture = model(), jax.ShapeDtypeStruct((1, 1, 1, 3), jnp.float32)
    variables = jax.eval_shape(own.init, jax.random.key(0), picture)
    with pytest.raises(ValueError, match="batch norm sees one value a channel: more pictures"):
        jax.eval_shape(lambda v, picture: own.train.apply(v, picture, mutable=["batch_stats"]), variables, picture)


def test_devices_that_cannot_share_a_batch_are_refused():
    assert training.make_mesh(1, 7) is None
    with pytest.raises(ValueError, match="num_devices is 99: there are"):
        training.make_mesh(99, 99)
    with pytest.raises(ValueError, match="num_devices is 0: there are"):
        training.make_mesh(0, 8)


def test_a_space_without_static_networks_is_refused():
    with pytest.raises(ValueError, match="networks of space nasbench201 cannot be trained: it lacks a function static"):
        model(tiny.space()._replace(static=None))


def test_a_space_without_a_recipe_needs_one():
    own = tiny.space()._replace(name="mine")
    assert train_main.name_recipe(own, "imagenet") == "imagenet"
    with pytest.raises(ValueError, match="space mine has no recipe of its own: give --recipe, allowed are nasbench201"):
        train_main.name_recipe(own, None)
    names = ("darts_s4", "nats_size", "rlnas", "nasbench_macro")
    found = [train_main.name_recipe(tiny.space()._replace(name=name), None) for name in names]
    assert found == ["darts", "nats_size", "rlnas", "nasbench_macro"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"epochs": 0}, "epochs is 0: more than 0"),
        ({"epochs": float("inf")}, "epochs is inf: a number is needed"),
        ({"batch_size": -1}, "batch_size is -1: more than 0"),
        ({"momentum": 1.0}, "momentum is 1.0: allowed are 0 to 1"),
        ({"mixup": -0.1}, "mixup is -0.1: 0 or more"),
        ({"cutmix": -1.0}, "cutmix is -1.0: 0 or more"),
        ({"repeats": 0}, "repeats is 0: more than 0"),
        ({"final_rate": 0.2}, "final_rate is 0.2: allowed are 0 to the learning_rate, 0.1"),
        ({"warmup_rate": -1e-6}, "warmup_rate is -1e-06: allowed are 0 to the learning_rate, 0.1"),
        ({"warmup_epochs": 3}, "warmup_epochs is 3: fewer than the 3 epochs"),
        ({"rate_decay": 0.0}, "rate_decay is 0.0: more than 0"),
        ({"clip": -1.0}, "clip is -1.0: 0 or more"),
        ({"auxiliary_weight": -1.0}, "auxiliary_weight is -1.0: 0 or more"),
        ({"drop_path": 1.0}, "drop_path is 1.0: allowed are 0 to 1"),
        ({"schedule": "step"}, "unknown schedule 'step': allowed are cosine, linear, exponential"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam': allowed are sgd, rmsprop, adamw"),
        ({"precision": "float16"}, "unknown precision 'float16': allowed are float32, bfloat16"),
        ({"augmentations": ("blur",)}, "unknown augmentation 'blur': allowed are flip, crop, cutout"),
    ],
)
def test_recipes_are_checked(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(RECIPE, **change)


def test_recipes_are_the_published_ones():
    recipe = training.find_recipe("nasbench201")
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.weight_decay) == (200, 256, 0.1, 5e-4)
    assert recipe.nesterov and recipe.augmentations == ("flip", "crop")
    assert training.find_recipe("nasbench201_12") == dataclasses.replace(recipe, epochs=12)
    imagenet = training.find_recipe("imagenet")
    assert (imagenet.epochs, imagenet.batch_size, imagenet.label_smoothing, imagenet.mixup) == (480, 512, 0.1, 0.4)
    asked = ("epochs", "batch_size", "learning_rate", "weight_decay", "schedule", "clip", "label_smoothing",
             "auxiliary_weight", "drop_path")  # fmt: skip
    values = lambda name: tuple(getattr(training.find_recipe(name), field) for field in asked)
    assert values("darts") == (600, 96, 0.025, 3e-4, "cosine", 5, 0, 0.4, 0.2)
    assert "cutout" in training.find_recipe("darts").augmentations
    assert values("darts_imagenet") == (250, 128, 0.1, 3e-5, "exponential", 5, 0.1, 0.4, 0)
    assert training.find_recipe("darts_imagenet").rate_decay == 0.97
    assert values("nasbench_macro") == (50, 256, 0.1, 5e-4, "cosine", 0, 0, 0, 0)
    assert values("rlnas") == (240, 1024, 0.5, 4e-5, "linear", 5, 0.1, 0, 0)
    assert values("nats_size") == (90, *values("nasbench201")[1:])
    with pytest.raises(ValueError, match="unknown recipe 'best': allowed are nasbench201"):
        training.find_recipe("best")


def test_a_tenth_of_an_epoch_is_not_called_one():
    row = lambda number: loop._row(number, 40, [], {"loss": 4.0, "accuracy": 2.0}, lambda step: 0.1)
    assert [row(number)["epoch"] for number in (4, 40, 60, 80)] == [0.1, 1, 1.5, 2]
    assert isinstance(row(80)["epoch"], int)

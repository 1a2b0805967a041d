"""A step of training and a step of testing, as pure functions. B batch, H W C pictures, K classes.

The loss is the mean cross-entropy to smoothed, mixed labels, and to the teacher's soft labels if there is one:

    L = mean_b [ -sum_k y_bk log q_bk  -  teacher_weight sum_k softmax(t_b)_k log q_bk ]

with q the network's probabilities and t the teacher's logits. Of an auxiliary head's q', as of DARTS in training, is
added auxiliary_weight mean_b [ -sum_k y_bk log q'_bk ].
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
import optax

from zsnas_jax.training.batches import NOBODY
from zsnas_jax.training.models import Model
from zsnas_jax.training.recipes import Recipe

AXIS = "batch"
Teacher = Callable[[jax.Array], jax.Array]
"""Pictures float[B, H, W, C] in [0, 1] to logits float[B, K]; nothing is differentiated through it."""
Batch = Mapping[str, jax.Array]
"""As `zsnas_jax.training.batches` makes them."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Everything that a step changes.

    Attributes:
        step: int32[], how many have been done.
        variables: of the network, "params" among them.
        optimizer: optax's state.
        average: exponential moving average of the variables, or None.
    """

    step: jax.Array
    variables: Any
    optimizer: Any
    average: Any

    @property
    def result(self) -> Any:
        """The variables that are evaluated."""
        return self.variables if self.average is None else self.average


def check_state(state: State) -> None:
    """Raises RuntimeError if an array of a state, of the network, the optimiser or the average, is not finite."""
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    floats = {name: leaf for name, leaf in leaves.items() if jnp.issubdtype(leaf.dtype, jnp.floating)}
    is_finite = jax.device_get(_are_finite(floats))
    if bad := sorted(name for name, finite in is_finite.items() if not finite):
        raise RuntimeError(
            f"after step {int(state.step)} {len(bad)} of {len(floats)} arrays are not finite, first {bad[0]}: try a "
            "smaller learning rate"
        )


@jax.jit
def _are_finite(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return jax.tree.map(lambda array: jnp.isfinite(array).all(), arrays)


def make_schedule(recipe: Recipe, steps_per_epoch: int) -> tuple[optax.Schedule, int]:
    """(learning rate of a step, number of steps)."""
    num_steps = max(1, round(recipe.epochs * steps_per_epoch))
    warmup = min(round(recipe.warmup_epochs * steps_per_epoch), num_steps - 1)
    peak = recipe.learning_rate
    if recipe.schedule == "linear":
        falling = optax.linear_schedule(peak, 0.0, num_steps - warmup)
    elif recipe.schedule == "exponential":
        falling = optax.exponential_decay(peak, steps_per_epoch, recipe.rate_decay, staircase=True)
    else:
        falling = optax.cosine_decay_schedule(peak, num_steps - warmup)
    if not warmup:
        return falling, num_steps
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), falling], [warmup]), num_steps


def make_drop_path(recipe: Recipe, steps_per_epoch: int) -> optax.Schedule:
    """The rate of drop path of a step: p = p_max e / E in epoch e = 0, 1, ..., of E."""
    return lambda step: recipe.drop_path * (step // steps_per_epoch) / recipe.epochs


def make_optimizer(recipe: Recipe, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The recipe's optimizer; the weight decay is part of the gradient, as the papers have it."""
    if recipe.optimizer == "rmsprop":
        rms = {"decay": 0.9, "eps": 1.0, "eps_in_sqrt": True, "initial_scale": 1.0}
        own = optax.rmsprop(schedule, momentum=recipe.momentum or None, nesterov=recipe.nesterov, **rms)
    else:
        own = optax.sgd(schedule, momentum=recipe.momentum or None, nesterov=recipe.nesterov)
    before = [optax.clip_by_global_norm(recipe.clip)] if recipe.clip else []
    before += [optax.add_decayed_weights(recipe.weight_decay)] if recipe.weight_decay else []
    return optax.chain(*before, own) if before else own


def init_state(key: jax.Array, model: Model, recipe: Recipe, image: jax.Array) -> State:
    """The state before the first step; the optimizer's does not depend on its schedule."""

    def make(key: jax.Array) -> State:
        variables = model.init(key, image)
        optimizer = make_optimizer(recipe, optax.constant_schedule(0.0)).init(variables["params"])
        return State(jnp.int32(0), variables, optimizer, variables if recipe.ema_decay else None)

    return jax.jit(make)(key)


def mix(key: jax.Array, image: jax.Array, target: Any, alpha: float) -> tuple[jax.Array, Any]:
    """Mixup: x <- lambda x + (1 - lambda) x_p for a permutation p of the batch and one lambda ~ Beta(alpha, alpha).

    Args:
        key: of lambda and p.
        image: float[B, H, W, C].
        target: a tree of float[B, ...], mixed alike.
        alpha: 0: nothing is mixed.
    """
    if not alpha:
        return image, target
    order_key, share_key = jax.random.split(key)
    order = jax.random.permutation(order_key, len(image))
    share = jax.random.beta(share_key, alpha, alpha)
    return jax.tree.map(lambda x: share * x + (1 - share) * x[order], (image, target))


def cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Mean over the batch of -sum_k target_k log softmax(logits)_k, float[] of float[B, K] each."""
    return optax.losses.softmax_cross_entropy(logits, target).mean()


def _pixels(batch: Batch) -> jax.Array:
    """Pictures as networks get them, float32[B, H, W, C] in [0, 1]."""
    return batch["image"] / jnp.float32(255)


def make_loss(
    model: Model, recipe: Recipe, num_classes: int, teacher: Teacher | None = None
) -> Callable[..., tuple[jax.Array, Any]]:
    """(params, rest of the variables, batch, key, rate) to (loss, (rest of the variables, share of labels hit)).

    The key is for mixup, and for modules that draw from the random streams "noise" and "drop_path"; the rate is drop
    path's.

    Raises:
        ValueError: if the model and the recipe do not agree on whether there is an auxiliary head, and drop path.
    """
    for name, has in (("auxiliary_weight", model.has_auxiliary), ("drop_path", model.has_drop_path)):
        if has != bool(getattr(recipe, name)):
            raise ValueError(f"{name} is {getattr(recipe, name)}: the model was made {'for' if has else 'without'} it")

    def loss(params: Any, rest: Any, batch: Batch, key: jax.Array, rate: Any = 0.0) -> tuple[jax.Array, Any]:
        pixels = _pixels(batch)
        label = optax.smooth_labels(jax.nn.one_hot(batch["label"], num_classes), recipe.label_smoothing)
        target = {"label": label}
        if "teacher" in batch:
            target["teacher"] = jax.nn.softmax(batch["teacher"])
        image, target = mix(key, pixels, target, recipe.mixup)
        if teacher is not None:
            target["teacher"] = lax.stop_gradient(jax.nn.softmax(teacher(image)))
        lower = lambda x: x.astype(recipe.precision)
        variables = rest | {"params": jax.tree.map(lower, params)}
        rngs = {"noise": jax.random.fold_in(key, 1), "drop_path": jax.random.fold_in(key, 2)}
        further = {"drop_path": rate} if model.has_drop_path else {}
        output, moved = model.train.apply(variables, lower(image), mutable=list(rest), rngs=rngs, **further)
        logits, *auxiliary = jax.tree.map(jnp.float32, output if model.has_auxiliary else (output,))
        value = cross_entropy(logits, target["label"])
        for other in auxiliary:
            value += recipe.auxiliary_weight * cross_entropy(other, target["label"])
        if "teacher" in target:
            value += recipe.teacher_weight * cross_entropy(logits, target["teacher"])
        return value, (dict(moved), (logits.argmax(-1) == batch["label"]).mean())

    return loss


def make_train_step(
    model: Model,
    recipe: Recipe,
    num_classes: int,
    schedule: optax.Schedule,
    *,
    drop_path: optax.Schedule = lambda step: 0.0,
    teacher: Teacher | None = None,
    mesh: Mesh | None = None,
) -> Callable[[State, Batch, jax.Array], tuple[State, dict[str, jax.Array]]]:
    """The compiled step: (state, batch, key) to (state, metrics).

    Metrics are loss, accuracy (before the step, on the batch as augmented) and learning_rate, float[] each. The key is
    that of the run: a step draws from it by its own number. The state's memory is taken over.

    Args:
        model: the network.
        recipe: how it is trained.
        num_classes: K.
        schedule: learning rate by step.
        drop_path: its rate by step; read where the model has it.
        teacher: logits of the pictures that the network sees, mixed ones included; None: those of the batch, if any.
        mesh: of one axis, `AXIS`, over which a batch is shared. Every device normalises by its own share of the batch,
            and mixes within it; gradients, statistics and metrics are the mean over devices.

    Raises:
        ValueError: as `make_loss`.
    """
    optimizer, loss = make_optimizer(recipe, schedule), make_loss(model, recipe, num_classes, teacher)

    def step(state: State, batch: Batch, key: jax.Array) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(key, state.step)
        if mesh is not None:
            key = jax.random.fold_in(key, lax.axis_index(AXIS))
        params, rest = state.variables["params"], {k: v for k, v in state.variables.items() if k != "params"}
        differentiated, rate = jax.value_and_grad(loss, has_aux=True), drop_path(state.step)
        (value, (rest, accuracy)), gradient = differentiated(params, rest, batch, key, rate)
        if mesh is not None:
            value, rest, accuracy, gradient = lax.pmean((value, rest, accuracy, gradient), AXIS)
        updates, own = optimizer.update(gradient, state.optimizer, params)
        variables = rest | {"params": optax.apply_updates(params, updates)}
        average = state.average
        if recipe.ema_decay:
            average = optax.incremental_update(variables, average, 1 - recipe.ema_decay)
        metrics = {"loss": value, "accuracy": accuracy, "learning_rate": schedule(state.step)}
        return State(state.step + 1, variables, own, average), jax.tree.map(jnp.float32, metrics)

    if mesh is not None:
        everywhere, shared = PartitionSpec(), PartitionSpec(AXIS)
        ins, outs = (everywhere, shared, everywhere), (everywhere, everywhere)
        step = jax.shard_map(step, mesh=mesh, in_specs=ins, out_specs=outs, check_vma=False)
    return jax.jit(step, donate_argnums=0, compiler_options=_lean_options())


def _lean_options() -> dict[str, Any]:
    """Compiler options under which XLA's CPU backend runs what frees memory first.

    Its own order keeps temporaries of every layer alive: 15 GiB for a network that needs 2, at a third of the speed.
    """
    if jax.default_backend() != "cpu":
        return {}
    if jax.__version_info__ < (0, 9, 2):
        return {"xla_cpu_enable_concurrency_optimized_scheduler": False}
    return {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


def make_test_step(model: Model) -> Callable[[Any, Batch], dict[str, jax.Array]]:
    """The compiled test: (variables, batch) to sums over what has a label: loss, hits and count, float[] each."""

    @jax.jit
    def test(variables: Any, batch: Batch) -> dict[str, jax.Array]:
        label, counts = batch["label"], jnp.float32(batch["label"] != NOBODY)
        logits: jax.Array = model.evaluate.apply(variables, _pixels(batch))  # type: ignore[assignment]
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(label, 0))
        hits = counts * (logits.argmax(-1) == label)
        return {"loss": (losses * counts).sum(), "hits": hits.sum(), "count": counts.sum()}

    return test

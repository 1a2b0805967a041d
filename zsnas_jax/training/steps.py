"""A step of training and a step of testing, as pure functions. B batch, H W C pictures, K classes.

The loss is the mean cross-entropy to smoothed, mixed labels, and to the teacher's soft labels if there is one:

    L = mean_b [ -sum_k y_bk log q_bk  -  teacher_weight sum_k softmax(t_b)_k log q_bk ]

with q the network's probabilities and t the teacher's logits. Of an auxiliary head's q', as of DARTS in training, is
added auxiliary_weight mean_b [ -sum_k y_bk log q'_bk ].
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

from flax.traverse_util import unflatten_dict
import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
import optax

from zsnas_jax.nn.weights import survey
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
    """(learning rate of a step, number of steps).

    A cosine falls over the steps after the warm-up; timm's is one of all steps, of which the warm-up takes the first.
    """
    num_steps = max(1, round(recipe.epochs * steps_per_epoch))
    warmup = min(round(recipe.warmup_epochs * steps_per_epoch), num_steps - 1)
    peak = recipe.learning_rate
    if recipe.schedule == "linear":
        falling = optax.linear_schedule(peak, recipe.final_rate, num_steps - warmup)
    elif recipe.schedule == "exponential":
        falling = optax.exponential_decay(peak, steps_per_epoch, recipe.rate_decay, staircase=True)
    else:
        falling = optax.cosine_decay_schedule(peak, num_steps - warmup, recipe.final_rate / peak)
    if not warmup:
        return falling, num_steps
    rising = optax.linear_schedule(recipe.warmup_rate, peak, warmup)
    return optax.join_schedules([rising, falling], [warmup]), num_steps


def make_drop_path(recipe: Recipe, steps_per_epoch: int) -> optax.Schedule:
    """The rate of drop path of a step: p = p_max e / E in epoch e = 0, 1, ..., of E; p_max if it does not grow."""
    if not recipe.drop_path_grows:
        return lambda step: jnp.float32(recipe.drop_path)
    return lambda step: recipe.drop_path * (step // steps_per_epoch) / recipe.epochs


def find_decayed(model: Model, recipe: Recipe, variables: Any, image: jax.Array) -> Any:
    """Which parameters "adamw" decays: a tree of bool as "params", or None where the recipe asks for nothing like it.

    These are the kernels. Biases, scales and shifts of norms, tables (class token, positions, relative ones) and
    whatever else is no kernel are left alone, as in DeiT. What a parameter is its module tells (`zsnas_jax.nn.roles`),
    not its name or its axes, by which timm decides. AutoFormer's code means to leave its relative tables alone, too,
    but names them by what no parameter is called, so that they decay there; and an `nn.Embed` would decay in timm.

    Args:
        model: the network.
        recipe: how it is trained.
        variables: of the network, "params" among them.
        image: pictures [N, H, W, C]; only their size is read.

    Raises:
        ValueError: if nobody tells what a parameter is.
    """
    if recipe.optimizer != "adamw" or not recipe.weight_decay:
        return None
    two = jnp.zeros((2, *image.shape[1:]))  # of a single picture a batch norm may see one value a channel
    further: dict[str, Any] = {"drop_path": jnp.float32(0)} if model.has_drop_path else {}
    rngs = {name: jax.random.key(0) for name in ("noise", "drop_path")}
    call = lambda params: model.train.apply({**variables, "params": params}, two, mutable=True, rngs=rngs, **further)
    weights = survey(type(model.train).__name__, variables["params"], call)
    for path, weight in weights.items():
        if weight.role is None:
            raise ValueError(
                f"adamw decays kernels alone: whether {'/'.join(path)} of {weight.layer} is one nobody tells, give the "
                "module a method parameter_roles, or take weight_decay 0"
            )
    return unflatten_dict({path: weight.kernel is not None for path, weight in weights.items()})


def make_optimizer(recipe: Recipe, schedule: optax.Schedule, decayed: Any = None) -> optax.GradientTransformation:
    """The recipe's optimizer.

    The weight decay is part of the gradient, as the papers have it; of "adamw" (Loshchilov and Hutter, ICLR 2019) it is
    not. With the moments m <- b1 m + (1 - b1) g and v <- b2 v + (1 - b2) g^2, corrected for their start from 0,

        w <- w - rate (m / (sqrt(v) + 1e-8) + weight_decay w)

    Args:
        recipe: how it is trained.
        schedule: the rate by step.
        decayed: a tree of bool as the parameters, which of them "adamw" decays; None: all of them.
    """
    if recipe.optimizer == "adamw":
        decay = {"weight_decay": recipe.weight_decay, "mask": decayed}
        own = optax.adamw(schedule, b1=recipe.momentum, b2=0.999, eps=1e-8, **decay)
        return optax.chain(optax.clip_by_global_norm(recipe.clip), own) if recipe.clip else own
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
        decayed = find_decayed(model, recipe, variables, image)
        optimizer = make_optimizer(recipe, optax.constant_schedule(0.0), decayed).init(variables["params"])
        return State(jnp.int32(0), variables, optimizer, variables if recipe.ema_decay else None)

    return jax.jit(make)(key)


def mix(key: jax.Array, image: jax.Array, target: Any, mixup: float, cutmix: float = 0.0) -> tuple[jax.Array, Any]:
    """Mixup (Zhang et al., ICLR 2018) or CutMix (Yun et al., ICCV 2019) of a batch with a permutation p of it.

    Mixup is x <- lambda x + (1 - lambda) x_p with one lambda ~ Beta(mixup, mixup), of pictures and targets. CutMix puts
    a box of x_p into x, that of `draw_box` for one lambda ~ Beta(cutmix, cutmix) in every picture, and mixes targets by
    the share of the pixels outside of it. Where both are asked for, each comes with probability 1/2.

    This is as in timm, but for p, which there is the reverse of the batch.

    Args:
        key: of all draws.
        image: float[B, H, W, C].
        target: a tree of float[B, ...], mixed alike.
        mixup: its alpha; 0: none.
        cutmix: its alpha; 0: none.
    """
    if not (mixup or cutmix):
        return image, target
    order_key, share_key = jax.random.split(key)
    order = jax.random.permutation(order_key, len(image))
    cuts, alpha = jnp.bool_(bool(cutmix)), jnp.float32(mixup or cutmix)
    if mixup and cutmix:
        cuts = jax.random.bernoulli(jax.random.fold_in(key, 3))
        alpha = jnp.where(cuts, cutmix, mixup)
    kept = share = jax.random.beta(share_key, alpha, alpha)
    if cutmix:
        outside = 1 - draw_box(jax.random.fold_in(key, 4), image.shape[1:3], share)[:, :, None]
        kept, share = jnp.where(cuts, outside, share), jnp.where(cuts, outside.mean(), share)
    blend = lambda share, x: share * x + (1 - share) * x[order]
    return blend(kept, image), jax.tree.map(functools.partial(blend, share), target)


def draw_box(key: jax.Array, sides: Sequence[int], share: jax.Array) -> jax.Array:
    """CutMix's box in a picture of sides (H, W): float[H, W], 1 inside and 0 outside.

    Its own sides are sqrt(1 - share) of the picture's, rounded down, and again to what is even. Its centre is a pixel,
    each alike; what lies outside of the picture is cut off.
    """

    def inside(key: jax.Array, pixels: int) -> jax.Array:
        half, place = jnp.int32(jnp.sqrt(1 - share) * pixels) // 2, jnp.arange(pixels)
        centre = jax.random.randint(key, (), 0, pixels)
        return (place >= centre - half) & (place < centre + half)

    rows, columns = map(inside, jax.random.split(key), sides)
    return jnp.float32(rows[:, None] & columns)


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

    The key is for mixup and CutMix, and for modules that draw from the random streams "noise" and "drop_path"; the rate
    is drop path's.

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
        image, target = mix(key, pixels, target, recipe.mixup, recipe.cutmix)
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
        ValueError: as `make_loss`, and when it is first called as `find_decayed`.
    """
    loss = make_loss(model, recipe, num_classes, teacher)

    def step(state: State, batch: Batch, key: jax.Array) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(key, state.step)
        if mesh is not None:
            key = jax.random.fold_in(key, lax.axis_index(AXIS))
        params, rest = state.variables["params"], {k: v for k, v in state.variables.items() if k != "params"}
        differentiated, rate = jax.value_and_grad(loss, has_aux=True), drop_path(state.step)
        (value, (rest, accuracy)), gradient = differentiated(params, rest, batch, key, rate)
        if mesh is not None:
            value, rest, accuracy, gradient = lax.pmean((value, rest, accuracy, gradient), AXIS)
        optimizer = make_optimizer(recipe, schedule, find_decayed(model, recipe, state.variables, batch["image"]))
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

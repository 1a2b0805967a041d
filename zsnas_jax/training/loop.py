"""Training from the first step to the last, through checkpoints: stopped anywhere, it goes on as if it had not been."""

from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses
import functools
import hashlib
import json
import math
import operator
import os
import time
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
from tqdm import tqdm

from zsnas_jax.datasets import Examples
from zsnas_jax.storage import files
from zsnas_jax.training.augmentations import Frame, make_augmentations
from zsnas_jax.training.batches import NOBODY, ordered_batches, steps_per_epoch, train_batches
from zsnas_jax.training.checkpoints import Checkpoints
from zsnas_jax.training.models import Model
from zsnas_jax.training.recipes import Recipe
from zsnas_jax.training.steps import (
    AXIS,
    State,
    Teacher,
    check_state,
    init_state,
    make_drop_path,
    make_schedule,
    make_test_step,
    make_train_step,
)

Row = dict[str, Any]
"""An epoch: epoch, 0.1 after a tenth of one, step, learning_rate, train_loss, train_accuracy, test_loss and
test_accuracy where it was tested, seconds since the start, those of earlier processes included. Accuracies are
shares."""


class Data(NamedTuple):
    """What is trained and tested on.

    Attributes:
        train: labelled pictures.
        test: others, or None.
        frame: what augmentations have to know of them.
        num_classes: K.
    """

    train: Examples
    test: Examples | None
    frame: Frame
    num_classes: int


class Trained(NamedTuple):
    """What training ends in: the last state, and a row an epoch."""

    state: State
    history: list[Row]


def describe(
    recipe: Recipe, data: Data, seed: int, teacher: Teacher | np.ndarray | None = None, mesh: Mesh | None = None
) -> dict[str, Any]:
    """What a run's checkpoints say of it beside what the caller says: JSON values.

    Sixteen of the pictures stand for all, and of the logits; of a teacher that is a function, that there is one.

    Raises:
        ValueError: for a teacher of other classes or pictures than the data.
    """
    _check_teacher(teacher, data)
    some = np.linspace(0, max(len(data.train) - 1, 0), 16).astype(int)[: 16 * len(data.train)]
    chosen = [part for picture, label in map(data.train.__getitem__, some) for part in (picture, np.int64(label))]
    taught = "a function" if callable(teacher) else None if teacher is None else _digest(teacher[i] for i in some)
    return {
        "recipe": json.loads(json.dumps(dataclasses.asdict(recipe))),
        "num_classes": data.num_classes,
        "num_examples": len(data.train),
        "image_size": data.frame.size,
        "mean": np.asarray(data.frame.mean).tolist(),
        "std": np.asarray(data.frame.std).tolist(),
        "seed": seed,
        "examples_sha256": _digest(chosen),
        "teacher_sha256": taught,
        "num_devices": mesh.size if mesh else 1,
    }


def _digest(arrays: Iterable[Any]) -> str:
    return hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest()[:16]


def make_mesh(num_devices: int, batch_size: int) -> Mesh | None:
    """The devices that share a batch; None for a single one.

    Raises:
        ValueError: if there are not as many, or they cannot share a batch evenly.
    """
    if not 1 <= num_devices <= jax.device_count():
        raise ValueError(f"num_devices is {num_devices}: there are {jax.device_count()}")
    if batch_size % num_devices:
        raise ValueError(f"batch_size is {batch_size}: {num_devices} devices cannot share it evenly")
    return Mesh(np.asarray(jax.devices()[:num_devices]), (AXIS,)) if num_devices > 1 else None


def _check_teacher(teacher: Teacher | np.ndarray | None, data: Data) -> None:
    """Raises ValueError if a teacher, or its stored logits, knows other classes than the data."""
    if teacher is None:
        return
    if callable(teacher):
        image = jax.ShapeDtypeStruct((1, data.frame.size, data.frame.size, 3), jnp.float32)
        shape = jax.eval_shape(teacher, image).shape
    else:
        shape = teacher.shape
    if len(shape) != 2 or shape[1] != data.num_classes:
        raise ValueError(f"the teacher's logits are of shape {list(shape)}: {data.num_classes} classes are needed")
    if not callable(teacher) and shape[0] != len(data.train):
        raise ValueError(f"the teacher's logits are of {shape[0]} pictures: the data set has {len(data.train)}")


def test(test_fn: Callable[..., Any], variables: Any, data: Data, batch_size: int) -> dict[str, float]:
    """Mean loss and accuracy over the test pictures; nothing where there are none."""
    if not data.test:
        return {}
    sums = {"loss": 0.0, "hits": 0.0, "count": 0.0}
    for batch in ordered_batches(data.test, min(batch_size, len(data.test)), data.frame.size):
        found = test_fn(variables, _check_labels(batch, data.num_classes, least=NOBODY))
        sums = {name: sums[name] + float(value) for name, value in found.items()}
    return {"test_loss": sums["loss"] / sums["count"], "test_accuracy": sums["hits"] / sums["count"]}


def fit(
    folder: str | os.PathLike[str],
    model: Model,
    recipe: Recipe,
    data: Data,
    *,
    settings: Mapping[str, Any] = MappingProxyType({}),
    seed: int = 0,
    teacher: Teacher | np.ndarray | None = None,
    mesh: Mesh | None = None,
    checkpoint_every: int = 0,
    test_every: int = 1,
    on_epoch: Callable[[list[Row]], None] = lambda history: None,
) -> Trained:
    """Trains a network, or goes on with it.

    Batches, augmentations and random draws are functions of the seed and the step, so that a run that was stopped goes
    through the same steps, to the same weights.

    Args:
        folder: where checkpoints go, one at the end of every epoch.
        model: the network.
        recipe: how it is trained.
        data: what on.
        settings: what else the run is, JSON values; checkpoints of another are refused. With "space" and "arch", its
            name and the string, and "size" where it is of another than by itself, `zsnas_jax.training.load` needs no
            model.
        seed: of the weights, the order, augmentations, mixup, CutMix and drop path.
        teacher: a function of pictures to logits, or the logits float[M, K] of the training pictures.
        mesh: devices that share a batch, as `make_mesh` says.
        checkpoint_every: steps between further checkpoints; 0: none.
        test_every: epochs between tests; the last is tested in any case.
        on_epoch: called with all rows after each epoch, and when a run goes on that has some.

    Raises:
        ValueError: for a network or a teacher of other classes, a network without the auxiliary head or the drop path
            that the recipe has, or with one that it has not, a parameter of which "adamw" cannot tell whether it
            decays, fewer pictures than a batch, a checkpoint of another run or a damaged one, or a folder that another
            process works on.
        RuntimeError: if the loss, the network or the optimiser's state is no longer finite; no such state is saved.
        OSError: if a checkpoint cannot be saved.
    """
    if test_every < 1 or checkpoint_every < 0:
        raise ValueError(
            f"test_every is {test_every}, checkpoint_every {checkpoint_every}: at least 1 and 0 are needed"
        )
    own = describe(recipe, data, seed, teacher, mesh) | dict(settings)
    live, stored = (teacher, None) if callable(teacher) else (None, teacher)
    per_epoch = steps_per_epoch(len(data.train), recipe.batch_size)
    schedule, num_steps = make_schedule(recipe, per_epoch)
    drop_path = make_drop_path(recipe, per_epoch)
    step = make_train_step(model, recipe, data.num_classes, schedule, drop_path=drop_path, teacher=live, mesh=mesh)
    test_fn = make_test_step(model)

    def is_due(number: int) -> bool:
        return bool(checkpoint_every) and number % checkpoint_every == 0

    def test_row(row: Row, state: State) -> Row:
        is_tested = row["step"] == num_steps or row["epoch"] % test_every == 0
        return row | (test(test_fn, state.result, data, recipe.batch_size) if is_tested else {})

    with files.locked(folder), Checkpoints(folder, own) as checkpoints:
        state, record = _begin(checkpoints, model, recipe, data, seed)
        first, history, sums = int(state.step), record["history"], record["sums"]
        if history:
            on_epoch(history)
        started = time.monotonic() - record["seconds"]
        augmentations = make_augmentations(recipe.augmentations, data.frame)
        order = functools.partial(train_batches, repeats=recipe.repeats, start=first, teacher=stored)
        batches = order(data.train, recipe.batch_size, seed, augmentations)
        state, key = _place(state, mesh, PartitionSpec()), _key(seed, 1)
        for number, show in _numbers(first, num_steps):
            batch = _check_labels(next(batches), data.num_classes)
            state, metrics = step(state, _place(batch, mesh, PartitionSpec(AXIS)), key)
            sums = jax.tree.map(operator.add, sums, metrics) if sums else metrics
            show(metrics)
            if ends := number % per_epoch == 0 or number == num_steps:
                row = test_row(_row(number, per_epoch, history, sums, schedule), state)
                history, sums = [*history, row | {"seconds": _since(started)}], {}
            if ends or is_due(number):
                check_state(state)
                floats = {name: float(value) for name, value in sums.items()}
                checkpoints.save(number, state, {"history": history, "sums": floats, "seconds": _since(started)})
            if ends:
                on_epoch(history)
    return Trained(state, history)


def _check_labels(batch: dict[str, np.ndarray], num_classes: int, least: int = 0) -> dict[str, np.ndarray]:
    """The batch; ValueError if a label is none of the classes."""
    label = batch["label"]
    if label.min() < least or label.max() >= num_classes:
        raise ValueError(f"labels from {label.min()} to {label.max()} do not fit {num_classes} classes")
    return batch


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


def _key(seed: int, use: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), use)


def _begin(checkpoints: Checkpoints, model: Model, recipe: Recipe, data: Data, seed: int) -> tuple[State, Any]:
    """The state to go on from, and what was written down with it."""
    image = jnp.zeros((1, data.frame.size, data.frame.size, 3), jnp.uint8)
    init = lambda: init_state(_key(seed, 0), model, recipe, image)
    shapes = jax.eval_shape(init)
    width = jax.eval_shape(model.evaluate.apply, shapes.result, image).shape[-1]
    if width != data.num_classes:
        raise ValueError(f"the network's logits are of {width} classes: the data has {data.num_classes}")
    found = checkpoints.restore(shapes)
    return found or (init(), {"history": [], "sums": {}, "seconds": 0.0})


def _place(tree: Any, mesh: Mesh | None, spec: PartitionSpec) -> Any:
    return jax.device_put(tree, NamedSharding(mesh, spec) if mesh else None)


def _numbers(first: int, last: int) -> Iterator[tuple[int, Callable[[Any], None]]]:
    """The numbers of the steps to do, on a progress bar, each with what shows its metrics there."""
    with tqdm(total=last, initial=first, unit="step", desc="training", mininterval=1.0) as bar:

        def show(metrics: Any) -> None:
            if bar.update():  # seldom, since it waits for the step
                bar.set_postfix(loss=f"{float(metrics['loss']):.3f}", refresh=False)

        for number in range(first + 1, last + 1):
            yield number, show


def _row(number: int, per_epoch: int, history: list[Row], sums: Any, schedule: Any) -> Row:
    """What the steps of an epoch came to, their means; RuntimeError if they are not finite."""
    count = number - (history[-1]["step"] if history else 0)
    loss, accuracy = (float(sums[name]) / count for name in ("loss", "accuracy"))
    if not math.isfinite(loss):
        raise RuntimeError(f"the loss is {loss} after step {number}: try a smaller learning rate")
    rate = float(schedule(number - 1))
    epoch = number // per_epoch if number % per_epoch == 0 else number / per_epoch
    return {"epoch": epoch, "step": number, "learning_rate": rate, "train_loss": loss, "train_accuracy": accuracy}

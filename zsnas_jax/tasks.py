"""What the networks of a space are asked for: how wide their output is, the loss, and the targets of a batch.

A space without a task is asked for the class of a picture, which the data set says. Axes: N batch, H W pixels.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from zsnas_jax.base import Batch, SearchSpace
from zsnas_jax.measure.losses import Loss, cross_entropy


class Task(NamedTuple):
    """A task.

    Attributes:
        name: as in flags.
        loss: of what the network returns and the targets.
        num_outputs: width of what it returns.
        targets: what the targets are, for reports: "classes of the data set", "drawn at random".
        prepare: (key, batch with the classes of the data set) to the batch under score, its pictures made for the task
            and its label the targets; None: the classes are the targets.
    """

    name: str
    loss: Loss
    num_outputs: int
    targets: str = "classes of the data set"
    prepare: Callable[[jax.Array, Batch], Batch] | None = None

    @property
    def takes_classes(self) -> bool:
        """Whether its targets are the classes of the data set."""
        return self.prepare is None


def loss_of(space: SearchSpace) -> Loss:
    """The loss of a space's task."""
    return space.task.loss if space.task else cross_entropy


def width_of(space: SearchSpace, num_classes: int) -> int:
    """How wide the output of a space's networks is, where pictures have so many classes.

    Raises:
        ValueError: if the classes do not fit the task.
    """
    task = space.task
    if task is None:
        return num_classes
    if task.takes_classes and num_classes != task.num_outputs:
        raise ValueError(
            f"task {task.name} has {task.num_outputs} classes, the pictures have {num_classes}: --num_classes="
            f"{task.num_outputs} says that theirs are among them"
        )
    return task.num_outputs


def prepare(space: SearchSpace, key: jax.Array, batch: Batch) -> Batch:
    """A batch as a space's task has it; the key is that of the batch."""
    if space.task is None or space.task.prepare is None:
        return batch
    return space.task.prepare(jax.random.fold_in(key, 1), batch)


def with_task(space: SearchSpace, name: str | None) -> SearchSpace:
    """A space under another of its tasks; None: under the one that it has.

    Raises:
        ValueError: if it has no such task.
    """
    if name is None:
        return space
    if space.with_task is None:
        raise ValueError(f"task {name!r}: space {space.name} has no tasks to choose from")
    if name not in space.tasks:
        raise ValueError(f"unknown task {name!r} of space {space.name}: allowed are {', '.join(space.tasks)}")
    return space.with_task(name)

"""A way forward through a network that the host takes step by step, and the ways back along it.

A `Tape` notes what entered and left every step and how gradients go back through it; it knows nothing of networks.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from zsnas_jax.measure.programs import Programs


@dataclasses.dataclass(eq=False)
class Value:
    """What passes between steps, a pytree of arrays. Gradients of a constant are not taken."""

    array: Any
    is_constant: bool = False


Pull = Callable[[list[Any], Any], Sequence[Any] | None]
"""(gradients of what left, what gathers the findings of a way back) to gradients of what entered; None: not taken."""


class _Record(NamedTuple):
    inputs: Sequence[Value]
    outputs: Sequence[Value]
    pull: Pull


def add_trees(a: Any, b: Any) -> Any:
    """The sum of two pytrees."""
    return jax.tree.map(lambda x, y: x + y, a, b)


class Tape:
    """What happened on the way forward.

    Args:
        programs: what sums are compiled with.
    """

    def __init__(self, programs: Programs) -> None:
        self._programs, self._records = programs, list[_Record]()

    def record(self, inputs: Sequence[Value], outputs: Sequence[Value], pull: Pull) -> Sequence[Value]:
        """Notes a step, and returns its outputs. The pull must not know the tape: a cycle would keep its arrays."""
        self._records.append(_Record(inputs, outputs, pull))
        return outputs

    def total(self, values: Sequence[Value]) -> Value:
        """The sum."""
        array = functools.reduce(self.add, [value.array for value in values])
        (value,) = self.record(values, [Value(array)], lambda gradients, _: [gradients[0]] * len(values))
        return value

    def add(self, a: Any, b: Any) -> Any:
        """The sum of two pytrees, by a program."""
        return self._programs.compiled(add_trees, "add", a, b)(a, b)

    def back(self, value: Value, gradient: Any, source: Value, found: Any) -> Any:
        """The way back from a gradient of a value: the gradient of the source, zeros where nothing leads to it.

        Steps whose outputs lead nowhere are pulled too, with zeros: what they find of their own belongs to the network.

        Args:
            value: where it begins.
            gradient: a pytree like its array.
            source: where it ends.
            found: what the pulls put their findings into.
        """
        gradients: dict[Value, Any] = {value: gradient}
        zeros = lambda out: jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), out.array)
        for step in reversed(self._records):
            is_read = any(out in gradients for out in step.outputs)
            leaving = [gradients.pop(out) if out in gradients else zeros(out) for out in step.outputs]
            entering = step.pull(leaving, found)
            for own, part in zip(step.inputs, entering, strict=True) if is_read and entering is not None else ():
                if not own.is_constant:
                    gradients[own] = self.add(gradients[own], part) if own in gradients else part
        return gradients[source] if source in gradients else zeros(source)

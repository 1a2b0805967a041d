"""Compiled programs, as many as a limit allows."""

import collections
from collections.abc import Callable, Hashable
from typing import Any

import jax


class Programs:
    """Compiled programs by what they were compiled for: the one used longest ago makes room.

    `jax.jit` would keep all, and their traces with them: 3 MB each, where a search can meet thousands.

    Args:
        limit: how many are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._kept = limit, collections.OrderedDict[Any, Any]()
        self._shapes = collections.OrderedDict[Any, Any]()
        self.num_compiled = 0

    def compiled(self, function: Callable[..., Any], name: Hashable, *arguments: Any) -> Callable[..., Any]:
        """function(*arguments), compiled for their shapes.

        Args:
            function: traced where no program of that name and those shapes is kept.
            name: what besides the shapes tells the program from others.
            *arguments: pytrees of arrays.
        """
        case = _case(name, arguments)
        if case not in self._kept:
            self._kept[case] = jax.jit(function).lower(*arguments).compile()
            self.num_compiled += 1
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        self._kept.move_to_end(case)
        return self._kept[case]

    def shapes(self, function: Callable[..., Any], name: Hashable, *arguments: Any) -> Any:
        """The shapes of what function(*arguments) returns, found by tracing it; arguments as of `compiled`."""
        case = _case(name, arguments)
        if case not in self._shapes:
            self._shapes[case] = jax.eval_shape(function, *arguments)
            if len(self._shapes) > self._limit:
                self._shapes.popitem(last=False)
        return self._shapes[case]


def _case(name: Hashable, arguments: Any) -> Any:
    leaves, structure = jax.tree.flatten(arguments)
    return name, structure, *((leaf.shape, leaf.dtype) for leaf in leaves)

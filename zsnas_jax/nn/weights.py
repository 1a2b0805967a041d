"""The parameters of a network with what they are: found by an abstract trace, in which every module tells its own.

Axes: P positions along the axes that `nn.scan` and `nn.vmap` add, I weights of a filter, O filters.
"""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import functools
import itertools
import math
from typing import Any, NamedTuple

from flax import struct
from flax.core import meta
from flax.errors import FlaxError
import flax.linen as nn
from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp

from zsnas_jax.base import Path
from zsnas_jax.nn.roles import Kernel, Role, Roles, TellRoles, roles_of


@dataclasses.dataclass(frozen=True)
class Weight:
    """A parameter of a network.

    Attributes:
        layer: class of the module that holds it.
        role: what it is; None where nobody tells.
        shape: of the module's own array.
        lifted: the axes of the network's array that `nn.scan` and `nn.vmap` added, the outermost first; None where they
            cannot be told from the module's own.
    """

    layer: str
    role: Kernel | Role | None
    shape: tuple[int, ...]
    lifted: tuple[int, ...] | None

    @property
    def kernel(self) -> Kernel | None:
        """The axes of a kernel; None for any other parameter."""
        return self.role if isinstance(self.role, Kernel) else None

    def by_position(self, array: jax.Array) -> jax.Array:
        """The network's array with its lifted axes as one in front: float[P, *shape].

        Raises:
            ValueError: if the lifted axes cannot be told.
        """
        if self.lifted is None:
            raise ValueError(
                f"{self.layer}: which axes of {tuple(array.shape)} nn.scan or nn.vmap added to {self.shape} is not "
                "clear: lift its parameters along axis 0"
            )
        moved = array if self.lifted == tuple(range(len(self.lifted))) else _in_front(array, self.lifted)
        return moved.reshape(-1, *self.shape)

    def spread(self, values: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Values float[P], one a position, broadcastable to the network's array of a shape."""
        assert self.lifted is not None
        ascending = sorted(range(len(self.lifted)), key=self.lifted.__getitem__)
        moved = values.reshape([shape[axis] for axis in self.lifted]).transpose(ascending)
        return jnp.expand_dims(moved, [axis for axis in range(len(shape)) if axis not in self.lifted])

    def as_matrices(self, array: jax.Array) -> jax.Array:
        """The network's array of a kernel as float[P, I, O]; what lies along its groups counts as positions."""
        kernel = self.role
        assert isinstance(kernel, Kernel)
        own = self.by_position(array)
        order = (*kernel.groups, *kernel.window, *kernel.inputs, *kernel.outputs)
        if order != tuple(range(len(self.shape))):
            own = own.transpose(0, *(axis + 1 for axis in order))
        filters = math.prod(self.shape[axis] for axis in kernel.outputs)
        return own.reshape(-1, kernel.fan_in(self.shape), filters)


def _in_front(array: Any, axes: tuple[int, ...]) -> Any:
    return array.transpose(*axes, *(axis for axis in range(array.ndim) if axis not in axes))


class _Lifted(struct.PyTreeNode, meta.AxisMetadata[Any]):
    """A parameter to which Flax says which axes its lifts take away, the outermost first."""

    value: Any
    removed: tuple[int, ...] = struct.field(default=(), pytree_node=False)

    def unbox(self) -> Any:
        """The parameter."""
        return self.value

    def replace_boxed(self, val: Any) -> "_Lifted":
        """Another value with the same history."""
        return self.replace(value=val)

    def add_axis(self, index: int, params: Any) -> "_Lifted":
        """A lift puts its axis back."""
        return self.replace(removed=self.removed[:-1])

    def remove_axis(self, index: int, params: Any) -> "_Lifted":
        """A lift takes an axis away."""
        return self.replace(removed=(*self.removed, index))


class _Told(NamedTuple):
    """What a module told: its class, roles, the shapes inside every lift, the axes that Flax says lifts took away."""

    layer: str
    roles: Roles
    shapes: Mapping[str, tuple[int, ...]]
    removed: Mapping[str, tuple[int, ...] | None]


class Collector:
    """Hears what modules tell of their parameters while they are called: `intercept` is for `nn.intercept_methods`."""

    def __init__(self, tell: TellRoles | None = None) -> None:
        self._tell = tell
        self._told: dict[Path, _Told] = {}

    def intercept(self, next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        """Runs the call, then notes the module's own parameters as they are inside every lift."""
        output = next_fun(*args, **kwargs)
        module = context.module
        # Of a lifted module the inner call returns first, and its arrays lack what the lift adds.
        is_asked = context.method_name == "parameter_roles"  # a method like any other, which is intercepted too
        if module.path not in self._told and module.scope is not None and not is_asked:
            held = module.variables.get("params", {})
            own = {name: leaf for name, leaf in held.items() if not isinstance(leaf, Mapping)}
            if own:
                removed = {name: leaf.removed if isinstance(leaf, _Lifted) else None for name, leaf in own.items()}
                shapes = {name: tuple(meta.unbox(leaf).shape) for name, leaf in own.items()}
                told = _Told(type(module).__name__, roles_of(module, self._tell), shapes, removed)
                self._told[module.path] = told
        return output

    @property
    def modules(self) -> list[Path]:
        """Paths of the modules that hold parameters, in the order in which their first calls returned."""
        return list(self._told)

    def weights(self, params: Any) -> dict[Path, Weight]:
        """Every parameter of a "params" collection, by its path."""
        nobody = _Told("a module that was not called", {}, {}, {})
        found = {}
        for path, leaf in flatten_dict(params).items():
            told, shape = self._told.get(path[:-1], nobody), tuple(leaf.shape)
            own, role = told.shapes.get(path[-1], shape), told.roles.get(path[-1])
            lifted = _lifted_axes(shape, own, role, told.removed.get(path[-1]))
            found[path] = Weight(told.layer, role, own, lifted)
        return found


def _lifted_axes(
    shape: tuple[int, ...], own: tuple[int, ...], role: Any, removed: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """The axes of a network's array that lifts added: as Flax or the module said, else those that alone can fit."""
    count = len(shape) - len(own)
    if removed is not None:
        axes = list(range(len(shape)))
        return tuple(axes.pop(index) for index in removed)
    if count == 0 or (isinstance(role, Kernel) and role.lifted_in_front):
        return tuple(range(count))
    rest = lambda axes: tuple(size for axis, size in enumerate(shape) if axis not in axes)
    fitting = [axes for axes in itertools.combinations(range(len(shape)), count) if rest(axes) == own]
    return fitting[0] if len(fitting) == 1 else None


def survey(name: str, params: Any, call: Callable[[Any], Any], tell: TellRoles | None = None) -> dict[Path, Weight]:
    """What the parameters of a module of flax.linen are, found by an abstract trace of a call.

    Args:
        name: of the module, for errors.
        params: its "params" collection, of arrays or their shapes.
        call: runs the module with such a collection.
        tell: roles from outside, asked first.
    """
    collector = Collector(tell)
    try:
        with nn.intercept_methods(collector.intercept):
            jax.eval_shape(call, jax.tree.map(_Lifted, params))
    except (AttributeError, KeyError, TypeError, FlaxError) as error:
        raise ValueError(
            f"{name}: what its weights are cannot be told ({type(error).__name__}): a module transforms its "
            "parameters, as WeightNorm and SpectralNorm do, which proxies of weights do not serve"
        ) from error
    return collector.weights(params)


def called_modules(params: Any, call: Callable[[Any], Any]) -> list[Path]:
    """Paths of the modules that hold parameters, in the order in which an abstract trace of a call meets them.

    Args:
        params: the "params" collection.
        call: runs the module with such a collection.
    """
    collector = Collector(lambda module: {})
    with nn.intercept_methods(collector.intercept):
        jax.eval_shape(call, params)
    return collector.modules


class Surveyed(Mapping[Path, Weight]):
    """The parameters of a module with what they are, found when they are first asked for.

    Args:
        find: () to what each is, by path.
    """

    def __init__(self, find: Callable[[], dict[Path, Weight]]) -> None:
        self._find = functools.cache(find)

    def __getitem__(self, path: Path) -> Weight:
        return self._find()[path]

    def __iter__(self) -> Iterator[Path]:
        return iter(self._find())

    def __len__(self) -> int:
        return len(self._find())


def kernels_of(weights: Mapping[Path, Weight], asker: str) -> Iterator[tuple[Path, Weight]]:
    """The kernels, by path.

    Args:
        weights: every parameter of a network.
        asker: what needs them, for the error.

    Raises:
        ValueError: if a parameter is of no known layer, so that nobody knows whether it is a kernel.
    """
    for path, weight in weights.items():
        if weight.role is None:
            raise ValueError(
                f"{asker} needs to know which parameters are kernels: {'/'.join(path)} of {weight.layer} is of no "
                "known layer, say by `roles` or by its method parameter_roles what it is"
            )
        if weight.kernel:
            yield path, weight


def init_with_weights(module: nn.Module, key: jax.Array, *args: Any, **keywords: Any) -> tuple[Any, dict[Path, Weight]]:
    """(variables of `module.init(key, *args, **keywords)`, what its parameters are)."""
    collector = Collector()
    with nn.intercept_methods(collector.intercept):
        variables = module.init(key, *args, **keywords)
    weights = collector.weights(variables.get("params", {}))
    if any(weight.kernel and weight.lifted is None for weight in weights.values()):
        rest = {name: value for name, value in variables.items() if name != "params"}
        call = lambda params: module.apply({**rest, "params": params}, *args, mutable=True, **keywords)
        weights = survey(type(module).__name__, variables["params"], call)
    return variables, weights

"""What the parameters of a layer are, told by the layer's module: never by an array's shape or a name alone.

A role is a `Kernel` with its axes, or one of `Role`. Three can say it, the first that does is believed: a function
given from outside, the module's own method `parameter_roles`, and the table of Flax's layers here.
"""

from collections.abc import Callable, Mapping, Sequence
import enum
import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn


class Role(enum.Enum):
    """What a parameter that is no kernel is."""

    BIAS = "the bias of a weight layer"
    SCALE = "what a norm multiplies by"
    SHIFT = "what a norm adds"
    EMBEDDING = "a table whose rows are looked up or added: tokens, positions"
    OTHER = "a parameter of another kind"


Part = Literal["attention", "mlp", "head", "other"]
"""What of a transformer a kernel is: of attention's products (query, key, value, output), of the layers that every
token goes through by itself, the classifier, or none of these, as the patches' is."""


class Kernel(NamedTuple):
    """The axes of a kernel, counted from 0 in the module's own array, without those that `nn.scan` or `nn.vmap` add.

    Attributes:
        inputs: axes of what a filter sums over, besides its window.
        outputs: axes of the filters.
        window: axes of the filter's window.
        groups: axes along which kernels of their own are stacked.
        num_filter_axes: so many last axes of the layer's output tell filters apart; None: they are not its last ones.
        weighs_itself: whether the module passes its output through `zsnas_jax.nn.probes.weigh` with its own slot; else
            a pass does so with what its `__call__` returns.
        part: what of a transformer it is; None: nobody said.
        lifted_in_front: whether all lifts of the network that holds it put their axes in front; else a trace finds out.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    window: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    num_filter_axes: int | None = 1
    weighs_itself: bool = False
    lifted_in_front: bool = False
    part: Part | None = None

    def fan_in(self, shape: Sequence[int]) -> int:
        """Weights of one filter of a kernel of a shape."""
        return math.prod(shape[axis] for axis in (*self.window, *self.inputs))

    def fan_out(self, shape: Sequence[int]) -> int:
        """Weights by which one input is multiplied."""
        return math.prod(shape[axis] for axis in (*self.window, *self.outputs))


Roles = Mapping[str, Kernel | Role]
"""Name of a module's own parameter to its role."""

TellRoles = Callable[[nn.Module], Roles | None]
"""A module to the roles of its own parameters, or None where it leaves that to others."""


def _convolution(module: Any) -> Roles:
    window = _window_axes(module)
    inputs, outputs = (len(window),), (len(window) + 1,)
    return {"kernel": Kernel(inputs, outputs, window), "bias": Role.BIAS}


def _transposed_convolution(module: Any) -> Roles:
    window = _window_axes(module)
    channels = (len(window),), (len(window) + 1,)
    inputs, outputs = channels[::-1] if module.transpose_kernel else channels
    return {"kernel": Kernel(inputs, outputs, window), "bias": Role.BIAS}


def _local_convolution(module: Any) -> Roles:
    """The kernel [*pixels, window and inputs, D] has filters of its own at every pixel."""
    pixels = _window_axes(module)
    kernel = Kernel((len(pixels),), (*pixels, len(pixels) + 1), num_filter_axes=len(pixels) + 1)
    return {"kernel": kernel, "bias": Role.BIAS}


def _window_axes(module: Any) -> tuple[int, ...]:
    size = module.kernel_size
    return (0,) if isinstance(size, int) else tuple(range(len(size)))


def _general_dense(module: Any) -> Roles:
    """The kernel is [*batch_dims, *axis, *features]."""
    count = lambda value: 1 if isinstance(value, int) else len(value)
    groups, inputs, outputs = count(module.batch_dims), count(module.axis), count(module.features)
    ends = groups, groups + inputs, groups + inputs + outputs
    axes = [tuple(range(*pair)) for pair in zip((0, *ends), ends, strict=False)]
    return {"kernel": Kernel(axes[1], axes[2], (), axes[0], None if groups else outputs), "bias": Role.BIAS}


def _einsum(module: Any) -> Roles:
    if module.einsum_str is None:
        raise ValueError("Einsum takes its einsum_str with the call: give it to the module, which tells its axes")
    operands, result = module.einsum_str.replace(" ", "").split("->")
    given, own = operands.split(",")
    if "." in own:
        raise ValueError(f"Einsum {module.einsum_str!r}: an ellipsis in the kernel hides its axes")
    axes = lambda wanted: tuple(i for i, letter in enumerate(own) if wanted(letter))
    outputs = axes(lambda letter: letter in result and letter not in given)
    names = "".join(own[i] for i in outputs)
    ends_with = len(names) if result.endswith(names) else None
    groups = axes(lambda letter: letter in result and letter in given)
    kernel = Kernel(axes(lambda letter: letter not in result), outputs, (), groups, None if groups else ends_with)
    return {"kernel": kernel, "bias": Role.BIAS}


def _norm(module: Any) -> Roles:
    del module
    return {"scale": Role.SCALE, "bias": Role.SHIFT}


_FLAX: tuple[tuple[type[nn.Module], Callable[[Any], Roles]], ...] = (
    (nn.Conv, _convolution),
    (nn.ConvTranspose, _transposed_convolution),
    (nn.ConvLocal, _local_convolution),
    (nn.Dense, lambda module: {"kernel": Kernel((0,), (1,)), "bias": Role.BIAS}),
    (nn.DenseGeneral, _general_dense),
    (nn.Einsum, _einsum),
    (nn.Embed, lambda module: {"embedding": Role.EMBEDDING}),
    *((norm, _norm) for norm in (nn.BatchNorm, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.InstanceNorm)),
    (nn.PReLU, lambda module: {"negative_slope": Role.OTHER}),
)
"""Flax's layers. Others that hold parameters (SpectralNorm, WeightNorm, OptimizedLSTMCell) tell nothing: what needs
kernels refuses them."""


def roles_of(module: nn.Module, tell: TellRoles | None = None) -> Roles:
    """The roles of a module's own parameters; empty where nobody tells any.

    Args:
        module: of any class.
        tell: asked first.

    Raises:
        ValueError: if a layer of Flax is used in a way that hides its axes.
    """
    told = tell(module) if tell else None
    if told is not None:
        return told
    own = getattr(module, "parameter_roles", None)
    if own is not None:
        return own()
    roles = next((describe(module) for cls, describe in _FLAX if isinstance(module, cls)), {})
    if isinstance(module.parent, nn.MultiHeadDotProductAttention):
        of_part = lambda role: role._replace(part="attention") if isinstance(role, Kernel) else role
        return {name: of_part(role) for name, role in roles.items()}
    return roles

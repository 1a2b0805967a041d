"""Layers of modules that nobody wrote for this library: how options reach them, from outside.

Their `nn.BatchNorm` calls normalise as the options say, always by the statistics of the batch they see, over the axes
and with the epsilon, scale and bias of their module; what enters their convolutions is masked; dropout is off. Their
other norms stay as they are, and so do their activations, which are functions that nobody can intercept.
"""

from collections.abc import Callable
import math
import sys
from typing import Any

from flax.core import meta
import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.nn.options import LayerOptions, draw_key

_CONVOLUTIONS = (nn.Conv, nn.ConvTranspose, nn.ConvLocal)


def feature_axes(module: nn.BatchNorm, x: jax.Array) -> tuple[int, ...]:
    """The axes of x that a batch norm keeps apart, from 0.

    Raises:
        ValueError: if the batch's own axis is one of them.
    """
    axes = (module.axis,) if isinstance(module.axis, int) else tuple(module.axis)
    own = tuple(sorted(axis % x.ndim for axis in axes))
    if 0 in own:
        raise ValueError(f"BatchNorm with axis {module.axis} of {x.shape} keeps pictures apart: axis 0 is the batch's")
    return own


def batch_variance(module: nn.BatchNorm, x: jax.Array) -> jax.Array:
    """Unbiased variance of what enters a batch norm, float[C] over its features."""
    own = feature_axes(module, x)
    return x.var(tuple(axis for axis in range(x.ndim) if axis not in own), ddof=1).ravel()


def normalise(module: nn.BatchNorm, options: LayerOptions, x: jax.Array, key: Any) -> jax.Array:
    """A batch norm's output under options, with the module's own axes, epsilon, scale and bias.

    Args:
        module: bound, in a call.
        options: say what stands in its place.
        x: what enters it.
        key: of dropout.
    """
    own = feature_axes(module, x)
    rest = tuple(axis for axis in range(x.ndim) if axis not in own)
    order = (*rest, *own)
    in_front = x.transpose(order)
    channels = math.prod(x.shape[axis] for axis in own)
    if options.norm == "in" and len(rest) == 1:
        raise ValueError(f"norm 'in' in the place of {module.name or 'BatchNorm'} of {x.shape}: it has no pixels")
    held = lambda name: meta.unbox(module.get_variable("params", name))
    get = lambda name, default: held(name) if module.has_variable("params", name) else default
    scale, bias = get("scale", jnp.ones(channels)).ravel(), get("bias", jnp.zeros(channels)).ravel()
    flat = in_front.reshape(*(x.shape[axis] for axis in rest), channels)
    y = options.normalise(flat, scale, bias, key, module.epsilon).reshape(in_front.shape)
    back = tuple(order.index(axis) for axis in range(x.ndim))
    return y.transpose(back).astype(x.dtype)


class ForeignLayers:
    """Applies options to a Flax module from outside: `intercept` is for `nn.intercept_methods`, `check` after the call.

    One object serves one call: it counts what it met.

    Args:
        options: of the layers.
        with_dropout: whether dropout works as the module says.
    """

    def __init__(self, options: LayerOptions, *, with_dropout: bool = False) -> None:
        self.options, self.with_dropout = options, with_dropout
        self.num_norms = self.num_convolutions = 0

    def intercept(self, next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        """Normalises as the options say, masks what enters a convolution, passes by dropout."""
        module = context.module
        refuse_nnx(module)
        if context.method_name != "__call__":
            return next_fun(*args, **kwargs)
        if isinstance(module, nn.Dropout):
            if not self.with_dropout:
                return args[0]
            draw_key(module, module.rng_collection)  # says where there is none
        if isinstance(module, nn.MultiHeadDotProductAttention) and module.dropout_rate and not self.with_dropout:
            if module.deterministic is False:
                raise ValueError(
                    f"attention {'/'.join(module.path)} has deterministic=False: leave it out, or score with_dropout"
                )
            own = {} if module.deterministic else {"deterministic": True}
            return next_fun(*args, **{**kwargs, **own})
        if isinstance(module, nn.BatchNorm):
            if kwargs.get("mask") is not None:
                raise ValueError(f"BatchNorm {'/'.join(module.path)} is called with a mask: scoring serves none")
            self.num_norms += 1
            key = self.options.key_of(module) if self.options.norm == "dropout" else None
            return normalise(module, self.options, args[0], key)
        if isinstance(module, _CONVOLUTIONS):
            self.num_convolutions += 1
            return next_fun(self.options.mask(args[0], self.options.key_of(module)), *args[1:], **kwargs)
        return next_fun(*args, **kwargs)

    def check(self, name: str) -> None:
        """Raises ValueError if the options found nothing to act on in the module of that name."""
        if self.options.norm not in ("bn", "identity", "bn_initial") and not self.num_norms:
            raise ValueError(f"{name} has no batch norm that norm {self.options.norm!r} could replace")
        if self.options.mask_rate and not self.num_convolutions:
            raise ValueError(f"{name} has no convolution that mask_rate {self.options.mask_rate} could mask")
        if self.options.activation != "relu":
            raise ValueError(f"{name} chooses its own activation: {self.options.activation!r} cannot replace it")


def refuse_nnx(module: Any) -> None:
    """Raises ValueError for a module of flax.nnx, also one that is wrapped for linen: nobody sees its layers."""
    nnx = sys.modules.get("flax.nnx")  # a module of a package that is not imported is not one of it
    if nnx and isinstance(module, nnx.Module | nnx.bridge.ToLinen):
        raise ValueError(
            f"{type(module).__name__} is a module of flax.nnx, whose layers scoring cannot see: write it in flax.linen"
        )

"""The size of any function of arrays: multiply-adds, read off its jaxpr."""

from collections.abc import Callable
import math
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr
import numpy as np


def count_params(params: Any) -> int:
    """Number of entries of a tree of arrays."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


def count_multiply_adds(function: Callable[..., Any], *args: Any) -> int:
    """Multiply-adds of the convolutions and matrix products of a function; nothing is computed.

    A scan counts each of its steps, a conditional its dearest branch, a while loop one step. What a layer computes by a
    convolution counts as one, also the patches that Flax's `ConvLocal` cuts so.

    Args:
        function: traced by JAX.
        *args: arrays or `jax.ShapeDtypeStruct`s.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        outputs = kernel[params["dimension_numbers"].rhs_spec[0]]
        return math.prod(equation.outvars[0].aval.shape) * (math.prod(kernel) // outputs)
    if name == "dot_general":
        contracted = params["dimension_numbers"][0][0]
        shape = equation.invars[0].aval.shape
        return math.prod(equation.outvars[0].aval.shape) * math.prod(shape[i] for i in contracted)
    inner = [_count(jaxpr) for value in params.values() for jaxpr in _jaxprs(value)]
    if name == "cond":
        return max(inner)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _jaxprs(value: Any) -> list[Jaxpr]:
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, Jaxpr):
        return [value]
    return [jaxpr for item in value for jaxpr in _jaxprs(item)] if isinstance(value, tuple | list) else []

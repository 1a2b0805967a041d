"""Reverse-mode differentiation of numpy, float64: what the oracle's gradients are made of. Slow, plain, without JAX.

A `Var` is an array that remembers what it was computed from; `gradients` walks back from one of them. Everything is a
few lines of numpy, held against finite differences in test_conformance.
"""

import itertools
import math

import numpy as np


class Var:
    """An array, and for each of its operands a function from the gradient of the array to that of the operand."""

    __array_ufunc__ = None  # numpy arrays on the left leave operators to this class

    def __init__(self, value, operands=()):
        self.value = np.asarray(value, np.float64)
        self.operands = operands

    @property
    def shape(self):
        return self.value.shape

    @property
    def ndim(self):
        return self.value.ndim

    def __len__(self):
        return len(self.value)

    def __add__(self, other):
        other = as_var(other)
        return Var(
            self.value + other.value,
            [(self, lambda g: fold(g, self.shape)), (other, lambda g: fold(g, other.shape))],
        )

    def __mul__(self, other):
        other = as_var(other)
        a, b = self.value, other.value
        return Var(a * b, [(self, lambda g: fold(g * b, a.shape)), (other, lambda g: fold(g * a, b.shape))])

    def __pow__(self, exponent):
        x = self.value
        return Var(x**exponent, [(self, lambda g: g * exponent * x ** (exponent - 1))])

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -as_var(other)

    def __rsub__(self, other):
        return other + -self

    def __truediv__(self, other):
        return self * as_var(other) ** -1.0

    def __rtruediv__(self, other):
        return other * self**-1.0

    __radd__, __rmul__ = __add__, __mul__

    def __matmul__(self, other):
        return einsum("...i,io->...o", self, other)

    def __getitem__(self, index):
        def back(g):
            whole = np.zeros(self.shape)
            np.add.at(whole, index, g)
            return whole

        return Var(self.value[index], [(self, back)])

    def reshape(self, *shape):
        return Var(self.value.reshape(*shape), [(self, lambda g: g.reshape(self.shape))])

    def transpose(self, *order):
        return Var(self.value.transpose(order), [(self, lambda g: g.transpose(np.argsort(order)))])

    def sum(self, axis=None, keepdims=False):
        axes = tuple(range(self.ndim)) if axis is None else tuple(a % self.ndim for a in np.atleast_1d(axis))
        kept = tuple(1 if i in axes else size for i, size in enumerate(self.shape))
        back = lambda g: np.broadcast_to(np.reshape(g, kept), self.shape)
        return Var(self.value.sum(axes, keepdims=keepdims), [(self, back)])

    def mean(self, axis=None, keepdims=False):
        total = self.sum(axis, keepdims)
        return total * (total.value.size / self.value.size)


def as_var(x):
    return x if isinstance(x, Var) else Var(x)


def fold(gradient, shape):
    """The gradient of what was broadcast from a shape: summed over the axes that broadcasting made."""
    gradient = gradient.sum(tuple(range(gradient.ndim - len(shape))))
    return gradient.sum(tuple(i for i, size in enumerate(shape) if size == 1), keepdims=True).reshape(shape)


def elementwise(function, derivative):
    return lambda x: Var(function(x.value), [(x, lambda g: g * derivative(x.value))])


exp = elementwise(np.exp, np.exp)
log = elementwise(np.log, lambda x: 1 / x)
tanh = elementwise(np.tanh, lambda x: 1 - np.tanh(x) ** 2)
absolute = elementwise(np.abs, np.sign)
relu = elementwise(lambda x: np.maximum(x, 0), lambda x: np.float64(x > 0))
sqrt = lambda x: x**0.5


def gelu(x):
    """The one of `flax.linen.gelu`, by tanh."""
    return 0.5 * x * (1.0 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = exp(x - x.value.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    shifted = x - x.value.max(-1, keepdims=True)
    return shifted - log(exp(shifted).sum(-1, keepdims=True))


def einsum(spec, a, b):
    """`np.einsum` of two operands; no letter may stand in one of the three places alone."""
    (left, right), out = spec.split("->")[0].split(","), spec.split("->")[1]
    to_left = lambda g: np.einsum(f"{out},{right}->{left}", g, b.value)
    to_right = lambda g: np.einsum(f"{left},{out}->{right}", a.value, g)
    if "..." in left and "..." not in right:  # the dots are summed over
        flat = lambda x, letters: x.reshape(-1, *x.shape[x.ndim - len(letters.replace("...", "")) :])
        one = lambda letters: letters.replace("...", "z")
        to_right = lambda g: np.einsum(f"{one(left)},{one(out)}->{right}", flat(a.value, left), flat(g, out))
    return Var(np.einsum(spec, a.value, b.value), [(a, to_left), (b, to_right)])


def concatenate(parts, axis):
    ends = np.cumsum([part.shape[axis] for part in parts])[:-1]
    piece = lambda i: lambda g: np.split(g, ends, axis)[i]
    return Var(np.concatenate([part.value for part in parts], axis), [(p, piece(i)) for i, p in enumerate(parts)])


def pad(x, widths):
    inner = tuple(slice(low, low + size) for (low, _), size in zip(widths, x.shape, strict=True))
    return Var(np.pad(x.value, widths), [(x, lambda g: g[inner])])


def dilate(x, factor):
    """Zeros between the pixels of x [N, *pixels, C], `factor` - 1 of them."""
    pixels = [(size - 1) * factor + 1 for size in x.shape[1:-1]]
    every = (slice(None), *(slice(None, None, factor) for _ in pixels))
    value = np.zeros((len(x), *pixels, x.shape[-1]))
    value[every] = x.value
    return Var(value, [(x, lambda g: g[every])])


def convolve(x, kernel, stride=1, padding="SAME", groups=1):
    """x [N, *pixels, C] with kernel [*window, C / groups, D], a sum over the places of its window.

    `padding` is "SAME", "VALID", or a pair for every axis of pixels.
    """
    window, pixels = kernel.shape[:-2], x.shape[1:-1]
    if padding == "SAME":
        totals = [max((-(-p // stride) - 1) * stride + w - p, 0) for p, w in zip(pixels, window, strict=True)]
        padding = [(total // 2, total - total // 2) for total in totals]
    elif padding == "VALID":
        padding = [(0, 0)] * len(pixels)
    x = pad(x, [(0, 0), *padding, (0, 0)])
    counts = [(p - w) // stride + 1 for p, w in zip(x.shape[1:-1], window, strict=True)]
    grouped = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    filters = kernel.reshape(*kernel.shape[:-1], groups, kernel.shape[-1] // groups)
    total = 0.0
    for place in itertools.product(*(range(w) for w in window)):
        seen = tuple(slice(i, i + (n - 1) * stride + 1, stride) for i, n in zip(place, counts, strict=True))
        total = total + einsum("...gi,igo->...go", grouped[(slice(None), *seen)], filters[place])
    return total.reshape(*total.shape[:-2], kernel.shape[-1])


def gradients(result, inputs, seed=None):
    """Gradients of sum(seed * result) with respect to each of the inputs, zeros where nothing depends on one.

    Args:
        result: a Var.
        inputs: Vars.
        seed: of the result's shape; default ones.
    """
    order, seen, stack = [], set(), [(result, False)]
    while stack:
        var, done = stack.pop()
        if done:
            order.append(var)
        elif id(var) not in seen:
            seen.add(id(var))
            stack += [(var, True), *((operand, False) for operand, _ in var.operands)]
    found = {id(result): np.ones(result.shape) if seed is None else np.asarray(seed, np.float64)}
    for var in reversed(order):
        for operand, back in var.operands:
            found[id(operand)] = found.get(id(operand), 0.0) + back(found[id(var)])
    return [np.broadcast_to(found.get(id(var), np.zeros(var.shape)), var.shape) for var in inputs]

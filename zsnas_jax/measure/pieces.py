"""Networks in pieces: small programs that many networks share, run forward and back by the host.

A piece is a chain of segments with a response site between each two. A `Tape` runs pieces, keeps what the ways back
need, and gathers the sums of `zsnas_jax.measure.piecewise` over the sites. What pads an array is zero, and must stay zero.

Axes: N batch, C channels, T channels of a tile, L layers.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.nn.probes import Path

Segment = Callable[[Any, Any], Any]
"""(kernel or None, what enters) to what leaves."""


class Piece:
    """A part of a network, a frozen dataclass: equal pieces on equal shapes are one program."""

    def segments(self) -> tuple[Segment, ...]:
        """The chain; what passes from one to the next, float[N, ...], is a response site."""
        raise NotImplementedError


class Seen(NamedTuple):
    """What a piece adds to the sums of a response site; None where it is not wanted.

    Attributes:
        products: sum of x x^T, float[N, N].
        sums: of each picture, float[N].
        signs: sum of s s^T, s the signs of x (-1 for 0), float[N, N].
    """

    products: Any = None
    sums: Any = None
    signs: Any = None


def observe(x: jax.Array, correlation: bool, codes: bool) -> Seen:
    """What is wanted of a part of a site, float[N, ...]."""
    rows = x.reshape(len(x), -1)
    signs = jnp.where(rows > 0, 1.0, -1.0)
    products, sums = (rows @ rows.T, rows.sum(1)) if correlation else (None, None)
    return Seen(products, sums, signs @ signs.T if codes else None)


@jax.default_matmul_precision("highest")
def forward(piece: Piece, kernels: Any, x: Any, *, correlation: bool = False, codes: bool = False) -> Any:
    """(what leaves a piece, `Seen` at each of its sites)."""
    seen = []
    for place, (segment, kernel) in enumerate(zip(piece.segments(), kernels, strict=True)):
        if place:
            seen.append(observe(x, correlation, codes))
        x = segment(kernel, x)
    return x, seen


@jax.default_matmul_precision("highest")
def backward(
    piece: Piece,
    kernels: Any,
    x: Any,
    gradient: Any,
    *,
    correlation: bool = False,
    saliency: bool = False,
    inputs: bool = True,
) -> Any:
    """The way back, after the way forward is run again.

    Returns:
        (gradient of what enters or None, `Seen` of the gradient at each site, for each segment's kernel W with gradient
        g float[2]: sum |W g|, sum g^2, or None).
    """
    pulls = []
    for segment, kernel in zip(piece.segments(), kernels, strict=True):
        x, pull = jax.vjp(segment, kernel, x)
        pulls.append(pull)
    seen, sums = [], []
    for place in reversed(range(len(pulls))):
        own, gradient = pulls[place](gradient)
        if place:
            seen.append(observe(gradient, correlation, codes=False))
        is_wanted = saliency and own is not None
        sums.append(jnp.stack([jnp.abs(kernels[place] * own).sum(), jnp.square(own).sum()]) if is_wanted else None)
    return gradient if inputs else None, seen[::-1], sums[::-1]


class Programs:
    """Compiled programs, as many as a limit allows: the one used longest ago makes room.

    `jax.jit` would keep all, and their traces with them: 3 MB each, where a search meets thousands.

    Args:
        limit: how many are kept.
    """

    def __init__(self, limit: int = 3000) -> None:
        self._limit, self._kept = limit, collections.OrderedDict[Any, Any]()
        self.num_compiled = 0

    def run(self, function: Callable[..., Any], piece: Piece | None, *arguments: Any, **options: bool) -> Any:
        """function(piece, *arguments, **options), compiled for what is not an array, and for the shapes of what is."""
        leaves, structure = jax.tree.flatten(arguments)
        case = function, piece, structure, *options.items(), *((leaf.shape, leaf.dtype) for leaf in leaves)
        if case not in self._kept:
            own = functools.partial(function, piece, **options)
            self._kept[case] = jax.jit(own).lower(*arguments).compile()
            self.num_compiled += 1
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        self._kept.move_to_end(case)
        return self._kept[case](*arguments)


def _sum(piece: Piece | None, a: jax.Array, b: jax.Array) -> jax.Array:
    del piece
    return a + b


class Kernel(NamedTuple):
    """A kernel or a tile of it: the path of the whole in the network's parameters, and the values, padded."""

    path: Path
    array: np.ndarray


class Counts(NamedTuple):
    """A part of a site: its layer, counted from 1, how many neurons it has, how many zeros pad them."""

    layer: int
    neurons: int
    zeros: int


class Sites:
    """The sums of response sites over their parts, in float64."""

    def __init__(self, num_layers: int) -> None:
        self._num_layers = num_layers
        self._parts: dict[str, list[tuple[Seen, Counts]]] = {}

    def add(self, name: str, seen: Seen, counts: Counts) -> None:
        """Keeps what a part of the site of that name showed."""
        self._parts.setdefault(name, []).append((seen, counts))

    def responses(self) -> np.ndarray:
        """float32[L, N, N]: |corr| summed by layer; a site at which a picture has no variance adds nothing."""
        total: Any = 0.0
        for parts in self._parts.values():
            products = sum(np.asarray(seen.products, np.float64) for seen, _ in parts)
            sums = sum(np.asarray(seen.sums, np.float64) for seen, _ in parts)
            covariance = products - np.outer(sums, sums) / sum(counts.neurons for _, counts in parts)
            with np.errstate(invalid="ignore", divide="ignore"):
                norms = np.sqrt(np.diag(covariance))
                matrix = np.abs(covariance / np.outer(norms, norms))
            matrix = matrix if np.isfinite(matrix).all() else np.zeros_like(matrix)
            total = total + (np.arange(self._num_layers) == parts[0][1].layer - 1)[:, None, None] * matrix
        return np.asarray(total, np.float32)

    def agreement(self) -> np.ndarray:
        """float32[N, N]: in how many neurons two pictures are both positive, or neither."""
        every = [part for parts in self._parts.values() for part in parts]
        total = sum(np.asarray(seen.signs, np.float64) - counts.zeros + counts.neurons for seen, counts in every)
        return np.asarray(total / 2, np.float32)


@dataclasses.dataclass(eq=False)
class Value:
    """An array on its way through a network. Gradients of a constant are not taken."""

    array: Any
    is_constant: bool = False


class _Step(NamedTuple):
    """What the tape did: the trees of values that entered and left, and gradients of these to gradients of those."""

    inputs: Any
    outputs: Any
    pull: Callable[..., Any]


@dataclasses.dataclass
class Back:
    """What a way back gathers.

    Attributes:
        sites: of the gradients.
        saliency: sums by the path of a kernel, float[2] a part.
        correlation: whether sites are observed.
        with_saliency: whether kernels are.
    """

    sites: Sites
    correlation: bool
    with_saliency: bool
    saliency: dict[Path, list[Any]] = dataclasses.field(default_factory=dict)

    def totals(self) -> dict[Path, tuple[float, float]]:
        """Path of a kernel W with gradient g to (sum |W g|, sum g^2)."""
        return {path: tuple(np.asarray(parts, np.float64).sum(0).tolist()) for path, parts in self.saliency.items()}


class Tape:
    """A way forward through pieces.

    Args:
        programs: what runs pieces.
        num_layers: L.
        correlation: whether |corr| of activations is wanted.
        codes: whether their signs are.
    """

    def __init__(self, programs: Programs, num_layers: int, *, correlation: bool, codes: bool) -> None:
        self.programs, self.sites, self._num_layers = programs, Sites(num_layers), num_layers
        self._observed = {"correlation": correlation, "codes": codes}
        self._steps: list[_Step] = []

    def run(self, piece: Piece, inputs: Any, *kernels: Kernel | None, sites: Mapping[str, Counts] | None = None) -> Any:
        """Runs a piece on a tree of values; `kernels` of its segments, `sites` by name, each in order."""
        arrays = tuple(kernel and kernel.array for kernel in kernels) or (None,) * len(piece.segments())
        paths = [kernel and kernel.path for kernel in kernels]
        x, sites = jax.tree.map(lambda value: value.array, inputs), sites or {}
        y, seen = self.programs.run(forward, piece, arrays, x, **self._observed)
        for (name, counts), own in zip(sites.items(), seen, strict=True):
            self.sites.add(name, own, counts)
        is_needed = not all(value.is_constant for value in jax.tree.leaves(inputs))
        programs = self.programs  # a step that knew the tape would keep its arrays alive until Python looks for cycles

        def pull(gradient: Any, back: Back) -> Any:
            wanted = {"correlation": back.correlation, "saliency": back.with_saliency, "inputs": is_needed}
            entering, seen, sums = programs.run(backward, piece, arrays, x, gradient, **wanted)
            for (name, counts), own in zip(sites.items(), seen, strict=True):
                back.sites.add(name, own, counts)
            for path, own in zip(paths, sums, strict=False):
                if path is not None and own is not None:
                    back.saliency.setdefault(path, []).append(own)
            return entering

        return self._record(inputs, jax.tree.map(Value, y), pull)

    def total(self, values: Sequence[Value]) -> Value:
        """The sum."""
        array = functools.reduce(self._add, [value.array for value in values])
        return self._record(list(values), Value(array), lambda gradient, _: [gradient] * len(values))

    def _add(self, a: Any, b: Any) -> Any:
        return self.programs.run(_sum, None, a, b)

    def join(self, values: Sequence[Value], length: int) -> Value:
        """Tiles float[N, T] side by side, cut or padded to float[N, length]."""
        array = np.concatenate([np.asarray(value.array) for value in values], 1)
        ends = np.cumsum([value.array.shape[1] for value in values])
        back = lambda gradient, _: np.split(resized(np.asarray(gradient), array.shape[1]), ends[:-1], 1)
        return self._record(list(values), Value(resized(array, length)), back)

    def split(self, value: Value, tile: int, count: int) -> list[Value]:
        """float[N, D] as so many tiles float[N, T], cut or padded."""
        array = np.asarray(value.array)
        tiles = [Value(part) for part in np.split(resized(array, tile * count), count, 1)]
        back = lambda gradients, _: resized(np.concatenate([np.asarray(g) for g in gradients], 1), array.shape[1])
        return self._record(value, tiles, back)

    def _record(self, inputs: Any, outputs: Any, pull: Callable[..., Any]) -> Any:
        self._steps.append(_Step(inputs, outputs, pull))
        return outputs

    def back(
        self, value: Value, gradient: Any, source: Value, *, correlation: bool, saliency: bool
    ) -> tuple[Back, Any]:
        """The way back from a gradient of a value.

        Returns:
            (what it gathered, the gradient of the source, or None if that is constant).
        """
        found = Back(Sites(self._num_layers), correlation, saliency)
        gradients: dict[Value, Any] = {value: gradient}
        for step in reversed(self._steps):
            take = lambda out: gradients.pop(out) if out in gradients else jnp.zeros_like(out.array)
            leaving = jax.tree.map(take, step.outputs)
            entering = step.pull(leaving, found)
            if entering is not None:
                pairs = zip(jax.tree.leaves(step.inputs), jax.tree.leaves(entering), strict=True)
                for own, part in pairs:
                    if not own.is_constant:
                        gradients[own] = self._add(gradients[own], part) if own in gradients else part
        return found, gradients.get(source)


def resized(array: np.ndarray, *shape: int) -> np.ndarray:
    """The array cut, or padded by zeros behind it, to a shape of its last axes."""
    kept: Any = (..., *map(slice, shape))
    array = array[kept]
    missing = [(0, size - old) for size, old in zip(shape, array.shape[array.ndim - len(shape) :], strict=True)]
    return np.pad(array, [(0, 0)] * (array.ndim - len(shape)) + missing)

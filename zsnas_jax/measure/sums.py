"""What passes over the blocks of a chain add up to, under the paths of the whole network.

Sums over parts are taken in float64 on the host. Axes: N batch, L layers, P positions along `nn.scan`.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import KernelSum, Path
from zsnas_jax.measure.blocks import Back, SitePlace
from zsnas_jax.measure.measurements import number_layers
from zsnas_jax.measure.network import Observation
from zsnas_jax.measure.programs import Programs
from zsnas_jax.nn.probes import LayerOf

Slices = tuple[slice, ...]


class Part(NamedTuple):
    """What a tile showed of a response site: a value, of how many neurons, and how many zeros that pad them."""

    value: Any
    neurons: int
    zeros: int


@dataclasses.dataclass
class Sums:
    """The sums of one way through a chain, forward or back.

    Attributes:
        places: the sites in order of execution, by path.
        observed: observations of blocks that ran whole, by name.
        parts: by statistic and path of the site, what its tiles showed.
        gradients: |corr| of the gradients at the sites of blocks that ran whole, float[P, N, N].
        fisher: of blocks.
        entries: by kernel sum and path of the kernel, sums of entries float[P] of parts of it.
        params: by path, gradients of slices of a parameter.
        left: by path, the signs that go back from a probe of the trunk [P, N, ...], in order of execution.
        num_left: how many feature maps these are.
        arrived: by path, what came back to it.
    """

    places: dict[Path, SitePlace] = dataclasses.field(default_factory=dict)
    observed: dict[str, list[Observation]] = dataclasses.field(default_factory=dict)
    parts: dict[tuple[Any, Path], list[Part]] = dataclasses.field(default_factory=dict)
    gradients: dict[Path, Any] = dataclasses.field(default_factory=dict)
    fisher: list[Any] = dataclasses.field(default_factory=list)
    entries: dict[tuple[KernelSum, Path], list[Any]] = dataclasses.field(default_factory=dict)
    params: dict[Path, list[tuple[Slices, Any]]] = dataclasses.field(default_factory=dict)
    left: dict[Path, Any] = dataclasses.field(default_factory=dict)
    num_left: int = 0
    arrived: dict[Path, Any] = dataclasses.field(default_factory=dict)

    def add_part(self, statistic: Any, path: Path, value: Any, shape: tuple[int, ...], channels: int) -> None:
        """Keeps what a tile showed of a site whose shape in it is [N, ..., C], so many channels being no padding."""
        pixels = math.prod(shape[1:-1])
        part = Part(value, pixels * channels, pixels * (shape[-1] - channels))
        self.parts.setdefault((statistic, path), []).append(part)

    def add_kernels(
        self, top: Path, kernel_sums: Sequence[KernelSum], back: Back, slices: Mapping[Path, Slices]
    ) -> None:
        """Keeps what a way back through the block at a path found of its parameters, or of slices of them."""
        for wanted, entries in zip(kernel_sums, back.entries, strict=True):
            for path, sums in entries.items():
                self.entries.setdefault((wanted, (*top, *path)), []).append(sums)
        for path, gradient in flatten_dict(back.params or {}).items():
            self.params.setdefault((*top, *path), []).append((slices.get(path, ()), gradient))

    def kernel_gradients(self, params: Any) -> Any:
        """The gradients of all parameters, a tree like `params` in numpy arrays."""
        flat = {}
        for path, leaf in flatten_dict(params).items():
            whole = np.zeros(leaf.shape, leaf.dtype)
            for own, part in self.params.get(path, []):
                hole = whole[own]
                hole[...] = np.asarray(part)[tuple(map(slice, hole.shape))]
            flat[path] = whole
        return unflatten_dict(flat)


def join_matrices(parts: Sequence[Part]) -> np.ndarray:
    """|corr| of a site of which tiles showed `Moments`, float[N, N], as `zsnas_jax.correlation.response_matrix` has it.

    With P = sum x x^T and s = sum x over its D neurons the covariance is P - s s^T / D. Zeros where it is undefined.
    """
    products = sum(np.asarray(part.value.products, np.float64) for part in parts)
    sums = sum(np.asarray(part.value.sums, np.float64) for part in parts)
    covariance = products - np.outer(sums, sums) / sum(part.neurons for part in parts)
    with np.errstate(invalid="ignore", divide="ignore"):
        norms = np.sqrt(np.diag(covariance))
        matrix = np.abs(covariance / np.outer(norms, norms))
    return matrix if np.isfinite(matrix).all() else np.zeros_like(matrix)


def join_values(statistic: Callable[[jax.Array], Any], parts: Sequence[Part], num_rows: int) -> Any:
    """A statistic that is a sum over neurons, of a whole site: zeros that pad its tiles are taken off again."""
    padding = sum(part.zeros for part in parts)

    def total(zero: Any, *values: Any) -> np.ndarray:
        exact = sum(np.asarray(value, np.float64) for value in values) - padding * np.asarray(zero, np.float64)
        return exact.astype(values[0].dtype)

    return jax.tree.map(total, statistic(jnp.zeros((num_rows, 1))), *(part.value for part in parts))


def sum_layers(matrices: Sequence[tuple[Path, Any]], layer_of: LayerOf | None) -> Any:
    """As `zsnas_jax.measure.measurements.sum_by_layer`, on the host, which compiles nothing: float32[L, N, N].

    Args:
        matrices: (path of a site, its matrices [P, N, N]), in order of execution.
        layer_of: layers of the sites; None for `number_layers`.
    """
    layer_of = layer_of or number_layers((path, len(own)) for path, own in matrices)
    each = [(layer_of(path, place), matrix) for path, own in matrices for place, matrix in enumerate(np.asarray(own))]
    total = np.zeros((max(layer for layer, _ in each), *each[0][1].shape))
    for layer, matrix in each:
        total[layer - 1] += matrix
    return total.astype(np.float32)


def finish(programs: Programs, wanted: KernelSum, sums: Sequence[np.ndarray], dtype: Any) -> Any:
    """The sum over weight layers, and positions, of what becomes of a layer's sum of entries.

    Args:
        programs: what compiles it, for lengths rounded up.
        wanted: with the `finish`.
        sums: float[P] of each kernel.
        dtype: of the result.
    """
    every = np.concatenate([np.zeros(0), *(np.ravel(part) for part in sums)])
    padding = rounded(len(every)) - len(every)
    values = np.pad(every, (0, padding)).astype(dtype)
    is_layer = np.pad(np.ones(len(every), bool), (0, padding))
    add = lambda values, is_layer: jnp.where(is_layer, jax.vmap(wanted.finish)(values), 0.0).sum()
    return programs.compiled(add, ("finish", wanted), values, is_layer)(values, is_layer)


def sum_entries(programs: Programs, wanted: KernelSum, matrices: Any) -> np.ndarray:
    """Sum of entry(w) of a kernel float[P, I, O] without gradients, by position float[P], for lengths rounded up."""
    rows = np.asarray(matrices).reshape(len(matrices), -1)
    length = rounded(rows.shape[1])
    add = lambda rows, is_entry: jnp.where(is_entry, wanted.entry(rows, None), 0.0).sum(1)
    rows, is_entry = np.pad(rows, ((0, 0), (0, length - rows.shape[1]))), np.arange(length) < rows.shape[1]
    return np.asarray(programs.compiled(add, ("entries", wanted), rows, is_entry)(rows, is_entry))


def rounded(length: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, ... that is no less."""
    return next(n for i in range(64) for n in (2**i, 3 * 2**i // 2) if n >= length)

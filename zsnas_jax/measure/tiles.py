"""The chained road in tiles of channels: the same Flax blocks, on slices of channels and kernels, padded by zeros.

Where no two networks have the same widths, what happens to each channel by itself is worked on in tiles, whose number
then is no shape, and a product over channels is a sum over tiles; what cannot be split is padded to few widths. Steps
say by `zsnas_jax.measure.blocks.Split` which of these they are. Sums over a site's neurons are sums over its tiles, to
which zeros add nothing. Axes: N batch, C channels, T channels of a tile.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import functools
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import KernelSum, Path
from zsnas_jax.correlation import response_matrix
from zsnas_jax.measure.blocks import Asked, Split, Step, moments, places_of, run_backward, run_forward
from zsnas_jax.measure.programs import Programs
from zsnas_jax.measure.sums import Slices, Sums
from zsnas_jax.measure.tape import Tape, Value
from zsnas_jax.nn.weights import Weight

NORMS = ("bn", "identity", "bn_initial")
"""The norms that are a channel's own."""


class Parts(NamedTuple):
    """A value in tiles of its last axis, the last one padded: T channels each, C in all."""

    tiles: Sequence[Value]
    tile: int
    channels: int


def serves(steps: Sequence[Step], asked: Asked, additive: Sequence[Callable[..., Any]]) -> bool:
    """Whether all that is asked of a chain can be gathered from tiles.

    Args:
        steps: of the chain.
        asked: of it.
        additive: statistics that are sums over neurons.
    """
    is_own = asked.options.norm in NORMS and not asked.options.mask_rate
    sums = all(statistic in (response_matrix, *additive) for statistic in asked.statistics)
    zeros = all(_is_zero(wanted, asked.kernel_gradients) for wanted, _ in asked.kernel_sums)
    rest = asked.features or asked.rescale or asked.fisher
    return is_own and sums and zeros and not rest and all(step.split for step in steps)


@functools.lru_cache(maxsize=256)
def _is_zero(wanted: KernelSum, with_gradients: bool) -> bool:
    """Whether padding adds nothing to a sum over kernels."""
    zero: Any = np.float32(0)
    return bool(wanted.entry(zero, zero if with_gradients else None) == 0)


class Tiles:
    """Runs steps in tiles.

    Args:
        programs: what compiles them.
        tape: where it notes what it does.
        asked: of every block.
        found: where it puts what a way forward shows.
    """

    def __init__(self, programs: Programs, tape: Tape, asked: Asked, found: Sums) -> None:
        self._programs, self._tape, self._found = programs, tape, found
        as_moments = tuple(moments if s is response_matrix else s for s in asked.statistics)
        self._asked = asked._replace(statistics=as_moments, in_parts=True)

    def run(self, step: Step, params: Any, reads: Sequence[Any]) -> Sequence[Any]:
        """What a step returns of values and parts: its outputs, in parts or not."""
        assert step.split is not None
        flat = {path: np.asarray(leaf) for path, leaf in flatten_dict(params).items()}
        return {
            "whole": self._whole,
            "outputs": self._by_output,
            "channels": self._by_channel,
            "inputs": self._by_input,
        }[step.split.along](step, step.split, flat, reads)

    def _whole(self, step: Step, split: Split, params: Mapping[Path, Any], reads: Sequence[Any]) -> Sequence[Any]:
        entering = [self._joined(read, split.width) if isinstance(read, Parts) else read for read in reads]
        weights = split.block.weights(_width(entering[0]))
        slices = {path: (slice(None),) * leaf.ndim for path, leaf in params.items()}
        return self._call(step, split, weights, params, slices, entering, split.site_channels or split.channels)

    def _by_output(self, step: Step, split: Split, params: Mapping[Path, Any], reads: Sequence[Any]) -> Sequence[Any]:
        weights, calls = split.block.weights(_width(reads[0])), []
        for part, channels in _cuts(split.channels, split.tile):
            slices = {path: _along_outputs(weights[path], part) for path in params}
            calls.append(self._call(step, split, weights, params, slices, reads, channels))
        return [Parts(tiles, split.tile, split.channels) for tiles in zip(*calls, strict=True)]

    def _by_channel(self, step: Step, split: Split, params: Mapping[Path, Any], reads: Sequence[Any]) -> Sequence[Any]:
        parts = [self._cut(read, split.tile, split.channels) for read in reads]
        weights, calls = split.block.weights(split.tile), []
        for place, (part, channels) in enumerate(_cuts(split.channels, split.tile)):
            slices = {path: _along_outputs(weights[path], part) for path in params}
            entering = [own.tiles[place] for own in parts]
            calls.append(self._call(step, split, weights, params, slices, entering, channels))
        return [Parts(tiles, split.tile, split.channels) for tiles in zip(*calls, strict=True)]

    def _by_input(self, step: Step, split: Split, params: Mapping[Path, Any], reads: Sequence[Any]) -> Sequence[Any]:
        weights = split.block.weights(split.tile)
        kernels = [path for path in params if weights[path].kernel]
        (inputs,) = {params[path].shape[weights[path].kernel.inputs[0]] for path in kernels}
        parts, sums = [self._cut(read, split.tile, inputs, split.stride) for read in reads], []
        like = parts[0].tiles[0].array
        ones = [Value(np.ones((len(like), split.tile), like.dtype), is_constant=True)] * split.num_ones
        for place, (part, _) in enumerate(_cuts(inputs, split.tile)):
            slices = {path: _along_inputs(weights[path], part) for path in params}
            entering = [own.tiles[place] for own in parts] + ones
            sums.append(self._call(step, split, weights, params, slices, entering, split.channels)[0])
        return [self._tape.total(sums) if len(sums) > 1 else sums[0]]

    def _call(
        self,
        step: Step,
        split: Split,
        weights: Mapping[Path, Weight],
        params: Mapping[Path, Any],
        slices: Mapping[Path, Slices],
        reads: Sequence[Value],
        channels: int,
    ) -> Sequence[Value]:
        """Runs the block on slices of its parameters, of whose response sites so many channels are no padding."""
        block, asked, programs, name = split.block, self._asked, self._programs, step.name
        own = unflatten_dict({path: padded(params[path][slices[path]], weights[path].shape) for path in params})
        arrays = tuple(read.array for read in reads)
        run = functools.partial(run_forward, block, asked, weights, key=None)
        output, observed = programs.compiled(run, ("tile", block, asked), own, arrays)(own, arrays)
        sites = places_of(observed)
        places = {site.path: site for site in sites}
        if len(places) < len(sites) or any(site.lifted for site in sites):
            raise ValueError(f"step {name} has a response site that is lifted or called twice: it cannot have a Split")
        for i, statistic in enumerate(asked.statistics):
            for seen in observed.get(f"statistic{i}", []):
                self._found.add_part(statistic, (name, *seen.path), seen.value, places[seen.path].shape, channels)
        self._found.places |= {(name, *path): site for path, site in places.items()}
        is_needed = not all(read.is_constant for read in reads)
        kernel_sums = tuple(wanted for wanted, _ in asked.kernel_sums)

        def pull(gradients: list[Any], found: Sums) -> Sequence[Any] | None:
            if not (is_needed or asked.is_differentiated):
                return None
            leaving = gradients[0] if len(step.writes) == 1 else tuple(gradients)
            back = functools.partial(run_backward, block, asked, weights, sites, is_needed, key=None)
            case = "tile back", block, asked, is_needed
            result = programs.compiled(back, case, own, arrays, leaving)(own, arrays, leaving)
            for path, value in result.sites.items():
                found.add_part(moments, (name, *path), value, places[path].shape, channels)
            found.add_kernels((name,), kernel_sums, result, slices)
            return result.reads

        outputs = [Value(output)] if len(step.writes) == 1 else [Value(part) for part in output]
        return self._tape.record(reads, outputs, pull)

    def _joined(self, parts: Parts, width: int) -> Value:
        """Tiles float[N, T] side by side, cut or padded to float[N, width]."""
        arrays = [np.asarray(tile.array) for tile in parts.tiles]
        array, ends = np.concatenate(arrays, -1), np.cumsum([part.shape[-1] for part in arrays])

        def back(gradients: list[Any], _: Any) -> Sequence[Any]:
            whole = resized(np.asarray(gradients[0]), array.shape[-1])
            return np.split(whole, ends[:-1], -1)

        return self._tape.record(parts.tiles, [Value(resized(array, width))], back)[0]

    def _cut(self, read: Any, tile: int, channels: int, stride: int = 1) -> Parts:
        """A value of so many channels, and padding, in tiles of every stride-th pixel."""
        if isinstance(read, Parts):
            return read
        count, x, programs = -(-channels // tile), read.array, self._programs
        if x.ndim == 2:  # small enough for the host
            tiles, width = np.split(resized(np.asarray(x), tile * count), count, -1), x.shape[-1]
            glue = lambda parts: resized(np.concatenate([np.asarray(part) for part in parts], -1), width)
        else:
            cut = functools.partial(_cut, tile, count, stride)
            tiles = programs.compiled(cut, ("cut", tile, count, stride), x)(x)
            back = functools.partial(_glue, x.shape, stride)
            glue = lambda parts: programs.compiled(back, ("glue", x.shape, stride), parts)(parts)
        values = [Value(tile, read.is_constant) for tile in tiles]
        return Parts(self._tape.record([read], values, lambda gradients, _: [glue(gradients)]), tile, channels)


def _cut(tile: int, count: int, stride: int, x: jax.Array) -> list[jax.Array]:
    x = x[:, ::stride, ::stride, : tile * count]
    return jnp.split(jnp.pad(x, [(0, 0)] * 3 + [(0, tile * count - x.shape[-1])]), count, -1)


def _glue(shape: tuple[int, ...], stride: int, parts: list[jax.Array]) -> jax.Array:
    """The gradient of what was cut, of its shape."""
    x = jnp.concatenate(parts, -1)[..., : shape[-1]]
    ends = zip(shape, x.shape, (1, stride, stride, 1), strict=True)
    pads = [(0, whole - stride * (size - 1) - 1, stride - 1) for whole, size, stride in ends]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), pads)


def _width(value: Value) -> int:
    return value.array.shape[-1]


def _cuts(channels: int, tile: int) -> Iterator[tuple[slice, int]]:
    """(slice, channels that are no padding) of every tile."""
    for start in range(0, channels, tile):
        yield slice(start, start + tile), min(tile, channels - start)


def _along_outputs(weight: Weight, part: slice) -> tuple[slice, ...]:
    kernel = weight.kernel
    axis = kernel.outputs[0] if kernel else 0
    return tuple(part if place == axis else slice(None) for place in range(len(weight.shape)))


def _along_inputs(weight: Weight, part: slice) -> tuple[slice, ...]:
    kernel = weight.kernel
    assert kernel is not None
    return tuple(part if place == kernel.inputs[0] else slice(None) for place in range(len(weight.shape)))


def padded(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array with zeros behind it, up to a shape."""
    if array.shape == shape:
        return array
    whole = np.zeros(shape, array.dtype)
    whole[tuple(map(slice, array.shape))] = array
    return whole


def resized(array: np.ndarray, width: int) -> np.ndarray:
    """The array cut, or padded by zeros, to a width of its last axis."""
    return padded(array[..., :width], (*array.shape[:-1], width))

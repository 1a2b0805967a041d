"""Reading MobileNetV2 networks piece by piece: a network of a plan as steps of a tape.

What proxies read comes out as `zsnas_jax.measure.measurements` has it from a whole network; a test holds the two together.

Axes: N batch, K classes, T channels of a tile, C between layers, I O of a 1x1 convolution.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Batch
from zsnas_jax.measure.losses import cross_entropy as mean_cross_entropy
from zsnas_jax.measure.pieces import Counts, Kernel, Programs, Tape, Value, resized
from zsnas_jax.measure.piecewise import Found, Wanted
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.probes import Path
from zsnas_jax.search_spaces.mobilenetv2 import pieces as pieces
from zsnas_jax.search_spaces.mobilenetv2.network import NUM_STAGES, Layer, Plan, layers_of
from zsnas_jax.search_spaces.mobilenetv2.pieces import SQUEEZED, padded, tile_of

NUM_LAYERS = NUM_STAGES + 2
_loss_gradient = jax.jit(jax.grad(mean_cross_entropy))


def read(
    programs: Programs,
    plan: Plan,
    kernels: Mapping[Path, np.ndarray],
    options: LayerOptions,
    batch: Batch,
    wanted: Wanted,
    squeeze_excite: bool = True,
) -> Found:
    """What a network shows of a batch.

    Args:
        programs: what runs pieces.
        plan: of the network.
        kernels: by path, of the shapes of `kernel_shapes`.
        options: batch norm or none, and the activation.
        batch: pictures float[N, H, W, 3], and labels where gradients of the loss are wanted.
        wanted: what to find.
        squeeze_excite: whether layers weigh their channels.
    """
    network = _Network(programs, plan, kernels, options, squeeze_excite, wanted, len(batch.image))
    image = Value(batch.image, is_constant=not wanted.jacobian)
    logits = network.run(image)
    tape, found = network.tape, Found(log_scale=network.log_scale())
    if wanted.activations:
        found = found._replace(activations=tape.sites.responses())
    if wanted.agreement:
        found = found._replace(agreement=tape.sites.agreement())
    if wanted.gradients or wanted.saliency:
        gradient = _loss_gradient(logits.array, batch.label)
        back, _ = tape.back(logits, gradient, image, correlation=wanted.gradients, saliency=wanted.saliency)
        found = found._replace(saliency=back.totals())
        found = found._replace(gradients=back.sites.responses()) if wanted.gradients else found
    if wanted.jacobian or wanted.flow:
        ones = jnp.ones_like(logits.array)
        # Observes gradients where the other way back does, though nobody looks: the programs are the same.
        own = {"correlation": wanted.gradients, "saliency": wanted.flow or wanted.saliency}
        back, gradient = tape.back(logits, ones, image, **own)
        found = found._replace(saliency=back.totals()) if wanted.flow else found
        found = found._replace(jacobian=np.asarray(gradient).reshape(len(ones), -1)) if wanted.jacobian else found
    return found


class _Network:
    """A network on a tape."""

    def __init__(
        self,
        programs: Programs,
        plan: Plan,
        kernels: Mapping[Path, np.ndarray],
        options: LayerOptions,
        squeeze_excite: bool,
        wanted: Wanted,
        num_pictures: int,
    ) -> None:
        self.plan, self.options, self.squeeze_excite, self.wanted = plan, options, squeeze_excite, wanted
        self.tape = Tape(programs, NUM_LAYERS, correlation=wanted.activations, codes=wanted.agreement)
        self._kernels, self._num_pictures, self._log_scales = kernels, num_pictures, list[Any]()

    def log_scale(self) -> float:
        """The logarithm of what layers were divided by."""
        return float(sum(np.asarray(scale, np.float64) for scale in self._log_scales))

    def _kernel(self, *path: str) -> tuple[Path, np.ndarray]:
        """(path, values) of a kernel: float[I, O] of a 1x1 convolution or the dense layer, others as they are."""
        kernel = np.asarray(self._kernels[*path, "kernel"])
        return (*path, "kernel"), kernel[0, 0] if kernel.shape[:2] == (1, 1) else kernel

    def _whole(self, *path: str, shape: tuple[int, ...]) -> Kernel:
        """A kernel, padded to a shape of its last axes."""
        path, kernel = self._kernel(*path)
        return Kernel(path, resized(kernel, *shape))

    def _columns(self, *path: str, inputs: int, tile: int) -> list[Kernel]:
        """A kernel in tiles of its outputs, float[..., inputs, T] each."""
        path, kernel = self._kernel(*path)
        kernel = resized(kernel, inputs, -(-kernel.shape[-1] // tile) * tile)
        return [Kernel(path, part) for part in np.split(kernel, kernel.shape[-1] // tile, -1)]

    def _rows(self, *path: str, tile: int, count: int, outputs: int) -> list[Kernel]:
        """A kernel in so many tiles of its inputs, float[T, outputs] each."""
        path, kernel = self._kernel(*path)
        return [Kernel(path, part) for part in np.split(resized(kernel, tile * count, outputs), count)]

    def run(self, image: Value) -> Value:
        """The logits float[N, K] of pictures float[N, H, W, 3]."""
        width, size = padded(self.plan.stem), self.plan.resolution // 2
        kernel = self._whole("stem", "conv", shape=(3, width))
        site = {"stem": _counts(1, self.plan.stem, width, size)}
        stem = pieces.Stem(self.options, self.plan.resolution)
        x = self._shrink(self.tape.run(stem, image, kernel, None, sites=site))
        for layer in layers_of(self.plan):
            x = self._layer(layer, x)
            size = layer.size // layer.stride
        return self._head(x, size)

    def _shrink(self, x: Value) -> Value:
        """What SynFlow divides by the largest value, and keeps the logarithm of."""
        if not self.wanted.flow:
            return x
        self._log_scales.append(self.tape.programs.run(pieces.log_largest, None, x.array))
        return self.tape.run(pieces.Shrink(), x)

    def _layer(self, layer: Layer, x: Value) -> Value:
        """A layer's output float[N, H, W, C] of its input."""
        tile, number, name = tile_of(layer.size), layer.stage + 1, layer.name
        size, width = layer.size // layer.stride, padded(layer.outputs)
        piece, filtered, means = pieces.Filter(self.options, layer.stride), [], []
        widening = self._columns(f"{name}_widen", "conv", inputs=padded(layer.inputs), tile=tile)
        filters = self._columns(f"{name}_filter", "conv", inputs=1, tile=tile)
        for place, (first, second) in enumerate(zip(widening, filters, strict=True)):
            channels = min(tile, layer.middle - place * tile)
            sites = {
                f"{name} wide": _counts(number, channels, tile, layer.size),
                f"{name} filtered": _counts(number, channels, tile, size),
            }
            wide = self.tape.run(pieces.Widen(), x, first)
            z, mean = self.tape.run(piece, wide, None, second, None, sites=sites)
            filtered.append(z)
            means.append(mean)
        gates = self._gates(layer, means, tile)
        narrowing = self._rows(f"{name}_narrow", "conv", tile=tile, count=len(filtered), outputs=width)
        narrowed = self._narrow(filtered, gates, narrowing)
        join, site = pieces.Join(self.options, layer.is_first), {name: _counts(number, layer.outputs, width, size)}
        ends = narrowed, self._project(layer, x, tile) if layer.is_first else x
        return self._shrink(self.tape.run(join, ends, None, None, sites=site))

    def _narrow(self, tiles: list[Value], gates: list[Value], kernels: list[Kernel]) -> Value:
        """The sum over tiles of a 1x1 convolution, float[N, H, W, C]."""
        triples = zip(tiles, gates, kernels, strict=True)
        return self.tape.total([self.tape.run(pieces.Narrow(), (z, gate), kernel) for z, gate, kernel in triples])

    def _project(self, layer: Layer, x: Value, tile: int) -> Value:
        """The convolution of a stage's first shortcut."""
        chunks = list(self.tape.run(pieces.Cut(layer.stride, tile), x))
        kernels = self._rows(
            f"{layer.name}_narrow", "shortcut", tile=tile, count=len(chunks), outputs=padded(layer.outputs)
        )
        return self._narrow(chunks, self._ones(tile, len(chunks)), kernels)

    def _ones(self, tile: int, count: int) -> list[Value]:
        return [Value(np.ones((self._num_pictures, tile), np.float32), is_constant=True)] * count

    def _gates(self, layer: Layer, means: list[Value], tile: int) -> list[Value]:
        """What squeeze-excite weighs the middle channels by, float[N, T] each."""
        if not self.squeeze_excite:
            return self._ones(tile, len(means))
        wide, squeezed = padded(layer.middle, SQUEEZED), round(layer.middle / 4)
        path = f"{layer.name}_filter", "squeeze_excite"
        squeeze = self._whole(*path, "squeeze", shape=(wide, wide // 4))
        excite = self._whole(*path, "excite", shape=(wide // 4, wide))
        site = {f"{layer.name} squeezed": Counts(layer.stage + 1, squeezed, wide // 4 - squeezed)}
        joined = self.tape.join(means, wide)
        gates = self.tape.run(pieces.Excite(self.options), joined, squeeze, excite, sites=site)
        return self.tape.split(gates, tile, len(means))

    def _head(self, x: Value, size: int) -> Value:
        """The last convolution, pooling and the classifier."""
        tile, means = tile_of(size), []
        for place, kernel in enumerate(self._columns("head", "conv", inputs=x.array.shape[-1], tile=tile)):
            site = {"head": _counts(NUM_LAYERS, min(tile, self.plan.last - place * tile), tile, size)}
            wide = self.tape.run(pieces.Widen(), x, kernel)
            means.append(self.tape.run(pieces.Pool(self.options), wide, None, None, sites=site))
        length = padded(self.plan.last, SQUEEZED)
        dense = self._whole("head", "dense", shape=(length, self._kernel("head", "dense")[1].shape[1]))
        return self.tape.run(pieces.Widen(), self.tape.join(means, length), dense)


def _counts(layer: int, channels: int, width: int, size: int) -> Counts:
    """Of a site with so many channels, padded to a width, where pictures have `size` pixels along a side."""
    return Counts(layer, channels * size**2, (width - channels) * size**2)

"""Reading MobileNetV2 networks piece by piece: the host runs a plan's pieces forward and back, and keeps the sums.

What proxies read comes out as `zsnas_jax.reading` has it from a whole network; a test holds the two together.

Axes: N batch, L layers, K classes, D middle channels of a layer, T tile.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Batch
from zsnas_jax.marks import Path
from zsnas_jax.piecewise import Found, Sites, Wanted
from zsnas_jax.reading import mean_cross_entropy
from zsnas_jax.search_spaces import mobilenetv2_pieces as pieces
from zsnas_jax.search_spaces.mobilenetv2_network import NUM_STAGES, Layer, Plan, layers_of
from zsnas_jax.search_spaces.mobilenetv2_pieces import SQUEEZED, Piece, padded, tile_of
from zsnas_jax.treatments import Treatment


@dataclasses.dataclass
class _Trace:
    """What the way back needs of a layer: its kernels in tiles, and what entered its pieces."""

    layer: Layer
    tile: int
    x: Any
    kernels: dict[str, list[Any]]
    wide: list[Any] = dataclasses.field(default_factory=list)
    filtered: list[Any] = dataclasses.field(default_factory=list)
    means: Any = None
    gates: Any = None
    joined: Any = None
    end: Any = None


def _pad(array: np.ndarray, *shape: int) -> np.ndarray:
    """The array with zeros behind it along its last axes."""
    missing = [(0, size - old) for size, old in zip(shape, array.shape[array.ndim - len(shape) :], strict=True)]
    return np.pad(array, [(0, 0)] * (array.ndim - len(shape)) + missing)


def _columns(kernel: np.ndarray, rows: int, tile: int) -> list[np.ndarray]:
    """float[..., I, O] in tiles of its outputs, padded: float[..., rows, T] each."""
    kernel = _pad(kernel, rows, -(-kernel.shape[-1] // tile) * tile)
    return [kernel[..., start : start + tile] for start in range(0, kernel.shape[-1], tile)]


def _rows(kernel: np.ndarray, tile: int, columns: int) -> list[np.ndarray]:
    """float[I, O] in tiles of its inputs, padded: float[T, columns] each."""
    kernel = _pad(kernel, -(-len(kernel) // tile) * tile, columns)
    return [kernel[start : start + tile] for start in range(0, len(kernel), tile)]


def _total(arrays: Sequence[Any]) -> Any:
    total = arrays[0]
    for array in arrays[1:]:
        total = pieces.add(total, array)
    return total


def _tile_counts(channels: int, tile: int, place: int, pixels: int) -> tuple[int, int]:
    """(neurons, zeros) of a tile's site."""
    there = min(tile, channels - place * tile)
    return there * pixels, (tile - there) * pixels


class Network:
    """A network of a plan with its kernels, run piece by piece.

    Args:
        plan: of the network.
        kernels: by path, of the shapes of `kernel_shapes`.
        treatment: norm, a channel's own, and activation.
        squeeze_excite: whether layers weigh their channels.
    """

    def __init__(
        self, plan: Plan, kernels: Mapping[Path, np.ndarray], treatment: Treatment, squeeze_excite: bool = True
    ) -> None:
        self.plan, self.treatment, self.squeeze_excite = plan, treatment, squeeze_excite
        self._kernels = {path: np.asarray(kernel) for path, kernel in kernels.items()}

    def _kernel(self, *path: str) -> np.ndarray:
        """A kernel of a 1x1 convolution or the dense layer as float[I, O], others as they are."""
        kernel = self._kernels[*path, "kernel"]
        return kernel[0, 0] if kernel.shape[:2] == (1, 1) else kernel

    def _layer_kernels(self, p: Layer, tile: int) -> dict[str, list[Any]]:
        """A layer's kernels, in tiles and padded."""
        inputs, outputs, wide = padded(p.inputs), padded(p.outputs), padded(p.middle, SQUEEZED)
        kernels = {
            "widen": _columns(self._kernel(f"{p.name}_widen", "conv"), inputs, tile),
            "filter": _columns(self._kernel(f"{p.name}_filter", "conv"), 1, tile),
            "narrow": _rows(self._kernel(f"{p.name}_narrow", "conv"), tile, outputs),
        }
        if self.squeeze_excite:
            gate = lambda name: self._kernel(f"{p.name}_filter", "squeeze_excite", name)
            kernels["gate"] = [_pad(gate("squeeze"), wide, wide // 4), _pad(gate("excite"), wide // 4, wide)]
        if p.is_first:
            kernels["shortcut"] = _rows(self._kernel(f"{p.name}_narrow", "shortcut"), tile, outputs)
            missing = -(-inputs // tile) - len(kernels["shortcut"])
            kernels["shortcut"] += [np.zeros_like(kernels["shortcut"][0])] * missing
        return kernels

    def read(self, batch: Batch, wanted: Wanted) -> Found:
        """What the network shows of pictures float[N, H, W, 3]."""
        run = _Run(self, batch.image, wanted)
        logits = run.forward()
        found = Found(
            activations=run.sites.responses() if wanted.activations else None,
            agreement=run.sites.agreement() if wanted.agreement else None,
            log_scale=run.log_scale,
        )
        if wanted.gradients or wanted.saliency:
            sites, saliency, _ = run.back(_loss_gradient(logits, batch.label), wanted.gradients, wanted.saliency, False)
            found = found._replace(gradients=sites.responses() if wanted.gradients else None, saliency=saliency)
        if wanted.jacobian or wanted.flow:
            _, flow, jacobian = run.back(jnp.ones_like(logits), False, wanted.flow, wanted.jacobian)
            found = found._replace(jacobian=None if jacobian is None else np.asarray(jacobian).reshape(len(logits), -1))
            found = found._replace(saliency=flow) if wanted.flow else found
        return found


_loss_gradient = jax.jit(jax.grad(mean_cross_entropy))


class _Run:
    """A way forward through a network, and the ways back from it."""

    def __init__(self, network: Network, image: Any, wanted: Wanted) -> None:
        self.network, self.image, self.wanted = network, image, wanted
        self.sites, self.layers, self.log_scales = Sites(NUM_STAGES + 2), list[_Trace](), list[Any]()
        own = network.treatment
        self.stem = pieces.Stem(own, network.plan.resolution)
        self.widen, self.narrow, self.excite = pieces.Widen(own), pieces.Narrow(own), pieces.Excite(own)
        self.pool, self.shrink = pieces.Pool(own), pieces.Shrink(own)

    @property
    def log_scale(self) -> float:
        """The logarithm of what layers were divided by."""
        return float(sum(np.asarray(scale, np.float64) for scale in self.log_scales))

    def _forward(self, piece: Piece, kernels: tuple[Any, ...], x: Any) -> Any:
        return pieces.forward(piece, kernels, x, self.wanted.activations, self.wanted.agreement)

    def _shrink(self, x: Any) -> Any:
        if not self.wanted.flow:
            return x
        self.log_scales.append(pieces.log_largest(x))
        return self._forward(self.shrink, (None,), x)[0]

    def forward(self) -> Any:
        """The logits, float[N, K]."""
        plan, kernel = self.network.plan, self.network._kernel
        width, size = padded(plan.stem), plan.resolution // 2
        self.stem_kernel = _pad(kernel("stem", "conv"), 3, width)
        x, seen = self._forward(self.stem, (self.stem_kernel, None), self.image)
        self.sites.add("stem", 1, seen, [(plan.stem * size**2, (width - plan.stem) * size**2)])
        self.stem_end, x = x, self._shrink(x)
        for layer in layers_of(plan):
            x = self._layer(layer, x)
            size = layer.size // layer.stride
        self.head_input, self.head_tile = x, tile_of(size)
        self.head_kernels = _columns(kernel("head", "conv"), x.shape[-1], self.head_tile)
        self.head_wide = [self._forward(self.widen, (w,), x)[0] for w in self.head_kernels]
        means = []
        for place, h in enumerate(self.head_wide):
            mean, seen = self._forward(self.pool, (None, None), h)
            counts = [_tile_counts(plan.last, self.head_tile, place, size**2)]
            self.sites.add("head", NUM_STAGES + 2, seen, counts)
            means.append(mean)
        wide = padded(plan.last, SQUEEZED)
        self.means = _pad(np.concatenate([np.asarray(mean) for mean in means], 1)[:, :wide], wide)
        self.dense = _pad(kernel("head", "dense"), wide, kernel("head", "dense").shape[1])
        return self._forward(self.widen, (self.dense,), self.means)[0]

    def _layer(self, p: Layer, x: Any) -> Any:
        """A layer's output."""
        tile = tile_of(p.size)
        own = _Trace(p, tile, x, self.network._layer_kernels(p, tile))
        own.wide = [self._forward(self.widen, (w,), x)[0] for w in own.kernels["widen"]]
        piece, means, size = pieces.Filter(self.network.treatment, p.stride), [], p.size // p.stride
        for place, (h, kernel) in enumerate(zip(own.wide, own.kernels["filter"], strict=True)):
            (z, mean), seen = self._forward(piece, (None, kernel, None), h)
            counts = [_tile_counts(p.middle, tile, place, pixels**2) for pixels in (p.size, size)]
            self.sites.add(p.name, p.stage + 1, seen, counts)
            own.filtered.append(z)
            means.append(mean)
        own.means, own.gates = self._gates(own, means)
        own.joined = self._narrowed(own), self._shortcut(own)
        own.end, seen = self._forward(pieces.Join(self.network.treatment, p.is_first), (None, None), own.joined)
        width = own.end.shape[-1]
        self.sites.add(f"{p.name}_end", p.stage + 1, seen, [(p.outputs * size**2, (width - p.outputs) * size**2)])
        self.layers.append(own)
        return self._shrink(own.end)

    def _gates(self, own: _Trace, means: list[Any]) -> tuple[Any, np.ndarray]:
        """(means float[N, D] of the middle channels, what these are weighed by, in the length of all tiles)."""
        length = len(means) * own.tile
        if not self.network.squeeze_excite:
            return None, np.ones((len(self.image), length), np.float32)
        p, wide = own.layer, padded(own.layer.middle, SQUEEZED)
        joined = np.concatenate([np.asarray(mean) for mean in means], 1)[:, :wide]
        gates, seen = self._forward(self.excite, tuple(own.kernels["gate"]), _pad(joined, wide))
        squeezed = round(p.middle / 4)
        self.sites.add(f"{p.name}_squeezed", p.stage + 1, seen, [(squeezed, wide // 4 - squeezed)])
        return _pad(joined, wide), _pad(np.asarray(gates)[:, :length], length)

    def _tile(self, array: np.ndarray, own: _Trace, place: int) -> np.ndarray:
        return array[:, place * own.tile : (place + 1) * own.tile]

    def _narrowed(self, own: _Trace) -> Any:
        tiles = enumerate(zip(own.filtered, own.kernels["narrow"], strict=True))
        return _total([self._forward(self.narrow, (w,), (z, self._tile(own.gates, own, t)))[0] for t, (z, w) in tiles])

    def _shortcut(self, own: _Trace) -> Any:
        if not own.layer.is_first:
            return own.x
        pairs = zip(self._cut(own), own.kernels["shortcut"], strict=True)
        return _total([self._forward(self.narrow, (w,), (chunk, self._ones(own)))[0] for chunk, w in pairs])

    def _cut_piece(self, own: _Trace) -> Piece:
        return pieces.Cut(self.network.treatment, own.layer.stride, own.tile)

    def _cut(self, own: _Trace) -> Any:
        return self._forward(self._cut_piece(own), (None,), own.x)[0]

    def _ones(self, own: _Trace) -> np.ndarray:
        return np.ones((len(self.image), own.tile), np.float32)

    def back(self, gradient: Any, correlation: bool, saliency: bool, jacobian: bool) -> Any:
        """The way back from a gradient of the logits.

        Returns:
            (sites with the sums of the gradients there, saliency by kernel, gradient of the pictures or None).
        """
        sites, sums = Sites(NUM_STAGES + 2), dict[Path, list[Any]]()

        def step(piece: Piece, kernels: tuple[Any, ...], x: Any, gradient: Any, *paths: Path, **options: Any) -> Any:
            inputs, seen, own = pieces.backward(piece, kernels, x, gradient, correlation, saliency, **options)
            for path, pair in zip(paths, own, strict=False):
                sums.setdefault(path, []).append(pair)
            return inputs, seen

        gradient = self._head_back(step, sites, gradient)
        for own in reversed(self.layers):
            gradient = self._layer_back(step, sites, own, gradient)
        gradient = step(self.shrink, (None,), self.stem_end, gradient)[0] if self.wanted.flow else gradient
        kernels, path = (self.stem_kernel, None), ("stem", "conv", "kernel")
        plan, size = self.network.plan, self.network.plan.resolution // 2
        image, seen = step(self.stem, kernels, self.image, gradient, path, inputs=jacobian)
        sites.add("stem", 1, seen, [(plan.stem * size**2, 0)])
        totals = {path: tuple(np.asarray(pairs, np.float64).sum(0).tolist()) for path, pairs in sums.items()}
        return sites, totals, image

    def _head_back(self, step: Any, sites: Sites, gradient: Any) -> Any:
        plan, tile, pixels = self.network.plan, self.head_tile, self.head_input.shape[1] ** 2
        means, _ = step(self.widen, (self.dense,), self.means, gradient, ("head", "dense", "kernel"))
        means = _pad(np.asarray(means)[:, : len(self.head_wide) * tile], len(self.head_wide) * tile)
        inputs = []
        for place, (h, w) in enumerate(zip(self.head_wide, self.head_kernels, strict=True)):
            wide, seen = step(self.pool, (None, None), h, means[:, place * tile : (place + 1) * tile])
            sites.add("head", NUM_STAGES + 2, seen, [_tile_counts(plan.last, tile, place, pixels)])
            inputs.append(step(self.widen, (w,), self.head_input, wide, ("head", "conv", "kernel"))[0])
        return _total(inputs)

    def _layer_back(self, step: Any, sites: Sites, own: _Trace, gradient: Any) -> Any:
        """The gradient of what enters a layer."""
        p, kernels, size = own.layer, own.kernels, own.layer.size // own.layer.stride
        if self.wanted.flow:
            gradient = step(self.shrink, (None,), own.end, gradient)[0]
        join = pieces.Join(self.network.treatment, p.is_first)
        (narrowed, shortcut), seen = step(join, (None, None), own.joined, gradient)
        sites.add(f"{p.name}_end", p.stage + 1, seen, [(p.outputs * size**2, 0)])
        path: Path = (f"{p.name}_narrow", "conv", "kernel")
        tiles = enumerate(zip(own.filtered, kernels["narrow"], strict=True))
        behind = [step(self.narrow, (w,), (z, self._tile(own.gates, own, t)), narrowed, path)[0] for t, (z, w) in tiles]
        means = self._gates_back(step, sites, own, [gate for _, gate in behind])
        piece, inputs = pieces.Filter(self.network.treatment, p.stride), []
        for place, (h, (z, _)) in enumerate(zip(own.wide, behind, strict=True)):
            both = (z, self._tile(means, own, place))
            path = (f"{p.name}_filter", "conv", "kernel")
            wide, seen = step(piece, (None, kernels["filter"][place], None), h, both, path)
            counts = [_tile_counts(p.middle, own.tile, place, pixels**2) for pixels in (p.size, size)]
            sites.add(p.name, p.stage + 1, seen, counts)
            path = (f"{p.name}_widen", "conv", "kernel")
            inputs.append(step(self.widen, (kernels["widen"][place],), own.x, wide, path)[0])
        return _total([*inputs, self._shortcut_back(step, own, shortcut)])

    def _gates_back(self, step: Any, sites: Sites, own: _Trace, gates: list[Any]) -> np.ndarray:
        """The gradient of the middle channels' means, in the length of all tiles."""
        p, length = own.layer, len(gates) * own.tile
        if not self.network.squeeze_excite:
            return np.zeros((len(self.image), length), np.float32)
        wide = padded(p.middle, SQUEEZED)
        joined = _pad(np.concatenate([np.asarray(gate) for gate in gates], 1)[:, :wide], wide)
        paths = [(f"{p.name}_filter", "squeeze_excite", name, "kernel") for name in ("excite", "squeeze")]
        means, seen = step(self.excite, tuple(own.kernels["gate"]), own.means, joined, *paths[::-1])
        sites.add(f"{p.name}_squeezed", p.stage + 1, seen, [(round(p.middle / 4), 0)])
        return _pad(np.asarray(means)[:, :length], length)

    def _shortcut_back(self, step: Any, own: _Trace, gradient: Any) -> Any:
        if not own.layer.is_first:
            return gradient
        path = (f"{own.layer.name}_narrow", "shortcut", "kernel")
        pairs = zip(self._cut(own), own.kernels["shortcut"], strict=True)
        chunks = [step(self.narrow, (w,), (chunk, self._ones(own)), gradient, path)[0][0] for chunk, w in pairs]
        return step(self._cut_piece(own), (None,), own.x, tuple(chunks))[0]

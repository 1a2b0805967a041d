"""NAS-Bench-101 as one Flax module whose cell genotype is an argument.

`NASBench101(variant=k).apply(variables, image, arch)` takes the genotype, 26 genes, in two forms:

* a tuple of Python ints builds only the chosen operations, at their true widths;
* an int32[26] array dispatches at run time: one compiled program serves every cell in which k vertices feed the output.

The vertices that feed the output share its C channels as evenly as possible, and no interior vertex is wider than the
widest of them. So w = ceil(C / k) channels hold any interior vertex: it has w of them, or w - 1 and one of padding,
which stays zero. Wherever padding would change a value, a `switch` works on w - 1 channels: what comes out, responses
included, is that of the built cell.

Axes: N batch, H W C image, w channels of an interior vertex. Source: Ying et al., "NAS-Bench-101: Towards Reproducible
Neural Architecture Search", ICML 2019.
"""

from collections.abc import Callable, Mapping
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.nn.initializers import Initializer, kaiming_uniform
from zsnas_jax.nn.layers import conv2d, max_pool_2x2, max_pool_3x3, rematerialised_switch
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.parameters import Affine, ConvKernel
from zsnas_jax.nn.probes import (
    COLLECTIONS,
    RNGS,
    ConvOutput,
    Features,
    LayerOutput,
    NormInput,
    Path,
    Probe,
    Site,
    tap,
    weigh,
)
from zsnas_jax.search_spaces.nasbench101.cells import ABSENT, CONV1, CONV3, INPUT, NUM_SLOTS, OUTPUT, POOL, Wiring, wire

NUM_STACKS = 3
_FULL, _NARROW, _POOL, _NOTHING = range(4)  # what follows the convolution of a unit
_KERNELS = {CONV3: "conv_3x3", CONV1: "conv_1x1"}


def _switch(
    value: Any, branches: Mapping[int, Callable[..., Any]], *operands: Any, constants: Any, has_aux: bool = False
) -> Any:
    """The branch of a value; of several, what the branch computes is computed again on the way back."""
    if len(branches) == 1:
        return next(iter(branches.values()))(constants, *operands)
    index = sum(i * (value == key) for i, key in enumerate(branches))
    return rematerialised_switch(index, list(branches.values()), *operands, constants=constants, has_aux=has_aux)


class UnitOptions(NamedTuple):
    """What the operations of a unit do: its fields of these names."""

    ops: tuple[int, ...]
    channels: int
    can_narrow: bool
    options: LayerOptions


def _before_norm(own: UnitOptions, op: Any, x: jax.Array, kernels: Any, key: Any, share: Any) -> jax.Array:
    """What an operation does before the norm: float[N, H, W, C] to float[N, H, W, w]."""

    def convolution(op: int) -> Callable[..., jax.Array]:
        def apply(constants: Any, x: jax.Array, kernels: Any) -> jax.Array:
            (key, share), (kernel, slot) = constants, kernels[op]
            y = conv2d(own.options.mask(x, key), kernel)
            return weigh(y, None if slot is None else slot * share, kernel.size // kernel.shape[-1])

        return apply

    zeros = lambda constants, x, kernels: jnp.zeros((*x.shape[:-1], own.channels), x.dtype)
    plain = {POOL: lambda constants, x, kernels: x, ABSENT: zeros}
    return _switch(op, {o: plain.get(o) or convolution(o) for o in own.ops}, x, kernels, constants=(key, share))


def _from_norm(
    own: UnitOptions,
    kind: Any,
    y: jax.Array,
    affine: Any,
    slot: Any,
    key: Any,
    shown: bool,
    normalise: Callable[..., jax.Array] | None = None,
) -> tuple[jax.Array, Any]:
    """Norm and activation of the channels that are no padding, or pooling: (output, response where it is shown)."""
    normalise = normalise or own.options.normalise

    def activate(width: int) -> Callable[..., Any]:
        def apply(key: Any, y: jax.Array, affine: Any, slot: Any) -> Any:
            scale, bias = affine
            response = normalise(y[..., :width], scale[:width], bias[:width], key)
            pad = lambda value: jnp.pad(value, ((0, 0),) * 3 + ((0, own.channels - width),))
            return pad(own.options.activate(tap(response, slot))), pad(response) if shown else None

        return apply

    seen = lambda y: jnp.zeros_like(y) if shown else None
    has_norm = affine is not None
    branches = {_FULL: activate(own.channels)} if has_norm else {}
    branches |= {_NARROW: activate(own.channels - 1)} if has_norm and own.can_narrow else {}
    branches |= {_POOL: lambda key, y, affine, slot: (max_pool_3x3(y), seen(y))} if POOL in own.ops else {}
    branches |= {_NOTHING: lambda key, y, affine, slot: (jnp.zeros_like(y), seen(y))} if ABSENT in own.ops else {}
    result: tuple[jax.Array, Any] = _switch(kind, branches, y, affine, slot, constants=key, has_aux=True)
    return result


# Traced once for all units of a shape.
_before_norm_traced = jax.jit(_before_norm, static_argnums=0)
_from_norm_traced = jax.jit(_from_norm, static_argnums=(0, 6))


class Unit(nn.Module):
    """A vertex or a projection: convolution, norm and activation; or pooling; or nothing.

    Attributes:
        ops: the operations that it can be; a single one is built without a switch.
        channels: w, of what leaves it.
        can_narrow: whether the last of them may be padding.
        kernel_init: of the kernels.
        options: norm, activation, and mask on what enters a convolution.
    """

    ops: tuple[int, ...]
    channels: int
    can_narrow: bool
    kernel_init: Initializer
    options: LayerOptions

    @nn.compact
    def __call__(self, x: jax.Array, op: Any, narrow: Any, share: Any, site: Site) -> jax.Array:
        """Applies operation `op` to x float[N, H, W, C], giving float[N, H, W, w]; padding stays zero.

        Args:
            x: what enters.
            op: one of `ops`, int or int32[].
            narrow: whether the last channel of what leaves is padding.
            share: of the channels of x that are no padding.
            site: shows responses to a pass; its slot gathers their gradients.
        """
        convolutions = [o for o in self.ops if o in _KERNELS]
        shape = {CONV3: (3, 3, x.shape[-1], self.channels), CONV1: (1, 1, x.shape[-1], self.channels)}
        kernels = {o: ConvKernel(shape[o], self.kernel_init, name=_KERNELS[o])() for o in convolutions}
        affine = Affine(self.channels, name="norm")() if convolutions else None
        key = self.options.key_of(self)
        own = UnitOptions(self.ops, self.channels, self.can_narrow, self.options)
        is_conv = (op == CONV3) | (op == CONV1)
        kind = jnp.where(is_conv, jnp.where(narrow, _NARROW, _FULL), jnp.where(op == POOL, _POOL, _NOTHING))
        shown, probe = site.wanted(), NormInput(name="norm_input")  # made here: inside a switch no module can be
        if len(self.ops) == 1:  # no switch around its norm, which can hold running statistics
            y = _before_norm(own, op, x, kernels, key, share)
            normalise = functools.partial(probe.normalise, self.options)
            z, response = _from_norm(own, kind, y, affine, site.slot(), key, shown, normalise)
        else:
            y = _before_norm_traced(own, op, x, kernels, key, share)
            z, response = _from_norm_traced(own, kind, y, affine, site.slot(), key, shown)
        if convolutions:
            self._observe((site, probe, ConvOutput(name="conv_output")), y, response, is_conv, narrow)
        return z

    def _observe(
        self, probes: tuple[Site, NormInput, ConvOutput], y: jax.Array, response: Any, is_conv: Any, narrow: Any
    ) -> None:
        """Shows passes the response, the convolution's output and its variances, without padding."""
        site, probe, convolved = probes
        shown: list[tuple[Probe, Any]] = [(site, response)] if site.wanted() else []
        shown += [(probe, jax.lax.stop_gradient(y).var((0, 1, 2), ddof=1))] if probe.wanted() else []
        shown += [(convolved, y)] if convolved.wanted() else []
        for module, value in shown:
            if len(self.ops) == 1:
                module.observe(value, 1.0)
            elif not self.can_narrow:
                module.observe(value, jnp.float32(is_conv))
            else:
                module.observe(value, jnp.float32(is_conv & ~narrow))
                module.observe(value[..., :-1], jnp.float32(is_conv & narrow))


def share_output(vertices: list[jax.Array], feeds: list[Any], ranks: list[Any], widths: tuple[int, ...]) -> jax.Array:
    """Concatenates the vertices that feed the output, the one of rank j cut to widths[j] channels.

    Args:
        vertices: float[N, H, W, w] each.
        feeds: whether a vertex feeds the output, bool[].
        ranks: how many before it do, int32[].
        widths: channels by rank; their sum is C.

    Returns:
        float[N, H, W, C].
    """
    place = [jnp.where(feed, rank, len(widths)) for feed, rank in zip(feeds, ranks, strict=True)]
    which = [sum(v * (p == j) for v, p in enumerate(place)) for j in range(len(widths))]
    pick = lambda index, values: jax.lax.switch(index, [lambda *v, i=i: v[i] for i in range(len(values))], *values)

    @jax.custom_vjp
    def run(vertices: list[jax.Array], which: Any, place: Any) -> jax.Array:
        cut = [pick(index, vertices)[..., :width] for index, width in zip(which, widths, strict=True)]
        return jnp.concatenate(cut, axis=-1)

    def backward(place: Any, gradient: jax.Array) -> Any:
        padded = lambda part: jnp.pad(part, ((0, 0),) * 3 + ((0, vertices[0].shape[-1] - part.shape[-1]),))
        parts = [padded(part) for part in jnp.split(gradient, np.cumsum(widths)[:-1], axis=-1)]
        return [pick(index, [*parts, jnp.zeros_like(parts[0])]) for index in place], None, None

    run.defvjp(lambda vertices, which, place: (run(vertices, which, place), place), backward)
    return run(vertices, which, place)


class Cell(nn.Module):
    """A cell: vertices between the input and the output, which concatenates.

    Attributes:
        channels: C, of the output.
        num_feeding: k, how many vertices feed the output.
        wiring: of the one cell to build, or None when it comes with the call.
        kernel_init: of every kernel.
        options: norm, activation, and mask on what enters a convolution.
    """

    channels: int
    num_feeding: int
    wiring: Wiring | None
    kernel_init: Initializer
    options: LayerOptions

    @nn.compact
    def __call__(self, x: jax.Array, wiring: Wiring | None) -> tuple[jax.Array, None]:
        """Maps x float[N, H, W, D] to (float[N, H, W, C], None), the signature of a scan."""
        site, wired = Site(name="site"), self.wiring or wiring
        assert wired is not None
        vertices: list[Any] = [None] * NUM_SLOTS
        for v in range(1, OUTPUT):
            if self.num_feeding and (self.wiring is None or self.wiring.ops[v] != ABSENT):
                vertices[v] = self._vertex(x, v, vertices[1:v], wired, site)
        out = self._project(x, OUTPUT, self.channels, wired.edges[INPUT][OUTPUT], False, site)
        if self.num_feeding:
            out = out + self._concatenate(vertices, wired)
        return LayerOutput(name="output")(out), None

    def _width(self, narrow: Any) -> int:
        width = -(-self.channels // self.num_feeding)
        return width if self.wiring is None else width - narrow

    def _vertex(self, x: jax.Array, v: int, before: list[Any], wired: Any, site: Site) -> jax.Array:
        """The output of an interior vertex from the input of the cell and the vertices before it."""
        narrow, width = wired.narrow[v], self._width(wired.narrow[v])
        entering = self._project(x, v, width, wired.edges[INPUT][v], narrow, site)
        for s, vertex in enumerate(before, start=1):
            if self.wiring is None:
                entering = entering + wired.edges[s][v] * vertex
            elif wired.edges[s][v]:
                entering = entering + vertex[..., :width]
        share: Any = 1.0
        if self.wiring is None and self.channels % self.num_feeding:
            entering = entering.at[..., -1].multiply(1.0 - narrow)
            share = 1.0 - narrow / width
        ops = (CONV3, CONV1, POOL, ABSENT) if self.wiring is None else (wired.ops[v],)
        return self._unit(ops, width, f"vertex{v}")(entering, wired.ops[v], narrow, share, site)

    def _project(self, x: jax.Array, target: int, width: int, exists: Any, narrow: Any, site: Site) -> Any:
        """The input of the cell at a vertex that it feeds."""
        if self.wiring is not None:
            unit = self._unit((CONV1,), width, f"projection{target}")
            return unit(x, CONV1, False, 1.0, site) if exists else 0.0
        unit = self._unit((CONV1, ABSENT), width, f"projection{target}")
        return unit(x, jnp.where(exists, CONV1, ABSENT), narrow, 1.0, site)

    def _unit(self, ops: tuple[int, ...], width: int, name: str) -> Unit:
        can_narrow = self.wiring is None and width < self.channels and self.channels % self.num_feeding > 0
        return Unit(ops, width, can_narrow, self.kernel_init, self.options, name=name)

    def _concatenate(self, vertices: list[Any], wired: Any) -> jax.Array:
        feeds = [edges[OUTPUT] for edges in wired.edges[1:OUTPUT]]
        if self.wiring is not None:
            return jnp.concatenate([vertices[v] for v, feed in enumerate(feeds, start=1) if feed], axis=-1)
        small, wide = divmod(self.channels, self.num_feeding)
        widths = tuple(small + (j < wide) for j in range(self.num_feeding))
        return share_output(vertices[1:OUTPUT], feeds, wired.ranks[1:OUTPUT], widths)


class NASBench101(nn.Module):
    """The macro network: stem, three stacks of cells with pooling and doubled channels between them, classifier.

    Attributes:
        num_classes: width of the logits.
        variant: k, how many vertices of the cells to come feed the output; a static genotype brings its own.
        channels: C of the first stack; doubled after each pooling.
        cells_per_stack: cells in each of the three stacks.
        kernel_init: initialisation of every kernel.
        options: norm, activation, and mask on what enters a convolution.
    """

    num_classes: int = 10
    variant: int = 1
    channels: int = 128
    cells_per_stack: int = 3
    kernel_init: Initializer = kaiming_uniform
    options: LayerOptions = LayerOptions()

    @nn.compact
    def __call__(self, image: jax.Array, arch: Any) -> jax.Array:
        """Logits float[N, num_classes] of image float[N, H, W, 3], H = W divisible by 4, under genotype `arch`.

        Batch norm uses the statistics that the options says; a traced genotype, which must be of the variant, has no
        running ones.
        """
        stem = Unit((CONV3,), self.channels, False, self.kernel_init, self.options, name="stem")
        x = LayerOutput(name="stem_output")(stem(image, CONV3, False, 1.0, Site(name="stem_site")))
        for stack in range(NUM_STACKS):
            channels, count = self.channels * 2**stack, self.cells_per_stack
            wiring = wire(arch, channels)
            if stack:
                x = LayerOutput(name=f"pool{stack}_output")(max_pool_2x2(x))
                x, _ = self._cells(1, channels, wiring, f"stack{stack}_first")(x)
                count -= 1
            if count:
                x, _ = self._cells(count, channels, wiring, f"stack{stack}")(x)
        x = Features(name="features")(x)
        return nn.Dense(self.num_classes, kernel_init=self.kernel_init, name="head")(x.mean((1, 2)))

    def _cells(self, count: int, channels: int, wiring: Wiring, name: str) -> Callable[[jax.Array], Any]:
        """Equal cells one after another."""
        static = isinstance(wiring.ranks[OUTPUT], int)
        scanned = nn.scan(
            Cell,
            variable_axes={"params": 0, **dict.fromkeys(COLLECTIONS, 0)},
            split_rngs={**RNGS},
            in_axes=nn.broadcast,
            length=count,
        )
        num_feeding = wiring.ranks[OUTPUT] if static else self.variant
        fixed = wiring if static else None
        make = scanned if count > 1 else Cell
        cells = make(channels, num_feeding, fixed, self.kernel_init, self.options, name=name)
        return lambda x: cells(x, None if static else wiring)

    def layer_of(self, path: Path, position: int) -> int:
        """The layer of a site, counted from 1: the stem, then the cells and the poolings in order."""
        if path[0] == "stem_site":
            return 1
        stack, _, first = path[0].removeprefix("stack").partition("_")
        after_pool = 0 if first or stack == "0" else 1
        return 2 + int(stack) * (self.cells_per_stack + 1) + after_pool + position

    def is_active(self, arch: Any) -> Callable[[Path, tuple[int, ...]], Any]:
        """Which entries of a parameter a cell has, by its path and shape: those of padding it has not."""
        wirings = [wire(arch, self.channels << stack) for stack in range(NUM_STACKS)]

        def has(path: Path, shape: tuple[int, ...]) -> Any:
            if not path[0].startswith("stack"):
                return True
            kind, slot, wiring = path[1][:-1], int(path[1][-1]), wirings[int(path[0][5])]
            op = wiring.ops[slot] if kind == "vertex" else jnp.where(wiring.edges[INPUT][slot], CONV1, ABSENT)
            active = {"conv_3x3": op == CONV3, "conv_1x1": op == CONV1, "norm": (op == CONV3) | (op == CONV1)}
            kept = jnp.arange(shape[-1]) < shape[-1] - wiring.narrow[slot]
            square = kind == "vertex" and path[-1] == "kernel"
            return active[path[2]] & (kept & kept[:, None] if square else kept)

        return has

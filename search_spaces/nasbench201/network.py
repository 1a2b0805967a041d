"""NAS-Bench-201 as one Flax module whose cell genotype is an argument.

`NASBench201().apply(variables, image, arch)` takes the genotype in two forms:

* a tuple of six Python ints builds only the chosen operations (to train a cell, or to look inside it);
* an int32[6] array dispatches at run time: every edge holds both kernels, and one compiled program serves all 15,625
  cells.

Both give parameters the same names, and draw them alike from the same key: the static parameters are the dispatched
ones without those of unused edges and kernels. Axes: N batch, H W C image, G = 6 edges.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.nn.initializers import Initializer, kaiming_uniform
from zsnas_jax.nn.layers import avg_pool_2x2, avg_pool_3x3, conv2d, rematerialised_switch
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.parameters import Affine, ConvKernel
from zsnas_jax.nn.probes import (
    COLLECTIONS,
    RNGS,
    ConvOutput,
    Features,
    HeadOutput,
    LayerOutput,
    NormInput,
    Path,
    Site,
    Trunk,
    tap,
    weigh,
)

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) of each edge, in the order of the published string."""

NONE, SKIP, CONV1, CONV3, POOL = range(5)
_ZEROS = len(OPS)  # a convolution of zeros
NUM_STAGES = 3
_KERNELS = {CONV1: "conv_1x1", CONV3: "conv_3x3"}

Arch = tuple[int, ...] | jax.Array


class Wanted(NamedTuple):
    """What a pass wants to see of a convolution: its output, its variance per channel."""

    variance: bool = False
    output: bool = False


class Seen(NamedTuple):
    """What it sees: unbiased variance per channel of what enters the norm, float[C], and the convolution's output."""

    variance: jax.Array | None
    output: jax.Array | None


def wanted_of(norm_input: NormInput, conv_output: ConvOutput) -> Wanted:
    """What a pass wants, by the probes that it looks at."""
    return Wanted(norm_input.wanted(), conv_output.wanted())


def conv_norm(
    x: jax.Array,
    kernel: Any,
    affine: Any,
    key: Any,
    options: LayerOptions,
    *,
    stride: int = 1,
    wanted: Wanted,
    probe: NormInput | None = None,
) -> tuple[jax.Array, Seen]:
    """Mask, convolution, norm: (output, what of the convolution's output is wanted).

    The probe holds running statistics; inside a conditional there can be none.
    """
    weights, slot = kernel
    y = weigh(conv2d(options.mask(x, key), weights, stride), slot, weights.size // weights.shape[-1])
    plain = jax.lax.stop_gradient(y)
    seen = Seen(plain.var((0, 1, 2), ddof=1) if wanted.variance else None, plain if wanted.output else None)
    scale, bias = affine
    normalise = functools.partial(probe.normalise, options) if probe else options.normalise
    return normalise(y, scale, bias, key), seen


class ConvNorm(nn.Module):
    """A convolution and its norm outside a conditional. float[N, H, W, C] to float[N, H / stride, W / stride, D]."""

    kernel: ConvKernel
    affine: Affine
    options: LayerOptions
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        """Applies them; the key draws the mask."""
        probe, convolved = NormInput(), ConvOutput()
        kernel, affine = self.kernel(), self.affine()
        wanted = wanted_of(probe, convolved)
        y, seen = conv_norm(x, kernel, affine, key, self.options, stride=self.stride, wanted=wanted, probe=probe)
        show(probe, convolved, seen, 1.0)
        return y


def show(norm_input: NormInput, conv_output: ConvOutput, seen: Seen, count: Any) -> None:
    """Shows a pass what it wanted of a convolution that occurs `count` times."""
    if seen.variance is not None:
        norm_input.observe(seen.variance, count)
    if seen.output is not None:
        conv_output.observe(seen.output, count)


@functools.partial(jax.jit, static_argnames=("options", "wanted"))
def run_operation(
    op: jax.Array,
    x: jax.Array,
    kernels: Any,
    affine: Any,
    slot: Any,
    key: Any,
    *,
    options: LayerOptions,
    wanted: Wanted,
) -> tuple[jax.Array, Seen]:
    """The operation of a dispatched edge: (output, as `conv_norm`). jit traces it once for all edges of one shape."""
    nothing = Seen(
        jnp.zeros(x.shape[-1], x.dtype) if wanted.variance else None, jnp.zeros_like(x) if wanted.output else None
    )

    def conv(key: Any, x: jax.Array, kernel: Any, affine: Any, slot: Any) -> Any:
        return conv_norm(options.activate(tap(x, slot)), kernel, affine, key, options, wanted=wanted)

    def conv_of_zeros(x: jax.Array, affine: Any, key: Any) -> jax.Array:
        """The norm of a convolution of zeros: a constant per channel, computed on one pixel."""
        scale, bias = affine
        return jnp.zeros_like(x) + options.normalise(jnp.zeros_like(x[:1, :1, :1]), scale, bias, key)

    branches = (
        lambda key, x, kernels, affine, slot: (jnp.zeros_like(x), nothing),
        lambda key, x, kernels, affine, slot: (x, nothing),
        lambda key, x, kernels, affine, slot: conv(key, x, kernels[0], affine, slot),
        lambda key, x, kernels, affine, slot: conv(key, x, kernels[1], affine, slot),
        lambda key, x, kernels, affine, slot: (avg_pool_3x3(x), nothing),
        lambda key, x, kernels, affine, slot: (conv_of_zeros(x, affine, key), nothing),
    )
    return rematerialised_switch(op, branches, x, kernels, affine, slot, constants=key)


class Edge(nn.Module):
    """One edge of a cell. x float[N, H, W, C] to float[N, H, W, C]."""

    channels: int
    kernel_init: Initializer
    options: LayerOptions

    def _kernel(self, op: int) -> ConvKernel:
        size = 1 if op == CONV1 else 3
        return ConvKernel((size, size, self.channels, self.channels), self.kernel_init, name=_KERNELS[op])

    @nn.compact
    def __call__(self, x: jax.Array, op: int | jax.Array, slot: jax.Array | None = None) -> jax.Array:
        """Applies operation `op`: a Python int builds it alone; an int32[] chooses it at run time, tapped by `slot`."""
        norm = Affine(self.channels, name="norm")
        key = self.options.key_of(self)
        if isinstance(op, int):
            if op in _KERNELS:
                x = self.options.activate(Site(name="site")(x))
                return ConvNorm(self._kernel(op), norm, self.options, name="conv_norm")(x, key)
            plain: dict[int, Callable[[jax.Array], jax.Array]] = {
                NONE: jnp.zeros_like,
                SKIP: lambda x: x,
                POOL: avg_pool_3x3,
            }
            return plain[op](x)
        probe, convolved = NormInput(name="norm_input"), ConvOutput(name="conv_output")
        kernels = self._kernel(CONV1)(), self._kernel(CONV3)()
        wanted = wanted_of(probe, convolved)
        y, seen = run_operation(op, x, kernels, norm(), slot, key, options=self.options, wanted=wanted)
        show(probe, convolved, seen, jnp.float32((op == CONV1) | (op == CONV3)))
        return y


class Cell(nn.Module):
    """A cell of four nodes: node j = sum over i < j of op_ij(node i).

    `ops` is the genotype as Python ints, or None when it comes with the call as int32[6].
    """

    channels: int
    ops: tuple[int, ...] | None
    kernel_init: Initializer
    options: LayerOptions

    @nn.compact
    def __call__(self, x: jax.Array, arch: jax.Array | None) -> tuple[jax.Array, None]:
        """Maps x float[N, H, W, C] to (float[N, H, W, C], None), the signature of a scan."""
        site = Site(name="site")
        slot = None if self.ops else site.slot()
        work = self.ops or self._work(arch)
        nodes: list[Any] = [x, 0.0, 0.0, 0.0]
        for e, (source, target) in enumerate(EDGES):
            edge = Edge(self.channels, self.kernel_init, self.options, name=f"edge{e}")
            nodes[target] = nodes[target] + edge(nodes[source], work[e], slot)
        if arch is not None:
            # Edges that leave a node share what enters their activation: it is looked at once, and counted for each.
            is_conv = jnp.float32((arch == CONV1) | (arch == CONV3))
            for node in range(3):
                site.observe(nodes[node], sum(is_conv[e] for e, (source, _) in enumerate(EDGES) if source == node))
        return LayerOutput(name="output")(nodes[3]), None

    def _work(self, arch: Any) -> Any:
        """The operations to run: all, where a pass wants to see dead edges too, else those needed."""
        sees_all = any(wanted_of(NormInput(name="any_norm_input"), ConvOutput(name="any_conv_output")))
        return arch if sees_all else _needed_work(arch)


def _needed_work(arch: jax.Array) -> list[jax.Array]:
    """The operations of a dispatched cell that have to run, six int32[].

    An edge whose target nobody reads runs as `none`: the target neither reaches the last node nor enters the
    activation of a convolution. A convolution whose source is zero, a sum of nothing, runs as the norm of zeros.
    Outputs, responses and all gradients stay the same, and 14 % of convolutions do not run.
    """
    is_conv = [(arch[e] == CONV1) | (arch[e] == CONV3) for e in range(len(EDGES))]
    read = [jnp.bool(False)] * 3 + [jnp.bool(True)]
    for e, (source, target) in reversed(list(enumerate(EDGES))):
        read[source] |= is_conv[e] | (read[target] & (arch[e] != NONE))
    zero = [jnp.bool(False)] + [jnp.bool(True)] * 3
    work = []
    for e, (source, target) in enumerate(EDGES):
        zero[target] &= (arch[e] == NONE) | (zero[source] & ~is_conv[e])
        op = jnp.where(is_conv[e] & zero[source], _ZEROS, arch[e])
        work.append(jnp.where(read[target], op, NONE))
    return work


class Reduction(nn.Module):
    """The residual block between stages: float[N, H, W, C] to float[N, H/2, W/2, channels]."""

    channels: int
    kernel_init: Initializer
    options: LayerOptions

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block: two ReLU-conv-BN, the first at stride 2, beside an average pool and a 1x1 convolution."""

        def conv_norm(x: jax.Array, branch: str, stride: int) -> jax.Array:
            kernel = ConvKernel((3, 3, x.shape[-1], self.channels), self.kernel_init, name=f"conv_{branch}")
            affine = Affine(self.channels, name=f"norm_{branch}")
            x = self.options.activate(Site(name=f"site_{branch}")(x))
            key = self.options.key_of(self)
            return ConvNorm(kernel, affine, self.options, stride, name=f"conv_norm_{branch}")(x, key)

        y = conv_norm(conv_norm(x, "a", 2), "b", 1)
        kernel, slot = ConvKernel((1, 1, x.shape[-1], self.channels), self.kernel_init, name="downsample")()
        x = self.options.mask(avg_pool_2x2(x), self.options.key_of(self))
        x = ConvOutput(name="downsampled")(weigh(conv2d(x, kernel), slot, kernel.shape[2]))
        return LayerOutput(name="output")(y + x)


class NASBench201(nn.Module):
    """The macro network: stem, stages of equal cells with residual blocks between them, classifier.

    Attributes:
        num_classes: width of the logits.
        channels: width of the first stage; doubled after each residual block.
        cells_per_stage: cells in each stage.
        num_stages: stages, three in the benchmark.
        kernel_init: initialisation of every kernel.
        options: norm, activation, and mask on what enters a convolution.
    """

    num_classes: int = 10
    channels: int = 16
    cells_per_stage: int = 5
    num_stages: int = NUM_STAGES
    kernel_init: Initializer = kaiming_uniform
    options: LayerOptions = LayerOptions()

    @nn.compact
    def __call__(self, image: jax.Array, arch: Arch) -> jax.Array:
        """Logits float[N, num_classes] of image float[N, H, W, 3], H = W divisible by 4, under genotype `arch`.

        Batch norm uses the statistics that the options says; a traced genotype has no running ones.
        """
        ops = tuple(arch) if isinstance(arch, tuple | list) else None
        options, init = self.options, self.kernel_init
        stage_of_cells = nn.scan(
            Cell,
            variable_axes={"params": 0, **dict.fromkeys(COLLECTIONS, 0)},
            split_rngs={**RNGS},
            in_axes=nn.broadcast,
            length=self.cells_per_stage,
        )
        stem = ConvKernel((3, 3, image.shape[-1], self.channels), init, name="stem")
        norm = Affine(self.channels, name="stem_norm")
        x = Trunk(name="stem_output")(ConvNorm(stem, norm, options, name="stem_conv_norm")(image, options.key_of(self)))
        for stage in range(self.num_stages):
            channels = self.channels * 2**stage
            if stage:
                x = Reduction(channels, init, options, name=f"reduction{stage}")(x)
            cells = stage_of_cells(channels, ops, init, options, name=f"stage{stage}")
            x, _ = cells(x, None if ops else arch)  # type: ignore[arg-type]
        scale, bias = Affine(x.shape[-1], name="head_norm")()
        probe = NormInput(name="head_norm_input")
        if probe.wanted():
            probe.observe(jax.lax.stop_gradient(x).var((0, 1, 2), ddof=1), 1.0)
        x = probe.normalise(options, x, scale, bias, options.key_of(self))
        x = options.activate(Site(name="head_site")(x))
        x = Features(name="features")(HeadOutput(name="head_output")(x))
        return nn.Dense(self.num_classes, kernel_init=init, name="head")(x.mean((1, 2)))

    def layer_of(self, path: Path, position: int) -> int:
        """The layer of a site, counted from 1: cells and residual blocks in order, then the last activation."""
        layers_per_stage = self.cells_per_stage + 1
        if path[0] == "head_site":
            return self.num_stages * layers_per_stage
        block, stage = path[0][:-1], int(path[0][-1])
        return stage * layers_per_stage + (position + 1 if block == "stage" else 0)


def is_active(arch: Any) -> Callable[[Path, tuple[int, ...]], Any]:
    """Which parameters a cell has, by path: the kernel and the norm of an edge belong to its operation."""

    def has(path: Path, shape: tuple[int, ...]) -> Any:
        if not path[0].startswith("stage"):
            return True
        op = arch[int(path[1].removeprefix("edge"))]
        return {"conv_1x1": op == CONV1, "conv_3x3": op == CONV3, "norm": (op == CONV1) | (op == CONV3)}[path[2]]

    return has

"""NAS-Bench-201 as one Flax module whose cell genotype is an argument.

`NASBench201().apply(variables, image, arch)` takes the genotype in two forms:

* a tuple of six Python ints builds only the chosen operations (to train a cell, or to look inside it);
* an int32[6] array dispatches at run time: every edge holds both kernels, and one compiled program serves all 15,625
  cells.

Both give parameters the same names, and draw them alike from the same key: the static parameters are the dispatched
ones without those of unused edges and kernels (`select_params`). Axes: N batch, H W C image, G = 6 edges.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.correlation import response_matrix
from zsnas_jax.initializers import Initializer, kaiming_uniform
from zsnas_jax.layers import avg_pool_2x2, avg_pool_3x3, batch_norm, conv2d, rematerialised_switch
from zsnas_jax.responses import COLLECTIONS, Site, is_recording, record, slot_of, tap

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) of each edge, in the order of the published string."""

NONE, SKIP, CONV1, CONV3, POOL = range(5)
_BIAS = len(OPS)  # what a convolution of zeros comes to: the bias of its norm
NUM_STAGES = 3
_KERNELS = {CONV1: "conv_1x1", CONV3: "conv_3x3"}

Arch = tuple[int, ...] | jax.Array


class Kernel(nn.Module):
    """A convolution kernel float32[k, k, C, D] in a scope of its own, so that its draw depends on its path alone."""

    shape: tuple[int, ...]
    initializer: Initializer

    @nn.compact
    def __call__(self) -> jax.Array:
        """Returns the kernel."""
        return self.param("kernel", self.initializer, self.shape)  # type: ignore[arg-type]


class Affine(nn.Module):
    """The scale and bias of a batch norm, float32[C] each, one and zero at the start."""

    channels: int

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """Returns (scale, bias)."""
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        return self.param("scale", ones, (self.channels,)), self.param("bias", zeros, (self.channels,))


def conv_bn(x: jax.Array, kernel: jax.Array, affine: tuple[jax.Array, jax.Array], stride: int = 1) -> jax.Array:
    """Convolution, then batch norm."""
    return batch_norm(conv2d(x, kernel, stride), *affine)


class Edge(nn.Module):
    """One edge of a cell. x float[N, H, W, C] to float[N, H, W, C]."""

    channels: int
    kernel_init: Initializer

    def _kernel(self, op: int) -> jax.Array:
        size = 1 if op == CONV1 else 3
        return Kernel((size, size, self.channels, self.channels), self.kernel_init, name=_KERNELS[op])()

    @nn.compact
    def __call__(self, x: jax.Array, op: int | jax.Array, slot: jax.Array | None = None) -> jax.Array:
        """Applies operation `op`: a Python int builds it alone; an int32[] chooses it at run time, tapped by `slot`."""
        if isinstance(op, int):
            if op in _KERNELS:
                x = nn.relu(Site(name="site")(x))
                return conv_bn(x, self._kernel(op), Affine(self.channels, name="norm")())
            plain: dict[int, Callable[[jax.Array], jax.Array]] = {
                NONE: jnp.zeros_like,
                SKIP: lambda x: x,
                POOL: avg_pool_3x3,
            }
            return plain[op](x)
        conv = lambda x, kernel, affine, slot: conv_bn(nn.relu(tap(x, slot)), kernel, affine)
        branches = (
            lambda x, conv1, conv3, affine, slot: jnp.zeros_like(x),
            lambda x, conv1, conv3, affine, slot: x,
            lambda x, conv1, conv3, affine, slot: conv(x, conv1, affine, slot),
            lambda x, conv1, conv3, affine, slot: conv(x, conv3, affine, slot),
            lambda x, conv1, conv3, affine, slot: avg_pool_3x3(x),
            lambda x, conv1, conv3, affine, slot: jnp.zeros_like(x) + affine[1],
        )
        kernels = self._kernel(CONV1), self._kernel(CONV3)
        return rematerialised_switch(op, branches, x, *kernels, Affine(self.channels, name="norm")(), slot)


class Cell(nn.Module):
    """A cell of four nodes: node j = sum over i < j of op_ij(node i).

    `ops` is the genotype as Python ints, or None when it comes with the call as int32[6].
    """

    channels: int
    ops: tuple[int, ...] | None
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x: jax.Array, arch: jax.Array | None) -> tuple[jax.Array, None]:
        """Maps x float[N, H, W, C] to (float[N, H, W, C], None), the signature of a scan."""
        slot = None if self.ops else slot_of(self)
        work = None if arch is None else _needed_work(arch)
        nodes: list[Any] = [x, 0.0, 0.0, 0.0]
        for e, (source, target) in enumerate(EDGES):
            op = self.ops[e] if self.ops else work[e]  # type: ignore[index]
            edge = Edge(self.channels, self.kernel_init, name=f"edge{e}")
            nodes[target] = nodes[target] + edge(nodes[source], op, slot)
        if arch is not None and is_recording(self):
            record(self, _activation_matrix(nodes, arch))
        return nodes[3], None


def _needed_work(arch: jax.Array) -> list[jax.Array]:
    """The operations of a dispatched cell that have to run, six int32[].

    An edge whose target nobody reads runs as `none`: the target neither reaches the last node nor enters the
    activation of a convolution. A convolution whose source is zero, a sum of nothing, runs as the bias of its norm.
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
        op = jnp.where(is_conv[e] & zero[source], _BIAS, arch[e])
        work.append(jnp.where(read[target], op, NONE))
    return work


def _activation_matrix(nodes: list[jax.Array], arch: jax.Array) -> jax.Array:
    """Sum of |corr| over the activations of a dispatched cell: edges that leave a node share what enters theirs."""
    is_conv = ((arch == CONV1) | (arch == CONV3)).astype(jnp.float32)
    no_site = lambda x: jnp.zeros((x.shape[0], x.shape[0]), x.dtype)
    total = jnp.zeros(())
    for node in range(3):
        count = sum(is_conv[e] for e, (source, _) in enumerate(EDGES) if source == node)
        activation = lax.stop_gradient(nodes[node])
        total = total + count * lax.cond(count > 0, response_matrix, no_site, activation)
    return total


class Reduction(nn.Module):
    """The residual block between stages: float[N, H, W, C] to float[N, H/2, W/2, channels]."""

    channels: int
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block: two ReLU-conv-BN, the first at stride 2, beside an average pool and a 1x1 convolution."""

        def kernel(size: int, inputs: int, name: str) -> jax.Array:
            return Kernel((size, size, inputs, self.channels), self.kernel_init, name=name)()

        c = x.shape[-1]
        norms = [Affine(self.channels, name=f"norm_{branch}")() for branch in "ab"]
        y = conv_bn(nn.relu(Site(name="site_a")(x)), kernel(3, c, "conv_a"), norms[0], stride=2)
        y = conv_bn(nn.relu(Site(name="site_b")(y)), kernel(3, self.channels, "conv_b"), norms[1])
        return y + conv2d(avg_pool_2x2(x), kernel(1, c, "downsample"))


class NASBench201(nn.Module):
    """The macro network: stem, three stages of equal cells with residual blocks between them, classifier.

    Attributes:
        num_classes: width of the logits.
        channels: width of the first stage; doubled after each residual block.
        cells_per_stage: cells in each of the three stages.
        kernel_init: initialisation of every kernel.
    """

    num_classes: int = 10
    channels: int = 16
    cells_per_stage: int = 5
    kernel_init: Initializer = kaiming_uniform

    @nn.compact
    def __call__(self, image: jax.Array, arch: Arch) -> jax.Array:
        """Logits float[N, num_classes] of image float[N, H, W, 3], H = W divisible by 4, under genotype `arch`.

        Batch norm uses the statistics of the batch.
        """
        ops = tuple(arch) if isinstance(arch, tuple | list) else None
        stage_of_cells = nn.scan(
            Cell,
            variable_axes={"params": 0, **dict.fromkeys(COLLECTIONS, 0)},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.cells_per_stage,
        )
        stem = Kernel((3, 3, image.shape[-1], self.channels), self.kernel_init, name="stem")()
        x = conv_bn(image, stem, Affine(self.channels, name="stem_norm")())
        for stage in range(NUM_STAGES):
            channels = self.channels * 2**stage
            if stage:
                x = Reduction(channels, self.kernel_init, name=f"reduction{stage}")(x)
            cells = stage_of_cells(channels, ops, self.kernel_init, name=f"stage{stage}")
            x, _ = cells(x, None if ops else arch)  # type: ignore[arg-type]
        x = nn.relu(Site(name="head_site")(batch_norm(x, *Affine(x.shape[-1], name="head_norm")())))
        return nn.Dense(self.num_classes, kernel_init=self.kernel_init, name="head")(x.mean((1, 2)))

    def layer_of(self, path: tuple[str, ...], position: int) -> int:
        """The layer of a site, counted from 1: cells and residual blocks in order, then the last activation."""
        layers_per_stage = self.cells_per_stage + 1
        if path[0] == "head_site":
            return NUM_STAGES * layers_per_stage
        block, stage = path[0][:-1], int(path[0][-1])
        return stage * layers_per_stage + (position + 1 if block == "stage" else 0)


def select_params(params: Any, arch: tuple[int, ...]) -> Any:
    """The parameters of the static network of a cell, from those of the dispatched one.

    Keeps everything outside the cells, and in them the norms of edges that are convolutions with the kernel they use.

    Args:
        params: the "params" collection of the dispatched network.
        arch: six Python ints.
    """
    used = {f"edge{e}": (_KERNELS[op], "norm") for e, op in enumerate(arch) if op in _KERNELS}
    cell = lambda edges: {edge: {part: edges[edge][part] for part in parts} for edge, parts in used.items()}
    blocks = {name: cell(block) if name.startswith("stage") else block for name, block in params.items()}
    return {name: block for name, block in blocks.items() if block}

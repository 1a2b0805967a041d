"""The networks of DARTS cells: a stem, L cells of which two halve the picture, a classifier.

Cell c of width C reads the outputs of the cells before it, c - 2 and c - 1, which a convolution each brings to C
channels; each of its four nodes is the sum of two operations; its output are the nodes side by side, 4 C channels. The
cells L // 3 and 2 L // 3 are reduction cells: they double C, and what reads the cell's inputs in them has stride 2.
Axes: N batch, H W C.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Step
from zsnas_jax.nn.choice import Branch, Choices, Identity
from zsnas_jax.nn.layers import avg_pool_3x3, max_pool_3x3
from zsnas_jax.nn.modules import ActivateConvNorm, Add, Block, FactorizedReduce, PoolDense
from zsnas_jax.nn.options import draw_key
from zsnas_jax.nn.probes import BypassedOutput
from zsnas_jax.search_spaces.darts.edges import (
    DIL_3,
    DIL_5,
    MAX_POOL,
    NOISE,
    NONE,
    NUM_NODES,
    NUM_SLOTS,
    OPS,
    SEP_3,
    SEP_5,
    SKIP,
)

SIZES = {SEP_3: 3, SEP_5: 5, DIL_3: 3, DIL_5: 5}
"""Of the kernels of convolutions."""


class ConvNorm(Block):
    """Convolution and norm. float[N, H, W, C] to float[N, H, W, channels]."""

    channels: int
    size: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        return self.norm()(self.conv("conv", self.channels, self.size)(x))


class HalvingStem(Block):
    """Two 3x3 convolutions at stride 2, a norm behind each. float[N, H, W, 3] to float[N, H / 4, W / 4, channels]."""

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        x = self.activate(self.norm("norm_1")(self.conv("conv_1", self.channels // 2, 3, 2)(x)))
        return self.norm("norm_2")(self.conv("conv_2", self.channels, 3, 2)(x))


class SepConv(Block):
    """Twice activation, depthwise convolution, 1x1 convolution, norm; the first has the stride.

    float[N, H, W, channels] to float[N, H / stride, W / stride, channels].
    """

    channels: int
    size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        for number, stride in enumerate((self.stride, 1), 1):
            x = self.activate(x, f"site_{number}")
            x = self.conv(f"depthwise_{number}", self.channels, self.size, stride, depthwise=True)(x)
            x = self.norm(f"norm_{number}")(self.conv(f"pointwise_{number}", self.channels)(x))
        return x


class DilConv(Block):
    """Activation, depthwise convolution of dilation 2, 1x1 convolution, norm; shapes as of `SepConv`."""

    channels: int
    size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        own = {"depthwise": True, "dilation": 2}
        x = self.conv("depthwise_1", self.channels, self.size, self.stride, **own)(self.activate(x, "site_1"))
        return self.norm("norm_1")(self.conv("pointwise_1", self.channels)(x))


class Pool(Block):
    """3x3 pooling, of the largest or the mean. float[N, H, W, C] to float[N, H / stride, W / stride, C]."""

    of_largest: bool
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        return (max_pool_3x3 if self.of_largest else avg_pool_3x3)(x, self.stride)


class Noise(Block):
    """Standard normal values in the place of every stride-th pixel, drawn at each call; nothing of x enters them.

    float[N, H, W, C] to float[N, H / stride, W / stride, C]. They come from the random stream "noise"; where there is
    none, as in a trained network that is called without keys, from a fixed key of the module's place.
    """

    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Draws, the same values at any precision of x."""
        fixed = zlib.crc32("/".join(self.path).encode())
        key = draw_key(self, "noise") if self.has_rng("noise") else jax.random.key(fixed)
        shape = x[:, :: self.stride, :: self.stride].shape
        return jax.random.normal(key, shape, jnp.float32).astype(x.dtype)


class Zeros(Block):
    """Zeros in the place of every stride-th pixel: a node both of whose operations are none."""

    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps float[N, H, W, C] to zeros float[N, H / stride, W / stride, C]."""
        return jnp.zeros_like(x[:, :: self.stride, :: self.stride])


class DropPath(Block):
    """Pictures kept with probability 1 - rate each, and divided by it: y_n = b_n x_n / (1 - rate).

    float[N, H, W, C], and the rate float[] below 1, to float[N, H, W, C]; b_n ~ Bernoulli(1 - rate) are drawn from the
    random stream "drop_path".
    Source: Larsson et al., "FractalNet", ICLR 2017, as the code of DARTS has it.
    """

    @nn.compact
    def __call__(self, x: jax.Array, rate: jax.Array) -> jax.Array:
        """Draws."""
        keep = 1.0 - rate
        kept = jax.random.bernoulli(self.make_rng("drop_path"), keep, (len(x), 1, 1, 1))
        return x * (kept / keep).astype(x.dtype)


class CellOutput(Block):
    """The nodes of a cell side by side, float[N, H, W, C] to float[N, H, W, 4 C]; the two cells behind it read them."""

    @nn.compact
    def __call__(self, *reads: jax.Array) -> jax.Array:
        """Concatenates along channels."""
        return BypassedOutput(name="output")(jnp.concatenate(reads, -1))


class AuxiliaryHead(Block):
    """A second classifier, of a cell's output, in training alone. float[N, H, W, C] to logits float[N, num_classes].

    Activation, 5x5 average pooling, 1x1 convolution to 128 channels, norm, activation, 2x2 convolution to 768 channels
    without padding, norm, activation, dense layer. What is pooled has 8 x 8 pixels in the papers (7 x 7 on ImageNet),
    of which the 2x2 convolution leaves one; where it leaves more, the dense layer reads their mean.

    Attributes:
        num_classes: width of the logits.
        imagenet: whether the stride of the pooling is 2, not 3, and the second norm is left out.
    """

    num_classes: int
    imagenet: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        stride, least = (2, 7) if self.imagenet else (3, 8)
        if x.shape[1] < least:
            raise ValueError(
                f"the auxiliary head reads {x.shape[1]} x {x.shape[2]} pixels, at least {least} x {least} are needed: "
                "take larger pictures, or auxiliary_weight 0"
            )
        x = nn.avg_pool(self.activate(x, "site_1"), (5, 5), (stride, stride))
        x = self.activate(self.norm("norm_1")(self.conv("conv_1", 128)(x)), "site_2")
        x = nn.Conv(768, (2, 2), padding="VALID", use_bias=False, kernel_init=self.kernel_init, name="conv_2")(x)
        x = self.activate(x if self.imagenet else self.norm("norm_2")(x), "site_3")
        return nn.Dense(self.num_classes, kernel_init=self.kernel_init, name="dense")(x.mean((1, 2)))


class Outputs(Block):
    """The logits and those of the auxiliary head, as a tuple."""

    @nn.compact
    def __call__(self, *reads: jax.Array) -> tuple[jax.Array, ...]:
        """Returns what it reads."""
        return reads


class CellPlan(NamedTuple):
    """A cell in its place in a network.

    Attributes:
        channels: C of its nodes.
        is_reduction: whether it halves the picture.
        follows_reduction: whether its input 0 is twice as large as its input 1.
        inputs: channels of its two inputs.
    """

    channels: int
    is_reduction: bool
    follows_reduction: bool
    inputs: tuple[int, int]

    @property
    def stride(self) -> int:
        """Of operations that read the cell's inputs."""
        return 2 if self.is_reduction else 1


def plan(channels: int, layers: int, *, imagenet: bool = False, with_stem: bool = True) -> list[CellPlan]:
    """The cells of a network; arguments as of `steps`."""
    stem = channels if imagenet else 3 * channels if with_stem else 3
    inputs, follows_reduction, found = (stem, stem), imagenet, list[CellPlan]()
    for number in range(layers):
        is_reduction = number in (layers // 3, 2 * layers // 3)
        channels *= 2 if is_reduction else 1
        found.append(CellPlan(channels, is_reduction, follows_reduction, inputs))
        inputs, follows_reduction = (inputs[1], NUM_NODES * channels), is_reduction
    return found


def steps(
    arch: Any,
    num_classes: int,
    *,
    channels: int = 16,
    layers: int = 8,
    imagenet: bool = False,
    with_stem: bool = True,
    auxiliary: bool = False,
    drop_path: bool = False,
    ops: Sequence[int] = tuple(range(len(OPS))),
    **own: Any,
) -> tuple[Step, ...]:
    """The blocks of a network; the last two options are for training, and move no parameter.

    Args:
        arch: nested tuples [2, 4, 2, 2] of Python ints, or int32[2, 4, 2, 2] for a network that serves all.
        num_classes: width of the logits.
        channels: C of the first cell, if that is no reduction cell.
        layers: L, cells.
        imagenet: whether two stems quarter the picture and halve it again, and are the inputs of the first cell; else
            one stem of 3 C channels is both of them.
        with_stem: False: the pictures are both inputs of the first cell.
        auxiliary: whether the output of cell 2 L // 3 is classified, too; the last step then writes both logits.
        drop_path: whether the outputs of all operations but identities go through `DropPath`, whose rate is a value
            "drop_path" beside the pictures.
        ops: operations that a network that serves all chooses among, besides none.
        **own: the fields that all blocks have.
    """
    if isinstance(arch, jax.Array) and (auxiliary or drop_path):
        raise ValueError("a network with an auxiliary head or drop path is built for one architecture")
    found, inputs = list[Step](), ("x", "x")
    if imagenet:
        found.append(Step("stem0", HalvingStem(channels, **own), writes=("stem0",)))
        found.append(Step("stem1", ActivateConvNorm(channels, 3, 2, **own), ("stem0",), ("stem1",)))
        inputs = ("stem0", "stem1")
    elif with_stem:
        found.append(Step("stem", ConvNorm(3 * channels, **own), writes=("stem",)))
        inputs = ("stem", "stem")
    for number, cell in enumerate(plan(channels, layers, imagenet=imagenet, with_stem=with_stem)):
        found += _cell_steps(f"cell{number}", cell, arch[1 if cell.is_reduction else 0], inputs, ops, drop_path, own)
        inputs = (inputs[1], found[-1].name)
    found.append(Step("head", PoolDense(num_classes, **own), (inputs[1],), ("logits",)))
    if auxiliary:
        head = AuxiliaryHead(num_classes, imagenet, **own)
        found.append(Step("auxiliary", head, (f"cell{2 * layers // 3}_output",), ("auxiliary",)))
        found.append(Step("outputs", Outputs(), ("logits", "auxiliary"), ("outputs",)))
    return tuple(found)


def _cell_steps(
    name: str,
    cell: CellPlan,
    genes: Any,
    inputs: tuple[str, str],
    ops: Sequence[int],
    drop_path: bool,
    own: dict[str, Any],
) -> list[Step]:
    """The blocks of a cell; each writes a value of its own name, the last of them the cell's output."""
    found, channels = list[Step](), cell.channels
    is_traced = isinstance(genes, jax.Array)

    def step(part: str, block: nn.Module, *reads: str, **fields: Any) -> str:
        found.append(Step(f"{name}_{part}", block, reads, (f"{name}_{part}",), **fields))
        return found[-1].name

    first = FactorizedReduce(channels, **own) if cell.follows_reduction else ActivateConvNorm(channels, **own)
    states = [step("pre0", first, inputs[0]), step("pre1", ActivateConvNorm(channels, **own), inputs[1])]
    if is_traced:
        nodes = tuple(f"{name}_node{node}" for node in range(NUM_NODES))
        found.append(Step(name, _choices(name, cell, genes, ops, own), tuple(states), nodes))
        states += nodes
    for node, slots in enumerate(() if is_traced else genes):
        entering = []
        for slot, (source, op) in enumerate(slots):
            stride = cell.stride if source < 2 else 1
            if op == SKIP and stride == 1:
                entering.append(states[source])
            elif op != NONE:
                block, part = _operation(op, channels, stride, own), f"op{2 * node + slot}"
                output = step(part, block, states[source], is_random=op == NOISE)
                entering.append(step(f"{part}_drop", DropPath(), output, "drop_path") if drop_path else output)
        if not entering:
            source = slots[0][0]
            states.append(step(f"node{node}", Zeros(cell.stride if source < 2 else 1), states[source]))
        else:
            states.append(step(f"node{node}", Add(), *entering) if len(entering) > 1 else entering[0])
    step("output", CellOutput(), *states[2:])
    return found


def _choices(name: str, cell: CellPlan, genes: jax.Array, ops: Sequence[int], own: dict[str, Any]) -> Choices:
    """The eight slots of a cell, genes int32[4, 2, 2], one of some operations in each."""
    sources, chosen = genes.reshape(-1, 2).T
    offered = (NONE, *(op for op in ops if op != NONE))
    places = np.array([offered.index(op) if op in offered else 0 for op in range(len(OPS))], np.int32)

    def branches(stride: int) -> tuple[Branch, ...]:
        found = []
        for op in offered:
            plain = Zeros(stride, **own) if op == NONE else Identity(parent=None)
            is_plain = op == NONE or (op == SKIP and stride == 1)
            found.append(Branch(OPS[op], plain if is_plain else _operation(op, cell.channels, stride, own)))
        return tuple(found)

    slots = range(NUM_NODES * NUM_SLOTS)
    return Choices(
        tuple(f"{name}_op{slot}" for slot in slots),
        jnp.asarray(places)[chosen],
        sources,
        tuple(2 + slot // NUM_SLOTS for slot in slots),
        branches(cell.stride),
        branches(1) if cell.is_reduction else None,
        num_inputs=2,
        parent=None,
    )


def _operation(op: int, channels: int, stride: int, own: dict[str, Any]) -> nn.Module:
    """The block of an operation that is neither none nor the identity."""
    if op in (SEP_3, SEP_5):
        return SepConv(channels, SIZES[op], stride, **own)
    if op in (DIL_3, DIL_5):
        return DilConv(channels, SIZES[op], stride, **own)
    if op == SKIP:
        return FactorizedReduce(channels, **own)
    return Noise(stride, **own) if op == NOISE else Pool(op == MAX_POOL, stride, **own)


def layer_of(path: Path, position: int, *, imagenet: bool = False) -> int:
    """The layer of a site, counted from 1: its cell; on ImageNet the two stems are layer 1, and cells follow."""
    del position
    name = path[0]
    return 1 if name.startswith("stem") else int(name.removeprefix("cell").split("_")[0]) + 1 + imagenet

"""The MobileNetV2 network of the WRCor paper as Flax modules, built from a plan of Python ints.

A layer widens its input to d channels (1x1 convolution, norm, activation), filters each of them (depthwise
convolution, norm, activation), weighs them (squeeze-excite), narrows them (1x1 convolution, norm), adds a shortcut and
activates. The first layer of a stage has the stage's stride, and a projection as its shortcut.

The network is the sequence of blocks that `steps` lists, whether it runs whole or as a chain. Every block is such that
it can be worked on in tiles of channels: a product over channels is one, what happens to each channel is another.
`weights` of a block says what its parameters are where so many channels enter. Axes: N batch, H W C.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Split, Step, run_steps
from zsnas_jax.nn.initializers import Initializer, kaiming_uniform
from zsnas_jax.nn.layers import resize
from zsnas_jax.nn.modules import Block, Conv, Norm
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.probes import Features, LayerOutput
from zsnas_jax.nn.roles import Kernel, Role, Roles
from zsnas_jax.nn.weights import Weight

NUM_STAGES = 7
EPSILON = 1e-3
"""Of every batch norm."""


class StagePlan(NamedTuple):
    """A stage: d / bottleneck, kernel size of the depthwise convolutions, stride of the first, layers, widths."""

    expansion: int
    kernel: int
    stride: int
    layers: int
    out: int
    bottleneck: int


class Plan(NamedTuple):
    """A network: width of the stem, of the last convolution, pixels along a side of the pictures, seven stages."""

    stem: int
    last: int
    resolution: int
    stages: tuple[StagePlan, ...]


class Layer(NamedTuple):
    """One layer of a stage.

    Attributes:
        name: stage and place in it, what its modules' names begin with.
        stage: counted from 1.
        is_first: of its stage, which makes its shortcut a projection.
        inputs: channels that enter.
        middle: channels that are filtered, d.
        outputs: channels that leave.
        kernel: size of the depthwise convolution.
        stride: of the layer.
        size: pixels along a side of what enters.
    """

    name: str
    stage: int
    is_first: bool
    inputs: int
    middle: int
    outputs: int
    kernel: int
    stride: int
    size: int


def layers_of(plan: Plan) -> Iterator[Layer]:
    """The layers of a plan's stages, in order."""
    width, size = plan.stem, plan.resolution // 2
    for number, s in enumerate(plan.stages, start=1):
        for place in range(s.layers):
            stride, middle = s.stride if place == 0 else 1, s.bottleneck * s.expansion
            yield Layer(f"stage{number}_{place}", number, place == 0, width, middle, s.out, s.kernel, stride, size)
            width, size = s.out, size // stride


def _under(**modules: Mapping[str, Weight]) -> dict[Path, Weight]:
    """The parameters of a block's modules, by path."""
    return {(module, name): weight for module, own in modules.items() for name, weight in own.items()}


class Stem(Block):
    """Resizes pictures and halves them: float[N, H, W, 3] to float[N, resolution / 2, resolution / 2, channels]."""

    channels: int
    resolution: int

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Applies it."""
        x = self.norm(epsilon=EPSILON)(self.conv("conv", self.channels, 3, 2)(resize(image, self.resolution)))
        return LayerOutput(name="output")(self.activate(x))

    @nn.nowrap
    def weights(self, inputs: int) -> dict[Path, Weight]:
        """What its parameters are."""
        return _under(conv=Conv(self.channels, 3).weights(inputs), norm=Norm.weights(self.channels))


class Product(Block):
    """A 1x1 convolution, of channels that may be weighed: float[N, H, W, C] to float[N, H / s, W / s, channels]."""

    channels: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, gate: jax.Array | None = None) -> jax.Array:
        """Applies it to x, times gate float[N, C]."""
        x = x if gate is None else x * gate[:, None, None]
        return self.conv("conv", self.channels, 1, self.stride)(x)

    @nn.nowrap
    def weights(self, inputs: int) -> dict[Path, Weight]:
        """What its parameters are."""
        return _under(conv=Conv(self.channels).weights(inputs))


class Filter(Block):
    """What happens to each of a layer's middle channels: norm, activation, depthwise convolution, norm, activation.

    Attributes:
        size: k of the convolution.
        stride: of it.
    """

    size: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps float[N, H, W, C] to (float[N, H / stride, W / stride, C], its mean float[N, C])."""
        x = self.activate(self.norm("wide_norm", EPSILON)(x), "wide_site")
        x = self.conv("conv", x.shape[-1], self.size, self.stride, depthwise=True)(x)
        x = self.activate(self.norm(epsilon=EPSILON)(x))
        return x, x.mean((1, 2))

    @nn.nowrap
    def weights(self, inputs: int) -> dict[Path, Weight]:
        """What its parameters are."""
        conv = Conv(inputs, self.size, depthwise=True).weights(inputs)
        return _under(conv=conv, wide_norm=Norm.weights(inputs), norm=Norm.weights(inputs))


class SqueezeExcite(Block):
    """What channels are weighed by: sigmoid(norm(W2 relu(norm(W1 m)))) of their means m, float[N, C] to the same."""

    @nn.compact
    def __call__(self, mean: jax.Array) -> jax.Array:
        """Applies it, through round(C / 4) channels."""
        channels = mean.shape[-1]
        squeezed = self.activate(self.norm("squeeze_norm", EPSILON)(self.conv("squeeze", squeezed_of(channels))(mean)))
        return nn.sigmoid(self.norm("excite_norm", EPSILON)(self.conv("excite", channels)(squeezed)))

    @nn.nowrap
    def weights(self, inputs: int) -> dict[Path, Weight]:
        """What its parameters are."""
        squeezed = squeezed_of(inputs)
        norms = {"squeeze_norm": Norm.weights(squeezed), "excite_norm": Norm.weights(inputs)}
        return _under(squeeze=Conv(squeezed).weights(inputs), excite=Conv(inputs).weights(squeezed), **norms)


def squeezed_of(channels: int) -> int:
    """The channels through which squeeze-excite looks at so many."""
    return round(channels / 4)


class Join(Block):
    """A layer's end: norm, shortcut, activation.

    Attributes:
        projected: whether the shortcut was projected, by a convolution whose bias and norm are here.
    """

    projected: bool

    @nn.compact
    def __call__(self, y: jax.Array, x: jax.Array) -> jax.Array:
        """Maps what was narrowed and the shortcut, float[N, H, W, C] each, to the same."""
        y = self.norm(epsilon=EPSILON)(y)
        if self.projected:
            x = self.norm("shortcut_norm", EPSILON)(Bias(name="shortcut_bias")(x))
        return LayerOutput(name="output")(self.activate(x + y))

    @nn.nowrap
    def weights(self, inputs: int) -> dict[Path, Weight]:
        """What its parameters are."""
        norm = Norm.weights(inputs)
        bias = {"bias": Weight("Bias", Role.BIAS, (inputs,), ())}
        return _under(norm=norm, **({"shortcut_bias": bias, "shortcut_norm": norm} if self.projected else {}))


class Bias(nn.Module):
    """The bias of a convolution that stands in another block."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Adds it to float[N, ..., C]."""
        return x + self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)

    def parameter_roles(self) -> Roles:
        """What it holds."""
        return {"bias": Role.BIAS}


class Pool(Block):
    """Norm and activation of the last convolution, pooled: float[N, H, W, C] to its mean float[N, C]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        x = self.activate(self.norm(epsilon=EPSILON)(x))
        return Features(name="features")(LayerOutput(name="output")(x)).mean((1, 2))

    @nn.nowrap
    def weights(self, inputs: int) -> dict[Path, Weight]:
        """What its parameters are."""
        return _under(norm=Norm.weights(inputs))


class Classifier(Block):
    """The dense layer: float[N, C] to logits float[N, num_classes]."""

    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies it."""
        return nn.Dense(self.num_classes, kernel_init=self.kernel_init, name="dense")(x)

    @nn.nowrap
    def weights(self, inputs: int) -> dict[Path, Weight]:
        """What its parameters are."""
        kernel = Weight("Dense", Kernel((0,), (1,)), (inputs, self.num_classes), ())
        return _under(dense={"kernel": kernel, "bias": Weight("Dense", Role.BIAS, (self.num_classes,), ())})


WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""What the channels between layers are padded to, where networks share programs."""

SQUEEZED = (128, 384, 768, 1536)
"""What the middle channels are padded to where squeeze-excite looks at all of them, and the last ones at the end."""


def padded(width: int, widths: tuple[int, ...] = WIDTHS) -> int:
    """The least of the widths that holds so many channels."""
    return next(w for w in widths if w >= width)


def tile_of(size: int) -> int:
    """Channels of a tile where pictures have `size` pixels along a side: smaller pictures have more channels."""
    return 32 if size > 40 else 64 if size > 20 else 128


def steps(plan: Plan, num_classes: int, squeeze_excite: bool = True, **own: Any) -> tuple[Step, ...]:
    """The blocks of a plan's network, and how each is split; `own` are the fields that all blocks have."""
    found, size = [_stem(plan, own)], plan.resolution // 2
    for layer in layers_of(plan):
        found += _layer_steps(layer, squeeze_excite, own)
        size = layer.size // layer.stride
    product = lambda channels: Product(channels, **own)
    tile, last = tile_of(size), plan.last
    classifier, width = Classifier(num_classes, **own), padded(last, SQUEEZED)
    return (
        *found,
        Step("head", product(last), split=Split("outputs", product(tile), last, tile)),
        Step("pool", Pool(**own), split=Split("channels", Pool(**own), last, tile)),
        Step("classifier", classifier, split=Split("whole", classifier, num_classes, width=width)),
    )


def _stem(plan: Plan, own: Mapping[str, Any]) -> Step:
    stem = lambda channels: Stem(channels, plan.resolution, **own)
    return Step("stem", stem(plan.stem), split=Split("whole", stem(padded(plan.stem)), plan.stem))


def _layer_steps(layer: Layer, squeeze_excite: bool, own: Mapping[str, Any]) -> Iterator[Step]:
    """The blocks of a layer of a stage: "x" is its input, and at the end its output."""
    name, middle, outputs, tile = layer.name, layer.middle, layer.outputs, tile_of(layer.size)
    product = lambda channels, stride=1: Product(channels, stride, **own)
    wide = Split("outputs", product(tile), middle, tile)
    yield Step(f"{name}_widen", product(middle), ("x",), ("y",), wide)
    block = Filter(layer.kernel, layer.stride, **own)
    yield Step(f"{name}_filter", block, ("y",), ("y", "mean"), Split("channels", block, middle, tile))
    if squeeze_excite:
        excite = SqueezeExcite(**own)
        wide = Split("whole", excite, middle, 0, padded(middle, SQUEEZED), squeezed_of(middle))
        yield Step(f"{name}_excite", excite, ("mean",), ("gate",), wide)
    narrow = Split("inputs", product(padded(outputs)), outputs, tile)
    yield Step(f"{name}_narrow", product(outputs), ("y", "gate") if squeeze_excite else ("y",), ("y",), narrow)
    if layer.is_first:
        across = Split("inputs", product(padded(outputs)), outputs, tile, stride=layer.stride, num_ones=squeeze_excite)
        yield Step(f"{name}_shortcut", product(outputs, layer.stride), ("x",), ("x",), across)
    join = Join(layer.is_first, **own)
    yield Step(f"{name}_join", join, ("y", "x"), ("x",), Split("whole", join, outputs))


def weights(plan: Plan, num_classes: int, squeeze_excite: bool = True) -> dict[Path, Weight]:
    """What the parameters of `MobileNetV2` are, by path, in the order in which a chain draws them."""
    found, channels = dict[Path, Weight](), {"x": 3}
    for step in steps(plan, num_classes, squeeze_excite):
        assert step.split is not None
        own = step.block.weights(channels[step.reads[0]])
        found |= {(step.name, *path): weight for path, weight in own.items()}
        channels |= dict.fromkeys(step.writes, step.split.channels)
    return found


class MobileNetV2(nn.Module):
    """The network of a plan.

    Attributes:
        num_classes: width of the logits.
        squeeze_excite: whether layers weigh their channels, as the published network does.
        kernel_init: initialisation of every kernel.
        options: norm, activation, and mask on what enters a convolution.
    """

    num_classes: int = 1000
    squeeze_excite: bool = True
    kernel_init: Initializer = kaiming_uniform
    options: LayerOptions = LayerOptions()

    @nn.compact
    def __call__(self, image: jax.Array, plan: Plan) -> jax.Array:
        """Logits float[N, num_classes] of image float[N, H, W, 3], resized to the plan's resolution.

        Bilinearly, without antialias. Batch norm uses the statistics that the options says.
        """
        own: dict[str, Any] = {"kernel_init": self.kernel_init, "options": self.options, "parent": None}
        return run_steps(self, steps(plan, self.num_classes, self.squeeze_excite, **own), image)

    def layer_of(self, path: Path, position: int) -> int:
        """The layer of a site, counted from 1: the stem, the seven stages, the last convolution."""
        del position
        name = path[0]
        return {"stem": 1, "pool": NUM_STAGES + 2}.get(name) or int(name.removeprefix("stage")[0]) + 1

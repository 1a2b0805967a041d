"""Modules as users write them, plain flax.linen, each with its twin: the same function in numpy (tests/oracle.py).

A module is unmarked as it stands. `MARKS` are the fields that put probes into it; `sites_of` and so on choose the same
places from outside. Everything is tiny: 8 pictures of 8 x 8 or less.
"""

from collections.abc import Callable, Mapping
import math
from types import MappingProxyType
from typing import Any, NamedTuple

from flax import nnx
import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np
from oracle import Walk
from reverse import Var, convolve, einsum, gelu, relu, sqrt

from zsnas_jax.nn.probes import COLLECTIONS, RNGS, Features, LayerOutput, Site
from zsnas_jax.nn.roles import Kernel, Role

MARKS = MappingProxyType({"site": Site, "layer": LayerOutput, "features": Features})
SIZE = 8  # pictures of a batch


def unmarked():
    """In the place of a probe."""
    return lambda x: x


class Marked(nn.Module):
    """A module whose fields can put probes into it."""

    site: Callable[[], Callable] = unmarked
    layer: Callable[[], Callable] = unmarked
    features: Callable[[], Callable] = unmarked


class Stage(Marked):
    """Convolution, batch norm, activation."""

    channels: int = 4
    stride: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.channels, (3, 3), strides=(self.stride, self.stride), use_bias=self.use_bias)(x)
        return self.layer()(nn.relu(self.site()(nn.BatchNorm(use_running_average=False)(x))))


class ConvNet(Marked):
    num_classes: int = 3

    @nn.compact
    def __call__(self, x):
        x = Stage(site=self.site, layer=self.layer)(x)
        x = nn.avg_pool(x, (2, 2), (2, 2))
        x = Stage(channels=6, stride=2, use_bias=False, site=self.site, layer=self.layer)(x)
        return nn.Dense(self.num_classes)(self.features()(x).mean((1, 2)))


def stage(walk, x, name, stride=1):
    x = walk.batch_norm(walk.conv(x, (name, "Conv_0"), stride=stride), (name, "BatchNorm_0"))
    return walk.layer(relu(walk.site(x, name)))


def conv_net(walk, x):
    x = stage(walk, x, "Stage_0")
    x = stage(walk, x.reshape(len(x), 4, 2, 4, 2, 4).mean((2, 4)), "Stage_1", stride=2)
    return walk.dense(walk.feature_map(x).mean((1, 2)), ("Dense_0",))


class Residual(Marked):
    """A block: convolution, norm, shortcut, activation."""

    norm: Callable[[], nn.Module] = nn.LayerNorm

    @nn.compact
    def __call__(self, x):
        y = self.norm(name="norm")(nn.Conv(x.shape[-1], (3, 3), use_bias=False, name="conv")(x))
        return self.layer()(nn.relu(self.site()(x + y)))


def batch_norm(**fields):
    return lambda name: nn.BatchNorm(use_running_average=True, name=name, **fields)


NORMS: Mapping[str, tuple[Callable[..., nn.Module], Callable]] = MappingProxyType(
    {
        "batch": (batch_norm(), lambda walk, x, path: walk.batch_norm(x, path)),
        "rows": (
            batch_norm(axis=1, epsilon=0.1, use_scale=False),
            lambda walk, x, path: walk.batch_norm(x, path, axis=1, epsilon=0.1),
        ),
        "bare": (
            batch_norm(use_scale=False, use_bias=False, epsilon=0.1),
            lambda walk, x, path: walk.batch_norm(x, path, epsilon=0.1),
        ),
        "group": (
            lambda name: nn.GroupNorm(num_groups=2, name=name),
            lambda walk, x, path: walk.group_norm(x, path, 2),
        ),
        "layer": (lambda name: nn.LayerNorm(name=name), lambda walk, x, path: walk.layer_norm(x, path)),
        "rms": (lambda name: nn.RMSNorm(name=name), lambda walk, x, path: walk.rms_norm(x, path)),
        "instance": (lambda name: nn.InstanceNorm(name=name), lambda walk, x, path: walk.layer_norm(x, path, (1, 2))),
    }
)
"""Name to how Flax writes the norm, and how its twin does."""


class ResNet(Marked):
    """A block for every norm."""

    norms: tuple[str, ...] = tuple(NORMS)

    @nn.compact
    def __call__(self, x):
        marks = {"site": self.site, "layer": self.layer}
        x = nn.Conv(4, (3, 3), use_bias=False)(x)
        for norm in self.norms:
            x = Residual(norm=NORMS[norm][0], name=norm, **marks)(x)
        return nn.Dense(5)(self.features()(x).mean((1, 2)))


def res_net(walk, x, norms=tuple(NORMS)):
    x = walk.conv(x, ("Conv_0",))
    for norm in norms:
        y = NORMS[norm][1](walk, walk.conv(x, (norm, "conv")), (norm, "norm"))
        x = walk.layer(relu(walk.site(x + y, norm)))
    return walk.dense(walk.feature_map(x).mean((1, 2)), ("Dense_0",))


class Mlp(Marked):
    width: int = 5

    @nn.compact
    def __call__(self, x):
        hidden = nn.gelu(self.site()(nn.Dense(self.width)(x)))
        return nn.Dense(x.shape[-1])(hidden)


def mlp(walk, x, path, layer, at=None):
    hidden = gelu(walk.site(walk.dense(x, (*path, "Dense_0"), at), layer))
    return walk.dense(hidden, (*path, "Dense_1"), at)


class Mixer(Marked):
    """An MLP-Mixer: its first Dense layers mix tokens, their inputs transposed."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (4, 4), strides=(4, 4), name="patches")(x)
        x = x.reshape(len(x), -1, x.shape[-1])
        y = jnp.swapaxes(nn.LayerNorm()(x), 1, 2)
        x = x + jnp.swapaxes(Mlp(site=self.site, name="tokens")(y), 1, 2)
        x = self.layer()(x + Mlp(site=self.site, name="channels")(nn.LayerNorm()(x)))
        return nn.Dense(4)(self.features()(nn.LayerNorm()(x)).mean(1))


def mixer(walk, x):
    x = walk.conv(x, ("patches",), stride=4)
    x = x.reshape(len(x), -1, x.shape[-1])
    y = walk.layer_norm(x, ("LayerNorm_0",)).transpose(0, 2, 1)
    x = x + mlp(walk, y, ("tokens",), "tokens").transpose(0, 2, 1)
    x = walk.layer(x + mlp(walk, walk.layer_norm(x, ("LayerNorm_1",)), ("channels",), "channels"))
    return walk.dense(walk.feature_map(walk.layer_norm(x, ("LayerNorm_2",))).mean(1), ("Dense_0",))


class Encoder(Marked):
    """A transformer's block."""

    @nn.compact
    def __call__(self, x):
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
        return self.layer()(x + Mlp(site=self.site)(nn.LayerNorm()(x)))


def encoder(walk, x, path, layer, at=None):
    attended = walk.attention(
        walk.layer_norm(x, (*path, "LayerNorm_0"), at=at), (*path, "MultiHeadDotProductAttention_0"), at
    )
    x = x + attended
    return walk.layer(x + mlp(walk, walk.layer_norm(x, (*path, "LayerNorm_1"), at=at), (*path, "Mlp_0"), layer, at))


class ViT(Marked):
    """Its positions are a table of nn.Embed, or where `is_table` is False a parameter of its own."""

    depth: int = 1
    is_table: bool = True

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (4, 4), strides=(4, 4), name="patches")(x)
        x = x.reshape(len(x), -1, x.shape[-1])
        if self.is_table:
            x = x + nn.Embed(x.shape[1], x.shape[2], name="positions")(jnp.arange(x.shape[1]))
        else:
            x = x + self.param("positions", nn.initializers.normal(0.3), x.shape[1:])
        for i in range(self.depth):
            x = Encoder(site=self.site, layer=self.layer, name=f"block{i}")(x)
        return nn.Dense(3)(self.features()(nn.LayerNorm()(x)).mean(1))


def vit(walk, x, depth=1, is_table=True):
    x = walk.conv(x, ("patches",), stride=4)
    x = x.reshape(len(x), -1, x.shape[-1]) + walk.params["positions", *(["embedding"] if is_table else [])]
    for i in range(depth):
        x = encoder(walk, x, (f"block{i}",), i)
    return walk.dense(walk.feature_map(walk.layer_norm(x, ("LayerNorm_0",))).mean(1), ("Dense_0",))


class Conv1d(Marked):
    """Of series [N, T, C], with a batch norm of [N, F] behind the pooling."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, 3)(x)
        x = self.layer()(nn.relu(self.site()(nn.BatchNorm(use_running_average=True)(x))))
        x = nn.relu(self.site()(nn.Conv(5, (3,), strides=2)(x)))
        x = self.features()(x).mean(1)
        x = nn.BatchNorm(use_running_average=True)(nn.Dense(6)(x))
        return nn.Dense(3)(nn.relu(self.site()(x)))


def conv1d(walk, x):
    x = walk.batch_norm(walk.conv(x, ("Conv_0",)), ("BatchNorm_0",))
    x = walk.layer(relu(walk.site(x, 1)))
    x = walk.feature_map(relu(walk.site(walk.conv(x, ("Conv_1",), stride=2), 2))).mean(1)
    x = walk.batch_norm(walk.dense(x, ("Dense_0",)), ("BatchNorm_1",))
    return walk.dense(relu(walk.site(x, 3)), ("Dense_1",))


class Conv3d(Marked):
    """Of volumes [N, H, W, Z, C]."""

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3, 2), padding="VALID")(x))
        x = self.layer()(nn.relu(self.site()(x)))
        x = nn.relu(self.site()(nn.Conv(3, (1, 1, 1))(x)))
        return nn.Dense(3)(self.features()(x).mean((1, 2, 3)))


def conv3d(walk, x):
    x = walk.batch_norm(walk.conv(x, ("Conv_0",), padding="VALID"), ("BatchNorm_0",))
    x = walk.layer(relu(walk.site(x, 1)))
    x = relu(walk.site(walk.conv(x, ("Conv_1",)), 2))
    return walk.dense(walk.feature_map(x).mean((1, 2, 3)), ("Dense_0",))


class Assortment(Marked):
    """Weight layers of every other kind: transposed, grouped and depthwise convolutions, DenseGeneral, Einsum; one
    layer is called twice."""

    @nn.compact
    def __call__(self, x):
        x = nn.ConvTranspose(4, (3, 3), strides=(2, 2))(x)
        x = nn.relu(self.site()(nn.Conv(8, (3, 3), feature_group_count=4)(x)))
        x = nn.Conv(8, (2, 2), strides=(2, 2), feature_group_count=8)(x)
        shared = nn.Conv(8, (1, 1), feature_group_count=2, name="shared")
        x = self.layer()(nn.relu(self.site()(shared(nn.relu(self.site()(shared(x)))))))
        x = self.features()(x)
        x = nn.DenseGeneral((2, 3), axis=(2, 3))(x)  # [N, H, 2, 3]
        x = nn.Einsum((3, 4, 5), "nhab,bho->nao")(nn.relu(self.site()(x)))
        return nn.DenseGeneral(4, axis=(-2, -1))(nn.relu(self.site()(x)))


def assortment(walk, x):
    x = walk.conv(x, ("ConvTranspose_0",), stride=2, transposed=True)
    x = relu(walk.site(walk.conv(x, ("Conv_0",), groups=4), 1))
    x = walk.conv(x, ("Conv_1",), stride=2, groups=8)
    x = relu(walk.site(walk.conv(x, ("shared",), groups=2), 2))
    x = walk.layer(relu(walk.site(walk.conv(x, ("shared",), groups=2), 3)))
    x = walk.contract(walk.feature_map(x), ("DenseGeneral_0",), "nhwc,wcab->nhab")
    x = walk.contract(relu(walk.site(x, 4)), ("Einsum_0",), "nhab,bho->nao")
    return walk.contract(relu(walk.site(x, 5)), ("DenseGeneral_1",), "nao,aok->nk")


class Grouped(Marked):
    """Weight layers with filters of their own at every pixel, or in every group."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(self.site()(nn.ConvLocal(3, (1, 1))(x)))
        x = self.layer()(nn.relu(self.site()(nn.ConvTranspose(4, (3, 3), transpose_kernel=True)(x))))
        x = self.features()(x)
        x = nn.Einsum((4, 2, 5), "nhwc,cwo->nhco")(x[:, :, :2])  # a kernel for every channel
        return nn.DenseGeneral(3, axis=(1, 2, 3))(nn.relu(self.site()(x)))


def grouped(walk, x):
    walk.multiply_adds += math.prod(x.shape)  # the patches, which Flax cuts by a convolution
    x = walk.contract(x, ("ConvLocal_0",), "nhwc,hwcd->nhwd", filters="hw")
    x = relu(walk.site(x, 1))
    x = walk.conv(x, ("ConvTranspose_0",), transposed=True, transpose_kernel=True)
    x = walk.feature_map(walk.layer(relu(walk.site(x, 2))))
    x = relu(walk.site(walk.contract(x[:, :, :2], ("Einsum_0",), "nhwc,cwo->nhco"), 3))
    return walk.contract(x, ("DenseGeneral_0",), "nhco,hcok->nk")


class Scaled(nn.Module):
    """A user's own weight layer, which tells what its parameters are: rows of a matrix, scaled."""

    filters: int

    @nn.compact
    def __call__(self, x):
        rows = self.param("rows", nn.initializers.lecun_normal(), (self.filters, x.shape[-1]))
        gain = self.param("gain", nn.initializers.ones, (self.filters,))
        return x @ rows.T * gain + self.param("offset", nn.initializers.zeros, (self.filters,))

    def parameter_roles(self):
        return {"rows": Kernel(inputs=(1,), outputs=(0,)), "gain": Role.SCALE, "offset": Role.BIAS}


class Own(Marked):
    @nn.compact
    def __call__(self, x):
        x = self.layer()(nn.relu(self.site()(Scaled(5)(x))))
        return nn.Dense(3)(self.features()(x).mean((1, 2)))


def own(walk, x):
    walk.scales.add(("Scaled_0", "gain"))
    x = walk.weight_layer(
        ("Scaled_0",),
        lambda rows: einsum("nhwc,oc->nhwo", x, rows) * walk.params["Scaled_0", "gain"],
        order=(1, 0),
        kernel="rows",
        bias="offset",
    )
    x = walk.layer(relu(walk.site(x, 1)))
    return walk.dense(walk.feature_map(x).mean((1, 2)), ("Dense_0",))


class Step(Marked):
    """A block of a scan: three of it have kernels [3, 3, 3, 4, 4], of which no axis but the lift's own is the lift's."""

    @nn.compact
    def __call__(self, x, _):
        y = nn.BatchNorm(use_running_average=True)(nn.Conv(x.shape[-1], (3, 3))(x))
        return self.layer()(x + nn.relu(self.site()(y))), None


class Scanned(Marked):
    """A stack under nn.scan.

    Attributes:
        params_axis: the axis of the parameters that the scan adds.
        collections: what else it maps: ours, or where nobody has heard of them only those of Flax's own layers.
    """

    params_axis: int = 0
    collections: tuple[str, ...] = COLLECTIONS

    @nn.compact
    def __call__(self, x):
        x = nn.relu(self.site()(nn.Conv(4, (3, 3))(x)))
        axes = {"params": self.params_axis, **dict.fromkeys(self.collections, 0)}
        rngs = {"params": True} if self.collections != COLLECTIONS else RNGS
        scan = nn.scan(Step, variable_axes=axes, split_rngs=rngs, length=3, in_axes=nn.broadcast)
        x, _ = scan(site=self.site, layer=self.layer, name="stack")(x, None)
        return nn.Dense(3)(self.features()(x).mean((1, 2)))


def scanned(walk, x, params_axis=0):
    x = relu(walk.site(walk.conv(x, ("Conv_0",)), "first"))
    for i in range(3):
        at = (params_axis, i)
        y = walk.conv(x, ("stack", "Conv_0"), at=at)
        y = walk.batch_norm(y, ("stack", "BatchNorm_0"), at=at)
        x = walk.layer(x + relu(walk.site(y, ("stack", i))))
    return walk.dense(walk.feature_map(x).mean((1, 2)), ("Dense_0",))


class Branches(Marked):
    """Three blocks beside each other under nn.vmap, of the same input; their outputs are summed."""

    collections: tuple[str, ...] = COLLECTIONS

    @nn.compact
    def __call__(self, x):
        x = self.layer()(nn.relu(self.site()(nn.Conv(4, (3, 3))(x))))
        axes = {"params": 0, **dict.fromkeys(self.collections, 0)}
        rngs = {"params": True} if self.collections != COLLECTIONS else RNGS
        lifted = nn.vmap(Branch, variable_axes=axes, split_rngs=rngs, in_axes=None, out_axes=0, axis_size=3)
        x = self.features()(lifted(site=self.site, name="branches")(x).sum(0))
        return nn.Dense(3)(x.mean((1, 2)))


class Branch(Marked):
    @nn.compact
    def __call__(self, x):
        return nn.relu(self.site()(nn.BatchNorm(use_running_average=True)(nn.Conv(4, (1, 1))(x))))


def branches(walk, x):
    x = walk.layer(relu(walk.site(walk.conv(x, ("Conv_0",)), "first")))
    total = 0.0
    for i in range(3):
        y = walk.batch_norm(walk.conv(x, ("branches", "Conv_0"), at=(0, i)), ("branches", "BatchNorm_0"), at=(0, i))
        total = total + relu(walk.site(y, ("branches", i)))
    return walk.dense(walk.feature_map(total).mean((1, 2)), ("Dense_0",))


class Trained(Marked):
    """Takes `train`, as Flax's examples do, and has dropout."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3))(x))
        x = self.layer()(nn.relu(self.site()(x)))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = self.features()(nn.relu(self.site()(nn.Conv(4, (3, 3))(x))))
        x = nn.Dropout(0.5)(x.mean((1, 2)), deterministic=not train)
        return nn.Dense(3)(x)


def trained(walk, x):
    x = walk.layer(relu(walk.site(walk.batch_norm(walk.conv(x, ("Conv_0",)), ("BatchNorm_0",)), 1)))
    x = walk.feature_map(relu(walk.site(walk.conv(x, ("Conv_1",)), 2)))
    return walk.dense(x.mean((1, 2)), ("Dense_0",))


class Pooled(Marked):
    """A batch norm stands on every path into the pool: the sum of its logits does not depend on the pictures."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(self.site()(nn.Conv(4, (3, 3))(x)))
        x = nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3))(x))
        return nn.Dense(3)(self.features()(self.layer()(x)).mean((1, 2)))


def pooled(walk, x):
    x = relu(walk.site(walk.conv(x, ("Conv_0",)), 1))
    x = walk.batch_norm(walk.conv(x, ("Conv_1",)), ("BatchNorm_0",))
    return walk.dense(walk.feature_map(walk.layer(x)).mean((1, 2)), ("Dense_0",))


class Dense2d(Marked):
    """Dense prediction: logits [N, H, W, K]."""

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True)(nn.Conv(4, (3, 3), strides=2)(x))
        x = self.features()(self.layer()(nn.relu(self.site()(x))))
        return nn.Conv(3, (1, 1))(x)


def dense2d(walk, x):
    x = walk.batch_norm(walk.conv(x, ("Conv_0",), stride=2), ("BatchNorm_0",))
    return walk.conv(walk.feature_map(walk.layer(relu(walk.site(x, 1)))), ("Conv_1",))


class Unknown(Marked):
    """Holds a parameter of its own, of which nobody knows what it is."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3))(x)
        x = x * self.param("gate", nn.initializers.normal(1.0), (4,))
        x = self.layer()(nn.relu(self.site()(x)))
        return nn.Dense(3)(self.features()(x).mean((1, 2)))


def unknown(walk, x):
    x = walk.conv(x, ("Conv_0",)) * walk.params["gate",]
    x = walk.layer(relu(walk.site(x, 1)))
    return walk.dense(walk.feature_map(x).mean((1, 2)), ("Dense_0",))


class Tokens(Marked):
    """Of text [N, T], int."""

    @nn.compact
    def __call__(self, x):
        x = nn.Embed(10, 6)(x)
        x = self.features()(self.layer()(nn.relu(self.site()(nn.Dense(5)(x)))))
        return nn.Dense(3)(x.mean(1))


def tokens(walk, x):
    x = walk.params["Embed_0", "embedding"][x.value.astype(int)]
    x = walk.feature_map(walk.layer(relu(walk.site(walk.dense(x, ("Dense_0",)), 1))))
    return walk.dense(x.mean(1), ("Dense_1",))


class Normalised(Marked):
    """A layer of Flax that changes the parameters of another."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(self.site()(nn.WeightNorm(nn.Conv(4, (3, 3)))(x)))
        return nn.Dense(3)(self.features()(x).mean((1, 2)))


def normalised(walk, x):
    kernel, bias = (walk.params["Conv_0", name] for name in ("kernel", "bias"))
    unit = kernel / sqrt((kernel * kernel).sum((0, 1, 2)))
    x = convolve(x, unit * walk.params["WeightNorm_0", "Conv_0/kernel/scale"]) + bias
    return walk.dense(walk.feature_map(relu(walk.site(x, 1))).mean((1, 2)), ("Dense_0",))


class Batchless(Marked):
    """Its positions go through a Dense layer, once for all pictures."""

    @nn.compact
    def __call__(self, x):
        positions = nn.Dense(4)(jnp.linspace(-1, 1, 16).reshape(16, 1)).reshape(4, 4, 4)
        x = nn.relu(self.site()(nn.Conv(4, (3, 3))(x) + positions))
        return nn.Dense(3)(x.mean((1, 2)))


def batchless(walk, x):
    positions = walk.dense(Var(np.linspace(-1, 1, 16).reshape(16, 1)), ("Dense_0",)).reshape(4, 4, 4)
    x = relu(walk.site(walk.conv(x, ("Conv_0",)) + positions, 1))
    return walk.dense(x.mean((1, 2)), ("Dense_1",))


class NnxNet(nnx.Module):
    """A module of flax.nnx."""

    def __init__(self, rngs):
        self.conv, self.head = nnx.Conv(2, 4, (3, 3), rngs=rngs), nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.conv(x)).mean((1, 2)))


class Foreign(NamedTuple):
    """A module with its twin, and what it is called with.

    Attributes:
        module: as `Marked`.
        twin: (walk, picture) to logits.
        shape: of a picture.
        num_classes: of the labels.
        keywords: of the call.
        vocabulary: where pictures are texts: their words are ints below it.
    """

    module: nn.Module
    twin: Callable[[Walk, Any], Any]
    shape: tuple[int, ...] = (8, 8, 2)
    num_classes: int = 3
    keywords: Mapping[str, Any] = MappingProxyType({})
    vocabulary: int | None = None

    def draw(self, seed=0):
        """(variables, image, label): everything drawn, so that no bias is 0 and no scale 1."""
        rng = np.random.default_rng(seed)
        image = rng.standard_normal((SIZE, *self.shape)).astype(np.float32)
        image = image if self.vocabulary is None else rng.integers(self.vocabulary, size=image.shape)
        init = lambda key, image: self.module.init({"params": key, "dropout": key}, image, **self.keywords)
        shapes = flatten_dict(jax.eval_shape(init, jax.random.key(0), image))

        def leaf(path, like):
            noise = rng.standard_normal(like.shape)
            if path[0] == "batch_stats":  # nobody reads them
                return 3.0 + noise**2
            if path[-1] == "kernel":
                return 2 * noise / (like.size / like.shape[-1]) ** 0.5
            return 1 + 0.3 * noise if path[-1].endswith(("scale", "gate", "gain")) else 0.3 * noise

        variables = {path: leaf(path, like).astype(np.float32) for path, like in shapes.items()}
        return unflatten_dict(variables), image, np.arange(SIZE) % self.num_classes


def flat(variables):
    """{path: float64 array} of the parameters."""
    return {path: np.asarray(leaf, np.float64) for path, leaf in flatten_dict(variables["params"]).items()}

"""The options of a network's layers: its norm, its activation, the mask on what enters its convolutions.

NCD's two remedies against scores that fall as networks grow non-linear are such options: SAM (stochastic activation
masking), `mask_rate` > 0, and NIR (non-linear rescaling), `norm="ln"`. Any proxy runs under any options.

A network with a field `options` that holds `LayerOptions` applies them itself, as those of `search_spaces` do. To any
other Flax module they are applied from outside (`zsnas_jax.nn.foreign`).

Axes: N batch, H W C. Source: Kang et al., "Beyond the Limits: Overcoming Negative Correlation of Activation-Based
Training-Free NAS" (NCD), ICCV 2025. Its supplement leaves the mask open; ours is the reading that works: one Bernoulli
draw per element and sample, the stem's input included, no rescaling.
"""

from collections.abc import Callable, Mapping
import dataclasses
from types import MappingProxyType
from typing import Any, NamedTuple

from flax.core.scope import LazyRng
import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.nn.layers import batch_norm

EPSILON = 1e-5
"""Added to the variance by norms, unless a network says otherwise."""
_LEVELS = 1 << 16  # masks are drawn from 16 random bits an element: half the cost of 32

Norm = Callable[[jax.Array, jax.Array, jax.Array, Any, float], jax.Array]
"""(x float[N, ..., C], scale float[C], bias float[C], key, epsilon) to float[N, ..., C]."""


def _standardise(x: jax.Array, axes: tuple[int, ...], epsilon: float) -> jax.Array:
    return (x - x.mean(axes, keepdims=True)) * jax.lax.rsqrt(x.var(axes, keepdims=True) + epsilon)


def _group_norm(groups: int) -> Norm:
    def apply(x: jax.Array, scale: jax.Array, bias: jax.Array, key: Any, epsilon: float) -> jax.Array:
        channels = x.shape[-1]
        count = min(groups, channels)
        if channels % count:
            raise ValueError(f"norm gn{groups} on {channels} channels: they must be a multiple of {groups}")
        grouped = x.reshape(*x.shape[:-1], count, channels // count)
        axes = (*range(1, x.ndim - 1), grouped.ndim - 1)
        return _standardise(grouped, axes, epsilon).reshape(x.shape) * scale + bias

    return apply


def _dropout(x: jax.Array, scale: jax.Array, bias: jax.Array, key: Any, epsilon: float) -> jax.Array:
    return 2.0 * _mask(x, jax.random.fold_in(key, 1), 0.5)


NORMS: Mapping[str, Norm] = MappingProxyType(
    {
        "bn": lambda x, scale, bias, key, epsilon: batch_norm(x, scale, bias, epsilon),
        "ln": lambda x, scale, bias, key, epsilon: _standardise(x, tuple(range(1, x.ndim)), epsilon) * scale + bias,
        "gn16": _group_norm(16),
        "gn8": _group_norm(8),
        "in": lambda x, scale, bias, key, epsilon: _standardise(x, tuple(range(1, x.ndim - 1)), epsilon) * scale + bias,
        "dropout": _dropout,
        "identity": lambda x, scale, bias, key, epsilon: x,
        "bn_initial": lambda x, scale, bias, key, epsilon: x * (scale / (1 + epsilon) ** 0.5) + bias,
    }
)
"""Batch norm by the batch's statistics; layer norm over H, W and C of a sample; group norm of 16 or 8 groups (of one
channel each where a layer is narrower); instance norm; dropout at rate 1/2 in the norm's place; nothing; and batch norm
in evaluation mode before any training (mean 0, variance 1). All have scale and bias per channel."""

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = MappingProxyType(
    {"relu": nn.relu, "gelu": nn.gelu, "leaky_relu": nn.leaky_relu}
)

STATISTICS = ("batch", "follow", "running")
"""What batch norm normalises by: the batch; the batch, while running statistics follow it; the running statistics."""


def _mask(x: jax.Array, key: jax.Array, rate: float) -> jax.Array:
    """Sets each element to zero with probability `rate`, rounded to a multiple of 2**-16."""
    return jnp.where(jax.random.bits(key, x.shape, jnp.uint16) < round(rate * _LEVELS), 0.0, x)


HOMOGENEOUS_ACTIVATIONS = frozenset({"relu", "leaky_relu"})
"""The activations f with f(s x) = s f(x) for s > 0."""


@dataclasses.dataclass(frozen=True)
class LayerOptions:
    """The options of a network's layers.

    Attributes:
        norm: what stands in the place of batch norm, a name in `NORMS`; "ln" is NIR.
        mask_rate: alpha of SAM, the probability with which an element that enters a convolution is set to zero:
            y = sum W * M * x with M ~ Bernoulli(1 - alpha).
        activation: a name in `ACTIVATIONS`.
        statistics: by what batch norm normalises, a name in `STATISTICS`. A score needs "batch"; a network in training
            has "follow", a trained one "running" (`zsnas_jax.nn.probes.NormInput`).
        momentum: share of the running statistics that a step of training keeps.
    """

    norm: str = "bn"
    mask_rate: float = 0.0
    activation: str = "relu"
    statistics: str = "batch"
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"unknown norm {self.norm!r}: allowed are {', '.join(NORMS)}")
        if not 0 <= self.mask_rate < 1:
            raise ValueError(f"mask_rate is {self.mask_rate}: allowed are 0 to 1, 1 excluded")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}: allowed are {', '.join(ACTIVATIONS)}")
        if self.statistics not in STATISTICS:
            raise ValueError(f"unknown statistics {self.statistics!r}: allowed are {', '.join(STATISTICS)}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum of batch norm is {self.momentum}: allowed are 0 to 1, 1 excluded")

    @property
    def are_homogeneous(self) -> bool:
        """Whether a layer without a bias is positively homogeneous under these options."""
        return self.norm == "identity" and not self.mask_rate and self.activation in HOMOGENEOUS_ACTIVATIONS

    @property
    def is_random(self) -> bool:
        """Whether a network under these options draws from the random stream "mask"."""
        return self.mask_rate > 0 or self.norm == "dropout"

    def unmasked(self, norm: str) -> "LayerOptions":
        """These options with another norm and no mask."""
        return dataclasses.replace(self, norm=norm, mask_rate=0.0)

    def key_of(self, module: nn.Module) -> jax.Array | None:
        """The key of one weight layer's draws, made by the module that holds it; None where nothing is drawn."""
        return draw_key(module, "mask") if self.is_random else None

    def mask(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        """SAM on x float[N, ...], which enters a convolution."""
        return _mask(x, key, self.mask_rate) if self.mask_rate else x  # type: ignore[arg-type]

    def normalise(
        self, x: jax.Array, scale: jax.Array, bias: jax.Array, key: Any, epsilon: float = EPSILON
    ) -> jax.Array:
        """The norm of x float[N, ..., C]; scale and bias float[C]; epsilon is added to the variance."""
        return NORMS[self.norm](x, scale, bias, key, epsilon)

    def activate(self, x: jax.Array) -> jax.Array:
        """The activation of x."""
        return ACTIVATIONS[self.activation](x)


PLACE = "zsnas_jax_place"
"""The flag of Flax's scopes that holds a `Place`."""


class Place(NamedTuple):
    """Where a module stands that a loop runs in several positions: so it draws in each what it would draw alone.

    Attributes:
        paths: of the loop's block in each position, if it stood there alone.
        position: int32[], the number of the position.
    """

    paths: tuple[tuple[str, ...], ...]
    position: jax.Array


def draw_key(module: nn.Module, stream: str) -> jax.Array:
    """A key of a random stream, made by a module; it depends on the module's path and on how many were made before.

    Raises:
        ValueError: if a lift around the module does not hand the stream on.
    """
    if not module.has_rng(stream):
        raise ValueError(
            f"the nn.scan or nn.vmap around {type(module).__name__} {'/'.join(module.path)} does not split the random "
            f"stream {stream!r}: its split_rngs needs zsnas_jax.nn.probes.RNGS, or {stream!r}: True"
        )
    key = module.make_rng(stream)
    assert module.scope is not None
    place = module.scope.get_flag(PLACE, None)
    if place is None:
        return key
    own, count = module.scope.rngs[stream], module.scope.rng_counters[stream]
    alone = lambda path: LazyRng(own.rng, (*path, *own.suffix, count)).as_jax_rng()
    return jnp.stack([alone(path) for path in place.paths])[place.position]


def with_layer_options(module: nn.Module, options: LayerOptions) -> nn.Module:
    """The module with its field `options` set, or the module itself where it has none of its own."""
    return module.clone(options=options) if has_layer_options(module) else module


def has_layer_options(module: nn.Module) -> bool:
    """Whether a module applies options itself: its field `options` holds some."""
    return isinstance(getattr(module, "options", None), LayerOptions)

"""Probes: where proxies look into a network.

The author of a network writes them: `Site` at what enters an activation, `LayerOutput` at the end of a layer,
`Features` at the feature map before pooling. All are identities. A pass (`zsnas_jax.measure.network.forward`) sees them
by Flax's method interceptors, so an ordinary call of a network is an ordinary call. For a module that nobody can edit,
`OutsideProbes` choose calls whose output is such a place; both feed the same pass.

Where a probe would stand inside a conditional, in which Flax cannot run a module, its methods are called outside and
its `slot` is passed in; `zsnas_jax.search_spaces.nasbench201.network` does so.

Axes: N batch, C channels.
"""

from collections.abc import Callable, Mapping
import functools
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.base import Path
from zsnas_jax.correlation import response_matrix
from zsnas_jax.nn.options import EPSILON, LayerOptions

LayerOf = Callable[[Path, int], int]
"""(path of a site's module, position along its `nn.scan` or 0) to the layer of the site, counted from 1."""

Predicate = Callable[[nn.Module, str], bool]
"""(module, name of its method) to whether that call is meant."""

COLLECTIONS = ("slots", "observed", "perturbations", "intermediates", "batch_stats")
"""Collections that a network must map over axis 0 in its own `nn.scan` to be seen through it, and to be trained."""

RNGS: Mapping[Any, bool] = MappingProxyType({"params": True, "mask": True})
"""`split_rngs` of a network's own `nn.scan`: every position draws weights and masks of its own."""


class Probe(nn.Module):
    """An identity that passes see. `observe` and `wanted` do nothing until a pass intercepts them."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns x, float[N, ...], unchanged."""
        self.observe(x, 1.0)
        return x

    def observe(self, value: jax.Array, count: float | jax.Array) -> None:
        """Shows a pass a value that occurs `count` times; 0 where it does not occur, float or float[]."""

    def wanted(self) -> bool:
        """Whether a pass looks at probes of this class."""
        return False


class Site(Probe):
    """A response site: write `nn.relu(Site()(x))` where you would write `nn.relu(x)`.

    Attributes:
        activation: of what enters here, float[N, ...] to the same; None: that of the layers' options, a ReLU unless
            they say another. What comes out of it, passes see as `Activated`.
    """

    activation: Callable[[jax.Array], jax.Array] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns x, float[N, ...], unchanged."""
        self.observe(x, 1.0)
        return tap(x, self.slot())

    def slot(self) -> jax.Array | None:
        """The float[N, N] that gathers |corr| of the gradients here, or None when no pass wants them."""
        return slot_of(self, "gradients")


class Activated(Probe):
    """Stands for what comes out of the activation at a `Site`; it is never called."""


class ConvOutput(Probe):
    """The output of a convolution, before its norm; of Flax's own layers passes see it without a probe."""


class Trunk(Probe):
    """What all paths from the input to the logits run through: behind the stem, or where one branch of a block ends.

    A pass that compares neighbours (`zsnas_jax.measure.trunk`) looks at these and at every `LayerOutput`.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns x, float[N, ...], unchanged; cut where a pass hands slots."""
        self.observe(x, 1.0)
        return cut(x, *self.slots())

    def keep(self, kept: jax.Array) -> None:
        """Shows a pass which channels are no padding, bool[C], where a network serves several widths."""

    def slots(self) -> tuple[jax.Array | None, jax.Array | None]:
        """What `cut` takes beside the value: two float[N, ...], or None each when no pass wants a cut."""
        return slot_of(self, "arriving"), slot_of(self, "leaving")


class LayerOutput(Trunk):
    """The output of a layer, on the trunk: every path from the input to the logits runs through it."""


class HeadOutput(Probe):
    """The output of a layer that is no more than the activation behind the last block, so no part of the trunk."""


class BypassedOutput(Probe):
    """The output of a layer that some paths go around, as those of DARTS's cells, which read the two cells before."""


class Features(Probe):
    """The feature map before global pooling."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns x, float[N, ..., C], unchanged; moved by the slot "shift" where a pass hands one."""
        self.observe(x, 1.0)
        return shifted(x, slot_of(self, "shift"))

    def keep(self, kept: jax.Array) -> None:
        """Shows a pass which channels are no padding, bool[C], where a network serves several widths."""


class NormInput(Probe):
    """Stands where a norm is applied; it is never called.

    Shows passes the unbiased variance per channel of what enters the norm, float[C], and holds the running statistics
    of a network that is trained.
    """

    @nn.compact
    def normalise(
        self, options: LayerOptions, x: jax.Array, scale: jax.Array, bias: jax.Array, key: Any, epsilon: float = EPSILON
    ) -> jax.Array:
        """The norm of x float[N, ..., C] as the options say; for networks that are to be trained.

        Where `options.statistics` is "batch", or the norm is not batch norm, this is `options.normalise`. Else the
        collection "batch_stats" holds mean and var, float32[C] each. "follow" normalises by the batch, and moves them,
        m <- momentum m + (1 - momentum) of the batch, with its unbiased variance; "running" normalises by them. Both
        compute in float32.
        """
        if options.statistics == "batch" or options.norm != "bn":
            return options.normalise(x, scale, bias, key, epsilon)
        wide = x.astype(jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, scale.shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, scale.shape, jnp.float32)
        if options.statistics == "running":
            y = (wide - mean.value) * jax.lax.rsqrt(var.value + epsilon) * scale + bias
            return y.astype(x.dtype)
        if not self.is_initializing():
            if x.size < 2 * x.shape[-1]:
                raise ValueError("batch norm sees one value a channel: more pictures a device are needed to train")
            seen, axes = jax.lax.stop_gradient(wide), tuple(range(x.ndim - 1))
            follow = lambda old, new: options.momentum * old + (1 - options.momentum) * new
            mean.value = follow(mean.value, seen.mean(axes))
            var.value = follow(var.value, seen.var(axes, ddof=1))
        return options.normalise(wide, scale, bias, key, epsilon).astype(x.dtype)


class OutsideProbes(NamedTuple):
    """Calls of a module's parts whose *output* is a place to look at, beside the probes that its author wrote.

    Attributes:
        sites: what enters an activation, for example `lambda m, method: isinstance(m, nn.LayerNorm)`: then the gradient
            is that of everything that reads the output.
        layers: the end of a layer.
        features: the feature map before pooling.
    """

    sites: Predicate | None = None
    layers: Predicate | None = None
    features: Predicate | None = None

    def classes(self, module: nn.Module, method: str) -> list[type[Probe]]:
        """The probes that the output of a call stands for."""
        chosen = {Site: self.sites, LayerOutput: self.layers, Features: self.features}
        return [probe for probe, meant in chosen.items() if meant is not None and meant(module, method)]


def slot_of(module: nn.Module, name: str) -> jax.Array | None:
    """The slot that a pass hands to a module, or None."""
    return module.get_variable("slots", name) if module.has_variable("slots", name) else None


@jax.custom_vjp
def _tap(x: jax.Array, slot: jax.Array) -> jax.Array:
    return x


_tap.defvjp(lambda x, slot: (x, None), lambda _, gradient: (gradient, response_matrix(gradient)))


def tap(x: jax.Array, slot: jax.Array | None) -> jax.Array:
    """Identity on x whose gradient with respect to the slot is |corr| of the gradient that passes through x.

    The gradient of a loss with respect to a slot shared by several taps is the sum of their matrices. Nothing is
    stored for it.

    Args:
        x: float[N, ...].
        slot: float[N, N], zeros, which are not read; None for no tap.
    """
    return x if slot is None else _tap(x, slot)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _tap_part(x: jax.Array, slot: jax.Array, place: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    return x


def _back_through_part(sizes: tuple[int, ...], place: jax.Array, gradient: jax.Array) -> Any:
    branches = [lambda g, size=size: response_matrix(g[..., :size]) for size in sizes]
    return gradient, jax.lax.switch(place, branches, gradient), None


_tap_part.defvjp(lambda x, slot, place, sizes: (x, place), _back_through_part)


def tap_part(x: jax.Array, slot: jax.Array | None, place: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    """As `tap`, of the first sizes[place] entries of the last axis; the others are padding, which no matrix sees.

    Args:
        x: float[N, ..., C].
        slot: as of `tap`.
        place: int32[].
        sizes: at most C each.
    """
    return x if slot is None else _tap_part(x, slot, place, sizes)


@jax.custom_vjp
def _cut(x: jax.Array, arriving: jax.Array, leaving: jax.Array) -> jax.Array:
    return x


_cut.defvjp(lambda x, arriving, leaving: (x, leaving), lambda leaving, gradient: (leaving, gradient, None))


def cut(x: jax.Array, arriving: jax.Array | None, leaving: jax.Array | None) -> jax.Array:
    """Identity on x at which a way back ends, and another begins.

    What comes back to it is the gradient of the first slot; what goes on from it is the second slot. One way back
    through a trunk cut at every block so takes to each F_{i-1} the gradient of <F_i, r_i>, r_i the second slot of F_i.

    Args:
        x: float[N, ...].
        arriving: of the shape of x, zeros, which are not read; None for no cut.
        leaving: of the shape of x.
    """
    return x if arriving is None or leaving is None else _cut(x, arriving, leaving)


def shifted(x: jax.Array, slot: jax.Array | None) -> jax.Array:
    """X moved by a slot of its shape, if there is one: the way in for derivatives by the feature map."""
    return x if slot is None else x + slot


def weigh(output: jax.Array, slot: jax.Array | None, filter_size: int, num_filter_axes: int = 1) -> jax.Array:
    """Identity on the output a of a weight layer; the gradient of a loss L by the slot is its Fisher score.

    filter_size * sum_c 1/2 mean_n (sum a dL/da)^2, the inner sum over all places at which filter c is applied.

    Args:
        output: float[N, ..., *filters].
        slot: float[], zero, which is not read; None for no score.
        filter_size: weights of one filter, for a convolution k * k * channels in.
        num_filter_axes: so many last axes of the output tell filters apart.
    """

    @jax.custom_vjp
    def run(a: jax.Array, slot: jax.Array) -> jax.Array:
        return a

    def backward(a: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
        filters = a.shape[a.ndim - num_filter_axes :]
        products = (a * gradient).reshape(len(a), -1, *filters).sum(1)
        return gradient, filter_size * 0.5 * jnp.square(products).mean(0).sum()

    run.defvjp(lambda a, slot: (a, a), backward)
    return output if slot is None else run(output, slot)


def is_site(module: nn.Module, method_name: str) -> bool:
    """The predicate that chooses the calls of `Site` modules."""
    return isinstance(module, Site) and method_name == "__call__"


Observers = Mapping[type[Probe], Mapping[Any, Callable[[jax.Array], Any]]]
"""Class of probes to the statistics wanted there: name to a function of what the probe shows."""

WHOLE_FEATURES: Observers = {Features: {"features": lambda x: x}}
"""The feature map before global pooling, as it is."""

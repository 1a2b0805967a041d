"""A network with weights, about to be scored, and a forward pass through it that observes what stands at its probes.

Axes: N batch, P positions along the axes that `nn.scan` and `nn.vmap` add (1 outside them).
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import math
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
from flax.traverse_util import flatten_dict
import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.base import Batch, Path
from zsnas_jax.measure.losses import Loss, cross_entropy
from zsnas_jax.nn.foreign import ForeignLayers, batch_variance
from zsnas_jax.nn.initializers import Initializer
from zsnas_jax.nn.options import LayerOptions, has_layer_options, with_layer_options
from zsnas_jax.nn.probes import (
    Activated,
    ConvOutput,
    Features,
    HeadOutput,
    LayerOf,
    LayerOutput,
    NormInput,
    Observers,
    OutsideProbes,
    Probe,
    Site,
    Trunk,
    cut,
    shifted,
    slot_of,
    tap,
    weigh,
)
from zsnas_jax.nn.roles import TellRoles
from zsnas_jax.nn.weights import Surveyed, Weight, survey


class Network(NamedTuple):
    """A network with weights, about to be scored.

    Attributes:
        module: `module.apply(variables, image, *args, **keywords)` returns logits float[N, ...].
        variables: its collections, "params" among them.
        batch: pictures, and labels or None.
        args: further arguments of the module, for example a genotype.
        key: for the masks and the noise of a score, and for modules that draw from the random stream "noise"; None of a
            block that draws nothing.
        options: norm, mask and activation of its layers.
        layer_of: layers of the sites; None for `number_layers`.
        is_active: path of a parameter to whether this architecture has it, bool or bool[], or which of its entries,
            bool broadcastable to it.
        num_params: trainable parameters.
        num_flops: multiply-adds of one image; None where the space does not say.
        weights: what its parameters are, by path.
        keywords: further keyword arguments of the module.
        loss: of logits and labels.
        probes: calls of its parts that are looked at beside the probes that its author wrote.
        is_homogeneous: whether without norms and biases it is positively homogeneous of degree one in its input and in
            each layer, under an activation that is.
        with_dropout: whether dropout works as its modules say; else it is off.
        wide_range: whether its values may leave the range of float32: then layers are rescaled, if it is homogeneous,
            or it is computed in float64.
        initializer: what its kernels were drawn from; None where nobody says.
    """

    module: nn.Module
    variables: Mapping[str, Any]
    batch: Batch
    args: tuple[Any, ...]
    key: jax.Array
    options: LayerOptions
    layer_of: LayerOf | None
    is_active: Callable[[Path], Any]
    num_params: Any
    num_flops: Any
    weights: Mapping[Path, Weight]
    keywords: Mapping[str, Any] = MappingProxyType({})
    loss: Loss = cross_entropy
    probes: OutsideProbes = OutsideProbes()
    is_homogeneous: bool = False
    with_dropout: bool = False
    wide_range: bool = False
    initializer: Initializer | None = None

    @property
    def params(self) -> Any:
        """The collection "params"."""
        return self.variables["params"]

    @property
    def name(self) -> str:
        """The class of the module, for messages."""
        return type(self.module).__name__

    def has(self, path: Path, weight: Weight, array: jax.Array) -> Any:
        """Whether the architecture has a kernel at all: bool, or bool[P], P as of `Weight.as_matrices`."""
        active = self.is_active(path)
        return weight.as_matrices(jnp.broadcast_to(active, array.shape)).any((1, 2)) if jnp.ndim(active) else active

    @property
    def may_rescale(self) -> bool:
        """Whether dividing the output of a layer divides that of the network, exactly."""
        return self.is_homogeneous and self.options.are_homogeneous

    def with_params(self, params: Any) -> "Network":
        """The network with other parameters."""
        return self._replace(variables={**self.variables, "params": params})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Observation:
    """What a statistic saw at one probe: how often it occurs, float[P], and its values [P, ...].

    Attributes:
        times: how often each position occurs.
        value: a pytree of arrays.
        path: of the probe's module.
        lifted: lengths of the axes that `nn.scan` and `nn.vmap` add around it; their product is P.
    """

    times: jax.Array
    value: Any
    path: Path = dataclasses.field(metadata={"static": True})
    lifted: tuple[int, ...] = dataclasses.field(default=(), metadata={"static": True})


class Pass(NamedTuple):
    """A forward pass: logits float[N, ...]; the observations of each statistic in order of execution."""

    logits: jax.Array
    observed: dict[str, list[Observation]]

    @property
    def log_scale(self) -> jax.Array:
        """float[], the logarithm of what layers were divided by in all."""
        scales = self.observed.get("log_scale", [])
        return total(scales) if scales else jnp.zeros(())

    @property
    def features(self) -> jax.Array | None:
        """The feature map before pooling, as `WHOLE_FEATURES` observes it; None without one."""
        seen = self.observed.get("features", [])
        return seen[-1].value[-1] if seen else None

    @property
    def kept_features(self) -> jax.Array | None:
        """Which channels of `features` are no padding, bool[C]; None where all are."""
        seen = self.observed.get("kept", [])
        return seen[-1].value[-1] if seen else None


def forward(
    network: Network,
    image: jax.Array,
    *,
    params: Any = None,
    slots: Any = None,
    options: LayerOptions | None = None,
    observe: Observers = MappingProxyType({}),
    rescale: bool = False,
) -> Pass:
    """One forward pass.

    Args:
        network: the network.
        image: float[N, H, W, C]; a tree of arrays [N, ...] where the module is a block that takes one.
        params: instead of the network's.
        slots: tree of slots for the gradients of probes and kernels, see `zsnas_jax.nn.probes`.
        options: instead of the network's.
        observe: statistics by class of probe. Statistics of different probes have different names.
        rescale: divides the output of every layer by its largest absolute value s, and observes log s as "log_scale".
            For networks that `may_rescale`, whose value then is exp(sum log_scale) times.

    Raises:
        ValueError: if a probe cannot be seen through a lift of the module, a slot reaches nothing, or the module
            cannot be scored.
    """
    options = options or network.options
    module = with_layer_options(network.module, options)
    of_kernels = ConvOutput in observe or any(path[-1] not in _OF_PROBES for path in flatten_dict(slots or {}))
    observer = _Observer(network, options, observe, rescale, len(jax.tree.leaves(image)[0]), of_kernels)
    foreign = ForeignLayers(options, with_dropout=network.with_dropout)
    is_foreign = not has_layer_options(module)
    variables = {**network.variables, "params": network.params if params is None else params, "slots": slots or {}}
    rngs = {"mask": jax.random.fold_in(network.key, 0)} if options.is_random else {}
    rngs |= {"dropout": jax.random.fold_in(network.key, 2)} if network.with_dropout else {}
    rngs |= {"noise": jax.random.fold_in(network.key, 3)} if network.key is not None else {}
    outside = nn.intercept_methods(foreign.intercept) if is_foreign else contextlib.nullcontext()
    with nn.intercept_methods(observer.intercept), outside:  # the first sees what the second makes of a call
        logits, state = module.apply(
            variables, image, *network.args, mutable=["observed"], rngs=rngs, **network.keywords
        )
    if is_foreign:
        foreign.check(network.name)
    observer.check(slots or {})
    return Pass(logits, observer.collect(state.get("observed", {})))


def with_weights(network: Network, tell: TellRoles | None = None) -> Network:
    """The network with what its parameters are, found by an abstract trace of a pass when it is first asked for.

    Args:
        network: whose `weights` are not known yet.
        tell: roles from outside, asked first.
    """
    call = lambda params: forward(network, network.batch.image, params=params).logits
    return network._replace(weights=Surveyed(lambda: survey(network.name, network.params, call, tell)))


_OF_PROBES = ("gradients", "shift", "arriving", "leaving")  # slots of probes; those of kernels have their names


class _Observer:
    """What a pass does at probes, batch norms and weight layers; one object serves one call of a network."""

    def __init__(
        self,
        network: Network,
        options: LayerOptions,
        observe: Observers,
        rescale: bool,
        num_pictures: int,
        of_kernels: bool,
    ) -> None:
        self.network, self.options, self.observe = network, options, observe
        self.rescale, self.num_pictures = rescale, num_pictures
        self.order: dict[Path, None] = {}  # paths of what was observed, in order of execution
        self.reached: set[Path] = set()  # slots that modules were handed
        weights = network.weights.items() if of_kernels else ()  # else nobody has to tell them
        self.kernels = {path[:-1]: (path[-1], weight) for path, weight in weights if weight.kernel}

    def intercept(self, next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        """For `nn.intercept_methods`."""
        module, method = context.module, context.method_name
        if isinstance(module, Probe) and method == "wanted":
            return bool(self.observe.get(type(module))) or (isinstance(module, Site) and Activated in self.observe)
        if isinstance(module, Probe) and method == "observe":
            if isinstance(module, Site):
                self.check_site(module, args[0])
                self._look_behind(module, module.activation, *args)
            return self.sow(module, self.observe.get(type(module), {}), *args)
        if isinstance(module, Features | Trunk) and method == "keep":
            name = "kept" if isinstance(module, Features) else "kept_of_trunk"
            return self.sow(module, {name: lambda kept: kept} if type(module) in self.observe else {}, args[0], 1.0)
        output = next_fun(*args, **kwargs)
        names = (*_OF_PROBES, self.kernels.get(module.path, ("kernel",))[0])
        self.reached.update((*module.path, name) for name in names if self._has(module, name))
        if method == "__call__":
            output = self._look_at_layer(module, args, output)
        for probe in self.network.probes.classes(module, method):
            output = self._look_from_outside(module, probe, output)
        return output

    def _has(self, module: nn.Module, name: str) -> bool:
        return module.scope is not None and module.has_variable("slots", name)

    def _look_at_layer(self, module: nn.Module, args: Any, output: Any) -> Any:
        """The output of a module's call, seen as a layer's."""
        if isinstance(module, LayerOutput | HeadOutput):
            return self._rescaled(module, output)
        if isinstance(module, nn.BatchNorm) and NormInput in self.observe:
            self.sow(module, self.observe[NormInput], batch_variance(module, args[0]), 1.0)
        name, weight = self.kernels.get(module.path, ("", None))
        kernel = weight and weight.kernel
        if kernel and kernel.window and not kernel.weighs_itself:  # else its author marks its output
            self.sow(module, self.observe.get(ConvOutput, {}), output, 1.0)
        if weight and kernel and not kernel.weighs_itself and self._has(module, name):
            if kernel.num_filter_axes is None:
                raise ValueError(f"Fisher does not serve {weight.layer} {'/'.join(module.path)}: its filters are not "
                                 "along the last axes of its output")  # fmt: skip
            if len(output) != self.num_pictures:
                raise ValueError(
                    f"Fisher does not serve {weight.layer} {'/'.join(module.path)}: its output {list(output.shape)} "
                    f"does not begin with the axis of the {self.num_pictures} pictures"
                )
            return weigh(output, slot_of(module, name), kernel.fan_in(weight.shape), kernel.num_filter_axes)
        return output

    def _look_from_outside(self, module: nn.Module, probe: type[Probe], output: Any) -> Any:
        """The output of a call that was chosen from outside, as a probe of a class sees it."""
        if not isinstance(output, jax.Array):
            raise ValueError(
                f"{type(module).__name__} {'/'.join(module.path)} was chosen as {probe.__name__}: it returns "
                f"{type(output).__name__}, needed is one array"
            )
        if probe is Site:
            self.check_site(module, output)
        self.sow(module, self.observe.get(probe, {}), output, 1.0)
        if probe is Site:
            self._look_behind(module, None, output, 1.0)
            return tap(output, slot_of(module, "gradients"))
        if probe is Features:
            return shifted(output, slot_of(module, "shift"))
        return self._rescaled(module, cut(output, slot_of(module, "arriving"), slot_of(module, "leaving")))

    def _look_behind(self, module: nn.Module, activation: Any, value: jax.Array, times: float | jax.Array) -> None:
        """Shows what comes out of the activation of what enters a site."""
        if wanted := self.observe.get(Activated):
            self.sow(module, wanted, (activation or self.options.activate)(value), times)

    def _rescaled(self, module: nn.Module, output: jax.Array) -> jax.Array:
        if not self.rescale:
            return output
        largest = lax.stop_gradient(jnp.abs(output).max())
        scale = jnp.where(largest > 0, largest, 1.0)
        self.sow(module, {"log_scale": jnp.log}, scale, 1.0)
        return output / scale

    def check_site(self, module: nn.Module, value: jax.Array) -> None:
        """Raises ValueError if what enters an activation has no row for each picture."""
        if not value.ndim or len(value) != self.num_pictures:
            raise ValueError(
                f"{self.network.name}: the response site {'/'.join(module.path)}, {list(value.shape)}, does not begin "
                f"with the axis of the {self.num_pictures} pictures"
            )

    def sow(self, module: nn.Module, statistics: Mapping[str, Any], value: jax.Array, times: float | jax.Array) -> None:
        """Keeps (times float[], statistic) pairs; what occurs no time is not computed, and zero."""
        self.order[module.path] = None
        value = lax.stop_gradient(value)
        for name, statistic in statistics.items():
            if isinstance(times, jax.Array):
                shapes = jax.eval_shape(statistic, value)
                zeros = lambda _, shapes=shapes: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
                pair = times, lax.cond(times > 0, statistic, zeros, value)
            else:
                pair = jnp.float32(times), statistic(value)
            if not module.sow("observed", name, pair):
                raise ValueError(f"{_unmapped(self.network, module.path)}: what stands there cannot be seen")

    def check(self, slots: Any) -> None:
        """Raises ValueError if a slot reached no module."""
        for path in flatten_dict(slots):
            if path not in self.reached:
                raise ValueError(f"{_unmapped(self.network, path[:-1])}: gradients there cannot be seen")

    def collect(self, state: Any) -> dict[str, list[Observation]]:
        """What was sown, by name of the statistic, each with its axis of positions."""
        observed: dict[str, list[Observation]] = {}
        flat = flatten_dict(state)
        for path in self.order:
            for own in [own for own in flat if own[:-1] == path]:
                for times, value in flat[own]:
                    observed.setdefault(own[-1], []).append(_observation(path, times, value))
        return observed


def _observation(path: Path, times: Any, value: Any) -> Observation:
    """What was sown at a path, the axes that lifts added as one."""
    lifted = tuple(jnp.shape(times))
    in_a_row = lambda leaf: leaf.reshape(-1, *leaf.shape[len(lifted) :])
    return Observation(jnp.reshape(times, -1), jax.tree.map(in_a_row, value), path, lifted)


def _unmapped(network: Network, path: Path) -> str:
    return (
        f"{network.name}: the nn.scan or nn.vmap around {'/'.join(path)} does not map the collections of "
        "zsnas_jax.nn.probes.COLLECTIONS over axis 0"
    )


@contextlib.contextmanager
def enough_range(network: Network) -> Iterator[Network]:
    """The network for a computation inside the context: in float64 where values may leave float32.

    A network that may be rescaled layer by layer stays as it is; what is computed inside from any other is float64, and
    has to be rounded before it leaves.
    """
    if not network.wide_range or network.may_rescale:
        yield network
        return
    with jax.enable_x64(True):
        is_real = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
        widen = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if is_real(leaf) else leaf, tree)
        yield network._replace(variables=widen(network.variables), batch=widen(network.batch))


def need_real_pictures(network: Network, asker: str) -> None:
    """Raises ValueError, naming who asks, if the pictures are no floats: tokens have no derivative."""
    if not jnp.issubdtype(network.batch.image.dtype, jnp.floating):
        image = network.batch.image
        raise ValueError(f"{asker} needs pictures of floats, the batch has {image.dtype}{list(image.shape)}")


def total(observations: list[Observation]) -> jax.Array:
    """Sum of times * value over all probes and positions."""
    return sum(jnp.tensordot(o.times.astype(o.value.dtype), o.value, axes=1) for o in observations)  # type: ignore[return-value]


def num_positions(observation: Observation) -> int:
    """P."""
    return math.prod(observation.lifted)

"""A network with weights, about to be scored, and a forward pass through it that observes what stands at its probes.

Axes: N batch, P positions along an `nn.scan` (1 outside one).
"""

from collections.abc import Callable, Mapping
import contextlib
from typing import Any, NamedTuple

import flax.linen as nn
from flax.traverse_util import flatten_dict
import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.base import Batch
from zsnas_jax.nn.options import ForeignLayers, LayerOptions, treated
from zsnas_jax.nn.probes import LayerOf, LayerOutput, NormInput, Observers, Path, Probe, weigh


class Network(NamedTuple):
    """A network with weights, about to be scored.

    Attributes:
        module: `module.apply(variables, image, *args)` returns logits float[N, K].
        variables: its collections, "params" among them.
        batch: pictures, and labels or None.
        args: further arguments of the module, for example a genotype.
        key: for the masks and the noise of a score.
        options: norm, mask and activation.
        layer_of: layers of the sites; None for `number_layers`.
        is_active: path of a parameter to whether this architecture has it, bool or bool[].
        num_params: trainable parameters.
        num_flops: multiply-adds of one image; None where the space does not say.
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

    @property
    def params(self) -> Any:
        """The collection "params"."""
        return self.variables["params"]


class Observation(NamedTuple):
    """What a statistic saw at one probe: times float[P], value arrays [P, ...], `scanned` if under a scan."""

    path: Path
    times: jax.Array
    value: Any
    scanned: bool


class Pass(NamedTuple):
    """A forward pass: logits float[N, K]; the observations of each statistic in order of execution."""

    logits: jax.Array
    observed: dict[str, list[Observation]]

    @property
    def log_scale(self) -> jax.Array:
        """float[], the logarithm of what `rescale` divided by in all; 0 without a marked layer."""
        scales = self.observed.get("log_scale", [])
        return total(scales) if scales else jnp.zeros(())


def run(
    network: Network,
    image: jax.Array,
    *,
    params: Any = None,
    slots: Any = None,
    options: LayerOptions | None = None,
    observe: Observers | None = None,
    rescale: bool = False,
) -> Pass:
    """One forward pass.

    Args:
        network: the network.
        image: float[N, H, W, C].
        params: instead of the network's.
        slots: tree of slots for the gradients of probes, see `zsnas_jax.nn.probes`.
        options: instead of the network's.
        observe: statistics by class of probe. Statistics of different probes have different names.
        rescale: divides the output of every layer by its largest absolute value s, and observes log s as "log_scale".
            For networks that are positively homogeneous of degree one, whose value then is exp(sum log_scale) times.
    """
    options = options or network.options
    observer = _Observer(observe or {}, rescale)
    foreign = ForeignLayers(options)
    module = treated(network.module, options)
    is_foreign = not hasattr(module, "options")
    variables = {**network.variables, "params": network.params if params is None else params, "slots": slots or {}}
    rngs = {"mask": jax.random.fold_in(network.key, 0)} if options.is_random else {}
    outside = nn.intercept_methods(foreign.intercept) if is_foreign else contextlib.nullcontext()
    with outside, nn.intercept_methods(observer.intercept):
        logits, state = module.apply(variables, image, *network.args, mutable=["observed"], rngs=rngs)
    if is_foreign:
        foreign.check(type(module).__name__)
    return Pass(logits, observer.collect(state.get("observed", {})))


class _Observer:
    """What a pass does at probes, batch norms and weight layers; one object serves one call of a network."""

    def __init__(self, observe: Observers, rescale: bool) -> None:
        self.observe, self.rescale = observe, rescale
        self.order: dict[Path, None] = {}  # paths of what was observed, in order of execution

    def intercept(self, next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        """For `nn.intercept_methods`."""
        module, method = context.module, context.method_name
        if isinstance(module, Probe) and method == "wanted":
            return bool(self.observe.get(type(module)))
        if isinstance(module, Probe) and method == "observe":
            return self.sow(module, self.observe.get(type(module), {}), *args)
        output = next_fun(*args, **kwargs)
        if method != "__call__":
            return output
        if self.rescale and isinstance(module, LayerOutput):
            largest = lax.stop_gradient(jnp.abs(output).max())
            scale = jnp.where(largest > 0, largest, 1.0)
            self.sow(module, {"log_scale": jnp.log}, scale, 1.0)
            return output / scale
        if isinstance(module, nn.BatchNorm) and NormInput in self.observe:
            variance = args[0].var(tuple(range(args[0].ndim - 1)), ddof=1)
            self.sow(module, self.observe[NormInput], variance, 1.0)
        if isinstance(module, nn.Conv | nn.Dense) and module.has_variable("slots", "kernel"):
            kernel: jax.Array = module.get_variable("params", "kernel")
            return weigh(output, module.get_variable("slots", "kernel"), kernel.size // kernel.shape[-1])
        return output

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
            module.sow("observed", name, pair)

    def collect(self, state: Any) -> dict[str, list[Observation]]:
        """What was sown, by name of the statistic, each with its axis of positions."""
        observed: dict[str, list[Observation]] = {}
        flat = flatten_dict(state)
        for path in self.order:
            for own in [own for own in flat if own[:-1] == path]:
                for times, value in flat[own]:
                    scanned = bool(jnp.ndim(times))
                    if not scanned:
                        times, value = jax.tree.map(lambda x: x[None], (times, value))
                    observed.setdefault(own[-1], []).append(Observation(path, times, value, scanned))
        return observed


def total(observations: list[Observation]) -> jax.Array:
    """Sum of times * value over all probes and positions."""
    return sum(jnp.tensordot(o.times.astype(o.value.dtype), o.value, axes=1) for o in observations)  # type: ignore[return-value]


def num_stacked_axes(kernel: jax.Array) -> int:
    """1 for a kernel that `nn.scan` stacked (5 axes: convolution; 3: dense), 0 for a single one (4 or 2)."""
    return kernel.ndim % 2

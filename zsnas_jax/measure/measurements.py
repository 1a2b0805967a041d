"""What a network shows: one forward pass, and at most two ways back, that serve every proxy asked for.

Nothing of a response is stored: statistics are taken where it passes. Axes: N batch, L layers, P positions along an
`nn.scan` (1 outside one), D features.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import KernelSum, Look, Path, Proxy, ResponseMatrices
from zsnas_jax.correlation import response_matrix
from zsnas_jax.measure.network import Network, Observation, Pass, forward, need_real_pictures
from zsnas_jax.measure.trunk import DrawSigns, features, no_trunk, random_signs, trunk_slots
from zsnas_jax.nn.probes import (
    WHOLE_FEATURES,
    Activated,
    BypassedOutput,
    ConvOutput,
    HeadOutput,
    LayerOf,
    LayerOutput,
    Observers,
    Probe,
    Site,
    Trunk,
)
from zsnas_jax.nn.weights import kernels_of

NEEDS = frozenset(
    {
        *("activations", "gradients", "kernel_gradients", "fisher", "jacobian", "own_jacobian", "features"),
        *("trunk", "labels", "class_labels", "network"),
    }
)
"""What a proxy can ask of the shared pass; see `Measurements`. "labels" are the targets of the loss, "class_labels" the
same where they must be class indices int[N]; "network" says that the score runs the network itself, whole."""

PLACES: Mapping[str, tuple[type[Probe], ...]] = MappingProxyType(
    {
        "sites": (Site,),
        "activated": (Activated,),
        "convolutions": (ConvOutput,),
        "trunk": (Trunk, LayerOutput),
        "outputs": (Trunk, LayerOutput, BypassedOutput),
        "layers": (LayerOutput, HeadOutput),
    }
)
"""Where statistics are taken: of what enters activations, what comes out of them, convolutions' outputs, feature maps
through which all paths run, these and outputs of layers that some paths go around, outputs of layers."""

_WITH_LOSS = frozenset({"gradients", "kernel_gradients", "fisher"})
_WITH_LABELS = _WITH_LOSS | {"labels", "class_labels"}
ZERO_JACOBIAN = 1e-4
"""The sum of the logits counts as independent of the pictures where its gradient is smaller than that of another
combination by this factor: in float32 rounding leaves up to 1e-7 of it, networks have .1 and more."""


class Measurements(NamedTuple):
    """What the shared pass found, for proxies to score; a field that no proxy of the set needs is None or empty.

    Attributes:
        network: the network itself, as it was measured, for proxies that run it on their own.
        responses: ResponseMatrices float[L, N, N]; "activations" and "gradients" are needs of their own.
        observed: observations of the sites: for a proxy by the names in its `observe`, before by the functions.
        kernel_sums: float[] each: for a proxy by the names in its `kernel_sums`, before by the `KernelSum`s.
        kernel_gradients: gradient of the loss with respect to the parameters, a tree like `network.params`.
        fisher: float[], the sum over weight layers of the Fisher score.
        jacobian: float[N, D], gradient of the sum of all logits of the batch with respect to each picture.
        zero_jacobian: bool[], whether the sum of all logits does not depend on the pictures, so that `jacobian` is
            rounding: a batch norm stands on every path into the pool.
        own_jacobian: float[N, D], gradient of the sum of each picture's own logits with respect to it.
        features: float[N, ...], the feature map before pooling.
        log_scale: float[], the logarithm of what layers were divided by.
        trunk: the feature maps through which all paths run, with what came back from each to the one before it.
    """

    network: Network
    responses: Any = None
    observed: Mapping[Any, list[Observation]] = MappingProxyType({})
    kernel_sums: Mapping[Any, jax.Array] = MappingProxyType({})
    kernel_gradients: Any = None
    fisher: Any = None
    jacobian: Any = None
    zero_jacobian: Any = None
    own_jacobian: Any = None
    features: Any = None
    log_scale: Any = None
    trunk: Any = None


def asked_for(
    proxies: Sequence[Proxy],
) -> tuple[frozenset[str], tuple[Callable[..., Any] | Look, ...], dict[KernelSum, str]]:
    """What proxies ask of one pass: needs, statistics of the sites, kernel sums each with the name of who asks."""
    needs = frozenset[str]().union(*(proxy.needs for proxy in proxies))
    observe = dict.fromkeys(statistic for proxy in proxies for statistic in proxy.observe.values())
    return needs, tuple(observe), {wanted: proxy.name for proxy in proxies for wanted in proxy.kernel_sums.values()}


def measurements_for(proxy: Proxy, measured: Measurements) -> Measurements:
    """The measurements as a proxy's `score` reads them: statistics under the names that the proxy gave them."""
    observed = {name: measured.observed[statistic] for name, statistic in proxy.observe.items()}
    sums = {name: measured.kernel_sums[wanted] for name, wanted in proxy.kernel_sums.items()}
    return measured._replace(observed=observed, kernel_sums=sums)


def number_layers(sites: Iterable[tuple[Path, int]]) -> LayerOf:
    """The default layers: the top-level modules in order of their first site; each position of a scan is its own.

    Args:
        sites: (path, number of positions) in order of execution.
    """
    order = dict.fromkeys((path[:1], position) for path, count in sites for position in range(count))
    number = {name: i for i, name in enumerate(order, start=1)}
    return lambda path, position: number[path[:1], position]


def sum_by_layer(matrices: Sequence[Observation], layer_of: LayerOf | None) -> jax.Array:
    """Sums of times * value per layer: [P, N, N] values of sites to float[L, N, N]."""
    layer_of = layer_of or number_layers((o.path, len(o.times)) for o in matrices)
    layers = np.array([layer_of(o.path, i) for o in matrices for i in range(len(o.times))])
    values = jnp.concatenate([o.times[:, None, None].astype(o.value.dtype) * o.value for o in matrices])
    return jnp.zeros((layers.max(), *values.shape[1:]), values.dtype).at[layers - 1].add(values)


def check_needs(network: Network, needs: frozenset[str], asker: str = "a pass") -> None:
    """Raises ValueError, naming who asks, if a need is unknown, or labels are needed and missing or of another kind."""
    if unknown := needs - NEEDS:
        raise ValueError(f"{asker}: unknown needs {sorted(unknown)}: allowed are {', '.join(sorted(NEEDS))}")
    if needs & {"jacobian", "own_jacobian"}:
        need_real_pictures(network, asker)
    label = network.batch.label
    if needs & _WITH_LABELS and label is None:
        raise ValueError(f"{asker} ({', '.join(sorted(needs & _WITH_LABELS))}): labels are needed, the batch has none")
    if "class_labels" in needs:
        is_array = isinstance(label, jax.Array | np.ndarray)
        are_indices = is_array and label.ndim == 1 and jnp.issubdtype(label.dtype, jnp.integer)
        if not are_indices or len(label) != len(network.batch.image):
            raise ValueError(
                f"{asker}: class indices int[{len(network.batch.image)}] are needed as labels, the batch has "
                f"{jax.tree.map(lambda leaf: f'{leaf.dtype}{list(leaf.shape)}', label)}"
            )


def place_of(statistic: Any) -> str:
    """The name in `PLACES` of where a statistic is taken."""
    return statistic.place if isinstance(statistic, Look) else "sites"


def observers_of(named: Mapping[str, Any]) -> dict[type[Probe], dict[Any, Callable[..., Any]]]:
    """What a pass looks at for statistics, or `Look`s, by the names under which it keeps them.

    Raises:
        ValueError: if a place is unknown.
    """
    look: dict[type[Probe], dict[Any, Callable[..., Any]]] = {}
    for name, statistic in named.items():
        if (place := place_of(statistic)) not in PLACES:
            raise ValueError(f"unknown place {place!r} of a statistic: allowed are {', '.join(PLACES)}")
        for probe in PLACES[place]:
            look.setdefault(probe, {})[name] = statistic.statistic if isinstance(statistic, Look) else statistic
    return look


def nothing_at(network: Network, place: str) -> str:
    """The error of a network that has nothing at a place where statistics are wanted."""
    if place == "convolutions":
        return f"{network.name} has no convolution whose output could be seen"
    return no_site(network) if place in ("sites", "activated") else no_trunk(network.name)


def _statistics(
    needs: frozenset[str], observe: Sequence[Callable[..., Any] | Look]
) -> tuple[dict[str, Any], Observers]:
    """(statistics by the names under which a pass keeps them, what it looks at)."""
    wanted: dict[Any, None] = dict.fromkeys([*observe, *([response_matrix] if "activations" in needs else [])])
    named = {f"statistic{i}": statistic for i, statistic in enumerate(wanted)}
    return named, {**observers_of(named), **(WHOLE_FEATURES if "features" in needs else {})}


def _site_slots(network: Network) -> dict[Path, jax.Array]:
    """Zeros [N, N], or [P, N, N] under a lift, for every module with sites, by its path."""
    look: Observers = {Site: {"correlation": response_matrix}}
    found = jax.eval_shape(lambda: forward(network, network.batch.image, observe=look).observed.get("correlation", []))
    if not found:
        raise ValueError(no_site(network))
    return {(*o.path, "gradients"): jnp.zeros((*o.lifted, *o.value.shape[1:]), o.value.dtype) for o in found}


def no_site(network: Network) -> str:
    """The error of a network without a response site."""
    return f"{network.name} has no response site: mark what enters its activations with Site, or choose it by `sites`"


def fisher_slots(network: Network) -> dict[Path, jax.Array]:
    """A zero for every kernel, by its path."""
    flat, slots = flatten_dict(network.params), {}
    for path, weight in kernels_of(network.weights, "Fisher"):
        if weight.lifted is None:
            weight.by_position(flat[path])  # says what is wrong
        slots[path] = jnp.zeros([flat[path].shape[axis] for axis in weight.lifted or ()], flat[path].dtype)
    return slots


def sum_kernels(network: Network, wanted: KernelSum, gradients: Any = None, asker: str = "a kernel sum") -> jax.Array:
    """Sum over the weight layers that the architecture has of finish(sum of entry(w, g)), float[].

    Args:
        network: with the kernels W.
        wanted: entry and finish.
        gradients: a tree like `network.params`, or None.
        asker: what needs it, for errors.
    """
    params, slopes = flatten_dict(network.params), {} if gradients is None else flatten_dict(gradients)
    result = jnp.zeros(())
    for path, weight in kernels_of(network.weights, asker):
        w = weight.as_matrices(params[path])
        g = weight.as_matrices(slopes[path]) if slopes else None
        by_position = jax.vmap(wanted.finish)(wanted.entry(w, g).sum((1, 2)))
        result += jnp.where(network.has(path, weight, params[path]), by_position, 0.0).sum()
    return result


def measure(
    network: Network,
    needs: frozenset[str] = frozenset(),
    observe: Sequence[Callable[..., Any] | Look] = (),
    kernel_sums: Mapping[KernelSum, str] = MappingProxyType({}),
    draw_signs: DrawSigns | None = None,
) -> Measurements:
    """One forward pass, and at most two ways back: from the loss, and from the sum of all logits.

    Args:
        network: the network.
        needs: a subset of `NEEDS`.
        observe: further statistics: functions of float[N, ...] to a pytree, of the sites' activations; or a `Look`.
        kernel_sums: sums over weight layers, each with the name of who asks, for errors; with gradients where
            "kernel_gradients" is among the needs.
        draw_signs: of "trunk"; None: from the network's key.

    Raises:
        ValueError: if a need is unknown, labels are needed and missing, or the network lacks what is looked at.
    """
    check_needs(network, needs)
    named, look = _statistics(needs, observe)
    slots = _site_slots(network) if "gradients" in needs else {}
    # Only what is asked for is differentiated by: XLA does not drop all of a gradient that nobody reads.
    inputs: dict[str, Any] = {"slots": slots} if slots else {}
    inputs |= {"fisher": fisher_slots(network)} if "fisher" in needs else {}
    inputs |= {"params": network.params} if "kernel_gradients" in needs else {}
    inputs |= {"image": network.batch.image} if "jacobian" in needs else {}
    rescale = network.wide_range and network.may_rescale

    def run(inputs: dict[str, Any]) -> tuple[jax.Array, Pass]:
        image, params = inputs.get("image", network.batch.image), inputs.get("params", network.params)
        tree = unflatten_dict({**inputs.get("slots", {}), **inputs.get("fisher", {})})
        seen = forward(network, image, params=params, slots=tree, observe=look, rescale=rescale)
        return seen.logits, seen

    if inputs:
        logits, pullback, seen = jax.vjp(run, inputs, has_aux=True)
    elif look or needs & {"own_jacobian", "trunk"}:
        logits, seen = run(inputs)
    else:
        sums = {wanted: sum_kernels(network, wanted, asker=asker) for wanted, asker in kernel_sums.items()}
        return Measurements(network, kernel_sums=sums)
    for name, statistic in named.items():
        if name not in seen.observed:
            raise ValueError(nothing_at(network, place_of(statistic)))
    if "features" in needs and seen.features is None:
        raise ValueError(no_features(network))
    gradients: dict[str, Any] = {}
    if needs & _WITH_LOSS:
        slope = jax.grad(network.loss)(logits, network.batch.label)
        gradients = pullback(slope)[0]
    jacobian, zero_jacobian = None, None
    if "jacobian" in needs:
        jacobian = pullback(jnp.ones_like(logits))[0]["image"]
        slope, other = (slope, gradients) if gradients else _along_other_logits(pullback, logits)
        zero_jacobian = is_zero(jacobian, jnp.ones_like(logits), other["image"], slope)
    slopes = gradients.get("params")
    observed = {statistic: seen.observed.get(name, []) for name, statistic in named.items()}
    matrices = observed[response_matrix] if "activations" in needs else []
    return Measurements(
        network,
        ResponseMatrices(
            sum_by_layer(matrices, network.layer_of) if matrices else None,
            # In order of execution, which the tree of gradients, sorted by path, does not keep.
            _slots_by_layer({path: gradients["slots"][path] for path in slots}, network.layer_of) if slots else None,
        ),
        observed,
        {wanted: sum_kernels(network, wanted, slopes, asker) for wanted, asker in kernel_sums.items()},
        slopes,
        sum(leaf.sum() for leaf in gradients["fisher"].values()) if "fisher" in needs else None,
        jacobian if jacobian is None else jacobian.reshape(len(logits), -1),
        zero_jacobian,
        _own_jacobian(network, logits) if "own_jacobian" in needs else None,
        seen.features,
        seen.log_scale,
        _trunk(network, draw_signs) if "trunk" in needs else None,
    )


def _trunk(network: Network, draw_signs: DrawSigns | None) -> Any:
    """The trunk's features with what comes back to each, by a pass of its own, since cuts stop every other way back."""
    signs = draw_signs or random_signs(jax.random.fold_in(network.key, 4))
    seen, arriving, leaving = trunk_slots(network, signs)

    def run(arriving: Any) -> jax.Array:
        slots = unflatten_dict({**arriving, **leaving})
        return forward(network, network.batch.image, slots=slots).logits.sum()

    return features(seen, jax.grad(run)(arriving), leaving)


def _own_jacobian(network: Network, logits: jax.Array) -> jax.Array:
    """The gradient of each picture's logits with respect to it, float[N, D]: a way back for each."""
    _, pullback = jax.vjp(lambda image: forward(network, image).logits, network.batch.image)
    own = lambda n: pullback(own_logits(logits, n))[0][n].ravel()
    return lax.map(own, jnp.arange(len(logits)))


def own_logits(logits: Any, n: Any) -> Any:
    """Weights of the logits that are one for those of picture n and zero for others."""
    xp = np if isinstance(logits, np.ndarray) else jnp
    is_own = xp.arange(len(logits)).reshape(-1, *(1,) * (logits.ndim - 1)) == n
    return xp.broadcast_to(is_own, logits.shape).astype(logits.dtype)


def _along_other_logits(pullback: Callable[..., Any], logits: jax.Array) -> tuple[jax.Array, Any]:
    """(a combination of the logits that is no sum, its gradients)."""
    slope = other_combination(logits)
    return slope, pullback(slope)[0]


def other_combination(logits: jax.Array) -> jax.Array:
    """Weights of the logits without pattern, of about the size of ones: what a sum is held against."""
    return jnp.sqrt(2.0) * jnp.cos(jnp.arange(logits.size, dtype=logits.dtype) ** 2).reshape(logits.shape)


def is_zero(jacobian: jax.Array, ones: jax.Array, other: jax.Array, slope: jax.Array) -> jax.Array:
    """Whether the gradient of the sum of logits is rounding beside that of another combination, `slope`. bool[]."""
    size = lambda gradient, weights: jnp.abs(gradient).mean() / jnp.sqrt(jnp.square(weights).sum())
    return size(jacobian, ones) < ZERO_JACOBIAN * size(other, slope)


def no_features(network: Network) -> str:
    """The error of a network without a feature map."""
    return f"{network.name} has no feature map: mark it with Features, or choose it by `features`"


def _slots_by_layer(gradients: Mapping[Path, jax.Array], layer_of: LayerOf | None) -> jax.Array:
    matrices = {path[:-1]: matrix.reshape(-1, *matrix.shape[-2:]) for path, matrix in gradients.items()}
    return sum_by_layer([Observation(jnp.ones(len(m)), m, path) for path, m in matrices.items()], layer_of)

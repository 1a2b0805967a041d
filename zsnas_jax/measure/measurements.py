"""Measurements a network: one forward pass, and at most two ways back, that serve every proxy asked for.

Nothing of a response is stored: statistics are taken where it passes. Axes: N batch, L layers, P positions along an
`nn.scan` (1 outside one), D features.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import optax

from zsnas_jax.base import ResponseMatrices
from zsnas_jax.measure.correlation import response_matrix
from zsnas_jax.measure.network import Network, Observation, num_stacked_axes, run
from zsnas_jax.nn.probes import LayerOf, Observers, Path, Site

NEEDS = frozenset({"activations", "gradients", "kernel_gradients", "fisher", "jacobian", "labels"})
"""What a proxy can ask of the shared pass; see `Measurements`."""

_WITH_LOSS = frozenset({"gradients", "kernel_gradients", "fisher"})
_WITH_LABELS = _WITH_LOSS | {"labels"}


class Measurements(NamedTuple):
    """What the shared pass found, for proxies to score; a field that no proxy of the set needs is None.

    Attributes:
        network: the network itself, for proxies that run it on their own.
        responses: ResponseMatrices float[L, N, N]; "activations" and "gradients" are needs of their own.
        observed: observations of the sites by name of the statistic, as asked by `Proxy.observe`.
        kernel_gradients: gradient of the loss with respect to the parameters, a tree like `network.params`.
        fisher: float[], the sum over weight layers of the Fisher score.
        jacobian: float[N, D], gradient of the sum of all logits of the batch with respect to each picture.
    """

    network: Network
    responses: Any = None
    observed: Mapping[str, list[Observation]] = MappingProxyType({})
    kernel_gradients: Any = None
    fisher: Any = None
    jacobian: Any = None


def mean_cross_entropy(logits: jax.Array, label: Any) -> jax.Array:
    """Mean over the batch of -log softmax(logits)[label]: logits float[N, K], label int[N]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


def number_layers(sites: Iterable[tuple[Path, int]]) -> LayerOf:
    """The default layers: the top-level modules in order of their first site; each position of a scan is its own.

    Args:
        sites: (path, number of positions) in order of execution.
    """
    order = dict.fromkeys((path[:1], position) for path, count in sites for position in range(count))
    number = {name: i for i, name in enumerate(order, start=1)}
    return lambda path, position: number[path[:1], position]


def _by_layer(matrices: list[Observation], network: Network) -> jax.Array:
    """Sums of times * value per layer: [P, N, N] values to float[L, N, N]."""
    places = [(o.path, i) for o in matrices for i in range(len(o.times))]
    layer_of = network.layer_of or number_layers((o.path, len(o.times)) for o in matrices)
    layers = np.array([layer_of(*place) for place in places])
    values = jnp.concatenate([o.times[:, None, None].astype(o.value.dtype) * o.value for o in matrices])
    return jnp.zeros((layers.max(), *values.shape[1:]), values.dtype).at[layers - 1].add(values)


def _site_slots(network: Network) -> dict[Path, jax.Array]:
    """Zeros [N, N], or [P, N, N] under a scan, for every module with sites, by its path."""
    found: list[Observation] = []

    def trace() -> None:
        look: Observers = {Site: {"correlation": response_matrix}}
        found.extend(run(network, network.batch.image, observe=look).observed.get("correlation", []))

    jax.eval_shape(trace)
    if not found:
        raise ValueError(f"{type(network.module).__name__} has no response site: probe one with Site")
    slots: dict[Path, jax.Array] = {}
    for o in found:
        shape = o.value.shape if o.scanned else o.value.shape[1:]
        slots[*o.path, "gradients"] = jnp.zeros(shape, o.value.dtype)
    return slots


def _fisher_slots(params: Any) -> dict[Path, jax.Array]:
    """A zero for every kernel, by its path."""
    kernels = {path: leaf for path, leaf in flatten_dict(params).items() if path[-1] == "kernel"}
    return {path: jnp.zeros(leaf.shape[: num_stacked_axes(leaf)], leaf.dtype) for path, leaf in kernels.items()}


def measure(network: Network, needs: frozenset[str], observe: Mapping[str, Callable[..., Any]]) -> Measurements:
    """One forward pass, and at most two ways back: from the loss, and from the sum of all logits.

    Args:
        network: the network.
        needs: a subset of `NEEDS`.
        observe: further statistics of the sites' activations by name: functions of float[N, ...] to a pytree.

    Raises:
        ValueError: if a need is unknown, labels are needed and missing, or the network has no site and needs one.
    """
    if unknown := needs - NEEDS:
        raise ValueError(f"unknown needs {sorted(unknown)}: allowed are {', '.join(sorted(NEEDS))}")
    if needs & _WITH_LABELS and network.batch.label is None:
        raise ValueError(f"{', '.join(sorted(needs & _WITH_LABELS))}: labels are needed, the batch has none")
    statistics = dict(observe) | ({"correlation": response_matrix} if "activations" in needs else {})
    slots = _site_slots(network) if "gradients" in needs else {}
    # Only what is asked for is differentiated by: XLA does not drop all of a gradient that nobody reads.
    inputs: dict[str, Any] = {"slots": slots} if slots else {}
    inputs |= {"fisher": _fisher_slots(network.params)} if "fisher" in needs else {}
    inputs |= {"params": network.params} if "kernel_gradients" in needs else {}
    inputs |= {"image": network.batch.image} if "jacobian" in needs else {}
    places: dict[str, list[tuple[Path, bool]]] = {}

    def forward(inputs: dict[str, Any]) -> Any:
        image, params = inputs.get("image", network.batch.image), inputs.get("params", network.params)
        tree = unflatten_dict({**inputs.get("slots", {}), **inputs.get("fisher", {})})
        logits, observed = run(network, image, params=params, slots=tree, observe={Site: statistics})
        arrays = {name: [(o.times, o.value) for o in seen] for name, seen in observed.items()}
        places.update({name: [(o.path, o.scanned) for o in seen] for name, seen in observed.items()})
        return logits, arrays

    if inputs:
        logits, pullback, arrays = jax.vjp(forward, inputs, has_aux=True)
    elif statistics:
        logits, arrays = forward(inputs)
    else:
        return Measurements(network)
    observed = {
        name: [Observation(p, times, value, s) for (times, value), (p, s) in zip(seen, places[name], strict=True)]
        for name, seen in arrays.items()
    }
    if statistics and not observed:
        raise ValueError(f"{type(network.module).__name__} has no response site: probe one with Site")
    gradients: dict[str, Any] = {}
    if needs & _WITH_LOSS:
        gradients = pullback(jax.grad(mean_cross_entropy)(logits, network.batch.label))[0]
    jacobian = pullback(jnp.ones_like(logits))[0]["image"].reshape(len(logits), -1) if "jacobian" in needs else None
    activations = _by_layer(observed["correlation"], network) if "activations" in needs else None
    by_layer = _slots_by_layer({path: gradients["slots"][path] for path in slots}, network) if slots else None
    return Measurements(
        network,
        ResponseMatrices(activations, by_layer),
        observed,
        gradients.get("params"),
        sum(leaf.sum() for leaf in gradients["fisher"].values()) if "fisher" in needs else None,
        jacobian,
    )


def _slots_by_layer(gradients: Mapping[Path, jax.Array], network: Network) -> jax.Array:
    stacked = lambda matrix: matrix if matrix.ndim == 3 else matrix[None]
    values = {path[:-1]: stacked(matrix) for path, matrix in gradients.items()}
    return _by_layer([Observation(p, jnp.ones(len(v)), v, True) for p, v in values.items()], network)

"""Responses: what enters the activations of a network, and the loss gradients there.

A site is one application of a non-linear activation. Its response is the tensor that enters it and the gradient of the
mean cross-entropy with respect to that tensor, along that application's own path. There are two readings:

* `capture` returns every response. It works on any Flax linen module, needs memory for all of them, and is the oracle.
* `stream` returns only the sums of |corr| per layer and stores no response: mass scoring. The module must mark its
  sites with `Site`, or call `slot_of`, `tap` and `record` itself where a site sits inside a conditional.

Axes: N batch, L layers.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import optax

from zsnas_jax.base import Batch, ResponseMatrices
from zsnas_jax.correlation import response_matrix

Path = tuple[str, ...]
LayerOf = Callable[[Path, int], int]
"""(path of a site's module, position along its `nn.scan` or 0) to the layer of the site, counted from 1."""

COLLECTIONS = ("slots", "responses", "perturbations", "intermediates")
"""Collections that a network must map over axis 0 in its own `nn.scan` to be read through it."""

_SITES = "sites"  # name of the variable in "slots" and "responses"


class Response(NamedTuple):
    """One site's response.

    Attributes:
        path: the path of the site's module, with the index of the call appended when it is called more than once.
        position: position along `nn.scan`, 0 outside one.
        activation: float[N, ...], what enters the activation.
        gradient: float[N, ...], the gradient of the mean cross-entropy with respect to it.
    """

    path: Path
    position: int
    activation: jax.Array
    gradient: jax.Array


class Site(nn.Module):
    """Identity that marks a response site: write `nn.relu(Site()(x))` where you would write `nn.relu(x)`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns x, float[N, ...], unchanged."""
        if is_recording(self):
            record(self, response_matrix(jax.lax.stop_gradient(x)))
        return tap(x, slot_of(self))


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


def slot_of(module: nn.Module) -> jax.Array | None:
    """The slot float[N, N] that `stream` hands to a module, or None outside it."""
    return module.get_variable("slots", _SITES) if module.has_variable("slots", _SITES) else None


def is_recording(module: nn.Module) -> bool:
    """Whether `stream` is reading a module, rather than `init` or an ordinary call."""
    return module.is_mutable_collection("responses") and not module.is_initializing()


def record(module: nn.Module, matrix: jax.Array) -> None:
    """Adds |corr| of the activations at the module's sites, float[N, N], to what `stream` returns."""
    module.sow("responses", _SITES, matrix, reduce_fn=jnp.add, init_fn=lambda: jnp.zeros((), matrix.dtype))


def is_site(module: nn.Module, method_name: str) -> bool:
    """The predicate that chooses the calls of `Site` modules."""
    return isinstance(module, Site) and method_name == "__call__"


def mean_cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
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


def capture(
    module: nn.Module,
    variables: Any,
    batch: Batch,
    *args: Any,
    sites: Callable[[nn.Module, str], bool] = is_site,
) -> list[Response]:
    """Every response of a network, by `capture_intermediates` and `jax.vjp` at zero perturbations of the same sites.

    Args:
        module: any Flax linen module; `module.apply(variables, image, *args)` returns logits float[N, K].
        variables: its variables.
        batch: the pictures and labels of the loss.
        *args: further arguments of the module, for example a genotype.
        sites: (module, method name) to whether the *output* of that call is a response. The default takes `Site`
            modules. For a module you cannot edit, choose what feeds its activations, for example
            `lambda m, _: isinstance(m, nn.BatchNorm)`: then the gradient is that of everything that reads the output.

    Returns:
        The responses in order of execution.

    Raises:
        ValueError: if no call is chosen.
    """
    ranks: dict[Path, int] = {}

    def perturb(next_fun: Callable[..., Any], call_args: Any, kwargs: Any, context: Any) -> Any:
        output = next_fun(*call_args, **kwargs)
        if not sites(context.module, context.method_name):
            return output
        method = context.method_name
        # Flax's capture appends each call's output to a tuple, in every trace anew: its length counts the calls.
        call = len(context.module.get_variable("intermediates", method, ()))
        ranks[*context.module.path, method, str(call)] = output.ndim
        return context.module.perturb(f"{method}_{call}", output)

    def apply(collections: Any, mutable: list[str]) -> Any:
        with nn.intercept_methods(perturb):
            return module.apply(collections, batch.image, *args, capture_intermediates=sites, mutable=mutable)

    shapes = jax.eval_shape(lambda: apply(variables, ["intermediates", "perturbations"])[1])
    if "perturbations" not in shapes:
        raise ValueError(
            f"{type(module).__name__} has no response site: mark one with Site, or choose calls by `sites`"
        )
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes["perturbations"])

    def loss(perturbations: Any) -> Any:
        logits, state = apply({**variables, "perturbations": perturbations}, ["intermediates"])
        return mean_cross_entropy(logits, batch.label), state["intermediates"]

    value, pullback, intermediates = jax.vjp(loss, zeros, has_aux=True)
    (gradients,) = pullback(jnp.ones_like(value))
    activations, gradients = flatten_dict(intermediates), flatten_dict(gradients)
    responses = []
    for *path, method, call in ranks:
        activation, gradient = activations[*path, method][int(call)], gradients[*path, f"{method}_{call}"]
        site = (*path, call) if len(activations[*path, method]) > 1 else tuple(path)
        stacked = activation.ndim > ranks[*path, method, call]
        pairs = zip(activation, gradient, strict=True) if stacked else [(activation, gradient)]
        responses += [Response(site, i, a, g) for i, (a, g) in enumerate(pairs)]
    return responses


def aggregate(responses: list[Response], layer_of: LayerOf | None = None) -> ResponseMatrices:
    """Sums |corr| of captured responses per layer.

    Args:
        responses: what `capture` returned.
        layer_of: layers of the sites; default `number_layers`.
    """
    layer_of = layer_of or number_layers((response.path, response.position + 1) for response in responses)
    layers = [layer_of(response.path, response.position) for response in responses]

    def stack(arrays: list[jax.Array]) -> jax.Array:
        matrices = [response_matrix(array) for array in arrays]
        total = jnp.zeros((max(layers), *matrices[0].shape), matrices[0].dtype)
        for layer, matrix in zip(layers, matrices, strict=True):
            total = total.at[layer - 1].add(matrix)
        return total

    return ResponseMatrices(stack([r.activation for r in responses]), stack([r.gradient for r in responses]))


def stream(
    module: nn.Module,
    variables: Any,
    batch: Batch,
    *args: Any,
    layer_of: LayerOf | None = None,
    gradients: bool = True,
) -> ResponseMatrices:
    """The sums of |corr| per layer from one forward and one backward pass that store no response.

    Every module with sites has a slot of N x N zeros. A site adds |corr(activation)| to its module's matrix on the
    way forward; on the way back it passes its gradient on and gives |corr(gradient)| as the gradient of the slot.

    Args:
        module: a Flax linen module whose sites are `Site` modules or use `slot_of`, `tap`, `is_recording` and `record`.
        variables: its variables.
        batch: the pictures and labels of the loss.
        *args: further arguments of the module, for example a genotype.
        layer_of: layers of the sites; default `number_layers`.
        gradients: whether the backward pass is needed.

    Returns:
        The same matrices as `aggregate(capture(...))`, up to rounding.

    Raises:
        ValueError: if the module has no site.
    """
    order: list[Path] = []

    def record_order() -> Any:
        state = module.apply(variables, batch.image, *args, mutable=["responses"])[1]
        order.extend(flatten_dict(state.get("responses", {})))
        return state

    shapes = flatten_dict(jax.eval_shape(record_order).get("responses", {}))
    if not shapes:
        raise ValueError(f"{type(module).__name__} has no response site: mark one with Site")
    slots = unflatten_dict({path: jnp.zeros(leaf.shape, leaf.dtype) for path, leaf in shapes.items()})

    def loss(slots: Any) -> Any:
        logits, state = module.apply({**variables, "slots": slots}, batch.image, *args, mutable=["responses"])
        return mean_cross_entropy(logits, batch.label), state["responses"]

    counts = {path[:-1]: shapes[path].shape[0] if len(shapes[path].shape) > 2 else 1 for path in order}
    layer_of = layer_of or number_layers(counts.items())
    layers = {path: [layer_of(path, position) for position in range(count)] for path, count in counts.items()}

    def stack(matrices: Any) -> jax.Array:
        flat = {path[:-1]: matrix.reshape(-1, *matrix.shape[-2:]) for path, matrix in flatten_dict(matrices).items()}
        total = jnp.zeros((max(map(max, layers.values())), *next(iter(flat.values())).shape[1:]))
        for path, matrix in flat.items():
            total = total.at[jnp.array(layers[path]) - 1].add(matrix)
        return total

    if not gradients:
        return ResponseMatrices(stack(loss(slots)[1]), None)
    gradient, activations = jax.grad(loss, has_aux=True)(slots)
    return ResponseMatrices(stack(activations), stack(gradient))

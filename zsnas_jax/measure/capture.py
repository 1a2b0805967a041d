"""Every response of a network, by `capture_intermediates` and `jax.vjp`.

A response site is one application of a non-linear activation. Its response is the tensor that enters it and the
gradient of the loss with respect to that tensor, along that application's own path. `capture` returns them for any Flax
linen module, whether marked with `zsnas_jax.nn.probes.Site` or not, as an ordinary call computes them; it needs memory
for all of them, and is what `zsnas_jax.measure.measurements.measure`, which keeps only sums of |corr|, is held against.

Axes: N batch, L layers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp

from zsnas_jax.base import Batch, Path, ResponseMatrices
from zsnas_jax.correlation import response_matrix
from zsnas_jax.measure.losses import Loss, cross_entropy
from zsnas_jax.measure.measurements import number_layers
from zsnas_jax.nn.probes import LayerOf, Predicate, is_site


class Response(NamedTuple):
    """One site's response.

    Attributes:
        path: the path of the site's module, with the index of the call appended when it is called more than once.
        position: position along `nn.scan`, 0 outside one.
        activation: float[N, ...], what enters the activation.
        gradient: float[N, ...], the gradient of the loss with respect to it.
    """

    path: Path
    position: int
    activation: jax.Array
    gradient: jax.Array


def capture(
    module: nn.Module,
    variables: Any,
    batch: Batch,
    *args: Any,
    sites: Predicate = is_site,
    loss: Loss = cross_entropy,
    **keywords: Any,
) -> list[Response]:
    """Every response of a network, by `jax.vjp` at zero perturbations of the same sites.

    Args:
        module: any Flax linen module; `module.apply(variables, image, *args, **keywords)` returns logits.
        variables: its variables.
        batch: the pictures and labels of the loss.
        *args: further arguments of the module, for example a genotype.
        sites: (module, method name) to whether the *output* of that call is a response. The default takes `Site`
            modules. For a module you cannot edit, choose what feeds its activations, for example
            `lambda m, _: isinstance(m, nn.BatchNorm)`: then the gradient is that of everything that reads the output.
        loss: of logits and labels.
        **keywords: further keyword arguments of the module.

    Returns:
        The responses in order of execution.

    Raises:
        ValueError: if no call is chosen.
    """
    ranks: dict[Path, int] = {}

    def apply(collections: Any, mutable: list[str]) -> Any:
        with nn.intercept_methods(_perturbing(sites, ranks)):
            return module.apply(
                collections, batch.image, *args, capture_intermediates=sites, mutable=mutable, **keywords
            )

    shapes = jax.eval_shape(lambda: apply(variables, ["intermediates", "perturbations"])[1])
    if "perturbations" not in shapes:
        raise ValueError(
            f"{type(module).__name__} has no response site: mark what enters its activations with Site, or choose it "
            "by `sites`"
        )
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes["perturbations"])

    def run(perturbations: Any) -> Any:
        logits, state = apply({**variables, "perturbations": perturbations}, ["intermediates"])
        return loss(logits, batch.label), state["intermediates"]

    value, pullback, intermediates = jax.vjp(run, zeros, has_aux=True)
    (gradients,) = pullback(jnp.ones_like(value))
    return _pair(ranks, flatten_dict(intermediates), flatten_dict(gradients))


def _perturbing(sites: Predicate, ranks: dict[Path, int]) -> Callable[..., Any]:
    """An interceptor that adds a perturbation to the output of every call chosen, and notes the output's rank.

    The key in `ranks` is the module's path, the method, and the number of the call.
    """

    def perturb(next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        output = next_fun(*args, **kwargs)
        if not sites(context.module, context.method_name):
            return output
        method = context.method_name
        # Flax's capture appends each call's output to a tuple, in every trace anew: its length counts the calls.
        call = len(context.module.get_variable("intermediates", method, ()))
        ranks[*context.module.path, method, str(call)] = output.ndim
        return context.module.perturb(f"{method}_{call}", output)

    return perturb


def _pair(ranks: dict[Path, int], activations: dict[Path, Any], gradients: dict[Path, Any]) -> list[Response]:
    """Outputs and gradients as responses; those of a scanned module, which have an axis more, one by one."""
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

"""Scores of one network with given weights: any Flax module, or one that a space has drawn."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.base import Batch, Proxy, check_identities
from zsnas_jax.measure.costs import count_multiply_adds, count_params
from zsnas_jax.measure.losses import Loss, cross_entropy
from zsnas_jax.measure.measurements import asked_for, check_needs, measure, measurements_for
from zsnas_jax.measure.network import Network, enough_range, forward, with_weights
from zsnas_jax.nn.foreign import refuse_nnx
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.probes import LayerOf, OutsideProbes, Predicate
from zsnas_jax.nn.roles import TellRoles


def degenerate_to_minus_inf(scores: jax.Array) -> jax.Array:
    """The policy for scores that are not finite: -inf, never NaN, so that they rank last and can be counted."""
    return jnp.where(jnp.isfinite(scores), scores, -jnp.inf)


@jax.default_matmul_precision("highest")
def score_network(network: Network, proxies: Sequence[Proxy]) -> jax.Array:
    """Scores of one network, float[P], -inf where a score is undefined; traces under jit, vmap and scan.

    Proxies that `prepare` the network alike share one pass. Products are float32 on every device: a GPU's default,
    TF32, keeps ten bits, and a log-determinant amplifies what it drops.

    Raises:
        ValueError: if two proxies are of one identity, or the network lacks what a proxy needs.
    """
    check_identities(proxies)
    scores: list[Any] = [None] * len(proxies)
    for prepare in dict.fromkeys(proxy.prepare for proxy in proxies):
        group = {place: proxy for place, proxy in enumerate(proxies) if proxy.prepare == prepare}
        with enough_range(prepare(network) if prepare else network) as prepared:
            for proxy in group.values():
                check_needs(prepared, proxy.needs, f"proxy {proxy.name}")
            measured = measure(prepared, *asked_for(list(group.values())))
            for place, proxy in group.items():
                scores[place] = jnp.asarray(proxy.score(measurements_for(proxy, measured))).astype(jnp.float32)
    return degenerate_to_minus_inf(jnp.stack(scores))


def score_module(
    key: jax.Array,
    module: nn.Module,
    variables: Any,
    batch: Batch,
    *args: Any,
    proxies: Sequence[Proxy],
    options: LayerOptions | None = None,
    layer_of: LayerOf | None = None,
    sites: Predicate | None = None,
    layers: Predicate | None = None,
    features: Predicate | None = None,
    roles: TellRoles | None = None,
    loss: Loss = cross_entropy,
    with_dropout: bool = False,
    is_homogeneous: bool = False,
    **keywords: Any,
) -> jax.Array:
    """Scores of any Flax module with given variables, float[P].

    Batch norms normalise by the batch under score, whatever they are told; dropout is off.

    Args:
        key: draws noise and masks, where a proxy wants them.
        module: `module.apply(variables, image, *args, **keywords)` returns logits float[N, ...]; of flax.linen, with
            probes as `zsnas_jax.nn.probes` says, as far as the proxies need them.
        variables: its collections, "params" among them.
        batch: pictures and labels; the labels may be None for proxies that need none.
        *args: further arguments of the module.
        proxies: what to compute.
        options: norm, mask and activation; default batch norm by the batch's statistics, no mask.
        layer_of: layers of the sites; default the top-level modules, in order.
        sites: (module, name of its method) to whether what that call returns enters an activation; beside the probes
            `Site` that are there.
        layers: likewise, whether it is the output of a layer (`LayerOutput`).
        features: likewise, whether it is the feature map before pooling (`Features`).
        roles: a module to what its own parameters are (`zsnas_jax.nn.roles`), or None where it is a layer of Flax or
            tells it itself.
        loss: of logits and labels, whose gradients are taken (`zsnas_jax.measure.losses`).
        with_dropout: whether dropout works as its modules say.
        is_homogeneous: whether the module, without norms and biases, is positively homogeneous in its input and in each
            marked layer; then SynFlow and Phi rescale layers instead of computing in float64.
        **keywords: further keyword arguments of the module, for example `train=True`.

    Raises:
        ValueError: if the module lacks what a proxy or the options need, or is none of flax.linen.
    """
    refuse_nnx(module)
    variables = nn.unbox(variables)  # large models box their parameters with names of axes
    if "params" not in variables:
        raise ValueError(f"variables of {type(module).__name__} have no collection params: they hold {[*variables]}")
    network = Network(
        module=module,
        variables=variables,
        batch=batch,
        args=args,
        key=key,
        options=options or LayerOptions(),
        layer_of=layer_of,
        is_active=lambda path: True,
        num_params=count_params(variables["params"]),
        num_flops=0,
        weights={},
        keywords=keywords,
        loss=loss,
        probes=OutsideProbes(sites, layers, features),
        is_homogeneous=is_homogeneous,
        with_dropout=with_dropout,
    )
    image = jax.ShapeDtypeStruct((1, *batch.image.shape[1:]), batch.image.dtype)
    network = with_weights(network, roles)
    logits = jax.eval_shape(lambda image: forward(network, image).logits, image)
    if not isinstance(logits, jax.ShapeDtypeStruct):
        raise ValueError(f"{network.name} returns {type(logits).__name__}: needed are logits, one array")
    num_flops = count_multiply_adds(lambda image: forward(network, image).logits, image)

    @jax.jit  # op by op it would compile hundreds of small programs
    def score(key: jax.Array, variables: Any, batch: Batch) -> jax.Array:
        own = network._replace(key=key, variables=variables, batch=batch, num_flops=num_flops)
        return score_network(own, proxies)

    return score(key, variables, batch)

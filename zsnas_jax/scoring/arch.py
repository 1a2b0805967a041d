"""Scores of one architecture of a space at one initialisation, inside any program."""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.base import Arch, Batch, Path, Proxy, SearchSpace, check_pictures
from zsnas_jax.measure.blocks import ChainNetwork, chosen
from zsnas_jax.measure.chain import draw_dispatched
from zsnas_jax.measure.losses import Loss
from zsnas_jax.measure.network import Network
from zsnas_jax.nn.initializers import Initializer, draw_kernels, kaiming_uniform
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.weights import Weight, init_with_weights
from zsnas_jax.scoring.network import score_network
from zsnas_jax.scoring.scorer import where_connected
from zsnas_jax.tasks import loss_of


def score_arch(
    key: jax.Array,
    arch: Arch,
    batch: Batch,
    *,
    space: SearchSpace,
    proxies: Sequence[Proxy],
    num_classes: int,
    initializer: Initializer = kaiming_uniform,
    options: LayerOptions | None = None,
    loss: Loss | None = None,
    variant: int | None = None,
) -> jax.Array:
    """Scores of one architecture at one initialisation; traces under jit, vmap and scan.

    Args:
        key: draws the weights, and the noise and masks of proxies that want them.
        arch: a genotype of the space, traced or not.
        batch: pictures and labels.
        space: the search space.
        proxies: what to compute; they share their forward and backward passes.
        num_classes: width of the logits.
        initializer: distribution of every kernel.
        options: norm, mask and activation of the network under score.
        loss: of logits and labels; None: of the space's task.
        variant: the network of the space that serves the architecture, if it is known; else all are compiled, and one
            is chosen at run time.

    Returns:
        float32[P], -inf where a score is undefined.

    Raises:
        ValueError: if networks of the space take no traced genotype, or no pictures of this size.
    """
    if not space.is_dispatched:
        raise ValueError(f"networks of space {space.name} take no traced genotype: score them by make_scorer")
    if space.num_variants > 1 and variant is None:
        own: dict[str, Any] = {"num_classes": num_classes, "initializer": initializer, "options": options, "loss": loss}
        score = functools.partial(score_arch, space=space, proxies=proxies, **own)
        branches = [functools.partial(score, variant=v) for v in range(space.num_variants)]
        return lax.switch(space.variant_of(arch), branches, key, arch, batch)
    check_pictures(space, batch.image)
    choice, arch = {"variant": variant} if space.num_variants > 1 else {}, jax.tree.map(jnp.asarray, arch)
    module = space.make_network(num_classes=num_classes, **choice)
    params, weights, is_active = draw_params(key, arch, batch, space=space, module=module, initializer=initializer)
    network = Network(
        module=module,
        variables={"params": params},
        batch=batch,
        args=(arch,),
        key=jax.random.fold_in(key, 1),
        options=options or LayerOptions(),
        layer_of=space.layer_of,
        is_active=is_active,
        num_params=space.num_params(arch, num_classes) if space.num_params else _count_active(params, space, arch),
        num_flops=space.num_flops(arch, num_classes, batch.image.shape[1]) if space.num_flops else None,
        weights=weights,
        loss=loss or loss_of(space),
        is_homogeneous=space.is_homogeneous,
        initializer=initializer,
    )
    return where_connected(space, arch, proxies, score_network(network, proxies))


def _count_active(params: Any, space: SearchSpace, arch: Arch) -> jax.Array:
    """Entries of the parameters of a network that an architecture has, int32[]."""
    mask_of = space.is_active(arch)
    masks = [(leaf, mask_of(path, leaf.shape)) for path, leaf in flatten_dict(params).items()]
    return jnp.asarray(sum(jnp.sum(mask) * (leaf.size // jnp.size(mask)) for leaf, mask in masks))


def draw_params(
    key: jax.Array,
    arch: Arch,
    batch: Batch,
    *,
    space: SearchSpace,
    module: nn.Module,
    initializer: Initializer = kaiming_uniform,
) -> tuple[Any, dict[Path, Weight], Callable[[Path], Any]]:
    """Parameters of an architecture in a module of its space, what they are, and which entries of them it has, by path.

    Entries that are padding are zero; the others of such a kernel have the scale of its true fan.
    """
    if isinstance(module, ChainNetwork):
        steps = module.list_steps(arch, module.num_classes)
        params, weights = draw_dispatched(key, steps, batch.image.shape[1:], initializer)
        has = chosen(steps)
        by_path = {path: has(path, leaf.shape) for path, leaf in flatten_dict(params).items()}
        return params, weights, by_path.__getitem__
    variables, weights = init_with_weights(module, key, batch.image[:1], arch)
    params = draw_kernels(key, variables["params"], weights, initializer)
    flat, active, mask_of = flatten_dict(params), {}, space.is_active(arch)
    for path, leaf in flat.items():
        weight = weights[path]
        mask = active[path] = mask_of(path, leaf.shape)
        if jnp.ndim(mask) and weight.kernel:
            mask = jnp.broadcast_to(mask, leaf.shape)
            rescale = functools.partial(initializer.rescale, weight.kernel)
            scales = jnp.asarray(jax.vmap(rescale)(weight.by_position(mask)))
            flat[path] = jnp.where(mask, leaf * weight.spread(scales, leaf.shape), 0.0)
    return unflatten_dict(flat), weights, active.__getitem__

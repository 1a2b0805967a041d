"""A program for each architecture: its network is built for it alone, by `SearchSpace.static`.

The plainest kind, for any space that can be trained: every proxy and all options are served. Compiling takes longer
than running, so programs are kept, as many as a limit allows. Weights are those of the other kinds: cut out of the
dispatched network's, or drawn as the chain draws them.
"""

from collections.abc import Sequence
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import numpy as np

from zsnas_jax.base import Arch, Batch, Path, Proxy, SearchSpace
from zsnas_jax.measure.losses import Loss
from zsnas_jax.measure.network import Network
from zsnas_jax.measure.programs import Programs
from zsnas_jax.nn.initializers import Initializer, draw_kernels
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.weights import Weight, init_with_weights
from zsnas_jax.scoring.arch import draw_params
from zsnas_jax.scoring.network import score_network
from zsnas_jax.scoring.scorer import Scorer, running, the_candidate, where_connected

KEPT = 32
"""Programs that are kept: a whole network each."""


def select_params(space: SearchSpace, params: Any, shapes: Any) -> Any:
    """Of a dispatched network's parameters those of a network built for one architecture, cut to its shapes.

    Args:
        space: says by `locate` where they stand.
        params: the "params" collection of the dispatched network.
        shapes: a "params" collection of the other, of arrays or their shapes.
    """
    flat, found = flatten_dict(params), {}
    for path, leaf in flatten_dict(shapes).items():
        where, place = space.locate(path)
        found[path] = flat[where][(*place, *(slice(0, size) for size in leaf.shape))]
    return unflatten_dict(found)


def draw_static(
    key: jax.Array,
    arch: Arch,
    batch: Batch,
    *,
    space: SearchSpace,
    num_classes: int,
    initializer: Initializer,
) -> tuple[Any, dict[Path, Weight]]:
    """(parameters of the network built for an architecture, what they are); the weights that other programs draw."""
    assert space.static is not None
    variant = {"variant": int(space.variant_of(np.asarray(arch)))} if space.num_variants > 1 else {}
    module, found = space.make_network(num_classes=num_classes, **variant), {}

    def init() -> Any:
        variables, found["weights"] = init_with_weights(module, key, batch.image[:1], space.static(arch))  # type: ignore[misc]
        return variables

    shapes = jax.eval_shape(init)["params"]
    if space.chain is not None:
        params = space.chain.draw_params(key, arch, num_classes, initializer)
    elif space.is_dispatched:
        draw = lambda key, arch: draw_params(key, arch, batch, space=space, module=module, initializer=initializer)[0]
        params = select_params(space, jax.jit(draw)(key, arch), shapes)
    else:
        draw_own = lambda key: draw_kernels(
            key,
            module.init(key, batch.image[:1], space.static(arch))["params"],
            found["weights"],
            initializer,
        )
        params = jax.jit(draw_own)(key)
    return params, found["weights"]


def make_static(
    key: jax.Array,
    space: SearchSpace,
    proxies: Sequence[Proxy],
    *,
    num_classes: int,
    initializer: Initializer,
    options: LayerOptions,
    loss: Loss,
    resample: bool,
    devices: Sequence[jax.Device] | None = None,
) -> Scorer:
    """As `zsnas_jax.scoring.make_scorer`, which says what the arguments are; a candidate a call, on one device."""
    programs = Programs(KEPT)
    device = next(iter(devices or jax.local_devices()))

    def score(archs: Arch, repeats: Any, batch: Batch) -> np.ndarray:
        arch, own_batch, arch_key = the_candidate(key, space, archs, repeats, batch, resample=resample)
        own: dict[str, Any] = {"space": space, "num_classes": num_classes, "initializer": initializer}
        params, weights = draw_static(arch_key, arch, own_batch, **own)
        variant = {"variant": int(space.variant_of(np.asarray(arch)))} if space.num_variants > 1 else {}

        def run(params: Any, batch: Batch, key: jax.Array) -> jax.Array:
            network = Network(
                module=space.make_network(num_classes=num_classes, **variant),
                variables={"params": params},
                batch=batch,
                args=(space.static(arch),),  # type: ignore[misc]
                key=key,
                options=options,
                layer_of=space.layer_of,
                is_active=lambda path: True,
                num_params=sum(leaf.size for leaf in jax.tree.leaves(params)),
                num_flops=space.num_flops(arch, num_classes, batch.image.shape[1]) if space.num_flops else None,
                weights=weights,
                loss=loss,
                is_homogeneous=space.is_homogeneous,
                initializer=initializer,
            )
            return score_network(network, proxies)

        arguments = jax.device_put((params, own_batch, jax.random.fold_in(arch_key, 1)), device)
        compiled = programs.compiled(run, space.encode(arch), *arguments)
        return where_connected(space, arch, proxies, running(compiled, *arguments))[None]

    return Scorer(score, 1, lambda: programs.num_compiled, "static")

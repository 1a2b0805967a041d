"""Scoring many architectures with one compiled program.

The program draws an architecture's weights, streams its responses and scores every proxy. It runs a loop over its
candidates whose length is data, so that any number of architectures is one compilation per (space, proxies, batch
shape), and it runs on every local device at once, the candidates shared among them.

Axes: M candidates of a call (architectures times repeats), N batch, P proxies.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
import numpy as np

from zsnas_jax.base import Arch, Batch, Proxy, SearchSpace, fingerprint
from zsnas_jax.measure import piecewise
from zsnas_jax.measure.costs import count_multiply_adds, count_params
from zsnas_jax.measure.measurements import measure
from zsnas_jax.measure.network import Network, run
from zsnas_jax.nn.initializers import Initializer, draw_kernels, kaiming_uniform
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.probes import LayerOf, Path

STEPS_PER_CALL = 8
"""Steps of a device between two reports: about two seconds on a CPU. Fewer would pay for memory pages anew."""


def degenerate_to_minus_inf(scores: jax.Array) -> jax.Array:
    """The policy for scores that are not finite: -inf, never NaN, so that they rank last and can be counted."""
    return jnp.where(jnp.isfinite(scores), scores, -jnp.inf)


@jax.default_matmul_precision("highest")
def score_network(network: Network, proxies: Sequence[Proxy]) -> jax.Array:
    """Scores of one network, float[P], -inf where a score is undefined; traces under jit, vmap and scan.

    Proxies under the same options share one measured of the network. Products are float32 on every device: a GPU's
    default, TF32, keeps ten bits, and a log-determinant amplifies what it drops.
    """
    scores: dict[str, jax.Array] = {}
    for options in dict.fromkeys(proxy.options for proxy in proxies):
        group = [proxy for proxy in proxies if proxy.options == options]
        own = network._replace(options=options or network.options)
        needs = frozenset().union(*(proxy.needs for proxy in group))
        measured = measure(own, needs, {name: fn for proxy in group for name, fn in proxy.observe.items()})
        scores |= {proxy.name: proxy.score(measured) for proxy in group}
    return degenerate_to_minus_inf(jnp.stack([jnp.float32(scores[proxy.name]) for proxy in proxies]))


def score_module(
    key: jax.Array,
    module: nn.Module,
    variables: Any,
    batch: Batch,
    *args: Any,
    proxies: Sequence[Proxy],
    options: LayerOptions | None = None,
    layer_of: LayerOf | None = None,
) -> jax.Array:
    """Scores of any Flax module with given variables, float[P].

    Args:
        key: draws noise and masks, where a proxy wants them.
        module: `module.apply(variables, image, *args)` returns logits float[N, K]; marked as `zsnas_jax.nn.probes` says, as
            far as the proxies need it.
        variables: its collections, "params" among them.
        batch: pictures and labels; the labels may be None for proxies that need none.
        *args: further arguments of the module.
        proxies: what to compute.
        options: norm, mask and activation; default batch norm by the batch's statistics, no mask.
        layer_of: layers of the sites; default the top-level modules, in order.

    Raises:
        ValueError: if the module lacks what a proxy or the options needs.
    """
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
    )
    image = jax.ShapeDtypeStruct((1, *batch.image.shape[1:]), batch.image.dtype)
    num_flops = count_multiply_adds(lambda image: run(network, image).logits, image)
    return score_network(network._replace(num_flops=num_flops), proxies)


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
        variant: the network of the space that serves the architecture, if it is known; else all are compiled, and one
            is chosen at run time.

    Returns:
        float32[P], -inf where a score is undefined.
    """
    if space.pieces:
        raise ValueError(f"space {space.name} is read piece by piece: score it by make_scorer")
    if space.num_variants > 1 and variant is None:
        own: dict[str, Any] = {"num_classes": num_classes, "initializer": initializer, "options": options}
        score = functools.partial(score_arch, space=space, proxies=proxies, **own)
        branches = [functools.partial(score, variant=v) for v in range(space.num_variants)]
        return lax.switch(space.variant_of(arch), branches, key, arch, batch)
    options = {"variant": variant} if space.num_variants > 1 else {}
    network = space.make_network(num_classes=num_classes, **options)
    params, is_active = draw_params(key, arch, batch, space=space, network=network, initializer=initializer)
    network = Network(
        module=network,
        variables={"params": params},
        batch=batch,
        args=(arch,),
        key=jax.random.fold_in(key, 1),
        options=options or LayerOptions(),
        layer_of=space.layer_of,
        is_active=is_active,
        num_params=space.num_params(arch, num_classes) if space.num_params else _count_active(params, space, arch),
        num_flops=space.num_flops(arch, num_classes, batch.image.shape[1]) if space.num_flops else None,
    )
    return score_network(network, proxies)


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
    network: nn.Module,
    initializer: Initializer = kaiming_uniform,
) -> tuple[Any, Callable[[Path], Any]]:
    """Parameters of an architecture in a network of its space, and which of them it has at all, by path.

    Entries that are padding are zero; the others of such a kernel have the scale of its true fan.
    """
    params = network.init(key, batch.image[:1], arch)["params"]
    flat, active, mask_of = flatten_dict(draw_kernels(key, params, initializer)), {}, space.is_active(arch)
    for path, leaf in flat.items():
        mask = mask_of(path, leaf.shape)
        active[path] = jnp.any(mask)
        if jnp.ndim(mask) and path[-1] == "kernel":
            mask = jnp.broadcast_to(mask, leaf.shape)
            flat[path] = jnp.where(mask, leaf * initializer.rescale(mask), 0.0)
    return unflatten_dict(flat), active.__getitem__


class Scorer(NamedTuple):
    """A compiled scoring program.

    Attributes:
        score: (archs [M, ...], repeats int32[M], batch) to float32[M, P]. With `resample` the batch has a leading axis
            M. A call takes at most `capacity` candidates; fewer cost no more than their share. RuntimeError says what
            failed while it ran; what is wrong with the proxies or their input is a ValueError of the first call.
        capacity: the most candidates of a call.
        num_compilations: () to how many programs have been compiled.
    """

    score: Callable[[Arch, Any, Batch], np.ndarray]
    capacity: int
    num_compilations: Callable[[], int]


def _loop(
    score_one: Callable[..., jax.Array], num_proxies: int, per_device: int, candidates_per_step: int, resample: bool
) -> Callable[..., jax.Array]:
    """One device's program: a loop of steps, as long as its data says, each a vmapped slice or a single candidate."""

    def score_shard(num_candidates: jax.Array, archs: Arch, repeats: jax.Array, batches: Batch) -> jax.Array:
        def step(i: jax.Array, scores: jax.Array) -> jax.Array:
            start = i * candidates_per_step
            take = lambda array: lax.dynamic_slice_in_dim(array, start, candidates_per_step)
            step_batch = jax.tree.map(take, batches) if resample else batches
            if candidates_per_step == 1:
                first = lambda tree: jax.tree.map(lambda array: array[0], tree)
                own = first(step_batch) if resample else step_batch
                values = score_one(first(jax.tree.map(take, archs)), take(repeats)[0], own)[None]
            else:
                axes = (0, 0, 0 if resample else None)
                values = jax.vmap(score_one, axes)(jax.tree.map(take, archs), take(repeats), step_batch)
            return lax.dynamic_update_slice_in_dim(scores, values, start, 0)

        num_steps = (num_candidates[0] + candidates_per_step - 1) // candidates_per_step
        return lax.fori_loop(0, num_steps, step, jnp.full((per_device, num_proxies), -jnp.inf))

    return score_shard


def make_scorer(
    key: jax.Array,
    space: SearchSpace,
    proxies: Sequence[Proxy],
    *,
    num_classes: int,
    initializer: Initializer = kaiming_uniform,
    options: LayerOptions | None = None,
    candidates_per_step: int = 1,
    resample: bool = False,
    devices: Sequence[jax.Device] | None = None,
) -> Scorer:
    """Builds the program that scores architectures of a space; one program for each of its variants.

    An architecture's weights come from `key`, its genes and the number of the repeat alone: its score depends neither
    on chunking, nor on the order, nor on the number of devices.

    Args:
        key: root of all weights.
        space: the search space.
        proxies: what to compute.
        num_classes: width of the logits.
        initializer: distribution of every kernel.
        options: norm, mask and activation of the networks under score.
        candidates_per_step: how many candidates a device works on at once (vmap). 1 on a CPU: vmap turns the dispatch
            into running every operation. More fill a GPU. Scores agree to a relative 1e-3.
        resample: whether every candidate brings its own batch.
        devices: what to run on; default all local devices.

    Returns:
        The programs, each compiled at the first call that needs it. A space that is read in `pieces` takes a candidate
        a call, on the first device.

    Raises:
        ValueError: if candidates_per_step is below 1, or a space's pieces do not serve a proxy or the options.
    """
    if candidates_per_step < 1:
        raise ValueError(f"candidates_per_step is {candidates_per_step}: at least 1 is needed")
    own: dict[str, Any] = {"num_classes": num_classes, "initializer": initializer}
    own["options"] = options or LayerOptions()
    if space.pieces:
        score, kept = piecewise.make_score(key, space, proxies, resample=resample, **own)
        return Scorer(score, 1, lambda: kept.num_compiled)
    devices = list(devices or jax.local_devices())
    per_device = STEPS_PER_CALL * candidates_per_step
    score_network: Callable[..., jax.Array] = functools.partial(score_arch, space=space, proxies=proxies, **own)

    def score_one(variant: int, arch: Arch, repeat: jax.Array, batch: Batch) -> jax.Array:
        arch_key = jax.random.fold_in(jax.random.fold_in(key, fingerprint(arch)), repeat)
        return score_network(arch_key, arch, batch, variant=variant)

    variants = [functools.partial(score_one, v) for v in range(space.num_variants)]
    loops = [_loop(variant, len(proxies), per_device, candidates_per_step, resample) for variant in variants]
    shared, split = PartitionSpec(), PartitionSpec("candidates")
    specs: dict[str, Any] = {"in_specs": (split, split, split, split if resample else shared), "out_specs": split}
    specs |= {"mesh": Mesh(np.array(devices), ("candidates",)), "check_vma": False}
    programs = [jax.jit(jax.shard_map(loop, **specs)) for loop in loops]
    return _deal(space, programs, per_device, len(devices), resample)


def _deal(space: SearchSpace, programs: Sequence[Any], per_device: int, num_devices: int, resample: bool) -> Scorer:
    """The scorer that deals candidates out to the programs of their variants, and there to devices."""
    capacity = per_device * num_devices
    # Like cards, so that every device gets its share of a call that is not full.
    seats = np.arange(capacity).reshape(per_device, num_devices).T.ravel()
    compiled: dict[Any, Callable[..., jax.Array]] = {}

    def score(archs: Arch, repeats: Any, batch: Batch) -> np.ndarray:
        repeats = np.asarray(repeats, np.int32)
        if not 1 <= len(repeats) <= capacity:
            raise ValueError(f"{len(repeats)} candidates in one call: allowed are 1 to {capacity}")
        variants = np.array(jax.vmap(space.variant_of)(jax.tree.map(jnp.asarray, archs))) if len(programs) > 1 else 0
        scores: Any = None
        for variant in np.unique(variants):
            members = np.flatnonzero(np.broadcast_to(variants == variant, repeats.shape))
            deal = lambda array, members=members: np.asarray(array)[members[np.minimum(seats, len(members) - 1)]]
            counts = (seats.reshape(num_devices, per_device) < len(members)).sum(1)
            batches = jax.tree.map(deal, batch) if resample else batch
            dealt = _run(programs[variant], compiled, counts, jax.tree.map(deal, archs), deal(repeats), batches)
            scores = np.empty((len(repeats), dealt.shape[1]), dealt.dtype) if scores is None else scores
            in_order = np.empty_like(dealt)
            in_order[seats] = dealt
            scores[members] = in_order[: len(members)]
        return scores

    return Scorer(score, capacity, lambda: len(compiled))


def _run(program: Any, compiled: dict[Any, Callable[..., jax.Array]], *arguments: Any) -> np.ndarray:
    """Compiles a program for arguments of new shapes, keeps it, and runs it.

    The two are apart, so that what is wrong with a program is told from what goes wrong while it runs.
    """
    case = (id(program), *(np.shape(leaf) for leaf in jax.tree.leaves(arguments)))
    if case not in compiled:
        compiled[case] = program.lower(*arguments).compile()
    try:
        return np.asarray(compiled[case](*arguments))
    except Exception as error:
        raise RuntimeError(_last_line(error)) from error


def _last_line(error: Exception) -> str:
    """The last line of a traceback that came through a callback, else the first of the message: what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in str(error) else lines[0]) if lines else type(error).__name__

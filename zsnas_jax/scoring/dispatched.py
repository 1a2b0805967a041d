"""One compiled program scores many architectures: the genotype is data.

The program draws an architecture's weights, streams its responses and scores every proxy. It runs a loop over its
candidates whose length is data, so that any number of architectures is one compilation per (space, variant, proxies,
batch shape), and it runs on every local device at once, the candidates shared among them.

Axes: M candidates of a call (architectures times repeats), N batch, P proxies.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
import numpy as np

from zsnas_jax.base import Arch, Batch, Proxy, SearchSpace, candidate_key
from zsnas_jax.scoring.arch import score_arch
from zsnas_jax.scoring.scorer import Scorer, running

STEPS_PER_CALL = 8
"""Steps of a device between two reports: about two seconds on a CPU. Fewer would pay for memory pages anew."""


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


def make_dispatched(
    key: jax.Array,
    space: SearchSpace,
    proxies: Sequence[Proxy],
    *,
    candidates_per_step: int,
    resample: bool,
    devices: Sequence[jax.Device] | None,
    **own: Any,
) -> Scorer:
    """As `zsnas_jax.scoring.make_scorer`, which says what the arguments are; `own` goes to `score_arch`."""
    devices = list(devices or jax.local_devices())
    per_device = STEPS_PER_CALL * candidates_per_step
    score_one_network: Callable[..., jax.Array] = functools.partial(score_arch, space=space, proxies=proxies, **own)

    def score_one(variant: int, arch: Arch, repeat: jax.Array, batch: Batch) -> jax.Array:
        return score_one_network(candidate_key(key, arch, repeat), arch, batch, variant=variant)

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
            arguments = counts, jax.tree.map(deal, archs), deal(repeats), batches
            case = (int(variant), *(np.shape(leaf) for leaf in jax.tree.leaves(arguments)))
            if case not in compiled:
                compiled[case] = programs[variant].lower(*arguments).compile()
            dealt = running(compiled[case], *arguments)
            scores = np.empty((len(repeats), dealt.shape[1]), dealt.dtype) if scores is None else scores
            in_order = np.empty_like(dealt)
            in_order[seats] = dealt
            scores[members] = in_order[: len(members)]
        return scores

    return Scorer(score, capacity, lambda: len(compiled), "dispatched")

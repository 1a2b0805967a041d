"""Where a search's scores come from: a table on the device, or networks scored as they are proposed.

A source is a function arch to float32[E], E experts, that traces inside the search's scan.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Arch, Batch, Proxy, SearchSpace, candidate_key
from zsnas_jax.measure import latency
from zsnas_jax.measure.latency import Latency
from zsnas_jax.nn.initializers import Initializer, kaiming_uniform
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.scoring import score_arch
from zsnas_jax.search.reference import ScoreFn
from zsnas_jax.storage.store import ResultStore


def table_scores(space: SearchSpace, columns: Any) -> ScoreFn:
    """Scores looked up by published index.

    Args:
        space: with `to_index`.
        columns: float[A] or float[A, E], A all architectures of the space in published order.

    Returns:
        arch to float32[E]; -inf for one that is not of the space (index -1).

    Raises:
        ValueError: if the space has no published order, or the table another length.
    """
    table = jnp.asarray(columns, jnp.float32)
    table = table[:, None] if table.ndim == 1 else table
    if space.to_index is None:
        raise ValueError(f"space {space.name} has no published order: a table cannot be looked up")
    if table.ndim != 2 or len(table) != space.num_archs:
        raise ValueError(f"table of shape {table.shape}: space {space.name} has {space.num_archs} architectures")
    to_index = space.to_index

    def score(arch: Arch) -> jax.Array:
        index = to_index(jnp.asarray(arch))
        return jnp.where(index < 0, -jnp.inf, table[index])

    return score


def canonical_form(space: SearchSpace) -> Callable[[Arch], Arch]:
    """The genotype that stands for all that describe the same architecture, where genes can describe one in many ways.

    That is so where the space judges its genotypes (`is_valid`) and has a published order: then it is the genotype of
    the published row. Elsewhere every genotype stands for itself.
    """
    to_index, from_index = space.to_index, space.from_index
    if space.is_valid is SearchSpace._field_defaults["is_valid"] or to_index is None or from_index is None:
        return lambda arch: arch
    return lambda arch: from_index(to_index(arch))


def latency_scores(store: ResultStore, space: SearchSpace, kind: Latency) -> Callable[[Arch], float]:
    """Seconds that networks take on this device; each is measured once, and kept in the store at once.

    Args:
        store: of the search.
        space: what is searched.
        kind: how networks are timed.

    Returns:
        arch, not traced, to seconds.
    """
    known = store.get(kind)

    def score(arch: Arch) -> float:
        name = space.encode(arch)
        if name not in known:
            known[name] = latency.measure(space, arch, kind)
            store.add([name], [kind], np.array([[known[name]]]))
        return known[name]

    return score


def live_scores(
    key: jax.Array,
    space: SearchSpace,
    proxies: Sequence[Proxy],
    batch: Batch,
    *,
    num_classes: int,
    initializer: Initializer = kaiming_uniform,
    options: LayerOptions | None = None,
    canonical: Callable[[Arch], Arch] | None = None,
) -> ScoreFn:
    """Scores of untrained networks, drawn and read inside the scan; the same as `zsnas_jax.scoring.make_scorer`'s.

    Args:
        key: root of all weights.
        space: what is searched; where several networks serve it, all are compiled and one is chosen at run time.
        proxies: E of them; they share their passes.
        batch: pictures and labels.
        num_classes: width of the logits.
        initializer: distribution of every kernel.
        options: norm, mask and activation of the networks under score.
        canonical: arch to the one that is scored in its place; default `canonical_form(space)`.

    Returns:
        arch to float32[E], -inf where a score is undefined.
    """
    canonical = canonical or canonical_form(space)

    def score(arch: Arch) -> jax.Array:
        arch = canonical(arch)
        return score_arch(
            # As in `make_scorer`, of whose repeats this is the first.
            candidate_key(key, arch, 0),
            arch,
            batch,
            space=space,
            proxies=proxies,
            num_classes=num_classes,
            initializer=initializer,
            options=options,
        )

    return score

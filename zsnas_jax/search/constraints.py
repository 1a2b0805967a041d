"""Search under a limit on parameters, on multiply-adds, or on anything else: a smaller space. A architectures."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Arch, SearchSpace
from zsnas_jax.search.strategies import redraw

MAX_MUTATIONS = 64
"""How many mutations are tried for an allowed one."""

MAX_SAMPLES = 1000
"""How many samples are tried for an allowed one, in a space that cannot be enumerated."""

_POOL = 10_000
_LARGEST_INT = 2**31 - 1


def constrained(
    space: SearchSpace,
    *,
    min_params: float | None = None,
    max_params: float | None = None,
    min_flops: float | None = None,
    max_flops: float | None = None,
    allowed: Callable[[Arch], Any] | None = None,
    rows: np.ndarray | None = None,
    num_classes: int = 10,
    image_size: int = 32,
) -> SearchSpace:
    """The architectures of a space that keep to every limit given, as a space.

    `sample` is uniform among them: by index where the space can be enumerated, else by rejection. `mutate` tries
    `MAX_MUTATIONS` mutations; where none is allowed, it samples. `is_valid` knows the limits, so that REINFORCE draws
    again. `num_archs`, indices and names stay the whole space's.

    Args:
        space: what is limited.
        min_params: fewest trainable parameters.
        max_params: most of them.
        min_flops: fewest multiply-adds of one image.
        max_flops: most of them.
        allowed: arch to bool[]; traces under jit and vmap.
        rows: what `allowed_rows` says of the same limits, if it is known: then it is not computed again.
        num_classes: width of the logits, for the costs.
        image_size: of the pictures, for the costs.

    Returns:
        The space, or a new one if there is a limit.

    Raises:
        ValueError: if nothing keeps to the limits (it names the smallest and the largest cost there is), a lower limit
            lies above the upper one, or the space does not know a cost that is limited.
    """
    bounds = {"params": (min_params, max_params), "flops": (min_flops, max_flops)}
    limits = _limits(space, bounds, num_classes, image_size)
    if not limits and allowed is None:
        return space
    keeps = lambda arch: _keeps(limits, arch) & jnp.asarray(allowed(arch) if allowed else True, bool)
    if space.num_archs and space.from_index and space.to_index:
        return _enumerated(space, keeps, limits, rows if allowed is None else None)
    return _rejecting(space, keeps, limits)


def allowed_rows(
    space: SearchSpace,
    *,
    min_params: float | None = None,
    max_params: float | None = None,
    min_flops: float | None = None,
    max_flops: float | None = None,
    num_classes: int = 10,
    image_size: int = 32,
) -> np.ndarray | None:
    """Which architectures of the published order keep to limits, as `constrained` has them: bool[A].

    None where there is no limit, or no such order.
    """
    bounds = {"params": (min_params, max_params), "flops": (min_flops, max_flops)}
    limits = _limits(space, bounds, num_classes, image_size)
    if not limits or not space.num_archs or not space.from_index:
        return None
    return _in_parts(lambda arch: _keeps(limits, arch), space.from_index(np.arange(space.num_archs)))


def costs_of_all(space: SearchSpace, name: str, *, num_classes: int = 10, image_size: int = 32) -> np.ndarray | None:
    """A cost of every architecture in published order, [A]; None where the space does not know it, or has no order.

    Args:
        space: the search space.
        name: "params" or "flops".
        num_classes: width of the logits.
        image_size: of the pictures.
    """
    if not space.num_archs or not space.from_index or getattr(space, f"num_{name}") is None:
        return None
    cost = _costs(space, num_classes, image_size)[name]
    return _in_parts(cost, space.from_index(np.arange(space.num_archs)))


class Limit(NamedTuple):
    """A cost of an architecture and the bounds that it keeps to, either of which may be missing."""

    name: str
    least: float | None
    most: float | None
    cost: Callable[[Arch], Any]

    def keeps(self, arch: Arch) -> jax.Array:
        """bool[]."""
        cost, kept = self.cost(arch), jnp.bool(True)
        if self.least is not None:
            kept &= jnp.asarray(cost >= _comparable(self.least), bool)
        if self.most is not None:
            kept &= jnp.asarray(cost <= _comparable(self.most), bool)
        return kept

    def __str__(self) -> str:
        """As errors name it."""
        bounds = (("at least", self.least), ("at most", self.most))
        return f"{self.name} {' and '.join(f'{word} {limit:,.0f}' for word, limit in bounds if limit is not None)}"


def _limits(
    space: SearchSpace, bounds: dict[str, tuple[float | None, float | None]], num_classes: int, image_size: int
) -> list[Limit]:
    costs = _costs(space, num_classes, image_size)
    limits = []
    for name, (least, most) in bounds.items():
        if least is None and most is None:
            continue
        limit = Limit(name, least, most, costs[name])
        if getattr(space, f"num_{name}") is None:
            raise ValueError(f"{limit}: space {space.name} has no num_{name} to hold to it")
        if least is not None and most is not None and least > most:
            raise ValueError(f"{limit}: the first is more than the second")
        limits.append(limit)
    return limits


def _costs(space: SearchSpace, num_classes: int, image_size: int) -> dict[str, Callable[[Arch], Any]]:
    """Name of a cost to what it is of an architecture; not to be called where the space does not know it."""
    known: dict[str, Any] = {"params": space.num_params, "flops": space.num_flops}
    return {
        "params": _at_size(known["params"], (num_classes,)),
        "flops": _at_size(known["flops"], (num_classes, image_size)),
    }


def _at_size(cost: Callable[..., Any], size: tuple[int, ...]) -> Callable[[Arch], Any]:
    return lambda arch: cost(arch, *size)


def _keeps(limits: Sequence[Limit], arch: Arch) -> jax.Array:
    return jnp.stack([jnp.bool(True), *(limit.keeps(arch) for limit in limits)]).all()


def _comparable(limit: float) -> int | float:
    """The limit as an integer where int32 holds it: float32 would round it beyond 2^24."""
    return int(limit) if abs(limit) <= _LARGEST_INT else float(limit)


def _enumerated(
    space: SearchSpace, keeps: Callable[[Arch], jax.Array], limits: Sequence[Limit], rows: np.ndarray | None
) -> SearchSpace:
    """By a mask over all indices, computed once."""
    from_index, to_index = space.from_index, space.to_index
    assert space.num_archs and from_index and to_index
    archs = from_index(np.arange(space.num_archs))
    mask = np.asarray(_in_parts(keeps, archs)) if rows is None else rows
    if not mask.any():
        raise ValueError(_nothing(space, archs, limits, f"all {space.num_archs} architectures"))
    members, is_member = jnp.asarray(np.flatnonzero(mask).astype(np.int32)), jnp.asarray(mask)

    def sample(key: jax.Array) -> Arch:
        return from_index(members[jax.random.randint(key, (), 0, len(members))])

    def is_valid(arch: Arch) -> jax.Array:
        index = to_index(jnp.asarray(arch))
        return (index >= 0) & is_member[index]

    return space._replace(sample=sample, mutate=_mutating(space, sample, is_valid), is_valid=is_valid)


def _rejecting(space: SearchSpace, keeps: Callable[[Arch], jax.Array], limits: Sequence[Limit]) -> SearchSpace:
    """By drawing again; what a pool of samples holds is the last resort."""
    archs = jax.jit(jax.vmap(space.sample))(jax.random.split(jax.random.key(0), _POOL))
    kept = np.flatnonzero(np.asarray(_in_parts(keeps, archs)))
    if not len(kept):
        raise ValueError(_nothing(space, archs, limits, f"{_POOL} sampled architectures"))
    pool = jax.tree.map(lambda leaf: jnp.asarray(leaf)[kept], archs)
    is_valid = lambda arch: jnp.asarray(space.is_valid(arch), bool) & keeps(arch)

    def sample(key: jax.Array) -> Arch:
        sample_key, pool_key = jax.random.split(key)
        place = jax.random.randint(pool_key, (), 0, len(kept))
        propose = lambda i: space.sample(jax.random.fold_in(sample_key, i))
        return redraw(propose, keeps, MAX_SAMPLES, lambda: jax.tree.map(lambda leaf: leaf[place], pool))

    return space._replace(sample=sample, mutate=_mutating(space, sample, is_valid), is_valid=is_valid)


def _mutating(
    space: SearchSpace, sample: Callable[[jax.Array], Arch], is_allowed: Callable[[Arch], jax.Array]
) -> Callable[[jax.Array, Arch], Arch]:
    def mutate(key: jax.Array, arch: Arch) -> Arch:
        mutation_key, sample_key = jax.random.split(key)
        propose = lambda i: space.mutate(jax.random.fold_in(mutation_key, i), arch)
        return redraw(propose, is_allowed, MAX_MUTATIONS, lambda: sample(sample_key))

    return mutate


def _in_parts(function: Callable[[Arch], Any], archs: Arch) -> np.ndarray:
    """A function of every architecture, [A], vectorised over 2^14 at a time."""
    vectorised = jax.jit(jax.vmap(function))
    count = len(jax.tree.leaves(archs)[0])
    part = lambda i: jax.tree.map(lambda leaf: jnp.asarray(leaf[i : i + 2**14]), archs)
    return np.concatenate([np.asarray(vectorised(part(i))) for i in range(0, count, 2**14)])


def _nothing(space: SearchSpace, archs: Arch, limits: Sequence[Limit], searched: str) -> str:
    """One line: which limits, and the costs there are."""
    said = []
    for limit in limits:
        costs = _in_parts(limit.cost, archs)
        said.append(f"{limit} (the smallest is {costs.min():,.0f}, the largest {costs.max():,.0f})")
    wanted = " and ".join(said) or "the predicate"
    return f"no architecture of space {space.name} satisfies {wanted}, of {searched}"

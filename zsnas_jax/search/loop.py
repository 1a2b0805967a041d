"""The one search loop, a `jax.lax.scan` over architectures. T architectures of a search, M known before, E experts."""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zsnas_jax.base import Arch
from zsnas_jax.search.reference import ScoreFn
from zsnas_jax.search.strategies import SearchStrategy
from zsnas_jax.votes import beats


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SearchState:
    """Where a search stands; what has not been explored yet is zeros and -inf.

    Attributes:
        key: of the whole search; step t draws from fold_in(key, t).
        step: int32[], how many architectures have been explored.
        archs: the genotypes in the order explored, in their canonical form, [T, ...].
        scores: theirs, float32[T, E].
        incumbents: int32[T], after each step the index of the best so far. It stays until one beats it strictly
            (`zsnas_jax.votes.beats`): a NaN or a tie never replaces it.
        is_new: bool[T], whether the score was computed at that step, not looked up.
        strategy: the strategy's own state.
    """

    key: jax.Array
    step: jax.Array
    archs: Arch
    scores: jax.Array
    incumbents: jax.Array
    is_new: jax.Array
    strategy: Any

    @property
    def best(self) -> jax.Array:
        """int32[], the index of the best explored so far."""
        return self.incumbents[jnp.maximum(self.step - 1, 0)]


class Known(NamedTuple):
    """Scores from before: archs [M, ...], scores float32[M, E], of which the first `num_known`, int32[], hold."""

    archs: Arch
    scores: jax.Array
    num_known: jax.Array


def start(key: jax.Array, strategy: SearchStrategy, score_fn: ScoreFn, num_steps: int) -> SearchState:
    """The state before the first of T = `num_steps` architectures. Scores nothing; traces under jit and vmap.

    Raises:
        ValueError: if the strategy begins with more architectures than there are steps.
    """
    if num_steps < max(strategy.num_initial, 1):
        raise ValueError(
            f"num_steps is {num_steps}: strategy {strategy.name} begins with {max(strategy.num_initial, 1)} "
            f"architectures drawn from the space"
        )
    init_key, search_key = jax.random.split(key)
    own = strategy.init(init_key)
    arch = jax.eval_shape(strategy.ask, key, own)
    num_experts = jax.eval_shape(lambda arch: jnp.atleast_1d(score_fn(arch)), arch).shape[0]
    return SearchState(
        key=search_key,
        step=jnp.int32(0),
        archs=jax.tree.map(lambda leaf: jnp.zeros((num_steps, *leaf.shape), leaf.dtype), arch),
        scores=jnp.full((num_steps, num_experts), -jnp.inf, jnp.float32),
        incumbents=jnp.zeros(num_steps, jnp.int32),
        is_new=jnp.zeros(num_steps, bool),
        strategy=own,
    )


def advance(
    state: SearchState,
    strategy: SearchStrategy,
    score_fn: ScoreFn,
    num_steps: int,
    *,
    reuse: bool = False,
    known: Known | None = None,
    canonical: Callable[[Arch], Arch] = lambda arch: arch,
    loop_fn: Callable[..., Any] = jax.lax.scan,
) -> SearchState:
    """The search after `num_steps` more architectures; in whatever portions, it ends alike. Traces under jit and vmap.

    Args:
        state: of `start` or `advance`.
        strategy: that of the state.
        score_fn: arch to float32[E], or float32[] for one expert.
        num_steps: how many; there must be so many left.
        reuse: whether an architecture that was explored before takes its score from then. Worth it where a score costs
            more than T comparisons; under vmap both are paid.
        known: further scores to take, if `reuse`.
        canonical: arch to the one that is scored, compared and recorded in its place, where genes can describe an
            architecture in many ways (`zsnas_jax.search.canonical_form`); the strategy hears of its own.
        loop_fn: called as (body, state, steps), for example a Python loop that shows every step.

    Raises:
        ValueError: if fewer steps are left, where the state is not traced.
    """
    capacity = len(state.incumbents)
    if not isinstance(state.step, jax.core.Tracer) and int(jnp.max(state.step)) + num_steps > capacity:
        raise ValueError(f"num_steps is {num_steps}: {capacity - int(jnp.max(state.step))} of {capacity} are left")

    def body(state: SearchState, step: jax.Array) -> tuple[SearchState, None]:
        del step  # the state's own
        asked, arch = propose(state, strategy, canonical)
        if reuse:
            scores, is_new = _look_up(state, known, score_fn, arch)
        else:
            scores, is_new = jnp.atleast_1d(score_fn(arch)), jnp.bool_(True)
        return record(state, strategy, asked, arch, scores, is_new), None

    return loop_fn(body, state, state.step + jnp.arange(num_steps))[0]


def run(
    key: jax.Array,
    strategy: SearchStrategy,
    score_fn: ScoreFn,
    num_steps: int,
    *,
    reuse: bool = False,
    known: Known | None = None,
    canonical: Callable[[Arch], Arch] = lambda arch: arch,
    loop_fn: Callable[..., Any] = jax.lax.scan,
) -> SearchState:
    """A whole search: `num_steps` architectures, each scored once it is proposed. Traces under jit; vmap over keys.

    Args:
        key: of all that the search draws.
        strategy: how architectures are picked.
        score_fn: arch to float32[E], or float32[] for one expert; larger is better, a score that is not finite loses.
        num_steps: T.
        reuse: as `advance` has it.
        known: as `advance` has it.
        canonical: as `advance` has it.
        loop_fn: as `advance` has it.

    Returns:
        The final state: `state.archs[state.best]` is what was found.

    Raises:
        ValueError: if the strategy begins with more architectures than `num_steps`.
    """
    state = start(key, strategy, score_fn, num_steps)
    return advance(state, strategy, score_fn, num_steps, reuse=reuse, known=known, canonical=canonical, loop_fn=loop_fn)


def propose(
    state: SearchState, strategy: SearchStrategy, canonical: Callable[[Arch], Arch] = lambda arch: arch
) -> tuple[Arch, Arch]:
    """(what the strategy asks for next, what is scored in its place); half a step of `advance`."""
    asked = strategy.ask(jax.random.fold_in(state.key, state.step), state.strategy)
    return asked, canonical(asked)


def record(
    state: SearchState, strategy: SearchStrategy, asked: Arch, arch: Arch, scores: jax.Array, is_new: jax.Array
) -> SearchState:
    """The state that has heard of the scores float32[E] of what was proposed; the other half."""
    step = state.step
    all_scores = state.scores.at[step].set(scores)
    best = jnp.where(beats(scores, all_scores[state.best]), step, state.best)
    return SearchState(
        key=state.key,
        step=step + 1,
        archs=jax.tree.map(lambda seen, leaf: seen.at[step].set(leaf), state.archs, arch),
        scores=all_scores,
        incumbents=state.incumbents.at[step].set(best),
        is_new=state.is_new.at[step].set(is_new),
        strategy=strategy.tell(state.strategy, asked, scores),
    )


def _look_up(state: SearchState, known: Known | None, score_fn: ScoreFn, arch: Arch) -> tuple[jax.Array, jax.Array]:
    """(scores float32[E], bool[] whether they were computed)."""
    here, place = _find(state.archs, state.step, arch)
    scores = state.scores[place]
    found = here
    if known is not None:
        there, elsewhere = _find(known.archs, known.num_known, arch)
        scores = jnp.where(here, scores, known.scores[elsewhere])
        found = here | there
    scores = jax.lax.cond(found, lambda: scores, lambda: jnp.atleast_1d(score_fn(arch)))
    return scores, ~found


def _find(archs: Arch, count: jax.Array, arch: Arch) -> tuple[jax.Array, jax.Array]:
    """(whether the architecture is among the first `count` of [M, ...], where it stands first)."""
    leaves = zip(jax.tree.leaves(archs), jax.tree.leaves(arch), strict=True)
    equal = [(seen == leaf).reshape(len(seen), -1).all(axis=1) for seen, leaf in leaves]
    match = jnp.stack(equal).all(axis=0) & (jnp.arange(len(equal[0])) < count)
    return match.any(), jnp.argmax(match)

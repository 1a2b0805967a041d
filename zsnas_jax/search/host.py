"""The search loop of `zsnas_jax.search.loop` where a score cannot be traced: the host scores what the search asks for.

Steps are the same and end alike. T architectures of a search, E experts.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Arch, Batch
from zsnas_jax.scoring import Scorer
from zsnas_jax.search.loop import SearchState, propose, record
from zsnas_jax.search.strategies import SearchStrategy

HostScoreFn = Callable[[Arch], Any]
"""An architecture, not traced, to float32[E], larger is better."""

Memory = dict[bytes, np.ndarray]
"""An architecture's genes as bytes to its scores float32[E]."""


def host_scores(scorer: Scorer, batch: Batch) -> HostScoreFn:
    """Scores of untrained networks by a scorer, as `live_scores` has them of spaces that can be traced."""
    return lambda arch: scorer.score(jax.tree.map(lambda leaf: np.asarray(leaf)[None], arch), [0], batch)[0]


def remember(archs: Arch, scores: Any, count: int) -> Memory:
    """The first of some architectures [M, ...] with their scores [M, E]."""
    archs, scores = jax.tree.map(np.asarray, archs), np.asarray(scores)
    return {_code(jax.tree.map(lambda leaf, i=i: leaf[i], archs)): scores[i] for i in range(count)}


def _code(arch: Arch) -> bytes:
    return b"".join(np.asarray(leaf, np.int32).tobytes() for leaf in jax.tree.leaves(arch))


class HostLoop:
    """A strategy's steps, compiled once.

    Args:
        strategy: how architectures are picked.
        score_fn: what scores them.
        canonical: arch to the one that is scored and recorded in its place.
    """

    def __init__(
        self, strategy: SearchStrategy, score_fn: HostScoreFn, canonical: Callable[[Arch], Arch] = lambda arch: arch
    ) -> None:
        self._score_fn = score_fn
        self._propose = jax.jit(lambda state: propose(state, strategy, canonical))
        self._record = jax.jit(
            lambda state, asked, arch, scores, is_new: record(state, strategy, asked, arch, scores, is_new)
        )

    def advance(self, state: SearchState, num_steps: int, known: Mapping[bytes, Any]) -> SearchState:
        """The search after so many more architectures; what was explored before, or is known, is not scored."""
        memory = remember(state.archs, state.scores, int(state.step)) | dict(known)
        for _ in range(num_steps):
            asked, arch = self._propose(state)
            code = _code(arch)
            is_new = code not in memory
            if is_new:
                memory[code] = np.atleast_1d(np.asarray(self._score_fn(arch), np.float32))
            state = self._record(state, asked, arch, jnp.asarray(memory[code]), jnp.bool_(is_new))
        return state

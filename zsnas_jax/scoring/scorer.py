"""What scores many architectures: its type, and how what goes wrong while a program runs is told."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Arch, Batch, Proxy, SearchSpace, candidate_key, check_pictures


class Scorer(NamedTuple):
    """Compiled programs that score architectures of a space.

    Attributes:
        score: (archs [M, ...], repeats int32[M], batch) to float32[M, P]. With `resample` the batch has a leading axis
            M. A call takes at most `capacity` candidates; fewer cost no more than their share. RuntimeError says what
            failed while it ran; what is wrong with the proxies or their input is a ValueError of the first call.
        capacity: the most candidates of a call.
        num_compilations: () to how many programs have been compiled.
        programs: which kind they are, one of `zsnas_jax.scoring.PROGRAMS`.
    """

    score: Callable[[Arch, Any, Batch], np.ndarray]
    capacity: int
    num_compilations: Callable[[], int]
    programs: str


def the_candidate(
    key: jax.Array, space: SearchSpace, archs: Arch, repeats: Any, batch: Batch, *, resample: bool
) -> tuple[Arch, Batch, jax.Array]:
    """(architecture, its batch, its key) of a call of one candidate.

    Raises:
        ValueError: if it has more, or the space takes no pictures of this size.
    """
    if len(repeats) != 1:
        raise ValueError(f"{len(repeats)} candidates in one call: allowed is 1")
    first = lambda tree: jax.tree.map(lambda array: array[0], tree)
    arch, batch = first(archs), first(batch) if resample else batch
    check_pictures(space, batch.image)
    return arch, batch, candidate_key(key, arch, repeats[0])


def where_connected(space: SearchSpace, arch: Arch, proxies: Sequence[Proxy], scores: Any) -> Any:
    """The scores [P] of an architecture; -inf but for sizes where its input does not reach its output."""
    is_size = np.array([proxy.is_size for proxy in proxies])
    xp = jnp if isinstance(scores, jax.Array) else np
    return xp.where(is_size | xp.asarray(space.is_connected(arch), bool), scores, -xp.inf)


def running(run: Callable[..., Any], *arguments: Any) -> np.ndarray:
    """What a compiled program returns.

    Raises:
        RuntimeError: saying in one line what went wrong; what is wrong with a program showed when it was compiled.
    """
    try:
        return np.asarray(run(*arguments))
    except Exception as error:
        raise RuntimeError(last_line(error)) from error


def last_line(error: Exception) -> str:
    """The last line of a traceback that came through a callback, else the first of the message: what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in str(error) else lines[0]) if lines else type(error).__name__

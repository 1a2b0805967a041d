"""Which architectures of a space a user means. A = architectures, G = genes of each."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import SearchSpace


def select_archs(space: SearchSpace, text: str, seed: int = 0, *, has_limits: bool = False) -> np.ndarray:
    """The architectures that a user names, int32[A, G], each once.

    Args:
        space: the search space.
        text: `all`, `START:STOP` by published index, `random:COUNT` distinct ones, or the path of a file with one
            architecture string a line.
        seed: of `random`.
        has_limits: whether only those that `space.is_valid` allows are meant (`zsnas_jax.search.constrained`).

    Raises:
        ValueError: naming what is wrong and what is allowed, or if the limits leave nothing.
    """
    archs = _select(space, text, seed, has_limits)
    kept = archs[_within(space, archs)] if has_limits else archs
    if not len(kept):
        raise ValueError(f"archs {text!r}: none of them keeps to the limits")
    return kept


def _within(space: SearchSpace, archs: np.ndarray) -> np.ndarray:
    return np.asarray(jax.vmap(space.is_valid)(jnp.asarray(archs)))


def _select(space: SearchSpace, text: str, seed: int, has_limits: bool) -> np.ndarray:
    """`select_archs`, within limits only where they are drawn."""
    allowed = "allowed are all, START:STOP, random:COUNT or the path of a file of architecture strings"
    total = space.num_archs
    start, colon, stop = text.partition(":")
    by_index = text == "all" or (colon and start.isdigit() and stop.isdigit())
    if by_index and not (total and space.from_index):
        raise ValueError(f"archs {text!r}: space {space.name} has no published order, use random:COUNT or a file")
    if text == "all" and total and space.from_index:
        return np.asarray(space.from_index(np.arange(total)))
    if colon and start == "random" and stop.isdigit():
        if not 1 <= int(stop) <= (total or int(stop)):
            raise ValueError(f"archs {text!r}: COUNT must lie between 1 and {total}")
        return _random_archs(space, int(stop), seed, has_limits)
    if colon and start.isdigit() and stop.isdigit() and total and space.from_index:
        if not int(start) < int(stop) <= total:
            raise ValueError(f"archs {text!r}: needed is 0 <= START < STOP <= {total}")
        return np.asarray(space.from_index(np.arange(int(start), int(stop))))
    if not pathlib.Path(text).is_file():
        raise ValueError(f"archs {text!r} is neither a file nor a selection: {allowed}")
    lines = pathlib.Path(text).read_text(encoding="utf-8").split("\n")
    archs = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                archs.append(np.asarray(space.decode(line.strip())))
            except ValueError as error:
                raise ValueError(f"{text}, line {number}: {error}") from error
    if not archs:
        raise ValueError(f"{text} holds no architecture: {allowed}")
    return np.stack(list({space.encode(arch): arch for arch in archs}.values()))


def _random_archs(space: SearchSpace, count: int, seed: int, has_limits: bool) -> np.ndarray:
    if space.num_archs and space.from_index:
        order = np.random.default_rng(seed).permutation(space.num_archs)  # more of them contain the fewer
        order = order[_within(space, np.asarray(space.from_index(order)))] if has_limits else order
        if len(order) < count:
            raise ValueError(f"archs 'random:{count}': {len(order)} keep to the limits")
        return np.asarray(space.from_index(np.sort(order[:count])))
    keys = jax.random.split(jax.random.key(seed), count)
    return np.asarray(jax.vmap(space.sample)(keys))

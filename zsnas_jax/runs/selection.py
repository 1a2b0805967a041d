"""Which architectures of a space a user means. A = architectures, G = genes of each."""

from collections.abc import Iterator, Sequence
import io
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.storage.reading import open_regular, read_bytes, reading, shorten

MAX_RANDOM = 1_000_000
"""Most architectures that are drawn from a space without a published order."""
_MAX_FILE = 1 << 28
_MAX_LINE = 1000
_SHOWN = 60


def select_archs(
    space: SearchSpace, text: str, seed: int = 0, *, has_limits: bool = False, listed: Sequence[str] = ()
) -> np.ndarray:
    """The architectures that a user names, int32[A, G], each once.

    Args:
        space: the search space.
        text: `all`, `START:STOP` by published index, `random:COUNT` distinct ones, `benchmark:COUNT` drawn from those
            that the benchmark lists, `benchmark` for all of them, or the path of a file with one architecture string a
            line.
        seed: of `random` and `benchmark`.
        listed: the architectures that the benchmark lists, as strings.
        has_limits: whether only those that `space.is_valid` allows are meant (`zsnas_jax.search.constrained`).

    Raises:
        ValueError: naming what is wrong and what is allowed, or if the limits leave nothing.
    """
    of_benchmark, colon, count = text.partition(":")
    if of_benchmark == "benchmark" and (not colon or _is_number(count)):
        archs = _of_benchmark(space, text, count, seed, listed)
    else:
        archs = _select(space, text, seed, has_limits)
    kept = archs[_within(space, archs)] if has_limits else archs
    if not len(kept):
        raise ValueError(f"archs {shorten(text)!r}: none of them keeps to the limits")
    return kept


def _within(space: SearchSpace, archs: np.ndarray) -> np.ndarray:
    return np.asarray(jax.vmap(space.is_valid)(jnp.asarray(archs)))


def _select(space: SearchSpace, text: str, seed: int, has_limits: bool) -> np.ndarray:
    """`select_archs`, within limits only where they are drawn."""
    allowed = "allowed are all, START:STOP, random:COUNT, benchmark:COUNT or the path of a file of architecture strings"
    refuse, total = f"archs {shorten(text)!r}", space.num_archs
    start, colon, stop = text.partition(":")
    by_index = text == "all" or (colon and _is_number(start) and _is_number(stop))
    if by_index and not (total and space.from_index):
        raise ValueError(f"{refuse}: space {space.name} has no published order, use random:COUNT or a file")
    if text == "all" and total and space.from_index:
        return np.asarray(space.from_index(np.arange(total)))
    if colon and start == "random" and _is_number(stop):
        if len(stop) > len(str(MAX_RANDOM)) or not 1 <= int(stop) <= (total or MAX_RANDOM):
            raise ValueError(f"{refuse}: COUNT must lie between 1 and {total or MAX_RANDOM}")
        return _random_archs(space, int(stop), seed, has_limits)
    if by_index and total and space.from_index:
        if max(len(start), len(stop)) > len(str(total)) or not int(start) < int(stop) <= total:
            raise ValueError(f"{refuse}: needed is 0 <= START < STOP <= {total}")
        return np.asarray(space.from_index(np.arange(int(start), int(stop))))
    with reading(refuse):
        is_there = pathlib.Path(text).exists()
    if not is_there:
        raise ValueError(f"{refuse} is neither a file nor a selection: {allowed}")
    archs = list(_read_archs(space, pathlib.Path(text)))
    if not archs:
        raise ValueError(f"{text} holds no architecture: {allowed}")
    return np.stack(list({space.encode(arch): arch for arch in archs}.values()))


def _of_benchmark(space: SearchSpace, text: str, count: str, seed: int, listed: Sequence[str]) -> np.ndarray:
    """Those that a benchmark lists, or so many drawn from them; more of them contain the fewer."""
    strings = list(dict.fromkeys(listed))
    if not strings:
        raise ValueError(f"archs {shorten(text)!r}: the benchmark lists none, use all or random:COUNT")
    wanted = len(strings) if not count else int(count[: len(str(MAX_RANDOM)) + 1])
    if not 1 <= wanted <= len(strings):
        raise ValueError(f"archs {shorten(text)!r}: COUNT must lie between 1 and {len(strings)}")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(strings))[:wanted])
    return np.stack([np.asarray(space.decode(strings[place])) for place in chosen])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _read_archs(space: SearchSpace, path: pathlib.Path) -> Iterator[np.ndarray]:
    """The architectures of a file with one string a line, in UTF-8, with or without a byte order mark."""
    with reading(f"{path} is not a file of architecture strings"):
        with open_regular(path) as file:
            text = read_bytes(file, _MAX_FILE).decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("it has NUL characters: UTF-8 is needed")
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if string := line.strip():
            with reading(f"{path}, line {number}"):
                yield decode(space, string)


def decode(space: SearchSpace, string: str) -> np.ndarray:
    """`space.decode`, whose message would repeat the whole of a long string."""
    if len(string) > _MAX_LINE:
        raise ValueError(f"it has {len(string):,} characters, allowed are at most {_MAX_LINE:,}")
    try:
        return np.asarray(space.decode(string))
    except ValueError as error:
        raise ValueError(str(error).replace(repr(string), repr(shorten(string, _SHOWN)))) from error


def _random_archs(space: SearchSpace, count: int, seed: int, has_limits: bool) -> np.ndarray:
    if space.num_archs and space.from_index:
        order = np.random.default_rng(seed).permutation(space.num_archs)  # more of them contain the fewer
        order = order[_within(space, np.asarray(space.from_index(order)))] if has_limits else order
        if len(order) < count:
            raise ValueError(f"archs 'random:{count}': {len(order)} keep to the limits")
        return np.asarray(space.from_index(np.sort(order[:count])))
    keys = jax.random.split(jax.random.key(seed), count)
    return np.asarray(jax.vmap(space.sample)(keys))

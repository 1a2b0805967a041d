"""Pictures that are the same as others: two in a batch would make its correlation matrices singular. M, N pictures."""

from collections.abc import Callable, Iterable
import hashlib
import warnings

import numpy as np

_SHOWN = 3


def digest(picture: np.ndarray) -> bytes:
    """What is equal for equal pictures, and else different."""
    return hashlib.blake2b(np.ascontiguousarray(picture).data, digest_size=16).digest()


def find_copies(pictures: Iterable[np.ndarray]) -> dict[int, int]:
    """Of each picture that an earlier one equals: its place to the first such one's."""
    first: dict[bytes, int] = {}
    places = [(i, first.setdefault(digest(picture), i)) for i, picture in enumerate(pictures)]
    return {place: before for place, before in places if before != place}


def draw_distinct(
    rng: np.random.Generator, image: np.ndarray, count: int, name: str, all_copies: Callable[[], dict[int, int]]
) -> np.ndarray:
    """The places int[N] of pictures that all differ, drawn without replacement.

    Where the first draw holds copies, others take their place, and a warning says what the data set holds.

    Args:
        rng: draws.
        image: [M, H, W, C].
        count: N, at most M.
        name: of the data set.
        all_copies: () to `find_copies(image)`; called where the first draw holds some.

    Raises:
        ValueError: if fewer pictures differ.
    """
    chosen = rng.choice(len(image), count, replace=False)
    again = find_copies(image[chosen])
    if not again:
        return chosen
    copies = all_copies()
    shown = ", ".join(f"{place} is {before}" for place, before in list(copies.items())[:_SHOWN])
    said = f"{name}: {len(copies)} of {len(image)} pictures are copies ({shown}{', ...' * (len(copies) > _SHOWN)})"
    if len(image) - len(copies) < count:
        raise ValueError(f"{said}: a batch of {count} needs as many that differ")
    warnings.warn(f"{said}: a batch takes each once", stacklevel=4)
    kept = np.delete(chosen, list(again))
    same = lambda places: [copies.get(int(place), int(place)) for place in places]
    rest = np.setdiff1d(np.setdiff1d(np.arange(len(image)), list(copies)), same(kept))
    return np.concatenate([kept, rng.choice(rest, count - len(kept), replace=False)])

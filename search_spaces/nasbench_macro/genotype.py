"""The genotype of a NAS-Bench-Macro network: how it is drawn, changed, numbered and written.

It is int32[8], the choice of each layer: 0 identity, 1 an inverted residual of kernel size 3 and expansion 3, 2 one of
5 and 6.
"""

from typing import Any

import numpy as np

from zsnas_jax.search_spaces.digits import Digits
from zsnas_jax.search_spaces.nasbench_macro.network import WIDTHS

NUM_GENES, NUM_CHOICES = len(WIDTHS), 3
DIGITS = Digits("NAS-Bench-Macro", NUM_GENES, NUM_CHOICES)
"""Samples are uniform over strings, of which some networks have more than others."""
NUM_ARCHS = DIGITS.num_archs
_STAGES = ((0, 2), (2, 5), (5, 8))


def encode(arch: Any) -> str:
    """The published string, eight digits."""
    return "".join(str(int(choice)) for choice in arch)


def decode(string: str) -> np.ndarray:
    """The genotype int32[8] of a published string.

    Raises:
        ValueError: naming the first thing wrong with the string.
    """
    text = string.strip()
    if len(text) != NUM_GENES:
        raise ValueError(f"bad architecture {string!r}: {len(text)} characters, {NUM_GENES} digits are needed")
    for place, digit in enumerate(text):
        if digit not in "012":
            raise ValueError(f"bad architecture {string!r}: {digit!r} at place {place}, allowed are 0, 1, 2")
    return np.array([int(digit) for digit in text], np.int32)


def prune(arch: Any) -> np.ndarray:
    """The first string of the same network: identities behind the first layer of a stage, which are nothing, go last.

    int[8] to int32[8].
    """
    found: list[int] = []
    for start, end in _STAGES:
        first, *rest = (int(choice) for choice in arch[start:end])
        kept = [choice for choice in rest if choice]
        found += [first, *kept, *[0] * (len(rest) - len(kept))]
    return np.array(found, np.int32)


def isomorphism_key(arch: Any) -> str:
    """The string of `prune`: equal for equal networks, of which there are 3,969."""
    return encode(prune(arch))

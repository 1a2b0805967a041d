"""The genotype of a network of NATS-Bench's size space: how it is drawn, changed, numbered and written.

It is int32[5], the place of each layer's width among 8, 16, ..., 64.
"""

from typing import Any

import numpy as np

from zsnas_jax.search_spaces.digits import Digits
from zsnas_jax.search_spaces.nats_size.network import NUM_WIDTHS, WIDTHS

NUM_GENES, NUM_CHOICES = NUM_WIDTHS, len(WIDTHS)
DIGITS = Digits("NATS size", NUM_GENES, NUM_CHOICES)
NUM_ARCHS = DIGITS.num_archs


def encode(arch: Any) -> str:
    """The published string, the five widths: `8:16:24:32:64`."""
    return ":".join(str(WIDTHS[int(gene)]) for gene in arch)


def decode(string: str) -> np.ndarray:
    """The genotype int32[5] of a published string.

    Raises:
        ValueError: naming the first thing wrong with the string.
    """
    widths = string.strip().split(":")
    if len(widths) != NUM_GENES:
        raise ValueError(f"bad architecture {string!r}: {len(widths)} widths joined by ':', {NUM_GENES} are needed")
    written = [str(width) for width in WIDTHS]
    for place, width in enumerate(widths):
        if width not in written:
            raise ValueError(
                f"bad architecture {string!r}: width {width!r} at place {place}, allowed are {', '.join(written)}"
            )
    return np.array([written.index(width) for width in widths], np.int32)

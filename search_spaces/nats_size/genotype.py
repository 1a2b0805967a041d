"""The genotype of a network of NATS-Bench's size space: how it is drawn, changed, numbered and written.

It is int32[5], the place of each layer's width among 8, 16, ..., 64.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.nats_size.network import NUM_WIDTHS, WIDTHS

NUM_GENES, NUM_CHOICES = NUM_WIDTHS, len(WIDTHS)
NUM_ARCHS = NUM_CHOICES**NUM_GENES
_PLACES = NUM_CHOICES ** np.arange(NUM_GENES)[::-1]


def sample(key: jax.Array) -> jax.Array:
    """A uniformly drawn architecture, int32[5]."""
    return jax.random.randint(key, (NUM_GENES,), 0, NUM_CHOICES, jnp.int32)


def mutate(key: jax.Array, arch: jax.Array) -> jax.Array:
    """One uniformly drawn layer gets another width, uniformly drawn from the other seven. int32[5] to int32[5]."""
    layer_key, width_key = jax.random.split(key)
    layer = jax.random.randint(layer_key, (), 0, NUM_GENES)
    step = jax.random.randint(width_key, (), 1, NUM_CHOICES)
    return arch.at[layer].set((arch[layer] + step) % NUM_CHOICES)


def from_index(index: Any) -> Any:
    """Genotypes int32[..., 5] of the benchmark's indices int[...], the first width counting most; numpy in, numpy out.

    Raises:
        ValueError: if an index that is not a jax array lies outside [0, 32768).
    """
    if isinstance(index, jax.Array):
        return (index[..., None] // jnp.asarray(_PLACES) % NUM_CHOICES).astype(jnp.int32)
    index = np.asarray(index)
    if np.any(bad := (index < 0) | (index >= NUM_ARCHS)):
        raise ValueError(f"NATS size index {index[bad].flat[0]} is out of range: allowed are 0 to {NUM_ARCHS - 1}")
    return (index[..., None] // _PLACES % NUM_CHOICES).astype(np.int32)


def to_index(arch: Any) -> Any:
    """The benchmark's indices int32[...] of genotypes int[..., 5]; numpy in, numpy out, else a jax array."""
    if isinstance(arch, jax.Array):
        return arch @ jnp.asarray(_PLACES)
    return np.asarray(arch) @ _PLACES


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

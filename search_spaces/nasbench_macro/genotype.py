"""The genotype of a NAS-Bench-Macro network: how it is drawn, changed, numbered and written.

It is int32[8], the choice of each layer: 0 identity, 1 an inverted residual of kernel size 3 and expansion 3, 2 one of
5 and 6.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.nasbench_macro.network import WIDTHS

NUM_GENES, NUM_CHOICES = len(WIDTHS), 3
NUM_ARCHS = NUM_CHOICES**NUM_GENES
_PLACES = NUM_CHOICES ** np.arange(NUM_GENES)[::-1]
_STAGES = ((0, 2), (2, 5), (5, 8))


def sample(key: jax.Array) -> jax.Array:
    """A uniformly drawn string, int32[8]; of the networks some have more strings than others."""
    return jax.random.randint(key, (NUM_GENES,), 0, NUM_CHOICES, jnp.int32)


def mutate(key: jax.Array, arch: jax.Array) -> jax.Array:
    """One uniformly drawn layer gets another choice, uniformly drawn from the other two. int32[8] to int32[8]."""
    layer_key, choice_key = jax.random.split(key)
    layer = jax.random.randint(layer_key, (), 0, NUM_GENES)
    step = jax.random.randint(choice_key, (), 1, NUM_CHOICES)
    return arch.at[layer].set((arch[layer] + step) % NUM_CHOICES)


def from_index(index: Any) -> Any:
    """Genotypes int32[..., 8] of indices int[...] in the lexicographic order of the strings; numpy in, numpy out.

    Raises:
        ValueError: if an index that is not a jax array lies outside [0, 6561).
    """
    if isinstance(index, jax.Array):
        return (index[..., None] // jnp.asarray(_PLACES) % NUM_CHOICES).astype(jnp.int32)
    index = np.asarray(index)
    if np.any(bad := (index < 0) | (index >= NUM_ARCHS)):
        raise ValueError(
            f"NAS-Bench-Macro index {index[bad].flat[0]} is out of range: allowed are 0 to {NUM_ARCHS - 1}"
        )
    return (index[..., None] // _PLACES % NUM_CHOICES).astype(np.int32)


def to_index(arch: Any) -> Any:
    """Indices int32[...] of genotypes int[..., 8]; numpy in, numpy out, else a jax array."""
    if isinstance(arch, jax.Array):
        return arch @ jnp.asarray(_PLACES)
    return np.asarray(arch) @ _PLACES


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

"""The genotype of an Accel-NASBench network: how it is drawn, changed and written.

It is int32[7, 4], of every stage the places of its four decisions in their lists of choices: expansion e of 1, 4, 6;
kernel size k of 3, 5; layers l of 1, 2, 3, in stage 5 also 4; squeeze-excite se, 0 or 1. They are places, not values.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.accel_nasbench.network import EXPANSIONS, KERNELS, NUM_STAGES, SLOTS, StagePlan

FIELDS = ("e", "k", "l", "se")
_CHOICES = tuple((EXPANSIONS, KERNELS, tuple(range(1, slots + 1)), (0, 1)) for slots in SLOTS)
NUM_CHOICES = np.array([[len(choices) for choices in stage] for stage in _CHOICES], np.int32)
"""How many values each decision can take, int32[7, 4]."""


def sample(key: jax.Array) -> jax.Array:
    """A uniformly drawn architecture, int32[7, 4]."""
    return jax.random.randint(key, NUM_CHOICES.shape, 0, NUM_CHOICES, jnp.int32)


def mutate(key: jax.Array, arch: jax.Array) -> jax.Array:
    """One uniformly drawn decision of the 28 takes another of its values. int32[7, 4] to int32[7, 4]."""
    place_key, value_key = jax.random.split(key)
    place = jnp.unravel_index(jax.random.randint(place_key, (), 0, NUM_CHOICES.size), NUM_CHOICES.shape)
    count = jnp.asarray(NUM_CHOICES)[place]
    step = jax.random.randint(value_key, (), 1, count)
    return arch.at[place].set((arch[place] + step) % count)


def values_of(arch: Any) -> tuple[Any, Any, Any, Any]:
    """(expansion, kernel, layers, squeeze-excite) int32[..., 7] each of genotypes; numpy in, numpy out, else jax."""
    xp = jnp if isinstance(arch, jax.Array) else np
    e, k, layers, se = (xp.asarray(arch)[..., field] for field in range(len(FIELDS)))
    return xp.asarray(EXPANSIONS)[e], xp.asarray(KERNELS)[k], layers + 1, se


def from_values(values: Any) -> np.ndarray:
    """Genotypes int32[..., 7, 4] of the values (e, k, l, se) int[..., 7, 4] of every stage, as the table has them."""
    e, k, layers, se = np.moveaxis(np.asarray(values), -1, 0)
    return np.stack([np.searchsorted(EXPANSIONS, e), np.searchsorted(KERNELS, k), layers - 1, se], -1).astype(np.int32)


def plan_of(arch: Any) -> tuple[StagePlan, ...]:
    """The stages of a genotype int[7, 4] as Python values: what its network is built of."""
    rows = zip(*(field.tolist() for field in values_of(np.asarray(arch))), strict=True)
    return tuple(StagePlan(e, k, layers, bool(se)) for e, k, layers, se in rows)


def encode(arch: Any) -> str:
    """The values `e:k:l:se` of every stage, joined by `|`; the benchmark publishes no string."""
    return "|".join(":".join(str(int(value)) for value in stage) for stage in plan_of(arch))


def decode(string: str) -> np.ndarray:
    """The genotype int32[7, 4] of a string as `encode` writes it.

    Raises:
        ValueError: naming the first thing wrong with the string.
    """
    stages, refuse = string.strip().split("|"), f"bad architecture {string!r}:"
    if len(stages) != NUM_STAGES:
        raise ValueError(f"{refuse} {len(stages)} stages joined by '|', {NUM_STAGES} are needed")
    found = np.zeros(NUM_CHOICES.shape, np.int32)
    for place, stage in enumerate(stages):
        words = stage.split(":")
        if len(words) != len(FIELDS):
            raise ValueError(f"{refuse} stage {place} is {stage!r}, needed is e:k:l:se")
        for field, (word, choices) in enumerate(zip(words, _CHOICES[place], strict=True)):
            allowed = [str(choice) for choice in choices]
            if word not in allowed:
                raise ValueError(
                    f"{refuse} {FIELDS[field]} of stage {place} is {word!r}, allowed are {', '.join(allowed)}"
                )
            found[place, field] = allowed.index(word)
    return found

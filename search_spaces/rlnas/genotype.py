"""The genotype of a network of RLNAS's mobile space: how it is drawn, changed and written.

It is int32[21], the choice of each layer: -1 identity, else an inverted residual of kernel size 3, 3, 5, 5, 7, 7 and
expansion 3, 6, 3, 6, 3, 6. The first layer of a stage, 0, 4, 8, 12, 16 or 20, is no identity.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.rlnas.costs import num_flops
from zsnas_jax.search_spaces.rlnas.network import FIRST_LAYERS, IDENTITY, KERNELS, NUM_LAYERS, RLNAS, Skeleton

NUM_CHOICES = len(KERNELS)
MAX_FLOPS = 475e6
"""Above so many at 224 pixels and with 1,000 classes RLNAS draws again."""
_AT_ONCE = 64
_LEAST = np.full(NUM_LAYERS, IDENTITY)
_LEAST[list(FIRST_LAYERS)] = 0


def sample(key: jax.Array, max_flops: float = MAX_FLOPS, skeleton: Skeleton = RLNAS) -> jax.Array:
    """An architecture int32[21], uniformly drawn from those of so many FLOPs at most; math.inf: from all."""
    if math.isinf(max_flops):
        return _draw(key, ())

    def draw_again(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        own, following = jax.random.split(carry[0])
        archs = _draw(own, (_AT_ONCE,))
        fits = num_flops(archs, 1000, 224, skeleton) <= max_flops
        return following, archs[jnp.argmax(fits)], fits.any()

    start = key, jnp.zeros(NUM_LAYERS, jnp.int32), jnp.bool(False)
    return jax.lax.while_loop(lambda carry: ~carry[2], draw_again, start)[1]


def _draw(key: jax.Array, lead: tuple[int, ...]) -> jax.Array:
    """Uniformly drawn choices int32[*lead, 21]."""
    return jax.random.randint(key, (*lead, NUM_LAYERS), _LEAST, NUM_CHOICES, jnp.int32)


def mutate(key: jax.Array, arch: jax.Array) -> jax.Array:
    """One uniformly drawn layer gets another choice, uniformly drawn from its others. int32[21] to int32[21].

    The result may have more FLOPs than a sample: a search states its own limit.
    """
    layer_key, choice_key = jax.random.split(key)
    layer = jax.random.randint(layer_key, (), 0, NUM_LAYERS)
    least = jnp.asarray(_LEAST)[layer]
    count = NUM_CHOICES - least
    step = jax.random.randint(choice_key, (), 1, count)
    return arch.at[layer].set((arch[layer] - least + step) % count + least)


def is_valid(arch: Any) -> Any:
    """Whether every choice is there, and none of the first layers of stages is an identity, bool[...]."""
    return ((arch >= _LEAST) & (arch < NUM_CHOICES)).all(-1)


def encode(arch: Any) -> str:
    """The published string: the 21 integers with spaces between them."""
    return " ".join(str(int(choice)) for choice in arch)


def decode(string: str) -> np.ndarray:
    """The genotype int32[21] of a published string.

    Raises:
        ValueError: naming the first thing wrong with the string.
    """
    words, found = string.split(), list[int]()
    refuse = f"bad architecture {string!r}:"
    if len(words) != NUM_LAYERS:
        raise ValueError(f"{refuse} {len(words)} integers, {NUM_LAYERS} are needed")
    allowed = [str(choice) for choice in range(IDENTITY, NUM_CHOICES)]
    for place, word in enumerate(words):
        if word not in allowed:
            raise ValueError(f"{refuse} {word!r} at layer {place}, allowed are {', '.join(allowed)}")
        if int(word) < _LEAST[place]:
            raise ValueError(
                f"{refuse} layer {place} is -1, an identity, but its shape changes: allowed there are 0 to 5"
            )
        found.append(int(word))
    return np.array(found, np.int32)

"""A space that compiles in a second, for the commands: --space=tests/data/toy_space.py:space.

An architecture is int32[3], for each of three blocks: 0 nothing, 1 a 1x1 convolution, 2 a 3x3 convolution.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.nn.probes import Site

NUM_BLOCKS, SIZES = 3, (0, 1, 3)
PLACES = len(SIZES) ** np.arange(NUM_BLOCKS)[::-1]


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, gene):
        for choice, size in enumerate(SIZES[1:], start=1):
            chosen = (gene == choice).astype(x.dtype)
            y = chosen * nn.Conv(x.shape[-1], (size, size), name=f"conv{choice}")(x)
            x = x + nn.relu(Site(name=f"site{choice}")(y))
        return x


class Network(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, image, arch):
        x = nn.Conv(4, (3, 3), (2, 2), name="stem")(image)
        for i in range(NUM_BLOCKS):
            x = Block(name=f"block{i}")(x, arch[i])
        return nn.Dense(self.num_classes, name="head")(x.mean((1, 2)))


def mutate(key, arch):
    block_key, step_key = jax.random.split(key)
    block = jax.random.randint(block_key, (), 0, NUM_BLOCKS)
    return arch.at[block].set((arch[block] + jax.random.randint(step_key, (), 1, len(SIZES))) % len(SIZES))


def is_active(arch):
    has = lambda path: arch[int(path[0][-1])] == int(path[1][-1])
    return lambda path, shape: has(path) if path[0].startswith("block") else True


def decode(string):
    genes = string.split("-")
    if len(genes) != NUM_BLOCKS or not all(gene.isdigit() and int(gene) < len(SIZES) for gene in genes):
        raise ValueError(f"bad architecture {string!r}: needed are {NUM_BLOCKS} numbers from 0 to {len(SIZES) - 1}")
    return np.array(genes, np.int32)


space = SearchSpace(
    name="toy",
    sample=lambda key: jax.random.randint(key, (NUM_BLOCKS,), 0, len(SIZES)),
    mutate=mutate,
    encode=lambda arch: "-".join(str(int(gene)) for gene in arch),
    decode=decode,
    make_network=lambda num_classes: Network(num_classes),
    num_archs=len(SIZES) ** NUM_BLOCKS,
    from_index=lambda index: (np.asarray(index)[..., None] // PLACES % len(SIZES)).astype(np.int32),
    to_index=lambda arch: (jnp.asarray(arch) * PLACES).sum(-1),
    is_active=is_active,
    num_choices=(len(SIZES),) * NUM_BLOCKS,
)

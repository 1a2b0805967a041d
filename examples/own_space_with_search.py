"""A search space of one's own, scored, limited and searched: convolutional networks of three blocks.

    python examples/own_space_with_search.py
    score_main --space=examples/own_space_with_search.py:space --archs=random:20 --benchmark=none
    search_main --space=examples/own_space_with_search.py:space --num_architectures=80 --benchmark=none

An architecture is int32[6]: the kernel sizes of the blocks (none, 1 or 3 pixels), then whether a shortcut leads past
each. The network takes it as data, so that one compiled program scores them all.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax import datasets, proxies, search
from zsnas_jax.base import SearchSpace
from zsnas_jax.nn.probes import Site

NUM_BLOCKS, SIZES, WIDTH = 3, (0, 1, 3), 8
NUM_CHOICES = (len(SIZES),) * NUM_BLOCKS + (2,) * NUM_BLOCKS  # of each gene


class Block(nn.Module):
    """Each of its convolutions is there; the one that is chosen counts."""

    @nn.compact
    def __call__(self, x, gene, has_shortcut):
        """Maps float[N, H, W, C] to the same."""
        y = 0.0
        for choice, size in enumerate(SIZES[1:], start=1):
            chosen = (gene == choice).astype(x.dtype)  # zeros where it is not: no proxy sees them
            own = chosen * nn.Conv(WIDTH, (size, size), name=f"conv{choice}")(x)
            y = y + nn.relu(Site(name=f"site{choice}")(own))
        return jnp.where(has_shortcut, x + y, y)


class Network(nn.Module):
    """A stem, the blocks, the mean over pixels, a classifier."""

    num_classes: int

    @nn.compact
    def __call__(self, image, arch):
        """Maps pictures float[N, H, W, 3] and a genotype to logits."""
        x = nn.Conv(WIDTH, (3, 3), (2, 2), name="stem")(image)
        for i in range(NUM_BLOCKS):
            x = Block(name=f"block{i}")(x, arch[i], arch[NUM_BLOCKS + i] == 1)
        return nn.Dense(self.num_classes, name="head")(x.mean((1, 2)))


def sample(key):
    """A uniformly drawn architecture."""
    return jax.random.randint(key, (2 * NUM_BLOCKS,), 0, jnp.array(NUM_CHOICES))


def mutate(key, arch):
    """One gene takes another of its values."""
    place_key, step_key = jax.random.split(key)
    place = jax.random.randint(place_key, (), 0, 2 * NUM_BLOCKS)
    choices = jnp.array(NUM_CHOICES)[place]
    return arch.at[place].set((arch[place] + jax.random.randint(step_key, (), 1, choices)) % choices)


def encode(arch):
    """Such as "3+ 1 0+": sizes of kernels, with a plus where there is a shortcut."""
    sizes, shortcuts = np.asarray(arch).reshape(2, NUM_BLOCKS)
    return " ".join(f"{SIZES[size]}{'+' * shortcut}" for size, shortcut in zip(sizes, shortcuts, strict=True))


def decode(string):
    """The architecture of a string; ValueError for any other."""
    blocks = string.split()
    allowed = [str(size) for size in SIZES]
    if len(blocks) != NUM_BLOCKS or any(block.removesuffix("+") not in allowed for block in blocks):
        raise ValueError(
            f"bad architecture {string!r}: needed are {NUM_BLOCKS} of {', '.join(allowed)}, with + or without"
        )
    sizes = [allowed.index(block.removesuffix("+")) for block in blocks]
    return np.array([*sizes, *(block.endswith("+") for block in blocks)], np.int32)


def is_active(arch):
    """Which parameters an architecture has: those of its convolutions, and what is outside of blocks."""
    has = lambda path: arch[int(path[0][-1])] == int(path[1][-1])
    return lambda path, shape: has(path) if path[0].startswith("block") else True


def num_params(arch, num_classes):
    """Counted from the genes, so that a search can be held to a limit; traces under jit."""
    of_size = jnp.array([0 if size == 0 else size**2 * WIDTH**2 + WIDTH for size in SIZES])
    return 27 * WIDTH + WIDTH + of_size[arch[:NUM_BLOCKS]].sum() + (WIDTH + 1) * num_classes


space = SearchSpace(
    name="three_blocks",
    sample=sample,
    mutate=mutate,
    encode=encode,
    decode=decode,
    make_network=lambda num_classes: Network(num_classes),
    is_active=is_active,
    num_params=num_params,
    num_choices=NUM_CHOICES,
)


def main():
    """Searches it by three seeds at once, among networks of at most 1,500 parameters."""
    batch = datasets.draw_batch(jax.random.key(0), datasets.noise(image_size=8), batch_size=8)
    small = search.constrained(space, max_params=1500)
    score_fn = search.live_scores(jax.random.key(1), small, [proxies.wrcor()], batch, num_classes=10)
    strategy = search.evolution(small, population_size=8, tournament_size=3)
    find = jax.jit(jax.vmap(lambda key: search.run(key, strategy, score_fn, num_steps=32)))
    found = find(jax.random.split(jax.random.key(2), 3))
    for archs, scores, best in zip(found.archs, found.scores, found.incumbents[:, -1], strict=True):
        arch = archs[best]
        print(f"{space.encode(arch):12} WRCor {scores[best, 0]:.3f}, {num_params(arch, 10)} parameters")


if __name__ == "__main__":
    main()

"""What the tests of searches share: small strategies, a table of noise, a space of a user's own."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsnas_jax import search, search_spaces
from zsnas_jax.base import SearchSpace
from zsnas_jax.benchmarks import TabularBenchmark

SPACE = search_spaces.make_space("nasbench201")
TABLE = np.random.default_rng(0).standard_normal((15625, 3)).astype(np.float32)
SMALL = {
    "random": {},
    "reinforce": {"num_reference": 4, "learning_rate": 0.1},
    "evolution": {"population_size": 6, "tournament_size": 3},
    "genetic": {"generation_size": 6, "num_parents": 3},
    "nsga2": {"population_size": 6},
}
every_strategy = pytest.mark.parametrize("name", SMALL)


def counted_columns():
    """Columns of NAS-Bench-201: `accuracy` counts 3x3 convolutions, `good` ranks so but for noise, the rest is noise."""
    archs, rng = SPACE.from_index(np.arange(15625)), np.random.default_rng(0)
    accuracy = 0.5 + (archs == 3).sum(1) / 20 + 0.01 * rng.random(15625)
    noise = rng.standard_normal((2, 15625))
    return {"accuracy": accuracy, "good": accuracy + 0.02 * noise[0], "first": noise[0], "second": noise[1]}


def save_table(path, columns):
    """Saves columns of NAS-Bench-201 as a table that the commands read."""
    columns = {name: column.astype(np.float32) for name, column in columns.items()}
    digest = hashlib.sha256(b"".join(column.tobytes() for column in columns.values())).hexdigest()
    TabularBenchmark(columns, "nasbench201", "table", "made by a test", digest).save(path)


def make(name, num_experts=1, space=SPACE):
    return search.make_strategy(name, space, num_experts=num_experts, **SMALL[name])


def same(one, other):
    unkeyed = lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(unkeyed(a), unkeyed(b))


def python_loop(body, state, steps):
    body = jax.jit(body)
    for step in steps:
        state, _ = body(state, step)
    return state, None


def line_space(size=5, num_genes=3):
    """A user's own space: a dictionary of two kinds of genes, nothing published."""
    names = dict.fromkeys(SearchSpace._fields)

    def sample(key):
        width_key, op_key = jax.random.split(key)
        draw = lambda key, shape: jax.random.randint(key, shape, 0, size)
        return {"width": draw(width_key, (num_genes,)), "op": draw(op_key, ())}

    def mutate(key, arch):
        return arch | {"op": (arch["op"] + jax.random.randint(key, (), 1, size)) % size}

    own = {"name": "line", "sample": sample, "mutate": mutate, "is_valid": lambda arch: True, "num_variants": 1}
    return SearchSpace(**(names | own))

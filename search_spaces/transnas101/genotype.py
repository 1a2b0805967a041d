"""The genotypes of TransNAS-Bench-101: how they are drawn, changed, numbered and written.

Micro: int32[6], the operation of each edge in the order of the published string. Macro: int32[6], the types 1 to 4 of
four to six modules, 0 behind them. Published indices are the order of the benchmark's own lists (`order.npz`).
"""

import functools
import importlib.resources
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.transnas101.network import EDGES, NONE, OPS

NUM_GENES, NUM_OPS = len(EDGES), len(OPS)
NUM_MICRO, NUM_MACRO = NUM_OPS**NUM_GENES, 3256
MOST_MODULES, NUM_KINDS = 6, 5
MODULES, DOUBLINGS, HALVINGS = (4, 6), (1, 3), (1, 4)
"""The least and the most of each in a macro network."""


@functools.cache
def _order(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(genotypes int32[A, 6] in the published order, int32[codes] to the index of a genotype's code, -1 for none)."""
    base = {"micro": NUM_OPS, "macro": NUM_KINDS}[kind]
    with importlib.resources.files(__package__).joinpath("order.npz").open("rb") as file, np.load(file) as arrays:
        codes = arrays[kind].astype(np.int32)
    index_of_code = np.full(base**NUM_GENES, -1, np.int32)
    index_of_code[codes] = np.arange(len(codes))
    return (codes[:, None] // _places(base) % base).astype(np.int32), index_of_code


def _places(base: int) -> np.ndarray:
    return base ** np.arange(NUM_GENES)[::-1]


def _from_index(kind: str, index: Any) -> Any:
    archs = _order(kind)[0]
    if isinstance(index, jax.Array):
        return jnp.asarray(archs)[index]
    index = np.asarray(index)
    if np.any(bad := (index < 0) | (index >= len(archs))):
        raise ValueError(f"index {index[bad].flat[0]} of transnas101_{kind}: allowed are 0 to {len(archs) - 1}")
    return archs[index]


def _to_index(kind: str, base: int, arch: Any) -> Any:
    index_of_code = _order(kind)[1]
    if isinstance(arch, jax.Array):
        return jnp.asarray(index_of_code)[arch @ jnp.asarray(_places(base))]
    return index_of_code[np.asarray(arch) @ _places(base)]


def micro_from_index(index: Any) -> Any:
    """Genotypes int32[..., 6] of published indices int[...]; numpy in, numpy out. ValueError beyond the 4,096."""
    return _from_index("micro", index)


def micro_to_index(arch: Any) -> Any:
    """Published indices int32[...] of genotypes int[..., 6]; numpy in, numpy out, else a jax array."""
    return _to_index("micro", NUM_OPS, arch)


def macro_from_index(index: Any) -> Any:
    """Genotypes int32[..., 6] of published indices int[...]; numpy in, numpy out. ValueError beyond the 3,256."""
    return _from_index("macro", index)


def macro_to_index(arch: Any) -> Any:
    """Published indices int32[...] of genotypes int[..., 6], -1 of what is none; numpy in, numpy out."""
    return _to_index("macro", NUM_KINDS, arch)


def sample_micro(key: jax.Array) -> jax.Array:
    """A uniformly drawn cell, int32[6]."""
    return jax.random.randint(key, (NUM_GENES,), 0, NUM_OPS, jnp.int32)


def mutate_micro(key: jax.Array, arch: jax.Array) -> jax.Array:
    """One uniformly drawn edge gets another operation, uniformly drawn from the other three. int32[6] to int32[6]."""
    edge_key, op_key = jax.random.split(key)
    edge = jax.random.randint(edge_key, (), 0, NUM_GENES)
    return arch.at[edge].set((arch[edge] + jax.random.randint(op_key, (), 1, NUM_OPS)) % NUM_OPS)


def sample_macro(key: jax.Array) -> jax.Array:
    """A uniformly drawn network of the 3,256, int32[6]."""
    return macro_from_index(jax.random.randint(key, (), 0, NUM_MACRO))


def sample_macro_by_counts(key: jax.Array) -> jax.Array:
    """As NASLib draws: uniform counts of modules, doublings and halvings, each placed at random. int32[6]."""
    keys = jax.random.split(key, 4)
    ranges = MODULES, DOUBLINGS, HALVINGS
    counts = [jax.random.randint(own, (), low, high + 1) for own, (low, high) in zip(keys, ranges, strict=False)]
    return _place(keys[3], *counts)


def mutate_macro(key: jax.Array, arch: jax.Array) -> jax.Array:
    """The number of modules, doublings or halvings changes; then all are placed anew. int32[6] to int32[6]."""
    which_key, step_key, place_key = jax.random.split(key, 3)
    counts = jnp.stack([(arch > 0).sum(), doubles(arch).sum(), halves(arch).sum()])
    low, high = jnp.array([MODULES, DOUBLINGS, HALVINGS]).T
    which = jax.random.randint(which_key, (), 0, 3)
    size = high[which] - low[which] + 1
    step = jax.random.randint(step_key, (), 1, size)
    counts = counts.at[which].set(low[which] + (counts[which] - low[which] + step) % size)
    return _place(place_key, *counts)


def _place(key: jax.Array, modules: jax.Array, doublings: jax.Array, halvings: jax.Array) -> jax.Array:
    """Modules of which so many, drawn at random, double and halve."""
    is_module = jnp.arange(MOST_MODULES) < modules

    def chosen(key: jax.Array, count: jax.Array) -> jax.Array:
        draws = jnp.where(is_module, jax.random.uniform(key, (MOST_MODULES,), jnp.float32), 2.0)
        return jnp.argsort(jnp.argsort(draws)) < count

    keys = jax.random.split(key)
    kinds = 1 + chosen(keys[0], doublings) + 2 * chosen(keys[1], halvings)
    return jnp.where(is_module, kinds, 0).astype(jnp.int32)


def doubles(arch: Any) -> Any:
    """Which modules double the channels, bool[..., 6]."""
    return (arch == 2) | (arch == 4)


def halves(arch: Any) -> Any:
    """Which modules halve the pixels, bool[..., 6]."""
    return (arch == 3) | (arch == 4)


def is_macro(arch: Any) -> Any:
    """Whether int32[6] is a macro network, bool[]."""
    return macro_to_index(arch) >= 0


def has_path(ops: Any) -> Any:
    """Whether an input reaches the output of a micro cell, bool[]; 169 cells have no path, and all one accuracy."""
    reached = [True, False, False, False]
    for edge, (source, target) in enumerate(EDGES):
        reached[target] = reached[target] | (reached[source] & (ops[edge] != NONE))
    return reached[3]


def encode_micro(arch: Any) -> str:
    """The published string 64-41414-a_bc_def of a genotype int[6]."""
    a, b, c, d, e, f = (int(op) for op in arch)
    return f"64-41414-{a}_{b}{c}_{d}{e}{f}"


def decode_micro(string: str) -> np.ndarray:
    """The genotype int32[6] of a published string.

    Raises:
        ValueError: naming what is wrong with the string.
    """
    match = re.fullmatch(r"64-41414-(.)_(..)_(...)", string.strip())
    if not match:
        raise ValueError(f"bad architecture {string!r}: needed is 64-41414-a_bc_def, a digit for each edge")
    digits = "".join(match.groups())
    for place, digit in enumerate(digits):
        if digit not in "0123":
            raise ValueError(f"bad architecture {string!r}: operation {digit!r} of edge {place}, allowed are 0 to 3")
    return np.array([int(digit) for digit in digits], np.int32)


def encode_macro(arch: Any) -> str:
    """The published string 64-DIGITS-basic of a genotype int[6]."""
    return f"64-{''.join(str(int(kind)) for kind in arch if kind)}-basic"


def decode_macro(string: str) -> np.ndarray:
    """The genotype int32[6] of a published string.

    Raises:
        ValueError: naming what is wrong with the string.
    """
    match = re.fullmatch(r"64-(.*)-basic", string.strip())
    if not match:
        raise ValueError(f"bad architecture {string!r}: needed is 64-DIGITS-basic, a digit for each module")
    digits = match.group(1)
    if not MODULES[0] <= len(digits) <= MODULES[1]:
        raise ValueError(f"bad architecture {string!r}: {len(digits)} modules, allowed are 4 to 6")
    for place, digit in enumerate(digits):
        if digit not in "1234":
            raise ValueError(f"bad architecture {string!r}: type {digit!r} of module {place}, allowed are 1 to 4")
    arch = np.array([int(digit) for digit in digits.ljust(MOST_MODULES, "0")], np.int32)
    for name, own, (low, high) in (("doublings", doubles, DOUBLINGS), ("halvings", halves, HALVINGS)):
        if not low <= (count := int(own(arch).sum())) <= high:
            raise ValueError(f"bad architecture {string!r}: {count} {name}, allowed are {low} to {high}")
    return arch

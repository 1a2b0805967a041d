"""The genotype of a NAS-Bench-101 cell: how it is drawn, changed, numbered and written.

It is int32[26]: 21 edge genes over seven slots, edge (x, y), x < y, at position x + y(y-1)/2, then the
operations of slots 1 to 5. Slot 0 is the input, slot 6 the output; a cell of V vertices fills slots 0 to V - 2 and 6.
A genotype may hold dead parts, on no path from input to output: they are pruned before anything is counted, and
`from_index(to_index(arch))` is the canonical form. Functions take genotypes int[..., 26]; numpy in, numpy out, else
jax arrays. Source: Ying et al., "NAS-Bench-101: Towards Reproducible Neural Architecture Search", ICML 2019.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.nasbench101.cells import (
    EDGES,
    INPUT,
    INTERIOR,
    MAX_EDGES,
    NUM_ARCHS,
    NUM_EDGES,
    NUM_GENES,
    NUM_INTERIOR,
    NUM_OPS,
    NUM_SLOTS,
    OUTPUT,
    canonical_code,
    edge_position,
    find_live,
    from_code,
    hash_stripped,
    strip,
    table,
)

TOKENS = ("c3", "c1", "mp")
"""The operations in strings."""

_OP_DRAWS = NUM_INTERIOR * (NUM_OPS - 1) * NUM_EDGES
_SOURCES, _TARGETS = np.array(EDGES).T


def sample(key: jax.Array) -> jax.Array:
    """A uniformly drawn row of the table, int32[26]."""
    return from_index(jax.random.randint(key, (), 0, NUM_ARCHS, jnp.int32))


def mutate(key: jax.Array, arch: jax.Array) -> jax.Array:
    """One operation or one edge changes, with probability 1/2 each; drawn again until the cell is valid.

    An operation gene becomes one of the two others, or an edge gene is flipped, uniformly, among dead parts too: a
    dangling vertex may so join the cell with the next edge, and a cell grow to seven vertices. int32[26] to int32[26].
    An invalid cell is changed once, and not drawn again.
    """

    def draw(key: jax.Array) -> jax.Array:
        number = jax.random.randint(key, (), 0, 2 * _OP_DRAWS)  # a half an operation, a half an edge
        slot, step = number // (2 * NUM_EDGES), 1 + number // NUM_EDGES % 2
        edge = (number - _OP_DRAWS) // (_OP_DRAWS // NUM_EDGES)
        is_op = number < _OP_DRAWS
        gene = jnp.where(is_op, NUM_EDGES + slot, edge)
        changed = jnp.where(is_op, (arch + step) % NUM_OPS, 1 - arch)
        return jnp.where(jnp.arange(NUM_GENES) == gene, changed, arch)

    def again(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        key, draw_key = jax.random.split(state[0])
        return key, draw(draw_key)

    repairable = is_valid(arch)
    return jax.lax.while_loop(lambda state: repairable & ~is_valid(state[1]), again, again((key, arch)))[1]


def from_index(index: Any) -> Any:
    """Genotypes int32[..., 26] of published indices int[...], in the vertex order of the published rows.

    Raises:
        ValueError: if an index that is not a jax array lies outside [0, 423624).
    """
    if isinstance(index, jax.Array):
        return from_code(jnp.asarray(table().codes)[index])
    index = np.asarray(index)
    if np.any(bad := (index < 0) | (index >= NUM_ARCHS)):
        raise ValueError(f"NAS-Bench-101 index {index[bad].flat[0]} is out of range: allowed are 0 to {NUM_ARCHS - 1}")
    return from_code(table().codes[index])


def is_valid(arch: Any) -> Any:
    """Whether genotypes int[..., 26] are of the space, bool[...]: input and output joined by at most 9 living edges."""
    return find_live(arch).is_valid()


def to_index(arch: Any) -> Any:
    """Published indices int32[...] of the cells that genotypes int[..., 26] are isomorphic to; -1 where not valid."""
    live, (sorted_codes, rows, _) = find_live(arch), table()
    code = canonical_code(strip(arch, live))
    if isinstance(code, jax.Array):
        found = jnp.asarray(rows)[jnp.searchsorted(jnp.asarray(sorted_codes), code)]
        return jnp.where(live.is_valid(), found, -1)
    found = rows[np.minimum(np.searchsorted(sorted_codes, code), NUM_ARCHS - 1)]
    return np.where(live.is_valid(), found, np.int32(-1))


def prune(arch: Any) -> Any:
    """The cells without dead parts, their living slots moved down in order, int32[..., 26]. Computes the same."""
    live = find_live(arch)
    genes = strip(arch, live)
    xp = jnp if isinstance(genes, jax.Array) else np
    dead = xp.stack([1 - live.has_slot(v) for v in INTERIOR], -1)
    order = xp.argsort(dead, axis=-1, stable=True)
    ends = xp.zeros_like(order[..., :1])
    slots = xp.concatenate([ends + INPUT, order + 1, ends + OUTPUT], -1)
    x, y = slots[..., _SOURCES], slots[..., _TARGETS]
    edges = xp.take_along_axis(genes, x + y * (y - 1) // 2, -1) * (x < y)
    ops = xp.take_along_axis(genes, NUM_EDGES + order, -1)
    return xp.concatenate([edges, ops], -1).astype(np.int32)


def encode(arch: Any) -> str:
    """The string "<adjacency bits, row by row>:in-c3-...-out" of a genotype int[26], dead parts included.

    The last slots without edges are left out where their operation gene is 0.
    """
    genes = np.asarray(arch).tolist()
    interior = list(INTERIOR)
    while interior and not genes[NUM_EDGES + interior[-1] - 1] and not _degree(genes, interior[-1]):
        interior.pop()
    slots = [INPUT, *interior, OUTPUT]
    bits = "".join(str(genes[edge_position(x, y)] if x < y else 0) for x in slots for y in slots)
    return f"{bits}:{'-'.join(['in', *(TOKENS[genes[NUM_EDGES + v - 1]] for v in interior), 'out'])}"


def _degree(genes: list[int], slot: int) -> int:
    return sum(gene for edge, gene in zip(EDGES, genes, strict=False) if slot in edge)


def decode(string: str) -> np.ndarray:
    """The genotype int32[26] of a string as `encode` writes it, or of a published hash, 32 hex digits.

    Raises:
        ValueError: naming what is wrong with the string.
    """
    string = string.strip()
    if re.fullmatch("[0-9a-f]{32}", string):
        return _find_hash(string)
    bits, _, names = string.partition(":")
    tokens = names.split("-")
    size, refuse = len(tokens), f"bad architecture {string!r}:"
    if tokens[0] != "in" or tokens[-1] != "out" or size < 2 or not set(tokens[1:-1]) <= set(TOKENS):
        raise ValueError(f"{refuse} operations {names!r}, needed are in-OP-...-out with OP of {', '.join(TOKENS)}")
    if size > NUM_SLOTS:
        raise ValueError(f"{refuse} {size} vertices, allowed are at most {NUM_SLOTS}")
    if not re.fullmatch(f"[01]{{{size**2}}}", bits):
        raise ValueError(f"{refuse} adjacency {bits!r}, needed are {size}x{size} digits 0 or 1 for {size} vertices")
    matrix = np.array([*bits], np.int32).reshape(size, size)
    if np.tril(matrix).any():
        raise ValueError(f"{refuse} its adjacency is not upper triangular: an edge leads back or to itself")
    genes = np.zeros(NUM_GENES, np.int32)
    slots = [*range(size - 1), OUTPUT]
    for x, y in zip(*np.nonzero(matrix), strict=True):
        genes[edge_position(slots[x], slots[y])] = 1
    genes[NUM_EDGES : NUM_EDGES + size - 2] = [TOKENS.index(token) for token in tokens[1:-1]]
    return _check(genes, refuse)


def _check(genes: np.ndarray, refuse: str) -> np.ndarray:
    """The genotype, if it is of the space."""
    live = find_live(genes)
    if not live.slots:
        raise ValueError(f"{refuse} no path joins input and output")
    if (count := int(live.edges).bit_count()) > MAX_EDGES:
        raise ValueError(f"{refuse} {count} edges on paths from input to output, allowed are at most {MAX_EDGES}")
    return genes


def _find_hash(digits: str) -> np.ndarray:
    """The row of a published hash: the rows are in the order of their hashes, so some twenty are computed."""
    low, high = 0, NUM_ARCHS
    while low < high:
        middle = (low + high) // 2
        genes = from_code(table().codes[middle])
        found = hash_stripped(genes.tolist())
        if found == digits:
            return genes
        low, high = (middle + 1, high) if found < digits else (low, middle)
    raise ValueError(f"bad architecture {digits!r}: no cell has this hash")


def published_hash(arch: Any) -> str:
    """The published hash of the pruned cell of a genotype int[26], 32 hex digits: equal for isomorphic cells."""
    return hash_stripped(strip(arch, find_live(arch)).tolist())

"""The NAS-Bench-101 space: 423,624 cells of at most seven vertices and nine edges.

An architecture is int32[26]: 21 edge genes over seven slots, edge (x, y), x < y, at position x + y(y-1)/2, then the
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

from zsnas_jax.base import SearchSpace
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
    Live,
    as_genes,
    canonical_code,
    edge_position,
    find_live,
    from_code,
    hash_stripped,
    strip,
    table,
    vertex_widths,
)
from zsnas_jax.search_spaces.nasbench101.network import NASBench101

TOKENS = ("c3", "c1", "mp")
"""The operations in strings."""

STEM_CHANNELS, NUM_STACKS, CELLS_PER_STACK = 128, 3, 3
NUM_VARIANTS = 1 + MAX_EDGES // 2  # what feeds the output is fed itself: two edges each
_OP_DRAWS = NUM_INTERIOR * (NUM_OPS - 1) * NUM_EDGES
_KERNEL_SIZES = np.array([9, 1, 0], np.int32)
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


def _projects(live: Live, xp: Any) -> Any:
    """Whether an edge leads from the input to slots 1 to 5, int[..., 5] 0 or 1."""
    return xp.stack([live.has_edge(INPUT, v) for v in INTERIOR], -1)


def _convolutions(arch: Any, in_channels: int, out_channels: int) -> tuple[Any, Any]:
    """(weights of the convolutions of a cell, channels that they give out), int[...] each."""
    live, genes = find_live(arch), as_genes(arch)
    xp = jnp if isinstance(genes, jax.Array) else np
    widths, projects = vertex_widths(arch, out_channels), _projects(live, xp)
    sizes = xp.asarray(_KERNEL_SIZES)[genes[..., NUM_EDGES:]]
    skip = live.has_edge(INPUT, OUTPUT)
    weights = (projects * in_channels * widths + sizes * widths**2).sum(-1) + skip * in_channels * out_channels
    given = ((projects + (sizes > 0)) * widths).sum(-1) + skip * out_channels
    return weights, given


def _stacks(arch: Any) -> list[tuple[Any, Any]]:
    """For each stack (weights, channels given out) of the convolutions of its cells."""
    sums = []
    for stack in range(NUM_STACKS):
        channels = STEM_CHANNELS << stack
        before = channels if stack == 0 else channels // 2
        first, other = _convolutions(arch, before, channels), _convolutions(arch, channels, channels)
        sums.append(tuple(a + (CELLS_PER_STACK - 1) * b for a, b in zip(first, other, strict=True)))
    return sums


def num_params(arch: Any, num_classes: int = 10) -> Any:
    """Trainable parameters of the network of a cell, batch norm's and the classifier's bias included, int[...]."""
    last = STEM_CHANNELS << (NUM_STACKS - 1)
    fixed = 27 * STEM_CHANNELS + 2 * STEM_CHANNELS + (last + 1) * num_classes
    return sum(weights + 2 * given for weights, given in _stacks(arch)) + fixed


def num_flops(arch: Any, num_classes: int = 10, image_size: int = 32) -> Any:
    """Multiply-adds of one image, of convolutions and the dense layer only.

    Exact, int64[...], for numpy; float32[...], to rounding, for jax arrays: a cell may have more than an int32 holds.
    """
    wide = np.float32 if isinstance(arch, jax.Array) else np.int64
    total = 27 * STEM_CHANNELS * image_size**2 + (STEM_CHANNELS << (NUM_STACKS - 1)) * num_classes
    for stack, (weights, _) in enumerate(_stacks(arch)):
        total = total + weights.astype(wide) * (image_size >> stack) ** 2
    return total


def num_convolutions(arch: Any) -> Any:
    """Convolutions of the network of a cell, int[...]: the stem's, then operations and projections of nine cells."""
    live, genes = find_live(arch), as_genes(arch)
    xp = jnp if isinstance(genes, jax.Array) else np
    alive = xp.stack([live.has_slot(v) for v in INTERIOR], -1)
    ops = (alive * (xp.asarray(_KERNEL_SIZES)[genes[..., NUM_EDGES:]] > 0)).sum(-1)
    return 1 + NUM_STACKS * CELLS_PER_STACK * (ops + _projects(live, xp).sum(-1) + live.has_edge(INPUT, OUTPUT))


def variant_of(arch: Any) -> Any:
    """How many interior vertices feed the output, int32[...]: the network that serves the cell.

    From 0 to 4 in a valid cell: five that feed the output, and are fed, would take ten edges.
    """
    live = find_live(arch)
    return sum(live.has_edge(v, OUTPUT) for v in INTERIOR).astype(np.int32)


def make_network(num_classes: int = 10, variant: int = 1) -> NASBench101:
    """The benchmark's network for the cells in which `variant` interior vertices feed the output."""
    return NASBench101(num_classes=num_classes, variant=variant)


def space() -> SearchSpace:
    """The space as a value."""
    network = NASBench101()
    return SearchSpace(
        name="nasbench101",
        num_archs=NUM_ARCHS,
        sample=sample,
        mutate=mutate,
        from_index=from_index,
        to_index=to_index,
        encode=encode,
        decode=decode,
        isomorphism_key=published_hash,
        prune=prune,
        num_params=num_params,
        num_flops=num_flops,
        make_network=make_network,
        layer_of=network.layer_of,
        is_active=network.is_active,
        num_convolutions=num_convolutions,
        is_valid=is_valid,
        num_choices=(2,) * NUM_EDGES + (NUM_OPS,) * NUM_INTERIOR,
        num_variants=NUM_VARIANTS,
        variant_of=variant_of,
        static=lambda arch: tuple(np.asarray(arch).tolist()),
    )

"""The cells of NAS-Bench-101: what of a genotype is alive, its canonical code, its published hash, the table of rows.

A cell has seven slots: the input 0, the interior 1 to 5, the output 6. A genotype is int32[26]: 21 edge genes, edge
(x, y), x < y, at position x + y(y-1)/2, then the operations of slots 1 to 5. Functions take genotypes int[..., 26],
numpy or jax, and give the same kind back. Source: Ying et al., "NAS-Bench-101: Towards Reproducible Neural
Architecture Search", ICML 2019.
"""

from collections.abc import Sequence
import functools
import hashlib
import itertools
import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.storage import files

OPS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
CONV3, CONV1, POOL, ABSENT = range(4)
NUM_OPS, NUM_SLOTS, NUM_INTERIOR, NUM_EDGES, NUM_GENES, MAX_EDGES = len(OPS), 7, 5, 21, 26, 9
INPUT, OUTPUT = 0, NUM_SLOTS - 1
INTERIOR = range(1, OUTPUT)
NUM_ARCHS = 423_624
EDGES = tuple((x, y) for y in range(NUM_SLOTS) for x in range(y))
"""Source and target of each edge gene."""

_OP_CODES = NUM_OPS**NUM_INTERIOR
_OP_PLACES = NUM_OPS ** np.arange(NUM_INTERIOR)[::-1]
_FORBIDDEN = 1 << 29  # above every code
_CHUNK = 1 << 14
_FILE = pathlib.Path(__file__).parent / "cells.npz"


def edge_position(source: Any, target: Any) -> Any:
    """Where the gene of an edge stands in a genotype, int or int[...]."""
    return source + target * (target - 1) // 2


def as_genes(arch: Any) -> Any:
    """The genotype as an array: a jax array as it is, all else as numpy."""
    return arch if isinstance(arch, jax.Array) else np.asarray(arch)


class Live(NamedTuple):
    """What of a cell lies on a path from input to output; nothing where there is no path.

    Attributes:
        edges: int[...], bit p is the edge whose gene stands at position p.
        slots: int[...], bit v is slot v.
    """

    edges: Any
    slots: Any

    def has_edge(self, source: int, target: int) -> Any:
        """Whether a living edge joins two slots, int[...] 0 or 1."""
        return (self.edges >> edge_position(source, target)) & 1

    def has_slot(self, slot: int) -> Any:
        """Whether a slot is alive, int[...] 0 or 1."""
        return (self.slots >> slot) & 1

    def is_valid(self) -> Any:
        """Whether input and output are joined by at most 9 living edges, bool[...]."""
        count = jnp.bitwise_count if isinstance(self.edges, jax.Array) else np.bitwise_count
        return (self.slots != 0) & (count(self.edges) <= MAX_EDGES)


def find_live(arch: Any) -> Live:
    """The living edges and slots of genotypes int[..., 26]; the arithmetic is on one integer a cell."""
    genes = as_genes(arch)
    return _live_of_bits((genes[..., :NUM_EDGES] << np.arange(NUM_EDGES, dtype=np.int32)).sum(-1, dtype=np.int32))


def _live_of_bits(bits: Any) -> Live:
    sources = [(bits >> edge_position(0, y)) & ((1 << y) - 1) for y in range(NUM_SLOTS)]
    fed, read = bits * 0 + 1, bits * 0 + (1 << OUTPUT)
    for y in range(1, NUM_SLOTS):
        fed = fed | (((sources[y] & fed) != 0) << y)
    for y in reversed(range(1, NUM_SLOTS)):
        read = read | sources[y] * ((read >> y) & 1)
    slots = fed & read
    kept = [(sources[y] & slots) * ((slots >> y) & 1) << edge_position(0, y) for y in range(1, NUM_SLOTS)]
    return Live(sum(kept[1:], start=kept[0]), slots)


def strip(arch: Any, live: Live) -> Any:
    """Genotypes int32[..., 26] without dead edges; the operation of a dead slot is 0. Slots stay where they are."""
    genes = as_genes(arch)
    xp = jnp if isinstance(genes, jax.Array) else np
    edges = live.edges[..., None] >> np.arange(NUM_EDGES, dtype=np.int32)
    slots = live.slots[..., None] >> np.array(INTERIOR, np.int32)
    return (genes * (xp.concatenate([edges, slots], -1) & 1)).astype(np.int32)


def vertex_widths(arch: Any, channels: int) -> Any:
    """Channels of slots 1 to 5, int32[..., 5], in a cell of that many output channels; 0 where a slot is dead.

    The k vertices that feed the output have channels // k, the first channels % k of them one more. Another vertex is
    as wide as the widest interior vertex that it feeds.
    """
    live = find_live(arch)
    xp = jnp if isinstance(live.edges, jax.Array) else np
    feeds = {v: live.has_edge(v, OUTPUT) for v in INTERIOR}
    share, wide = xp.divmod(channels, xp.maximum(sum(feeds.values()), 1))
    widths: dict[int, Any] = {}
    for v in reversed(INTERIOR):
        widest = xp.zeros_like(share)
        for target, width in widths.items():
            widest = xp.maximum(widest, live.has_edge(v, target) * width)
        before = sum(feeds[u] for u in range(1, v))
        widths[v] = xp.where(feeds[v] == 1, share + (before < wide), widest)
    return xp.stack([widths[v] for v in INTERIOR], -1).astype(np.int32)


class Wiring(NamedTuple):
    """How the living vertices of a cell hang together: Python values for one cell, arrays of no axes for any.

    Slot 0 is the input, slots 1 to 5 are interior, slot 6 is the output.

    Attributes:
        edges: [7][7], bool, whether a living edge leads from the first slot to the second.
        ops: [7], int, the operation of a slot, `ABSENT` where there is none.
        ranks: [7], int, how many interior slots before this one feed the output.
        narrow: [7], bool, whether a slot has w - 1 channels.
    """

    edges: Any
    ops: Any
    ranks: Any
    narrow: Any


def wire(arch: Any, channels: int) -> Wiring:
    """The wiring of a genotype, int32[26] or 26 Python ints, in a cell of that many output channels."""
    xp = jnp if isinstance(arch, jax.Array) else np
    genes, live, slots = xp.asarray(arch), find_live(arch), range(NUM_SLOTS)
    no = xp.zeros((), bool)
    edges = [[live.has_edge(s, t) == 1 if s < t else no for t in slots] for s in slots]
    feeds = [xp.int32(edges[v][OUTPUT]) if v else xp.int32(0) for v in slots]
    ranks = [sum(feeds[:v], start=xp.int32(0)) for v in slots]
    widest = -(-channels // xp.maximum(ranks[OUTPUT], 1))
    widths = vertex_widths(arch, channels)
    ops, narrow = [xp.int32(ABSENT)] * NUM_SLOTS, [no] * NUM_SLOTS
    for v in range(1, OUTPUT):
        ops[v] = xp.where(live.has_slot(v) == 1, genes[NUM_EDGES + v - 1], ABSENT)
        narrow[v] = (live.has_slot(v) == 1) & (widths[v - 1] < widest)
    wiring = Wiring(edges, ops, ranks, narrow)
    return _apart(wiring) if xp is jnp else jax.tree.map(lambda leaf: leaf.item(), wiring)


def _apart(wiring: Wiring) -> Wiring:
    """The same values, computed once: XLA would copy the arithmetic into everything that reads one of them."""
    leaves, tree = jax.tree.flatten(wiring)
    packed = jax.lax.optimization_barrier(jnp.stack([jnp.int32(leaf) for leaf in leaves]))
    return jax.tree.unflatten(tree, [packed[i].astype(leaf.dtype) for i, leaf in enumerate(leaves)])


@functools.cache
def _code_weights() -> np.ndarray:
    """uint32[26, 120]: what each gene adds to the code of a cell under each order of the interior slots.

    An edge that an order turns backwards adds `_FORBIDDEN`. A valid cell has at most seven interior edges, so a sum
    stays below 2^32.
    """
    weights = np.zeros((NUM_GENES, 120), np.uint32)
    for column, order in enumerate(itertools.permutations(INTERIOR)):
        place = [INPUT, *order, OUTPUT]
        for position, (x, y) in enumerate(EDGES):
            x, y = place[x], place[y]
            weights[position, column] = _OP_CODES << edge_position(x, y) if x < y else _FORBIDDEN
        weights[NUM_EDGES:, column] = _OP_PLACES[np.array(order) - 1]
    return weights


def canonical_code(stripped: Any) -> Any:
    """A number that valid cells share if and only if they are isomorphic: uint32[...] of stripped genotypes [..., 26].

    code = min over the orders of the interior slots of 243 * (edge bits) + (operations in base 3), edges forward

    The published row of a cell has the vertex order of the minimum, absent slots last. Of a cell that is not valid it
    is of no meaning.
    """
    weights = _code_weights()
    if isinstance(stripped, jax.Array):
        # a term a gene: XLA's CPU backend runs this several times faster than a sum over an axis
        terms = [stripped[..., g, None].astype(jnp.uint32) * weights[g] for g in range(NUM_GENES)]
        return sum(terms[1:], start=terms[0]).min(-1)
    genes = np.asarray(stripped).reshape(-1, NUM_GENES)
    # float64 is exact here, and its product is BLAS's
    parts = np.array_split(genes, max(1, len(genes) // _CHUNK))
    codes = [(part.astype(np.float64) @ weights.astype(np.float64)).min(-1) for part in parts]
    return np.concatenate(codes).reshape(np.shape(stripped)[:-1]).astype(np.uint32)


def from_code(code: Any) -> Any:
    """Genotypes int32[..., 26] of codes uint32[...]."""
    xp = jnp if isinstance(code, jax.Array) else np
    edges = (code[..., None] // _OP_CODES).astype(np.int32) >> np.arange(NUM_EDGES, dtype=np.int32) & 1
    ops = (code[..., None] % _OP_CODES).astype(np.int32) // _OP_PLACES.astype(np.int32) % NUM_OPS
    return xp.concatenate([edges, ops], -1)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def hash_stripped(genes: Sequence[int]) -> str:
    """The published hash, 32 hex digits, of a stripped genotype of 26 Python ints.

    Labels: -1 input, the operation's number, -2 output. A vertex starts as md5 of its (out-degree, in-degree, label);
    as many times as there are vertices it becomes md5 of the sorted hashes of its sources, those of its targets, and
    its own, joined by "|"; the cell is md5 of the sorted list.
    """
    edges = [edge for edge, gene in zip(EDGES, genes, strict=False) if gene]
    slots = sorted({INPUT, OUTPUT}.union(*edges))
    labels = {INPUT: -1, **{v: genes[NUM_EDGES + v - 1] for v in INTERIOR}, OUTPUT: -2}
    sources = {v: [x for x, y in edges if y == v] for v in slots}
    targets = {v: [y for x, y in edges if x == v] for v in slots}
    hashes = {v: _md5(str((len(targets[v]), len(sources[v]), labels[v]))) for v in slots}
    join = lambda vertices: "".join(sorted(hashes[u] for u in vertices))
    for _ in slots:
        hashes = {v: _md5(f"{join(sources[v])}|{join(targets[v])}|{hashes[v]}") for v in slots}
    return _md5(str(sorted(hashes.values())))


class Table(NamedTuple):
    """All rows. `sorted_codes` uint32[A] ascending, their published `rows` int32[A], and `codes` in published order."""

    sorted_codes: np.ndarray
    rows: np.ndarray
    codes: np.ndarray


@functools.cache
def table() -> Table:
    """The shipped table, read once."""
    with np.load(_FILE, allow_pickle=False) as arrays:
        sorted_codes = np.cumsum(arrays["steps"], dtype=np.uint32)
        rows = arrays["row_low"].astype(np.int32) + (arrays["row_high"].astype(np.int32) << 16)
    codes = np.empty_like(sorted_codes)
    codes[rows] = sorted_codes
    return Table(sorted_codes, rows, codes)


def enumerate_codes() -> np.ndarray:
    """The codes of all cells, uint32[423624], ascending: every matrix in its canonical order, then its operations."""
    bits = np.arange(1 << NUM_EDGES, dtype=np.int32)
    live = _live_of_bits(bits)
    matrices = from_code(bits[live.is_valid() & (live.edges == bits)].astype(np.uint32) * np.uint32(_OP_CODES))
    canonical = matrices[canonical_code(matrices) == _own_code(matrices)]
    labelled = np.repeat(canonical, _OP_CODES, axis=0)
    labelled[:, NUM_EDGES:] = np.tile(list(itertools.product(range(NUM_OPS), repeat=NUM_INTERIOR)), (len(canonical), 1))
    labelled = labelled[(strip(labelled, find_live(labelled)) == labelled).all(-1)]
    codes = _own_code(labelled)
    return np.sort(codes[canonical_code(labelled) == codes])


def _own_code(genes: np.ndarray) -> np.ndarray:
    """The code of a genotype in its own order."""
    return (genes @ _code_weights()[:, 0].astype(np.int64)).astype(np.uint32)


def write_table(path: str | os.PathLike[str] = _FILE) -> None:
    """Enumerates the space, orders it by the published hash (about a minute) and writes the table.

    Raises:
        ValueError: if two cells share a hash.
    """
    codes = enumerate_codes()
    hashes = [hash_stripped(genes) for genes in from_code(codes).tolist()]
    if len(set(hashes)) != len(codes):
        raise ValueError(f"{len(codes)} cells have {len(set(hashes))} hashes: the published order is undefined")
    rows = np.empty(len(codes), np.int32)
    rows[sorted(range(len(codes)), key=hashes.__getitem__)] = np.arange(len(codes))
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        low, high = rows.astype(np.uint16), (rows >> 16).astype(np.uint8)
        np.savez_compressed(file, steps=np.diff(codes, prepend=np.uint32(0)), row_low=low, row_high=high)

"""The genotype of a DARTS network: how it is drawn, changed and written.

It is int32[2, 4, 2, 2]: of the normal and the reduction cell, by node, by slot, (input, operation). Inputs 0 and 1 are
those of the cell, 2 to 4 its nodes; operations are numbered as in `zsnas_jax.search_spaces.darts.edges.OPS`. Networks
with `none` and with two equal inputs of a node are read and built, since most of the published trained cells have them;
they are not drawn. An offer, bool[2, 14, 9], says which operations an edge may have.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.darts.edges import (
    CELLS,
    DARTS,
    FIRST_EDGES,
    NOISE,
    NONE,
    NUM_CELLS,
    NUM_NODES,
    NUM_SLOTS,
    OPS,
    drawn,
)

_SHAPE = (NUM_CELLS, NUM_NODES, NUM_SLOTS)
_NUM_INPUTS = np.arange(NUM_NODES) + 2
"""From how many a node can read."""
_KINDS = np.arange(NUM_CELLS)[:, None, None]
_MAX_LENGTH = 2000
_SPACED = re.compile(r"\s*([\[\](),=])\s*")
_PUBLISHED = re.compile(
    r"Genotype\(normal=\[([^\[\]]*)\],normal_concat=([^=]*),reduce=\[([^\[\]]*)\],reduce_concat=([^=]*)\)"
)
_NUMBERED = r"\(((?:\([0-9],[0-9]\),)*\([0-9],[0-9]\)),?\)"
_COMPACT = re.compile(rf"\({_NUMBERED},{_NUMBERED}\)")


def _at_edges(offer: np.ndarray, inputs: jax.Array) -> jax.Array:
    """Which operations the edges to inputs int[2, 4, 2] offer, bool[2, 4, 2, 9]."""
    return jnp.asarray(offer)[_KINDS, FIRST_EDGES[:, None] + inputs]


def _choose(key: jax.Array, weights: jax.Array) -> jax.Array:
    """A number along the last axis, drawn with these weights, which need not add up to one."""
    return jax.random.categorical(key, jnp.log(weights)).astype(jnp.int32)


def sample(key: jax.Array, offer: np.ndarray = DARTS) -> jax.Array:
    """Two distinct inputs a node, in ascending order, and operations that their edges offer, but none; all uniform.

    Args:
        key: of the draw.
        offer: bool[2, 14, 9].

    Returns:
        int32[2, 4, 2, 2].
    """
    first_key, second_key, op_key = jax.random.split(key, 3)
    first = jax.random.randint(first_key, _SHAPE[:2], 0, _NUM_INPUTS)
    second = jax.random.randint(second_key, _SHAPE[:2], 0, _NUM_INPUTS - 1)
    inputs = jnp.sort(jnp.stack([first, second + (second >= first)], -1), -1)
    return jnp.stack([inputs, _choose(op_key, _at_edges(drawn(offer), inputs))], -1).astype(jnp.int32)


def mutate(key: jax.Array, arch: jax.Array, offer: np.ndarray = DARTS) -> jax.Array:
    """One slot gets another operation, or another input; a new input differs from the other slot's.

    Cell, slot, which of the two, and the new value are drawn uniformly, and all again until the architecture changes:
    one draw over all changes, each with its share of that. Where the edge to a new input does not offer the operation,
    that edge's is drawn.

    Args:
        key: of the draw.
        arch: int32[2, 4, 2, 2].
        offer: bool[2, 14, 9].

    Returns:
        int32[2, 4, 2, 2].
    """
    change_key, op_key = jax.random.split(key)
    inputs, ops = arch[..., 0], arch[..., 1]
    choices, sources = drawn(offer), np.arange(_NUM_INPUTS[-1])
    offered, count = _at_edges(choices, inputs), _NUM_INPUTS[:, None, None]
    op_weights = (offered & (np.arange(len(OPS)) != ops[..., None])) / offered.sum(-1, keepdims=True)
    is_new = (sources != inputs[..., None]) & (sources != inputs[..., ::-1, None])
    input_weights = ((sources < count) & is_new) / count
    weights = jnp.concatenate([op_weights, input_weights], -1)
    *place, value = jnp.unravel_index(_choose(change_key, weights.ravel()), weights.shape)
    kind, node, slot = place
    source, op = inputs[kind, node, slot], ops[kind, node, slot]
    is_op = value < len(OPS)
    moved = jnp.where(is_op, source, value - len(OPS))
    edge = jnp.asarray(FIRST_EDGES)[node] + moved
    keeps = jnp.asarray(offer)[kind, edge, op]
    other = jnp.where(keeps, op, _choose(op_key, jnp.asarray(choices)[kind, edge]))
    return arch.at[kind, node, slot].set(jnp.stack([moved, jnp.where(is_op, value, other)]).astype(jnp.int32))


def encode(arch: Any) -> str:
    """The published string of int[2, 4, 2, 2]."""
    cells = [str([(OPS[op], source) for source, op in genes]) for genes in _pairs(arch)]
    concat = str([node + 2 for node in range(NUM_NODES)])
    parts = [f"{name}={cell}, {name}_concat={concat}" for name, cell in zip(CELLS, cells, strict=True)]
    return f"Genotype({', '.join(parts)})"


def _pairs(arch: Any) -> list[list[tuple[int, int]]]:
    """Of each cell the eight pairs (input, operation), as Python ints."""
    return [[(source, op) for source, op in genes] for genes in np.asarray(arch).reshape(NUM_CELLS, -1, 2).tolist()]


def to_compact(arch: Any) -> tuple[tuple[tuple[int, int], ...], ...]:
    """NAS-Bench-301's form: of each cell eight pairs (input, operation - 1).

    Raises:
        ValueError: if an operation is none or noise, which that form has no number for.
    """
    for kind, genes in enumerate(_pairs(arch)):
        for entry, (_, op) in enumerate(genes):
            if op in (NONE, NOISE):
                raise ValueError(
                    f"{CELLS[kind]} entry {entry} is {OPS[op]}: the compact form has numbers for "
                    f"{', '.join(OPS[NONE + 1 : NOISE])} only"
                )
    return tuple(tuple((source, op - 1) for source, op in genes) for genes in _pairs(arch))


def decode(string: str, offer: np.ndarray = DARTS) -> np.ndarray:
    """The genotype of a string: of the published form, or of NAS-Bench-301's compact one.

    Args:
        string: `Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], reduce=[...],
            reduce_concat=range(2, 6))` with eight pairs (operation, input) a cell, or `(((0, 3), ...), (...))` with
            eight pairs (input, operation - 1), in brackets or parentheses.
        offer: bool[2, 14, 9], the operations that edges may have.

    Returns:
        int32[2, 4, 2, 2].

    Raises:
        ValueError: naming the first thing wrong with the string.
    """
    bad = f"bad architecture {string[:60]!r}{'...' if len(string) > 60 else ''}"
    if len(string) > _MAX_LENGTH:
        raise ValueError(f"{bad}: {len(string)} characters, at most {_MAX_LENGTH} are allowed")
    text = _SPACED.sub(r"\1", string.strip())
    if found := _PUBLISHED.fullmatch(text):
        normal, normal_concat, reduction, reduction_concat = found.groups()
        for name, concat in zip(CELLS, (normal_concat, reduction_concat), strict=True):
            if concat not in ("[2,3,4,5]", "range(2,6)"):
                raise ValueError(f"{bad}: {name}_concat is {concat[:60]}, allowed are [2, 3, 4, 5] and range(2, 6)")
        cells = [_named_pairs(bad, name, cell) for name, cell in zip(CELLS, (normal, reduction), strict=True)]
    elif found := _COMPACT.fullmatch(text.replace("[", "(").replace("]", ")")):
        cells = [_numbered_pairs(bad, name, cell) for name, cell in zip(CELLS, found.groups(), strict=True)]
    else:
        raise ValueError(
            f"{bad}: needed is Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], reduce=[...], "
            "reduce_concat=[2, 3, 4, 5]) or (((input, operation), ...), (...)) with digits"
        )
    for kind, pairs in enumerate(cells):
        _check(bad, kind, pairs, offer)
    return np.array(cells, np.int32).reshape(*_SHAPE, 2)


def _named_pairs(bad: str, name: str, cell: str) -> list[tuple[int, int]]:
    """(input, operation) of a cell written as ('name',input),... without spaces."""
    pairs = []
    for entry in re.split(r"(?<=\)),", cell.removesuffix(",")):
        found = re.fullmatch(r"\((['\"])(\w+)\1,([0-9]{1,3})\)", entry)
        if not found:
            raise ValueError(f"{bad}: {name} has {entry[:60]!r}, needed are pairs ('operation', input)")
        if found[2] not in OPS:
            raise ValueError(f"{bad}: {name} has the unknown operation {found[2][:60]!r}, known are {', '.join(OPS)}")
        pairs.append((int(found[3]), OPS.index(found[2])))
    return pairs


def _numbered_pairs(bad: str, name: str, cell: str) -> list[tuple[int, int]]:
    """(input, operation) of a cell written as (input,operation - 1),... with digits."""
    pairs = [(int(source), int(op) + 1) for source, op in re.findall(r"\(([0-9]),([0-9])\)", cell)]
    for _, op in pairs:
        if op >= NOISE:
            raise ValueError(f"{bad}: {name} has the operation {op - 1}, allowed are 0 to {NOISE - 2}")
    return pairs


def _check(bad: str, kind: int, pairs: list[tuple[int, int]], offer: np.ndarray) -> None:
    """Raises ValueError, beginning with `bad`, if the pairs (input, operation) are no cell of the offer."""
    name, needed = CELLS[kind], NUM_NODES * NUM_SLOTS
    if len(pairs) != needed:
        raise ValueError(f"{bad}: {name} has {len(pairs)} entries, {needed} are needed")
    for entry, (source, op) in enumerate(pairs):
        node = entry // NUM_SLOTS
        if source >= _NUM_INPUTS[node]:
            raise ValueError(
                f"{bad}: {name} entry {entry} reads {source}, node {node + 2} can read 0 to {_NUM_INPUTS[node] - 1}"
            )
        offered = offer[kind, FIRST_EDGES[node] + source]
        if not offered[op]:
            raise ValueError(
                f"{bad}: {name} entry {entry} is {OPS[op]} on the edge {source} to {node + 2}, which offers "
                f"{', '.join(OPS[own] for own in np.flatnonzero(offered))}"
            )


def isomorphism_key(arch: Any) -> str:
    """The string with the slots of every node sorted by input, then operation: equal for networks that are equal so."""
    cells = [[sorted(genes[place : place + NUM_SLOTS]) for place in range(0, len(genes), NUM_SLOTS)]
             for genes in _pairs(arch)]  # fmt: skip
    return encode(cells)

"""The genotype of a NAS-Bench-201 cell: how it is drawn, changed, numbered and written.

It is int32[6], the operation of each edge in the order of the published string. Source: Dong and Yang,
"NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020.
"""

import functools
import itertools
import random
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.nasbench201.network import EDGES, OPS

NUM_GENES, NUM_OPS, NUM_ARCHS = len(EDGES), len(OPS), len(OPS) ** len(EDGES)
_PLACES = NUM_OPS ** np.arange(NUM_GENES)[::-1]


@functools.cache
def _published_order() -> tuple[np.ndarray, np.ndarray]:
    """(genotypes int32[15625, 6] in the published order, int32[15625] from base-5 code to published index).

    The published order is the lexicographic one, shuffled by Python's generator seeded with 88.
    """
    genotypes = list(itertools.product(range(NUM_OPS), repeat=NUM_GENES))
    random.Random(88).shuffle(genotypes)
    archs = np.array(genotypes, np.int32)
    index_of_code = np.empty(NUM_ARCHS, np.int32)
    index_of_code[archs @ _PLACES] = np.arange(NUM_ARCHS)
    return archs, index_of_code


def sample(key: jax.Array) -> jax.Array:
    """A uniformly drawn cell, int32[6]."""
    return jax.random.randint(key, (NUM_GENES,), 0, NUM_OPS, jnp.int32)


def mutate(key: jax.Array, arch: jax.Array) -> jax.Array:
    """One uniformly drawn edge gets another operation, uniformly drawn from the other four. int32[6] to int32[6]."""
    edge_key, op_key = jax.random.split(key)
    edge = jax.random.randint(edge_key, (), 0, NUM_GENES)
    step = jax.random.randint(op_key, (), 1, NUM_OPS)
    return arch.at[edge].set((arch[edge] + step) % NUM_OPS)


def from_index(index: Any) -> Any:
    """Genotypes int32[..., 6] of published indices int[...]; numpy in, numpy out, else a jax array.

    Raises:
        ValueError: if an index that is not a jax array lies outside [0, 15625).
    """
    archs = _published_order()[0]
    if isinstance(index, jax.Array):
        return jnp.asarray(archs)[index]
    index = np.asarray(index)
    if np.any(bad := (index < 0) | (index >= NUM_ARCHS)):
        raise ValueError(f"NAS-Bench-201 index {index[bad].flat[0]} is out of range: allowed are 0 to {NUM_ARCHS - 1}")
    return archs[index]


def to_index(arch: Any) -> Any:
    """Published indices int32[...] of genotypes int[..., 6]; numpy in, numpy out, else a jax array."""
    index_of_code = _published_order()[1]
    if isinstance(arch, jax.Array):
        return jnp.asarray(index_of_code)[arch @ jnp.asarray(_PLACES)]
    return index_of_code[np.asarray(arch) @ _PLACES]


def encode(arch: Any) -> str:
    """The published string |op~0|+|op~0|op~1|+|op~0|op~1|op~2| of a genotype int[6]."""
    terms = [f"{OPS[int(op)]}~{source}" for op, (source, _) in zip(arch, EDGES, strict=True)]
    return f"|{terms[0]}|+|{terms[1]}|{terms[2]}|+|{terms[3]}|{terms[4]}|{terms[5]}|"


def decode(string: str) -> np.ndarray:
    """The genotype int32[6] of a published string.

    Raises:
        ValueError: naming the first thing wrong with the string.
    """
    nodes = string.strip().split("+")
    if len(nodes) != 3:
        raise ValueError(f"bad architecture {string!r}: {len(nodes)} nodes joined by '+', 3 are needed")
    genes = []
    for target, node in enumerate(nodes, start=1):
        tokens = re.fullmatch(r"\|(.*)\|", node)
        terms = tokens.group(1).split("|") if tokens else []
        if len(terms) != target:
            raise ValueError(f"bad architecture {string!r}: node {target} has {len(terms)} edges, {target} are needed")
        for source, term in enumerate(terms):
            op, _, origin = term.partition("~")
            if op not in OPS or origin != str(source):
                allowed = ", ".join(OPS)
                raise ValueError(
                    f"bad architecture {string!r}: token {term!r}, needed is OP~{source} with OP of {allowed}"
                )
            genes.append(OPS.index(op))
    return np.array(genes, np.int32)


def isomorphism_key(arch: Any) -> str:
    """The published key, equal for isomorphic cells: 6,466 classes.

    Node 0 is "0"; an edge's term is "#" when its operation is none or its source is exactly "#", the source's own
    string for skip_connect, else "(source)@op"; a node is its terms sorted and joined by "+"; the key is node 3.
    Classes mix cells whose dead convolutions differ, so a score that counts sites or parameters differs within one.
    """
    terms: list[list[str]] = [[], [], [], []]
    strings = ["0"]
    for op, (source, target) in zip(arch, EDGES, strict=True):
        if target == len(strings) + 1:
            strings.append("+".join(sorted(terms[len(strings)])))
        name, origin = OPS[int(op)], strings[source]
        dead = name == "none" or origin == "#"
        terms[target].append("#" if dead else origin if name == "skip_connect" else f"({origin})@{name}")
    return "+".join(sorted(terms[3]))


def prune(arch: Any) -> np.ndarray:
    """The cell without its dead operations: those no signal enters, or whose output nobody reads, become `none`.

    Its network computes what that of `arch` computes, from fewer parameters. int[6] to int32[6].
    """
    ops = [int(op) for op in arch]
    live, read = {0}, {3}
    for op, (source, target) in zip(ops, EDGES, strict=True):
        live |= {target} if op and source in live else set()
    for op, (source, target) in reversed(list(zip(ops, EDGES, strict=True))):
        read |= {source} if op and target in read else set()
    keep = [source in live and target in read for source, target in EDGES]
    return np.array([op if kept else 0 for op, kept in zip(ops, keep, strict=True)], np.int32)

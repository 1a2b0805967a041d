"""The NAS-Bench-201 space: 15,625 cells of six edges with five operations each.

An architecture is int32[6], the operation of each edge in the order of the published string. Source: Dong and Yang,
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

from zsnas_jax.base import SearchSpace
from zsnas_jax.search_spaces.nasbench201.network import CONV1, CONV3, EDGES, NUM_STAGES, OPS, NASBench201, is_active

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


def _per_cell(arch: Any, width: int, per_pixel: bool) -> Any:
    """Weights (and, unless per pixel, batch norm's scale and bias) of the convolutions of one cell."""
    ops = arch if isinstance(arch, jax.Array) else np.asarray(arch)
    conv1, conv3 = (ops == CONV1).sum(), (ops == CONV3).sum()
    return (conv1 + 9 * conv3) * width**2 + (0 if per_pixel else 2 * width * (conv1 + conv3))


def num_params(arch: Any, num_classes: int = 10, channels: int = 16, cells_per_stage: int = 5) -> Any:
    """Trainable parameters of the network of a cell, batch norm's and the classifier's bias included."""
    total = 27 * channels + 2 * channels
    for stage in range(NUM_STAGES):
        c = channels * 2**stage
        if stage:
            total += (9 * c * c // 2 + 2 * c) + (9 * c * c + 2 * c) + c * c // 2
        total += cells_per_stage * _per_cell(arch, c, per_pixel=False)
    return total + 2 * c + (c + 1) * num_classes


def num_flops(
    arch: Any, num_classes: int = 10, image_size: int = 32, channels: int = 16, cells_per_stage: int = 5
) -> Any:
    """Multiply-adds of one image, of convolutions and the dense layer only."""
    total = 27 * channels * image_size**2
    for stage in range(NUM_STAGES):
        c, pixels = channels * 2**stage, (image_size >> stage) ** 2
        if stage:
            total += (9 * c * c // 2 + 9 * c * c + c * c // 2) * pixels
        total += cells_per_stage * _per_cell(arch, c, per_pixel=True) * pixels
    return total + c * num_classes


def num_convolutions(arch: Any, cells_per_stage: int = 5) -> Any:
    """Convolutions of the network of a cell, the shortcuts of the two residual blocks excluded.

    5 + 15 k for a cell with k convolutions: the stem, two in each residual block, k in each of three times five cells.
    With the two shortcuts it is 7 + 15 k.
    """
    ops = arch if isinstance(arch, jax.Array) else np.asarray(arch)
    fixed = 1 + 2 * (NUM_STAGES - 1)
    return fixed + NUM_STAGES * cells_per_stage * ((ops == CONV1) | (ops == CONV3)).sum()


def make_network(num_classes: int = 10) -> NASBench201:
    """The benchmark's network: 16 channels, five cells a stage."""
    return NASBench201(num_classes=num_classes)


def space() -> SearchSpace:
    """The space as a value."""
    return SearchSpace(
        name="nasbench201",
        num_archs=NUM_ARCHS,
        sample=sample,
        mutate=mutate,
        from_index=from_index,
        to_index=to_index,
        encode=encode,
        decode=decode,
        isomorphism_key=isomorphism_key,
        prune=prune,
        num_params=num_params,
        num_flops=num_flops,
        make_network=make_network,
        layer_of=NASBench201().layer_of,
        is_active=is_active,
        num_convolutions=num_convolutions,
        num_choices=(NUM_OPS,) * NUM_GENES,
        static=lambda arch: tuple(np.asarray(arch).tolist()),
    )

"""TransNAS-Bench-101: micro, 4,096 cells of six edges with four operations, and macro, 3,256 sequences of modules.

Each is trained on seven tasks (`tasks`). Source: Duan et al., "TransNAS-Bench-101: Improving Transferability and
Generalizability of Cross-Task Neural Architecture Search", CVPR 2021.
"""

from collections.abc import Sequence
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.measure.blocks import ChainNetwork, Step, chosen
from zsnas_jax.measure.chain import trace_chain
from zsnas_jax.nn.modules import PoolDense
from zsnas_jax.search_spaces.transnas101 import costs, genotype
from zsnas_jax.search_spaces.transnas101.graph import macro_stages, micro_graph
from zsnas_jax.search_spaces.transnas101.heads import JoinTiles, decoder
from zsnas_jax.search_spaces.transnas101.network import (
    CONV1,
    CONV3,
    EDGES,
    OPS,
    SHORTCUT_EPSILON,
    layer_of,
    macro_encoder,
    micro_encoder,
    over_tiles,
)
from zsnas_jax.search_spaces.transnas101.tasks import HEADS, Head

MICRO_HALVINGS = 5

__all__ = [
    "EDGES",
    "HEADS",
    "OPS",
    "costs",
    "genotype",
    "macro_space",
    "macro_steps",
    "micro_space",
    "micro_steps",
]


def _steps(encoder: Any, head: Head, num_halvings: int, num_outputs: int, own: Any) -> tuple[Step, ...]:
    """An encoder and its head."""
    if head is Head.DENSE:
        return (*encoder, Step("head", PoolDense(num_outputs, **own)))
    if head is Head.TILES:
        return (*over_tiles(encoder, **own), Step("head", JoinTiles(num_outputs, **own)))
    return (*encoder, *decoder(head.layers, num_halvings, num_outputs, paints=head is Head.GENERATIVE, **own))


def micro_steps(ops: Sequence[int], num_outputs: int, *, head: Head = Head.DENSE, **own: Any) -> tuple[Step, ...]:
    """The blocks of the network of a cell, its six operations as Python ints."""
    return _steps(micro_encoder(ops, **own), head, MICRO_HALVINGS, num_outputs, own)


def macro_steps(
    modules: Sequence[int],
    num_outputs: int,
    *,
    head: Head = Head.DENSE,
    shortcut_epsilon: float = SHORTCUT_EPSILON,
    **own: Any,
) -> tuple[Step, ...]:
    """The blocks of the network of modules, their types as Python ints, 0 for none.

    Args:
        modules: six types.
        num_outputs: width of the output.
        head: behind the encoder.
        shortcut_epsilon: of the norm in shortcuts: 1 in the published networks, 1e-5 as they were meant.
        **own: fields that all blocks have.
    """
    encoder = macro_encoder(modules, shortcut_epsilon, **own)
    return _steps(encoder, head, costs.num_halvings(modules), num_outputs, own)


def _ints(arch: Any) -> tuple[int, ...]:
    return tuple(np.asarray(arch).tolist())


def _num_convolutions(arch: Any) -> Any:
    """Convolutions of a micro network's cells and stem, those of reducing skips excluded, int[...]."""
    return 2 + 10 * ((arch == CONV1) | (arch == CONV3)).sum(-1)


def _space(kind: str, task: str, list_steps: Any, **own: Any) -> SearchSpace:
    """What both spaces have in common."""
    own_task, head = HEADS[task]
    listed = functools.partial(list_steps, head=head)
    # A nominal size: parameters do not depend on it.
    chain = trace_chain(lambda arch, num_outputs: listed(_ints(arch), num_outputs), (48, 48, 3))
    return SearchSpace(
        name=f"transnas101_{kind}",
        make_network=lambda num_classes=own_task.num_outputs: ChainNetwork(listed, num_classes),
        layer_of=layer_of,
        static=_ints,
        chain=chain,
        is_homogeneous=head in (Head.DENSE, Head.TILES),  # decoders have biases, and a tanh
        size_multiple=3 if head is Head.TILES else 32 if head.layers else 1,
        task=own_task,
        tasks=tuple(HEADS),
        **own,
    )


def micro_space(task: str = "class_scene") -> SearchSpace:
    """The micro space as a value.

    Args:
        task: a name in `HEADS`.
    """
    head = HEADS[task][1]
    return _space(
        "micro",
        task,
        micro_steps,
        is_active=lambda arch: chosen(tuple(micro_encoder(jnp.asarray(arch)))),
        num_archs=genotype.NUM_MICRO,
        sample=genotype.sample_micro,
        mutate=genotype.mutate_micro,
        from_index=genotype.micro_from_index,
        to_index=genotype.micro_to_index,
        encode=genotype.encode_micro,
        decode=genotype.decode_micro,
        num_params=lambda arch, n: costs.micro_params(arch, head, n),
        num_flops=lambda arch, n, size: costs.micro_flops(arch, head, n, size),
        num_convolutions=_num_convolutions,
        num_choices=(genotype.NUM_OPS,) * genotype.NUM_GENES,
        graph=micro_graph,
        is_connected=genotype.has_path,
        with_task=micro_space,
    )


def macro_space(task: str = "class_scene") -> SearchSpace:
    """The macro space as a value.

    Args:
        task: a name in `HEADS`.
    """
    head = HEADS[task][1]
    return _space(
        "macro",
        task,
        macro_steps,
        is_dispatched=False,
        num_archs=genotype.NUM_MACRO,
        sample=genotype.sample_macro,
        mutate=genotype.mutate_macro,
        from_index=genotype.macro_from_index,
        to_index=genotype.macro_to_index,
        encode=genotype.encode_macro,
        decode=genotype.decode_macro,
        num_params=lambda arch, n: costs.macro_params(arch, head, n),
        num_flops=lambda arch, n, size: costs.macro_flops(arch, head, n, size),
        num_convolutions=lambda arch: 2 + 4 * (arch > 0).sum(-1),
        is_valid=genotype.is_macro,
        num_choices=(genotype.NUM_KINDS,) * genotype.NUM_GENES,
        graph=macro_stages,
        with_task=macro_space,
    )

"""The spaces of DARTS cells: DARTS with 1.1e18 networks, its subspaces S1 to S4 with 2.1e9 each.

An architecture is int32[2, 4, 2, 2] (`genotype`); what edges offer tells the spaces apart (`edges`). Networks have C
channels and L cells: 16 and 8 by default, as searches have them, 36 and 20 in the papers' evaluation on CIFAR, 48 and
14 on ImageNet. Sources: Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019; Zela et al., "Understanding
and Robustifying Differentiable Architecture Search", ICLR 2020.
"""

from collections.abc import Mapping
import functools
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.measure.blocks import ChainNetwork, chosen
from zsnas_jax.measure.chain import trace_chain
from zsnas_jax.search_spaces.darts import edges
from zsnas_jax.search_spaces.darts.cells import NAMED
from zsnas_jax.search_spaces.darts.costs import num_auxiliary_params, num_convolutions, num_flops, num_params
from zsnas_jax.search_spaces.darts.genotype import decode, encode, isomorphism_key, mutate, sample, to_compact
from zsnas_jax.search_spaces.darts.graph import graph
from zsnas_jax.search_spaces.darts.network import layer_of, steps

__all__ = [
    "NAMED",
    "OFFERS",
    "decode",
    "encode",
    "graph",
    "isomorphism_key",
    "layer_of",
    "make_network",
    "mutate",
    "num_auxiliary_params",
    "num_convolutions",
    "num_flops",
    "num_params",
    "sample",
    "space",
    "steps",
    "to_compact",
]

OFFERS: Mapping[str, np.ndarray] = MappingProxyType(
    {"darts": edges.DARTS, "darts_s1": edges.S1, "darts_s2": edges.S2, "darts_s3": edges.S3, "darts_s4": edges.S4}
)
"""Which operations the edges of each space offer, bool[2, 14, 9], by its name."""


def _nested(arch: Any) -> Any:
    """The genotype as nested tuples of Python ints."""
    return tuple(tuple(tuple(map(tuple, slots)) for slots in cell) for cell in np.asarray(arch).tolist())


def make_network(num_classes: int = 10, **fields: Any) -> ChainNetwork:
    """The evaluation network; it is called with the genotype as nested tuples of Python ints.

    Args:
        num_classes: width of the logits.
        **fields: of the network, as of `steps`: with `auxiliary` or `drop_path` it is the network in training.
    """
    return ChainNetwork(functools.partial(steps, **fields), num_classes)


def space(
    name: str = "darts", *, channels: int = 16, layers: int = 8, imagenet: bool = False, with_stem: bool = True
) -> SearchSpace:
    """A space as a value.

    Args:
        name: of `OFFERS`.
        channels: C.
        layers: L.
        imagenet: whether the stems are ImageNet's; then pictures have 224 pixels.
        with_stem: whether there is a stem.

    Raises:
        ValueError: if the name is unknown.
    """
    if name not in OFFERS:
        raise ValueError(f"unknown DARTS space {name!r}: allowed are {', '.join(OFFERS)}")
    offer = OFFERS[name]
    ops = tuple(np.flatnonzero(offer.any((0, 1))).tolist())
    fields: dict[str, Any] = {"channels": channels, "layers": layers, "imagenet": imagenet, "with_stem": with_stem}
    stem = ", ImageNet stems" if imagenet else "" if with_stem else ", no stem"
    list_steps = lambda arch, num_classes: steps(_nested(arch), num_classes, **fields)
    return SearchSpace(
        name=name,
        sample=functools.partial(sample, offer=offer),
        mutate=functools.partial(mutate, offer=offer),
        encode=encode,
        decode=functools.partial(decode, offer=offer),
        isomorphism_key=isomorphism_key,
        num_params=functools.partial(num_params, **fields),
        num_flops=functools.partial(num_flops, **fields),
        make_network=functools.partial(make_network, ops=ops, **fields),
        is_active=lambda arch: chosen(steps(jnp.asarray(arch), 1, ops=ops, **fields)),
        layer_of=functools.partial(layer_of, imagenet=imagenet),
        num_convolutions=functools.partial(num_convolutions, **fields),
        graph=graph,
        static=_nested,
        chain=trace_chain(list_steps, (224, 224, 3) if imagenet else (32, 32, 3)),
        size=fields,
        with_size=functools.partial(space, name, **fields),
        training_network=functools.partial(make_network, **fields),
        source=f"C {channels}, L {layers}{stem}",
    )

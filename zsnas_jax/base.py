"""The data types that the other parts exchange. Nothing here computes a score.

Axes: B batch (also N where samples are correlated), H W C image, L layers, G genes of an architecture.
"""

from collections.abc import Callable, Mapping
import dataclasses
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Arch = Any
"""An architecture: int32[G], or a pytree of int32 arrays of fixed shapes. It is data, not code."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Pictures, standardised, and their labels: image float32[B, H, W, C], label int32[B] or None."""

    image: jax.Array
    label: jax.Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ResponseMatrices:
    """Per layer the sum of its sites' |corr|: activations and gradients, float32[L, N, N] each; undefined sites add 0.

    One that no proxy needs is None.
    """

    activations: jax.Array | None
    gradients: jax.Array | None


class Proxy(NamedTuple):
    """A training-free score; larger is better.

    Attributes:
        name: canonical name, as in flags and in columns of results.
        score: `zsnas_jax.measure.measurements.Measurements` to float[]; -inf where the formula is undefined (NaN counts as that).
        needs: what the score takes from the shared pass, a subset of `zsnas_jax.measure.measurements.NEEDS`.
        settings: hyper-parameters that change the score, for reports and for telling results apart.
        reference: where the formula comes from.
        observe: statistics of the activations that the shared pass takes for it, by name: functions of float[N, ...].
            A name stands for one function: proxies that use the same name share its values.
        options: norm, mask and activation that belong to the score, a `zsnas_jax.nn.options.LayerOptions`; None: those
            of the run.
    """

    name: str
    score: Callable[[Any], jax.Array]
    needs: frozenset[str]
    settings: dict[str, Any]
    reference: str
    observe: Mapping[str, Callable[[jax.Array], Any]] = MappingProxyType({})
    options: Any = None


class SearchSpace(NamedTuple):
    """A set of architectures as pure functions; all but those on strings and classes trace under jit and vmap.

    A space of your own states the first six; each of the others serves something that does without, or says what it
    needs.

    Attributes:
        name: as in flags.
        sample: key to a uniformly drawn architecture.
        mutate: (key, arch) to an architecture that differs in one decision.
        encode: arch to its published string.
        decode: string to arch; ValueError that names the bad part.
        make_network: num_classes to a Flax module called as module.apply(variables, image, arch); its field `options`
            holds a `zsnas_jax.nn.options.LayerOptions`, or it is treated as a foreign module is. Where there are variants
            it takes `variant` too.
        num_archs: how many architectures there are, or None where they cannot be enumerated.
        from_index: published index, int[...], to int32[..., G]; None where there is no published order.
        to_index: the inverse.
        isomorphism_key: arch to a string that isomorphic architectures share; None where nobody has found one.
        prune: arch to the one without operations that do nothing, whose network computes the same; None likewise.
        num_params: (arch, num_classes) to trainable parameters; None: the entries that `is_active` are counted.
        num_flops: (arch, num_classes, image_size) to multiply-adds of one image, convolutions and dense layers only
            where the space's papers count no more; None where that is not known.
        layer_of: (path of a response site, position in its scan) to its layer, counted from 1; None: the modules at the
            top of the network in order.
        is_active: arch to a function (path of a parameter, its shape) to whether the architecture has it, bool[], or
            which of its entries, bool broadcastable to the shape: a network that chooses its operations at run time
            holds the parameters of all. By default an architecture has every parameter.
        num_convolutions: arch to the convolutions of its network, shortcuts excluded: how non-linear it is; None where
            that is no measure of the space.
        is_valid: arch to bool[], whether it is of the space; for spaces whose genes cannot be chosen one by one.
        num_choices: how many values each gene can take, where an architecture is int32[G]: what a policy is made of;
            None where the space offers none.
        num_variants: how many networks of different shapes serve the space; each is a compiled program.
        variant_of: arch to the one that serves it, int32[] below `num_variants`.
        static: arch to the Python values with which its network is called to be built for that architecture alone,
            as training needs it; None: the network does not offer that.
        pieces: where shapes differ too much for variants: how the host reads a network in programs that many share, a
            `zsnas_jax.measure.piecewise.Pieces`. Needs `num_params` and `num_flops`. None: networks run whole.
    """

    name: str
    sample: Callable[[jax.Array], Arch]
    mutate: Callable[[jax.Array, Arch], Arch]
    encode: Callable[[Arch], str]
    decode: Callable[[str], Arch]
    make_network: Callable[..., Any]
    num_archs: int | None = None
    from_index: Callable[[Any], Arch] | None = None
    to_index: Callable[[Arch], jax.Array] | None = None
    isomorphism_key: Callable[[Arch], str] | None = None
    prune: Callable[[Arch], Arch] | None = None
    num_params: Callable[[Arch, int], int] | None = None
    num_flops: Callable[[Arch, int, int], int] | None = None
    layer_of: Callable[[tuple[str, ...], int], int] | None = None
    is_active: Callable[[Arch], Callable[[tuple[str, ...], tuple[int, ...]], Any]] = lambda arch: lambda *where: True
    num_convolutions: Callable[[Arch], int] | None = None
    is_valid: Callable[[Arch], Any] = lambda arch: True
    num_choices: tuple[int, ...] | None = None
    num_variants: int = 1
    variant_of: Callable[[Arch], Any] = lambda arch: 0
    static: Callable[[Arch], Any] | None = None
    pieces: Any = None


def fingerprint(arch: Arch) -> jax.Array:
    """FNV-1a hash of the genes, uint32[]: what tells one architecture's random draws from another's.

    Depends on the genes alone, so that a score is the same in whatever order and company it is computed.
    """
    code = jnp.uint32(2166136261)
    for leaf in jax.tree.leaves(arch):
        for gene in jnp.ravel(jnp.asarray(leaf)).astype(jnp.uint32):
            code = (code ^ gene) * jnp.uint32(16777619)
    return code

"""The data types that the other parts exchange. Nothing here computes a score.

Axes: B batch (also N where samples are correlated), H W C image, L layers, G genes of an architecture.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Arch = Any
"""An architecture: int32[G], or a pytree of int32 arrays of fixed shapes. It is data, not code."""


Path = tuple[str, ...]
"""Names of the modules from the top of a network down, of a parameter its own name behind them."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Pictures, standardised, float32[B, H, W, C], and the target of each: a pytree whose leaves have B rows, or None.

    Classification has label int32[B].
    """

    image: jax.Array
    label: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ResponseMatrices:
    """Per layer the sum of its sites' |corr|: activations and gradients, float32[L, N, N] each; undefined sites add 0.

    One that no proxy needs is None.
    """

    activations: jax.Array | None
    gradients: jax.Array | None


class KernelSum(NamedTuple):
    """sum over weight layers of finish(sum over the kernel's entries of entry(w, g)).

    Attributes:
        entry: elementwise, of the kernel W and the gradient g of the loss with respect to it; g is None unless the
            proxy needs "kernel_gradients".
        finish: of a layer's sum, float[] to float[].
    """

    entry: Callable[[jax.Array, Any], jax.Array]
    finish: Callable[[jax.Array], jax.Array] = lambda total: total


class Look(NamedTuple):
    """A statistic of another place of a network than what enters its activations.

    Attributes:
        place: a name in `zsnas_jax.measure.measurements.PLACES`.
        statistic: of float[N, ...] to a pytree.
    """

    place: str
    statistic: Callable[[jax.Array], Any]


class Proxy(NamedTuple):
    """A training-free score; larger is better.

    It is known by its name and settings together (`identity`): two proxies of one identity cannot stand in one call.
    Functions in `observe`, `kernel_sums` and `prepare` are told apart by what they are, not by their names: proxies
    that hand over the same function, or an equal one, share its values.

    Attributes:
        name: canonical name, as in flags and in columns of results.
        score: `zsnas_jax.measure.measurements.Measurements` to float[]; -inf where the formula is undefined (NaN counts
            as that).
        needs: what the score takes from the shared pass, a subset of `zsnas_jax.measure.measurements.NEEDS`.
        settings: everything that changes the score, JSON values: hyper-parameters, and the options of the layers where
            the proxy has its own (`zsnas_jax.proxies.with_options`).
        reference: where the formula comes from.
        observe: statistics of what enters activations, by the name under which `score` finds them: functions of
            float[N, ...] to a pytree; a `Look` is one of another place.
        kernel_sums: sums over weight layers, by the name under which `score` finds them.
        prepare: the network under score to the one that is measured: with other weights, pictures, options of its
            layers, or another loss; None: as it is. Shares a pass with proxies whose `prepare` is equal.
        undefined: when the score is -inf, for reports: "where a picture's gradient has no variance".
        is_size: whether the score is a count that no pass changes, so that options of the layers are none of it.
        only_for: the kind of networks that it is made for, such as "transformers", where it refuses others; then it is
            not one of "all".
        is_costly: whether it takes more than three times as long as WRCor; then it is not one of "all".
    """

    name: str
    score: Callable[[Any], jax.Array]
    needs: frozenset[str]
    settings: Mapping[str, Any]
    reference: str
    observe: Mapping[str, Callable[[jax.Array], Any] | Look] = MappingProxyType({})
    kernel_sums: Mapping[str, KernelSum] = MappingProxyType({})
    prepare: Callable[[Any], Any] | None = None
    undefined: str = ""
    is_size: bool = False
    only_for: str = ""
    is_costly: bool = False

    @property
    def identity(self) -> str:
        """The name and the settings as one string: what tells a score from every other.

        Raises:
            ValueError: if a setting is not a JSON value.
        """
        try:
            return f"{self.name} {json.dumps(dict(self.settings), sort_keys=True, allow_nan=False)}"
        except (TypeError, ValueError) as error:
            raise ValueError(f"settings of proxy {self.name} are no JSON values: {error}") from error


def check_identities(proxies: Sequence[Proxy]) -> None:
    """Raises ValueError if two of the proxies have one identity."""
    seen: dict[str, Proxy] = {}
    for proxy in proxies:
        other = seen.setdefault(proxy.identity, proxy)
        if other is not proxy:
            raise ValueError(
                f"proxy {proxy.name} ({other.reference}) and proxy {proxy.name} ({proxy.reference}) have the same "
                f"settings {dict(proxy.settings)}: give one of them another name or other settings"
            )
    if len(seen) < len(proxies):
        raise ValueError(f"proxies {', '.join(proxy.name for proxy in proxies)}: one is given twice")


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
        make_network: num_classes to a Flax module called as module.apply(variables, image, arch). One with a field
            `options` that holds a `zsnas_jax.nn.options.LayerOptions` applies them itself; to any other they are
            applied from outside. Where there are variants it takes `variant` too.
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
        is_connected: arch to bool[], whether a network's input reaches its output; where not, no proxy but a size has a
            score, though there are responses.
        num_choices: how many values each gene can take, where an architecture is int32[G]: what a policy is made of;
            None where the space offers none.
        num_variants: how many networks of different shapes serve the space; each is a compiled program.
        variant_of: arch to the one that serves it, int32[] below `num_variants`.
        graph: arch to what it looks like: a `zsnas_jax.graphs.Graph`, several `Titled` ones, or a list of its `Stage`s
            or `Block`s; None: it is not drawn.
        is_dispatched: whether the network takes a traced genotype, so that one program serves all architectures of a
            variant.
        static: arch to the Python values with which its network is called to be built for that architecture alone, as
            training needs it, and as the road `static` scores it; None: the network does not offer that.
        locate: path of a parameter of the network built for one architecture to where it stands in the dispatched
            one's: (its path, places along what lifts put in front). By default under the same path.
        chain: where shapes differ too much for variants: the network of an architecture as a sequence of blocks, whose
            programs networks share by shape, a `zsnas_jax.measure.chain.Chain`. None: networks run whole.
        is_homogeneous: whether a network of the space without norms and biases is positively homogeneous of degree one
            in its input and in each layer, under an activation that is: then SynFlow and Phi may rescale its layers.
        size_multiple: pixels along a side of a picture are a multiple of it.
        task: what networks are asked for, a `zsnas_jax.tasks.Task`; None: the class of a picture.
        tasks: names of the tasks that the space can be had under.
        with_task: the name of one to the space under it; None where there is nothing to choose.
        size: what of its networks' size can be chosen, by name, whole numbers or bools: as they are now.
        with_size: some of those names as keywords to the space with networks of that size, the others as they are now;
            None where there is nothing to choose.
        training_network: where networks can have an auxiliary head and drop path in training: (num_classes, auxiliary,
            drop_path), keywords, the last two bool, to a module as of `make_network` that has what is true. Its
            parameters are those of `make_network`'s, and the head's. With the head it returns (logits, the head's
            logits); with drop path it is called with a keyword drop_path, the rate float[], and draws from the random
            stream "drop_path". None: they have neither.
        source: what tells spaces of one name apart, besides it; of one that a file states the SHA-256 of the file.
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
    is_connected: Callable[[Arch], Any] = lambda arch: True
    num_choices: tuple[int, ...] | None = None
    num_variants: int = 1
    variant_of: Callable[[Arch], Any] = lambda arch: 0
    graph: Callable[[Arch], Any] | None = None
    is_dispatched: bool = True
    static: Callable[[Arch], Any] | None = None
    locate: Callable[[Path], tuple[Path, tuple[int, ...]]] = lambda path: (path, ())
    chain: Any = None
    is_homogeneous: bool = False
    size_multiple: int = 1
    task: Any = None
    tasks: tuple[str, ...] = ()
    with_task: Callable[[str], "SearchSpace"] | None = None
    size: Mapping[str, Any] = MappingProxyType({})
    with_size: Callable[..., "SearchSpace"] | None = None
    training_network: Callable[..., Any] | None = None
    source: str = ""


def check_pictures(space: SearchSpace, image: Any) -> None:
    """Raises ValueError if networks of a space do not take pictures [N, H, W, C] of this size."""
    sides = image.shape[1:3]
    if any(side < 1 or side % space.size_multiple for side in sides):
        needed = f"a multiple of {space.size_multiple}" if space.size_multiple > 1 else "at least 1"
        raise ValueError(f"pictures are of {sides[0]} x {sides[1]} pixels: space {space.name} needs {needed}")


def fingerprint(arch: Arch) -> jax.Array:
    """FNV-1a hash of the genes, uint32[]: what tells one architecture's random draws from another's.

    Depends on the genes alone, so that a score is the same in whatever order and company it is computed.
    """
    code = jnp.uint32(2166136261)
    for leaf in jax.tree.leaves(arch):
        for gene in jnp.ravel(jnp.asarray(leaf)).astype(jnp.uint32):
            code = (code ^ gene) * jnp.uint32(16777619)
    return code


def candidate_key(key: jax.Array, arch: Arch, repeat: Any) -> jax.Array:
    """The root of what is drawn for one architecture: of the run's key, its genes and the number of the repeat."""
    return jax.random.fold_in(jax.random.fold_in(key, fingerprint(arch)), repeat)

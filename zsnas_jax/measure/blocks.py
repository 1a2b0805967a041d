"""Blocks of a chained network, and what compiled programs do with one: forward, and back with the forward run again.

A block is a plain Flax module that maps values to values, pytrees of arrays with a leading axis of pictures; it has
probes as any network has (`zsnas_jax.nn.probes`). Axes: N batch, P positions along `nn.scan`, C channels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp

from zsnas_jax.base import Batch, KernelSum, Look, Path
from zsnas_jax.measure.measurements import PLACES, fisher_slots, observers_of
from zsnas_jax.measure.network import Network, Observation, forward
from zsnas_jax.nn.choice import Branch, Choices, Identity
from zsnas_jax.nn.initializers import Initializer, kaiming_uniform
from zsnas_jax.nn.options import LayerOptions, with_layer_options
from zsnas_jax.nn.probes import WHOLE_FEATURES, Observers, Site
from zsnas_jax.nn.weights import Weight, kernels_of


class Split(NamedTuple):
    """How a step can be worked on in tiles of channels, the last axis of every value, so that programs are shared.

    Values are float[N, C] or float[N, H, W, C], and the block's modules are not lifted and called once each.
    What pads a tile or a width is zero and must stay zero: batch norm keeps a channel of zeros.

    Attributes:
        along: "whole": all channels at once, padded; "outputs": each tile of outputs from all inputs; "channels": each
            tile from the same tile of every input; "inputs": the sum over tiles of the inputs, so that the block has to
            be linear in the first of them, without bias.
        block: the same block as wide as the padding or the tile; it has `weights(inputs)`, what its parameters are by
            path, where so many channels enter.
        channels: how many channels leave, without padding.
        tile: channels of a tile; 0 for "whole".
        width: what tiles that enter a "whole" step are joined and padded to.
        site_channels: channels of the block's response sites without padding; 0: as many as leave.
        stride: every stride-th pixel, in both directions, is all that a step along inputs looks at: then its tiles are
            cut of these alone, and the split's block takes them as they are.
        num_ones: how many inputs the split's block has beside the step's, ones of [N, T] each: so a step shares the
            programs of others that weigh their channels.
    """

    along: str
    block: Any
    channels: int
    tile: int = 0
    width: int = 0
    site_channels: int = 0
    stride: int = 1
    num_ones: int = 0


class Step(NamedTuple):
    """A block in its place in a network; the network's pictures are the first value, "x".

    Attributes:
        name: of the block in the network's parameters.
        block: a Flax module, unbound and without a name.
        reads: names of the values that it is called with.
        writes: names of what it returns, a tuple where they are several; a name may be written again.
        split: how it is worked on in tiles; None: it is not.
        is_random: whether the block draws from the random stream "noise", whatever its options; not in tiles.
    """

    name: str
    block: nn.Module
    reads: tuple[str, ...] = ("x",)
    writes: tuple[str, ...] = ("x",)
    split: Split | None = None
    is_random: bool = False

    def write(self, values: dict[str, Any], output: Any) -> None:
        """Puts what the block returned among the values."""
        values |= {self.writes[0]: output} if len(self.writes) == 1 else dict(zip(self.writes, output, strict=True))


class Chained(nn.Module):
    """A network as the sequence of its steps, as one Flax module. What the last step writes first are the logits."""

    steps: tuple[Step, ...]

    @nn.compact
    def __call__(self, image: jax.Array) -> Any:
        """Logits of pictures float[N, ...]."""
        return run_steps(self, self.steps, image)


class ChainNetwork(nn.Module):
    """The networks of a space that lists the steps of an architecture's, as one Flax module.

    Attributes:
        list_steps: (architecture as Python values, num_classes) and the fields that all blocks have, as keywords, to
            the steps.
        num_classes: width of the logits.
        kernel_init: initialisation of every kernel.
        options: norm, activation, and mask on what enters a convolution.
    """

    list_steps: Callable[..., Sequence[Step]]
    num_classes: int = 10
    kernel_init: Initializer = kaiming_uniform
    options: LayerOptions = LayerOptions()

    @nn.compact
    def __call__(self, image: jax.Array, arch: Any, **further: Any) -> Any:
        """What the last step writes, of pictures float[N, H, W, 3]: logits float[N, num_classes], or maps.

        Args:
            image: the pictures.
            arch: the architecture, as Python values.
            **further: values that steps read beside the pictures, by name.
        """
        own: dict[str, Any] = {"kernel_init": self.kernel_init, "options": self.options, "parent": None}
        return run_steps(self, self.list_steps(arch, self.num_classes, **own), image, **further)


def run_steps(module: nn.Module, steps: Sequence[Step], image: jax.Array, **further: Any) -> Any:
    """What the last step of a chain writes first; for the compact `__call__` of the module whose blocks they are.

    `further` are values that steps read beside the pictures, by name.
    """
    values: dict[str, Any] = {"x": image, **further}
    for step in steps:
        block = step.block.clone(parent=module, name=step.name)
        step.write(values, block(*(values[name] for name in step.reads)))
    return values[steps[-1].writes[0]]


def layers(
    names: Sequence[str], index: Sequence[Any], blocks: Sequence[Mapping[str, nn.Module | None]]
) -> Iterator[Step]:
    """The steps of layers behind one another, each one of several blocks.

    Args:
        names: of the layers.
        index: the place of each layer's block, Python ints, or traced numbers for a network that chooses at run time.
        blocks: of each layer, by the name under which a network that chooses them holds their parameters; None is the
            identity, and says that all of them keep the shape, so that equal layers can share a loop.
    """
    place = 0
    while place < len(names):
        own = blocks[place]
        if not isinstance(index[place], jax.Array):
            block, end = list(own.values())[index[place]], place + 1
            if block:
                yield Step(names[place], block)
        else:
            keeps_shape, end = None in own.values(), place + 1
            while keeps_shape and end < len(names) and blocks[end] == own:
                end += 1
            nodes = tuple(range(1, end - place + 1))
            branches = tuple(Branch(name, block or Identity(parent=None)) for name, block in own.items())
            row = Choices(
                tuple(names[place:end]),
                jnp.stack(index[place:end]),
                tuple(node - 1 for node in nodes),
                nodes,
                branches,
                None if keeps_shape else (),
            )
            yield Step(names[place], row, writes=(*(f"{names[place]}_{node}" for node in nodes[:-1]), "x"))
        place = end


def chosen(steps: Sequence[Step]) -> Callable[[Path, tuple[int, ...]], Any]:
    """Which parameters a network has that chooses blocks at run time: path and shape to bool[], as of `SearchSpace`."""
    choices = {step.name: step.block for step in steps if isinstance(step.block, Choices)}

    def has(path: Path, shape: tuple[int, ...]) -> Any:
        return path[0] not in choices or choices[path[0]].is_chosen(path[1:], shape)

    return has


class Alone(nn.Module):
    """A block under its name in the network, so that its layers draw masks as they do there.

    Attributes:
        block: unbound and without a name.
        under: the name.
        options: what the block applies itself; None where it does not.
    """

    block: nn.Module
    under: str
    options: LayerOptions | None

    @nn.compact
    def __call__(self, *reads: Any) -> Any:
        """What the block returns."""
        block = with_layer_options(self.block, self.options) if self.options else self.block
        return block.clone(parent=self, name=self.under)(*reads)


class Moments(NamedTuple):
    """Sums over the neurons of a response site, or of a part of one: of x x^T, float[N, N], and of x, float[N]."""

    products: jax.Array
    sums: jax.Array


def moments(x: jax.Array) -> Moments:
    """The sums of float[N, ...]; those of parts of a site add up to its own, and zeros add nothing."""
    rows = x.reshape(len(x), -1)
    return Moments(rows @ rows.T, rows.sum(1))


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Shape:
    """A statistic of sites that is no array: the shape of what enters them, known where a program is traced."""

    sizes: tuple[int, ...]


class Asked(NamedTuple):
    """What a pass asks of every block; what it was compiled for.

    Attributes:
        options: of the layers.
        statistics: of what enters activations.
        features: whether the feature map is kept.
        rescale: whether the outputs of layers are divided by their largest value.
        gradients: whether |corr| of gradients is asked for.
        in_parts: whether blocks are tiles, of whose sites `moments` are taken instead.
        fisher: whether Fisher scores are.
        kernel_gradients: whether gradients of the parameters are.
        kernel_sums: sums over kernels with their gradients, each with the name of who asks.
        trunk: whether the trunk is cut, and what arrives at its cuts asked for; then nothing else is.
    """

    options: LayerOptions
    statistics: tuple[Callable[..., Any] | Look, ...] = ()
    features: bool = False
    rescale: bool = False
    gradients: bool = False
    in_parts: bool = False
    fisher: bool = False
    kernel_gradients: bool = False
    kernel_sums: tuple[tuple[KernelSum, str], ...] = ()
    trunk: bool = False

    @property
    def is_differentiated(self) -> bool:
        """Whether a way back finds anything in a block but the gradients of what entered."""
        return self.gradients or self.fisher or self.kernel_gradients or self.trunk


class SitePlace(NamedTuple):
    """A site in a block: its path, the lengths of the axes that lifts add, and the shape [N, ...] of what enters it."""

    path: Path
    lifted: tuple[int, ...]
    shape: tuple[int, ...]


class Back(NamedTuple):
    """What a way back through a block found.

    Attributes:
        reads: gradients of what entered, or None.
        sites: path of a site to |corr| of its gradients float[*lifted, N, N], or `Moments`.
        fisher: float[].
        params: gradients of the parameters, a tree.
        entries: for each kernel sum, path of a kernel to the sum of its entries float[P].
        trunk: path of a probe of the trunk to what arrived there.
    """

    reads: Any
    sites: Mapping[Path, Any]
    fisher: Any
    params: Any
    entries: tuple[Mapping[Path, jax.Array], ...]
    trunk: Mapping[Path, Any]


def _network(
    block: nn.Module, asked: Asked, weights: Mapping[Path, Weight], params: Any, reads: Sequence[Any], key: Any
) -> Network:
    """A block as a network of its own: its first input in the place of the pictures."""
    return Network(
        module=block,
        variables={"params": params},
        batch=Batch(reads[0], None),
        args=tuple(reads[1:]),
        key=key,
        options=asked.options,
        layer_of=None,
        is_active=lambda path: True,
        num_params=0,
        num_flops=0,
        weights=weights,
    )


def _looks(asked: Asked) -> Observers:
    """What a way forward looks at.

    The names are "features", "log_scale", "statistic" with the number in `asked`, and, for `places_of`, "place" of the
    sites if anything is asked of them, and "trunk".
    """
    look = observers_of({f"statistic{i}": own for i, own in enumerate(asked.statistics)})
    shape = lambda x: Shape(x.shape)
    if Site in look or asked.gradients:
        look.setdefault(Site, {})["place"] = shape
    if asked.trunk:
        look |= {probe: {"trunk": shape} for probe in PLACES["trunk"]}
    return {**look, **(WHOLE_FEATURES if asked.features else {})}


def run_forward(
    block: nn.Module, asked: Asked, weights: Mapping[Path, Weight], params: Any, reads: Sequence[Any], key: Any
) -> tuple[Any, dict[str, list[Observation]]]:
    """What the block returns, and observations by name, see `_looks`. Values of tiles have no axis of positions."""
    with jax.default_matmul_precision("highest"):
        network = _network(block, asked, weights, params, reads, key)
        seen = forward(network, reads[0], observe=_looks(asked), rescale=asked.rescale)
    if not asked.in_parts:
        return seen.logits, seen.observed
    alone = lambda o: dataclasses.replace(o, value=jax.tree.map(lambda leaf: leaf[0], o.value))
    return seen.logits, {name: list(map(alone, observations)) for name, observations in seen.observed.items()}


def run_and_keep(
    block: nn.Module,
    asked: Asked,
    weights: Mapping[Path, Weight],
    sites: Sequence[SitePlace],
    with_reads: bool,
    params: Any,
    reads: Sequence[Any],
    key: Any,
    leaving: Mapping[Path, Any] | None = None,
) -> tuple[Any, dict[str, list[Observation]], Any]:
    """As `run_forward` of a whole block; the third is what `pull_back` takes, and keeps what that needs.

    `leaving` is what goes back from the cuts of the trunk, by path of their probes.
    """
    network, dtype = _network(block, asked, weights, params, reads, key), jax.tree.leaves(reads)[0].dtype
    inputs, run = _differentiable(network, asked, sites, with_reads, params, reads, dtype, _looks(asked), leaving or {})
    with jax.default_matmul_precision("highest"):
        output, pull, observed = jax.vjp(run, inputs, has_aux=True)
    return output, observed, pull


def pull_back(asked: Asked, weights: Mapping[Path, Weight], params: Any, pull: Any, gradient: Any) -> Back:
    """The way back from a gradient of what the block returned."""
    with jax.default_matmul_precision("highest"):
        return _back(asked, weights, params, pull(gradient)[0])


def places_of(observed: Mapping[str, list[Observation]], name: str = "place") -> tuple[SitePlace, ...]:
    """The sites that `run_forward` met, in order of execution; or the probes of the trunk, by the name "trunk"."""
    return tuple(SitePlace(seen.path, seen.lifted, seen.value.sizes) for seen in observed.get(name, []))


def run_backward(
    block: nn.Module,
    asked: Asked,
    weights: Mapping[Path, Weight],
    sites: Sequence[SitePlace],
    with_reads: bool,
    params: Any,
    reads: Sequence[Any],
    gradient: Any,
    key: Any,
) -> Back:
    """The way back, after the way forward is run again; what is not asked for is not differentiated by."""
    network, dtype = _network(block, asked, weights, params, reads, key), jax.tree.leaves(gradient)[0].dtype
    inputs, run = _differentiable(network, asked, sites, with_reads, params, reads, dtype, {})
    with jax.default_matmul_precision("highest"):
        found = jax.vjp(run, inputs, has_aux=True)[1](gradient)[0] if inputs else {}
        return _back(asked, weights, params, found)


def _differentiable(
    network: Network,
    asked: Asked,
    sites: Sequence[SitePlace],
    with_reads: bool,
    params: Any,
    reads: Sequence[Any],
    dtype: Any,
    look: Observers,
    leaving: Mapping[Path, Any] = MappingProxyType({}),
) -> tuple[dict[str, Any], Callable[[dict[str, Any]], tuple[Any, Any]]]:
    """(what a block is differentiated by, the function of it to what the block returns, and observations)."""
    square = lambda site: jnp.zeros((*site.lifted, site.shape[0], site.shape[0]), dtype)
    slot = lambda site: Moments(square(site), jnp.zeros(site.shape[0], dtype)) if asked.in_parts else square(site)
    inputs: dict[str, Any] = {"reads": tuple(reads)} if with_reads else {}
    inputs |= {"slots": {site.path: slot(site) for site in sites}} if asked.gradients else {}
    inputs |= {"fisher": fisher_slots(network)} if asked.fisher else {}
    inputs |= {"params": params} if asked.kernel_gradients else {}
    inputs |= {"trunk": jax.tree.map(jnp.zeros_like, dict(leaving))} if asked.trunk else {}

    def run(inputs: dict[str, Any]) -> tuple[Any, Any]:
        entering, slots = inputs.get("reads", reads), inputs.get("slots", {})
        own = {} if asked.in_parts else {(*path, "gradients"): slot for path, slot in slots.items()}
        own |= {(*path, "arriving"): slot for path, slot in inputs.get("trunk", {}).items()}
        own |= {(*path, "leaving"): signs for path, signs in leaving.items()}
        called = network._replace(args=tuple(entering[1:]))
        seen_by: dict[str, Any] = {"slots": unflatten_dict({**own, **inputs.get("fisher", {})})}
        seen_by |= {"params": inputs.get("params", params), "observe": look, "rescale": asked.rescale}
        with nn.intercept_methods(_tapping(slots)) if asked.in_parts else contextlib.nullcontext():
            seen = forward(called, entering[0], **seen_by)
        return seen.logits, seen.observed

    return inputs, run


def _back(asked: Asked, weights: Mapping[Path, Weight], params: Any, found: dict[str, Any]) -> Back:
    """What gradients of the inputs of `_differentiable` come to."""
    slopes = found.get("params")
    entries = [kernel_entries(weights, wanted, params, slopes, asker) for wanted, asker in asked.kernel_sums]
    fisher = sum(leaf.sum() for leaf in found["fisher"].values()) if asked.fisher else None
    return Back(found.get("reads"), found.get("slots", {}), fisher, slopes, tuple(entries), found.get("trunk", {}))


def kernel_entries(
    weights: Mapping[Path, Weight], wanted: KernelSum, params: Any, gradients: Any, asker: str
) -> dict[Path, jax.Array]:
    """Path of a kernel to its sum of entry(w, g), by position float[P]."""
    flat, slopes = flatten_dict(params), flatten_dict(gradients or {})
    pair = lambda path, weight: (
        weight.as_matrices(flat[path]),
        weight.as_matrices(slopes[path]) if slopes else None,
    )
    return {path: wanted.entry(*pair(path, weight)).sum((1, 2)) for path, weight in kernels_of(weights, asker)}


@jax.custom_vjp
def _tap_moments(x: jax.Array, slot: Moments) -> jax.Array:
    return x


_tap_moments.defvjp(lambda x, slot: (x, None), lambda _, gradient: (gradient, moments(gradient)))


def _tapping(slots: Mapping[Path, Moments]) -> Callable[..., Any]:
    """An interceptor that takes the moments of the gradients at sites."""

    def intercept(next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        output, module = next_fun(*args, **kwargs), context.module
        is_tapped = isinstance(module, Site) and context.method_name == "__call__" and module.path in slots
        return _tap_moments(output, slots[module.path]) if is_tapped else output

    return intercept

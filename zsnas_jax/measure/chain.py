"""Networks whose shapes differ too much for a program to serve several: chains of blocks, run by the host.

The host runs the blocks forward, keeps what enters each, and runs their pullbacks. Programs are those of single blocks,
which networks share by shape. What comes out are the `Measurements` that `zsnas_jax.measure.measurements.measure` takes
from a whole network, but for what a proxy that runs the network itself would need. Axes: N batch, L layers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import math
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Arch, KernelSum, Look, Path, ResponseMatrices
from zsnas_jax.correlation import response_matrix
from zsnas_jax.measure import tiles
from zsnas_jax.measure.blocks import (
    Alone,
    Asked,
    SitePlace,
    Step,
    moments,
    places_of,
    pull_back,
    run_and_keep,
    run_forward,
)
from zsnas_jax.measure.measurements import (
    Measurements,
    check_needs,
    is_zero,
    no_features,
    no_site,
    nothing_at,
    other_combination,
    own_logits,
    place_of,
)
from zsnas_jax.measure.network import Network, Observation, Pass
from zsnas_jax.measure.programs import Programs
from zsnas_jax.measure.sums import Sums, finish, join_matrices, join_values, rounded, sum_entries, sum_layers
from zsnas_jax.measure.tape import Tape, Value
from zsnas_jax.measure.trunk import Feature, groups, no_trunk, random_signs
from zsnas_jax.nn.choice import Choices
from zsnas_jax.nn.foreign import ForeignLayers
from zsnas_jax.nn.initializers import TABLE_DEVIATION, Initializer, normal
from zsnas_jax.nn.options import LayerOptions, has_layer_options
from zsnas_jax.nn.roles import Role
from zsnas_jax.nn.weights import Weight, init_with_weights, kernels_of

_WITH_LOSS = frozenset({"gradients", "kernel_gradients", "fisher"})


class Chain(NamedTuple):
    """How the networks of a space are chains. `trace_chain` makes one of the steps alone.

    Attributes:
        steps: (arch, num_classes) to the steps of a network.
        weights: (arch, num_classes) to what its parameters are, by path, in the order in which they are drawn; norms
            begin with scale one, and what is added with zero.
        shapes: likewise to the shapes of its parameters; None: they are as the weights say, since nothing lifts them.
    """

    steps: Callable[[Arch, int], Sequence[Step]]
    weights: Callable[[Arch, int], Mapping[Path, Weight]]
    shapes: Callable[[Arch, int], Mapping[Path, tuple[int, ...]]] | None = None

    def draw_params(self, key: jax.Array, arch: Arch, num_classes: int, initializer: Initializer) -> Any:
        """The parameters of an architecture's network, a tree of numpy arrays, see `draw`."""
        weights = self.weights(arch, num_classes)
        shapes = self.shapes(arch, num_classes) if self.shapes else {path: own.shape for path, own in weights.items()}
        return draw(key, weights, shapes, initializer)


def trace_chain(steps: Callable[[Arch, int], Sequence[Step]], image_shape: tuple[int, ...]) -> Chain:
    """A chain whose parameters abstract traces find; a trace takes longer than to say what they are.

    Args:
        steps: (arch, num_classes) to the steps of a network.
        image_shape: of one picture, [H, W, C]; the parameters must not depend on H and W.
    """
    traced = lambda arch, num_classes: _trace(steps(arch, num_classes), image_shape)
    return Chain(steps, lambda *which: traced(*which)[0], lambda *which: traced(*which)[1])


def _trace(
    steps: Sequence[Step], image_shape: tuple[int, ...]
) -> tuple[Mapping[Path, Weight], Mapping[Path, tuple[int, ...]]]:
    """(what the parameters of a chain are, their shapes), by path."""
    weights: dict[Path, Weight] = {}
    shapes: dict[Path, tuple[int, ...]] = {}
    for step, entering in _reads_of_steps(steps, image_shape):
        _, own_weights, own_shapes = _trace_block(step.block, *_leaves(entering))
        weights |= {(step.name, *path): weight for path, weight in own_weights.items()}
        shapes |= {(step.name, *path): shape for path, shape in own_shapes.items()}
    return weights, shapes


def _leaves(entering: Sequence[Any]) -> tuple[tuple[Any, ...], Any]:
    leaves, tree = jax.tree.flatten(tuple(entering))
    return tuple(leaves), tree


def _reads_of_steps(
    steps: Sequence[Step], image_shape: tuple[int, ...]
) -> Iterator[tuple[Step, list[jax.ShapeDtypeStruct]]]:
    """The steps of a chain, each with the shapes of what it reads."""
    values: dict[str, Any] = {"x": jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)}
    for step in steps:
        entering = [values[name] for name in step.reads]
        yield step, entering
        if isinstance(step.block, Choices):
            output = _trace_block(step.block.of_inputs[0].block, *_leaves(entering[:1]))[0]
            step.write(values, [output] * len(step.writes) if len(step.writes) > 1 else output)
        else:
            step.write(values, _trace_block(step.block, *_leaves(entering))[0])


def draw_dispatched(
    key: jax.Array, steps: Sequence[Step], image_shape: tuple[int, ...], initializer: Initializer
) -> tuple[Any, dict[Path, Weight]]:
    """(parameters of a network that chooses its blocks at run time, what they are); see `draw`.

    Chosen blocks have the parameters that `draw` gives to the chain of the chosen alone: their kernels begin in the
    flat draw where those of the chosen ones before them end. What the others hold is not read.
    """
    rows = [row for step, entering in _reads_of_steps(steps, image_shape) for row in _rows(step, entering)]
    sizes = [jnp.asarray(row.sizes, jnp.int32)[row.chosen] for row in rows]
    steps_before = np.cumsum([0, *(row.is_first for row in rows)])[1:]
    order = np.lexsort((np.concatenate([row.positions for row in rows]), np.repeat(steps_before, [*map(len, sizes)])))
    ends = jnp.zeros(len(order), jnp.int32).at[order].set(jnp.cumsum(jnp.concatenate(sizes)[order]))
    # Without the barriers XLA computes all of this anew for every kernel.
    starts, noise = lax.optimization_barrier(
        (
            ends - jnp.concatenate(sizes),
            initializer.noise(key, (sum(max(row.sizes) * len(row.positions) for row in rows),)),
        )
    )
    flat: dict[Path, Any] = {}
    weights: dict[Path, Weight] = {}
    number = 0
    for row in rows:
        count, longest = len(row.positions), max(row.sizes)
        own = jnp.stack([lax.dynamic_slice(noise, (starts[number + i],), (longest,)) for i in range(count)])
        own, number = lax.optimization_barrier(own), number + count
        for path, (held, shapes) in row.blocks.items():
            for name, leaf in _cut(own, held, shapes, initializer, jnp).items():
                flat[*path, *name] = leaf if row.is_stacked else leaf[0]
                weights[*path, *name] = dataclasses.replace(held[name], lifted=(0,)) if row.is_stacked else held[name]
    return unflatten_dict(flat), weights


class _Row(NamedTuple):
    """A block of a chain, or a phase of `Choices`.

    Attributes:
        blocks: by path of the block, or of each that can be chosen, (what its parameters are, their shapes).
        sizes: of their kernels.
        chosen: int32[P], which is chosen in each position.
        positions: their numbers in the step.
        is_stacked: whether parameters have an axis of positions.
        is_first: whether it is the first of its step.
    """

    blocks: Mapping[Path, tuple[Mapping[Path, Weight], Mapping[Path, tuple[int, ...]]]]
    sizes: Sequence[int]
    chosen: Any
    positions: Sequence[int]
    is_stacked: bool
    is_first: bool


def _rows(step: Step, entering: Sequence[jax.ShapeDtypeStruct]) -> Iterator[_Row]:
    """The block of a step, or the phases of one that chooses."""
    size = lambda traced: sum(math.prod(traced[1][path]) for path in _kernels(traced[0]))
    if not isinstance(step.block, Choices):
        traced = _trace_block(step.block, *_leaves(entering))[1:]
        yield _Row({(step.name,): traced}, [size(traced)], jnp.zeros(1, jnp.int32), (0,), False, True)
        return
    node = _trace_block(step.block.of_inputs[0].block, *_leaves(entering[:1]))[0]
    for number, phase in enumerate(step.block.phases()):
        read = node if phase.name == "nodes" else entering[0]
        blocks: dict[Path, Any] = {
            (step.name, phase.name, own.name): _trace_block(own.block, *_leaves([read]))[1:] for own in phase.branches
        }
        sizes = [size(traced) for traced in blocks.values()]
        yield _Row(blocks, sizes, phase.chosen, phase.positions, True, not number)


@functools.lru_cache(maxsize=4096)
def _trace_block(
    block: nn.Module, leaves: tuple[jax.ShapeDtypeStruct, ...], tree: Any
) -> tuple[Any, Mapping[Path, Weight], Mapping[Path, tuple[int, ...]]]:
    """(shapes of what a block returns, what its parameters are, their shapes); the block reads a tree of leaves."""
    found: dict[str, Any] = {}

    def init(key: jax.Array, leaves: Any) -> Any:
        reads = jax.tree.unflatten(tree, leaves)
        variables, found["weights"] = init_with_weights(block, key, *reads)
        return variables, block.apply(variables, *reads, rngs={"mask": key, "noise": key}, mutable=True)[0]

    variables, output = jax.eval_shape(init, jax.random.key(0), leaves)
    flat = flatten_dict(variables.get("params", {}))
    return (
        output,
        {path: found["weights"][path] for path in flat},
        {path: tuple(leaf.shape) for path, leaf in flat.items()},
    )


def draw(
    key: jax.Array,
    weights: Mapping[Path, Weight],
    shapes: Mapping[Path, tuple[int, ...]],
    initializer: Initializer,
) -> Any:
    """Kernels as slices of one flat draw, whose length is rounded up so that few lengths are compiled; tables alike.

    Tables are drawn from N(0, `TABLE_DEVIATION`^2).

    Raises:
        ValueError: if a parameter is neither a kernel nor a bias nor of a norm.
    """
    sums = {draws: _size(weights, shapes, draws) for draws in (_kernels, _tables)}
    noise = np.asarray(_noise(initializer, key, rounded(sums[_kernels])))
    tables: Any = ()
    if sums[_tables]:
        tables = np.asarray(_noise(normal, jax.random.fold_in(key, 1), rounded(sums[_tables])))
    return unflatten_dict(_cut(noise, weights, shapes, initializer, np, tables))


def _kernels(weights: Mapping[Path, Weight]) -> list[Path]:
    return [path for path, weight in weights.items() if weight.kernel]


def _tables(weights: Mapping[Path, Weight]) -> list[Path]:
    return [path for path, weight in weights.items() if weight.role is Role.EMBEDDING]


def _size(
    weights: Mapping[Path, Weight],
    shapes: Mapping[Path, tuple[int, ...]],
    chosen: Callable[[Mapping[Path, Weight]], list[Path]],
) -> int:
    return sum(math.prod(shapes[path]) for path in chosen(weights))


def _cut(
    noise: Any,
    weights: Mapping[Path, Weight],
    shapes: Mapping[Path, tuple[int, ...]],
    initializer: Initializer,
    xp: Any,
    tables: Any = (),
) -> dict[Path, Any]:
    """Parameters by path, [*lead, ...]: kernels cut from a draw [*lead, T], tables from another; `xp` makes arrays."""
    end, end_of_tables, flat = 0, 0, dict[Path, Any]()
    for path, weight in weights.items():
        if weight.kernel:
            start, end = end, end + math.prod(shapes[path])
            scale = xp.float32(initializer.scale_of(weight.kernel, weight.shape))
            flat[path] = scale * noise[..., start:end].reshape(*noise.shape[:-1], *shapes[path])
        elif weight.role is Role.EMBEDDING and len(tables):
            start, end_of_tables = end_of_tables, end_of_tables + math.prod(shapes[path])
            flat[path] = xp.float32(TABLE_DEVIATION) * tables[start:end_of_tables].reshape(shapes[path])
        elif weight.role in (Role.SCALE, Role.SHIFT, Role.BIAS):
            flat[path] = xp.full((*noise.shape[:-1], *shapes[path]), float(weight.role is Role.SCALE), np.float32)
        else:
            raise ValueError(
                f"a chain draws kernels, tables, norms and biases: {'/'.join(path)} of {weight.layer} is none"
            )
    return flat


@functools.partial(jax.jit, static_argnums=(0, 2))
def _noise(initializer: Initializer, key: jax.Array, size: int) -> jax.Array:
    return initializer.noise(key, (size,))


class _Whole:
    """Runs blocks whole; arguments as of `zsnas_jax.measure.tiles.Tiles`, and whether a way back follows."""

    def __init__(
        self,
        programs: Programs,
        tape: Tape,
        asked: Asked,
        found: Sums,
        weights: Mapping[Path, Weight],
        goes_back: bool,
        signs_key: Any = None,
    ) -> None:
        self._programs, self._tape, self._asked, self._found = programs, tape, asked, found
        self._goes_back, self._signs_key = goes_back, signs_key
        self._weights: dict[str, dict[Path, Weight]] = {}
        for path, weight in weights.items():
            self._weights.setdefault(path[0], {})[path[1:]] = weight

    def run(
        self, step: Step, params: Any, reads: Sequence[Value], options: LayerOptions, key: Any = None
    ) -> Sequence[Value]:
        """What a step returns of values; the key is for options and blocks that draw."""
        block, programs, weights = step.block, self._programs, self._weights.get(step.name, {})
        top: Path = (step.name,)
        if key is not None:
            block = Alone(block, step.name, options if has_layer_options(block) else None)
            params, weights = {step.name: params}, {(*top, *path): weight for path, weight in weights.items()}
            top = ()
        arguments: tuple[Any, ...]
        asked, arrays = self._asked._replace(options=options), tuple(read.array for read in reads)
        is_needed = not all(read.is_constant for read in reads)
        goes_back = self._goes_back and (is_needed or asked.is_differentiated)
        case, arguments, kept = (block, asked), (params, arrays, key), None
        run = functools.partial(run_forward, block, asked, weights)
        if goes_back:
            # What the way back needs is kept, rather than the way forward run again.
            found = programs.shapes(run, case, *arguments)[1] if asked.gradients or asked.trunk else {}
            keep = functools.partial(run_and_keep, block, asked, weights, places_of(found), is_needed)
            arguments = (*arguments, self._leaving(top, places_of(found, "trunk"))) if asked.trunk else arguments
            output, observed, kept = programs.compiled(keep, ("kept", *case, is_needed), *arguments)(*arguments)
        else:
            output, observed = programs.compiled(run, ("block", *case), *arguments)(*arguments)
        sites = places_of(observed)
        self._found.places |= {(*top, *site.path): site for site in sites}
        for statistic, observations in observed.items():
            own = [dataclasses.replace(seen, path=(*top, *seen.path)) for seen in observations]
            self._found.observed.setdefault(statistic, []).extend(own)
        kernel_sums = tuple(wanted for wanted, _ in asked.kernel_sums)

        def pull(gradients: list[Any], found: Sums) -> Sequence[Any] | None:
            if not goes_back:
                return None
            leaving = gradients[0] if len(step.writes) == 1 else tuple(gradients)
            back, entering = functools.partial(pull_back, asked, weights), (params, kept, leaving)
            result = programs.compiled(back, ("back", *case, is_needed), *entering)(*entering)
            in_a_row = lambda matrix: np.asarray(matrix).reshape(-1, *matrix.shape[-2:])
            found.gradients |= {(*top, *path): in_a_row(matrix) for path, matrix in result.sites.items()}
            found.fisher += [] if result.fisher is None else [result.fisher]
            found.arrived |= {(*top, *path): gradient for path, gradient in result.trunk.items()}
            found.add_kernels(top, kernel_sums, result, {})
            return result.reads

        outputs = [Value(output)] if len(step.writes) == 1 else [Value(part) for part in output]
        return self._tape.record(reads, outputs, pull)

    def _leaving(self, top: Path, places: Sequence[SitePlace]) -> dict[Path, Any]:
        """Signs of the probes of a block's trunk, by path in the block; the network's so far are counted."""
        ones: Any = lambda place: np.ones(math.prod(place.lifted))
        places_once = [Observation(ones(place), place, (*top, *place.path)) for place in places]
        numbers: dict[Path, list[int]] = {seen.path: [] for seen in places_once}
        for group in groups(places_once):
            for _ in group[0].times:
                for seen in group:
                    numbers[seen.path].append(self._found.num_left)
                    self._found.num_left += 1
        own: dict[Path, Any] = {}
        for place in places:
            path = (*top, *place.path)
            drawn_by = self._signs_key, np.array(numbers[path], np.int32)
            draw = lambda key, numbers, shape=place.shape: jax.vmap(lambda i: random_signs(key)(i, shape))(numbers)
            signs = self._programs.compiled(draw, ("signs", place.shape), *drawn_by)(*drawn_by)
            self._found.left[path] = np.asarray(signs)
            own[place.path] = self._found.left[path].reshape(*place.lifted, *place.shape)
        return own


def own_options(step: Step, options: LayerOptions, weights: Mapping[Path, Weight]) -> tuple[LayerOptions, int, int]:
    """(options that a block can take, its batch norms, its convolutions) of one that does not apply them itself."""
    layers = [weight.layer for path, weight in weights.items() if path[0] == step.name]
    num_norms, num_convolutions = layers.count("BatchNorm"), sum(layer.startswith("Conv") for layer in layers)
    own = dataclasses.replace(options, norm=options.norm if num_norms else "bn")
    own = own if num_convolutions else dataclasses.replace(own, mask_rate=0.0)
    return own, num_norms, num_convolutions


def _options_by_step(network: Network, steps: Sequence[Step]) -> list[LayerOptions]:
    """The options of each block: those that it applies itself, or what of them finds something to act on there.

    Raises:
        ValueError: if they act nowhere.
    """
    options, foreign, every = network.options, ForeignLayers(network.options), list[LayerOptions]()
    is_own = [has_layer_options(step.block) for step in steps]
    for step, applies in zip(steps, is_own, strict=True):
        own, num_norms, num_convolutions = own_options(step, options, network.weights)
        foreign.num_norms += num_norms
        foreign.num_convolutions += num_convolutions
        every.append(options if applies else own)
    if not any(is_own):
        foreign.check(network.name)
    return every


def measure_chain(
    programs: Programs,
    steps: Sequence[Step],
    network: Network,
    needs: frozenset[str] = frozenset(),
    observe: Sequence[Callable[..., Any] | Look] = (),
    kernel_sums: Mapping[KernelSum, str] = MappingProxyType({}),
    *,
    additive: Sequence[Callable[..., Any]] = (),
) -> Measurements:
    """As `zsnas_jax.measure.measurements.measure`, of a network that is a chain.

    Args:
        programs: what compiles its blocks.
        steps: the chain.
        network: with the parameters of all steps, in numpy arrays; its module is not run.
        needs: as there.
        observe: as there.
        kernel_sums: as there.
        additive: statistics that are sums over neurons, which can be taken from tiles.

    Raises:
        ValueError: as there, and if the network itself is needed.
    """
    check_needs(network, needs)
    asked = Asked(
        options=network.options,
        statistics=tuple(dict.fromkeys([*observe, *([response_matrix] if "activations" in needs else [])])),
        features="features" in needs,
        rescale=network.wide_range and network.may_rescale,
        gradients="gradients" in needs,
        fisher="fisher" in needs,
        kernel_gradients="kernel_gradients" in needs,
        kernel_sums=tuple(kernel_sums.items()) if "kernel_gradients" in needs else (),
    )
    of_image = needs & {"jacobian", "own_jacobian"}
    goes_back = bool(of_image or needs & _WITH_LOSS)
    way = _Way(programs, steps, network, asked, additive, with_image=bool(of_image), goes_back=goes_back)
    trunk = _trunk(programs, steps, network) if "trunk" in needs else None
    if not (needs & (_WITH_LOSS | {"activations", "features"}) or of_image or observe):
        sums = {wanted: way.sum_kernels(wanted, asker) for wanted, asker in kernel_sums.items()}
        return Measurements(network, kernel_sums=sums, trunk=trunk)
    logits = way.run()
    found = way.found
    if asked.gradients and not found.places:
        raise ValueError(no_site(network))
    for number, statistic in enumerate(asked.statistics):
        if not found.places if place_of(statistic) == "sites" else f"statistic{number}" not in found.observed:
            raise ValueError(nothing_at(network, place_of(statistic)))
    features = Pass(logits, found.observed)
    if asked.features and features.features is None:
        raise ValueError(no_features(network))
    back = Sums()
    jacobian: Any
    gradient: Any
    slope: Any
    gradient, slope, jacobian, zero_jacobian = None, None, None, None
    if needs & _WITH_LOSS:
        label = network.batch.label
        slope = programs.compiled(jax.grad(network.loss), ("loss", network.loss), logits, label)(logits, label)
        back, gradient = way.back(slope)
    if "jacobian" in needs:
        _, jacobian = way.back(np.ones_like(logits))
        if slope is None:
            slope = np.asarray(other_combination(jnp.asarray(logits)))
            _, gradient = way.back(slope)
        zero_jacobian = is_zero(jacobian, jnp.ones_like(logits), gradient, slope)
        jacobian = jacobian.reshape(len(logits), -1)
    own_jacobian = None
    if "own_jacobian" in needs:
        own = (np.asarray(way.back(own_logits(logits, n))[1])[n].ravel() for n in range(len(logits)))
        own_jacobian = np.stack(list(own))
    gradients = [(path, way.gradients_at(back, path)) for path in found.places] if asked.gradients else []
    return Measurements(
        network,
        ResponseMatrices(
            sum_layers(way.activations(), network.layer_of) if "activations" in needs else None,
            sum_layers(gradients, network.layer_of) if gradients else None,
        ),
        {statistic: way.observed(statistic) for statistic in observe},
        {wanted: way.kernel_sum(back, wanted, by) for wanted, by in kernel_sums.items()},
        back.kernel_gradients(network.params) if asked.kernel_gradients else None,
        sum(back.fisher, np.zeros((), logits.dtype)) if asked.fisher else None,
        jacobian,
        zero_jacobian,
        own_jacobian,
        features.features,
        features.log_scale,
        trunk,
    )


def _trunk(programs: Programs, steps: Sequence[Step], network: Network) -> list[Feature]:
    """As `zsnas_jax.measure.measurements.measure` finds the trunk, by a way of its own."""
    asked = Asked(options=network.options, trunk=True)
    way = _Way(programs, steps, network, asked, (), with_image=False, goes_back=True)
    logits = way.run()
    if not way.found.left:
        raise ValueError(no_trunk(network.name))
    back, _ = way.back(np.ones_like(logits))
    ones = lambda signs: np.ones(len(signs), np.float32)
    arrived = lambda path, signs: np.asarray(back.arrived[path]).reshape(signs.shape)
    return [Feature(path, ones(signs), arrived(path, signs), signs) for path, signs in way.found.left.items()]


class _Way:
    """A way forward through a chain, and ways back along it."""

    def __init__(
        self,
        programs: Programs,
        steps: Sequence[Step],
        network: Network,
        asked: Asked,
        additive: Sequence[Callable[..., Any]],
        with_image: bool,
        goes_back: bool,
    ) -> None:
        self.found = Sums()
        self._programs, self._steps, self._network, self._asked = programs, steps, network, asked
        self._tape, self._goes_back = Tape(programs), goes_back
        self._image, self._logits = Value(network.batch.image, is_constant=not with_image), Value(None)
        self._in_tiles = tiles.serves(steps, asked, additive)

    def run(self) -> Any:
        """The logits, in numpy."""
        network, values = self._network, dict[str, Any](x=self._image)
        signs = jax.random.fold_in(network.key, 4) if self._asked.trunk else None
        whole = _Whole(self._programs, self._tape, self._asked, self.found, network.weights, self._goes_back, signs)
        tiled = tiles.Tiles(self._programs, self._tape, self._asked, self.found)
        for step, options in zip(self._steps, _options_by_step(network, self._steps), strict=True):
            params, reads = network.params.get(step.name, {}), [values[name] for name in step.reads]
            if self._in_tiles:
                outputs = tiled.run(step, params, reads)
            else:
                is_random = options.is_random or step.is_random
                outputs = whole.run(step, params, reads, options, network.key if is_random else None)
            values |= zip(step.writes, outputs, strict=True)
        self._logits = values[self._steps[-1].writes[0]]
        return np.asarray(self._logits.array)

    def back(self, gradient: Any) -> tuple[Sums, Any]:
        """(what a way back from a gradient of the logits gathers, the gradient of the pictures: zeros if constant)."""
        found = Sums()
        return found, self._tape.back(self._logits, gradient, self._image, found)

    def activations(self) -> list[tuple[Path, Any]]:
        """|corr| at the sites, (path, float[P, N, N]) in order of execution."""
        return [(o.path, o.times[:, None, None] * o.value) for o in self.observed(response_matrix)]

    def gradients_at(self, back: Sums, path: Path) -> Any:
        """|corr| of the gradients at a site, float[P, N, N]."""
        if self._in_tiles:
            return join_matrices(back.parts[moments, path])[None]
        return back.gradients[path]

    def observed(self, statistic: Callable[..., Any] | Look) -> list[Observation]:
        """What a statistic saw."""
        if not self._in_tiles:
            place = self._asked.statistics.index(statistic)
            seen = self.found.observed.get(f"statistic{place}", [])
            return jax.device_get(seen)
        parts: Any = self.found.parts
        once: Any = np.ones(1, np.float32)

        def join(path: Path) -> Any:
            if statistic is response_matrix:
                return join_matrices(parts[moments, path])
            assert not isinstance(statistic, Look)
            return join_values(statistic, parts[statistic, path], len(self._network.batch.image))

        in_a_row = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)
        return [Observation(once, in_a_row(join(path)), path) for path in self.found.places]

    def kernel_sum(self, back: Sums, wanted: KernelSum, asker: str) -> Any:
        """A sum over kernels, with their gradients where these are asked for."""
        if not self._asked.kernel_sums:
            return self.sum_kernels(wanted, asker)
        entries: dict[Path, Any] = {}
        for (own, path), parts in back.entries.items():
            if own == wanted:
                entries[path] = sum(np.asarray(part, np.float64) for part in parts)
        return finish(self._programs, wanted, list(entries.values()), self._dtype)

    def sum_kernels(self, wanted: KernelSum, asker: str) -> Any:
        """A sum over kernels without gradients."""
        network, flat = self._network, flatten_dict(self._network.params)
        kernels = kernels_of(network.weights, asker)
        sums = [sum_entries(self._programs, wanted, weight.as_matrices(flat[path])) for path, weight in kernels]
        return finish(self._programs, wanted, sums, self._dtype)

    @property
    def _dtype(self) -> Any:
        return self._network.batch.image.dtype

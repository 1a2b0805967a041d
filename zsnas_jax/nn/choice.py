"""Blocks that are chosen at run time: the genotype is data, so that one program serves all architectures of a space.

Flax cannot run a module inside a conditional or a loop of its own making, so that each block is called there as a pure
function of its variables. Axes: P positions in which a block is chosen, N batch.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any, NamedTuple

from flax.core import meta
from flax.core.scope import LazyRng, Scope
import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
from jax import lax
from jax.extend.core import jaxpr_as_fun
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Path
from zsnas_jax.nn.layers import rematerialised_switch
from zsnas_jax.nn.modules import AnySize
from zsnas_jax.nn.options import PLACE, Place


class Branch(NamedTuple):
    """A block that can be chosen, and the name under which its parameters are held."""

    name: str
    block: nn.Module


class Identity(nn.Module):
    """What it reads, unchanged."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Returns x."""
        return x


class Group(NamedTuple):
    """Branches that run as one, since their blocks are equal but for the size of their kernels: places among all."""

    places: tuple[int, ...]
    block: nn.Module
    sizes: tuple[Any, ...]


class Phase(NamedTuple):
    """Positions of a cell that are run in one loop, since the blocks of all have the same shapes.

    Attributes:
        name: under which the parameters of their blocks are held, stacked along axis 0.
        branches: the blocks to choose among.
        positions: numbers of the positions in the cell.
        chosen: int32[P], the place of the chosen branch in each.
        sources: int32[P], what each reads, a place among what the phase reads from.
    """

    name: str
    branches: tuple[Branch, ...]
    positions: tuple[int, ...]
    chosen: jax.Array
    sources: jax.Array

    def is_chosen(self, name: str) -> jax.Array:
        """In which positions the branch of a name is chosen, bool[P]."""
        return self.chosen == [branch.name for branch in self.branches].index(name)

    def groups(self) -> list[Group]:
        """The branches, those together whose blocks differ in the field `size` alone: so less is compiled."""
        found: list[Group] = []
        for place, (_, block) in enumerate(self.branches):
            size = getattr(block, "size", None)
            # Flax names the modules that it finds in fields of a bound one.
            plain = block.clone(parent=None, name=None)
            plain = plain if size is None else plain.clone(size=0)
            other = next((i for i, group in enumerate(found) if size is not None and group.block == plain), None)
            if other is None:
                found.append(Group((place,), plain, (size,)))
            else:
                found[other] = Group((*found[other].places, place), plain, (*found[other].sizes, size))
        return found


class Choices(nn.Module):
    """A cell whose operations are chosen at run time: every position adds a block of what it reads to a node.

    Values are numbered: first the inputs, which the module is called with, float[N, ...] all of one shape, then the
    nodes, which begin as zeros. Positions are run in order, and what is read of a node is its sum so far. Blocks that
    are not chosen do not run. What probes show leaves the loop with an axis of positions, as from an `nn.scan`, times
    zero where a block is not chosen. Masks and noise are drawn as in a network built for one architecture, in which
    each position's block stands under its own name.

    Attributes:
        names: of the blocks in a network built for one architecture, P of them.
        index: int32[P], the place of the block in the position.
        sources: numbers of the values that are read, P Python ints or int32[P].
        targets: numbers of the nodes that are added to, P Python ints.
        of_inputs: the blocks to choose among where an input is read.
        of_nodes: likewise of a node; None: the same, since nodes have the shape of inputs.
        num_inputs: how many inputs there are.
        none: the place of the block that gives zeros; read if there are `of_nodes` and the sources are traced.
    """

    names: tuple[str, ...]
    index: Any
    sources: Any
    targets: tuple[int, ...]
    of_inputs: tuple[Branch, ...]
    of_nodes: tuple[Branch, ...] | None = None
    num_inputs: int = 1
    none: int = 0

    @nn.nowrap
    def phases(self) -> list[Phase]:
        """The loops of the cell, in order."""
        every, first = tuple(range(len(self.names))), self.num_inputs
        index, sources = jnp.asarray(self.index, jnp.int32), jnp.asarray(self.sources, jnp.int32)
        if self.of_nodes is None:
            return [Phase("edges", self.of_inputs, every, index, sources)]
        if isinstance(self.sources, jax.Array):
            reading, others = every, tuple(p for p in every if self.targets[p] > first)
        else:
            reading = tuple(p for p in every if self.sources[p] < first)
            others = tuple(p for p in every if self.sources[p] >= first)
        found = []
        for name, branches, own, is_input in (
            ("inputs", self.of_inputs, reading, sources < first),
            ("nodes", self.of_nodes, others, sources >= first),
        ):
            take = np.array(own, int)
            runs = jnp.where(is_input, index, jnp.int32(self.none))[take]
            read = jnp.where(is_input, sources - jnp.int32(0 if name == "inputs" else first), jnp.int32(0))[take]
            found.append(Phase(name, branches, own, runs, read))
        return [phase for phase in found if phase.positions]

    @nn.compact
    def __call__(self, *inputs: jax.Array) -> Any:
        """The nodes, a tuple where they are several."""
        stacked, count = jnp.stack(inputs), max(self.targets) + 1 - self.num_inputs
        for number, phase in enumerate(self.phases()):
            if not number:
                shape = self._shape(phase, inputs[0])
                nodes = jnp.zeros((count, *shape.shape), shape.dtype)
            if self.of_nodes is None:
                nodes = self._run(phase, None, jnp.concatenate([stacked, nodes]))[self.num_inputs :]
            else:
                nodes = self._run(phase, stacked if phase.name == "inputs" else None, nodes)
        return tuple(nodes) if count > 1 else nodes[0]

    @nn.nowrap
    def map(self, wrap: Callable[[nn.Module], nn.Module]) -> "Choices":
        """The same choices among other blocks."""
        wrapped = lambda branches: branches and tuple(Branch(own.name, wrap(own.block)) for own in branches)
        return self.clone(of_inputs=wrapped(self.of_inputs), of_nodes=wrapped(self.of_nodes))

    @nn.nowrap
    def is_chosen(self, path: Path, shape: tuple[int, ...]) -> jax.Array:
        """Which positions of a parameter are used, by its path in this module: bool[P, 1, ...] as its shape."""
        phase = next(phase for phase in self.phases() if phase.name == path[0])
        return phase.is_chosen(path[1]).reshape(-1, *(1,) * (len(shape) - 1))

    @nn.nowrap
    def _variables(self, phase: Phase) -> dict[str, Any]:
        """By collection and branch, with positions along axis 0."""
        held: dict[str, Any] = {name: self.get_variable(name, phase.name) for name in ("params", "slots")}
        return {name: meta.remove_axis(tree, 0, {}) for name, tree in held.items() if tree}

    @nn.nowrap
    def _shape(self, phase: Phase, x: jax.Array) -> Any:
        own = jax.tree.map(lambda leaf: leaf[0], self._variables(phase))
        keys, run = self._runner(phase)
        drawn = jnp.int32(0), jnp.int32(0), keys
        return jax.eval_shape(lambda *args: run(phase.groups()[0], *args)[0], drawn, x, own)

    @nn.nowrap
    def _runner(self, phase: Phase) -> tuple[Any, Callable[..., Any]]:
        """(roots of the random streams, what runs the block of a group)."""
        assert self.scope is not None
        streams = {name: rng for name, rng in self.scope.rngs.items() if name != "params"}
        mutable = ["observed"] if self.is_mutable_collection("observed") else False
        names = tuple(self.names[position] for position in phase.positions)

        def run(group: Group, drawn: Any, x: jax.Array, variables: Any) -> tuple[Any, Any]:
            """(what the block returns, what its probes showed) at (position, which of the group, keys)."""
            position, number, keys = drawn
            branches = [phase.branches[place].name for place in group.places]
            path, block = (*self.path, phase.name), group.block
            if group.sizes[0] is not None:
                block = block.clone(size=group.sizes[0] if len(branches) == 1 else AnySize(group.sizes, number))
            if len(branches) > 1:
                variables = {name: _one_of(tree, branches, number) for name, tree in variables.items()}
                _read_slots(variables.get("slots", {}), branches[1:], path)
            own = {name: tree[branches[0]] for name, tree in variables.items() if branches[0] in tree}
            rngs = {name: LazyRng(key, ()) for name, key in keys.items()}
            suffix: tuple[Any, ...] = next(iter(streams.values())).suffix[:-1] if streams else ()
            flags = {PLACE: Place(tuple((*suffix, name) for name in names), position)}
            scope = Scope(own, rngs=rngs, mutable=mutable, path=(*path, branches[0]), flags=flags)
            output = block.clone(parent=scope)(x)
            seen = dict(scope.mutable_variables().get("observed", {}))
            return output, jax.tree.map(jnp.asarray, seen)

        return {name: rng.rng for name, rng in streams.items()}, run

    @nn.nowrap
    def _run(self, phase: Phase, entering: jax.Array | None, values: jax.Array) -> jax.Array:
        """The values after a phase, which reads from what enters, or from the values themselves."""
        keys, run = self._runner(phase)
        variables, groups = self._variables(phase), phase.groups()
        first_target = 0 if self.of_nodes is None else self.num_inputs
        targets = jnp.array([self.targets[position] - first_target for position in phase.positions], jnp.int32)

        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), variables)
        shown: list[Any] = []

        def step(values: jax.Array, own: Any) -> tuple[jax.Array, Any]:
            position, index, number, source, target, packed = own
            x = lax.dynamic_index_in_dim(values if entering is None else entering, source, keepdims=False)
            drawn = position, number, keys
            unpacked = {name: _unpack(flat, like[name]) for name, flat in packed.items()}
            blocks = [_traced(functools.partial(run, group), drawn, x, unpacked) for group in groups]
            shown[:] = [shapes[1] for _, shapes in blocks]
            branches = [_branch(block, like, shown) for block, _ in blocks]
            y, seen = rematerialised_switch(index, branches, x, packed, constants=drawn, has_aux=True)
            return values.at[target].add(y), seen

        numbers = jnp.arange(len(phase.positions), dtype=jnp.int32)
        of_branch = np.zeros((2, len(phase.branches)), np.int32)
        for number, group in enumerate(groups):
            of_branch[:, list(group.places)] = np.full(len(group.places), number), range(len(group.places))
        index, number_in_group = jnp.asarray(of_branch)[:, phase.chosen]
        packed = {name: _pack(tree) for name, tree in variables.items()}
        loop = numbers, index, number_in_group, phase.sources, targets, packed
        values, seen = lax.scan(step, values, loop)
        for number, group in enumerate(groups):
            if shown[number]:
                own = {
                    kind: jnp.where(index[:, None] == number, flat, jnp.zeros((), kind)) for kind, flat in seen.items()
                }
                self._show(phase.name, phase.branches[group.places[0]].name, _unpack(own, shown[number]))
        return values

    @nn.nowrap
    def _show(self, phase: str, branch: str, seen: Any) -> None:
        """Hands what a block's probes showed on, under the block's path."""
        others: dict[str, Any] = self.get_variable("observed", phase, {})
        self.put_variable("observed", phase, {**others, branch: seen})


class _Slots(nn.Module):
    """Reads the slots of a module that runs as another: so a pass knows that they reach something."""

    @nn.compact
    def __call__(self) -> None:
        """Reads nothing more: a pass looks at the variables of what is called."""


def _read_slots(slots: Any, branches: Sequence[str], path: Path) -> None:
    held = {branch: slots[branch] for branch in branches if branch in slots}
    for own, leaf in flatten_dict(held).items():
        scope: Any = Scope({"slots": {own[-1]: leaf}}, path=(*path, *own[:-1]))
        _Slots(parent=scope)()


def _one_of(tree: Any, branches: Sequence[str], number: jax.Array) -> Any:
    """Variables of several branches as those of one: the ones of a number, and a tuple of all where shapes differ."""
    flats = [flatten_dict(tree.get(branch, {})) for branch in branches]
    merged: dict[Path, Any] = {}
    for path in dict.fromkeys(path for flat in flats for path in flat):
        leaves = tuple(flat[path] for flat in flats if path in flat)
        alike = len({leaf.shape for leaf in leaves}) == 1
        merged[path] = (jnp.stack(leaves)[number] if len(leaves) > 1 else leaves[0]) if alike else leaves
    return {**tree, branches[0]: unflatten_dict(merged)}


def _traced(run: Callable[..., Any], *operands: Any) -> tuple[Callable[..., Any], Any]:
    """(a function that runs a block, the shapes of what it returns).

    The block is traced here and nowhere else: its way back is made when no interceptor sees its modules any more.
    """
    jaxpr, shapes = jax.make_jaxpr(run, return_shape=True)(*operands)
    call, tree = jaxpr_as_fun(jaxpr), jax.tree.structure(shapes)
    return lambda *operands: jax.tree.unflatten(tree, call(*jax.tree.leaves(operands))), shapes


def _branch(block: Callable[..., Any], like: Mapping[str, Any], shown: Sequence[Any]) -> Callable[..., Any]:
    """A block as a branch: of packed variables, to its output and what its probes show, packed as long as any block's.

    Every array that enters or leaves a branch is a kernel of its own to compile, for the way back, too.
    """
    lengths = collections.Counter[str]()
    for tree in shown:
        lengths |= _lengths(tree)

    def branch(drawn: Any, x: jax.Array, packed: Any) -> tuple[Any, Any]:
        output, seen = block(drawn, x, {name: _unpack(flat, like[name]) for name, flat in packed.items()})
        own = _pack(seen, ())
        return output, {
            kind: jnp.pad(own[kind], (0, length - len(own[kind]))) if kind in own else jnp.zeros(length, kind)
            for kind, length in lengths.items()
        }

    return branch


def _lengths(tree: Any) -> collections.Counter[str]:
    """By dtype, the entries of a tree's arrays."""
    lengths = collections.Counter[str]()
    for leaf in jax.tree.leaves(tree):
        lengths[str(leaf.dtype)] += leaf.size
    return lengths


def _pack(tree: Any, lead: tuple[int, ...] | None = None) -> dict[str, jax.Array]:
    """By dtype, the arrays of a tree in a row, [*lead, T]; by default one axis leads."""
    rows: dict[str, list[jax.Array]] = {}
    for leaf in jax.tree.leaves(tree):
        rows.setdefault(str(leaf.dtype), []).append(leaf.reshape(*(leaf.shape[:1] if lead is None else lead), -1))
    return {kind: jnp.concatenate(own, -1) for kind, own in rows.items()}


def _unpack(packed: Mapping[str, jax.Array], like: Any) -> Any:
    """The tree of arrays [*lead, ...] again; `like` has its shapes, without what leads."""
    leaves, tree = jax.tree.flatten(like)
    kinds = [str(leaf.dtype) for leaf in leaves]
    parts = {}
    for kind in dict.fromkeys(kinds):
        flat, sizes = packed[kind], [leaf.size for leaf, own in zip(leaves, kinds, strict=True) if own == kind]
        rest = flat.shape[-1] - sum(sizes)
        parts[kind] = iter(lax.split(flat, [*sizes, *([rest] if rest else [])], flat.ndim - 1))
    own = [next(parts[kind]) for kind in kinds]
    return jax.tree.unflatten(
        tree, [part.reshape(*part.shape[:-1], *leaf.shape) for part, leaf in zip(own, leaves, strict=True)]
    )

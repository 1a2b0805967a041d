"""A block of a network that is chosen at run time: the genotype is data, so that one program serves all architectures.

A network states each choice once, by `choose`: of a Python int it is the chosen block itself, of a traced number a
`Choice`, which holds the parameters of all.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flax.core.scope import LazyRng, Scope
import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.nn.layers import rematerialised_switch


class Branch(NamedTuple):
    """A block that can be chosen, and which of what the choice reads it is called with, by place."""

    name: str
    block: nn.Module
    reads: tuple[int, ...] = (0,)

    def taken(self, reads: Sequence[Any]) -> list[Any]:
        """What it is called with, of what the choice reads."""
        return [reads[place] for place in self.reads]


class Identity(nn.Module):
    """What it reads, unchanged."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Returns x."""
        return x


class Choice(nn.Module):
    """One of several blocks with equal outputs, chosen at run time; the others do not run.

    Flax cannot run a module inside a conditional, so that each block is called there as a pure function of its
    variables: with the parameters and slots under the choice's own name and the branch's, and with the random streams
    that it would have if it stood here alone, so that it draws masks as in a network built for one architecture. What
    probes show of a block leaves the conditional as (times, value) pairs; they are zero where it is not chosen.

    Attributes:
        index: int32[], the place of the branch.
        branches: their names differ.
    """

    index: jax.Array
    branches: tuple[Branch, ...]

    @nn.compact
    def __call__(self, *reads: Any) -> Any:
        """What the chosen block returns of what it reads."""
        if self.is_initializing():
            outputs = [own.block.clone(parent=self, name=own.name)(*own.taken(reads)) for own in self.branches]
            return outputs[0]
        assert self.scope is not None
        variables = {own.name: self._variables_of(own.name) for own in self.branches}
        streams = {name: rng for name, rng in self.scope.rngs.items() if name != "params"}
        suffixes = {name: rng.suffix for name, rng in streams.items()}
        keys = {name: rng.rng for name, rng in streams.items()}
        mutable = ["observed"] if self.is_mutable_collection("observed") else False

        def run(own: Branch, keys: Any, reads: Sequence[Any], variables: Any) -> tuple[Any, Any]:
            rngs = {name: LazyRng(key, suffixes[name]) for name, key in keys.items()}
            scope = Scope(dict(variables[own.name]), rngs=rngs, mutable=mutable, path=(*self.path, own.name))
            output = own.block.clone(parent=scope)(*own.taken(reads))
            return output, dict(scope.mutable_variables().get("observed", {}))

        shown = [jax.eval_shape(lambda *args, own=own: run(own, *args)[1], keys, reads, variables) for own in self.branches]
        nothing = [jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), own) for own in shown]

        def branch(place: int) -> Any:
            def chosen(keys: Any, reads: Sequence[Any], variables: Any) -> tuple[Any, Any]:
                output, seen = run(self.branches[place], keys, reads, variables)
                as_arrays = jax.tree.map(jnp.asarray, seen)
                return output, [as_arrays if other == place else own for other, own in enumerate(nothing)]

            return chosen

        output, seen = rematerialised_switch(
            self.index, [branch(i) for i in range(len(self.branches))], reads, variables, constants=keys, has_aux=True
        )
        for own, tree in zip(self.branches, seen, strict=True):
            if tree:
                self.put_variable("observed", own.name, tree)
        return output

    @nn.nowrap
    def is_chosen(self, name: str) -> jax.Array:
        """Whether it is the branch of a name, bool[]."""
        return self.index == [own.name for own in self.branches].index(name)

    @nn.nowrap
    def _variables_of(self, name: str) -> dict[str, Any]:
        held = {"params": self.get_variable("params", name), "slots": self.get_variable("slots", name)}
        return {collection: tree for collection, tree in held.items() if tree}


def choose(index: int | jax.Array, blocks: Mapping[str, nn.Module | None]) -> nn.Module | None:
    """The block of a place among others; None stands for the identity.

    Args:
        index: of a Python int the block itself is returned, of a traced number a `Choice` among all.
        blocks: by the name under which a `Choice` keeps their parameters.
    """
    if not isinstance(index, jax.Array):
        return list(blocks.values())[index]
    return Choice(index, tuple(Branch(name, block or Identity()) for name, block in blocks.items()))

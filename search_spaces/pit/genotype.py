"""The genotype of a PiT: how it is drawn, changed and written.

It is int32[8], places in the lists of `Grid`: base width, ratio, depths of the three stages, heads of the stages.
"""

from collections.abc import Sequence
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

NUM_STAGES = 3
NUM_GENES = 2 + 2 * NUM_STAGES


class Grid(NamedTuple):
    """What networks can be made of.

    Attributes:
        bases: channels of a head, in every stage.
        ratios: hidden units of a block, divided by its width.
        depths: blocks, of each stage.
        heads: of a block; they never decrease, and each divides those of the next stage.
    """

    bases: tuple[int, ...] = (16, 24, 32, 40)
    ratios: tuple[int, ...] = (2, 4, 6, 8)
    depths: tuple[tuple[int, ...], ...] = ((1, 2, 3), (4, 6, 8), (2, 4, 6))
    heads: tuple[int, ...] = (2, 4, 8)

    @property
    def num_choices(self) -> tuple[int, ...]:
        """How many values each gene can take."""
        depths = (len(choices) for choices in self.depths)
        return (len(self.bases), len(self.ratios), *depths, *(len(self.heads),) * NUM_STAGES)

    @property
    def triples(self) -> np.ndarray:
        """Places of heads that the three stages can have together, int32[M, 3]."""
        return np.array(list(itertools.combinations_with_replacement(range(len(self.heads)), NUM_STAGES)), np.int32)


GRID = Grid()
"""Auto-Prox's, 4,320 networks."""


class Plan(NamedTuple):
    """A network: channels of a head, ratio, and blocks and heads of each stage."""

    base: int
    ratio: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of a token in each stage."""
        return tuple(self.base * heads for heads in self.heads)


def plan_of(arch: Any, grid: Grid = GRID) -> Plan:
    """The network of a genotype, as Python values."""
    genes = [int(gene) for gene in np.asarray(arch)]
    depths = tuple(grid.depths[stage][genes[2 + stage]] for stage in range(NUM_STAGES))
    heads = tuple(grid.heads[gene] for gene in genes[2 + NUM_STAGES :])
    return Plan(grid.bases[genes[0]], grid.ratios[genes[1]], depths, heads)


def arch_of(plan: Plan, grid: Grid = GRID) -> np.ndarray:
    """The genotype int32[8] of a network.

    Raises:
        ValueError: naming what the grid does not have.
    """
    for what, values in (("depths", plan.depths), ("heads", plan.heads)):
        if len(values) != NUM_STAGES:
            raise ValueError(f"{len(values)} {what}: {NUM_STAGES} are needed, one a stage")
    if any(first > second for first, second in itertools.pairwise(plan.heads)):
        raise ValueError(f"heads {'-'.join(map(str, plan.heads))} decrease: none may have fewer than the stage before")
    where = [_place("base width", plan.base, grid.bases), _place("ratio", plan.ratio, grid.ratios)]
    stages = zip(plan.depths, grid.depths, strict=True)
    where += [_place(f"depth of stage {stage}", depth, allowed) for stage, (depth, allowed) in enumerate(stages, 1)]
    where += [_place("heads", heads, grid.heads) for heads in plan.heads]
    return np.array(where, np.int32)


def _place(what: str, value: int, allowed: Sequence[int]) -> int:
    if value not in allowed:
        raise ValueError(f"{what} {value}: allowed are {', '.join(map(str, allowed))}")
    return allowed.index(value)


def sample(key: jax.Array, grid: Grid = GRID) -> jax.Array:
    """A uniformly drawn network, int32[8]."""
    rest_key, heads_key = jax.random.split(key)
    choices, triples = jnp.asarray(grid.num_choices[: 2 + NUM_STAGES]), jnp.asarray(grid.triples)
    rest = jax.random.randint(rest_key, choices.shape, 0, choices, jnp.int32)
    return jnp.concatenate([rest, triples[jax.random.randint(heads_key, (), 0, len(triples))]])


def mutate(key: jax.Array, arch: jax.Array, grid: Grid = GRID) -> jax.Array:
    """One of six decisions gets another value, uniformly; the heads of the three stages are one of them."""
    which_key, step_key = jax.random.split(key)
    triples = jnp.asarray(grid.triples)
    choices = jnp.asarray((*grid.num_choices[: 2 + NUM_STAGES], len(triples)))
    which = jax.random.randint(which_key, (), 0, len(choices))
    step = jax.random.randint(step_key, (), 1, choices[which])
    triple = jnp.argmax((triples == arch[2 + NUM_STAGES :]).all(1))
    decisions = jnp.append(arch[: 2 + NUM_STAGES], triple)
    changed = decisions.at[which].set((decisions[which] + step) % choices[which])
    return jnp.concatenate([changed[:-1], triples[changed[-1]]]).astype(jnp.int32)


def is_valid(arch: Any) -> Any:
    """Whether heads never decrease, bool[]."""
    heads = jnp.asarray(arch)[2 + NUM_STAGES :]
    return (heads[1:] >= heads[:-1]).all()


def encode(arch: Any, grid: Grid = GRID) -> str:
    """The string, such as "pit:16:6:2-6-4:2-4-8": base width, ratio, depths, heads."""
    plan = plan_of(arch, grid)
    depths, heads = ("-".join(map(str, values)) for values in (plan.depths, plan.heads))
    return f"pit:{plan.base}:{plan.ratio}:{depths}:{heads}"


def decode(string: str, grid: Grid = GRID) -> np.ndarray:
    """The genotype int32[8] of a string.

    Raises:
        ValueError: naming the first thing wrong with it.
    """
    shown, parts = f"bad architecture {string[:100]!r}", string.strip()[:200].split(":")
    if len(parts) != 5 or parts[0] != "pit":
        raise ValueError(f"{shown}: needed is pit:BASE:RATIO:DEPTHS:HEADS, such as pit:16:6:2-6-4:2-4-8")
    try:
        base, ratio, depths, heads = ([_number(text) for text in part.split("-")] for part in parts[1:])
        if len(base) != 1 or len(ratio) != 1:
            raise ValueError("one base width and one ratio are needed")
        return arch_of(Plan(base[0], ratio[0], tuple(depths), tuple(heads)), grid)
    except ValueError as error:
        raise ValueError(f"{shown}: {error}") from error


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{text[:40]!r} is no whole number")
    return int(text)

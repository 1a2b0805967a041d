"""The genotype of an AutoFormer: how it is drawn, changed and written.

It is int32[2 + 2 D], places in the lists of a `Grid`: depth, width, heads of each block, ratio of each block, D the
largest depth. Entries of blocks beyond the depth are 0, and nobody reads them.
"""

from collections.abc import Sequence
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Grid(NamedTuple):
    """What networks of a size can be made of.

    Attributes:
        name: as strings begin.
        widths: channels of a token, one for the whole network.
        depths: blocks.
        heads: of a block.
        ratios: hidden units of a block, divided by the width.
        head_width: channels of a head, with positions relative to each other; None: heads share the width, and there
            are none.
        epsilon: of the norms.
    """

    name: str
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    ratios: tuple[float, ...]
    head_width: int | None = 64
    epsilon: float = 1e-5

    @property
    def num_blocks(self) -> int:
        """D."""
        return self.depths[-1]

    @property
    def num_archs(self) -> int:
        """How many networks there are."""
        return len(self.widths) * sum((len(self.heads) * len(self.ratios)) ** depth for depth in self.depths)

    @property
    def num_choices(self) -> tuple[int, ...]:
        """How many values each gene can take."""
        blocks = self.num_blocks
        return (len(self.depths), len(self.widths), *(len(self.heads),) * blocks, *(len(self.ratios),) * blocks)

    def hidden(self, width: int, ratio: float) -> int:
        """Hidden units of a block."""
        return int(width * ratio)

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """All numbers of hidden units that a block can have."""
        return tuple(sorted({self.hidden(width, ratio) for width in self.widths for ratio in self.ratios}))


TINY = Grid("autoformer-t", (192, 216, 240), (12, 13, 14), (3, 4), (3.5, 4.0))
SMALL = Grid("autoformer-s", (320, 384, 448), (12, 13, 14), (5, 6, 7), (3.0, 3.5, 4.0))
BASE = Grid("autoformer-b", (528, 576, 624), (14, 15, 16), (9, 10), (3.0, 3.5, 4.0))
PLAIN = TINY._replace(name="autoformer-plain", head_width=None, epsilon=1e-6)
"""ViT-Bench's."""


class Plan(NamedTuple):
    """A network: width, and the heads and the ratio of each of its blocks."""

    width: int
    heads: tuple[int, ...]
    ratios: tuple[float, ...]


def plan_of(grid: Grid, arch: Any) -> Plan:
    """The network of a genotype, as Python values."""
    genes, blocks = [int(gene) for gene in np.asarray(arch)], grid.num_blocks
    depth = grid.depths[genes[0]]
    heads = tuple(grid.heads[gene] for gene in genes[2 : 2 + depth])
    ratios = tuple(grid.ratios[gene] for gene in genes[2 + blocks : 2 + blocks + depth])
    return Plan(grid.widths[genes[1]], heads, ratios)


def arch_of(grid: Grid, plan: Plan) -> np.ndarray:
    """The genotype int32[2 + 2 D] of a network.

    Raises:
        ValueError: naming what the grid does not have.
    """
    depth = len(plan.heads)
    if len(plan.ratios) != depth:
        raise ValueError(f"{len(plan.ratios)} ratios and {depth} heads: as many are needed")
    where = [_place("depth", depth, grid.depths), _place("width", plan.width, grid.widths)]
    rest = [0] * (grid.num_blocks - depth)
    where += [_place("heads", heads, grid.heads) for heads in plan.heads] + rest
    where += [_place("ratio", ratio, grid.ratios) for ratio in plan.ratios] + rest
    return np.array(where, np.int32)


def _place(what: str, value: float, allowed: Sequence[float]) -> int:
    if value not in allowed:
        raise ValueError(f"{what} {value:g}: allowed are {', '.join(f'{own:g}' for own in allowed)}")
    return allowed.index(value)


def _canonical(grid: Grid, arch: jax.Array) -> jax.Array:
    """The genotype with zeros for the blocks that are not there."""
    there = jnp.tile(jnp.arange(grid.num_blocks) < jnp.asarray(grid.depths)[arch[0]], 2)
    return jnp.where(jnp.concatenate([jnp.ones(2, bool), there]), arch, 0)


def sample(grid: Grid, key: jax.Array) -> jax.Array:
    """Depth, width and every block's heads and ratio uniformly, as published searches do: not uniform over networks.

    int32[2 + 2 D].
    """
    choices = jnp.asarray(grid.num_choices)
    return _canonical(grid, jax.random.randint(key, choices.shape, 0, choices, jnp.int32))


def mutate(grid: Grid, key: jax.Array, arch: jax.Array) -> jax.Array:
    """One decision that the network has gets another value, uniformly; the blocks of a larger depth are drawn anew."""
    where_key, step_key, block_key = jax.random.split(key, 3)
    choices, blocks = jnp.asarray(grid.num_choices), grid.num_blocks
    there = jnp.tile(jnp.arange(blocks) < jnp.asarray(grid.depths)[arch[0]], 2)
    weights = jnp.concatenate([jnp.ones(2, bool), there]).astype(jnp.float32)
    gene = jax.random.choice(where_key, len(choices), p=weights / weights.sum())
    step = jax.random.randint(step_key, (), 1, choices[gene])
    changed = arch.at[gene].set((arch[gene] + step) % choices[gene])
    drawn = jax.random.randint(block_key, choices.shape, 0, choices, jnp.int32)
    fresh = jnp.concatenate([jnp.zeros(2, bool), ~there])
    return _canonical(grid, jnp.where(fresh, drawn, changed))


def redraw(
    grid: Grid,
    key: jax.Array,
    arch: jax.Array,
    *,
    depth_rate: float = 0.4,
    width_rate: float = 0.4,
    block_rate: float = 0.2,
) -> jax.Array:
    """The mutation of AutoFormer's evolution: each decision is drawn anew with a probability, often to what it was.

    Args:
        grid: of the space.
        key: of the draws.
        arch: int32[2 + 2 D].
        depth_rate: of the depth; blocks that come with a larger one are drawn.
        width_rate: of the width.
        block_rate: of the heads of each block, and of its ratio.

    Source: Chen et al., AutoFormer, ICCV 2021; the rates are remembered from its code, not checked.
    """
    which_key, draw_key = jax.random.split(key)
    choices, blocks = jnp.asarray(grid.num_choices), grid.num_blocks
    rates = jnp.array([depth_rate, width_rate, *[block_rate] * (2 * blocks)])
    there = jnp.tile(jnp.arange(blocks) < jnp.asarray(grid.depths)[arch[0]], 2)
    is_new = jnp.concatenate([jnp.zeros(2, bool), ~there]) | jax.random.bernoulli(which_key, rates)
    drawn = jax.random.randint(draw_key, choices.shape, 0, choices, jnp.int32)
    return _canonical(grid, jnp.where(is_new, drawn, arch))


def is_canonical(grid: Grid, arch: Any) -> Any:
    """Whether the entries of blocks that are not there are 0, bool[]."""
    return jnp.all(_canonical(grid, jnp.asarray(arch)) == jnp.asarray(arch))


def encode(grid: Grid, arch: Any) -> str:
    """The string, such as "autoformer-t:192:4-3.5-...:3-4-...": width, ratios, heads."""
    plan = plan_of(grid, arch)
    ratios, heads = ("-".join(f"{value:g}" for value in values) for values in (plan.ratios, plan.heads))
    return f"{grid.name}:{plan.width}:{ratios}:{heads}"


_MAX_TEXT = 1000


def decode(grid: Grid, string: str) -> np.ndarray:
    """The genotype int32[2 + 2 D] of a string.

    Raises:
        ValueError: naming the first thing wrong with it.
    """
    text = string.strip()
    shown = f"bad architecture {string[:100]!r}"
    if len(text) > _MAX_TEXT:
        raise ValueError(f"{shown}: {len(text)} characters, at most {_MAX_TEXT} are read")
    parts = text.split(":")
    if len(parts) != 4:
        raise ValueError(f"{shown}: {len(parts)} parts between colons, needed are a name, a width, ratios, heads")
    name, width, ratios, heads = parts
    if name != grid.name:
        raise ValueError(f"{shown}: it begins with {name[:40]!r}, needed is {grid.name!r}")
    try:
        plan = Plan(
            int(_number(width)),
            tuple(int(_number(value)) for value in heads.split("-")),
            tuple(_number(value) for value in ratios.split("-")),
        )
        return arch_of(grid, plan)
    except ValueError as error:
        raise ValueError(f"{shown}: {error}") from error


def _number(text: str) -> float:
    """A number of digits with at most one point."""
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 12:
        raise ValueError(f"{text[:40]!r} is no number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]!r} is no number")
    return value

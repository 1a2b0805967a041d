"""The genotype of a MobileNet-like network of ZenNAS, ZiCo and AZ-NAS: how it is drawn, changed and written.

It is int32[15, 6]: a row for the stem and for each of up to 14 blocks, with the expansion, the kernel size, the stride,
the sub-layers, the width and the bottleneck as numbers; rows behind the last block are zero. Of the stem's row,
(0, 3, 2, 1, width, 0), the width alone is free.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.zennas_mobilenet.network import LAST, MAX_LAYERS, BlockPlan, Plan

NUM_ROWS, NUM_FIELDS = MAX_LAYERS + 1, 6
EXPANSION, KERNEL, STRIDE, LAYERS, OUT, BOTTLENECK = range(NUM_FIELDS)
EXPANSIONS, KERNELS, STRIDES = (1, 2, 4, 6), (3, 5, 7), (1, 2)
MAX_WIDTH = LAST
SPLIT_LAYERS = 6
"""A mutated block of so many sub-layers becomes two: the first half of so many, and the rest at stride 1."""
FACTORS = (2.5, 2, 1.5, 1.25, 1, 1 / 1.25, 1 / 1.5, 1 / 2, 1 / 2.5)
"""What a mutation multiplies widths by."""
NUM_MUTATIONS = 16
"""How many mutations lead from the first network to a sample."""
_STEM = (0, 3, 2, 1, 0, 0)
_START = Plan(
    8, (BlockPlan(6, 3, 2, 1, 32, 8), BlockPlan(6, 3, 2, 1, 48, 32), BlockPlan(6, 3, 2, 1, 96, 48),
        BlockPlan(6, 3, 2, 1, 128, 96)))  # fmt: skip


def from_plan(plan: Plan) -> np.ndarray:
    """The genotype int32[15, 6] of a plan."""
    arch = np.zeros((NUM_ROWS, NUM_FIELDS), np.int32)
    arch[0] = _STEM
    arch[0, OUT] = plan.stem
    arch[1 : len(plan.blocks) + 1] = plan.blocks
    return arch


START = from_plan(_START)
"""The network that the papers' searches begin with, int32[15, 6]."""


def plan_of(arch: Any) -> Plan:
    """The network of a genotype int[15, 6] as Python ints: what it is built of."""
    stem, *blocks = np.asarray(arch).tolist()
    return Plan(stem[OUT], tuple(BlockPlan(*block) for block in blocks if block[LAYERS]))


def sample(key: jax.Array) -> jax.Array:
    """The first network, mutated 16 times: the papers draw none otherwise. int32[15, 6]."""
    keys = jax.random.split(key, NUM_MUTATIONS)
    return jax.lax.fori_loop(0, NUM_MUTATIONS, lambda i, arch: mutate(keys[i], arch), jnp.asarray(START))


def mutate(key: jax.Array, arch: jax.Array) -> jax.Array:
    """Two of the stem and the blocks are replaced, as the papers do. int32[15, 6] to int32[15, 6].

    A block's width and its bottleneck are each multiplied by one of `FACTORS` and rounded to a multiple of 8, from 8 to
    2,048; up to two sub-layers are added or taken away; expansion and kernel size are drawn. Of the stem the width
    changes. Drawn again until the network is another and has 14 sub-layers at most. All draws are uniform.
    """

    def draw_again(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        own, following = jax.random.split(carry[0])
        return following, _replaced(own, arch)

    def is_refused(carry: tuple[jax.Array, jax.Array]) -> jax.Array:
        return (carry[1] == arch).all() | (_num_layers(carry[1]) > MAX_LAYERS)

    _, found = jax.lax.while_loop(is_refused, draw_again, (key, arch))
    return _split(found)


def _replaced(key: jax.Array, arch: jax.Array) -> jax.Array:
    """A genotype in which two rows are drawn anew, before any block is split."""
    row_key, factor_key, layer_key, expansion_key, kernel_key = jax.random.split(key, 5)
    rank = jnp.where(arch[:, LAYERS] > 0, jax.random.uniform(row_key, (NUM_ROWS,)), -1.0)
    is_chosen = rank >= jnp.sort(rank)[-2]
    factors = jax.random.choice(factor_key, jnp.asarray(FACTORS), (NUM_ROWS, 2))
    widths = jnp.clip(8 * jnp.round(arch[:, [OUT, BOTTLENECK]] * factors / 8), 8, MAX_WIDTH).astype(jnp.int32)
    layers = jnp.maximum(arch[:, LAYERS] + jax.random.randint(layer_key, (NUM_ROWS,), -2, 3), 1)
    expansion = jax.random.choice(expansion_key, jnp.asarray(EXPANSIONS), (NUM_ROWS,))
    kernel = jax.random.choice(kernel_key, jnp.asarray(KERNELS), (NUM_ROWS,))
    drawn = jnp.stack([expansion, kernel, arch[:, STRIDE], layers, widths[:, 0], widths[:, 1]], -1)
    drawn = drawn.at[0].set(jnp.asarray(_STEM)).at[0, OUT].set(widths[0, 0])
    return jnp.where(is_chosen[:, None], drawn, arch).astype(jnp.int32)


def _split(arch: jax.Array) -> jax.Array:
    """The genotype with long blocks in two, the last first: of 14 sub-layers two blocks at most are long."""
    for _ in range(MAX_LAYERS // SPLIT_LAYERS):
        is_long = arch[:, LAYERS] >= SPLIT_LAYERS
        place = NUM_ROWS - 1 - jnp.argmax(is_long[::-1])
        rows = jnp.arange(NUM_ROWS)
        moved = arch[jnp.where(rows <= place, rows, rows - 1)]
        first = SPLIT_LAYERS // 2
        moved = moved.at[place, LAYERS].set(first).at[place + 1, LAYERS].add(-first).at[place + 1, STRIDE].set(1)
        arch = jnp.where(is_long.any(), moved, arch)
    return arch


def _num_layers(arch: Any) -> Any:
    """Sub-layers of all blocks, int[...]."""
    return arch[..., 1:, LAYERS].sum(-1)


def is_valid(arch: Any) -> Any:
    """Whether a genotype is one of a network of the space, bool[...]."""
    xp = jnp if isinstance(arch, jax.Array) else np
    block, is_there = arch[..., 1:, :], arch[..., 1:, LAYERS] > 0
    allowed = (EXPANSIONS, KERNELS, STRIDES)
    right = xp.stack([xp.isin(block[..., field], xp.asarray(values)) for field, values in enumerate(allowed)]).all(0)
    widths = block[..., OUT:]
    right &= ((widths % 8 == 0) & (widths >= 8) & (widths <= MAX_WIDTH)).all(-1)
    in_a_row = (is_there[..., :-1] | ~is_there[..., 1:]).all(-1) & is_there[..., 0]
    stem = arch[..., 0, OUT]
    is_stem = (stem % 8 == 0) & (stem >= 8) & (stem <= MAX_WIDTH)
    is_stem &= (xp.delete(arch[..., 0, :], OUT, -1) == xp.delete(xp.asarray(_STEM), OUT)).all(-1)
    return (
        xp.where(is_there, right, (block == 0).all(-1)).all(-1) & in_a_row & is_stem & (_num_layers(arch) <= MAX_LAYERS)
    )


def encode(arch: Any) -> str:
    """The papers' string.

    SuperConvK3BNRELU(3,stem,2,1), SuperResIDWE{expansion}K{kernel}(in,out,stride,bottleneck,sub-layers) of every block,
    SuperConvK1BNRELU(in,2048,1,1).
    """
    plan = plan_of(arch)
    blocks, width = [f"SuperConvK3BNRELU(3,{plan.stem},2,1)"], plan.stem
    for b in plan.blocks:
        blocks.append(f"SuperResIDWE{b.expansion}K{b.kernel}({width},{b.out},{b.stride},{b.bottleneck},{b.layers})")
        width = b.out
    return "".join([*blocks, f"SuperConvK1BNRELU({width},{LAST},1,1)"])


_BLOCK = re.compile(r"Super(?:ConvK(\d+)BNRELU|ResIDWE(\d+)K(\d+))\((\d+(?:,\d+)*)\)")


def decode(string: str) -> np.ndarray:
    """The genotype int32[15, 6] of a string as `encode` writes it.

    Raises:
        ValueError: naming the first thing wrong with the string.
    """
    string = string.strip()
    refuse, blocks = f"bad architecture {string!r}:", list(_BLOCK.finditer(string))
    if "".join(block.group() for block in blocks) != string or len(blocks) < 3:
        raise ValueError(f"{refuse} needed are SuperConvK3BNRELU(...), SuperResIDWE..K..(...), SuperConvK1BNRELU(...)")
    if len(blocks) > MAX_LAYERS + 2:
        raise ValueError(f"{refuse} {len(blocks) - 2} blocks between stem and last, {MAX_LAYERS} are allowed")
    numbers = [[int(number) for number in block.group(4).split(",")] for block in blocks]
    stem, width, found = numbers[0], 3, list[BlockPlan]()
    for place, (block, given) in enumerate(zip(blocks, numbers, strict=True)):
        needed = "SuperResIDWE..K..(in,out,stride,bottleneck,sub-layers)"
        is_right = block.group(2) is not None and len(given) == 5
        if place == 0:
            needed = "SuperConvK3BNRELU(3,out,2,1)"
            is_right = block.group(1) == "3" and len(given) == 4 and given[2:] == [2, 1]
        elif place == len(blocks) - 1:
            needed = f"SuperConvK1BNRELU(in,{LAST},1,1)"
            is_right = block.group(1) == "1" and given[1:] == [LAST, 1, 1]
        if not is_right:
            raise ValueError(f"{refuse} block {place} is {block.group()}, needed is {needed}")
        if given[0] != width:
            raise ValueError(f"{refuse} block {place} is {block.group()}: {width} channels enter it")
        width = given[1]
        if len(given) == 5:
            _, out, stride, bottleneck, layers = given
            found.append(BlockPlan(int(block.group(2)), int(block.group(3)), stride, layers, out, bottleneck))
            _check_block(place, found[-1], refuse)
    _check_width("the stem's width", stem[1], refuse)
    if (layers := sum(block.layers for block in found)) > MAX_LAYERS:
        raise ValueError(f"{refuse} {layers} sub-layers, {MAX_LAYERS} are allowed")
    return from_plan(Plan(stem[1], tuple(found)))


def _check_block(place: int, block: BlockPlan, refuse: str) -> None:
    for field, allowed in (("expansion", EXPANSIONS), ("kernel", KERNELS), ("stride", STRIDES)):
        if (value := getattr(block, field)) not in allowed:
            raise ValueError(f"{refuse} block {place}'s {field} is {value}, allowed are {', '.join(map(str, allowed))}")
    if block.layers < 1:
        raise ValueError(f"{refuse} block {place} has {block.layers} sub-layers, at least 1 is needed")
    _check_width(f"block {place}'s width", block.out, refuse)
    _check_width(f"block {place}'s bottleneck", block.bottleneck, refuse)


def _check_width(name: str, width: int, refuse: str) -> None:
    if width % 8 or not 8 <= width <= MAX_WIDTH:
        raise ValueError(f"{refuse} {name} is {width}, allowed are 8 to {MAX_WIDTH} in steps of 8")

"""Genotypes of the MobileNetV2 space: int32[45], the place of each decision in its list of choices (`GENES`).

Stem and last width, resolution, then expansion, kernel size, stride, layers, output width and bottleneck of every
stage. Exactly four stages have stride 2. ... stands for any leading axes.
"""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.search_spaces.mobilenetv2.network import NUM_STAGES, Plan, StagePlan

_grid = lambda low, high, step=8: tuple(range(low, high + 1, step))
_FIELDS = ("expansion", "kernel", "stride", "layers", "out", "bottleneck")
_OUT = (_grid(16, 48), _grid(16, 48), _grid(32, 64), _grid(48, 96), _grid(80, 256), _grid(80, 256), _grid(128, 512))
_BOTTLENECK = (
    _grid(16, 48),
    _grid(16, 48),
    _grid(16, 48),
    _grid(32, 64),
    _grid(48, 96),
    _grid(80, 256),
    _grid(80, 256),
)
_LAYERS = ((1, 2), (2, 3), (2, 3), (2, 3, 4), (2, 3, 4, 5, 6), (2, 3, 4, 5, 6), (1, 2))
_FIRST = ("stem", "last", "resolution")

GENES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("stem", _grid(16, 48)),
    ("last", _grid(128, 1536)),
    ("resolution", _grid(192, 320, 32)),
    *(
        (f"stage {stage + 1}'s {field}", choices)
        for stage in range(NUM_STAGES)
        for field, choices in zip(
            _FIELDS,
            ((1, 2, 4, 6), (3, 5, 7), (1, 2), _LAYERS[stage], _OUT[stage], _BOTTLENECK[stage]),
            strict=True,
        )
    ),
)
"""(name, what it can be) of every gene."""

NUM_GENES, NUM_FIELDS = len(GENES), len(_FIELDS)
NUM_HALVINGS = 4
"""How many of the seven stages have stride 2."""

_NUM_CHOICES = np.array([len(choices) for _, choices in GENES], np.int32)
_CHOICES = np.array([[*choices, *[0] * (_NUM_CHOICES.max() - len(choices))] for _, choices in GENES], np.int32)
TABLE_11 = (
    "SuperConvK3BNRELU(3,48,2,1)SuperResIDWE2K7(48,32,2,40,2)SuperResIDWE2K7(32,32,2,48,3)"
    "SuperResIDWE6K7(32,64,1,40,3)SuperResIDWE6K7(64,88,2,40,4)SuperResIDWE6K7(88,104,1,56,6)"
    "SuperResIDWE6K5(104,152,2,192,6)SuperResIDWE6K5(152,240,1,136,2)SuperConvK1BNRELU(240,1264,1,1)@224"
)
"""The network that the paper found under 600 M FLOPs and trained (its Table 11)."""

_STRIDES = len(_FIRST) + _FIELDS.index("stride") + NUM_FIELDS * np.arange(NUM_STAGES)
_FREE = np.setdiff1d(np.arange(NUM_GENES), _STRIDES)
"""The genes that can be chosen one by one: all but the strides."""


def sample(key: jax.Array) -> jax.Array:
    """A uniformly drawn architecture, int32[45]: each gene, and which four stages have stride 2."""
    gene_key, stride_key = jax.random.split(key)
    genes = jax.random.randint(gene_key, (NUM_GENES,), 0, _NUM_CHOICES, jnp.int32)
    halves = jax.random.permutation(stride_key, jnp.arange(NUM_STAGES) < NUM_HALVINGS)
    return genes.at[_STRIDES].set(halves.astype(jnp.int32))


def mutate(key: jax.Array, arch: jax.Array) -> jax.Array:
    """One uniformly drawn decision changes: a gene to another of its choices, or two stages swap unequal strides.

    There are 39 decisions: 38 genes, and the strides. int32[45] to int32[45].
    """
    decision_key, value_key, swap_key = jax.random.split(key, 3)
    decision = jax.random.randint(decision_key, (), 0, len(_FREE) + 1)
    gene = jnp.asarray(_FREE)[jnp.minimum(decision, len(_FREE) - 1)]
    count = jnp.asarray(_NUM_CHOICES)[gene]
    step = jax.random.randint(value_key, (), 1, count)
    changed = arch.at[gene].set((arch[gene] + step) % count)
    halves = arch[_STRIDES]
    order = jax.random.permutation(swap_key, NUM_STAGES)
    # In a random order of the stages, the first of each stride.
    first = lambda stride: order[jnp.argmax(halves[order] == stride)]
    swapped = arch.at[jnp.asarray(_STRIDES)[first(0)]].set(1).at[jnp.asarray(_STRIDES)[first(1)]].set(0)
    return jnp.where(decision < len(_FREE), changed, swapped)


def is_valid(arch: Any) -> Any:
    """Whether exactly four stages have stride 2, bool[...]."""
    return arch[..., _STRIDES].sum(-1) == NUM_HALVINGS


class Values(NamedTuple):
    """What the genes say, int32[...] each, of the stages int32[..., 7]."""

    stem: Any
    last: Any
    resolution: Any
    expansion: Any
    kernel: Any
    stride: Any
    layers: Any
    out: Any
    bottleneck: Any


def values_of(arch: Any) -> Values:
    """The genes of int[..., 45] as numbers; numpy in, numpy out, else jax arrays."""
    xp = jnp if isinstance(arch, jax.Array) else np
    genes = xp.asarray(_CHOICES)[np.arange(NUM_GENES), arch]
    field = lambda place: genes[..., len(_FIRST) + place :: NUM_FIELDS]
    return Values(*(genes[..., i] for i in range(len(_FIRST))), *map(field, range(NUM_FIELDS)))


def plan_of(arch: Any) -> Plan:
    """The network of a genotype int[45], as Python ints: what `MobileNetV2` is called with."""
    values = values_of(np.asarray(arch))
    stages = zip(*(field.tolist() for field in values[len(_FIRST) :]), strict=True)
    plans = tuple(StagePlan(*stage) for stage in stages)
    return Plan(int(values.stem), int(values.last), int(values.resolution), plans)


def encode(arch: Any) -> str:
    """The string of the paper's code family: the blocks, `@`, the resolution.

    SuperConvK3BNRELU(3,stem,2,1), SuperResIDWE{expansion}K{kernel}(in,out,stride,bottleneck,layers) of every stage,
    SuperConvK1BNRELU(in,last,1,1).
    """
    plan = plan_of(arch)
    blocks, width = [f"SuperConvK3BNRELU(3,{plan.stem},2,1)"], plan.stem
    for s in plan.stages:
        blocks.append(f"SuperResIDWE{s.expansion}K{s.kernel}({width},{s.out},{s.stride},{s.bottleneck},{s.layers})")
        width = s.out
    return "".join([*blocks, f"SuperConvK1BNRELU({width},{plan.last},1,1)@{plan.resolution}"])


_BLOCK = re.compile(r"Super(?:ConvK(\d+)BNRELU|ResIDWE(\d+)K(\d+))\(([\d,]*)\)")


def decode(string: str) -> np.ndarray:
    """The genotype int32[45] of a string as `encode` writes it.

    Raises:
        ValueError: naming the first thing wrong with the string.
    """
    string = string.strip()
    refuse = f"bad architecture {string!r}:"
    body, _, resolution = string.partition("@")
    blocks = list(_BLOCK.finditer(body))
    if "".join(block.group() for block in blocks) != body:
        raise ValueError(f"{refuse} needed are SuperConvK3BNRELU(...), SuperResIDWE..K..(...), SuperConvK1BNRELU(...)")
    if len(blocks) != NUM_STAGES + 2:
        raise ValueError(f"{refuse} {len(blocks)} blocks, needed are {NUM_STAGES + 2}: stem, {NUM_STAGES} stages, last")
    if not resolution.isdigit():
        raise ValueError(f"{refuse} its end {resolution!r} is no resolution: needed is @ and a number")
    numbers = [tuple(int(n) for n in block.group(4).split(",") if n) for block in blocks]
    values, width = [0, 0, int(resolution)], 3
    for place, (block, given) in enumerate(zip(blocks, numbers, strict=True)):
        is_stage = 0 < place <= NUM_STAGES
        fixed = {0: ("3", (2, 1)), NUM_STAGES + 1: ("1", (1, 1))}.get(place)
        if is_stage != (block.group(1) is None) or (fixed and (block.group(1), given[2:]) != fixed):
            needed = (
                "SuperResIDWE..K..(in,out,stride,bottleneck,layers)" if is_stage else "SuperConvK3BNRELU(3,out,2,1)"
            )
            needed = "SuperConvK1BNRELU(in,out,1,1)" if place > NUM_STAGES else needed
            raise ValueError(f"{refuse} block {place + 1} is {block.group()}, needed is {needed}")
        if len(given) != (5 if is_stage else 4) or given[0] != width:
            raise ValueError(f"{refuse} block {place + 1} is {block.group()}: {width} channels enter it, of "
                             f"{5 if is_stage else 4} numbers")  # fmt: skip
        width = given[1]
        if is_stage:
            _, out, stride, bottleneck, layers = given
            values += [int(block.group(2)), int(block.group(3)), stride, layers, out, bottleneck]
        else:
            values[0 if place == 0 else 1] = width
    return _find_genes(values, refuse)


def _find_genes(values: list[int], refuse: str) -> np.ndarray:
    """The places of numbers in the choices of their genes."""
    for (name, choices), value in zip(GENES, values, strict=True):
        if value not in choices:
            allowed = (
                ", ".join(map(str, choices)) if len(choices) < 8 else f"{choices[0]} to {choices[-1]} in steps of 8"
            )
            raise ValueError(f"{refuse} {name} is {value}, allowed are {allowed}")
    genes = np.array([choices.index(value) for (_, choices), value in zip(GENES, values, strict=True)], np.int32)
    if not is_valid(genes):
        raise ValueError(f"{refuse} {genes[_STRIDES].sum()} stages have stride 2, needed are {NUM_HALVINGS}")
    return genes

"""AutoFormer's networks: patches, blocks of attention and two dense layers, mean over the patches, classifier.

The same blocks (`zsnas_jax.nn.attention`) make two networks. Called with a `Plan`, whose values are Python's, the
network is built for that one architecture, block by block. Called with a genotype int32[2 + 2 D], traced or not, it has
the largest sizes of its grid, and the architecture is data: one compiled program serves all. `locate` says where the
parameters of the first stand in the second.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.base import Path
from zsnas_jax.measure.blocks import Step, run_steps
from zsnas_jax.nn.attention import EncoderBlock, Own, Patches, PatchHead, Sizes, kept
from zsnas_jax.nn.initializers import Initializer, kaiming_uniform
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.probes import COLLECTIONS, RNGS
from zsnas_jax.search_spaces.autoformer.genotype import Grid, Plan


class AutoFormer(nn.Module):
    """The networks of a grid.

    Attributes:
        grid: what they can be made of.
        num_classes: width of the logits.
        input_size: pixels along a side of what is cut into patches; pictures of other sizes are resized.
        patch_size: divides it.
        attention_sites: whether the response sites are what enters softmax, not what enters GELU.
        drop_path: whether blocks are left out at random, in training; then it is called with a rate.
        kernel_init: initialisation of every kernel.
        options: mask on what enters dense layers and patches; the classifier is not masked.
    """

    grid: Grid
    num_classes: int = 1000
    input_size: int = 224
    patch_size: int = 16
    attention_sites: bool = False
    drop_path: bool = False
    kernel_init: Initializer = kaiming_uniform
    options: LayerOptions = LayerOptions()

    @nn.compact
    def __call__(self, image: jax.Array, arch: Any, **further: Any) -> jax.Array:
        """Logits float[N, num_classes] of pictures float[N, H, W, 3].

        Args:
            image: the pictures.
            arch: a `Plan`, or a genotype int32[2 + 2 D].
            **further: drop_path float[], the rate, where the module has it.
        """
        _check(self.options)
        if isinstance(arch, Plan):
            return run_steps(self, self.steps(arch, parent=None), image, **further)
        grid, blocks, widest = self.grid, self.grid.num_blocks, self._widest
        width = jnp.asarray(grid.widths)[arch[1]]
        hidden = [[grid.hidden_sizes.index(grid.hidden(e, m)) for m in grid.ratios] for e in grid.widths]
        own = Own(
            jnp.broadcast_to(width, (blocks,)),
            jnp.asarray(grid.heads)[arch[2 : 2 + blocks]],
            jnp.asarray(hidden)[arch[1], arch[2 + blocks :]],
            jnp.arange(blocks) < jnp.asarray(grid.depths)[arch[0]],
        )
        x = self._patches(widest.width, name="patches")(image, Own(width))
        block = self._block(widest, 0, name="blocks")
        scanned = nn.scan(
            lambda block, x, own, key: (block(x, None, own, key), None),
            variable_axes={"params": 0, **dict.fromkeys(COLLECTIONS, 0)},
            split_rngs={**RNGS},
            length=blocks,
        )
        x, _ = scanned(block, x, own, self._keys())
        return PatchHead(self.num_classes, self.grid.epsilon, kernel_init=self.kernel_init, name="head")(x, Own(width))

    @nn.nowrap
    def steps(self, plan: Plan, **own: Any) -> tuple[Step, ...]:
        """The blocks of a plan's network; `own` are fields that all of them have."""
        found = [Step("patches", self._patches(plan.width, **own))]
        reads = ("x", "drop_path") if self.drop_path else ("x",)
        for place, (heads, ratio) in enumerate(zip(plan.heads, plan.ratios, strict=True)):
            sizes = Sizes(plan.width, heads, self.grid.hidden(plan.width, ratio))
            found.append(Step(f"block{place}", self._block(sizes, place, **own), reads))
        head = PatchHead(self.num_classes, self.grid.epsilon, kernel_init=self.kernel_init, options=self.options, **own)
        return (*found, Step("head", head))

    @property
    def _widest(self) -> Sizes:
        return Sizes(max(self.grid.widths), max(self.grid.heads), max(self.grid.hidden_sizes))

    @nn.nowrap
    def _patches(self, width: int, **own: Any) -> Patches:
        sizes = width, self._widest.width, self.input_size, self.patch_size
        return Patches(*sizes, kernel_init=self.kernel_init, options=self.options, **own)

    @nn.nowrap
    def _block(self, sizes: Sizes, place: int, **own: Any) -> EncoderBlock:
        grid = self.grid
        return EncoderBlock(
            sizes,
            self._widest,
            grid.head_width,
            self.input_size // self.patch_size if grid.head_width else 0,
            grid.epsilon,
            self.attention_sites,
            place / (grid.num_blocks - 1),
            grid.hidden_sizes,
            () if grid.head_width else tuple((width, heads) for width in grid.widths for heads in grid.heads),
            kernel_init=self.kernel_init,
            options=self.options,
            **own,
        )

    def _keys(self) -> Any:
        """The keys of the blocks' masks, as each would draw its own under its name in a network that is built."""
        if not self.options.is_random:
            return None
        keys: list[Any] = [_Key(name=f"block{place}")(self.options) for place in range(self.grid.num_blocks)]
        return jnp.stack(keys)


class _Key(nn.Module):
    """Draws the key of a block's masks in the place of a block of its name."""

    @nn.compact
    def __call__(self, options: LayerOptions) -> jax.Array | None:
        return options.key_of(self)


def _check(options: LayerOptions) -> None:
    """Raises ValueError for options that act on nothing here."""
    if options.norm not in ("bn", "identity", "bn_initial"):
        raise ValueError(f"AutoFormer has no batch norm that norm {options.norm!r} could replace")
    if options.activation != "relu":
        raise ValueError(f"AutoFormer chooses its own activation: {options.activation!r} cannot replace it")


def layer_of(path: Path, position: int) -> int:
    """The layer of a site, counted from 1: its block."""
    return 1 + (position if path[0] == "blocks" else int(path[0].removeprefix("block")))


def locate(path: Path) -> tuple[Path, tuple[int, ...]]:
    """Where a parameter of a built network stands in that of the grid: its path, the place along its first axis."""
    if not path[0].startswith("block"):
        return path, ()
    return ("blocks", *path[1:]), (int(path[0].removeprefix("block")),)


def is_active(grid: Grid, arch: Any) -> Callable[[Path, tuple[int, ...]], Any]:
    """Which entries of the parameters of the network of a grid an architecture has, by path and shape."""
    blocks = grid.num_blocks
    width = jnp.asarray(grid.widths)[arch[1]]
    depth = jnp.asarray(grid.depths)[arch[0]]
    heads = jnp.asarray(grid.heads)[arch[2 : 2 + blocks]]
    hidden = jnp.floor(width * jnp.asarray(grid.ratios)[arch[2 + blocks :]]).astype(jnp.int32)

    def has(path: Path, shape: tuple[int, ...]) -> Any:
        of_width = kept(max(grid.widths), width)
        if path[0] == "patches":
            return of_width
        if path[0] == "head":
            return of_width[:, None] if path[-1] == "kernel" else True if path[1] == "dense" else of_width
        active = (jnp.arange(blocks) < depth).reshape(-1, *(1,) * (len(shape) - 1))
        of_heads = kept(max(grid.heads), heads[:, None])
        of_hidden = kept(max(grid.hidden_sizes), hidden[:, None])
        module, name = path[1], path[-1]
        if module in ("norm1", "norm2"):
            return active & of_width
        if module == "qkv" and grid.head_width:  # float[D, C, 3, H, 64]
            own = of_heads[:, None, :, None]
            return active & (own[:, None] & of_width[:, None, None, None] if name == "kernel" else own)
        if module == "qkv":  # float[D, C, 3, C]
            return active & of_width & (of_width[:, None, None] if name == "kernel" else True)
        if module == "proj":
            leaving = of_heads[:, :, None, None] if grid.head_width else of_width[:, None]
            return active & of_width & (leaving if name == "kernel" else True)
        if module == "fc1":
            own = of_hidden[:, None, :] & of_width[:, None] if name == "kernel" else of_hidden
            return active & own
        if module == "fc2":
            return active & (of_hidden[:, :, None] & of_width if name == "kernel" else of_width)
        return active  # tables of relative positions

    return has

"""Flax modules that vision transformers are built of; all apply the mask of the `LayerOptions` that they hold.

A module serves two kinds of network. Built for one architecture it has that one's sizes, and is called without `Own`.
In a program that serves a whole space it has the largest sizes, `Own` says with the call which part of them the
architecture has, and the rest is padding: zero, in gradients too, and seen by no statistic.

Axes: N batch, T tokens, G rows and columns of the grid of patches, C channels of a token (width), H heads, D channels
of a head, F hidden units.
"""

import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.nn.initializers import TABLE_DEVIATION, Initializer, kaiming_uniform
from zsnas_jax.nn.layers import resize
from zsnas_jax.nn.modules import Block
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.probes import Features, LayerOutput, Site, Trunk, cut, slot_of, tap_part, weigh
from zsnas_jax.nn.roles import Kernel, Part, Role, Roles

MAX_DISTANCE = 14
"""Rows or columns beyond which relative positions are not told apart."""


class Own(NamedTuple):
    """What of the largest sizes a network has, where the architecture is data.

    Attributes:
        width: C, int32[].
        heads: H, int32[].
        hidden: place of F among a block's `hidden_sizes`, int32[].
        active: whether a block is there, bool[].
    """

    width: jax.Array
    heads: Any = 0
    hidden: Any = 0
    active: Any = True


def kept(size: int, own: Any) -> jax.Array:
    """Which of `size` entries an architecture has that has `own` of them, bool[size]."""
    return jnp.arange(size) < own


def _padded_to_zero(x: jax.Array, own: Own | None) -> jax.Array:
    return x if own is None else jnp.where(kept(x.shape[-1], own.width), x, 0.0)


class Dense(nn.Module):
    """Mask, product and bias: float[N, ..., *inputs] to float[N, ..., *features].

    Attributes:
        features: of what leaves.
        num_inputs: so many last axes are summed over.
        part: what of a transformer it is.
        masked: the sizes of these axes for which a mask is drawn, so that networks of different sizes are masked alike;
            None: their own.
        kernel_init: initialisation of the kernel, float[*inputs, *features].
        options: the mask.
    """

    features: tuple[int, ...]
    num_inputs: int = 1
    part: Part | None = None
    masked: tuple[int, ...] | None = None
    kernel_init: Initializer = kaiming_uniform
    options: LayerOptions = LayerOptions()

    @nn.compact
    def __call__(self, x: jax.Array, key: jax.Array | None = None, share: Any = 1.0) -> jax.Array:
        """Applies it.

        Args:
            x: what enters.
            key: of the mask.
            share: how many of the inputs are no padding.
        """
        rest, inputs = x.shape[: x.ndim - self.num_inputs], x.shape[x.ndim - self.num_inputs :]
        size, axes = math.prod(inputs), self._kernel()
        draw = lambda key, shape: self.kernel_init.scale_of(axes, shape) * self.kernel_init.noise(key, shape)
        kernel = self.param("kernel", draw, (*inputs, *self.features))
        bias = self.param("bias", nn.initializers.zeros, self.features, jnp.float32)
        y = self._mask(x, key).reshape(-1, size) @ kernel.reshape(size, -1)
        y = y.reshape(*rest, *self.features) + bias
        slot = slot_of(self, "kernel")
        return weigh(y, None if slot is None else slot * share, size, len(self.features))

    def _mask(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
        inputs = x.shape[x.ndim - self.num_inputs :]
        more = [(0, wide - size) for wide, size in zip(self.masked or inputs, inputs, strict=True)]
        if not self.options.mask_rate or not any(end for _, end in more):
            return self.options.mask(x, key)
        wide = jnp.pad(x, [(0, 0)] * (x.ndim - self.num_inputs) + more)
        return self.options.mask(wide, key)[(..., *(slice(0, size) for size in inputs))]

    @nn.nowrap
    def _kernel(self) -> Kernel:
        inputs = tuple(range(self.num_inputs))
        outputs = tuple(range(self.num_inputs, self.num_inputs + len(self.features)))
        return Kernel(inputs, outputs, num_filter_axes=len(self.features), weighs_itself=True, part=self.part)

    def parameter_roles(self) -> Roles:
        """What it holds."""
        return {"kernel": self._kernel(), "bias": Role.BIAS}


class LayerNorm(nn.Module):
    """Layer norm over the channels of each token, float[N, T, C] to the same; in padding it is zero.

    Attributes:
        epsilon: added to the variance.
    """

    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array, own: Own | None = None) -> jax.Array:
        """Applies it."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        shift = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        count = channels if own is None else own.width
        mean = _padded_to_zero(x, own).sum(-1, keepdims=True) / count
        centred = _padded_to_zero(x - mean, own)
        variance = jnp.square(centred).sum(-1, keepdims=True) / count
        return _padded_to_zero(centred * jax.lax.rsqrt(variance + self.epsilon) * scale + shift, own)

    def parameter_roles(self) -> Roles:
        """What it holds."""
        return {"scale": Role.SCALE, "bias": Role.SHIFT}


class Table(nn.Module):
    """A table of learned vectors, float32[*shape], drawn from N(0, `TABLE_DEVIATION`^2)."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> jax.Array:
        """Returns it."""
        return self.param("table", nn.initializers.normal(TABLE_DEVIATION), self.shape, jnp.float32)

    def parameter_roles(self) -> Roles:
        """What it holds."""
        return {"table": Role.EMBEDDING}


class RelativePositions(nn.Module):
    """Vectors R[a, b] = V[v(a, b)] + W[w(a, b)] of the tokens' relative places, shared by heads.

    Of patches v and w count rows and columns from a to b, cut off at `MAX_DISTANCE`; in a pair with the class token
    both are 0. Nothing of [T, T, D] is made: sums over V and over W are taken along the grid's rows and columns.

    Attributes:
        channels: D.
        grid: G.
    """

    channels: int
    grid: int

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(V of the grid's rows float[G, G, D], W of its columns float[G, G, D], R of the class token float[D])."""
        vertical = Table((2 * MAX_DISTANCE + 2, self.channels), name="vertical")()
        horizontal = Table((2 * MAX_DISTANCE + 2, self.channels), name="horizontal")()
        place = np.arange(self.grid)
        index = np.clip(place[None, :] - place[:, None], -MAX_DISTANCE, MAX_DISTANCE) + MAX_DISTANCE + 1
        return vertical[index], horizontal[index], vertical[0] + horizontal[0]


def relative_logits(query: jax.Array, relative: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """q_a . R[a, b] of queries float[N, T, H, D]: float[N, H, T, T]."""
    rows, columns, token = relative
    grid, patches = len(rows), query[:, 1:]
    placed = patches.reshape(len(query), grid, grid, *query.shape[2:])
    vertical = jnp.einsum("nrchd,rsd->nhrcs", placed, rows)
    horizontal = jnp.einsum("nrchd,ctd->nhrct", placed, columns)
    between = (vertical[..., :, None] + horizontal[..., None, :]).reshape(*vertical.shape[:2], grid**2, grid**2)
    of_token = jnp.einsum("nahd,d->nha", query, token)
    below = jnp.concatenate([of_token[:, :, 1:, None], between], axis=-1)
    first = jnp.broadcast_to(of_token[:, :, :1, None], (*of_token.shape[:2], 1, below.shape[-1]))
    return jnp.concatenate([first, below], axis=2)


def relative_values(weights: jax.Array, relative: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """sum_b A[a, b] R[a, b] of the weights of attention float[N, H, T, T], which sum to 1: float[N, T, H, D]."""
    rows, columns, token = relative
    grid = len(rows)
    between = weights[:, :, 1:, 1:].reshape(*weights.shape[:2], grid, grid, grid, grid)
    placed = jnp.einsum("nhrcs,rsd->nrchd", between.sum(-1), rows)
    placed += jnp.einsum("nhrct,ctd->nrchd", between.sum(-2), columns)
    patches = placed.reshape(len(weights), grid**2, *placed.shape[3:])
    patches += weights[:, :, 1:, 0].swapaxes(1, 2)[..., None] * token
    first = jnp.broadcast_to(token, (*patches.shape[:1], 1, *patches.shape[2:]))
    return jnp.concatenate([first, patches], axis=1)


Positions = tuple[jax.Array, jax.Array, jax.Array] | None
"""What `RelativePositions` returns, where there are any."""


def attention_logits(query: jax.Array, key: jax.Array, positions: Positions, scale: Any) -> jax.Array:
    """(q_a . (k_b + R[a, b])) * scale of float[N, T, H, D]: float[N, H, T, T]."""
    logits = jnp.einsum("nahd,nbhd->nhab", query, key)
    return (logits if positions is None else logits + relative_logits(query, positions)) * scale


def attend(logits: jax.Array, value: jax.Array, positions: Positions) -> jax.Array:
    """sum_b A[a, b] (v_b + R[a, b]), A the softmax of float[N, H, T, T]: float[N, T, H, D]."""
    weights = jax.nn.softmax(logits, axis=-1)
    output = jnp.einsum("nhab,nbhd->nahd", weights, value)
    return output if positions is None else output + relative_values(weights, positions)


# What is of [T, T], and what GELU made, is computed again on the way back: stored, it would take most of the memory.


@functools.partial(jax.checkpoint, prevent_cse=False)
def _attention(
    query: jax.Array, key: jax.Array, value: jax.Array, of_key: Positions, of_value: Positions, scale: Any
) -> jax.Array:
    return attend(attention_logits(query, key, of_key, scale), value, of_value)


@functools.partial(jax.checkpoint, prevent_cse=False)
def _gelu(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


def _softmax_of_keys(logits: jax.Array) -> jax.Array:
    """Of float[N, T, T, H], a row of keys for each query."""
    return jax.nn.softmax(logits, axis=2)


class Sizes(NamedTuple):
    """The largest sizes of a space's blocks: width, heads, hidden units."""

    width: int
    heads: int
    hidden: int


class EncoderBlock(Block):
    """x + attention(norm(x)), then x + mlp(norm(x)), with an exact GELU. float[N, T, C] to the same.

    The response site is what enters the GELU, of all tokens.

    Attributes:
        sizes: C, H and F of this block.
        masked: those for which masks are drawn.
        head_width: D; None: C / H.
        grid: G of relative positions, added to keys and to values; 0: there are none.
        epsilon: of the norms.
        attention_sites: whether the response site is what enters the softmax instead.
        drop_share: of the rate of drop path, that of this block.
        hidden_sizes: all F that a block can have, where the architecture is data.
        head_choices: all (C, H), likewise, where heads share the width.
    """

    sizes: Sizes
    masked: Sizes
    head_width: int | None
    grid: int
    epsilon: float
    attention_sites: bool = False
    drop_share: float = 0.0
    hidden_sizes: tuple[int, ...] = ()
    head_choices: tuple[tuple[int, int], ...] = ()

    @nn.compact
    def __call__(
        self, x: jax.Array, drop_path: jax.Array | None = None, own: Own | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Applies it.

        Args:
            x: tokens.
            drop_path: the rate, in training.
            own: where the architecture is data: what it has; if it has no such block x is returned.
            key: of the masks; None: the block's own.
        """
        key = self.options.key_of(self) if key is None else key
        keys = [None] * 4 if key is None else list(jax.random.split(key, 4))
        y = x + self._drop(self._attend(LayerNorm(self.epsilon, name="norm1")(x, own), own, keys[:2]), drop_path)
        y = self._on_trunk(Trunk(name="attended"), y, own)
        z = y + self._drop(self._mlp(LayerNorm(self.epsilon, name="norm2")(y, own), own, keys[2:]), drop_path)
        z = self._on_trunk(LayerOutput(name="output"), z, own)
        return z if own is None else jnp.where(own.active, z, x)

    @staticmethod
    def _on_trunk(probe: Trunk, x: jax.Array, own: Own | None) -> jax.Array:
        """What stands on the trunk, if there is such a block; what padding sends back is zero."""
        if own is None:
            return probe(x)
        probe.observe(x, jnp.float32(own.active))
        probe.keep(kept(x.shape[-1], own.width))
        arriving, leaving = probe.slots()
        return cut(x, arriving, leaving if leaving is None else jnp.where(own.active, leaving, 0.0))

    def _dense(self, name: str, features: tuple[int, ...], part: Part, masked: tuple[int, ...]) -> Dense:
        init, options = self.kernel_init, self.options
        return Dense(features, len(masked), part, masked, kernel_init=init, options=options, name=name)

    def _attend(self, x: jax.Array, own: Own | None, keys: list[Any]) -> jax.Array:
        width, heads, _ = self.sizes
        inner = (heads, self.head_width) if self.head_width else (width,)
        masked = (self.masked.heads, self.head_width) if self.head_width else (self.masked.width,)
        entering = 1.0 if own is None else own.width / width
        qkv = self._dense("qkv", (3, *inner), "attention", (self.masked.width,))(x, keys[0], entering)
        query, key, value = (self._split(qkv[:, :, i], own) for i in range(3))
        size = self.head_width or (width // heads if own is None else own.width / own.heads)
        scale = jnp.asarray(size, query.dtype) ** -0.5
        positions = [
            RelativePositions(self.head_width or 0, self.grid, name=f"relative_{of}")() if self.grid else None
            for of in ("key", "value")
        ]
        if self.attention_sites:
            logits = attention_logits(query, key, positions[0], scale)
            logits = self._look(logits.transpose(0, 2, 3, 1), range(1, heads + 1), own and own.heads - 1, own)
            output = attend(logits.transpose(0, 3, 1, 2), value, positions[1])
        else:
            output = _attention(query, key, value, *positions, scale)
        if own is not None:
            output = jnp.where(kept(heads, own.heads)[:, None], output, 0.0)
        left = entering if own is None or not self.head_width else own.heads / heads
        return self._dense("proj", (width,), "attention", masked)(self._join(output, own), keys[1], left)

    def _split(self, x: jax.Array, own: Own | None) -> jax.Array:
        """Heads of float[N, T, H, D] or [N, T, C]; where heads share the width and it is data, D is the widest's."""
        if self.head_width:
            return x
        width, heads, _ = self.sizes
        if own is None:
            return x.reshape(*x.shape[:2], heads, width // heads)
        widest = max(wide // count for wide, count in self.head_choices)

        def of(choice: tuple[int, int]) -> Any:
            c, h = choice
            pads = ((0, 0), (0, 0), (0, heads - h), (0, widest - c // h))
            return lambda x: jnp.pad(x[..., :c].reshape(*x.shape[:2], h, c // h), pads)

        return jax.lax.switch(self._head_choice(own), [of(choice) for choice in self.head_choices], x)

    def _join(self, x: jax.Array, own: Own | None) -> jax.Array:
        """The inverse of `_split`."""
        if self.head_width:
            return x
        width = self.sizes.width
        if own is None:
            return x.reshape(*x.shape[:2], width)

        def of(choice: tuple[int, int]) -> Any:
            c, h = choice
            return lambda x: jnp.pad(x[:, :, :h, : c // h].reshape(*x.shape[:2], c), ((0, 0), (0, 0), (0, width - c)))

        return jax.lax.switch(self._head_choice(own), [of(choice) for choice in self.head_choices], x)

    def _head_choice(self, own: Own) -> jax.Array:
        places = [i * ((own.width == c) & (own.heads == h)) for i, (c, h) in enumerate(self.head_choices)]
        return sum(places[1:], start=places[0])

    def _mlp(self, x: jax.Array, own: Own | None, keys: list[Any]) -> jax.Array:
        width, _, hidden = self.sizes
        entering = left = 1.0 if own is None else own.width / width
        x = self._dense("fc1", (hidden,), "mlp", (self.masked.width,))(x, keys[0], entering)
        if not self.attention_sites:
            x = self._look(x, self.hidden_sizes, own and own.hidden, own)
        if own is not None:
            left = jnp.asarray(self.hidden_sizes)[own.hidden] / hidden
        return self._dense("fc2", (width,), "mlp", (self.masked.hidden,))(_gelu(x), keys[1], left)

    def _look(self, x: jax.Array, sizes: Any, place: Any, own: Own | None) -> jax.Array:
        """What enters a response site, of which the first sizes[place] of the last axis are no padding."""
        site = Site(activation=_softmax_of_keys if self.attention_sites else _gelu, name="site")
        if own is None:
            return site(x)
        for i, size in enumerate(sizes):
            site.observe(x[..., :size], jnp.float32(own.active & (place == i)))
        return tap_part(x, site.slot(), place, tuple(sizes))

    def _drop(self, x: jax.Array, rate: jax.Array | None) -> jax.Array:
        """Drop path: what is added is left out with probability r = rate * share, picture by picture, else over 1 - r.

        Source: Huang et al., "Deep networks with stochastic depth", ECCV 2016.
        """
        if rate is None:
            return x
        keep = 1.0 - rate * self.drop_share
        shown = jax.random.bernoulli(self.make_rng("drop_path"), keep, (len(x), 1, 1))
        return x * (shown / keep).astype(x.dtype)


class Patches(Block):
    """Patches of a picture as tokens behind the class token: float[N, S, S, 3] to float[N, T, width].

    Each patch is one application of a convolution whose stride is its size, with bias. A table of positions is added.

    Attributes:
        width: C.
        masked: C for which masks are drawn.
        input_size: S; pictures of other sizes are resized, bilinearly, without antialias.
        patch_size: divides S.
    """

    width: int
    masked: int
    input_size: int
    patch_size: int

    @nn.compact
    def __call__(self, image: jax.Array, own: Own | None = None) -> jax.Array:
        """Applies it."""
        n, p, grid = len(image), self.patch_size, self.input_size // self.patch_size
        image = resize(image, self.input_size)
        x = image.reshape(n, grid, p, grid, p, image.shape[-1]).swapaxes(2, 3).reshape(n, grid**2, p, p, -1)
        masks = (p, p, image.shape[-1])
        dense = Dense(
            (self.width,), 3, "other", masks, kernel_init=self.kernel_init, options=self.options, name="patch"
        )
        x = dense(x, self.options.key_of(self))
        token = jnp.broadcast_to(Table((1, self.width), name="cls")(), (n, 1, self.width))
        positions = Table((grid**2 + 1, self.width), name="pos")()
        return _padded_to_zero(jnp.concatenate([token, x], axis=1) + positions, own)


class PatchHead(Block):
    """Norm, mean over the patches' tokens, dense layer: float[N, T, C] to logits float[N, num_classes].

    The dense layer is not masked.

    Attributes:
        num_classes: width of the logits.
        epsilon: of the norm.
    """

    num_classes: int
    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array, own: Own | None = None) -> jax.Array:
        """Applies it."""
        features = Features(name="features")
        x = features(LayerNorm(self.epsilon, name="norm")(x, own)[:, 1:])
        if own is not None:
            features.keep(kept(x.shape[-1], own.width))
        share = 1.0 if own is None else own.width / x.shape[-1]
        dense = Dense((self.num_classes,), part="head", kernel_init=self.kernel_init, name="dense")
        return dense(x.mean(1), None, share)

"""AZ-NAS: expressivity, progressivity and trainability of the trunk, from one pass.

F_0, ..., F_L are the feature maps through which every path runs: what stands at the probes `Trunk` and `LayerOutput`.
Of NAS-Bench-201 the stem's output and those of the 17 cells and residual blocks; of AutoFormer the tokens behind
attention and behind the dense layers of each block; of other spaces the outputs of their blocks. Where paths go around
them, as in DARTS, expressivity and progressivity are of the cells' outputs, and trainability, which follows gradients
from each to the one before, is refused. No labels.

The paper draws kernels from N(0, 2 / fan_in) and pictures from N(0, 1), whatever the run has, but for transformers,
whose weights begin as for training: those are `weights="own"`. Batch norm normalises by the batch. Ranks are summed
outside, as log(rank / m) over m architectures: expressivity, progressivity, trainability and FLOPs.

Source: Lee and Ham, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", CVPR 2024, as its released
code has them. Deviation: the code's noise in float32 gives negative eigenvalues, whose logarithm is NaN; here they are
0. Axes: N batch, C channels, P positions along an `nn.scan`.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax import linalg
from zsnas_jax.base import Look, Proxy
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import total
from zsnas_jax.measure.trunk import Feature, over_neighbours
from zsnas_jax.proxies.weights import Drawn, check_drawn, refuse_transformers

Weights = Literal["normal", "own"]
"""Kernels of N(0, 2 / fan_in), or those of the run."""
Pictures = Literal["noise", "own"]
"""Standard normal pictures of the batch's shape, or the batch's."""

_SOURCE = "Lee and Ham, AZ-NAS, CVPR 2024"
_NO_SIGNAL = "where a feature map of the trunk does not vary"


def spectral_entropy(x: jax.Array) -> jax.Array:
    """-sum p log(p + 1e-8), p the shares of the eigenvalues of the channels' covariance. float[..., C] to float[].

    NaN where nothing varies.
    """
    a = x.reshape(-1, x.shape[-1])
    a = a - a.mean(0)
    eigenvalues = jnp.maximum(linalg.eigenvalues(jnp.matmul(a.T, a, precision=lax.Precision.HIGHEST) / len(a)), 0.0)
    p = eigenvalues / eigenvalues.sum()
    return -(p * jnp.log(p + 1e-8)).sum()


_ENTROPY = Look("outputs", spectral_entropy)


def _proxy(name: str, score: Any, needs: frozenset[str], weights: str, pictures: str, **own: Any) -> Proxy:
    check_drawn(name, weights, pictures)
    settings = {"weights": weights, "pictures": pictures}
    prepare = None if weights == pictures == "own" else Drawn(weights, pictures)  # None shares the pass of others
    return Proxy(name, score, needs, settings, _SOURCE, prepare=prepare, **own)


def az_expressivity(*, weights: Weights = "normal", pictures: Pictures = "noise") -> Proxy:
    """Expressivity = sum over i = 0 ... L of H_i, the entropy of the spectrum of F_i (`spectral_entropy`).

    Rows are all positions of all samples, columns channels. No labels; -inf where a feature map does not vary.

    Args:
        weights: see `Weights`.
        pictures: see `Pictures`.
    """
    score = lambda m: total(m.observed["entropy"])
    observe = {"entropy": _ENTROPY}
    return _proxy("az_expressivity", score, frozenset(), weights, pictures, observe=observe, undefined=_NO_SIGNAL)


def az_progressivity(*, weights: Weights = "normal", pictures: Pictures = "noise") -> Proxy:
    """Progressivity = min over i = 1 ... L of H_i - H_{i-1}, H as of `az_expressivity`. No labels.

    -inf where a feature map does not vary.

    Args:
        weights: see `Weights`.
        pictures: see `Pictures`.

    Raises, where it is scored:
        ValueError: if the network has attention, for whose tokens the paper does not define it, or one feature map.
    """

    def score(measured: Measurements) -> jax.Array:
        refuse_transformers(measured.network, "az_progressivity", "tokens keep their width")
        entropy = lambda seen: seen.value
        steps = over_neighbours(measured.observed["entropy"], lambda h, after: after - h, entropy, entropy)
        _check_pairs(measured, "az_progressivity", steps)
        return jnp.stack([jnp.where(is_pair, step, jnp.inf).min() for is_pair, step in steps]).min()

    observe = {"entropy": _ENTROPY}
    return _proxy("az_progressivity", score, frozenset(), weights, pictures, observe=observe, undefined=_NO_SIGNAL)


def _check_pairs(measured: Measurements, name: str, pairs: Sequence[Any]) -> None:
    if not pairs:
        raise ValueError(f"proxy {name} compares layer outputs with those before them: {measured.network.name} has one")


def _to_depth(g: jax.Array, like: jax.Array) -> jax.Array:
    """The pixels of float[N, H, W, C] that lie on one of `like`'s, as channels of it; tokens have to be as many.

    Raises:
        ValueError: if pixels do not lie on each other.
    """
    before, after = g.shape[1:-1], like.shape[1:-1]
    if before == after:
        return g
    if len(before) != len(after) or len(before) < 2 or any(b < a for b, a in zip(before, after, strict=True)):
        raise ValueError(
            f"proxy az_trainability: a feature map {list(like.shape)} follows one of {list(g.shape)}, whose positions "
            "do not lie on its own"
        )
    strides = [-(-b // a) for b, a in zip(before, after, strict=True)]
    pads = [(0, a * s - b) for a, s, b in zip(after, strides, before, strict=True)]  # odd sizes are rounded up
    padded = jnp.pad(g, ((0, 0), *pads, (0, 0)))
    split = padded.reshape(len(g), *(n for a, s in zip(after, strides, strict=True) for n in (a, s)), g.shape[-1])
    rank = len(after)
    order = (0, *(1 + 2 * i for i in range(rank)), *(2 + 2 * i for i in range(rank)), 1 + 2 * rank)
    return split.transpose(order).reshape(len(g), *after, -1)


@jax.jit
def isometry(arriving: jax.Array, leaving: jax.Array) -> jax.Array:
    """2 - s - 1 / (s + 1e-6), s the largest singular value of M, the mean over positions of g_in g_out^T. float[].

    -inf where g_in = g_out everywhere, of maps of one shape: then there is nothing between them.

    Args:
        arriving: g_in, float[N, ..., C_in].
        leaving: g_out, float[N, ..., C_out].
    """
    same = (arriving == leaving).all() if arriving.shape == leaving.shape else jnp.bool_(False)
    if arriving[0, ..., 0].size < leaving[0, ..., 0].size:
        arriving, leaving = leaving, arriving  # M of a map that grows is that of one that shrinks, transposed
    rows = leaving.reshape(-1, leaving.shape[-1])
    g = _to_depth(arriving, leaving).reshape(len(rows), -1)
    m = jnp.matmul(g.T, rows, precision=lax.Precision.HIGHEST) / len(rows)
    m = m if m.shape[0] >= m.shape[1] else m.T
    squares = linalg.eigenvalues(jnp.matmul(m.T, m, precision=lax.Precision.HIGHEST))  # of the smaller side
    s = jnp.sqrt(jnp.maximum(squares[-1], 0.0))
    return jnp.where(same, -jnp.inf, 2 - s - 1 / (s + 1e-6))


def trainability_of(trunk: Sequence[Feature]) -> jax.Array:
    """Trainability of a trunk with what came back from each feature map to the one before, see `az_trainability`."""
    pairs = over_neighbours(trunk, isometry, lambda f: f.arriving, lambda f: f.leaving)
    count = sum(is_pair.sum() for is_pair, _ in pairs)
    return sum(jnp.where(is_pair, value, 0.0).sum() for is_pair, value in pairs) / count  # type: ignore[return-value]


def az_trainability(*, weights: Weights = "normal", pictures: Pictures = "noise") -> Proxy:
    """Trainability = mean over i = 1 ... L of t_i = 2 - s_i - 1 / (s_i + 1e-6): is dF_i/dF_{i-1} near an isometry?

    g_out is +1 or -1 at random, of the shape of F_i; g_in = (dF_i/dF_{i-1})^T g_out; where F_{i-1} has more pixels,
    those that lie on one of F_i become its channels; s_i is the largest singular value of the mean over samples and
    positions of g_in g_out^T. t_i is 0 at s_i = 1, else negative; -inf where g_in = g_out, a block that passes its
    input through by a single path. One forward and one backward pass: at each feature map the way back ends, and begins
    anew with g_out. No labels. Our own is that of a decoder's layers, where F_i has more pixels, those of g_out become
    channels.

    Args:
        weights: see `Weights`.
        pictures: see `Pictures`.

    Raises, where it is scored:
        ValueError: if the network has one feature map, or the positions of one do not lie on those of the next.
    """

    def score(measured: Measurements) -> jax.Array:
        if sum(len(own.times) for own in measured.trunk) < 2:
            _check_pairs(measured, "az_trainability", ())
        return trainability_of(measured.trunk)

    undefined = "where a block passes its input through by a single path"
    return _proxy("az_trainability", score, frozenset({"trunk"}), weights, pictures, undefined=undefined)

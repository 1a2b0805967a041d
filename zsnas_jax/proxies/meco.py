"""MeCo: the smallest eigenvalues of the correlations between the channels of what layers put out. No labels.

One picture of noise, N(0, 1), of 64 x 64 pixels, whatever the run has, alone: batch norm normalises by it. A picture as
small as CIFAR's leaves the last stage of NAS-Bench-201 no more pixels than channels, so that the smallest eigenvalue is
0. Axes: N batch, H W pixels, C channels.
"""

from collections.abc import Callable
from typing import Literal

import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax import linalg
from zsnas_jax.base import Look, Proxy
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import total
from zsnas_jax.proxies.weights import Drawn

Outputs = Literal["convolutions", "activations", "trunk"]
"""Whose outputs: convolutions', activations', or of the stem and the blocks."""

_PLACES = {"convolutions": "convolutions", "activations": "activated", "trunk": "trunk"}
_CHANNELS = 8
_SOURCE = "Jiang et al., MeCo, NeurIPS 2023"


def smallest_eigenvalue(x: jax.Array) -> jax.Array:
    """Smallest eigenvalue of the Pearson correlations of the channels of the first sample. float[N, ..., C] to float[].

    What is not defined counts as uncorrelated, with itself, too: a channel without variance gives a row of zeros.
    """
    rows = x[0].reshape(-1, x.shape[-1]).T
    centred = rows - rows.mean(1, keepdims=True)
    norms = jnp.sqrt(jnp.square(centred).sum(1))
    scaled = centred / jnp.where(norms > 0, norms, 1.0)[:, None]
    return linalg.eigenvalues(jnp.matmul(scaled, scaled.T, precision=lax.Precision.HIGHEST))[0]


def weighed_smallest_eigenvalue(x: jax.Array) -> jax.Array:
    """C / 8 times `smallest_eigenvalue` of the first 8 channels; of fewer, of all. float[N, ..., C] to float[]."""
    few = min(_CHANNELS, x.shape[-1])
    return x.shape[-1] / few * smallest_eigenvalue(x[..., :few])


def _proxy(name: str, statistic: Callable[[jax.Array], jax.Array], outputs: str, image_size: int | None) -> Proxy:
    if outputs not in _PLACES:
        raise ValueError(f"{name} with outputs={outputs!r}: allowed are {', '.join(map(repr, _PLACES))}")

    score: Callable[[Measurements], jax.Array] = lambda measured: total(measured.observed["eigenvalues"])
    if image_size is not None and image_size < 1:
        raise ValueError(f"{name} with image_size={image_size}: at least 1 is needed")
    observe = {"eigenvalues": Look(_PLACES[outputs], statistic)}
    prepare = Drawn("own", "noise", image_size=image_size, num_pictures=1, refuses_attention=name)
    settings = {"outputs": outputs, "image_size": image_size}
    return Proxy(name, score, frozenset(), settings, _SOURCE, observe=observe, prepare=prepare)


def meco(*, outputs: Outputs = "activations", image_size: int | None = 64) -> Proxy:
    """MeCo = sum over outputs of the smallest eigenvalue of the correlations between their channels.

    See the top of this file. 0 where there are more channels than pixels, or a channel is dead.

    Args:
        outputs: see `Outputs`; the outputs of convolutions before their norms, which do not change it.
        image_size: pixels along the sides of the picture; None: as many as the run's have.

    Raises:
        ValueError: for other outputs or no pixel; where it is scored, if the network has none of them, or attention.

    Source: Jiang, Wang and Bie, "MeCo: Zero-Shot NAS with One Data and Single Forward Pass via Minimum Eigenvalue of
    Correlation", NeurIPS 2023, as its released code has it. Deviation: the code sums over all modules, containers,
    identities and norms among them, so that its number depends on how they are nested; here a kind of outputs counts.
    """
    return _proxy("meco", smallest_eigenvalue, outputs, image_size)


def meco_opt(*, outputs: Outputs = "activations", image_size: int | None = 64) -> Proxy:
    """MeCo_opt = sum over outputs of C / 8 times the smallest eigenvalue of the correlations between 8 channels.

    Args:
        outputs: as of `meco`.
        image_size: likewise.

    Source: Jiang et al., NeurIPS 2023. Deviations: as of `meco`; and the paper draws the 8 channels, here they are the
    first, since no channel of an untrained network is before another.
    """
    return _proxy("meco_opt", weighed_smallest_eigenvalue, outputs, image_size)

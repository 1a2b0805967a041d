"""W-PCA: in how many directions hidden units of a transformer vary. Axes: N batch, T tokens, F hidden units.

Source: "W-PCA", ICLR 2025, which scores language models, by notes of others that read the paper; forward only.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax import linalg
from zsnas_jax.base import Proxy
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import total


def num_components(x: jax.Array, share: float) -> jax.Array:
    """How many principal components of float[..., F] hold a share of the variance, over all other axes. float[]."""
    a = x.reshape(-1, x.shape[-1])
    a = a - a.mean(0)
    a = a if a.shape[0] >= a.shape[1] else a.T  # the smaller product has the same eigenvalues
    eigenvalues = jnp.maximum(linalg.eigenvalues(jnp.matmul(a.T, a, precision=lax.Precision.HIGHEST)), 0.0)
    so_far = jnp.cumsum(eigenvalues[::-1])
    return jnp.where(so_far[-1] > 0, 1.0 + (so_far < share * so_far[-1]).sum(), 0.0)


@functools.cache  # so that proxies of one share have one statistic
def _components(share: float) -> functools.partial[jax.Array]:
    return functools.partial(num_components, share=share)


def w_pca(*, share: float = 0.99) -> Proxy:
    """W-PCA = params * sum over blocks of the number of principal components that hold a share of the variance.

    Of the hidden units of each block's dense layers, before their activation, over all tokens of all samples: what
    enters the response sites. No labels.

    Args:
        share: of the variance.

    Raises:
        ValueError: if the share is not above 0 and at most 1; where it is scored, if no module says that a kernel is of
            a transformer's dense layers (`zsnas_jax.nn.roles.Kernel.part`, "mlp").

    Source: "W-PCA", ICLR 2025, known from notes of others alone.
    """
    if not 0 < share <= 1:
        raise ValueError(f"w_pca with share={share}: allowed are 0 to 1, 0 excluded")

    def score(measured: Measurements) -> jax.Array:
        network = measured.network
        if not any(weight.kernel and weight.kernel.part == "mlp" for weight in network.weights.values()):
            raise ValueError(
                f"proxy w_pca is of transformers: no module of {network.name} says that a kernel is of its dense "
                "layers; say by `roles` Kernel(..., part='mlp')"
            )
        return network.num_params * total(measured.observed["components"])

    return Proxy(
        "w_pca",
        score,
        frozenset(),
        {"share": share},
        "W-PCA, ICLR 2025 (from notes)",
        observe={"components": _components(share)},
        only_for="transformers",
    )

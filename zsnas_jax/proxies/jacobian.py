"""The Jacobian and isometry: JacCor, EPE, NetSens, DynIso, LyDynIso.

J_n is the gradient of the sum of all logits of the batch with respect to picture n, flattened. Batch norm uses the
statistics of the batch, so that J_n holds what picture n does to the others. Axes: N batch, D = H W C, K classes.
"""

from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.base import Proxy
from zsnas_jax.correlation import correlation_matrix
from zsnas_jax.proxies.weights import sum_over_layers
from zsnas_jax.reading import Reading
from zsnas_jax.subject import run

_JACOBIAN = frozenset({"jacobian"})


def jaccor(*, k: float = 1e-5) -> Proxy:
    """JacCor = -sum_i [log(v_i + k) + 1 / (v_i + k)], v the eigenvalues of corr(J).

    One batch, no labels. -inf where a picture's gradient has no variance.

    Args:
        k: keeps the terms finite.

    Source: Mellor et al., "Neural Architecture Search without Training", first version, 2020. Eigenvalues that rounding
    makes negative are taken as 0.
    """

    def score(reading: Reading) -> jax.Array:
        correlation = correlation_matrix(reading.jacobian)
        defined = jnp.isfinite(correlation).all()
        v = jnp.linalg.eigvalsh(jnp.where(defined, correlation, jnp.eye(len(correlation))))
        v = jnp.maximum(v, 0.0) + k
        return jnp.where(defined, -(jnp.log(v) + 1 / v).sum(), -jnp.inf)

    return Proxy("jaccor", score, _JACOBIAN, {"k": k}, "Mellor et al., Neural Architecture Search without Training, v1")


def epe(*, k: float = 1e-5) -> Proxy:
    """EPE = sum_c |s_c| with s_c = sum_ij log(|corr(J_c)_ij| + k) over the pictures of class c.

    One batch with labels. With more than 100 classes in the batch each s_c is divided by the number of entries of its
    matrix, and the score is the sum over pairs of classes of |s_c - s_c'| divided by the number of classes. -inf where
    a picture's gradient has no variance.

    Args:
        k: keeps the logarithm finite.

    Source: Lopes, Alirezazadeh and Alexandre, "EPE-NAS", ICANN 2021.
    """

    def score(reading: Reading) -> jax.Array:
        correlation = correlation_matrix(reading.jacobian)
        members: Any = reading.subject.batch.label
        same = members[:, None] == members[None, :]
        size = same.sum(1)  # of the class of each picture
        row = jnp.where(same, jnp.log(jnp.abs(correlation) + k), 0.0).sum(1)
        s = (same * row[None, :]).sum(1)  # s_c of the class of each picture
        num_classes = (1 / size).sum()
        few = (jnp.abs(s) / size).sum()
        scaled, weight = s / jnp.square(size), 1 / size
        pairs = weight[:, None] * weight[None, :] * jnp.abs(scaled[:, None] - scaled[None, :])
        return jnp.where(num_classes < 100.5, few, pairs.sum() / num_classes)

    return Proxy("epe", score, _JACOBIAN | {"labels"}, {"k": k}, "Lopes et al., EPE-NAS, ICANN 2021")


def netsens() -> Proxy:
    """NetSens = mean |J|. One batch, no labels. Source: WRCor paper, Table 2; 0 for a network without a path."""
    score = lambda r: jnp.abs(r.jacobian).mean()
    return Proxy("netsens", score, _JACOBIAN, {}, "Jing et al., WRCor, Table 2")


def dyniso(*, num_samples: int = 8) -> Proxy:
    """DynIso = -mean_n (v_n + exp(-v_n)), v_n the mean logarithm of the singular values of J_n.

    J_n, K x D, is the Jacobian of the logits of picture n with respect to a shift that all pictures share. No labels.
    -inf where one has not full rank. Costs K * num_samples backward passes.

    Args:
        num_samples: the first rows of the batch that are run, alone; all rows of a smaller batch.

    Source: WRCor paper, Table 2.
    """
    if num_samples < 1:
        raise ValueError(f"dyniso with num_samples={num_samples}: at least 1 is needed")

    def score(reading: Reading) -> jax.Array:
        image = reading.subject.batch.image[:num_samples]
        logits, pullback = jax.vjp(lambda x: run(reading.subject, x).logits, image)
        directions = jnp.eye(logits.size, dtype=logits.dtype).reshape(-1, *logits.shape)
        # Several ways back at a time: a GPU is idle in one of a few pictures, and a CPU is a third faster.
        rows = lax.map(lambda direction: pullback(direction)[0].sum(0).ravel(), directions, batch_size=8)
        values = jnp.linalg.svd(rows.reshape(*logits.shape, -1), compute_uv=False)
        smallest = values.max(1, keepdims=True) * rows.shape[-1] * jnp.finfo(rows.dtype).eps
        v = jnp.log(values).mean(1)
        return jnp.where((values > smallest).all(), -(v + jnp.exp(-v)).mean(), -jnp.inf)

    return Proxy("dyniso", score, frozenset(), {"num_samples": num_samples}, "Jing et al., WRCor, Table 2")


def lydyniso() -> Proxy:
    """LyDynIso = -sum ||W W^T - I||_F, W reshaped to filters x weights of a filter. No data, no labels.

    A filter of zeros is padding of a network that serves several widths: it has no part in I.

    Source: WRCor paper, Table 2.
    """

    def distance(w: jax.Array) -> jax.Array:
        products = jnp.einsum("pio,pij->poj", w, w, precision=lax.Precision.HIGHEST)
        identity = jnp.eye(w.shape[-1]) * (w != 0).any(1)[:, None]
        return -jnp.sqrt(jnp.square(products - identity).sum((1, 2)))

    score = lambda r: sum_over_layers(r.subject, distance, r.subject.params)
    return Proxy("lydyniso", score, frozenset(), {}, "Jing et al., WRCor, Table 2")

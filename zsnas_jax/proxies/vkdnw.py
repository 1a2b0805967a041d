"""VKDNW: the entropy of the spectrum of an empirical Fisher information of a few weights.

No labels. Kernels are drawn from N(0, 2 / fan_in) and pictures from N(0, 1), whatever the run has; batch norm is in
evaluation mode before any training: it divides by sqrt(1 + epsilon) (`zsnas_jax.nn.options.NORMS`, "bn_initial").

Source: Tybl and Neumann, "Training-free Neural Architecture Search through Variance of Knowledge of Deep Network
Weights", CVPR 2025, and its released code, whose number of weights a tensor is a flag with a default that takes none:
one is the reading here. Axes: N batch, K classes, T tensors, P chosen tensors.
"""

from typing import Any, Literal

from flax.traverse_util import flatten_dict
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from zsnas_jax import linalg
from zsnas_jax.base import Proxy
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import Network, forward
from zsnas_jax.measure.tensors import count, in_order, present
from zsnas_jax.proxies.weights import Drawn, check_drawn

Form = Literal["paper", "released"]
"""The Fisher information itself, or the matrix that the released code computes."""

_SMOOTHING = 0.05
_AT_ONCE = 8  # pictures whose gradients are held at a time
_SOURCE = "Tybl and Neumann, VKDNW, CVPR 2025"


def logit_rows(network: Network, num_tensors: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(logits float[N, K], their gradients by the first entries of tensors float[N, K, P], which are there bool[P]).

    P is `num_tensors`, or all that a network can have if these are fewer: the first that the architecture has, in the
    order in which modules are called, each by its first entry.
    """
    tensors, flat = in_order(network), flatten_dict(network.params)
    exists = {path: present(network, path, leaf) for path, leaf in flat.items()}
    starts = dict(zip(exists, np.cumsum([0, *map(len, exists.values())]), strict=False))
    order = np.array([starts[path] + position for path, position in tensors])
    is_there = jnp.concatenate(list(exists.values()))[order]
    chosen = is_there & (jnp.cumsum(is_there) <= num_tensors)
    columns = jnp.argsort(~chosen, stable=True)[:num_tensors]

    def firsts(gradients: Any) -> jax.Array:
        leaves = flatten_dict(gradients)
        of = lambda path: network.weights[path].by_position(leaves[path]).reshape(len(exists[path]), -1)[:, 0]
        return jnp.concatenate([of(path) for path in exists])[order][columns]

    def of_picture(image: jax.Array) -> tuple[jax.Array, jax.Array]:
        run = lambda params: forward(network, image[None], params=params).logits.ravel()
        logits, pullback = jax.vjp(run, network.params)
        return logits, lax.map(lambda own: firsts(pullback(own)[0]), jnp.eye(len(logits), dtype=logits.dtype))

    logits, rows = lax.map(of_picture, network.batch.image, batch_size=_AT_ONCE)
    return logits, jnp.where(chosen[columns], rows, 0.0), chosen[columns]


def fisher_matrix(logits: jax.Array, rows: jax.Array, form: str) -> jax.Array:
    """mean_n J_n^T (diag s_n - s_n s_n^T) J_n, s = .95 softmax + .05 / K. float[P, P].

    As released: with L the Cholesky factor of the matrix in the middle, mean_n (L J_n)^T (L J_n), where L^T would be
    right. Of a multinomial's covariance L is known: with the tails r_k = 1 - sum_{j < k} s_j it has pivots
    L_kk^2 = s_k r_{k+1} / r_k, the last of them 0, and L_ik = -s_i L_kk / r_{k+1} below.

    Args:
        logits: float[N, K].
        rows: J, float[N, K, P].
        form: see `Form`.
    """
    s = (1 - _SMOOTHING) * jax.nn.softmax(logits) + _SMOOTHING / logits.shape[1]
    tails = jnp.flip(jnp.cumsum(jnp.flip(s, 1), 1), 1)  # r_0, ..., r_{K-1}
    after = jnp.concatenate([tails[:, 1:], jnp.zeros_like(tails[:, :1])], 1)
    pivots = jnp.sqrt(s * after / tails)
    below = jnp.tril(jnp.ones((s.shape[1],) * 2, bool), -1)
    ratio = jnp.where(after > 0, pivots / jnp.where(after > 0, after, 1.0), 0.0)
    factor = jnp.where(below, -s[:, :, None] * ratio[:, None, :], 0.0) + jax.vmap(jnp.diag)(pivots)
    spec = "nik,nkp->nip" if form == "released" else "nki,nkp->nip"
    weighed = jnp.einsum(spec, factor, rows, precision=lax.Precision.HIGHEST).reshape(-1, rows.shape[2])
    return jnp.matmul(weighed.T, weighed, precision=lax.Precision.HIGHEST) / len(rows)


def spectrum_entropy(matrix: jax.Array, size: jax.Array) -> jax.Array:
    """-sum t log(t + 1e-10), t = q / (sum q + 1e-10), q the deciles of the eigenvalues of float[P, P]. float[].

    Args:
        matrix: symmetric, without negative eigenvalues.
        size: int32[], how many rows it has: the others are zero and give no eigenvalue.
    """
    values = jnp.sort(jnp.abs(linalg.eigenvalues(matrix)))
    place = len(values) - size + jnp.linspace(0.1, 0.9, 9) * (size - 1)
    lower = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, len(values) - 1)
    upper = jnp.minimum(lower + 1, len(values) - 1)
    q = values[lower] + (place - lower) * (values[upper] - values[lower])
    t = q / (q.sum() + 1e-10)
    return -(t * jnp.log(t + 1e-10)).sum()


def _entropy(measured: Measurements, num_tensors: int, form: str) -> jax.Array:
    logits, rows, chosen = logit_rows(measured.network, num_tensors)
    return spectrum_entropy(fisher_matrix(logits, rows, form), chosen.sum())


def _proxy(name: str, score: Any, num_tensors: int, form: str, weights: str, pictures: str) -> Proxy:
    check_drawn(name, weights, pictures)
    if num_tensors < 1:
        raise ValueError(f"{name} with num_tensors={num_tensors}: at least 1 is needed")
    if form not in ("paper", "released"):
        raise ValueError(f"{name} with form={form!r}: allowed are 'paper' and 'released'")
    settings = {"num_tensors": num_tensors, "form": form, "weights": weights, "pictures": pictures}
    prepare = Drawn(weights, pictures, "bn_initial")
    return Proxy(name, score, frozenset({"network"}), settings, _SOURCE, prepare=prepare, is_costly=True)


def vkdnw_entropy(
    *,
    num_tensors: int = 128,
    form: Form = "paper",
    weights: Literal["normal", "own"] = "normal",
    pictures: Literal["noise", "own"] = "noise",
) -> Proxy:
    """VKDNW's entropy = -sum t log t, t the deciles of the spectrum of the Fisher information F, divided by their sum.

    F is of the first entries of the first tensors of the network, in the order in which it is made. At most log 9. A
    network with fewer tensors than F can have rank has zeros in its spectrum: entropies of cells with and without
    convolutions do not compare, which `vkdnw` puts right. Costs a backward pass for each class and picture.

    Args:
        num_tensors: how many tensors; all of a network that has fewer.
        form: see `Form`.
        weights: "normal": N(0, 2 / fan_in); "own": those of the run.
        pictures: "noise": N(0, 1); "own": the batch's.

    Raises:
        ValueError: for less than one tensor, or an unknown form.
    """
    score = lambda m: _entropy(m, num_tensors, form)
    return _proxy("vkdnw_entropy", score, num_tensors, form, weights, pictures)


def vkdnw(
    *,
    num_tensors: int = 128,
    form: Form = "paper",
    weights: Literal["normal", "own"] = "normal",
    pictures: Literal["noise", "own"] = "noise",
) -> Proxy:
    """VKDNW = the number of parameter tensors + `vkdnw_entropy`: the count orders, the entropy decides between equals.

    Args:
        num_tensors: as of `vkdnw_entropy`.
        form: likewise.
        weights: likewise.
        pictures: likewise.
    """
    score = lambda m: count(m.network) + _entropy(m, num_tensors, form)
    return _proxy("vkdnw", score, num_tensors, form, weights, pictures)

"""The Jacobian and isometry: JacCor, EPE, NetSens, DynIso, LyDynIso.

J_n is the gradient of the sum of all logits of the batch with respect to picture n, flattened. Batch norm uses the
statistics of the batch, so that J_n holds what picture n does to the others. Where a batch norm stands on every path
into the pool, that sum does not depend on the pictures and J is rounding: the scores are -inf there
(`Measurements.zero_jacobian`). Axes: N batch, D = H W C, K classes.
"""

from collections.abc import Callable, Mapping
import math
from typing import Any, Literal, NamedTuple

from flax.traverse_util import unflatten_dict
import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax import linalg
from zsnas_jax.base import Proxy
from zsnas_jax.correlation import correlation_matrix
from zsnas_jax.measure.measurements import Measurements, is_zero, other_combination
from zsnas_jax.measure.network import Network, forward, need_real_pictures
from zsnas_jax.nn.probes import WHOLE_FEATURES
from zsnas_jax.proxies.weights import sum_over_layers

Jacobian = Literal["batch", "per_sample"]
"""Of whose logits J_n is the gradient: of all of the batch, or of picture n's own."""

_JACOBIAN = frozenset({"jacobian"})
_UNDEFINED = (
    "where the sum of the logits does not depend on the pictures (a batch norm on every path into the pool), or the "
    "gradient of a picture has no variance"
)


class _Gradients(NamedTuple):
    """Whose gradients J holds.

    Attributes:
        needs: what they need.
        of: measurements to (J float[N, D], whether it is all rounding).
        settings: of the proxy.
        undefined: when there is no score.
    """

    needs: frozenset[str]
    of: Callable[[Measurements], tuple[Any, Any]]
    settings: Mapping[str, Any]
    undefined: str


def _gradients(name: str, jacobian: str) -> _Gradients:
    """As the argument `jacobian` of a proxy says.

    Raises:
        ValueError: if it says neither.
    """
    if jacobian == "batch":
        return _Gradients(_JACOBIAN, lambda m: (m.jacobian, m.zero_jacobian), {}, _UNDEFINED)
    if jacobian == "per_sample":
        own = {"jacobian": jacobian}
        undefined = "where the gradient of a picture has no variance"
        return _Gradients(frozenset({"own_jacobian"}), lambda m: (m.own_jacobian, False), own, undefined)
    raise ValueError(f"{name} with jacobian={jacobian!r}: allowed are 'batch' and 'per_sample'")


def jaccor(*, k: float = 1e-5, jacobian: Jacobian = "batch") -> Proxy:
    """JacCor = -sum_i [log(v_i + k) + 1 / (v_i + k)], v the eigenvalues of corr(J).

    One batch, no labels. -inf where a picture's gradient has no variance.

    Args:
        k: keeps the terms finite.
        jacobian: "batch", J_n the gradient of all logits of the batch; or "per_sample", of the logits of picture n
            alone, batch norm by the batch all the same: that is defined where the other is rounding, and costs a way
            back for each picture.

    Source: Mellor et al., "Neural Architecture Search without Training", first version, 2020. Eigenvalues that rounding
    makes negative are taken as 0.
    """
    taken = _gradients("jaccor", jacobian)

    def score(measured: Measurements) -> jax.Array:
        gradients, are_rounding = taken.of(measured)
        correlation = correlation_matrix(gradients)
        defined = jnp.isfinite(correlation).all() & ~jnp.asarray(are_rounding)
        v = linalg.eigenvalues(jnp.where(defined, correlation, jnp.eye(len(correlation))))
        v = jnp.maximum(v, 0.0) + k
        return jnp.where(defined, -(jnp.log(v) + 1 / v).sum(), -jnp.inf)

    reference = "Mellor et al., Neural Architecture Search without Training, v1"
    return Proxy("jaccor", score, taken.needs, {"k": k, **taken.settings}, reference, undefined=taken.undefined)


def epe(*, k: float = 1e-5, jacobian: Jacobian = "batch") -> Proxy:
    """EPE = sum_c |s_c| with s_c = sum_ij log(|corr(J_c)_ij| + k) over the pictures of class c.

    One batch with labels that are class indices. With more than 100 classes in the batch each s_c is divided by the
    number of entries of its matrix, and the score is the sum over pairs of classes of |s_c - s_c'| divided by the
    number of classes. -inf where a picture's gradient has no variance.

    Args:
        k: keeps the logarithm finite.
        jacobian: as of `jaccor`.

    Source: Lopes, Alirezazadeh and Alexandre, "EPE-NAS", ICANN 2021.
    """
    taken = _gradients("epe", jacobian)

    def score(measured: Measurements) -> jax.Array:
        gradients, are_rounding = taken.of(measured)
        correlation = correlation_matrix(gradients)
        members: Any = measured.network.batch.label
        same = members[:, None] == members[None, :]
        size = same.sum(1)  # of the class of each picture
        row = jnp.where(same, jnp.log(jnp.abs(correlation) + k), 0.0).sum(1)
        s = (same * row[None, :]).sum(1)  # s_c of the class of each picture
        num_classes = (1 / size).sum()
        few = (jnp.abs(s) / size).sum()
        scaled, weight = s / jnp.square(size), 1 / size
        pairs = weight[:, None] * weight[None, :] * jnp.abs(scaled[:, None] - scaled[None, :])
        score = jnp.where(num_classes < 100.5, few, pairs.sum() / num_classes)
        return jnp.where(are_rounding, -jnp.inf, score)

    settings = {"k": k, **taken.settings}
    needs = taken.needs | {"class_labels"}
    return Proxy("epe", score, needs, settings, "Lopes et al., EPE-NAS, ICANN 2021", undefined=taken.undefined)


def netsens(*, jacobian: Jacobian = "batch") -> Proxy:
    """NetSens = mean |J|. One batch, no labels; 0 for a network without a path.

    Args:
        jacobian: as of `jaccor`.

    Source: WRCor paper, Table 2.
    """
    taken = _gradients("netsens", jacobian)

    def score(measured: Measurements) -> jax.Array:
        gradients, are_rounding = taken.of(measured)
        return jnp.where(are_rounding, -jnp.inf, jnp.abs(gradients).mean())

    reference = "Jing et al., WRCor, Table 2"
    return Proxy("netsens", score, taken.needs, taken.settings, reference, undefined=taken.undefined)


def dyniso(*, num_samples: int = 8) -> Proxy:
    """DynIso = -mean_n (v_n + exp(-v_n)), v_n = mean_k log max(s_nk, t max_k s_nk), s_n the singular values of J_n.

    J_n, K x D, is the Jacobian of the logits of picture n with respect to a shift that all pictures share. No labels.
    t = D times float32's epsilon: below it is rounding. -inf where one J_n is zero. Costs num_samples times as many
    backward passes as J_n can have rank: K, or the channels of `Features` if these are fewer.

    Args:
        num_samples: the first rows of the batch that are run, alone; all rows of a smaller batch.

    Source: WRCor paper, Table 2. Deviation: t. The paper asks for full rank, which no network has that ends in fewer
    channels than classes, as NAS-Bench-201's do (64) with 100; where J_n has it, this is the paper's formula.
    """
    if num_samples < 1:
        raise ValueError(f"dyniso with num_samples={num_samples}: at least 1 is needed")

    def score(measured: Measurements) -> jax.Array:
        network = measured.network
        need_real_pictures(network, "proxy dyniso")
        image = network.batch.image[:num_samples]
        logits, pullback = jax.vjp(lambda x: forward(network, x).logits.reshape(len(x), -1), image)
        basis = _logit_basis(network, image)
        directions = (jnp.eye(len(logits))[:, None, :, None] * basis[:, :, None, :]).reshape(-1, *logits.shape)
        # Several ways back at a time: a GPU is idle in one of a few pictures, and a CPU is a third faster.
        rows = lax.map(lambda direction: pullback(direction)[0].sum(0).ravel(), directions, batch_size=8)
        values = jax.vmap(linalg.singular_values)(rows.reshape(*basis.shape[:2], -1))
        values = jnp.pad(values, ((0, 0), (0, logits.shape[1] - values.shape[1])))  # what no direction moves
        largest = values.max(1, keepdims=True)
        v = jnp.log(jnp.maximum(values, largest * rows.shape[-1] * jnp.finfo(rows.dtype).eps)).mean(1)
        slope = other_combination(logits)
        along = lambda weights: jnp.einsum("nrk,nk->nr", basis, weights).ravel() @ rows
        zero = is_zero(along(jnp.ones_like(logits)), jnp.ones_like(logits), along(slope), slope)
        return jnp.where((largest > 0).all() & ~zero, -(v + jnp.exp(-v)).mean(), -jnp.inf)

    settings, reference = {"num_samples": num_samples}, "Jing et al., WRCor, Table 2"
    undefined = f"{_UNDEFINED}, or does not move its own logits"
    return Proxy("dyniso", score, frozenset({"network"}), settings, reference, undefined=undefined)


def _logit_basis(network: Network, image: jax.Array) -> jax.Array:
    """Orthonormal directions that hold all ways in which the logits of picture n can move, float[N, R, K].

    What moves them passes through the C channels of `Features`, pooled, so that R = min(K, C) directions are enough:
    J_n has the singular values of their product.
    """
    seen = jax.eval_shape(lambda: forward(network, image, observe=WHOLE_FEATURES))
    num_samples, num_classes = len(image), math.prod(seen.logits.shape[1:])
    marks = seen.observed.get("features", [])
    if len(seen.logits.shape) != 2 or not marks or marks[-1].value.shape[-1] >= num_classes:
        return jnp.broadcast_to(jnp.eye(num_classes), (num_samples, num_classes, num_classes))
    shape, slot = marks[-1].value.shape[1:], (*marks[-1].path, "shift")
    logits_of = lambda shift: forward(network, image, slots=unflatten_dict({slot: shift})).logits.sum(0)
    moved = jax.jacrev(logits_of)(jnp.zeros(shape, marks[-1].value.dtype))  # [K, N, ..., C]
    rows = moved.swapaxes(0, 1).reshape(num_samples, num_classes, -1)
    return jax.vmap(linalg.left_singular_vectors)(rows)[:, :, : shape[-1]].swapaxes(1, 2)


def lydyniso() -> Proxy:
    """LyDynIso = -sum ||W W^T - I||_F, W reshaped to filters x weights of a filter. No data, no labels.

    A filter of zeros is padding of a network that serves several widths: it has no part in I.

    Source: WRCor paper, Table 2.
    """

    def distance(w: jax.Array) -> jax.Array:
        products = jnp.einsum("pio,pij->poj", w, w, precision=lax.Precision.HIGHEST)
        identity = jnp.eye(w.shape[-1]) * (w != 0).any(1)[:, None]
        return -jnp.sqrt(jnp.square(products - identity).sum((1, 2)))

    score = lambda m: sum_over_layers(m.network, "lydyniso", distance, m.network.params)
    return Proxy("lydyniso", score, frozenset(), {}, "Jing et al., WRCor, Table 2")

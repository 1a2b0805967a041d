"""Correlation matrices of responses, and the log-determinant of their weighted sum.

Axes: N samples of the batch, D response features, L layers of the network.
"""

import jax
import jax.numpy as jnp

from zsnas_jax import linalg


def correlation_matrix(responses: jax.Array) -> jax.Array:
    """Pearson correlation between the samples of a batch.

    C_ij = <r_i - mean(r_i), r_j - mean(r_j)> / (||r_i - mean(r_i)|| ||r_j - mean(r_j)||).

    Args:
        responses: float[N, ...]; every sample is flattened to one row.

    Returns:
        float[N, N]. The row and the column of a sample without variance are NaN.

    Source: WRCor paper, Eq. 2. Products are taken at the highest matmul precision, since a score depends on them.
    """
    rows = responses.reshape(responses.shape[0], -1).astype(jnp.promote_types(responses.dtype, jnp.float32))
    rows = rows - rows.mean(axis=1, keepdims=True)
    norms = jnp.sqrt(jnp.square(rows).sum(axis=1))
    return jnp.matmul(rows, rows.T, precision=jax.lax.Precision.HIGHEST) / (norms[:, None] * norms[None, :])


def response_matrix(responses: jax.Array) -> jax.Array:
    """|corr| of one response site, or all zeros where it is undefined.

    A site at which any sample has no variance is skipped whole, and adds nothing to a sum. The diagonal of a defined
    matrix is 1, so that the trace of a sum of such matrices divided by N counts the sites it is made of.

    Args:
        responses: float[N, ...].

    Returns:
        float[N, N], entries in [0, 1].
    """
    matrix = jnp.abs(correlation_matrix(responses))
    return jnp.where(jnp.isfinite(matrix).all(), matrix, 0.0)


def num_sites(matrices: jax.Array) -> jax.Array:
    """The number of defined sites summed in each matrix: trace / N, rounded.

    Args:
        matrices: float[..., N, N], sums of `response_matrix` values.

    Returns:
        float[...], whole numbers.
    """
    return jnp.round(jnp.trace(matrices, axis1=-2, axis2=-1) / matrices.shape[-1])


def log_determinant(matrices: jax.Array, log_weights: jax.Array, count_exponent: float = 1.0) -> jax.Array:
    """Score of the weighted sum K = sum_l w(l) K_l of one network's layers.

    With c = sum_l w(l) (sites in layer l): log|det(K / c)| + count_exponent * N * log(c).

    Args:
        matrices: float[L, N, N], per layer the sum of its sites' |corr|.
        log_weights: float[L], log w(l); weights as large as 2**L never leave the log domain.
        count_exponent: 1 is the papers' score log|det K|; 0 forgets how many sites there are.

    Returns:
        float[]; -inf where no site is defined. The sign of the determinant is ignored: K need not be positive definite.

    Source: WRCor paper, Eq. 5 and 11; the paper's released code ignores the sign too.
    """
    num_samples = matrices.shape[-1]
    largest = jnp.max(log_weights)
    weights = jnp.exp(log_weights - largest)
    total = jnp.dot(weights, num_sites(matrices), precision=jax.lax.Precision.HIGHEST)
    kernel = jnp.tensordot(weights, matrices, axes=1, precision=jax.lax.Precision.HIGHEST)
    log_det = linalg.log_abs_det(kernel / jnp.where(total > 0, total, 1.0))
    score = log_det + count_exponent * num_samples * (jnp.log(jnp.where(total > 0, total, 1.0)) + largest)
    return jnp.where(total > 0, score, -jnp.inf)

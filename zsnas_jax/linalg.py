"""Decompositions of one matrix, also under `jax.vmap`.

jaxlib's LAPACK calls on a batch (0.10.2) hand its matrices to the pool of threads that they run in, and wait. When as
many calls as there are threads do so at once, two devices on two cores for example, all wait for ever.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.custom_batching import custom_vmap
import jax.numpy as jnp


def one_at_a_time(decompose: Callable[[jax.Array], Any]) -> Callable[[jax.Array], Any]:
    """A function of a matrix which, on a CPU, `jax.vmap` applies to one matrix after the other.

    Its derivatives are those of the function itself, with batches as jaxlib takes them.

    Args:
        decompose: a function of float[M, N].
    """
    alone = lambda matrix: decompose(matrix)  # without the further arguments that a function may take
    single = custom_vmap(alone)

    @single.def_vmap
    def _(axis_size: int, in_batched: Sequence[bool], matrices: jax.Array) -> tuple[Any, Any]:
        in_turn = lambda matrices: lax.map(single, matrices)
        results = lax.platform_dependent(matrices, cpu=in_turn, default=jax.vmap(alone))
        return results, jax.tree.map(lambda _: True, results)

    differentiable = jax.custom_jvp(single)
    differentiable.defjvp(lambda primals, tangents: jax.jvp(alone, primals, tangents))
    return differentiable


log_abs_det = one_at_a_time(lambda matrix: jnp.linalg.slogdet(matrix)[1])
"""log |det matrix| of float[N, N]; -inf of a singular one."""

eigenvalues = one_at_a_time(jnp.linalg.eigvalsh)
"""Eigenvalues float[N] of a symmetric float[N, N], ascending."""

singular_values = one_at_a_time(jnp.linalg.svdvals)
"""Singular values float[min(M, N)] of float[M, N], descending."""

left_singular_vectors = one_at_a_time(lambda matrix: jnp.linalg.svd(matrix, full_matrices=False)[0])
"""Left singular vectors of float[M, N] as columns, by descending singular value: float[M, min(M, N)]."""

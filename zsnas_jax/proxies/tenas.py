"""TE-NAS: the condition of the neural tangent kernel, and the number of linear regions. Axes: N batch, P parameters."""

from typing import Literal

from flax.traverse_util import flatten_dict
import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax import linalg
from zsnas_jax.base import Batch, Proxy
from zsnas_jax.measure.measurements import Measurements, own_logits
from zsnas_jax.measure.network import Network, forward
from zsnas_jax.nn.roles import Role
from zsnas_jax.nn.weights import kernels_of
from zsnas_jax.proxies.activation import code_agreement

_SOURCE = "Chen et al., TE-NAS, ICLR 2021"
_AT_ONCE = 4  # ways back at a time


def tangent_kernel(network: Network, paths: list[tuple[str, ...]]) -> jax.Array:
    """Theta = G G^T, row n of G the gradient of the sum of picture n's logits by parameters at paths. float64[N, N].

    To be called where 64 bits are enabled: what float32 leaves of the smallest eigenvalue is rounding.
    """
    logits, pullback = jax.vjp(
        lambda params: forward(network, network.batch.image, params=params).logits, network.params
    )

    def row(n: jax.Array) -> list[jax.Array]:
        flat = flatten_dict(pullback(own_logits(logits, n))[0])
        return [flat[path].ravel() for path in paths]

    rows = lax.map(row, jnp.arange(len(logits)), batch_size=_AT_ONCE)
    wide = [own.astype(jnp.float64) for own in rows]
    return sum(jnp.matmul(own, own.T, precision=lax.Precision.HIGHEST) for own in wide)  # type: ignore[return-value]


def ntk_cond(*, num_samples: int = 32, parameters: Literal["with_scales", "kernels"] = "with_scales") -> Proxy:
    """NTK = -lambda_max / lambda_min of the neural tangent kernel Theta (`tangent_kernel`).

    Batch norm normalises by the pictures that are run, so that they couple. No labels. -inf where Theta is singular.
    Costs a backward pass for each picture.

    Args:
        num_samples: the first rows of the batch that are run, alone; all rows of a smaller batch. The condition grows
            with them.
        parameters: "with_scales": kernels and the scales of norms, what the released code finds by the name weight;
            "kernels": these alone.

    Raises:
        ValueError: for fewer than two samples, or other parameters.

    Source: Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired
    Perspective" (TE-NAS), ICLR 2021. Deviations: the paper prunes a super-net of three channels by it, this scores a
    network, as AZ-NAS compares it; the code gives what is not finite the condition 100,000, here it is -inf; the solver
    works in float64.
    """
    if num_samples < 2:
        raise ValueError(f"ntk_cond with num_samples={num_samples}: at least 2 are needed")
    if parameters not in ("with_scales", "kernels"):
        raise ValueError(f"ntk_cond with parameters={parameters!r}: allowed are 'with_scales' and 'kernels'")

    def score(measured: Measurements) -> jax.Array:
        network = measured.network
        network = network._replace(batch=Batch(network.batch.image[:num_samples], None))
        paths = [path for path, _ in kernels_of(network.weights, "ntk_cond")]
        if parameters == "with_scales":
            paths += [path for path, weight in network.weights.items() if weight.role is Role.SCALE]
        dtype = network.batch.image.dtype if jnp.issubdtype(network.batch.image.dtype, jnp.floating) else jnp.float32
        with jax.enable_x64(True):
            v = linalg.eigenvalues(tangent_kernel(network, paths))
            # Rounding of the gradients, not of the solver, is what a smaller one would be.
            condition = jnp.where(v[0] > 0, v[-1] / v[0], jnp.inf)
            return (-condition).astype(dtype)

    settings = {"num_samples": num_samples, "parameters": parameters}
    undefined = "where the gradients of the pictures' logits depend on each other"
    needs = frozenset({"network"})
    return Proxy("ntk_cond", score, needs, settings, _SOURCE, undefined=undefined, is_costly=True)


def regions() -> Proxy:
    """Regions = sum_i 1 / #{j: picture j has the codes of picture i}, the number of distinct activation patterns.

    A pattern holds the signs of all that enters activations. No labels. On a whole network it is the size of the batch
    but for degenerate cells: it tells networks apart where these are thin, as the paper's, of one channel.

    Source: Chen, Gong and Wang, TE-NAS, ICLR 2021; the reading as a score of one network is AZ-NAS's.
    """

    def score(measured: Measurements) -> jax.Array:
        # In how many neurons pictures differ, site by site: exact in float32, as a sum over a network would not be.
        seen = measured.observed["codes"]
        differ = [o.times[:, None, None] * (o.value[:, :1, :1] - o.value) > 0 for o in seen]
        same = ~jnp.concatenate([jnp.asarray(own) for own in differ]).any(0)
        return (1.0 / same.sum(1)).sum()

    return Proxy("regions", score, frozenset(), {}, _SOURCE, observe={"codes": code_agreement})

"""Experimental proxies: response correlations of some layers at a count exponent below 1, and logarithms.

Recipes of `response_correlation`, from the same forward and backward pass as WRCor. With lambda = 0 the score
log|det(K / c)| forgets how many sites there are, and measures only how alike the pictures look; lambda = 0.1 lets the
count in a little. What they are worth is measured in benchmarks/EXPERIMENTS.md; none is from a paper.
"""

import jax.numpy as jnp

from zsnas_jax.base import Proxy
from zsnas_jax.proxies.response import response_correlation

_REFERENCE = "experimental, zsnas_jax"


def gcor_first(*, num_layers: int = 2, count_exponent: float = 0.1, name: str | None = None) -> Proxy:
    """GCor of the first layers of the network alone, log|det(K/c)| + lambda N log c.

    Args:
        num_layers: how many layers, from the input; all of a network that has fewer.
        count_exponent: lambda.
        name: of the proxy.
    """
    proxy = response_correlation(
        name or f"gcor_first{num_layers}",
        responses=["gradients"],
        num_first_layers=num_layers,
        count_exponent=count_exponent,
    )
    return proxy._replace(reference=_REFERENCE)


def gcor_first5() -> Proxy:
    """`gcor_first` of five layers, the first stage of NAS-Bench-201, at lambda = 0."""
    return gcor_first(num_layers=5, count_exponent=0.0, name="gcor_first5")


def gcor_first2() -> Proxy:
    """`gcor_first` of two layers at lambda = 0.1."""
    return gcor_first(num_layers=2, count_exponent=0.1, name="gcor_first2")


def log_params() -> Proxy:
    """Log Params: the order of `params`, on a scale on which sums of z-scores make sense."""
    return Proxy(
        "log_params", lambda m: jnp.log(jnp.float32(m.network.num_params)), frozenset(), {}, _REFERENCE, is_size=True
    )


def neg_log_fisher() -> Proxy:
    """-log Fisher: how quiet the gradients are. -inf where no weight has a gradient.

    It ranks badly alone, since small networks are quiet; beside size and diversity it tells, of networks that are
    equally large and diverse, those through which the signal passes more easily.
    """
    return Proxy(
        "neg_log_fisher",
        lambda m: -jnp.log(m.fisher),
        frozenset({"fisher"}),
        {},
        _REFERENCE,
        undefined="where no weight has a gradient",
    )

"""The proxies by name. A proxy of your own is a `Proxy` value: pass it, nothing has to be registered."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from zsnas_jax.base import Proxy
from zsnas_jax.proxies.activation import (
    naswot,
    ncd_nwot,
    ncd_swap,
    nir_nwot,
    nir_swap,
    sam_nwot,
    sam_swap,
    swap,
    swap_regularized,
    with_options,
)
from zsnas_jax.proxies.experimental import gcor_first, gcor_first2, gcor_first5, log_params, neg_log_fisher
from zsnas_jax.proxies.function_space import bndlent, bt, phi, phi_bn, zen
from zsnas_jax.proxies.jacobian import dyniso, epe, jaccor, lydyniso, netsens
from zsnas_jax.proxies.response import WEIGHTINGS, acor, gcor, rcor, response_correlation, wrcor
from zsnas_jax.proxies.saliency import fisher, grasp, pgnorm, pnorm, snip, synflow, zico
from zsnas_jax.proxies.size import flops, params

_FACTORIES = (
    *(pnorm, pgnorm, snip, grasp, synflow, fisher, zico),
    *(jaccor, epe, netsens, dyniso, lydyniso),
    *(naswot, swap, swap_regularized, sam_nwot, sam_swap, nir_nwot, nir_swap, ncd_nwot, ncd_swap),
    *(phi, phi_bn, zen, bt, bndlent),
    *(params, flops),
    *(acor, gcor, rcor, wrcor),
    *(gcor_first2, gcor_first5, log_params, neg_log_fisher),
)
PROXIES: Mapping[str, Callable[..., Proxy]] = MappingProxyType({f.__name__: f for f in _FACTORIES})

__all__ = [
    "PROXIES",
    "WEIGHTINGS",
    "expand",
    "gcor_first",
    "make_proxies",
    "response_correlation",
    "with_options",
    *PROXIES,
]


def expand(names: Sequence[str]) -> list[str]:
    """The names, or every one where they are "all"."""
    return list(PROXIES) if list(names) == ["all"] else list(names)


def make_proxies(names: Sequence[str], *, weighting: str = "expb2t") -> tuple[Proxy, ...]:
    """Proxies by canonical name, `weighting` going to WRCor; "all" stands for every one.

    Raises:
        ValueError: for an unknown name, a name given twice, or no name.
    """
    names = expand(names)
    unknown = [name for name in names if name not in PROXIES]
    if unknown or not names:
        raise ValueError(
            f"unknown proxy {', '.join(map(repr, unknown)) or 'list (empty)'}: allowed are all, {', '.join(PROXIES)}"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"proxies {', '.join(names)}: a name is given twice")
    return tuple(PROXIES[name](weighting=weighting) if name == "wrcor" else PROXIES[name]() for name in names)

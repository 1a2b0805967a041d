"""The built-in factories of proxies by name: what labels and commands know. A proxy of your own needs no entry."""

from collections.abc import Callable, Mapping
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
)
from zsnas_jax.proxies.experimental import gcor_first2, gcor_first5, log_params, neg_log_fisher
from zsnas_jax.proxies.function_space import bndlent, bt, phi, phi_bn, zen
from zsnas_jax.proxies.jacobian import dyniso, epe, jaccor, lydyniso, netsens
from zsnas_jax.proxies.response import acor, gcor, rcor, wrcor
from zsnas_jax.proxies.saliency import fisher, grasp, pgnorm, pnorm, snip, synflow, zico
from zsnas_jax.proxies.size import flops, params

FACTORIES = (
    *(pnorm, pgnorm, snip, grasp, synflow, fisher, zico),
    *(jaccor, epe, netsens, dyniso, lydyniso),
    *(naswot, swap, swap_regularized, sam_nwot, sam_swap, nir_nwot, nir_swap, ncd_nwot, ncd_swap),
    *(phi, phi_bn, zen, bt, bndlent),
    *(params, flops),
    *(acor, gcor, rcor, wrcor),
    *(gcor_first2, gcor_first5, log_params, neg_log_fisher),
)
PROXIES: Mapping[str, Callable[..., Proxy]] = MappingProxyType({f.__name__: f for f in FACTORIES})

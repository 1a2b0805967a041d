"""The proxies by name. A proxy of your own is a `Proxy` value: pass it, nothing has to be registered."""

from collections.abc import Sequence

from zsnas_jax.base import Proxy
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.proxies import labels
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
from zsnas_jax.proxies.aznas import az_expressivity, az_progressivity, az_trainability
from zsnas_jax.proxies.dextr import dextr
from zsnas_jax.proxies.experimental import gcor_first, gcor_first2, gcor_first5, log_params, neg_log_fisher
from zsnas_jax.proxies.function_space import bndlent, bt, phi, phi_bn, zen
from zsnas_jax.proxies.gradsign import gradsign
from zsnas_jax.proxies.intrain import intrain
from zsnas_jax.proxies.jacobian import dyniso, epe, jaccor, lydyniso, netsens
from zsnas_jax.proxies.lswag import lswag
from zsnas_jax.proxies.meco import meco, meco_opt
from zsnas_jax.proxies.near import near
from zsnas_jax.proxies.registry import PROXIES
from zsnas_jax.proxies.response import WEIGHTINGS, acor, gcor, rcor, response_correlation, wrcor
from zsnas_jax.proxies.saliency import fisher, grasp, pgnorm, pnorm, snip, synflow, zico
from zsnas_jax.proxies.size import flops, num_sites, num_tensors, params
from zsnas_jax.proxies.tenas import ntk_cond, regions
from zsnas_jax.proxies.transformer import autoprox, dss
from zsnas_jax.proxies.vkdnw import vkdnw, vkdnw_entropy
from zsnas_jax.proxies.wpca import w_pca

__all__ = [
    "PROXIES",
    "WEIGHTINGS",
    "acor",
    "autoprox",
    "az_expressivity",
    "az_progressivity",
    "az_trainability",
    "bndlent",
    "bt",
    "dextr",
    "dss",
    "dyniso",
    "epe",
    "expand",
    "fisher",
    "flops",
    "gcor",
    "gcor_first",
    "gcor_first2",
    "gcor_first5",
    "gradsign",
    "grasp",
    "intrain",
    "jaccor",
    "labels",
    "log_params",
    "lswag",
    "lydyniso",
    "make_proxies",
    "meco",
    "meco_opt",
    "naswot",
    "ncd_nwot",
    "ncd_swap",
    "near",
    "neg_log_fisher",
    "netsens",
    "nir_nwot",
    "nir_swap",
    "ntk_cond",
    "num_sites",
    "num_tensors",
    "params",
    "pgnorm",
    "phi",
    "phi_bn",
    "pnorm",
    "rcor",
    "regions",
    "response_correlation",
    "sam_nwot",
    "sam_swap",
    "snip",
    "swap",
    "swap_regularized",
    "synflow",
    "vkdnw",
    "vkdnw_entropy",
    "w_pca",
    "with_options",
    "wrcor",
    "zen",
    "zico",
]


def expand(names: Sequence[str]) -> list[str]:
    """The names, or every one where they are "all", but for costly proxies, and those of one kind of networks alone."""
    if list(names) != ["all"]:
        return list(names)
    made = {name: make() for name, make in PROXIES.items()}
    return [name for name, proxy in made.items() if not proxy.only_for and not proxy.is_costly]


def make_proxies(
    names: Sequence[str], *, weighting: str = "expb2t", options: LayerOptions | None = None
) -> tuple[Proxy, ...]:
    """Proxies by label (`zsnas_jax.proxies.labels`): "wrcor", "swap:num_samples=2"; "all" stands for every name.

    Args:
        names: labels, or names, which are labels too.
        weighting: of WRCor, where its label does not say one.
        options: norm, mask and activation of the networks under score, for every proxy that neither has its own nor is
            a size; None or `LayerOptions()`: as the networks are.

    Raises:
        ValueError: for an unknown name or setting, a proxy given twice, or no name.
    """
    names = expand(names)
    if not names:
        raise ValueError(f"unknown proxy list (empty): allowed are all, {', '.join(PROXIES)}")
    made: dict[str, tuple[str, Proxy]] = {}
    for name in names:
        proxy = labels.parse(name, weighting=weighting, options=options)
        if proxy.identity in made:
            same = "is given twice" if name == (other := made[proxy.identity][0]) else f"is {other}, given twice"
            raise ValueError(f"proxies {', '.join(names)}: {name} {same}")
        made[proxy.identity] = name, proxy
    return tuple(proxy for _, proxy in made.values())

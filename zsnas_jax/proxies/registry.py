"""The built-in factories of proxies by name: what labels and commands know. A proxy of your own needs no entry."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from zsnas_jax.base import Proxy
from zsnas_jax.proxies import (
    activation,
    aznas,
    dextr,
    experimental,
    function_space,
    gradsign,
    intrain,
    jacobian,
    lswag,
    meco,
    near,
    response,
    saliency,
    size,
    tenas,
    transformer,
    vkdnw,
    wpca,
)

FACTORIES = (
    *(saliency.pnorm, saliency.pgnorm, saliency.snip, saliency.grasp),
    *(saliency.synflow, saliency.fisher, saliency.zico),
    *(jacobian.jaccor, jacobian.epe, jacobian.netsens, jacobian.dyniso, jacobian.lydyniso),
    *(activation.naswot, activation.swap, activation.swap_regularized),
    *(activation.sam_nwot, activation.sam_swap, activation.nir_nwot, activation.nir_swap),
    *(activation.ncd_nwot, activation.ncd_swap),
    *(function_space.phi, function_space.phi_bn, function_space.zen, function_space.bt, function_space.bndlent),
    *(aznas.az_expressivity, aznas.az_progressivity, aznas.az_trainability),
    *(gradsign.gradsign, vkdnw.vkdnw, vkdnw.vkdnw_entropy, tenas.ntk_cond, tenas.regions),
    *(meco.meco, meco.meco_opt, intrain.intrain, lswag.lswag, near.near, dextr.dextr),
    *(transformer.dss, transformer.autoprox, wpca.w_pca),
    *(size.params, size.flops, size.num_sites, size.num_tensors),
    *(response.acor, response.gcor, response.rcor, response.wrcor),
    *(experimental.gcor_first2, experimental.gcor_first5, experimental.log_params, experimental.neg_log_fisher),
)
PROXIES: Mapping[str, Callable[..., Proxy]] = MappingProxyType({f.__name__: f for f in FACTORIES})

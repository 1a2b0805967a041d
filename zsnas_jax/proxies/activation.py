"""Codes of activations: NASWOT and SWAP, and both under NCD's remedies.

A code is the sign of what enters an activation: 1 where it is positive, 0 elsewhere. No labels. Batch norm uses the
statistics of the batch, or whatever the run's options puts in its place. Axes: S samples, D neurons of a site.
"""

from collections.abc import Callable
import dataclasses
import functools

import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax import linalg
from zsnas_jax.base import Proxy
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import Network, total
from zsnas_jax.nn.options import LayerOptions

_WORD = 32
_NASWOT = "Mellor et al., Neural Architecture Search without Training, ICML 2021"
_SWAP = "Peng et al., SWAP-NAS: Sample-Wise Activation Patterns for Ultra-Fast NAS, ICLR 2024"


def code_agreement(x: jax.Array) -> jax.Array:
    """C C^T + (1 - C)(1 - C)^T, C = [x > 0]: in how many neurons two samples agree. float[N, ...] to float[N, N]."""
    signs = jnp.where(x.reshape(len(x), -1) > 0, 1.0, -1.0).astype(jnp.promote_types(x.dtype, jnp.float32))
    return (signs.shape[1] + jnp.matmul(signs, signs.T, precision=lax.Precision.HIGHEST)) / 2


def naswot() -> Proxy:
    """NASWOT = log|det sum_s (C C^T + (1 - C)(1 - C)^T)| over the response sites s.

    -inf where two pictures have the same codes everywhere, as in a network without a path.

    Source: Mellor et al., ICML 2021.
    """
    score = lambda m: linalg.log_abs_det(total(m.observed["codes"]))
    return Proxy(
        "naswot",
        score,
        frozenset(),
        {},
        _NASWOT,
        observe={"codes": code_agreement},
        undefined="where two pictures have the same codes at every activation",
    )


@functools.cache  # so that proxies with as many samples share the statistic
def words(num_samples: int) -> Callable[[jax.Array], jax.Array]:
    """float[N, ...] to uint32[D, words]: each neuron's signs over the first samples, 32 to a word."""

    def pack(x: jax.Array) -> jax.Array:
        bits = (x[:num_samples].reshape(min(num_samples, len(x)), -1) > 0).astype(jnp.uint32)
        places = jnp.arange(len(bits), dtype=jnp.uint32) % _WORD
        parts = [slice(i, i + _WORD) for i in range(0, len(bits), _WORD)]
        return jnp.stack([(bits[part] << places[part, None]).sum(0, dtype=jnp.uint32) for part in parts], axis=-1)

    return pack


def num_distinct(words: jax.Array, present: jax.Array) -> jax.Array:
    """Number of distinct rows of uint32[T, words] among those present, bool[T]."""
    # An absent row takes the place of one that is present, so that it adds no pattern of its own.
    words = jnp.where(present[:, None], words, words[jnp.argmax(present)])
    ordered = lax.sort(tuple(words.T), num_keys=words.shape[1], is_stable=False)
    changes = jnp.stack([row[1:] != row[:-1] for row in ordered]).any(0)
    return jnp.where(present.any(), 1.0 + changes.sum(), 0.0)


def swap(
    *, num_samples: int = 32, mu: float | None = None, sigma: float | None = None, name: str | None = None
) -> Proxy:
    """SWAP = number of distinct sample-wise activation patterns of the network.

    Over all response sites, each neuron's signs over S samples are one pattern; distinct patterns are counted. With mu
    and sigma it is the regularised score, times exp(-(params - mu)^2 / sigma), params in thousands. 0 without a site.

    Args:
        num_samples: S, the first rows of the batch; all rows of a smaller batch. Any number: a pattern takes as many
            32-bit words as it needs. 16, as in the paper, saturate at 65,536 patterns, which wide networks reach.
        mu: centre of the regularisation, thousands of parameters.
        sigma: its width, thousands of parameters squared.
        name: of the proxy; default "swap", regularised "swap_regularized".

    Raises:
        ValueError: for no sample, or only one of mu and sigma, or sigma that is not positive.

    Source: Peng et al., ICLR 2024, where weights are N(0, 1) and a score the mean of 32 draws: `init`, `repeats`.
    """
    if num_samples < 1:
        raise ValueError(f"swap with num_samples={num_samples}: at least 1 is needed")
    if (mu is None) != (sigma is None) or (sigma is not None and sigma <= 0):
        raise ValueError(f"swap with mu={mu}, sigma={sigma}: both are needed, sigma above 0, or neither")

    def score(measured: Measurements) -> jax.Array:
        seen = measured.observed["patterns"]
        words = jnp.concatenate([o.value.reshape(-1, o.value.shape[-1]) for o in seen])
        present = jnp.concatenate([jnp.repeat(o.times > 0, o.value.shape[1]) for o in seen])
        patterns = num_distinct(words, present)
        if mu is None or sigma is None:
            return patterns
        return patterns * jnp.exp(-jnp.square(measured.network.num_params / 1e3 - mu) / sigma)

    name = name or ("swap" if mu is None else "swap_regularized")
    settings = {"num_samples": num_samples, "mu": mu, "sigma": sigma}
    return Proxy(name, score, frozenset(), settings, _SWAP, observe={"patterns": words(num_samples)})


def swap_regularized(*, num_samples: int = 32, mu: float = 40.0, sigma: float = 40.0) -> Proxy:
    """`swap` with its regularisation; mu = sigma = 40 by default, the paper's for CIFAR-10 on DARTS."""
    return swap(num_samples=num_samples, mu=mu, sigma=sigma)


@dataclasses.dataclass(frozen=True)
class UnderOptions:
    """Prepares a network for a proxy that has options of its own.

    Attributes:
        options: of the network's layers, instead of the run's.
        then: what else the proxy prepares.
    """

    options: LayerOptions
    then: Callable[[Network], Network] | None = None

    def __call__(self, network: Network) -> Network:
        """The network under the options."""
        network = network._replace(options=self.options)
        return self.then(network) if self.then else network


def with_options(proxy: Proxy, options: LayerOptions, name: str | None = None) -> Proxy:
    """A proxy that is always scored under options of its own, whatever the run's; its settings say so.

    Args:
        proxy: without options of its own.
        options: norm, mask and activation.
        name: of the new proxy; default the old one's.

    Raises:
        ValueError: if the proxy has options of its own already.
    """
    if has_options(proxy):
        raise ValueError(f"proxy {proxy.name} has layer options of its own already: {dict(proxy.settings)}")
    settings = {"norm": options.norm, "mask_rate": options.mask_rate, "activation": options.activation}
    prepare = UnderOptions(options, proxy.prepare)
    return proxy._replace(name=name or proxy.name, prepare=prepare, settings={**proxy.settings, **settings})


def has_options(proxy: Proxy) -> bool:
    """Whether a proxy is scored under options of its own."""
    return isinstance(proxy.prepare, UnderOptions)


def sam_nwot(*, mask_rate: float = 0.95) -> Proxy:
    """NASWOT under NCD's stochastic activation masking (SAM)."""
    return with_options(naswot(), LayerOptions(mask_rate=mask_rate), "sam_nwot")


def sam_swap(*, mask_rate: float = 0.95, num_samples: int = 32) -> Proxy:
    """SWAP under NCD's stochastic activation masking (SAM)."""
    return with_options(swap(num_samples=num_samples), LayerOptions(mask_rate=mask_rate), "sam_swap")


def nir_nwot() -> Proxy:
    """NASWOT under NCD's non-linear rescaling (NIR): layer norm in the place of batch norm."""
    return with_options(naswot(), LayerOptions("ln"), "nir_nwot")


def nir_swap(*, num_samples: int = 32) -> Proxy:
    """SWAP under NCD's non-linear rescaling (NIR): layer norm in the place of batch norm."""
    return with_options(swap(num_samples=num_samples), LayerOptions("ln"), "nir_swap")


def ncd_nwot(*, mask_rate: float = 0.95) -> Proxy:
    """NASWOT under both of NCD's remedies: SAM at `mask_rate` and layer norm (NIR)."""
    return with_options(naswot(), LayerOptions("ln", mask_rate), "ncd_nwot")


def ncd_swap(*, mask_rate: float = 0.95, num_samples: int = 32) -> Proxy:
    """SWAP under both of NCD's remedies: SAM at `mask_rate` and layer norm (NIR)."""
    return with_options(swap(num_samples=num_samples), LayerOptions("ln", mask_rate), "ncd_swap")

"""The response correlation family: ACor, GCor, RCor and WRCor.

One block, `response_correlation`, and its recipes. K is the weighted sum over the response sites s of layer l of the
absolute Pearson correlations between the samples of a batch, of activations A_s and of loss gradients G_s:

    K = sum_l w(l) sum_{s in l} (|corr(A_s)| + |corr(G_s)|),    score = log|det K|.

Needs a batch with labels of at least two samples. Batch norm uses the statistics of the batch. Degenerate (-inf):
no site with a defined correlation. Source: Jing et al., "WRCor: Zero-Shot Neural Architecture Search with Weighted
Response Correlation", Eq. 1 to 11.

Deviations: layers are counted from 1, as in the paper; its released code counts from 0, which shifts the score of
`expb2t` by exactly N log 2. Every activation counts once, where the released code, which finds layers by class name,
counts some twice and misses others. A site at which any sample has no variance is skipped whole.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Proxy
from zsnas_jax.correlation import log_determinant
from zsnas_jax.measure.measurements import Measurements

LogWeighting = Callable[[np.ndarray, int], np.ndarray]
"""(layer numbers 1..L, L) to log w(l)."""

WEIGHTINGS: Mapping[str, LogWeighting] = MappingProxyType(
    {
        "none": lambda layer, _: 0.0 * layer,
        "linear": lambda layer, _: np.log(layer),
        "quad": lambda layer, _: 2 * np.log(layer),
        "expb2t": lambda layer, _: layer * np.log(2),
        "expt2b": lambda layer, num_layers: (num_layers + 1 - layer) * np.log(2),
    }
)
"""w(l) of the paper's Table 3, as logarithms: 1, l, l^2, 2^l (bottom to top) and 2^(L + 1 - l) (top to bottom)."""

_REFERENCE = "Jing et al., WRCor: Zero-Shot Neural Architecture Search with Weighted Response Correlation"


def response_correlation(
    name: str,
    *,
    responses: Sequence[str] = ("activations", "gradients"),
    layers: Sequence[int] | None = None,
    num_first_layers: int | None = None,
    weighting: str | LogWeighting = "none",
    count_exponent: float = 1.0,
    if_missing: Literal["refused", "undefined"] = "refused",
) -> Proxy:
    """The block: log|det(K / c)| + count_exponent N log c with c = sum_l w(l) (sites in l).

    Args:
        name: name of the proxy.
        responses: which to sum: "activations", "gradients" or both.
        layers: numbers of the layers that count, from 1; None for all.
        num_first_layers: instead: how many layers count, from the input; all of a network that has fewer.
        weighting: a name in `WEIGHTINGS`, or a function (layer numbers, number of layers) to log w(l).
        count_exponent: 1 is the papers' score log|det K|; 0 forgets how many sites there are.
        if_missing: what a layer in `layers` is that a network does not have: an error, or it counts nothing, so that a
            network that has none of them has no score.

    Returns:
        A proxy.

    Raises:
        ValueError: for an unknown response or weighting, a layer below 1, or layers named in both ways.
    """
    unknown = set(responses) - {"activations", "gradients"}
    if unknown or not responses:
        raise ValueError(f"unknown responses {sorted(unknown)}: allowed are activations, gradients or both")
    if isinstance(weighting, str) and weighting not in WEIGHTINGS:
        raise ValueError(f"unknown weighting {weighting!r}: allowed are {', '.join(WEIGHTINGS)}")
    if layers is not None and (not layers or min(layers) < 1):
        raise ValueError(f"bad layers {list(layers)}: they are counted from 1")
    if num_first_layers is not None and (num_first_layers < 1 or layers is not None):
        raise ValueError(
            f"num_first_layers is {num_first_layers}, layers {layers}: at least 1 is needed, and one of both"
        )
    log_weight = WEIGHTINGS[weighting] if isinstance(weighting, str) else weighting

    def score(measured: Measurements) -> jax.Array:
        parts = [getattr(measured.responses, response) for response in responses]
        total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        chosen = np.arange(1, len(total) + 1)[:num_first_layers] if layers is None else np.asarray(layers)
        if if_missing == "undefined":
            chosen = chosen[chosen <= len(total)]
        if not len(chosen):
            return jnp.float32(-jnp.inf)
        if chosen.max() > len(total):
            raise ValueError(f"layer {chosen.max()} asked for by proxy {name!r}: the network has {len(total)}")
        log_weights = jnp.asarray(log_weight(chosen, len(total)), total.dtype)
        return log_determinant(total[chosen - 1], log_weights, count_exponent)

    settings: dict[str, Any] = {
        "responses": list(responses),
        "layers": None if layers is None else [int(layer) for layer in layers],
        "num_first_layers": num_first_layers,
        "weighting": weighting if isinstance(weighting, str) else _describe(weighting),
        "count_exponent": count_exponent,
        **({} if if_missing == "refused" else {"if_missing": if_missing}),
    }
    undefined = "where no activation has a defined correlation between the pictures"
    return Proxy(name, score, frozenset(responses), settings, _REFERENCE, undefined=undefined)


FAMILY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"acor": ("activations",), "gcor": ("gradients",), "rcor": ("activations", "gradients")}
)
"""The responses of the scores that do not weigh their layers."""


def num_layers() -> Proxy:
    """How many layers the response sites stand in, with those that a network for all architectures has for others."""
    score = lambda measured: jnp.float32(len(measured.responses.activations))
    return Proxy("num_layers", score, frozenset({"activations"}), {}, "a count", is_size=True)


def profile(name: str, count: int) -> list[Proxy]:
    """The score of each layer alone, log|det sum_{s in l} ...|, l = 1, ..., count; -inf where there is no layer l.

    Args:
        name: in `FAMILY`.
        count: how many layers.
    """
    of_layer = lambda layer: response_correlation(name, responses=FAMILY[name], layers=(layer,), if_missing="undefined")
    return [of_layer(layer) for layer in range(1, count + 1)]


def _describe(weighting: LogWeighting) -> list[list[float]]:
    """What tells a weighting of one's own from others: its values of networks of up to 32 layers, rounded."""
    tables = [np.asarray(weighting(np.arange(1, n + 1), n), float).round(6) for n in range(1, 33)]
    return [[float(value) for value in np.broadcast_to(table, (n,))] for n, table in enumerate(tables, start=1)]


def acor() -> Proxy:
    """ACor = log|det sum_s |corr(A_s)||: activations only, one forward pass, no labels."""
    return response_correlation("acor", responses=("activations",))


def gcor() -> Proxy:
    """GCor = log|det sum_s |corr(G_s)||: gradients of the loss with respect to the pre-activations only."""
    return response_correlation("gcor", responses=("gradients",))


def rcor() -> Proxy:
    """RCor = log|det sum_s (|corr(A_s)| + |corr(G_s)|)|."""
    return response_correlation("rcor")


def wrcor(*, weighting: str | LogWeighting = "expb2t") -> Proxy:
    """WRCor = log|det sum_l w(l) sum_{s in l} (|corr(A_s)| + |corr(G_s)|)|, w(l) = 2^l by default.

    Args:
        weighting: as in `response_correlation`; with "none" it is RCor.
    """
    return response_correlation("wrcor", weighting=weighting)

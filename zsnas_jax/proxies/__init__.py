"""The proxies by name. A proxy of your own is a `Proxy` value: pass it, nothing has to be registered."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from zsnas_jax.base import Proxy
from zsnas_jax.proxies.response import WEIGHTINGS, acor, gcor, rcor, response_correlation, wrcor

PROXIES: Mapping[str, Callable[..., Proxy]] = MappingProxyType(
    {"acor": acor, "gcor": gcor, "rcor": rcor, "wrcor": wrcor}
)

__all__ = ["PROXIES", "WEIGHTINGS", "acor", "gcor", "make_proxies", "rcor", "response_correlation", "wrcor"]


def make_proxies(names: Sequence[str], *, weighting: str = "expb2t") -> tuple[Proxy, ...]:
    """Proxies by canonical name, `weighting` going to WRCor.

    Raises:
        ValueError: for an unknown name, a name given twice, or no name.
    """
    unknown = [name for name in names if name not in PROXIES]
    if unknown or not names:
        raise ValueError(
            f"unknown proxy {', '.join(map(repr, unknown)) or 'list (empty)'}: allowed are {', '.join(PROXIES)}"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"proxies {', '.join(names)}: a name is given twice")
    return tuple(PROXIES[name](weighting=weighting) if name == "wrcor" else PROXIES[name]() for name in names)

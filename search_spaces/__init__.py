"""The search spaces by name. A space of your own is a `SearchSpace` value: pass it, nothing has to be registered."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from zsnas_jax.base import SearchSpace
from zsnas_jax.search_spaces import mobilenetv2, nasbench101, nasbench201

SPACES: Mapping[str, Callable[[], SearchSpace]] = MappingProxyType(
    {"nasbench201": nasbench201.space, "nasbench101": nasbench101.space, "mobilenetv2": mobilenetv2.space}
)

__all__ = ["SPACES", "SearchSpace", "make_space", "mobilenetv2", "nasbench101", "nasbench201"]


def make_space(name: str) -> SearchSpace:
    """The space of a name.

    Raises:
        ValueError: if it is unknown.
    """
    if name not in SPACES:
        raise ValueError(f"unknown space {name!r}: allowed are {', '.join(SPACES)}")
    return SPACES[name]()

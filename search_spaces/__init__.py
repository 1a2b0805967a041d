"""The search spaces by name. A space of your own is a `SearchSpace` value: pass it, nothing has to be registered.

Commands take it from your code: --space=PATH.py:NAME or --space=MODULE:NAME.
"""

from collections.abc import Callable, Mapping
import functools
from types import MappingProxyType
from typing import Any

from zsnas_jax import user_code
from zsnas_jax.base import SearchSpace
from zsnas_jax.search_spaces import (
    accel_nasbench,
    autoformer,
    darts,
    mobilenetv2,
    nasbench101,
    nasbench201,
    nasbench_macro,
    nats_size,
    pit,
    rlnas,
    transnas101,
    zennas_mobilenet,
)

SPACES: Mapping[str, Callable[[], SearchSpace]] = MappingProxyType(
    {
        "nasbench201": nasbench201.space,
        "nasbench101": nasbench101.space,
        "mobilenetv2": mobilenetv2.space,
        "nasbench_macro": nasbench_macro.space,
        "nats_size": nats_size.space,
        "transnas101_micro": transnas101.micro_space,
        "transnas101_macro": transnas101.macro_space,
        "darts": darts.space,
        "darts_s1": functools.partial(darts.space, "darts_s1"),
        "darts_s2": functools.partial(darts.space, "darts_s2"),
        "darts_s3": functools.partial(darts.space, "darts_s3"),
        "darts_s4": functools.partial(darts.space, "darts_s4"),
        "rlnas": rlnas.space,
        "proxylessnas": rlnas.proxylessnas,
        "accel_nasbench": accel_nasbench.space,
        "zennas_mobilenet": zennas_mobilenet.space,
        "pit": pit.space,
        **{name: functools.partial(autoformer.space, name) for name in autoformer.GRIDS},
    }
)

__all__ = [
    "SPACES",
    "SearchSpace",
    "accel_nasbench",
    "autoformer",
    "darts",
    "make_space",
    "mobilenetv2",
    "nasbench101",
    "nasbench201",
    "nasbench_macro",
    "nats_size",
    "pit",
    "rlnas",
    "transnas101",
    "zennas_mobilenet",
]


def make_space(name: str, size: Mapping[str, Any] = MappingProxyType({})) -> SearchSpace:
    """The space of a name, or one of a user's code: PATH.py:NAME or MODULE:NAME, a `SearchSpace` or what returns one.

    The code is run. Its SHA-256 is the `source` of the space: scores under another version of it are other scores.

    Args:
        name: of the space.
        size: of its networks, what is to be other than it is, as of `SearchSpace.with_size`.

    Raises:
        ValueError: if the name is unknown, the file fails or holds no such space, or it has no such size.
    """
    if name in SPACES:
        return _with_size(SPACES[name](), size)
    reference = user_code.find_reference(name)
    if reference is None or reference.rest:
        allowed = f"allowed are {', '.join(SPACES)}, PATH.py:NAME or MODULE:NAME"
        raise ValueError(f"unknown space {name[:200]!r}: {allowed}")
    space, checksum = user_code.make(reference, "space", SearchSpace, SPACES)
    return _with_size(space._replace(source=checksum), size)


def _with_size(space: SearchSpace, size: Mapping[str, Any]) -> SearchSpace:
    """The space with networks of another size."""
    for name, value in size.items():
        if space.with_size is None or name not in space.size:
            allowed = f": allowed are {', '.join(space.size)}" if space.size else ""
            raise ValueError(f"{name} is {value}: networks of space {space.name} have no such size to choose{allowed}")
    return space.with_size(**size) if space.with_size and size else space

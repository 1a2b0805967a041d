"""The search spaces by name. A space of your own is a `SearchSpace` value: pass it, nothing has to be registered.

Commands read it from a file: --space=PATH.py:NAME.
"""

from collections.abc import Callable, Mapping
import functools
import importlib.util
import pathlib
from types import MappingProxyType
from typing import Any

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
from zsnas_jax.storage import files

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
    """The space of a name, or the one that a file of Python states: PATH.py:NAME, a `SearchSpace` or what returns one.

    The file is run. Its SHA-256 is the `source` of the space: scores under another version of it are other scores.

    Args:
        name: of the space.
        size: of its networks, what is to be other than it is, as of `SearchSpace.with_size`.

    Raises:
        ValueError: if the name is unknown, the file fails or holds no such space, or it has no such size.
    """
    if name in SPACES:
        return _with_size(SPACES[name](), size)
    path, colon, attribute = name.rpartition(":")
    if not (colon and path.endswith(".py")):
        raise ValueError(f"unknown space {name[:200]!r}: allowed are {', '.join(SPACES)} or PATH.py:NAME")
    return _with_size(_from_file(pathlib.Path(path).expanduser(), attribute), size)


def _with_size(space: SearchSpace, size: Mapping[str, Any]) -> SearchSpace:
    """The space with networks of another size."""
    for name, value in size.items():
        if space.with_size is None or name not in space.size:
            allowed = f": allowed are {', '.join(space.size)}" if space.size else ""
            raise ValueError(f"{name} is {value}: networks of space {space.name} have no such size to choose{allowed}")
    return space.with_size(**size) if space.with_size and size else space


def _from_file(path: pathlib.Path, attribute: str) -> SearchSpace:
    if not path.is_file():
        raise ValueError(f"space {path}:{attribute}: there is no such file")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        found = getattr(module, attribute)
        space = found if isinstance(found, SearchSpace) else found()
    except Exception as error:
        raise ValueError(f"space {path}:{attribute}: {type(error).__name__}: {error}") from error
    if not isinstance(space, SearchSpace):
        raise ValueError(f"space {path}:{attribute} is a {type(space).__name__}, needed is a SearchSpace")
    if space.name in SPACES:
        raise ValueError(f"space {path}:{attribute}: the name {space.name} is that of a space of this package")
    return space._replace(source=files.sha256(path))

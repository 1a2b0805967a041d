"""Zero-shot neural architecture search in JAX and Flax.

`import zsnas_jax` gives its packages as names, `zsnas_jax.scoring.score_module` for example; each is loaded when it is
first used.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "base",
    "benchmarks",
    "calibration",
    "correlation",
    "datasets",
    "graphs",
    "linalg",
    "measure",
    "nn",
    "proxies",
    "reports",
    "runs",
    "scoring",
    "search",
    "search_spaces",
    "storage",
    "structure",
    "tasks",
    "training",
    "votes",
]

if TYPE_CHECKING:
    from zsnas_jax import (
        base,
        benchmarks,
        calibration,
        correlation,
        datasets,
        graphs,
        linalg,
        measure,
        nn,
        proxies,
        reports,
        runs,
        scoring,
        search,
        search_spaces,
        storage,
        structure,
        tasks,
        training,
        votes,
    )


def __getattr__(name: str) -> ModuleType:
    """A package of zsnas_jax by name; loading all of them with the first would take seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

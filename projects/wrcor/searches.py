"""Searches over tables of scores, many seeds at once, each kept durably. A architectures, E experts, S seeds, T steps.

A search is a strategy and an objective. Seed s draws from the same key as in `search_main --scores`, so that both find
the same.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import json
import os
import pathlib
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from projects.wrcor.objectives import Objective
from projects.wrcor.stopwatch import Stopwatch, describe_seconds
from zsnas_jax import search
from zsnas_jax.base import SearchSpace
from zsnas_jax.runs.settings import stream_identity
from zsnas_jax.search.seeds import search_keys
from zsnas_jax.storage.store import ResultStore

PREFIXES: Mapping[str, str] = MappingProxyType({"random": "R", "reinforce": "RL", "evolution": "RE"})
"""A strategy to what the paper puts before the name of a score: "RE-WRCor"."""


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """How searches are run.

    Attributes:
        num_architectures: T, that a search explores.
        num_seeds: S, how often.
        seed: root of all keys.
    """

    num_architectures: int = 1000
    num_seeds: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_seeds < 1:
            raise ValueError(f"num_seeds is {self.num_seeds}: at least 1 is needed")

    @property
    def reference_key(self) -> jax.Array:
        """Draws the architectures whose scores give the units of a weighted vote."""
        return search_keys(self.seed)[0]

    def keys(self, seeds: Sequence[int]) -> jax.Array:
        """The keys of some seeds."""
        root = search_keys(self.seed)[1]
        return jax.vmap(lambda s: jax.random.fold_in(root, s))(jnp.asarray(seeds, jnp.int32))


def check_budget(space: SearchSpace, settings: SearchSettings) -> None:
    """Raises ValueError if T is less than what a strategy begins with."""
    least = max(search.make_strategy(name, space).num_initial for name in PREFIXES)
    if settings.num_architectures < least:
        raise ValueError(f"num_architectures is {settings.num_architectures}: a search needs at least {least}")


class Search(NamedTuple):
    """A search. With a name, settings and a reference a store keeps what it found as it keeps the scores of a proxy.

    Attributes:
        strategy: a key of `PREFIXES`.
        objective: what it maximises.
        how: what is searched, in words.
    """

    strategy: str
    objective: Objective
    how: str = ""

    @property
    def row(self) -> str:
        """Its name as the paper has them."""
        return f"{PREFIXES[self.strategy]}-{self.objective.title}"

    @property
    def key(self) -> str:
        """What tells it from other searches of a space."""
        return f"{self.name} {self.objective.digest} {self.how}".strip()

    @property
    def name(self) -> str:
        """Under which a store keeps what it found."""
        return f"{self.strategy} by {self.objective.name}"

    @property
    def settings(self) -> dict[str, str]:
        """What tells what it found from what others of that name did."""
        return {"scores_sha256": self.objective.digest, "searched": self.how}

    @property
    def reference(self) -> str:
        """What made it."""
        return "projects.wrcor.searches"


class Found(NamedTuple):
    """What a search found: a published index for each seed, int64[S]."""

    search: Search
    indices: np.ndarray


Runner = Callable[[Search, Sequence[int]], np.ndarray]
"""(search, seeds) to the published index int32[S] that each of them finds."""


def make_runner(space: SearchSpace, settings: SearchSettings) -> Runner:
    """Runs searches over a space; one compiled program for all objectives of as many experts.

    Args:
        space: with a published order.
        settings: T, and the root of the keys.
    """
    to_index = space.to_index
    assert to_index is not None

    @functools.cache
    def program(name: str, num_experts: int) -> Callable[..., jax.Array]:
        strategy = search.make_strategy(name, space, num_experts=num_experts)

        def find(key: jax.Array, columns: jax.Array) -> jax.Array:
            scores = search.table_scores(space, columns)
            state = search.run(key, strategy, scores, settings.num_architectures)
            return to_index(state.archs[state.best])

        return jax.jit(jax.vmap(find, in_axes=(0, None)))

    def run(one: Search, seeds: Sequence[int]) -> np.ndarray:
        columns = jnp.asarray(one.objective.columns, jnp.float32)
        return np.asarray(program(one.strategy, columns.shape[1])(settings.keys(seeds), columns))

    return run


def subspace(space: SearchSpace, count: int) -> SearchSpace:
    """M rows of a space as a space to sample from: an architecture is int32[1], a place among the rows.

    For random search alone: a place has no mutation, and no genes.

    Args:
        space: with a published order.
        count: M.
    """
    return space._replace(
        num_archs=count,
        sample=lambda key: jax.random.randint(key, (1,), 0, count, jnp.int32),
        to_index=lambda arch: jnp.asarray(arch)[..., 0],
        from_index=lambda place: jnp.asarray(place)[..., None],
        num_choices=None,
    )


def folder(out: str | os.PathLike[str], space: SearchSpace, settings: SearchSettings) -> pathlib.Path:
    """Where the searches over a space are kept."""
    return pathlib.Path(out) / "runs" / f"searches-{space.name}-{settings.num_architectures}-{settings.seed}"


def stored_settings(space: SearchSpace, settings: SearchSettings) -> dict[str, Any]:
    """What their folder is bound to; the number of seeds is not part of it."""
    strategies = {name: dict(search.make_strategy(name, space).settings) for name in PREFIXES}
    return {"space": space.name, "strategies": json.dumps(strategies, sort_keys=True)} | {
        "num_architectures": settings.num_architectures,
        "seed": settings.seed,
        "random_sha256": stream_identity(search_keys(settings.seed)[1]),
    }


def run_search(store: ResultStore, run: Runner, one: Search, settings: SearchSettings) -> Found:
    """A search of all seeds: from the store what is there, the rest at once, committed before it returns.

    Args:
        store: opened with `stored_settings`.
        run: of `make_runner`, or of a subspace whose places `one` is of.
        one: what is run.
        settings: as the store's.

    Raises:
        OSError: if the disk fails or is full.
    """
    names = [f"seed {seed}" for seed in range(settings.num_seeds)]
    known = store.get(one)
    missing = [seed for seed, name in enumerate(names) if name not in known]
    if missing:
        found = run(one, missing)
        store.add([names[seed] for seed in missing], [one], np.asarray(found)[:, None])
        known = store.get(one)
    return Found(one, np.array([int(known[name]) for name in names]))


def run_all(
    out: str | os.PathLike[str],
    space: SearchSpace,
    plan: Sequence[tuple[Search, Runner]],
    settings: SearchSettings,
    tell: Callable[[list[Found]], Any],
) -> list[Found]:
    """Runs searches one after another through the store of their folder.

    Args:
        out: folder of the documents.
        space: whose rows the searches find.
        plan: each search, and what runs it.
        settings: of all.
        tell: hears of all that is found after every search.

    Returns:
        What was found, in the order of the plan.

    Raises:
        ValueError: if the folder is damaged, of another search or in use.
        OSError: if it cannot be written.
    """
    path, found = folder(out, space, settings), list[Found]()
    options: dict[str, Any] = {"total": len(plan), "unit": "search", "desc": space.name}
    with ResultStore(path, stored_settings(space, settings)) as store, Stopwatch(path, **options) as bar:
        for one, run in plan:
            found.append(run_search(store, run, one, settings))
            bar.update(1)
            tell(found)
    return found


def seconds(out: str | os.PathLike[str], space: SearchSpace, settings: SearchSettings) -> str:
    """The seconds that the searches of a folder took in all processes, compilation included, by device."""
    return describe_seconds(folder(out, space, settings))

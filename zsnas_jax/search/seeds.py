"""Many seeds of a search through the durable store: what `search_main` does, as functions.

Seeds run in groups, a group at a time; the state of a group is committed after every chunk of steps, with the scores
that the chunk computed, in one transaction. Searches that differ only in what they go by lie side by side in a folder,
and share its scores. S seeds, T architectures of each, E experts, M scores known.
"""

from collections.abc import Callable, Mapping, Sequence
import io
import json
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from zsnas_jax.base import SearchSpace
from zsnas_jax.proxies.labels import Identified
from zsnas_jax.search.host import HostLoop, remember
from zsnas_jax.search.loop import Known, SearchState, advance, start
from zsnas_jax.search.objectives import Objective, signed
from zsnas_jax.search.reference import ScoreFn
from zsnas_jax.search.sources import canonical_form
from zsnas_jax.search.strategies import SearchStrategy
from zsnas_jax.storage import seals
from zsnas_jax.storage.reading import reading
from zsnas_jax.storage.seals import Sealed
from zsnas_jax.storage.store import ResultStore

Chunk = Callable[[SearchState, Known | None, Any], SearchState]
"""(state of a group, known, how many) to the state so many steps on."""

NUM_REFERENCE = 100
"""Random architectures whose scores give the units of a weighted vote."""


def search_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """(key of the reference of a weighted vote, root of all seeds), apart from `zsnas_jax.runs.settings.seed_keys`."""
    key = jax.random.split(jax.random.key(seed), 3)[2]  # the first two are those of weights and batches
    return jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)


class Search(NamedTuple):
    """A search and how its seeds run.

    Attributes:
        key: of all seeds; seed s draws from fold_in(key, s).
        space: what is searched.
        strategy: how architectures are picked.
        score_fn: arch to float32[E]; traced, unless `is_on_host`.
        experts: the proxies, or the vote, under which the store knows the E scores; empty: they are not worth storing
            (a table has them).
        num_steps: T.
        chunk: steps between two commits.
        group_size: seeds that run together, vmapped; 1: one after another, each taking the scores of those before.
        objective: what the search goes by, as text that tells it apart from the other searches of a folder.
        is_on_host: whether `score_fn` cannot be traced, and is called between steps.
        objectives: what the E scores are in a search for trade-offs; those to be small are negative in `score_fn` and
            in states, and as they are in the store.
    """

    key: jax.Array
    space: SearchSpace
    strategy: SearchStrategy
    score_fn: ScoreFn
    experts: tuple[Identified, ...]
    num_steps: int
    chunk: int
    group_size: int
    objective: str = ""
    is_on_host: bool = False
    objectives: tuple[Objective, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether scores are worth storing and reusing."""
        return bool(self.experts)

    def begin(self, key: jax.Array) -> SearchState:
        """The state before the first step."""
        zeros = lambda arch: jnp.zeros(len(self.objectives or self.experts))
        return start(key, self.strategy, zeros if self.is_on_host else self.score_fn, self.num_steps)


class Group(NamedTuple):
    """A group of seeds as the store has it: the first, how many, [steps, seconds] at each commit, state as bytes.

    Seconds are those of the search, without compilation.
    """

    first_seed: int
    num_seeds: int
    seconds: list[tuple[int, float]]
    state: bytes


class Explored(NamedTuple):
    """What all seeds explored.

    Attributes:
        archs: int32[S, T, G].
        scores: float32[S, T, E].
        incumbents: int32[S, T], the index of the best so far.
        is_new: bool[S, T], whether a score was computed then.
        seconds: for each seed [steps, seconds] at each commit, of its group.
    """

    archs: np.ndarray
    scores: np.ndarray
    incumbents: np.ndarray
    is_new: np.ndarray
    seconds: list[list[tuple[int, float]]]


_SEARCHES = Sealed(
    "searches",
    ("objective TEXT", "first_seed INTEGER", "num_seeds INTEGER", "seconds TEXT", "state BLOB"),
    2,
    1,
)


class SearchStore(ResultStore):
    """A `ResultStore` that also keeps the states of searches."""

    def tables(self) -> tuple[Sealed, ...]:
        """Those of a `ResultStore`, and one of groups of seeds."""
        return *super().tables(), _SEARCHES

    def __enter__(self) -> "SearchStore":
        return self

    def groups(self, objective: str) -> list[Group]:
        """Every group of seeds of a search, finished or not, by its first seed.

        Raises:
            ValueError: if the file is damaged.
        """
        rows = self._read(_SEARCHES, (objective,))
        return [Group(first, number, json.loads(seconds), state) for first, number, seconds, state in rows]

    def commit(
        self, objective: str, group: Group, experts: Sequence[Identified], scores: Mapping[str, np.ndarray]
    ) -> None:
        """Commits a group's state and the scores float[E] that it computed, by architecture; all or none, durably.

        Raises:
            ValueError: if an expert's name and settings are another one's there.
            OSError: if the disk fails or is full.
        """

        def insert() -> None:
            self._insert_scores(list(scores), experts, scores.values())
            row = (objective, group.first_seed, group.num_seeds, json.dumps(group.seconds), group.state)
            seals.put(self._connection, _SEARCHES, [row])

        self._commit(insert)


def pack(tree: Any) -> bytes:
    """The leaves of a pytree as the bytes of an .npz; keys as their data."""
    file = io.BytesIO()
    leaves: dict[str, Any] = {f"leaf{i}": np.asarray(_plain(leaf)) for i, leaf in enumerate(jax.tree.leaves(tree))}
    np.savez(file, **leaves)
    return file.getvalue()


def unpack(data: bytes, like: Any) -> Any:
    """The pytree that `pack` was given.

    Args:
        data: the bytes.
        like: a pytree of the same shapes, or of `jax.ShapeDtypeStruct`.

    Raises:
        ValueError: if the bytes hold something else.
    """
    shapes, structure = jax.tree.flatten(like)
    with reading("the state of a search"), np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        leaves = [arrays[f"leaf{i}"] for i in range(len(arrays.files))]
    found = [(leaf.shape, leaf.dtype) for leaf in leaves]
    wanted = [(leaf.shape, leaf.dtype) for leaf in map(_plain_shape, shapes)]
    if found != wanted:
        raise ValueError("the state of a search in the results folder does not fit this version of the search")
    restore = lambda leaf, like: jax.random.wrap_key_data(leaf) if _is_key(like) else jnp.asarray(leaf)
    return jax.tree.unflatten(structure, [restore(leaf, like) for leaf, like in zip(leaves, shapes, strict=True)])


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _plain_shape(leaf: Any) -> Any:
    return jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf


def run_seeds(
    store: SearchStore, search: Search, num_seeds: int, *, progress: Callable[..., Any] = tqdm
) -> tuple[Explored, int]:
    """Runs seeds 0 to S - 1, taking from the store what is done and committing the rest to it chunk by chunk.

    Args:
        store: opened with the settings of this search.
        search: what runs.
        num_seeds: S. Seeds that the store has beyond it are left alone.
        progress: called as tqdm is; shows the best so far, the rate and the time left.

    Returns:
        (what was explored, how many architectures now).
    """
    groups = store.groups(search.objective)
    first = groups[-1].first_seed + groups[-1].num_seeds if groups else 0
    while first < num_seeds:
        count = min(search.group_size, num_seeds - first)
        groups.append(Group(first, count, [], b""))
        first += count
    groups = [group for group in groups if group.first_seed < num_seeds]
    programs: dict[int, Chunk] = {}
    finished, explored_now = [], 0
    total = search.num_steps * sum(group.num_seeds for group in groups)
    with progress(total=total, unit="arch", desc="searching") as bar:
        for group in groups:
            started = len(group.seconds) and group.seconds[-1][0]
            explored_now += (search.num_steps - started) * group.num_seeds
            finished.append(_run_group(store, search, group, num_seeds, programs, bar))
    return _gather(finished, num_seeds), explored_now


def _run_group(
    store: SearchStore, search: Search, group: Group, num_seeds: int, programs: dict[int, Chunk], bar: Any
) -> tuple[Group, SearchState]:
    """The group and its state, axis S first, at the end of the search."""
    keys = jax.vmap(lambda seed: jax.random.fold_in(search.key, seed))(group.first_seed + jnp.arange(group.num_seeds))
    begin = jax.vmap(search.begin)
    like = jax.eval_shape(begin, keys)
    state = unpack(group.state or pack(jax.jit(begin)(keys)), like)
    step = int(state.step[0])
    bar.n, bar.initial = bar.n + step * group.num_seeds, bar.initial + step * group.num_seeds  # not part of the rate
    known = _known(store, search, num_seeds) if search.is_live and step < search.num_steps else None
    while step < search.num_steps:
        count = min(search.chunk, search.num_steps - step)
        arguments = state, known, jnp.int32(count)
        if group.num_seeds not in programs:
            bar.set_description("compiling")
            programs[group.num_seeds] = _on_host(search) if search.is_on_host else _compile(search, arguments)
        bar.set_description("searching", refresh=False)
        began = time.perf_counter()
        state = jax.block_until_ready(programs[group.num_seeds](*arguments))
        spent = group.seconds[-1][1] if group.seconds else 0.0
        seconds = [*group.seconds, (step + count, round(spent + time.perf_counter() - began, 3))]
        group = group._replace(seconds=seconds, state=pack(state))
        store.commit(search.objective, group, search.experts, _new_scores(search, state, step, step + count))
        step += count
        bar.update(count * group.num_seeds)
        bar.set_postfix_str(_best_so_far(search, state))
    return group, state


def _on_host(search: Search) -> Chunk:
    """A chunk of a single seed whose scores the host computes."""
    loop = HostLoop(search.strategy, search.score_fn, canonical_form(search.space))

    def chunk(state: SearchState, known: Known | None, count: Any) -> SearchState:
        memory = remember(known.archs, known.scores, int(known.num_known)) if known else {}
        one = loop.advance(jax.tree.map(lambda leaf: leaf[0], state), int(count), memory)
        return jax.tree.map(lambda leaf: leaf[None], one)

    return chunk


def _compile(search: Search, arguments: Any) -> Chunk:
    """A chunk as a compiled program.

    Their number is data, so that the last chunk, which may be shorter, is the same program.
    """

    def chunk(state: SearchState, known: Known | None, count: jax.Array) -> SearchState:
        def loop(body: Callable[..., Any], state: SearchState, steps: jax.Array) -> tuple[SearchState, None]:
            return jax.lax.fori_loop(0, count, lambda i, state: body(state, steps[i])[0], state), None

        # A table's scores need no canonical form, and a search over one no reuse.
        live: dict[str, Any] = {"reuse": True, "known": known, "canonical": canonical_form(search.space)}
        options = live if search.is_live else {}
        go_on = lambda one: advance(one, search.strategy, search.score_fn, search.chunk, loop_fn=loop, **options)
        if len(state.step) > 1:
            return jax.vmap(go_on)(state)
        # Without vmap a conditional stays one: what is known is not scored.
        return jax.tree.map(lambda leaf: leaf[None], go_on(jax.tree.map(lambda leaf: leaf[0], state)))

    program: Chunk = jax.jit(chunk).lower(*arguments).compile()
    return program


def _known(store: SearchStore, search: Search, num_seeds: int) -> Known:
    """The scores of the store, padded to all that the seeds can find: one shape for all of them, one compilation."""
    columns = [store.get(expert) for expert in search.experts]
    names = [name for name in columns[0] if all(name in column for column in columns)]
    capacity = max(num_seeds * search.num_steps, len(names))
    archs = np.zeros((capacity, *jax.eval_shape(search.space.sample, search.key).shape), np.int32)
    scores = np.full((capacity, len(columns)), -np.inf, np.float32)
    for i, name in enumerate(names):
        archs[i], scores[i] = search.space.decode(name), [column[name] for column in columns]
    scores = np.asarray(_with_signs(search, scores))
    return Known(jnp.asarray(archs), jnp.asarray(scores), jnp.int32(len(names)))


def _new_scores(search: Search, state: SearchState, begin: int, end: int) -> dict[str, np.ndarray]:
    """Architecture to float[E] for what a chunk computed."""
    if not search.is_live:
        return {}
    is_new = np.asarray(state.is_new[:, begin:end]).ravel()
    flat = lambda array: np.asarray(array[:, begin:end]).reshape(len(is_new), *array.shape[2:])[is_new]
    scores = _with_signs(search, flat(state.scores))
    return {search.space.encode(a): s for a, s in zip(flat(state.archs), scores, strict=True)}


def _with_signs(search: Search, scores: np.ndarray) -> np.ndarray:
    """Scores [..., E] of a store as those of a state, or back again."""
    return np.asarray(signed(search.objectives, scores)) if search.objectives else scores


def _best_so_far(search: Search, state: SearchState) -> str:
    if search.objectives:
        return f"best of each {_joined(_with_signs(search, np.asarray(state.scores).max((0, 1))))}"
    best = np.asarray(jax.vmap(lambda state: state.scores[state.best])(state))
    row = best[np.argmax(best[:, 0])] if best.shape[1] == 1 else best[0]
    return f"best {_joined(row)}"


def _joined(scores: np.ndarray) -> str:
    return " / ".join(f"{score:.5g}" for score in scores)


def _gather(finished: list[tuple[Group, SearchState]], num_seeds: int) -> Explored:
    """The first S seeds of all groups."""
    join = lambda read: np.concatenate([np.asarray(read(state)) for _, state in finished])[:num_seeds]
    seconds = [group.seconds for group, _ in finished for _ in range(group.num_seeds)][:num_seeds]
    return Explored(
        archs=join(lambda state: state.archs),
        scores=join(lambda state: state.scores),
        incumbents=join(lambda state: state.incumbents),
        is_new=join(lambda state: state.is_new),
        seconds=seconds,
    )

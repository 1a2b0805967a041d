"""Scoring a set of architectures through the durable store: what `score_main` does, as functions.

A = architectures asked for, P = proxies, N = batch.
"""

from collections.abc import Callable, Sequence
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from zsnas_jax import tasks
from zsnas_jax.base import Batch, Proxy, SearchSpace, candidate_key, check_identities
from zsnas_jax.datasets import PictureSource
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.proxies.labels import label
from zsnas_jax.runs.settings import ScoreSettings, draw_batch, fixed_batch, seed_keys
from zsnas_jax.scoring import Scorer, make_scorer
from zsnas_jax.storage.store import ResultStore


class RunTimes(NamedTuple):
    """What a run did: architectures scored now and found in the store, seconds, compiled programs."""

    num_scored: int
    num_reused: int
    first_call_seconds: float
    scoring_seconds: float
    num_compilations: int
    num_devices: int


def scorer_for(
    space: SearchSpace,
    proxies: Sequence[Proxy],
    source: PictureSource,
    settings: ScoreSettings,
    *,
    candidates_per_step: int = 1,
    programs: str = "auto",
) -> Scorer:
    """The scorer that a run uses; nothing is compiled yet.

    Raises:
        ValueError: as `zsnas_jax.scoring.make_scorer`.
    """
    return make_scorer(
        seed_keys(settings.seed)[0],
        space,
        proxies,
        num_classes=tasks.width_of(space, source.num_classes),
        initializer=INITIALIZERS[settings.init],
        candidates_per_step=candidates_per_step,
        resample=settings.resample,
        programs=programs,
    )


def _representatives(space: SearchSpace, archs: np.ndarray) -> np.ndarray:
    """For each architecture the first in published order of those that are isomorphic once pruned, int32[A, G]."""
    prune, isomorphism_key = space.prune, space.isomorphism_key
    if not (space.num_archs and space.from_index and prune and isomorphism_key):
        raise ValueError(
            f"share_isomorphic needs a space that can be enumerated, pruned and keyed, {space.name} cannot"
        )
    first: dict[str, np.ndarray] = {}
    for arch in np.asarray(space.from_index(np.arange(space.num_archs))):
        if np.array_equal(prune(arch), arch):
            first.setdefault(isomorphism_key(arch), arch)
    return np.stack([first[isomorphism_key(prune(arch))] for arch in archs])


def score_archs(
    store: ResultStore,
    space: SearchSpace,
    archs: np.ndarray,
    proxies: Sequence[Proxy],
    source: PictureSource,
    settings: ScoreSettings,
    *,
    candidates_per_step: int = 1,
    programs: str = "auto",
    progress: Callable[..., Any] = tqdm,
) -> tuple[np.ndarray, RunTimes]:
    """Scores architectures, taking from the store what is there and committing the rest to it chunk by chunk.

    Args:
        store: opened with `zsnas_jax.runs.settings.stored_settings`.
        space: the search space.
        archs: int32[A, G].
        proxies: P of them, no two of one name and settings.
        source: of the pictures.
        settings: as the store's.
        candidates_per_step: how many candidates a device works on at once.
        programs: how networks are compiled, as in `zsnas_jax.scoring.make_scorer`.
        progress: called as tqdm is; shows rate and time left.

    Returns:
        (float64[A, P], what the run did). -inf where a score is undefined.

    Raises:
        ValueError: for two proxies of one identity, a proxy whose name and settings another one has in the store, or
            what `make_scorer` refuses.
        RuntimeError: if a proxy fails on every architecture.
    """
    check_identities(proxies)
    asked = _representatives(space, archs) if settings.share_isomorphic else archs
    names = [space.encode(arch) for arch in asked]
    groups = _missing(store, dict(zip(names, asked, strict=True)), proxies)
    num_missing = sum(map(len, groups.values()))
    times = RunTimes(num_missing, len(set(names)) - num_missing, 0.0, 0.0, 0, len(jax.local_devices()))
    batch = None if settings.resample else fixed_batch(settings, source, space)
    task = _Task(space, source, settings, candidates_per_step, programs, batch)
    with progress(total=len(set(names)), initial=times.num_reused, unit="arch", desc="scoring") as bar:
        for places, members in groups.items():
            missing = [proxies[i] for i in places]
            scorer = task.scorer(missing)
            bar.set_description("compiling")
            chunk_size = max(1, scorer.capacity // settings.repeats)
            for chunk in _chunks(list(members.items()), chunk_size):
                started = time.perf_counter()
                chunk_names, chunk_archs = [name for name, _ in chunk], np.stack([arch for _, arch in chunk])
                try:
                    scores = task.score(scorer, chunk_archs)
                except RuntimeError as error:
                    scores = _mark_failures(task, missing, chunk_names, chunk_archs, store, error)
                store.add(chunk_names, missing, scores)
                seconds = time.perf_counter() - started
                bar.set_description("scoring", refresh=False)
                bar.update(len(chunk))
                times = times._replace(
                    first_call_seconds=times.first_call_seconds or seconds,
                    scoring_seconds=times.scoring_seconds + seconds,
                )
            times = times._replace(num_compilations=times.num_compilations + scorer.num_compilations())
    columns = [store.get(proxy) for proxy in proxies]
    return np.array([[column[name] for column in columns] for name in names]), times


def _missing(
    store: ResultStore, archs: dict[str, np.ndarray], proxies: Sequence[Proxy]
) -> dict[tuple[int, ...], dict[str, np.ndarray]]:
    """The architectures that the store lacks a score of, by the places of the proxies they lack."""
    known = [store.get(proxy) for proxy in proxies]
    groups: dict[tuple[int, ...], dict[str, np.ndarray]] = {}
    for name, arch in archs.items():
        lacking = tuple(i for i, scores in enumerate(known) if name not in scores)
        if lacking:
            groups.setdefault(lacking, {})[name] = arch
    return groups


def _chunks(items: list[Any], size: int) -> list[list[Any]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


class _Task(NamedTuple):
    """What the chunks of a run share; `batch` is None where every candidate draws its own."""

    space: SearchSpace
    source: PictureSource
    settings: ScoreSettings
    candidates_per_step: int
    programs: str
    batch: Batch | None

    def scorer(self, proxies: Sequence[Proxy]) -> Scorer:
        """A program for some proxies."""
        return scorer_for(
            self.space,
            proxies,
            self.source,
            self.settings,
            candidates_per_step=self.candidates_per_step,
            programs=self.programs,
        )

    def score(self, scorer: Scorer, archs: np.ndarray) -> np.ndarray:
        """Mean scores float64[A, P] over the repeats; every (architecture, repeat) is a candidate."""
        num_repeats = self.settings.repeats
        repeats = np.tile(np.arange(num_repeats), len(archs))
        candidates = np.repeat(archs, num_repeats, axis=0)
        rows = []
        for part in _chunks(list(range(len(candidates))), scorer.capacity):
            batches = self.batch or _own_batches(
                candidates[part], repeats[part], self.source, self.settings, self.space
            )
            rows.append(scorer.score(candidates[part], repeats[part], batches))
        return np.concatenate(rows).astype(np.float64).reshape(len(archs), num_repeats, -1).mean(axis=1)


def _mark_failures(
    task: _Task,
    proxies: Sequence[Proxy],
    names: Sequence[str],
    archs: np.ndarray,
    store: ResultStore,
    error: Exception,
) -> np.ndarray:
    """Scores float64[A, P] of a chunk that failed as a whole, proxy by proxy and one architecture at a time.

    What fails by itself scores -inf and is marked in the store with the reason. A proxy that fails on every one of
    several architectures is no matter of an architecture: the error is raised.
    """
    scores = np.full((len(archs), len(proxies)), -np.inf)
    for p, proxy in enumerate(proxies):
        scorer, reasons = task.scorer([proxy]), {}
        for a, name in enumerate(names):
            try:
                scores[a, p] = task.score(scorer, archs[a : a + 1])[0, 0]
            except RuntimeError as own:
                reasons[name] = str(own)
        if len(reasons) == len(names) > 1:
            raise RuntimeError(f"proxy {label(proxy)} fails on every architecture: {error}") from error
        store.mark(proxy, reasons)
    return scores


def _own_batches(
    archs: np.ndarray, repeats: np.ndarray, source: PictureSource, settings: ScoreSettings, space: SearchSpace
) -> Batch:
    """A batch for every candidate, its axis first; drawn by the genes and the repeat alone."""
    _, batch_key = seed_keys(settings.seed)
    keys = [candidate_key(batch_key, arch, repeat) for arch, repeat in zip(archs, repeats, strict=True)]
    draws = [draw_batch(key, settings, source, space) for key in keys]
    return jax.tree.map(lambda *arrays: np.stack([np.asarray(array) for array in arrays]), *draws)

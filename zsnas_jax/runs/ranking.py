"""Scoring a set of architectures through the durable store: what `score_main` does, as functions.

A = architectures asked for, P = proxies, N = batch.
"""

from collections.abc import Callable, Sequence
import dataclasses
import hashlib
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from zsnas_jax import datasets
from zsnas_jax.base import Batch, Proxy, SearchSpace, fingerprint
from zsnas_jax.datasets import PictureSource
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.scoring import Scorer, make_scorer
from zsnas_jax.storage.store import ResultStore


@dataclasses.dataclass(frozen=True)
class ScoreSettings:
    """Everything that changes a score, besides the proxy and the pictures themselves.

    Attributes:
        batch_size: N.
        augment: whether pictures are flipped and cropped at random.
        init: name of the initialisation.
        norm: what stands in the place of batch norm under score; see `zsnas_jax.nn.options`.
        mask_rate: alpha of NCD's stochastic activation masking.
        activation: of the networks under score.
        weighting: of WRCor.
        repeats: how many initialisations a score is the mean of.
        resample: whether every architecture and repeat draws its own batch.
        seed: of weights and batches.
        share_isomorphic: whether an architecture has the score of its pruned form, without operations that do
            nothing, which isomorphic architectures then share.
    """

    batch_size: int = 64
    augment: bool = False
    init: str = "kaiming_uniform"
    norm: str = "bn"
    mask_rate: float = 0.0
    activation: str = "relu"
    weighting: str = "expb2t"
    repeats: int = 1
    resample: bool = False
    seed: int = 0
    share_isomorphic: bool = False

    @property
    def options(self) -> LayerOptions:
        """Norm, mask and activation as one value."""
        return LayerOptions(self.norm, self.mask_rate, self.activation)

    def __post_init__(self) -> None:
        _ = self.options  # which says what is wrong with it
        if self.init not in INITIALIZERS:
            raise ValueError(f"unknown init {self.init!r}: allowed are {', '.join(INITIALIZERS)}")
        if self.repeats < 1:
            raise ValueError(f"repeats is {self.repeats}: at least 1 is needed")
        if self.batch_size < 2:
            raise ValueError(f"batch_size is {self.batch_size}: a correlation between samples needs at least 2")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is {self.seed}: allowed are 0 to {2**31 - 1}")


class RunTimes(NamedTuple):
    """What a run did: architectures scored now and found in the store, seconds, compiled programs."""

    num_scored: int
    num_reused: int
    first_call_seconds: float
    scoring_seconds: float
    num_compilations: int
    num_devices: int


def select_archs(space: SearchSpace, text: str, seed: int = 0, *, has_limits: bool = False) -> np.ndarray:
    """The architectures that a user names, int32[A, G], each once.

    Args:
        space: the search space.
        text: `all`, `START:STOP` by published index, `random:COUNT` distinct ones, or the path of a file with one
            architecture string a line.
        seed: of `random`.
        has_limits: whether only those that `space.is_valid` allows are meant (`zsnas_jax.search.constrained`).

    Raises:
        ValueError: naming what is wrong and what is allowed, or if the limits leave nothing.
    """
    archs = _select(space, text, seed, has_limits)
    kept = archs[_within(space, archs)] if has_limits else archs
    if not len(kept):
        raise ValueError(f"archs {text!r}: none of them keeps to the limits")
    return kept


def _within(space: SearchSpace, archs: np.ndarray) -> np.ndarray:
    return np.asarray(jax.vmap(space.is_valid)(jnp.asarray(archs)))


def _select(space: SearchSpace, text: str, seed: int, has_limits: bool) -> np.ndarray:
    """`select_archs`, within limits only where they are drawn."""
    allowed = "allowed are all, START:STOP, random:COUNT or the path of a file of architecture strings"
    total = space.num_archs
    start, colon, stop = text.partition(":")
    by_index = text == "all" or (colon and start.isdigit() and stop.isdigit())
    if by_index and not (total and space.from_index):
        raise ValueError(f"archs {text!r}: space {space.name} has no published order, use random:COUNT or a file")
    if text == "all" and total and space.from_index:
        return np.asarray(space.from_index(np.arange(total)))
    if colon and start == "random" and stop.isdigit():
        if not 1 <= int(stop) <= (total or int(stop)):
            raise ValueError(f"archs {text!r}: COUNT must lie between 1 and {total}")
        return _random_archs(space, int(stop), seed, has_limits)
    if colon and start.isdigit() and stop.isdigit() and total and space.from_index:
        if not int(start) < int(stop) <= total:
            raise ValueError(f"archs {text!r}: needed is 0 <= START < STOP <= {total}")
        return np.asarray(space.from_index(np.arange(int(start), int(stop))))
    if not pathlib.Path(text).is_file():
        raise ValueError(f"archs {text!r} is neither a file nor a selection: {allowed}")
    lines = pathlib.Path(text).read_text(encoding="utf-8").split("\n")
    archs = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                archs.append(np.asarray(space.decode(line.strip())))
            except ValueError as error:
                raise ValueError(f"{text}, line {number}: {error}") from error
    if not archs:
        raise ValueError(f"{text} holds no architecture: {allowed}")
    return np.stack(list({space.encode(arch): arch for arch in archs}.values()))


def _random_archs(space: SearchSpace, count: int, seed: int, has_limits: bool) -> np.ndarray:
    if space.num_archs and space.from_index:
        order = np.random.default_rng(seed).permutation(space.num_archs)  # more of them contain the fewer
        order = order[_within(space, np.asarray(space.from_index(order)))] if has_limits else order
        if len(order) < count:
            raise ValueError(f"archs 'random:{count}': {len(order)} keep to the limits")
        return np.asarray(space.from_index(np.sort(order[:count])))
    keys = jax.random.split(jax.random.key(seed), count)
    return np.asarray(jax.vmap(space.sample)(keys))


def batch_identity(batch: Batch) -> str:
    """The first 16 hex digits of the SHA-256 of a batch's bytes: tells data sets apart by what is in them."""
    digest = hashlib.sha256(np.asarray(batch.image).tobytes())
    digest.update(np.asarray(batch.label).tobytes())
    return digest.hexdigest()[:16]


def seed_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """(root of all weights, root of all batches) of a run's seed."""
    weight_key, batch_key = jax.random.split(jax.random.key(seed))
    return weight_key, batch_key


def fixed_batch(settings: ScoreSettings, source: PictureSource) -> Batch:
    """The batch that all architectures share unless `resample` is set."""
    _, batch_key = seed_keys(settings.seed)
    return datasets.draw_batch(batch_key, source, settings.batch_size, augment=settings.augment)


def stored_settings(settings: ScoreSettings, space: SearchSpace, source: PictureSource, dataset: str) -> dict[str, Any]:
    """What a results folder is bound to: the settings, the space, the classes, and the pictures by content."""
    identity = batch_identity(fixed_batch(settings, source))
    data = {"dataset": dataset, "num_classes": source.num_classes, "batch_sha256": identity}
    return {"space": space.name} | data | dataclasses.asdict(settings)


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
    progress: Callable[..., Any] = tqdm,
) -> tuple[np.ndarray, RunTimes]:
    """Scores architectures, taking from the store what is there and committing the rest to it chunk by chunk.

    Args:
        store: opened with `stored_settings`.
        space: the search space.
        archs: int32[A, G].
        proxies: P of them.
        source: of the pictures.
        settings: as the store's.
        candidates_per_step: how many candidates a device works on at once.
        progress: called as tqdm is; shows rate and time left.

    Returns:
        (float64[A, P], what the run did). -inf where a score is undefined.
    """
    asked = _representatives(space, archs) if settings.share_isomorphic else archs
    names = [space.encode(arch) for arch in asked]
    groups = _missing(store, dict(zip(names, asked, strict=True)), proxies)
    num_missing = sum(map(len, groups.values()))
    times = RunTimes(num_missing, len(set(names)) - num_missing, 0.0, 0.0, 0, len(jax.local_devices()))
    batch = None if settings.resample else fixed_batch(settings, source)
    task = _Task(space, source, settings, candidates_per_step, batch)
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
                store.add(chunk_names, [proxy.name for proxy in missing], scores)
                seconds = time.perf_counter() - started
                bar.set_description("scoring", refresh=False)
                bar.update(len(chunk))
                times = times._replace(
                    first_call_seconds=times.first_call_seconds or seconds,
                    scoring_seconds=times.scoring_seconds + seconds,
                )
            times = times._replace(num_compilations=times.num_compilations + scorer.num_compilations())
    known = {proxy.name: store.get(proxy.name) for proxy in proxies}
    return np.array([[known[proxy.name][name] for proxy in proxies] for name in names]), times


def _missing(
    store: ResultStore, archs: dict[str, np.ndarray], proxies: Sequence[Proxy]
) -> dict[tuple[int, ...], dict[str, np.ndarray]]:
    """The architectures that the store lacks a score of, by the places of the proxies they lack."""
    known = [store.get(proxy.name) for proxy in proxies]
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
    batch: Batch | None

    def scorer(self, proxies: Sequence[Proxy]) -> Scorer:
        """A program for some proxies."""
        return make_scorer(
            seed_keys(self.settings.seed)[0],
            self.space,
            proxies,
            num_classes=self.source.num_classes,
            initializer=INITIALIZERS[self.settings.init],
            options=self.settings.options,
            candidates_per_step=self.candidates_per_step,
            resample=self.settings.resample,
        )

    def score(self, scorer: Scorer, archs: np.ndarray) -> np.ndarray:
        """Mean scores float64[A, P] over the repeats; every (architecture, repeat) is a candidate."""
        num_repeats = self.settings.repeats
        repeats = np.tile(np.arange(num_repeats), len(archs))
        candidates = np.repeat(archs, num_repeats, axis=0)
        rows = []
        for part in _chunks(list(range(len(candidates))), scorer.capacity):
            batches = self.batch or _own_batches(candidates[part], repeats[part], self.source, self.settings)
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
            raise RuntimeError(f"proxy {proxy.name} fails on every architecture: {error}") from error
        store.mark(proxy.name, reasons)
    return scores


def _own_batches(archs: np.ndarray, repeats: np.ndarray, source: PictureSource, settings: ScoreSettings) -> Batch:
    """A batch for every candidate, its axis first; drawn by the genes and the repeat alone."""
    _, batch_key = seed_keys(settings.seed)
    keys = [
        jax.random.fold_in(jax.random.fold_in(batch_key, fingerprint(arch)), repeat)
        for arch, repeat in zip(archs, repeats, strict=True)
    ]
    draws = [datasets.draw_batch(key, source, settings.batch_size, augment=settings.augment) for key in keys]
    return jax.tree.map(lambda *arrays: np.stack([np.asarray(array) for array in arrays]), *draws)

"""Results of several machines in one folder: scores of parts of a selection, put together."""

from collections.abc import Sequence
import json
import os
import pathlib
from typing import NamedTuple

import numpy as np

from zsnas_jax.storage import stored
from zsnas_jax.storage.reading import open_regular, read_bytes, reading, shorten
from zsnas_jax.storage.store import ResultStore, say_differences

_LONGEST = 1 << 28
"""Bytes of a report."""


class Shard(NamedTuple):
    """The number-th of total equal parts of a selection of architectures."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def of(self, archs: np.ndarray) -> np.ndarray:
        """Every total-th of int[A, G], so that parts are as hard as each other; ValueError if there is none."""
        own = archs[self.number - 1 :: self.total]
        if not len(own):
            raise ValueError(f"shard {self} of {len(archs)} architectures is empty: take fewer shards")
        return own


def parse_shard(text: str) -> Shard:
    """The second of eight, of "2/8".

    Raises:
        ValueError: saying what is allowed.
    """
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and len(count) < 7 and 1 <= int(number) <= int(count):
        return Shard(int(number), int(count))
    raise ValueError(f"shard {shorten(text)!r}: allowed are 1/COUNT to COUNT/COUNT, such as 2/8")


class Merged(NamedTuple):
    """What a folder holds after a merge.

    Attributes:
        num_archs: how many architectures have a score.
        counts: label of a proxy to how many of them it has.
        missing: shards that no folder is of, as text, where folders are shards of one selection.
    """

    num_archs: int
    counts: dict[str, int]
    missing: list[str]


def merge(folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Merged:
    """Writes all scores of several results folders into one; those that it has stay.

    Args:
        folders: at least one, whose runs have ended.
        out: the folder, made if it is missing; the command that scored goes on there, and writes the reports.

    Raises:
        ValueError: if a folder has no readable results, settings differ, two have different scores of an architecture
            under a proxy, or two are the same shard; naming them. Nothing is written then.
        OSError: if the folder cannot be written.
    """
    found = [stored.read(folder) for folder in folders]
    first, *others = found
    for folder, own in zip(folders[1:], others, strict=True):
        if differences := say_differences(own.settings, first.settings):
            raise ValueError(f"{folder} has other settings than {folders[0]}: {differences}")
    missing = _missing(folders)
    scores: dict[str, dict[str, float]] = {}
    origin: dict[tuple[str, str], str | os.PathLike[str]] = {}
    for folder, own in zip(folders, found, strict=True):
        for label, values in own.scores.items():
            for arch, score in values.items():
                if scores.setdefault(label, {}).setdefault(arch, score) != score:
                    other = origin[label, arch]
                    raise ValueError(f"{folder} and {other} have different scores of {shorten(arch)} under {label}")
                origin.setdefault((label, arch), folder)
    settings = {name: value for name, value in first.settings.items() if name != "format"}
    proxies = {label: proxy for own in found for label, proxy in own.proxies.items()}
    failures = {label: {a: why for own in found for a, why in own.failures.get(label, {}).items()} for label in proxies}
    with ResultStore(out, settings) as store:
        known = {label: store.get(proxy) for label, proxy in proxies.items()}
        for label, values in scores.items():
            for arch, score in values.items():
                if known[label].get(arch, score) != score:
                    raise ValueError(f"{out} has another score of {shorten(arch)} under {label}")
        for label, values in scores.items():
            if new := [arch for arch in values if arch not in known[label]]:
                store.add(new, [proxies[label]], np.array([[values[arch]] for arch in new]))
                store.mark(proxies[label], {arch: failures[label][arch] for arch in new if arch in failures[label]})
    everything = {label: known[label].keys() | scores[label].keys() for label in proxies}
    counts = {label: len(archs) for label, archs in sorted(everything.items())}
    return Merged(len(set().union(*everything.values())), counts, missing)


def _missing(folders: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The shards that are not among the folders, as their reports say; ValueError if one is there twice."""
    there: dict[Shard, str | os.PathLike[str]] = {}
    for folder in folders:
        path = pathlib.Path(folder) / "report.json"
        if not path.exists():
            continue
        with reading(str(path)), open_regular(path) as file:
            text = json.loads(read_bytes(file, _LONGEST))["run"].get("shard")
            if text is None:
                continue
            shard = parse_shard(text)
        if shard in there:
            raise ValueError(f"{folder} and {there[shard]} are both shard {shard}")
        if others := {own.total for own in there} - {shard.total}:
            raise ValueError(f"{folder} is shard {shard}, others are shards of {others.pop()}")
        there[shard] = folder
    total = next((shard.total for shard in there), 0)
    return [str(Shard(n, total)) for n in range(1, total + 1) if Shard(n, total) not in there]

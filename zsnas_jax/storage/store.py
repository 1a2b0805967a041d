"""The durable store of scores: one sqlite file in a results folder, one transaction a chunk.

What is committed survives kill -9; a run that starts on the folder again goes on from there. Rows are sealed: what was
damaged is refused, not read. A score is known by its architecture and by the name and settings of its proxy, so that
proxies that differ in a setting lie side by side.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import contextlib
import json
import math
import os
import pathlib
import sqlite3
from typing import Any

import numpy as np

from zsnas_jax.proxies.labels import Identified, canonical_settings, label
from zsnas_jax.storage import seals
from zsnas_jax.storage.seals import Damaged, Sealed
from zsnas_jax.storage.stored import (
    FAILURES,
    FILE,
    FORMAT,
    LONGEST,
    PROXIES,
    SCORES,
    SETTINGS,
    UNREADABLE,
    as_plain_error,
    as_proxies,
    read_settings,
)


def say_differences(asked: Mapping[str, Any], stored: Mapping[str, Any]) -> str:
    """Which settings of a run are not those that it left there, for an error; empty where they are the same."""
    different = [name for name in stored.keys() | asked.keys() if stored.get(name) != asked.get(name)]
    return "; ".join(f"{n} is {asked.get(n)!r}, there it was {stored.get(n)!r}" for n in sorted(different))


def _say_format(there: Any) -> str:
    """What is wrong with the format of a file, for an error; empty where it is this one's."""
    lacks = {1: "which knows them by the names of their proxies alone", 2: "which has no seals against damage"}
    if there in lacks:
        return f"format {there}, {lacks[there]}: zsnas_jax.storage.stored.read reads them"
    return "" if there == FORMAT else f"format {there}, needed is {FORMAT}"


class ResultStore:
    """Scores by architecture and proxy, with the settings that all of them depend on. Use it as a context manager.

    A proxy is whatever has a name, settings and a reference: a `zsnas_jax.base.Proxy`, a `zsnas_jax.votes.Vote`.

    Args:
        folder: made if it is missing.
        settings: everything that changes a score besides the proxy, JSON values.

    Raises:
        ValueError: if the folder holds scores of other settings (it says which differ) or of an older format, another
            program's file, a damaged file, or is in use by another process.
        OSError: if the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.path = pathlib.Path(folder) / FILE
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"cannot make the results folder {self.path.parent}: {error.strerror}") from error
        try:
            self._connection = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise OSError(f"cannot write {self.path}: {error}") from error
        try:
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
            self._open({"format": FORMAT} | dict(settings))
            self._file = self._on_disk()
        except UNREADABLE as error:
            self._connection.close()
            raise as_plain_error(self.path, error) from error
        except BaseException:
            self._connection.close()
            raise

    def _open(self, settings: dict[str, Any]) -> None:
        execute = self._connection.execute
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF"):
            execute(f"PRAGMA {pragma}")
        execute("BEGIN IMMEDIATE")
        stored = read_settings(self._connection)
        asked = json.loads(json.dumps(settings))
        if stored:
            differences = say_differences(asked, stored)
            if said := _say_format(stored.get("format")) or (differences and f"other settings: {differences}"):
                execute("ROLLBACK")
                raise ValueError(f"{self.path} holds scores of {said}. Take another folder")
            seals.check(self._connection, self.tables())
        seals.create(self._connection, self.tables())
        if not stored:
            seals.put(self._connection, SETTINGS, [(name, json.dumps(value)) for name, value in asked.items()])
        execute("COMMIT")

    def tables(self) -> tuple[Sealed, ...]:
        """The tables of the file."""
        return SETTINGS, PROXIES, SCORES, FAILURES

    def __enter__(self) -> "ResultStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def add(self, archs: Iterable[str], proxies: Iterable[Identified], scores: np.ndarray) -> None:
        """Commits scores float[M, P] of M architectures under P proxies, all or none, durably.

        Raises:
            ValueError: if a proxy of that name and settings, but another reference, has scores there.
            OSError: if the disk fails or is full.
        """
        self._commit(lambda: self._insert_scores(list(archs), list(proxies), scores))

    def mark(self, proxy: Identified, reasons: Mapping[str, str]) -> None:
        """Commits why a proxy failed on some architectures, by architecture; their score is -inf.

        Raises:
            ValueError: as `add`.
            OSError: as `add`.
        """

        def insert() -> None:
            (number,) = self._numbers([proxy])
            seals.put(self._connection, FAILURES, [(number, arch, reason) for arch, reason in reasons.items()])

        self._commit(insert)

    def failures(self, proxy: Identified) -> dict[str, str]:
        """Why a proxy failed, by architecture.

        Raises:
            ValueError: as `get`.
        """
        return self._column(FAILURES, proxy)

    def get(self, proxy: Identified) -> dict[str, float]:
        """All scores under a proxy, by architecture.

        Raises:
            ValueError: as `add`, or if the file is damaged.
        """
        return self._column(SCORES, proxy)

    def counts(self) -> dict[str, int]:
        """How many scores there are under every proxy, by label.

        Raises:
            ValueError: if the file is damaged.
        """
        known = as_proxies(self._read(PROXIES))
        counted = {label(proxy): len(self._read(SCORES, (number,))) for number, proxy in known.items()}
        return dict(sorted(counted.items()))

    def _column(self, table: Sealed, proxy: Identified) -> dict[str, Any]:
        number = self._number(proxy)
        return {} if number is None else dict(self._read(table, (number,)))

    def _read(self, table: Sealed, part: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return seals.take(self._connection, table, part)
        except UNREADABLE as error:
            raise as_plain_error(self.path, error) from error

    def _insert_scores(self, archs: Sequence[str], proxies: Sequence[Identified], scores: Iterable[Any]) -> None:
        """Within a transaction."""
        numbers = self._numbers(proxies)
        rows = [
            (number, arch, _checked(score, arch))
            for arch, row in zip(archs, scores, strict=True)
            for number, score in zip(numbers, row, strict=True)
        ]
        seals.put(self._connection, SCORES, rows)

    def _number(self, proxy: Identified) -> int | None:
        """The row of a proxy, None if there is none."""
        return self._find(proxy, self._read(PROXIES))

    def _numbers(self, proxies: Sequence[Identified]) -> list[int]:
        """The rows of proxies, made where there are none; within a transaction."""
        known, numbers = self._read(PROXIES), []
        for proxy in proxies:
            number = self._find(proxy, known)
            if number is None:
                number = 1 + max((row[0] for row in known), default=0)
                row = number, proxy.name, canonical_settings(proxy), proxy.reference
                seals.put(self._connection, PROXIES, [row])
                known.append(row)
            numbers.append(number)
        return numbers

    def _find(self, proxy: Identified, known: Iterable[tuple[Any, ...]]) -> int | None:
        """The number of a proxy among rows of `PROXIES`; ValueError if its name and settings are another one's."""
        own = proxy.name, canonical_settings(proxy)
        for number, name, settings, reference in known:
            if (name, settings) != own:
                continue
            if reference != proxy.reference:
                raise ValueError(
                    f"{self.path} holds scores of {label(proxy)} ({reference}), not of {label(proxy)} "
                    f"({proxy.reference}): give the proxy another name or other settings, or take another folder"
                )
            return int(number)
        return None

    def _commit(self, insert: Callable[[], None]) -> None:
        """A transaction; what raises leaves nothing."""
        if self._on_disk() != self._file:
            raise OSError(f"cannot write {self.path}: it was deleted or replaced while this ran")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            insert()
            self._connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):  # of a disk that failed nothing is left to roll back
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise OSError(f"cannot write {self.path}: {error}") from error
            if isinstance(error, Damaged):
                raise as_plain_error(self.path, error) from error
            raise

    def _on_disk(self) -> tuple[int, int] | None:
        """Which file lies at the path, None if there is none."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def _checked(score: Any, arch: str) -> float:
    """A score as it is stored; ValueError for nan, which stands for nothing."""
    if math.isnan(score):
        raise ValueError(f"the score of {arch[:200]} is nan: needed is a number, or -inf where a score is undefined")
    return float(score)

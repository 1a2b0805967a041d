"""The durable store of scores: one sqlite file in a results folder, one transaction a chunk.

What is committed survives kill -9; a run that starts on the folder again goes on from there.
"""

from collections.abc import Iterable, Mapping
import contextlib
import json
import os
import pathlib
import sqlite3
from typing import Any, NamedTuple

import numpy as np

FORMAT = 1
FILE = "results.sqlite"


def say_differences(asked: Mapping[str, Any], stored: Mapping[str, Any]) -> str:
    """Which settings of a run are not those that it left there, for an error; empty where they are the same."""
    different = [name for name in stored.keys() | asked.keys() if stored.get(name) != asked.get(name)]
    return "; ".join(f"{n} is {asked.get(n)!r}, there it was {stored.get(n)!r}" for n in sorted(different))


class ResultStore:
    """Scores by (architecture, proxy), with the settings that they depend on. Use it as a context manager.

    Args:
        folder: made if it is missing.
        settings: everything that changes a score, JSON values.

    Raises:
        ValueError: if the folder holds scores of other settings (it says which differ), another program's file, a
            damaged file, or is in use by another process.
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
            self._open({"format": FORMAT} | dict(settings))
        except sqlite3.Error as error:
            self._connection.close()
            raise _as_plain_error(self.path, error) from error
        except BaseException:
            self._connection.close()
            raise

    def _open(self, settings: dict[str, Any]) -> None:
        execute = self._connection.execute
        execute("PRAGMA locking_mode=EXCLUSIVE")
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=FULL")
        execute("BEGIN IMMEDIATE")
        execute("CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        execute(
            "CREATE TABLE IF NOT EXISTS scores "
            "(arch TEXT, proxy TEXT, score REAL NOT NULL, PRIMARY KEY (arch, proxy)) WITHOUT ROWID"
        )
        execute(
            "CREATE TABLE IF NOT EXISTS failures "
            "(arch TEXT, proxy TEXT, reason TEXT NOT NULL, PRIMARY KEY (arch, proxy)) WITHOUT ROWID"
        )
        stored = {name: json.loads(value) for name, value in execute("SELECT name, value FROM settings")}
        asked = json.loads(json.dumps(settings))
        if stored:
            if said := say_differences(asked, stored):
                execute("ROLLBACK")
                raise ValueError(f"{self.path} holds scores of other settings: {said}. Take another folder")
        else:
            rows = [(name, json.dumps(value)) for name, value in asked.items()]
            self._connection.executemany("INSERT INTO settings VALUES (?, ?)", rows)
        execute("COMMIT")

    def __enter__(self) -> "ResultStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def add(self, archs: Iterable[str], proxies: Iterable[str], scores: np.ndarray) -> None:
        """Commits scores float[M, P] of M architectures under P proxies, all or none, durably.

        Raises:
            OSError: if the disk fails or is full.
        """
        names = list(proxies)
        rows = [(a, p, float(s)) for a, row in zip(archs, scores, strict=True) for p, s in zip(names, row, strict=True)]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise OSError(f"cannot write {self.path}: {error}") from error

    def mark(self, proxy: str, reasons: Mapping[str, str]) -> None:
        """Commits why a proxy failed on some architectures, by architecture; their score is -inf.

        Raises:
            OSError: if the disk fails or is full.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            rows = [(arch, proxy, reason) for arch, reason in reasons.items()]
            self._connection.executemany("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise OSError(f"cannot write {self.path}: {error}") from error

    def failures(self, proxy: str) -> dict[str, str]:
        """Why a proxy failed, by architecture."""
        try:
            return dict(self._connection.execute("SELECT arch, reason FROM failures WHERE proxy = ?", (proxy,)))
        except sqlite3.Error as error:
            raise _as_plain_error(self.path, error) from error

    def get(self, proxy: str) -> dict[str, float]:
        """All scores under a proxy, by architecture.

        Raises:
            ValueError: if the file is damaged.
        """
        try:
            return dict(self._connection.execute("SELECT arch, score FROM scores WHERE proxy = ?", (proxy,)))
        except sqlite3.Error as error:
            raise _as_plain_error(self.path, error) from error


class Stored(NamedTuple):
    """What a results folder holds.

    Attributes:
        settings: what the scores depend on.
        scores: proxy to architecture to score.
    """

    settings: dict[str, Any]
    scores: dict[str, dict[str, float]]


def read(folder: str | os.PathLike[str]) -> Stored:
    """Everything that a results folder holds, whatever its settings, without changing what it holds.

    A run that was killed leaves a journal ("-wal"), which is read too. While a run goes on it has the folder to itself:
    copy the file with its journal, and read the copy.

    Raises:
        ValueError: if there is no results file, it is damaged or another program's, or a run is writing it.
        OSError: if the file cannot be opened.
    """
    path = pathlib.Path(folder) / FILE
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    # Where no journal is left nobody writes: read as immutable, which makes no journal either.
    how = "mode=ro" if path.with_name(f"{FILE}-wal").exists() else "immutable=1"
    scores: dict[str, dict[str, float]] = {}
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=0)) as file:
            settings = {name: json.loads(value) for name, value in file.execute("SELECT name, value FROM settings")}
            for arch, proxy, score in file.execute("SELECT arch, proxy, score FROM scores"):
                scores.setdefault(proxy, {})[arch] = score
    except sqlite3.Error as error:
        raise _as_plain_error(path, error, "read") from error
    return Stored(settings, scores)


def _as_plain_error(path: pathlib.Path, error: sqlite3.Error, doing: str = "write") -> Exception:
    """What went wrong with opening the store, in one line."""
    text = str(error)
    if "locked" in text or "busy" in text:
        remedy = f": copy it with {path.name}-wal, and read the copy" if doing == "read" else ""
        return ValueError(f"{path} is in use by another process{remedy}")
    if isinstance(error, sqlite3.OperationalError) and ("readonly" in text or "unable to open" in text):
        return OSError(f"cannot {doing} {path}: {text}")
    return ValueError(f"{path} is damaged or not a results file: {text}")

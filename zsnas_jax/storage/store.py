"""The durable store of scores: one sqlite file in a results folder, one transaction a chunk.

What is committed survives kill -9; a run that starts on the folder again goes on from there. A score is known by its
architecture and by the name and settings of its proxy, so that proxies that differ in a setting lie side by side.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import contextlib
import json
import os
import pathlib
import sqlite3
from typing import Any, NamedTuple

import numpy as np

from zsnas_jax.proxies.labels import Identified, canonical_settings, label

FORMAT = 2
"""Of the file. In format 1 a score was known by the name of its proxy alone; such files are read, not written."""
FILE = "results.sqlite"


def say_differences(asked: Mapping[str, Any], stored: Mapping[str, Any]) -> str:
    """Which settings of a run are not those that it left there, for an error; empty where they are the same."""
    different = [name for name in stored.keys() | asked.keys() if stored.get(name) != asked.get(name)]
    return "; ".join(f"{n} is {asked.get(n)!r}, there it was {stored.get(n)!r}" for n in sorted(different))


def _say_format(stored: Mapping[str, Any]) -> str:
    """What is wrong with the format of a file, for an error; empty where it is this one's."""
    there = stored.get("format")
    if there == 1:
        return "format 1, which knows them by the names of their proxies alone: zsnas_jax.storage.store.read reads them"
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
        stored = {name: json.loads(value) for name, value in execute("SELECT name, value FROM settings")}
        asked = json.loads(json.dumps(settings))
        if stored:
            differences = say_differences(asked, stored)
            if said := _say_format(stored) or (differences and f"other settings: {differences}"):
                execute("ROLLBACK")
                raise ValueError(f"{self.path} holds scores of {said}. Take another folder")
        else:
            rows = [(name, json.dumps(value)) for name, value in asked.items()]
            self._connection.executemany("INSERT INTO settings VALUES (?, ?)", rows)
        for table in self.tables():
            execute(f"CREATE TABLE IF NOT EXISTS {table}")
        execute("COMMIT")

    def tables(self) -> Sequence[str]:
        """The tables besides that of the settings, as SQL defines them."""
        return (
            "proxies (id INTEGER PRIMARY KEY, name TEXT NOT NULL, settings TEXT NOT NULL, reference TEXT NOT NULL, "
            "UNIQUE (name, settings))",
            "scores (proxy INTEGER REFERENCES proxies (id), arch TEXT, score REAL NOT NULL, "
            "PRIMARY KEY (proxy, arch)) WITHOUT ROWID",
            "failures (proxy INTEGER REFERENCES proxies (id), arch TEXT, reason TEXT NOT NULL, "
            "PRIMARY KEY (proxy, arch)) WITHOUT ROWID",
        )

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
            number = self._number(proxy, is_new=True)
            rows = [(number, arch, reason) for arch, reason in reasons.items()]
            self._connection.executemany("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", rows)

        self._commit(insert)

    def failures(self, proxy: Identified) -> dict[str, str]:
        """Why a proxy failed, by architecture.

        Raises:
            ValueError: as `get`.
        """
        return self._column("SELECT arch, reason FROM failures WHERE proxy = ?", proxy)

    def get(self, proxy: Identified) -> dict[str, float]:
        """All scores under a proxy, by architecture.

        Raises:
            ValueError: as `add`, or if the file is damaged.
        """
        return self._column("SELECT arch, score FROM scores WHERE proxy = ?", proxy)

    def counts(self) -> dict[str, int]:
        """How many scores there are under every proxy, by label."""
        query = "SELECT name, settings, reference, (SELECT COUNT(*) FROM scores WHERE proxy = id) FROM proxies"
        try:
            rows = self._connection.execute(query).fetchall()
        except sqlite3.Error as error:
            raise _as_plain_error(self.path, error) from error
        known = {label(StoredProxy(name, json.loads(text), where)): count for name, text, where, count in rows}
        return dict(sorted(known.items()))

    def _column(self, query: str, proxy: Identified) -> dict[str, Any]:
        try:
            return dict(self._connection.execute(query, (self._number(proxy),)))
        except sqlite3.Error as error:
            raise _as_plain_error(self.path, error) from error

    def _insert_scores(self, archs: Sequence[str], proxies: Sequence[Identified], scores: Iterable[Any]) -> None:
        """Within a transaction."""
        numbers = [self._number(proxy, is_new=True) for proxy in proxies]
        rows = [
            (number, arch, float(score))
            for arch, row in zip(archs, scores, strict=True)
            for number, score in zip(numbers, row, strict=True)
        ]
        self._connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", rows)

    def _number(self, proxy: Identified, *, is_new: bool = False) -> int | None:
        """The row of a proxy, None if there is none; or made, within a transaction."""
        known = proxy.name, canonical_settings(proxy)
        query = "SELECT id, reference FROM proxies WHERE name = ? AND settings = ?"
        if found := self._connection.execute(query, known).fetchone():
            number, reference = found
            if reference != proxy.reference:
                raise ValueError(
                    f"{self.path} holds scores of {label(proxy)} ({reference}), not of {label(proxy)} "
                    f"({proxy.reference}): give the proxy another name or other settings, or take another folder"
                )
            return int(number)
        if not is_new:
            return None
        insert = "INSERT INTO proxies (name, settings, reference) VALUES (?, ?, ?)"
        return self._connection.execute(insert, (*known, proxy.reference)).lastrowid

    def _commit(self, insert: Callable[[], None]) -> None:
        """A transaction; what raises leaves nothing."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            insert()
            self._connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):  # of a disk that failed nothing is left to roll back
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise OSError(f"cannot write {self.path}: {error}") from error
            raise


class StoredProxy(NamedTuple):
    """What a file says of a proxy."""

    name: str
    settings: Mapping[str, Any]
    reference: str


class Stored(NamedTuple):
    """What a results folder holds.

    Attributes:
        settings: what all scores depend on; in format 1 that includes weighting, norm, mask_rate and activation.
        scores: label of a proxy (`zsnas_jax.proxies.labels`), in format 1 its name, to architecture to score.
        proxies: the same to what the file says of the proxy; in format 1 that is its name alone.
    """

    settings: dict[str, Any]
    scores: dict[str, dict[str, float]]
    proxies: dict[str, StoredProxy]


def read(folder: str | os.PathLike[str]) -> Stored:
    """Everything that a results folder of any format holds, whatever its settings, without changing what it holds.

    A run that was killed leaves a journal ("-wal"), which is read too. While a run goes on it has the folder to itself:
    copy the file with its journal, and read the copy.

    Raises:
        ValueError: if there is no results file, it is damaged or another program's, of a later format, or a run is
            writing it.
        OSError: if the file cannot be opened.
    """
    path = pathlib.Path(folder) / FILE
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    # Where no journal is left nobody writes: read as immutable, which makes no journal either.
    how = "mode=ro" if path.with_name(f"{FILE}-wal").exists() else "immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=0)) as file:
            settings = {name: json.loads(value) for name, value in file.execute("SELECT name, value FROM settings")}
            if settings.get("format") not in (1, FORMAT):
                raise ValueError(f"{path} is of format {settings.get('format')}: formats 1 and {FORMAT} are read")
            return Stored(settings, *(_read_names(file) if settings["format"] == 1 else _read_proxies(file)))
    except sqlite3.Error as error:
        raise _as_plain_error(path, error, "read") from error


def _read_proxies(file: sqlite3.Connection) -> tuple[dict[str, dict[str, float]], dict[str, StoredProxy]]:
    numbered = {
        number: StoredProxy(name, json.loads(settings), reference)
        for number, name, settings, reference in file.execute("SELECT id, name, settings, reference FROM proxies")
    }
    labels = {number: label(proxy) for number, proxy in numbered.items()}
    scores: dict[str, dict[str, float]] = {name: {} for name in labels.values()}
    for number, arch, score in file.execute("SELECT proxy, arch, score FROM scores"):
        scores[labels[number]][arch] = score
    return scores, {labels[number]: proxy for number, proxy in numbered.items()}


def _read_names(file: sqlite3.Connection) -> tuple[dict[str, dict[str, float]], dict[str, StoredProxy]]:
    """Of format 1."""
    scores: dict[str, dict[str, float]] = {}
    for arch, proxy, score in file.execute("SELECT arch, proxy, score FROM scores"):
        scores.setdefault(proxy, {})[arch] = score
    return scores, {name: StoredProxy(name, {}, "") for name in scores}


def _as_plain_error(path: pathlib.Path, error: sqlite3.Error, doing: str = "write") -> Exception:
    """What went wrong with opening the store, in one line."""
    text = str(error)
    if "locked" in text or "busy" in text:
        remedy = f": copy it with {path.name}-wal, and read the copy" if doing == "read" else ""
        return ValueError(f"{path} is in use by another process{remedy}")
    if isinstance(error, sqlite3.OperationalError) and ("readonly" in text or "unable to open" in text):
        return OSError(f"cannot {doing} {path}: {text}")
    return ValueError(f"{path} is damaged or not a results file: {text}")

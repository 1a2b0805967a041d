"""What a results folder holds: its tables, and how files of any format are read."""

from collections.abc import Iterable, Mapping, Sequence
import contextlib
import json
import math
import os
import pathlib
import sqlite3
from typing import Any, NamedTuple

from zsnas_jax.proxies.labels import label
from zsnas_jax.storage import seals
from zsnas_jax.storage.seals import Damaged, Sealed

FORMAT = 3
"""Of the file. In format 1 a score was known by the name of its proxy alone; 1 and 2 had no seals. They are read, not
written."""
FILE = "results.sqlite"
LONGEST = 1 << 28
"""Bytes of a value: the state of 500 seeds of 1,000 architectures has 40 million."""


UNREADABLE = (sqlite3.Error, Damaged, UnicodeDecodeError)
"""What reading a damaged file raises; the last where sqlite's own message is made of its bytes."""

SETTINGS = Sealed("settings", ("name TEXT", "value TEXT"), 1)
PROXIES = Sealed("proxies", ("id INTEGER", "name TEXT", "settings TEXT", "reference TEXT"), 1)
SCORES = Sealed("scores", ("proxy INTEGER", "arch TEXT", "score REAL"), 2, 1)
FAILURES = Sealed("failures", ("proxy INTEGER", "arch TEXT", "reason TEXT"), 2, 1)


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
        failures: the same to architecture to why the proxy failed on it; empty in formats 1 and 2.
    """

    settings: dict[str, Any]
    scores: dict[str, dict[str, float]]
    proxies: dict[str, StoredProxy]
    failures: dict[str, dict[str, str]]


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
            file.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
            settings = read_settings(file)
            readers = {1: _read_names, 2: _read_unsealed, FORMAT: _read_sealed}
            if settings.get("format") not in readers:
                raise ValueError(f"{path} is of format {settings.get('format')}: formats {_list(readers)} are read")
            return Stored(settings, *readers[settings["format"]](file))
    except UNREADABLE as error:
        raise as_plain_error(path, error, "read") from error


def read_settings(file: sqlite3.Connection) -> dict[str, Any]:
    """The settings of a file of any format; empty for a new one.

    Raises:
        Damaged: if they are no settings, or the tables are not those of the format that they name.
    """
    seals.check_kinds(file)
    tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return {}
    columns = lambda table: [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
    is_sealed = columns("settings")[-1:] == ["seal"]
    rows = seals.take(file, SETTINGS) if is_sealed else file.execute("SELECT name, value FROM settings").fetchall()
    settings = {str(name): _as_json(value) for name, value in rows}
    there = settings.get("format")
    layouts = {1: ["arch", "proxy", "score"], 2: ["proxy", "arch", "score"], FORMAT: SCORES.names}
    if there in layouts and columns("scores") != layouts[there]:
        raise Damaged(f"its scores are not those of format {there}")
    return settings


def _as_json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise Damaged("a value is no JSON") from error


def _list(numbers: Iterable[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}"


def as_proxies(rows: Iterable[Sequence[Any]]) -> dict[int, StoredProxy]:
    """Rows of `PROXIES` by their number."""
    return {number: StoredProxy(name, _as_json(settings), reference) for number, name, settings, reference in rows}


_Held = tuple[dict[str, dict[str, float]], dict[str, StoredProxy], dict[str, dict[str, str]]]
"""Scores, proxies and failures."""


def _read_sealed(file: sqlite3.Connection) -> _Held:
    seals.check(file, [SETTINGS, PROXIES, SCORES, FAILURES])
    numbered = as_proxies(seals.take(file, PROXIES))
    take = lambda table: {label(proxy): dict(seals.take(file, table, (number,))) for number, proxy in numbered.items()}
    return take(SCORES), {label(proxy): proxy for proxy in numbered.values()}, take(FAILURES)


def _read_unsealed(file: sqlite3.Connection) -> _Held:
    """Of format 2."""
    numbered = as_proxies(file.execute("SELECT id, name, settings, reference FROM proxies"))
    labels = {number: label(proxy) for number, proxy in numbered.items()}
    scores: dict[str, dict[str, float]] = {name: {} for name in labels.values()}
    for number, arch, score in file.execute("SELECT proxy, arch, score FROM scores"):
        if number not in labels:
            raise Damaged(f"a score is of proxy {str(number)[:80]}, which is not there")
        scores[labels[number]][arch] = _as_score(score)
    return scores, {labels[number]: proxy for number, proxy in numbered.items()}, {}


def _read_names(file: sqlite3.Connection) -> _Held:
    """Of format 1."""
    scores: dict[str, dict[str, float]] = {}
    for arch, proxy, score in file.execute("SELECT arch, proxy, score FROM scores"):
        scores.setdefault(proxy, {})[arch] = _as_score(score)
    return scores, {name: StoredProxy(name, {}, "") for name in scores}, {}


def _as_score(value: Any) -> float:
    if not isinstance(value, float) or math.isnan(value):
        raise Damaged(f"a score is {str(value)[:80]!r}")
    return value


def as_plain_error(path: pathlib.Path, error: Exception, doing: str = "write") -> Exception:
    """What went wrong with opening the store, in one line."""
    text = str(error)
    if "locked" in text or "busy" in text:
        remedy = f": copy it with {path.name}-wal, and read the copy" if doing == "read" else ""
        return ValueError(f"{path} is in use by another process{remedy}")
    of_disk = ("readonly", "unable to open", "disk is full")
    if isinstance(error, sqlite3.OperationalError) and any(words in text for words in of_disk):
        return OSError(f"cannot {doing} {path}: {text}")
    return ValueError(f"{path} is damaged or not a results file: {text}")

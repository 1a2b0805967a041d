"""Tables of sqlite whose rows are sealed: what was damaged, or got lost, is noticed when it is read.

A row carries a seal, a hash of its values and their types. Rows come in parts (all scores under one proxy, say); of
each part the table "parts" holds how many rows it has and the sum of their seals, itself sealed. A bit that flips, a
row that vanished, one that appeared, a value of another type: each makes a part disagree with what is written of it.
This is against decay, not against somebody who writes seals of their own.
"""

from collections.abc import Iterable, Sequence
import hashlib
import sqlite3
import struct
from typing import Any, NamedTuple

_MODULUS = 1 << 62
_KINDS = {int: b"i", float: b"f", str: b"s", bytes: b"b"}


class Damaged(ValueError):
    """A row or a part is not what was written."""


class Sealed(NamedTuple):
    """A table of sealed rows.

    Attributes:
        name: of the table.
        columns: with their types, as SQL defines them; the first ones are the primary key.
        num_keys: how many are.
        num_part: how many of these say which part a row is of.
    """

    name: str
    columns: tuple[str, ...]
    num_keys: int
    num_part: int = 0

    @property
    def names(self) -> list[str]:
        """The names of the columns, that of the seal last."""
        return [*(column.split()[0] for column in self.columns), "seal"]

    @property
    def definition(self) -> str:
        """What CREATE TABLE is given."""
        key = ", ".join(self.names[: self.num_keys])
        columns = ", ".join(f"{column} NOT NULL" for column in (*self.columns, "seal INTEGER"))
        return f"{self.name} ({columns}, PRIMARY KEY ({key})) WITHOUT ROWID"


def seal(*values: Any) -> int:
    """A hash of values and their types, from 0 to 2^62 - 1.

    Raises:
        Damaged: for a value that is neither int, float, str nor bytes.
    """
    digest = hashlib.blake2b(digest_size=8)
    for value in values:
        kind = _KINDS.get(type(value))
        if kind is None:
            raise Damaged(f"a value is a {type(value).__name__}")
        data = value.encode() if kind == b"s" else value if kind == b"b" else _pack(value)
        digest.update(kind + struct.pack("<q", len(data)) + data)
    return int.from_bytes(digest.digest()) % _MODULUS


def _pack(number: int | float) -> bytes:
    return struct.pack("<d" if isinstance(number, float) else "<q", number)


PARTS = Sealed("parts", ("name TEXT", "part TEXT", "count INTEGER", "total INTEGER"), 2)


def create(connection: sqlite3.Connection, tables: Iterable[Sealed]) -> None:
    """Makes the tables that are missing."""
    for table in (PARTS, *tables):
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table.definition}")


def check(connection: sqlite3.Connection, tables: Iterable[Sealed]) -> None:
    """Raises Damaged if a table that is there is not as defined, or the file has anything but tables."""
    check_kinds(connection)
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master"))
    for table in (PARTS, *tables):
        if table.name in found and found[table.name] != f"CREATE TABLE {table.definition}":
            raise Damaged(f"{table.name} is not the table that belongs there")


def check_kinds(connection: sqlite3.Connection) -> None:
    """Raises Damaged if a file has views or triggers, which run what its author wrote, or virtual tables."""
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master"):
        if kind not in ("table", "index") or str(sql).upper().startswith("CREATE VIRTUAL"):
            raise Damaged(f"{str(name)[:80]!r} is no table: {kind}")


def put(connection: sqlite3.Connection, table: Sealed, rows: Iterable[Sequence[Any]]) -> None:
    """Writes rows, in the place of those of equal keys; within a transaction."""
    where = " AND ".join(f"{name} = ?" for name in table.names[: table.num_keys])
    known = f"SELECT seal FROM {table.name} WHERE {where}"
    insert = f"INSERT OR REPLACE INTO {table.name} VALUES ({', '.join('?' * len(table.names))})"
    changes: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        change, own = changes.setdefault(tuple(row[: table.num_part]), [0, 0]), seal(*row)
        before = connection.execute(known, row[: table.num_keys]).fetchone()
        change[0] += before is None
        change[1] += own - (before[0] if before else 0)
        connection.execute(insert, (*row, own))
    for part, (more, difference) in changes.items():
        count, total = _written(connection, table, part)
        values = table.name, _text(part), count + more, (total + difference) % _MODULUS
        connection.execute("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?)", (*values, seal(*values)))


def take(connection: sqlite3.Connection, table: Sealed, part: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The rows of a part, in the order of their keys, without those columns that say which part it is.

    Raises:
        Damaged: if they are not those that were written.
    """
    where = " AND ".join(f"{name} = ?" for name in table.names[: table.num_part]) or "1"
    order = ", ".join(table.names[: table.num_keys])
    rows = connection.execute(f"SELECT * FROM {table.name} WHERE {where} ORDER BY {order}", part).fetchall()
    total = 0
    for row in rows:
        if seal(*row[:-1]) != row[-1]:
            raise Damaged(f"a row of {table.name} is not as it was written")
        total = (total + row[-1]) % _MODULUS
    count, expected = _written(connection, table, part)
    if (len(rows), total) != (count, expected):
        raise Damaged(f"{table.name} holds {len(rows)} rows where {count} were written")
    return [row[table.num_part : -1] for row in rows]


def _written(connection: sqlite3.Connection, table: Sealed, part: tuple[Any, ...]) -> tuple[int, int]:
    """(how many rows of a part there should be, the sum of their seals)."""
    query = "SELECT * FROM parts WHERE name = ? AND part = ?"
    found = connection.execute(query, (table.name, _text(part))).fetchone()
    if found is None:
        return 0, 0
    if seal(*found[:-1]) != found[-1]:
        raise Damaged(f"a row of parts is not as it was written, of {table.name}")
    return found[2], found[3]


def _text(part: tuple[Any, ...]) -> str:
    return "/".join(map(str, part))

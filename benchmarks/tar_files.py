"""Which files lie where in a tar that nobody vouches for: headers are read one by one, and a damaged one is an error.

The standard library takes a damaged header behind the first for the end of the archive, and follows links, sparse
files and headers of headers, which published archives have no use for.
"""

import re
from tarfile import AREGTYPE, BLOCKSIZE, DIRTYPE, REGTYPE, XGLTYPE, XHDTYPE, TarInfo
from typing import BinaryIO, NamedTuple

from zsnas_jax.storage.reading import shorten

MAX_MEMBERS = 1 << 17
_EXTENSIONS = (XGLTYPE, XHDTYPE)
_MAX_EXTENSION = 1 << 16


class Member(NamedTuple):
    """A file in a tar: its path, where its contents begin, how many bytes they have."""

    path: str
    start: int
    size: int


def members(file: BinaryIO) -> list[Member]:
    """The regular files in a tar that is not compressed, as they lie. Folders are passed over.

    Args:
        file: seekable, at its beginning.

    Raises:
        ValueError: if it is cut off, holds a member of another kind, or more than `MAX_MEMBERS`.
        tarfile.HeaderError: if a header is damaged.
    """
    found: list[Member] = []
    end = file.seek(0, 2)
    file.seek(0)
    for _ in range(MAX_MEMBERS):
        header = file.read(BLOCKSIZE)
        if len(header) == BLOCKSIZE and not header.strip(b"\0"):
            return found
        if len(header) < BLOCKSIZE:
            raise ValueError("it is cut off: a tar ends with a block of zeros")
        info = TarInfo.frombuf(header, "utf-8", "surrogateescape")
        start = file.tell()
        if not 0 <= info.size <= end - start:
            raise ValueError(f"member {shorten(info.name)} has {info.size} bytes, more than are left")
        if info.type in (REGTYPE, AREGTYPE):
            found.append(Member(info.name, start, info.size))
        elif info.type in _EXTENSIONS:
            if re.search(rb" (path|size)=", file.read(min(info.size, _MAX_EXTENSION))) or info.size > _MAX_EXTENSION:
                raise ValueError(f"member {shorten(info.name)} gives a long name or size, which are not read")
        elif info.type != DIRTYPE:
            raise ValueError(f"member {shorten(info.name)} is of type {info.type!r}: allowed are files and folders")
        file.seek(start + -(-info.size // BLOCKSIZE) * BLOCKSIZE)
    raise ValueError(f"it has more than {MAX_MEMBERS} members")

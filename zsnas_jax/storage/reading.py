"""What readers of files share: one line for whatever is wrong with a file, and bounds on what is taken in."""

import bz2
from collections.abc import Iterator
import contextlib
import gzip
import io
import os
import stat
from typing import BinaryIO

ECHO = 200
"""Most characters of an input that a message repeats."""
_REASON = 300
"""Most characters of a reason, which repeats an input in words of our own."""


def shorten(text: object, limit: int = ECHO) -> str:
    """A text as one printable line of at most `limit` characters, without its middle if it is longer."""
    whole = str(text)
    if len(whole) > limit:
        end = limit // 3
        whole = f"{whole[: limit - end - 5]} ... {whole[len(whole) - end :]}"
    if whole.isprintable():
        return whole
    return "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in whole)


@contextlib.contextmanager
def reading(where: str) -> Iterator[None]:
    """Turns whatever the bytes of a file make its reader raise into one line: "WHERE: reason".

    Args:
        where: the file, and the line, record or member; what is said of it.

    Raises:
        ValueError: if the block raises anything that the file's contents are to blame for.
        OSError: if the file cannot be opened or the disk fails.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None and len(os.fsdecode(error.filename)) <= ECHO:
            raise  # it names the file
        if error.errno is None:  # what gzip and bz2 raise
            raise ValueError(f"{where}: {_reason(error)}") from error
        raise type(error)(f"{where}: {error.strerror}") from error
    except Exception as error:  # from damaged bytes libraries raise what they please
        raise ValueError(f"{where}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
        return shorten(error, _REASON)
    text, kind = shorten(error), type(error).__name__
    return text if isinstance(error, OSError | UnicodeError) else f"{text} ({kind})" if text else kind


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a regular file, or a link to one, for reading bytes.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is anything else: a pipe would be waited for, a device never end.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115 the caller's
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError("it is not a regular file")
    return file


def read_bytes(file: BinaryIO, limit: int) -> bytes:
    """All that a file, or a stream that decompresses one, has left.

    Raises:
        ValueError: if that is more than `limit` bytes.
    """
    data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it holds more than {limit:,} bytes, which is the most that is read")
    return data


def decompress(data: bytes, limit: int) -> bytes:
    """What gzip or bzip2 compressed, told by its first bytes; other bytes as they are.

    Raises:
        ValueError: if that is more than `limit` bytes.
        OSError, EOFError, zlib.error: if the data is damaged.
    """
    opener = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open}.get(data[:2], lambda plain: plain)
    with opener(io.BytesIO(data)) as file:  # type: ignore[operator]
        return read_bytes(file, limit)

"""Files that are never half-written, and downloads that are never unverified."""

from collections.abc import Callable, Iterator
import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import tempfile
from typing import Any
import urllib.error
import urllib.request

_CHUNK = 1 << 20


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`, which takes its place, durably, if the block ends without an error."""
    path = pathlib.Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    temporary = pathlib.Path(name)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # until it is closed: `sweep` leaves alone what somebody writes
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def sweep(folder: str | os.PathLike[str]) -> list[str]:
    """Deletes the temporary files that killed processes left in a folder; those that are being written stay.

    Returns:
        Their names.
    """
    swept = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        if _is_temporary(path.name) and path.is_file() and not path.is_symlink() and _is_abandoned(path):
            path.unlink(missing_ok=True)
            swept.append(path.name)
    return swept


def _is_temporary(name: str) -> bool:
    """Whether `replacing` gives such names: .scores.csv.xf3k_91a.csv."""
    found = re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}(\.[^.]+)?", name)
    return found is not None and pathlib.Path(found[1]).suffix == (found[2] or "")


def _is_abandoned(path: pathlib.Path) -> bool:
    """Whether a file that `replacing` made is there, ours, and nobody holds it."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Holds a folder, made if it is missing, for this process alone; ValueError if another one has it.

    A process that dies lets go of it.
    """
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115 closed below, when the work is done
    except OSError as error:
        raise OSError(f"cannot make the folder {folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{folder} is in use by another process") from error
        yield


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def verify(path: str | os.PathLike[str], checksum: str) -> None:
    """Raises ValueError if the SHA-256 of a file is not the expected one."""
    if (found := sha256(path)) != checksum:
        raise ValueError(f"{path} has SHA-256 {found}, expected is {checksum}: it is damaged or another version")


def fetch(
    url: str, path: str | os.PathLike[str], checksum: str, *, open_fn: Callable[..., Any] = urllib.request.urlopen
) -> None:
    """Downloads a file unless it lies at `path` already, and verifies it in either case.

    Args:
        url: where it is published.
        path: where it goes; missing folders are made.
        checksum: its SHA-256, hex digits. A download that does not match never appears at `path`.
        open_fn: opens the URL.

    Raises:
        ValueError: if the checksum does not match.
        OSError: if the network or the disk fails; the message names the URL.
    """
    path = pathlib.Path(path)
    if path.exists():
        return verify(path, checksum)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        try:
            with open_fn(url, timeout=60) as response, open(temporary, "wb") as file:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
        except (urllib.error.URLError, OSError) as error:
            raise OSError(f"cannot download {url}: {getattr(error, 'reason', error)}") from error
        verify(temporary, checksum)
    return None

"""Arrays of numbers out of .npz files that nobody vouches for: sizes are checked before anything is allocated."""

from collections.abc import Iterator
import contextlib
import math
import os
import sys
import zipfile

import numpy as np
from numpy.lib import format as npy

from zsnas_jax.storage import reading

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy's own; others inflate without a bound
_CHUNK = 1 << 22


@contextlib.contextmanager
def open_npz(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """An .npz file, for `names` and `read`.

    Raises:
        ValueError: if it is not a regular file, or holds two arrays of one name.
        OSError: if it cannot be opened.
        zipfile.BadZipFile: if it is no zip file.
    """
    with reading.open_regular(path) as file, zipfile.ZipFile(file) as archive:
        members = archive.namelist()
        if len(set(members)) != len(members):
            raise ValueError("it holds two arrays of one name")
        yield archive


def names(archive: zipfile.ZipFile) -> list[str]:
    """The names of the arrays."""
    return [member.removesuffix(".npy") for member in archive.namelist()]


def read(archive: zipfile.ZipFile, name: str, limit: int) -> np.ndarray:
    """An array of numbers or characters.

    Args:
        archive: what `open_npz` gives.
        name: of the array.
        limit: most bytes that it may have.

    Raises:
        KeyError: if there is none of the name.
        ValueError: if it is larger, holds objects, or is not what its header says; damaged files raise other errors.
    """
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type not in _METHODS:
        raise ValueError(f"{name} is compressed by method {member.compress_type}: allowed are {_METHODS}")
    if member.file_size > limit:
        raise ValueError(f"{name} has {member.file_size:,} bytes: allowed are at most {limit:,}")
    with archive.open(member) as file:
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"{name} is of version {version}: allowed are {', '.join(map(str, _HEADERS))}")
        shape, is_fortran, dtype = _HEADERS[version](file)
        if dtype.kind not in "biufU":
            raise ValueError(f"{name} is of type {reading.shorten(dtype)}: allowed are numbers")
        size, left = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        if size != left:
            raise ValueError(f"{name} has {left:,} bytes, its header says {size:,}")
        buffer = bytearray(size)
        with memoryview(buffer) as view:
            for start in range(0, size, _CHUNK):
                part = file.read(min(_CHUNK, size - start))
                view[start : start + len(part)] = part
        if file.read(1) or file.tell() != member.file_size:  # at the end the checksum is verified
            raise ValueError(f"{name} is cut off")
    if dtype.kind == "U" and size and np.frombuffer(buffer, f"{dtype.byteorder}u4").max() > sys.maxunicode:
        raise ValueError(f"{name} holds what is no character")  # numpy would make broken strings of them
    return np.frombuffer(buffer, dtype).reshape(shape, order="F" if is_fortran else "C")

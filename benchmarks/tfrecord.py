"""TFRecord files and protobuf messages without TensorFlow: framing with verified checksums, wire format.

A record is its length uint64, the masked CRC32C of those 8 bytes, the data, the masked CRC32C of the data; numbers are
little-endian. Sources: TensorFlow's "TFRecord and tf.train.Example", Protocol Buffers' "Encoding".
"""

from collections.abc import Iterator, Sequence
import functools
import os
import struct

import numpy as np

from zsnas_jax.storage.reading import open_regular, reading

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
_ONES = np.uint32(0xFFFFFFFF)
_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")
_LENGTH = 8
_BUFFER = 1 << 22
MAX_BYTES = 1 << 14
"""Longest record that is read; one of NAS-Bench-101 has about 700 bytes."""
_SIDE_BY_SIDE = 1 << 24
"""Most bytes, with what fills them up to one length, of messages whose checksums are computed together."""


@functools.cache
def _table() -> np.ndarray:
    """What each byte does to an empty register, uint32[256]."""
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ (table & 1) * np.uint32(_POLYNOMIAL)
    return table


def masked_crc32c(messages: Sequence[bytes]) -> np.ndarray:
    """The masked CRC32C of each of M messages, uint32[M].

    masked = ((crc >> 15) | (crc << 17)) + 0xa282ead8

    All messages take a step at once, since a loop over bytes is slow in Python: they end together, and a register is
    set when its message begins.
    """
    lengths = np.array([len(message) for message in messages], np.int64)
    longest = int(lengths.max(initial=0))
    if len(messages) > 1 and len(messages) * longest > _SIDE_BY_SIDE:
        half = len(messages) // 2
        return np.concatenate([masked_crc32c(messages[:half]), masked_crc32c(messages[half:])])
    starts = longest - lengths
    padded = np.zeros((len(messages), longest), np.uint8)
    padded[np.arange(longest) >= starts[:, None]] = np.frombuffer(b"".join(messages), np.uint8)
    table, register = _table(), np.full(len(messages), _ONES)
    last = int(starts.max(initial=0))
    for step, column in enumerate(np.ascontiguousarray(padded.T)):
        if step <= last:
            register[starts >= step] = _ONES
        register = table[(register ^ column) & 0xFF] ^ (register >> np.uint32(8))
    register[lengths == 0] = _ONES
    crc = ~register
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


def read_records(path: str | os.PathLike[str]) -> Iterator[list[bytes]]:
    """The records of a TFRecord file, in lists of a few megabytes.

    Raises:
        ValueError: if it is not a regular file, a checksum is wrong, a record is longer than `MAX_BYTES`, or the file
            ends within one; the message numbers it, from 0.
        OSError: if it cannot be opened.
    """
    with reading(str(path)):
        opened = open_regular(path)
    with opened as file:
        number, rest = 0, b""
        while data := file.read(_BUFFER):
            buffer = rest + data
            spans = list(_spans(buffer))
            _verify(path, number, buffer, spans)
            yield [buffer[start:end] for start, end in spans]
            rest = buffer[spans[-1][1] + _FOOTER.size if spans else 0 :]
            number += len(spans)
            _verify_header(path, number, rest)
    if rest:
        raise ValueError(f"{path} is truncated: record {number} is not whole")


def _spans(buffer: bytes) -> Iterator[tuple[int, int]]:
    """Where the data of each whole record of a buffer starts and ends, up to the first that is too long."""
    start = _HEADER.size
    while start <= len(buffer):
        end = start + _HEADER.unpack_from(buffer, start - _HEADER.size)[0]
        if end - start > MAX_BYTES or end + _FOOTER.size > len(buffer):
            return
        yield start, end
        start = end + _FOOTER.size + _HEADER.size


def _verify(path: str | os.PathLike[str], number: int, buffer: bytes, spans: list[tuple[int, int]]) -> None:
    """Raises ValueError if a record of a buffer, whose first is that number, does not have its checksums."""
    lengths = [buffer[start - _HEADER.size : start - _FOOTER.size] for start, _ in spans]
    headers = [_HEADER.unpack_from(buffer, start - _HEADER.size)[1] for start, _ in spans]
    footers = [_FOOTER.unpack_from(buffer, end)[0] for _, end in spans]
    right = masked_crc32c(lengths) == np.array(headers, np.uint32)
    # a wrong length makes all that follows wrong, and long: what lies before it is what can be judged
    whole = len(spans) if right.all() else int(right.argmin())
    found = masked_crc32c([buffer[start:end] for start, end in spans[:whole]])
    right[:whole] &= found == np.array(footers[:whole], np.uint32)
    if not right.all():
        raise ValueError(f"{path}, record {number + int(right.argmin())}: its checksum is wrong")


def _verify_header(path: str | os.PathLike[str], number: int, rest: bytes) -> None:
    """Raises ValueError if a record that is not whole yet has a wrong length, or one that is not read."""
    if len(rest) < _HEADER.size:
        return
    length, checksum = _HEADER.unpack_from(rest)
    if masked_crc32c([rest[:_LENGTH]])[0] != checksum:
        raise ValueError(f"{path}, record {number}: its checksum is wrong")
    if length > MAX_BYTES:
        raise ValueError(f"{path}, record {number}: {length} bytes, allowed are at most {MAX_BYTES}")


def read_message(message: bytes) -> list[tuple[int, int | float | bytes]]:
    """(field number, value) of each field of a protobuf message: varint int, fixed64 as double, or bytes.

    Raises:
        ValueError: if the message is cut off or has a wire type of another kind.
    """
    fields: list[tuple[int, int | float | bytes]] = []
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        value: int | float | bytes
        if kind == 1:
            end = position + 8
        elif kind == 2:
            length, position = _varint(message, position)
            end = position + length
        elif kind == 0:
            value, end = _varint(message, position)
        else:
            raise ValueError(f"protobuf wire type {kind}: allowed are 0, 1, 2")
        if end > len(message):
            raise ValueError("a protobuf message is cut off")
        if kind:
            value = message[position:end] if kind == 2 else struct.unpack_from("<d", message, position)[0]
        fields.append((number, value))
        position = end
    return fields


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A varint and where it ends."""
    value = shift = 0
    while position < len(message) and shift < 64:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a protobuf message is cut off")

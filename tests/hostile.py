"""Fuzzing of readers in-process: mutations of small valid files, each of which is read right or refused in one line."""

from collections import Counter
from collections.abc import Callable, Sequence
import contextlib
import gc
import random
import re
import resource
import signal
from typing import Any, NamedTuple

SECONDS = 5.0
"""Longest that a case may take."""
GROWTH_KB = 1 << 20
"""Most by which all the cases of a reader may raise the peak of the process's memory."""

_BYTES = (
    b"\0",
    b"\xff",
    b"\n",
    b"\r",
    b",",
    b'"',
    b"\xef\xbb\xbf",
    b"-",
    b".",
    b"|",
    b"(",
    b"\x80",
    b"\0\0\0\0",
    b"9" * 20,
)
_NUMBERS = (*(b"0", b"-1", b"1", b"nan", b"inf", b"-inf", b"1e999", b"0x10", b"1_0", b"255", b"65536", b""),)
_NUMBERS += (b"2147483648", b"99999999999999999999", b"9" * 400, b"0.5", b"100.1", "٣".encode())
_WORDS = (0, 1, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


class Hang(BaseException):
    """Not an Exception, so that no reader takes it for what its file is to blame for."""


class Layer(NamedTuple):
    """Bytes to mutate and how a file is made of them, its checksums made right."""

    payload: bytes
    pack: Callable[[bytes], bytes] = lambda data: data


class Reader(NamedTuple):
    """What reads a file.

    Attributes:
        file: its name, below a folder.
        layers: of a file; cases are shared among them.
        read: a path to values that `==` compares.
        cost: by which the number of cases is divided.
        path: of the file to what is read.
        names: what a refusal has to name; the file where it is empty.
        has_checksum: whether a mutation of the whole file may not change a value.
        keeps_kb: what a library keeps of every opening, in KB, on top of the memory that all cases may take.
    """

    file: str
    layers: Sequence[Layer]
    read: Callable[[Any], Any]
    cost: int = 1
    path: Callable[[Any], Any] = lambda path: path
    names: str = ""
    has_checksum: bool = False
    keeps_kb: int = 0


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    del data[start : rng.choice((len(data), start + 1 + rng.randrange(16)))]


def _splice(rng: random.Random, data: bytearray) -> None:
    start, to, size = rng.randrange(len(data)), rng.randrange(len(data)), 1 + rng.randrange(40)
    data[to : to + rng.choice((0, size))] = data[start : start + size]


def _insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice((*_BYTES, rng.randbytes(1 + rng.randrange(8)))) * rng.choice((1, 1, 1, 3, 1000))


def _number(rng: random.Random, data: bytearray) -> None:
    found = list(re.finditer(rb"\d+(\.\d+)?", data[:20_000]))
    if found:
        chosen = rng.choice(found)
        data[chosen.start() : chosen.end()] = rng.choice((*_NUMBERS, rng.choice(found).group()))


def _word(rng: random.Random, data: bytearray) -> None:
    width, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    at = rng.randrange(len(data))
    data[at : at + width] = (rng.choice(_WORDS) % 256**width).to_bytes(width, order)


_MUTATIONS = (_flip, _flip, _cut, _splice, _insert, _number, _word)


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Between one and three mutations."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if changed:
            rng.choice(_MUTATIONS)(rng, changed)
    return bytes(changed)


@contextlib.contextmanager
def within(seconds: float):
    """Raises Hang if the block takes longer: so much of the process's own time, or twelve times as much of the clock's.

    A machine with other work may let a process wait for seconds, to start a thread for example.
    """

    def stop(*_: Any) -> None:
        raise Hang

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, seconds), (signal.ITIMER_REAL, signal.SIGALRM, 12 * seconds))
    before = [signal.signal(number, stop) for _, number, _ in timers]
    for timer, _, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (timer, number, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def check_refusal(error: BaseException, name: str) -> None:
    """Fails unless an error is one line of bounded length that names the file."""
    text = str(error)
    assert "\n" not in text and text.isprintable(), repr(text)
    assert name in text, f"{text} does not name {name}"
    assert len(text) < 900, f"{len(text)} characters: {text}"


def attack(reader: Reader, folder: Any, num_cases: int, seed: int = 0) -> Counter:
    """Reads `num_cases` mutated files; the counts of cases refused, read equal, and read as other valid values.

    Fails with the first case that raises anything but ValueError or OSError, hangs, or is not refused in one line.
    """
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    rng, counts = random.Random(f"{reader.file} {seed}"), Counter(refused=0, equal=0, different=0)
    rights = []
    for layer in reader.layers:
        path.write_bytes(layer.pack(layer.payload))
        rights.append(reader.read(reader.path(path)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(num_cases):
        if reader.keeps_kb and number % 1000 == 0:
            gc.freeze()  # or a collection among what was kept takes seconds, which no case is to blame for
        layer, right = reader.layers[number % len(rights)], rights[number % len(rights)]
        changed = mutate(rng, layer.payload)
        data = layer.pack(changed)
        path.write_bytes(data)
        try:
            with within(SECONDS):
                found = reader.read(reader.path(path))
        except (ValueError, OSError) as error:
            check_refusal(error, reader.names or path.name)
            counts["refused"] += 1
        except BaseException as error:
            raise AssertionError(f"{reader.file}, case {number}: {type(error).__name__}: {data[:2000]!r}") from error
        else:
            counts["equal" if found == right else "different"] += 1
            assert found == right or not reader.has_checksum or layer is not reader.layers[0], data
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert grown < GROWTH_KB + reader.keeps_kb * num_cases, f"{grown} KB more memory"
    return counts

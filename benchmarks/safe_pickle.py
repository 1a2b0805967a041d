"""Published pickles read as plain data, by an interpreter of our own: nothing that a pickle asks for is run.

It knows the opcodes that such files consist of, and classes only by what stands in for them. Bounds keep every step
short: tuples, which Python hashes by descending into them, hold few objects in all.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import pickle
import struct
from typing import Any, BinaryIO

from zsnas_jax.storage.reading import read_bytes, reading, shorten

MAX_BYTES = 1 << 23
"""Longest pickle that is read; a file of NATS-Bench has about 400 KB, analog-nasbench's 5.6 MB."""
_MAX_OPCODES = 3_000_000  # analog-nasbench's has 2.2 million
_MAX_TUPLE = _MAX_STATE = 64
_NUMPY_CODES = {"f2": "e", "f4": "f", "f8": "d", "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q"}
_NUMPY_CODES |= {"u1": "B", "u2": "H", "u4": "I", "u8": "Q"}


class Record:
    """Stands in for a class of a published file: attributes, and no code."""

    def _build(self, state: Any) -> None:
        if type(state) is not dict or len(state) > _MAX_STATE:
            raise ValueError(f"an object's state is no dict of at most {_MAX_STATE} attributes")
        self.__dict__.update(state)


class _Dtype:
    """Stands in for numpy.dtype: the code and the byte order of a number."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = _NUMPY_CODES[code], "<"

    def _build(self, state: Any) -> None:
        self.order = {"<": "<", ">": ">", "=": "<", "|": "<"}[state[1]]


class _Maker:
    """A class or function that a pickle names, as what stands in for it."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make


def _scalar(dtype: _Dtype, data: bytes) -> int | float | bool:
    """A number of numpy as Python's."""
    return struct.unpack(dtype.order + dtype.code, data)[0]


_PLAIN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): lambda: {},
    ("collections", "defaultdict"): lambda factory=None: {},
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}
"""(module, name) to what stands in for it."""


class _Pickle:
    """A pickle being read: where it is, the stack and the marks on it, what is remembered by number."""

    def __init__(self, data: bytes, admitted: Mapping[tuple[str, str], Callable[..., Any]], max_opcodes: int) -> None:
        self.data, self.at, self.admitted, self.max_opcodes = data, 0, admitted, max_opcodes
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        data, opcodes, stop = self.data, _OPCODES, pickle.STOP[0]
        for _ in range(self.max_opcodes):
            opcode = data[self.at]
            self.at += 1
            if opcode == stop:
                if self.at != len(data) or len(self.stack) != 1 or self.marks:
                    raise ValueError("it goes on behind its end")
                return self.stack.pop()
            if opcode not in opcodes:
                raise ValueError(f"opcode {bytes([opcode])!r} is not one of plain data")
            opcodes[opcode](self)
        raise ValueError(f"it has more than {self.max_opcodes:,} opcodes")

    def take(self, count: int) -> bytes:
        """The next bytes."""
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise ValueError("it is cut short")
        return self.data[start : self.at]

    def line(self) -> str:
        """The rest of a line."""
        start, self.at = self.at, self.data.index(b"\n", self.at) + 1
        return self.data[start : self.at - 1].decode("ascii")

    def pop_mark(self) -> list[Any]:
        """What lies above the last mark."""
        if not 0 <= (start := self.marks.pop()) <= len(self.stack):
            raise ValueError("it takes more than there is")
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def pop(self, kind: type) -> Any:
        """The last object, which has to be of that type."""
        if type(found := self.stack.pop()) is not kind:
            raise ValueError(f"a {type(found).__name__} stands where a {kind.__name__} is needed")
        return found


def _push(value: Callable[[], Any]) -> Callable[[_Pickle], None]:
    return lambda p: p.stack.append(value())


def _number(layout: str) -> Callable[[_Pickle], None]:
    code = struct.Struct(layout)

    def push(p: _Pickle) -> None:
        p.stack.append(code.unpack_from(p.data, p.at)[0])
        p.at += code.size

    return push


def _sized(width: int, convert: Callable[[bytes], Any], limit: int = MAX_BYTES) -> Callable[[_Pickle], None]:
    def push(p: _Pickle) -> None:
        if (size := int.from_bytes(p.take(width), "little")) > limit:
            raise ValueError(f"an object has {size} bytes, allowed are at most {limit}")
        p.stack.append(convert(p.take(size)))

    return push


def _count(items: Sequence[Any]) -> int:
    """How many objects a tuple of them would hold, counted until they are too many; tuples in it hold few."""
    found = len(items)
    for item in items:
        if found > _MAX_TUPLE:
            break
        if type(item) is tuple:
            found += _count(item)
    return found


def _tuple(count: int | None) -> Callable[[_Pickle], None]:
    def push(p: _Pickle) -> None:
        if count is not None:
            p.marks.append(len(p.stack) - count)
        items = p.pop_mark()
        if _count(items) > _MAX_TUPLE:
            raise ValueError(f"a tuple holds more than {_MAX_TUPLE} objects, with those of tuples in it")
        p.stack.append(tuple(items))

    return push


def _put(read: Callable[[_Pickle], int]) -> Callable[[_Pickle], None]:
    def put(p: _Pickle) -> None:
        p.memo[read(p)] = p.stack[-1]

    return put


def _get(p: _Pickle) -> None:
    p.stack.append(p.memo[p.data[p.at]])
    p.at += 1


def _long_get(p: _Pickle) -> None:
    p.stack.append(p.memo[int.from_bytes(p.take(4), "little")])


def _memoize(p: _Pickle) -> None:
    p.memo[len(p.memo)] = p.stack[-1]


def _mark(p: _Pickle) -> None:
    p.marks.append(len(p.stack))


def _append(p: _Pickle) -> None:
    value = p.stack.pop()
    _last(p, list).append(value)


def _appends(p: _Pickle) -> None:
    items = p.pop_mark()
    _last(p, list).extend(items)


def _set_item(p: _Pickle) -> None:
    value, key = p.stack.pop(), p.stack.pop()
    _last(p, dict)[key] = value


def _set_items(p: _Pickle) -> None:
    items = p.pop_mark()
    _last(p, dict).update(zip(items[::2], items[1::2], strict=True))


def _last(p: _Pickle, kind: type) -> Any:
    if type(p.stack[-1]) is not kind:
        raise ValueError(f"a {type(p.stack[-1]).__name__} stands where a {kind.__name__} is needed")
    return p.stack[-1]


def _find(p: _Pickle, module: str, name: str) -> None:
    if (module, name) not in p.admitted:
        raise ValueError(f"it asks for {shorten(module, 80)}.{shorten(name, 80)}, which is not admitted")
    p.stack.append(_Maker(p.admitted[module, name]))


def _global(p: _Pickle) -> None:
    module, name = p.line(), p.line()
    _find(p, module, name)


def _stack_global(p: _Pickle) -> None:
    name, module = p.pop(str), p.pop(str)
    _find(p, module, name)


def _make(p: _Pickle) -> None:
    args, maker = p.pop(tuple), p.pop(_Maker)
    p.stack.append(maker.make(*args))


def _build(p: _Pickle) -> None:
    state = p.stack.pop()
    if not isinstance(made := p.stack[-1], Record | _Dtype):
        raise ValueError(f"a {type(made).__name__} stands where an object is needed")
    made._build(state)


_OPCODES: dict[int, Callable[[_Pickle], None]] = {
    opcode[0]: run
    for opcode, run in (
        (pickle.PROTO, lambda p: p.take(1)),
        (pickle.FRAME, lambda p: p.take(8)),  # where a reader may stop to fetch more: all is here
        (pickle.MARK, _mark),
        (pickle.NONE, _push(lambda: None)),
        (pickle.NEWTRUE, _push(lambda: True)),
        (pickle.NEWFALSE, _push(lambda: False)),
        (pickle.BININT, _number("<i")),
        (pickle.BININT1, _number("<B")),
        (pickle.BININT2, _number("<H")),
        (pickle.LONG1, _sized(1, lambda data: int.from_bytes(data, "little", signed=True), 8)),
        (pickle.BINFLOAT, _number(">d")),
        (pickle.SHORT_BINUNICODE, _sized(1, bytes.decode)),
        (pickle.BINUNICODE, _sized(4, bytes.decode)),
        (pickle.SHORT_BINBYTES, _sized(1, bytes)),
        (pickle.BINBYTES, _sized(4, bytes)),
        (pickle.EMPTY_TUPLE, _push(tuple)),
        (pickle.TUPLE1, _tuple(1)),
        (pickle.TUPLE2, _tuple(2)),
        (pickle.TUPLE3, _tuple(3)),
        (pickle.TUPLE, _tuple(None)),
        (pickle.EMPTY_LIST, _push(list)),
        (pickle.APPEND, _append),
        (pickle.APPENDS, _appends),
        (pickle.EMPTY_DICT, _push(dict)),
        (pickle.SETITEM, _set_item),
        (pickle.SETITEMS, _set_items),
        (pickle.GLOBAL, _global),
        (pickle.STACK_GLOBAL, _stack_global),
        (pickle.REDUCE, _make),
        (pickle.NEWOBJ, _make),
        (pickle.BUILD, _build),
        (pickle.BINPUT, _put(lambda p: p.take(1)[0])),
        (pickle.LONG_BINPUT, _put(lambda p: int.from_bytes(p.take(4), "little"))),
        (pickle.MEMOIZE, _memoize),
        (pickle.BINGET, _get),
        (pickle.LONG_BINGET, _long_get),
    )
}


def load(
    file: BinaryIO,
    name: str,
    records: Collection[tuple[str, str]] = (),
    *,
    max_bytes: int = MAX_BYTES,
    max_opcodes: int = _MAX_OPCODES,
) -> Any:
    """Reads plain data: dicts, lists, tuples, numbers and strings, and records. Dicts of any kind become plain ones.

    Args:
        file: open for reading bytes.
        name: for messages.
        records: (module, name) of classes to be replaced by `Record`; their code is neither imported nor run.
        max_bytes: the longest that is read.
        max_opcodes: the most steps.

    Raises:
        ValueError: if the pickle is damaged, too large, or asks for any other class or function.
    """
    with reading(f"{name} is not a pickle that can be read safely"):
        admitted = {**_PLAIN, **dict.fromkeys(records, Record)}
        return _Pickle(read_bytes(file, max_bytes), admitted, max_opcodes).load()

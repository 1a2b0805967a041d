"""Unpickling published data without running what a pickle may ask for."""

from collections.abc import Collection
import pickle
from typing import IO, Any

PLAIN = frozenset(
    {
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
    }
)
"""(module, name) of classes that hold data and run nothing."""


class Record:
    """Stands in for a class of a published file: attributes, and no code."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], records: Collection[tuple[str, str]]) -> None:
        super().__init__(file)
        self._records = records

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._records:
            return Record
        if (module, name) in PLAIN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not admitted")


def load(file: IO[bytes], name: str, records: Collection[tuple[str, str]] = ()) -> Any:
    """Unpickles plain data: builtin containers, numbers and strings, the classes of `PLAIN`, and records.

    Args:
        file: open for reading bytes.
        name: for messages.
        records: (module, name) of classes to be replaced by `Record`; their code is neither imported nor run.

    Raises:
        ValueError: if the pickle is damaged or asks for any other class or function.
    """
    try:
        return _Unpickler(file, frozenset(records)).load()
    except (
        pickle.UnpicklingError,
        EOFError,
        OSError,
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"{name} is not a pickle that can be read safely: {error}") from error

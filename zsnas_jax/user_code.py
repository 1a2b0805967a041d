"""Objects of a user's own code, as commands name them: PATH.py:NAME of a file, package.module:NAME of a module.

The code is run. Its SHA-256 tells one version of it from another wherever results are kept.
"""

from collections.abc import Container
import importlib
import importlib.util
import pathlib
import re
import sys
from typing import Any, NamedTuple, Protocol, TypeVar

from zsnas_jax.storage import files
from zsnas_jax.storage.reading import shorten

_REFERENCE = re.compile(
    r"(?P<file>.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)(?P<rest>:.*)?", re.ASCII
)


class Named(Protocol):
    """What a user's code states: a proxy, a space."""

    @property
    def name(self) -> str:
        """By which it is known."""


_Named = TypeVar("_Named", bound=Named)


class Loaded(NamedTuple):
    """An object and the SHA-256 of the file that holds it."""

    value: Any
    checksum: str


class Reference(NamedTuple):
    """Where an object is: the path of a file or the name of a module, its name there, and what stands behind it."""

    where: str
    name: str
    rest: str

    def __str__(self) -> str:
        """As it was given, without the rest."""
        return f"{self.where}:{self.name}"


def find_reference(text: str) -> Reference | None:
    """The reference that a text begins with; None if it is something else."""
    found = _REFERENCE.fullmatch(text)
    return Reference(found["file"], found["name"], found["rest"] or "") if found else None


def load(reference: Reference, what: str) -> Loaded:
    """Runs the code and takes the object.

    Args:
        reference: of the object.
        what: it is, in errors.

    Raises:
        ValueError: if there is no such file, module or object, or the code fails; one line.
    """
    where = f"{what} {shorten(str(reference))}"
    try:
        module = _from_file(reference.where) if reference.where.endswith(".py") else _from_module(reference.where)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{where}: {type(error).__name__}: {shorten(error)}") from error
    if not hasattr(module, reference.name):
        raise ValueError(f"{where}: there is no {reference.name} in it")
    path = getattr(module, "__file__", None)
    if path is None:
        raise ValueError(f"{where}: no file holds it, so that its versions cannot be told apart")
    return Loaded(getattr(module, reference.name), files.sha256(pathlib.Path(path)))


def make(
    reference: Reference, what: str, kind: type[_Named], taken: Container[str], **keywords: Any
) -> tuple[_Named, str]:
    """(a value with a name, of a user's code, or what the function there returns; the SHA-256 of the code).

    Args:
        reference: of the value or the function.
        what: it is, in errors.
        kind: the class it has to be of.
        taken: names that it may not have.
        **keywords: of the function.

    Raises:
        ValueError: as of `load`, or if it fails, is something else, or has a name that is taken; one line.
    """
    found, checksum = load(reference, what)
    where = f"{what} {shorten(str(reference))}"
    if keywords and not callable(found):
        raise ValueError(f"{where} is a {what}, and takes no settings")
    try:
        made = found(**keywords) if callable(found) else found
    except Exception as error:
        raise ValueError(f"{where}: {type(error).__name__}: {shorten(error)}") from error
    if not isinstance(made, kind):
        raise ValueError(f"{where} is a {type(made).__name__}, needed is a {kind.__name__} or what returns one")
    if made.name in taken:
        raise ValueError(f"{where}: the name {made.name} is that of a {what} of this package")
    return made, checksum


def _from_file(path: str) -> Any:
    file = pathlib.Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError("there is no such file")
    specification = importlib.util.spec_from_file_location(file.stem, file)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _from_module(name: str) -> Any:
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        raise ModuleNotFoundError("there is no such module")
    return importlib.import_module(name)

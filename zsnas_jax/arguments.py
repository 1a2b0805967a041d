"""Kinds of flags: each says what it allows where it is defined, and the subject under which --help shows it."""

from collections.abc import Iterable, Sequence
import math
import os
import textwrap
from typing import Any, NamedTuple

from absl import flags

FLAGS = flags.FLAGS
_WIDTH = 100
_HELP = """Help
  --help, -h
      Show this.
  --version
      Show the version.
  --verbosity=1
      Log more, and show the traceback of an error."""
_HEADINGS: dict[str, list[str]] = {}
"""Subject to the names of its flags, in the order of their definition: what absl does not know of them."""


class Range(NamedTuple):
    """The numbers that a flag allows, from the least to the most, without some."""

    least: float
    most: float
    without: tuple[float, ...] = ()

    def __contains__(self, value: Any) -> bool:
        return self.least <= value <= self.most and value not in self.without

    def __str__(self) -> str:
        excluded = "".join(f", {value:g} excluded" for value in self.without)
        return f"{_say(self.least)} to {_say(self.most)}{excluded}"


def _say(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


class Number(flags.ArgumentParser[Any]):
    """Text to a number within a range; ValueError says which are."""

    def __init__(self, kind: type, allowed: Range) -> None:
        self.kind, self.allowed = kind, allowed
        self.syntactic_help = f"allowed are {'whole ' * (kind is int)}numbers from {allowed}"

    def parse(self, argument: Any) -> Any:
        """The number."""
        try:
            value = self.kind(argument)
        except (ValueError, OverflowError):
            value = math.nan
        if value not in self.allowed:
            raise ValueError(self.syntactic_help)
        return value


class Choice(flags.ArgumentParser[str]):
    """One of some words; ValueError names them."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = tuple(allowed)
        self.syntactic_help = f"allowed are {', '.join(self.allowed)}"

    def parse(self, argument: str) -> str:
        """The word."""
        if argument not in self.allowed:
            raise ValueError(self.syntactic_help)
        return argument


class Path(flags.ArgumentParser[str]):
    """A path, or a word that stands for what lies elsewhere, with `~` expanded; ValueError for an empty one."""

    def __init__(self, *, may_be_empty: bool = False) -> None:
        self.may_be_empty = may_be_empty

    def parse(self, argument: str) -> str:
        """The path, absolute where it began with `~`."""
        if not argument and not self.may_be_empty:
            raise ValueError("a path or a name is needed")
        if not _is_text(argument):
            raise ValueError("a path in UTF-8 is needed")
        path = os.path.expanduser(argument)
        if path.startswith("~"):
            raise ValueError(f"{path.split(os.sep)[0]} is no home folder that is known here")
        return path


def _is_text(argument: str) -> bool:
    """Whether what came from the command line was UTF-8, which XLA asks of paths."""
    return not any("\ud800" <= letter <= "\udfff" for letter in argument)


class Paths(flags.ListParser):
    """Paths, separated by commas."""

    def parse(self, argument: Any) -> list[str]:
        """The paths, each as of `Path`."""
        return [Path().parse(path) for path in super().parse(argument)]


class Subject:
    """Defines flags of one subject.

    Args:
        heading: of the subject in --help; several parts of a binary may add to one.
    """

    def __init__(self, heading: str) -> None:
        self._names = _HEADINGS.setdefault(heading, [])

    def whole(self, name: str, default: int | None, says: str, allowed: Range) -> None:
        """A whole number."""
        self._define(name, default, says, Number(int, allowed))

    def real(self, name: str, default: float | None, says: str, allowed: Range) -> None:
        """A number."""
        self._define(name, default, says, Number(float, allowed))

    def switch(self, name: str, default: bool | None, says: str) -> None:
        """Yes or no."""
        flags.DEFINE_bool(name, default, says)
        self._names.append(name)

    def text(self, name: str, default: str | None, says: str) -> None:
        """Any text."""
        self._define(name, default, says, flags.ArgumentParser())

    def choice(self, name: str, default: str | None, says: str, allowed: Iterable[str]) -> None:
        """One of some words."""
        self._define(name, default, says, Choice(allowed))

    def path(self, name: str, default: str | None, says: str, *, may_be_empty: bool = False) -> None:
        """A path, or a word in the place of one."""
        self._define(name, default, says, Path(may_be_empty=may_be_empty))

    def words(self, name: str, default: Sequence[str] | None, says: str) -> None:
        """Words, separated by commas."""
        flags.DEFINE_list(name, default, says)
        self._names.append(name)

    def paths(self, name: str, says: str) -> None:
        """Paths, separated by commas; none by default."""
        self._define(name, [], says, Paths(), flags.CsvListSerializer(","))

    def repeated_paths(self, name: str, says: str) -> None:
        """A path each time that the flag is given; none by default."""
        flags.DEFINE_multi(Path(), flags.ArgumentSerializer(), name, [], says)
        self._names.append(name)

    def _define(self, name: str, default: Any, says: str, parser: Any, serializer: Any = None) -> None:
        flags.DEFINE(parser, name, default, says, serializer=serializer or flags.ArgumentSerializer())
        self._names.append(name)


def define_help() -> None:
    """The flags that every binary has; --version is served by `zsnas_jax.command`, before the imports."""
    flags.DEFINE_bool("help", False, "Show this.", short_name="h")
    flags.DEFINE_bool("version", False, "Show the version.")


def help_text(program: str, description: str, takes: str = "") -> str:
    """What --help prints: the description, then the flags by subject, each with its default and what it allows."""
    usage = " ".join(["usage:", program, "[--FLAG=VALUE ...]", *filter(None, [takes])])
    parts = [f"{program}: {description.strip()}", usage]
    parts += [
        "\n".join([heading, *(_describe(FLAGS[n]) for n in names)]) for heading, names in _HEADINGS.items() if names
    ]
    return "\n\n".join([*parts, _HELP])


def _describe(flag: Any) -> str:
    """A flag as --help shows it."""
    default = "" if flag.default in (None, []) else f"={flag.default_as_str[1:-1]}"
    shown = f"--{'no' if flag.default else '[no]'}{flag.name}" if flag.boolean else f"--{flag.name}{default}"
    allowed = f" A{flag.parser.syntactic_help[1:]}." if isinstance(flag.parser, Number | Choice) else ""
    return f"  {shown}\n{textwrap.indent(textwrap.fill(flag.help + allowed, _WIDTH), ' ' * 6)}"

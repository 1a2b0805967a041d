"""Text of a page: written whole and only if it changed, and escaped where plain text is not Markdown."""

from collections.abc import Iterable, Sequence
import pathlib
import re

from zsnas_jax.storage import files

_CODE = re.compile(r"`[^`]+`")


def write(path: pathlib.Path, text: str) -> None:
    """Writes a page; one that is there already stays as it is, so that Sphinx does not read it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        with files.replacing(path) as temporary:
            pathlib.Path(temporary).write_text(text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, whose cells are Markdown of one line."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def plain(text: str) -> str:
    """Text that says itself in Markdown, but for its code in backticks."""
    parts, at = list[str](), 0
    for found in _CODE.finditer(text):
        parts += [_escaped(text[at : found.start()]), found.group()]
        at = found.end()
    return "".join([*parts, _escaped(text[at:])])


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_\[\]<>{}$#])", r"\\\1", text)


def claim(of: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((of.__doc__ or "").strip().split("\n\n")[0].split())

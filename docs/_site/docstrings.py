"""Docstrings of this package are plain text that is read in the source: here they become reStructuredText.

Names in single backticks are code. A block that is indented behind an empty line stands as it is, as in Markdown.
Stars, bars and underscores are themselves: |corr(A_s)|, W * g_W, sum_l.
"""

from collections.abc import Iterable
import itertools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_CODE = re.compile(r"``.+?``|`[^`]+`", re.S)
_NAME = re.compile(r"[A-Za-z_][\w.]*")
_INDENT = 4


def mark_up(app: "Sphinx", what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Replaces the lines of a docstring, as Sphinx's event asks."""
    marked = []
    for is_literal, group in itertools.groupby(_told_apart(lines), key=lambda told: told[0]):
        text = "\n".join(line for _, line in group)
        marked += (text if is_literal else _escaped(text)).split("\n")
    # Napoleon takes what stands before a colon in the first line of a constant's docstring for its type.
    lines[:] = ["", *marked] if what in ("attribute", "data", "property") else marked


def _told_apart(lines: Iterable[str]) -> Iterable[tuple[bool, str]]:
    """Lines, and whether each stands as it is; what has to stand before such a block stands there."""
    margin, literal, empty, begun = 0, None, False, False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            empty = True
            yield literal is not None, line
            continue
        if literal is not None and indent < literal:
            literal = None
        if literal is None and empty and begun and indent >= margin + _INDENT:
            literal = indent
            yield from ((True, " " * margin + "::"), (True, ""))
        if literal is None:
            margin, begun = indent, True
        yield literal is not None, line
        empty = False


def _escaped(text: str) -> str:
    """Text whose only markup is code and bullets."""
    parts, at = [], 0
    for found in _CODE.finditer(text):
        parts += [_plain(text[at : found.start()]), _code(text, found)]
        at = found.end()
    return "".join([*parts, _plain(text[at:])])


def _plain(text: str) -> str:
    text = re.sub(r"([\\|`]|\*(?! ))", r"\\\1", text)
    return re.sub(r"(\w)_(?!\w)", r"\1\\_", text)


def _code(text: str, found: re.Match[str]) -> str:
    code = " ".join(found.group().strip("`").split())
    marked = f":py:obj:`{code}`" if _NAME.fullmatch(code) else f"``{code}``"
    starts = found.start() == 0 or re.match(r"[\s'\"(\[{<\-/:]", text[found.start() - 1])
    ends = found.end() == len(text) or re.match(r"[\s'\")\]}>\-/\\:.,;!?]", text[found.end()])
    return ("" if starts else "\\ ") + marked + ("" if ends else "\\ ")


def is_left_out(app: "Sphinx", what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Whether a member is not shown: the fields of named tuples, of which their class's docstring says more."""
    return True if type(obj).__name__ == "_tuplegetter" else None

"""The documents of what was measured are part of the site: copies, so that its links lead to pages of it."""

import os
import pathlib
import re
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

COPIED = ("benchmarks", "perf", "projects")
"""Folders whose documents are copied, with the pictures in them."""
SUFFIXES = (".md", ".png")


def copy(root: pathlib.Path, folder: pathlib.Path) -> None:
    """Copies the documents and pictures, each only if it changed."""
    for name in COPIED:
        for path in sorted((root / name).rglob("*")):
            copied = folder / path.relative_to(root)
            if path.suffix not in SUFFIXES or _is_same(path, copied):
                continue
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copied)


def _is_same(path: pathlib.Path, copied: pathlib.Path) -> bool:
    return copied.exists() and copied.read_bytes() == path.read_bytes()


def lead_to_copies(app: "Sphinx", docname: str, source: list[str]) -> None:
    """Makes links of a page that lead out of the documentation lead to the copies, as Sphinx's event asks.

    Pages are read in the repository, too, where the same links lead to the files themselves. What is not copied, such
    as an example, Sphinx offers to download; a folder, or a document that is not part of the site, becomes plain code.
    """
    docs = pathlib.Path(app.srcdir)
    page = docs / f"{docname}.md"
    is_copy = docname.startswith("measured/")
    # Where the page stands in the repository, and so what its links are relative to.
    root = docs.parent
    folder = (root / pathlib.Path(docname).relative_to("measured")).parent if is_copy else page.parent

    def lead(found: re.Match[str]) -> str:
        text, target = found["text"], found["target"]
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return found.group()
        there = pathlib.Path(os.path.normpath(folder / path))
        if not there.exists() or (not is_copy and there.is_relative_to(docs)):
            return found.group()
        inside = there.relative_to(root)
        if inside.parts[0] in COPIED and there.suffix in SUFFIXES:
            there = docs / "measured" / inside
        elif inside.parts[0] == "docs":
            there = docs / inside.relative_to("docs")
        elif there.is_dir() or there.suffix == ".md":
            return f"{text} (`{inside}`)"
        own = os.path.relpath(there, page.parent)
        return f"{found['mark']}[{text}]({own}{'#' + anchor if anchor else ''})"

    source[0] = re.sub(r"(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)", lead, source[0])

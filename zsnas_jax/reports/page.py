"""One self-contained page: what a run leaves behind, its tables and pictures, to be opened or sent as it is."""

import base64
from collections.abc import Mapping, Sequence
import html
import os
import pathlib
from typing import Any, NamedTuple

from tabulate import tabulate

from zsnas_jax.storage import files

FILE = "report.html"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
div { overflow-x: auto; } img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ddd; padding: 0.25rem 0.8rem 0.25rem 0; text-align: left; vertical-align: top; }
td { max-width: 45rem; overflow-wrap: break-word; } p.note { color: #666; }
"""


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        heading: above it.
        rows: of a table, each a mapping from column to what stands there as text; none: there is no table.
        pictures: names of PNGs in the folder of the page.
        note: a paragraph above both.
    """

    heading: str
    rows: Sequence[Mapping[str, Any]] = ()
    pictures: Sequence[str] = ()
    note: str = ""


def settings_section(settings: Mapping[str, Any]) -> Section:
    """What a run depends on."""
    return Section("Settings", [{"setting": name, "value": str(value)} for name, value in settings.items()])


def write(folder: str | os.PathLike[str], title: str, sections: Sequence[Section]) -> str:
    """Writes report.html into a folder, pictures inside it as data URIs, whole or not at all; returns its name.

    Args:
        folder: where the pictures lie.
        title: of the page.
        sections: in their order; one without rows, pictures and a note is left out.

    Raises:
        OSError: if a picture cannot be read, or the page not be written.
    """
    folder = pathlib.Path(folder)
    parts = [_section(folder, section) for section in sections if section.rows or section.pictures or section.note]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    body = f"<h1>{html.escape(title)}</h1>\n" + "\n".join(parts)
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
    files.write_text(folder / FILE, page)
    return FILE


def _section(folder: pathlib.Path, section: Section) -> str:
    parts = [f"<h2>{html.escape(section.heading)}</h2>"]
    if section.note:
        parts.append(f'<p class="note">{html.escape(section.note)}</p>')
    if section.rows:
        table = tabulate(section.rows, headers="keys", tablefmt="html", disable_numparse=True)
        parts.append(f"<div>{table}</div>")
    parts += [_picture(folder / name) for name in section.pictures]
    return "\n".join(parts)


def _picture(path: pathlib.Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<p><img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}"></p>'

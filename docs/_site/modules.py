"""Pages of the modules: one a package with all its modules, one for each search space, one for each module alone."""

from collections.abc import Iterable
import importlib
import inspect
import pathlib
import pkgutil

from _site.pages import claim, plain, table
from _site.pages import write as write_page
import zsnas_jax

LEFT_OUT = (
    "zsnas_jax.command",
    *(f"zsnas_jax.{name}" for name in ("score_main", "search_main", "train_main", "flags")),
)
"""What makes the commands, whose flags are their interface."""


def write(folder: pathlib.Path, parts: pathlib.Path) -> None:
    """Writes the pages, which stand in no table of contents, and a table that leads to them."""
    pages: dict[str, list[str]] = {}
    for name in sorted(_names()):
        pages.setdefault(_page_of(name), []).append(name)
    for page, names in pages.items():
        sections = "\n".join(_section(name, page) for name in names)
        write_page(
            folder / f"{page}.md", f"---\norphan: true\n---\n\n[Modules](../../api.md)\n\n# {page}\n\n{sections}"
        )
    rows = ((f"[`{page.removeprefix('zsnas_jax.')}`](generated/api/{page}.md)", _claim(page)) for page in pages)
    write_page(parts / "modules.md", table(("module", "what it is"), rows))


def _claim(name: str) -> str:
    return plain(claim(importlib.import_module(name)))


def _names() -> Iterable[str]:
    found = pkgutil.walk_packages(zsnas_jax.__path__, "zsnas_jax.")
    return (module.name for module in found if "._" not in module.name and module.name not in LEFT_OUT)


def _page_of(name: str) -> str:
    """The page that a module stands on: its package's, of a space's its space's."""
    parts = name.split(".")
    depth = 3 if parts[1] == "search_spaces" else 2
    return ".".join(parts[:depth])


def _section(name: str, page: str) -> str:
    title = "" if name == page else f"## {name.removeprefix('zsnas_jax.')}\n\n"
    exported = ", ".join(_link(name, public) for public in _exported(name))
    listed = f"It gives {exported}.\n" if exported else ""
    return f"{title}```{{eval-rst}}\n.. automodule:: {name}\n   :ignore-module-all:\n```\n\n{listed}"


def _exported(name: str) -> list[str]:
    """The names that a module takes from others to give them on."""
    module = importlib.import_module(name)
    own = vars(module)
    return [public for public in getattr(module, "__all__", ()) if _home(own.get(public)) not in (None, name)]


def _home(value: object) -> str | None:
    """The module in which a function or class is defined."""
    return value.__module__ if inspect.isfunction(value) or inspect.isclass(value) else None


def _link(name: str, public: str) -> str:
    value = getattr(importlib.import_module(name), public)
    return f"[`{public}`](#{value.__module__}.{value.__qualname__})"

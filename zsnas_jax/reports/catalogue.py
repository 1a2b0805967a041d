"""What there is to name on a command line, a line on each: the first of its docstring, or what it says of itself."""

from collections.abc import Callable
import functools
import inspect
import sys
from typing import Any

from zsnas_jax.proxies import PROXIES
from zsnas_jax.search import STRATEGIES
from zsnas_jax.search_spaces import SPACES
from zsnas_jax.storage.reading import shorten
from zsnas_jax.training import RECIPES
from zsnas_jax.votes import VOTES, Vote

_LONGEST = 150


def listed() -> dict[str, dict[str, str]]:
    """Kind of thing to name to what it is."""
    return {
        "proxies": {name: _first_line(make) for name, make in PROXIES.items()},
        "votes": {name: _of_vote(vote) for name, vote in VOTES.items()},
        "spaces": {name: _of_space(make) for name, make in SPACES.items()},
        "strategies": {name: _first_line(make) for name, make in STRATEGIES.items()},
        "recipes": {name: f"{recipe.epochs:g} epochs: {recipe.source}" for name, recipe in RECIPES.items()},
    }


def as_text() -> str:
    """For the terminal: a line each, as long as a line may be."""
    parts = []
    for kind, entries in listed().items():
        width = max(map(len, entries))
        parts.append(
            "\n".join([kind, *(f"  {n.ljust(width)}  {shorten(says, _LONGEST)}" for n, says in entries.items())])
        )
    return "\n\n".join(parts)


def _first_line(of: Any) -> str:
    return (inspect.getdoc(of) or "").split("\n\n")[0].replace("\n", " ")


def _of_vote(vote: Vote) -> str:
    return f"{vote.method} of {', '.join(vote.experts)}; {vote.reference}"


def _of_space(make: Callable[[], Any]) -> str:
    """What the package of a space says at its top."""
    function = make.func if isinstance(make, functools.partial) else make
    return _first_line(sys.modules[function.__module__])

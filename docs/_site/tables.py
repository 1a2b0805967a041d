"""Tables of what is registered: proxies, votes, strategies, losses, recipes, and the flags of the commands."""

from collections.abc import Callable, Iterable, Mapping
import inspect
import pathlib
import subprocess
import sys
from typing import Any

from _site.pages import claim, plain, table
from _site.pages import write as write_page
from zsnas_jax import search, training, votes
from zsnas_jax.base import Proxy
from zsnas_jax.measure.losses import LOSSES
from zsnas_jax.proxies.registry import FACTORIES

FIRST = "zsnas_jax.proxies.response"
"""The family that this package is about."""
COMMANDS = ("score_main", "search_main", "train_main", "compare_main", "merge_main")
_BACK = frozenset({"gradients", "kernel_gradients", "fisher", "jacobian", "own_jacobian", "trunk"})
"""Needs of proxies that take a way back through the network."""
_LABELS = frozenset({"gradients", "kernel_gradients", "fisher", "labels", "class_labels"})
"""Needs that take labels, where a proxy does not bring a loss of its own."""


def write(folder: pathlib.Path, asked: Mapping[str, subprocess.Popen[str]]) -> None:
    """Writes every table, and what the commands that were asked print, into a file that a page includes."""
    made = {"proxies": proxies(), "votes": named_votes(), "methods": methods(), "strategies": strategies()}
    made |= {"losses": losses(), "recipes": recipes()}
    made |= {name: f"```text\n{_printed(name, process)}\n```\n" for name, process in asked.items()}
    for name, text in made.items():
        write_page(folder / f"{name}.md", text)


def proxies() -> str:
    """The proxies, a table a family: a file of `zsnas_jax.proxies` with the first line of its docstring."""
    families: dict[str, list[Callable[..., Proxy]]] = {FIRST: []}
    for factory in FACTORIES:
        families.setdefault(factory.__module__, []).append(factory)
    head = ("name", "score", "pass", "labels", "programs", "source")
    parts = []
    for family, factories in families.items():
        title, _, rest = claim(sys.modules[family]).partition(": ")
        parts += [f"## {title.rstrip('.')}\n", f"{plain(rest[:1].upper() + rest[1:])}\n"]
        parts.append(table(head, map(_proxy_row, factories)))
    return "\n".join(parts)


def _proxy_row(factory: Callable[..., Proxy]) -> tuple[str, ...]:
    proxy = factory()
    name = f"[`{proxy.name}`](#{factory.__module__}.{factory.__name__})"
    cost = f"{passes(proxy)}{', costly' if proxy.is_costly else ''}"
    labels = "yes" if proxy.needs & _LABELS and not proxy.prepare else ""
    said = [plain(claim(factory))]
    said += [f"Settings: {settings}."] if (settings := _settings(factory)) else []
    said += [f"For {proxy.only_for} alone."] if proxy.only_for else []
    said += [f"Undefined {plain(proxy.undefined)}."] if proxy.undefined else []
    return name, " ".join(said), cost, labels, roads(proxy), plain(proxy.reference)


def passes(proxy: Proxy) -> str:
    """What a proxy costs beside the weights, by what it declares: passes that it shares with others, or of its own."""
    if proxy.prepare or "network" in proxy.needs:
        return "own"
    if proxy.needs & _BACK:
        return "forward, back"
    return "forward" if proxy.needs or proxy.observe else "none"


def roads(proxy: Proxy) -> str:
    """The programs that serve a proxy: chains do not serve those that run the network themselves."""
    return "dispatched, static" if "network" in proxy.needs else "all"


def _settings(factory: Callable[..., Any], *without: str) -> str:
    """The keywords of a factory as they are by default."""
    given = inspect.signature(factory).parameters.values()
    own = [p for p in given if p.kind is p.KEYWORD_ONLY and p.name not in ("name", *without)]
    return ", ".join(f"`{p.name}={p.default}`" for p in own)


def named_votes() -> str:
    """The votes that have a name."""
    rows = []
    for name, vote in votes.VOTES.items():
        weights = vote.weights or (None,) * len(vote.experts)
        experts = ", ".join(
            f"{weight:g} `{expert}`" if weight else f"`{expert}`"
            for weight, expert in zip(weights, vote.experts, strict=True)
        )
        rows.append((f"`{name}`", experts, f"`{vote.method}`", plain(vote.reference)))
    return table(("name", "experts", "method", "source"), rows)


def methods() -> str:
    """The ways to put the scores of experts together."""
    functions = {name: getattr(votes, name, votes.comparator_sort) for name in votes.METHODS}
    rows = ((f"`{name}`", plain(claim(function))) for name, function in functions.items())
    return table(("method", "what an architecture is given"), rows)


def strategies() -> str:
    """The search strategies."""
    factories = {**search.STRATEGIES, "random": search.random_search}
    rows = ((f"`{name}`", plain(claim(make)), _settings(make, "num_experts")) for name, make in factories.items())
    return table(("name", "what it does", "settings"), rows)


def losses() -> str:
    """The losses by name."""
    return table(("name", "loss"), ((f"`{name}`", plain(claim(loss))) for name, loss in LOSSES.items()))


def recipes() -> str:
    """The recipes of training, by what is told apart most."""
    rows: Iterable[tuple[str, ...]] = (
        (
            f"`{name}`",
            f"{recipe.epochs:g}",
            f"{recipe.batch_size}",
            recipe.optimizer,
            f"{recipe.learning_rate:g}, {recipe.schedule}",
            f"{recipe.weight_decay:g}",
            ", ".join(recipe.augmentations),
            plain(recipe.source),
        )
        for name, recipe in training.RECIPES.items()
    )
    return table(("name", "epochs", "batch", "optimizer", "rate", "decay", "augmentations", "source"), rows)


def ask_for_help() -> Mapping[str, subprocess.Popen[str]]:
    """The commands on their way to print --help, each in a process of its own, since they share names of flags."""
    call = lambda name: [sys.executable, "-m", f"zsnas_jax.{name}", "--help"]
    return {name: subprocess.Popen(call(name), stdout=subprocess.PIPE, text=True) for name in COMMANDS}


def _printed(name: str, process: subprocess.Popen[str]) -> str:
    text = process.communicate()[0].strip()
    if process.returncode:
        raise RuntimeError(f"{name} --help ends with {process.returncode}")
    return text

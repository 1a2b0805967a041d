"""Results folders against each other: rank correlations of equal proxies, differences of settings. N shared archs."""

from collections.abc import Mapping, Sequence
import itertools
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
from tabulate import tabulate

from zsnas_jax.reports import documents, metrics, page
from zsnas_jax.reports.metrics import Interval
from zsnas_jax.reports.page import Section
from zsnas_jax.storage import files
from zsnas_jax.storage.reading import shorten
from zsnas_jax.storage.stored import Stored

_MANY = 2000
"""Architectures of which Kendall's tau is resampled fewer times, as in the report of a run."""
LEAST = 2
"""Shared architectures that a correlation needs."""


class Agreement(NamedTuple):
    """How alike two folders rank by one proxy.

    Attributes:
        proxy: its label.
        folders: the names of the two.
        num_archs: N.
        num_undefined: of these, how many have no finite score in the first and in the second; they rank last.
        spearman: rho with its 95 % bootstrap interval; NaN where one is constant.
        kendall: tau-b likewise.
    """

    proxy: str
    folders: tuple[str, str]
    num_archs: int
    num_undefined: tuple[int, int]
    spearman: Interval
    kendall: Interval


class Comparison(NamedTuple):
    """What came out.

    Attributes:
        space: of all folders.
        folders: their names.
        agreements: of every pair of folders by every proxy that both have.
        differences: setting to what each folder has, as text, where they differ.
    """

    space: str
    folders: list[str]
    agreements: list[Agreement]
    differences: dict[str, list[str]]


def compare(names: Sequence[str], folders: Sequence[Stored]) -> Comparison:
    """Compares folders.

    Args:
        names: of the folders, for people.
        folders: what they hold.

    Raises:
        ValueError: if they are of different spaces, or no two of them share a proxy and two architectures.
    """
    spaces = [str(folder.settings.get("space")) for folder in folders]
    for name, space in zip(names, spaces, strict=True):
        if space != spaces[0]:
            raise ValueError(f"{name} is of space {space}, {names[0]} of {spaces[0]}: scores of one space are compared")
    agreements = []
    for (first, one), (second, other) in itertools.combinations(zip(names, folders, strict=True), 2):
        for proxy in one.scores:
            shared = [arch for arch in one.scores[proxy] if arch in other.scores.get(proxy, {})]
            if len(shared) >= LEAST:
                both = [np.array([held.scores[proxy][arch] for arch in shared]) for held in (one, other)]
                agreements.append(_agreement(proxy, (first, second), *both))
    if not agreements:
        held = "; ".join(f"{name} has {_say(folder)}" for name, folder in zip(names, folders, strict=True))
        raise ValueError(f"no two folders share {LEAST} architectures scored by one proxy: {held}")
    return Comparison(spaces[0], list(names), agreements, _differences(folders))


def _agreement(proxy: str, folders: tuple[str, str], x: np.ndarray, y: np.ndarray) -> Agreement:
    x, y = (np.where(np.isfinite(values), values, -np.inf) for values in (x, y))
    rho = metrics.bootstrap_spearman(x, y)
    tau = metrics.bootstrap(metrics.kendall, x, y, num_resamples=1000 if len(x) <= _MANY else 100)
    undefined = int(np.isneginf(x).sum()), int(np.isneginf(y).sum())
    return Agreement(proxy, folders, len(x), undefined, rho, tau)


def _say(folder: Stored) -> str:
    return ", ".join(f"{len(column)} by {proxy}" for proxy, column in folder.scores.items()) or "none"


def _differences(folders: Sequence[Stored]) -> dict[str, list[str]]:
    names = sorted(set().union(*(folder.settings for folder in folders)))
    said = {name: [_as_text(folder.settings, name) for folder in folders] for name in names}
    return {name: values for name, values in said.items() if len(set(values)) > 1}


def _as_text(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name], sort_keys=True) if name in settings else "not stated"


def _record(agreement: Agreement) -> dict[str, Any]:
    """A row of agreement.csv; None where nothing is defined."""
    row: dict[str, Any] = {"proxy": agreement.proxy}
    row |= dict(zip(("first", "second"), agreement.folders, strict=True)) | {"num_archs": agreement.num_archs}
    row |= dict(zip(("num_undefined_first", "num_undefined_second"), agreement.num_undefined, strict=True))
    for name in ("spearman", "kendall"):
        row |= documents.interval_record(name, getattr(agreement, name))
    return row


def _rows(compared: Comparison) -> list[dict[str, str]]:
    """For people."""
    return [
        {
            "proxy": own.proxy,
            "folders": " / ".join(own.folders),
            "archs": f"{own.num_archs:,}",
            "Spearman rho [95 %]": documents.format_interval(own.spearman),
            "Kendall tau [95 %]": documents.format_interval(own.kendall),
        }
        for own in compared.agreements
    ]


def _setting_rows(compared: Comparison) -> list[dict[str, str]]:
    return [
        {"setting": name} | dict(zip(compared.folders, map(shorten, values), strict=True))
        for name, values in compared.differences.items()
    ]


def write_all(folder: str | os.PathLike[str], compared: Comparison) -> list[str]:
    """Writes agreement.csv, settings.csv where settings differ, agreement.png and report.html; returns their names."""
    from zsnas_jax.reports import plots  # here: matplotlib would be a second of every command's start

    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make the results folder {folder}: {error.strerror}") from error
    files.sweep(folder)
    documents.write_csv(folder / "agreement.csv", map(_record, compared.agreements))
    written = ["agreement.csv"]
    if compared.differences:
        rows = [
            {"setting": name} | dict(zip(compared.folders, values, strict=True))
            for name, values in compared.differences.items()
        ]
        documents.write_csv(folder / "settings.csv", rows)
        written.append("settings.csv")
    pairs: dict[str, dict[str, Interval]] = {}
    for own in compared.agreements:
        pairs.setdefault(" / ".join(own.folders), {})[own.proxy] = own.spearman
    title = f"How alike folders rank architectures of {compared.space}"
    plots.intervals(folder / "agreement.png", pairs, "Spearman's rho of the scores, with 95 % intervals", title)
    settings = _setting_rows(compared)
    sections = [
        Section("Agreement", _rows(compared), ["agreement.png"]),
        Section("Settings that differ", settings, note="" if settings else "none"),
    ]
    return [*written, "agreement.png", page.write(folder, title, sections)]


def as_text(compared: Comparison) -> str:
    """For the terminal."""
    lines = ["", tabulate(_rows(compared), headers="keys", disable_numparse=True)]
    lines.append("\nsettings that differ:" if compared.differences else "\nall settings are equal")
    if compared.differences:
        lines.append(tabulate(_setting_rows(compared), headers="keys", disable_numparse=True))
    return "\n".join(lines)

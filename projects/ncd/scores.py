"""Scores of NAS-Bench-201 that are there already: read from results folders and tables, and put together."""

from collections.abc import Iterable, Mapping
import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from zsnas_jax import benchmarks
from zsnas_jax.benchmarks.tabular import read_csv
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.proxies import PROXIES
from zsnas_jax.proxies.labels import OPTIONS, label, parse
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage import arrays, stored
from zsnas_jax.storage.reading import reading

_OF_PROXIES = ("weighting", *OPTIONS)
"""Settings that folders of format 1 have of all their proxies, and labels say since."""
_APART = ("format", "dataset", *_OF_PROXIES)
"""Settings in which folders may differ. The name of a data set may be a path: batch_sha256 says what is in it."""

_MAX_ARRAY = 1 << 28  # bytes


class Source(NamedTuple):
    """Scores that lie in one place.

    Attributes:
        settings: what they depend on, as far as it is known.
        scores: label of a proxy to published index to score.
    """

    settings: dict[str, Any]
    scores: dict[str, dict[int, float]]


def read_store(folder: pathlib.Path) -> Source:
    """What a results folder holds, a results.sqlite or else scores.csv and report.json; nothing in it is changed.

    Raises:
        ValueError: if it is none, of another space, damaged, or in use.
    """
    if not (folder / stored.FILE).exists():
        if not (folder / "scores.csv").exists():
            raise ValueError(f"store {folder} has neither {stored.FILE} nor scores.csv")
        report = folder / "report.json"
        with reading(str(report)):
            said = json.loads(report.read_text()) if report.exists() else {}
            settings = said.get("settings", {})
        known = _read_file(folder / "scores.csv")  # which has ranks, sizes and accuracies beside the scores
        chosen = {name: column for name, column in known.items() if name in said.get("proxies", known)}
        return Source(settings, _labelled(chosen, settings))
    settings, columns, *_ = stored.read(folder)
    if settings.get("space") != "nasbench201":
        raise ValueError(f"{folder} is of space {settings.get('space')!r}: needed is nasbench201")
    index = {arch: _index(arch) for arch in dict.fromkeys(arch for column in columns.values() for arch in column)}
    scores = {proxy: {index[arch]: score for arch, score in column.items()} for proxy, column in columns.items()}
    return Source(settings, _labelled(scores, settings))


def read_table(name: str) -> Source:
    """What a table holds: one that the package ships, or a CSV or npz with `index` or `arch` and a column a proxy.

    Raises:
        ValueError: if it has neither.
    """
    if name not in benchmarks.BENCHMARKS:
        return Source({}, _read_file(pathlib.Path(name)))
    table = benchmarks.open_benchmark(name)
    scores = {proxy: dict(enumerate(np.asarray(column).tolist())) for proxy, column in table.columns.items()}
    settings = json.loads(table.source)["settings"]
    return Source(settings, _labelled(scores, settings))


def _index(arch: str) -> int:
    return int(nasbench201.to_index(nasbench201.decode(arch)))


def _labelled(scores: dict[str, dict[int, float]], settings: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Scores by label; a folder of format 1 knows them by name, and says weighting and options of all at once."""
    options = LayerOptions(**{name: settings.get(name, usual) for name, usual in OPTIONS.items()})
    weighting = settings.get("weighting")
    named = lambda proxy: label(parse(proxy, weighting=weighting, options=options)) if proxy in PROXIES else proxy
    return {named(proxy): column for proxy, column in scores.items()}


def _read_file(path: pathlib.Path) -> dict[str, dict[int, float]]:
    """Column to published index to score."""
    columns: dict[str, Any]
    if path.suffix == ".npz":
        with reading(str(path)), arrays.open_npz(path) as archive:
            columns = {name: arrays.read(archive, name, _MAX_ARRAY) for name in arrays.names(archive)}
    else:
        names, rows, _ = read_csv(path)
        columns = {name: [row[name] for row in rows] for name in names}
    if "index" not in columns and "arch" not in columns:
        raise ValueError(f"table {path} has columns {', '.join(columns) or 'none'}: needed is index or arch")
    index = [_index(str(a)) for a in columns["arch"]] if "arch" in columns else [int(i) for i in columns["index"]]
    scores = {}
    for name, column in columns.items():
        if name not in ("arch", "index") and np.shape(column) == (len(index),):
            scores[name] = {i: float(v) for i, v in zip(index, column, strict=True) if str(v) != ""}
    return scores


def merge(sources: Mapping[str, Source]) -> dict[str, np.ndarray]:
    """Label of a proxy to its scores float64[15625] in all sources, NaN where there is none.

    Args:
        sources: by name, for errors.

    Raises:
        ValueError: if two differ in settings, or in the score of a cell by more than rounding.
    """
    _check_alike(sources)
    merged: dict[str, np.ndarray] = {}
    for name, source in sources.items():
        for proxy, scores in source.scores.items():
            column = merged.setdefault(proxy, np.full(nasbench201.NUM_ARCHS, np.nan))
            index, values = np.array(list(scores), int), np.array(list(scores.values()), float)
            clash = ~np.isnan(column[index]) & ~np.isclose(column[index], values, rtol=1e-4)  # equal up to rounding
            if clash.any():
                first = np.flatnonzero(clash)[0]
                cell, value = index[first], values[first]
                raise ValueError(f"{proxy} of cell {cell} is {value} in {name}, {column[cell]} before it")
            column[index] = np.where(np.isnan(column[index]), values, column[index])
    return merged


def _check_alike(sources: Mapping[str, Source]) -> None:
    shared: dict[str, Any] = {}
    for source, (settings, _) in sources.items():
        for name, value in settings.items():
            if name not in _APART and shared.setdefault(name, value) != value:
                raise ValueError(f"{source} has {name} {value!r}, those before it {shared[name]!r}: give stores alike")


def common_cells(scores: Iterable[np.ndarray]) -> np.ndarray:
    """Published indices of the cells that all of some columns float64[15625] have a score of."""
    return np.flatnonzero(~np.isnan(np.stack(list(scores))).any(0))

"""A score's profile: what each layer of an architecture alone is worth. A architectures, L layers.

Two networks of one score can have it from other layers; the WRCor paper explains the best and the worst cell of
NAS-Bench-101 so (its Section 4.2).
"""

from collections.abc import Callable, Sequence
import os
import pathlib
from typing import NamedTuple

import numpy as np

from zsnas_jax.base import Proxy
from zsnas_jax.proxies import response
from zsnas_jax.reports import documents

MOST_DRAWN = 8


class Profile(NamedTuple):
    """Scores by layer.

    Attributes:
        name: of the score, in `zsnas_jax.proxies.response.FAMILY`.
        archs: as strings.
        layers: float[A, L], -inf where a layer is not there or undefined.
    """

    name: str
    archs: list[str]
    layers: np.ndarray


def profile(
    name: str, archs: Sequence[str], num_layers: np.ndarray, score: Callable[[Sequence[Proxy]], np.ndarray]
) -> Profile:
    """Scores every layer alone, all in one pass.

    Args:
        name: in `zsnas_jax.proxies.response.FAMILY`.
        archs: their strings.
        num_layers: `zsnas_jax.proxies.response.num_layers` of each, float[A].
        score: P proxies to the scores float[A, P] of the architectures.
    """
    return Profile(name, list(archs), score(response.profile(name, int(num_layers.max()))))


def write(folder: str | os.PathLike[str], found: Profile, accuracy: np.ndarray | None) -> list[str]:
    """Writes profile.csv, a row an architecture and layer, and profile.png; returns their names.

    Drawn are up to eight: the best and the worst by accuracy where it is known, else the first.

    Args:
        folder: of the results.
        found: the profile.
        accuracy: float[A], fractions; None where it is not known.
    """
    from zsnas_jax.reports import plots  # here: matplotlib would be a second of every command's start

    rows = [
        {"arch": arch, "layer": layer, found.name: float(value)}
        for arch, own in zip(found.archs, found.layers, strict=True)
        for layer, value in enumerate(own, start=1)
    ]
    documents.write_csv(pathlib.Path(folder) / "profile.csv", rows)
    count = min(MOST_DRAWN, len(found.archs))
    if accuracy is None:
        drawn = {arch: place for place, arch in enumerate(found.archs[:count])}
    else:
        order = np.argsort(-accuracy, kind="stable")
        ends = [*order[: -(-count // 2)], *order[len(order) - count // 2 :]]
        drawn = {f"{accuracy[place]:.2%} {found.archs[place]}": place for place in ends}
    lines = {label: found.layers[place] for label, place in drawn.items()}
    plots.profile(pathlib.Path(folder) / "profile.png", lines, found.name)
    return ["profile.csv", "profile.png"]

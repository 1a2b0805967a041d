"""Pictures of what proxies are worth: over all spaces, among each other, by number of convolutions."""

from collections.abc import Mapping, Sequence
import pathlib

import numpy as np

from projects.spaces.comparison import Row
from projects.spaces.scored import Scored, counted
from zsnas_jax.reports import diagnostics, plots, score_report

DRAWN = ("naswot", "sam_nwot", "nir_nwot", "ncd_nwot", "swap", "sam_swap", "nir_swap", "ncd_swap", "wrcor", "params")


def overview(path: pathlib.Path, rows: Sequence[Row]) -> None:
    """Rho of every proxy on every space and task; proxies by their median, controls last."""
    places = list(dict.fromkeys(_place(row) for row in rows))
    rhos: dict[str, dict[str, float]] = {}
    for row in rows:
        rhos.setdefault(row.proxy, {})[_place(row)] = row.rho.value
    controls = {row.proxy for row in rows if row.is_control}
    middle = lambda name: np.nanmedian(np.nan_to_num(list(rhos[name].values())))
    names = sorted(rhos, key=lambda name: (name in controls, -middle(name)))
    values = np.array([[rhos[name].get(place, np.nan) for name in names] for place in places])
    plots.heat_map(path, values, places, names, "Spearman's rho with accuracy, controls on the right")


def agreement(path: pathlib.Path, scored: Scored) -> None:
    """Rho of every score with every other, on the architectures of a folder."""
    names, rho = score_report.correlations(scored.scores)
    title = f"Spearman's rho among scores: {', '.join(filter(None, (scored.space, scored.task)))}"
    plots.heat_map(path, rho, names, names, title)


def by_convolutions(path: pathlib.Path, scored: Mapping[str, Scored]) -> bool:
    """Rho among networks of equally many convolutions, as NCD's Figure 3; whether there is something to draw.

    Args:
        path: of the picture.
        scored: name of a line to the architectures of one space, at least one.
    """
    panels: dict[str, dict[str, diagnostics.ByConvolutions]] = {}
    for name, own in scored.items():
        numbers = counted(own).get("num_convolutions")
        if numbers is None or len(np.unique(numbers)) < 2:
            return False
        for proxy in (proxy for proxy in DRAWN if proxy in own.scores):
            found = diagnostics.by_convolutions(own.scores[proxy], own.accuracy, numbers.astype(int))
            panels.setdefault(proxy, {})[name] = found
    if panels:
        plots.within_groups(path, panels)
    return bool(panels)


def _place(row: Row) -> str:
    return ", ".join(filter(None, (row.space, row.task)))

"""Pictures of scores."""

import os

from matplotlib.figure import Figure
import numpy as np
from scipy import stats

from zsnas_jax import files


def _density(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """float[N], how crowded each point is; equal where the points lie on a line or are few."""
    points = np.vstack([stats.rankdata(x), stats.rankdata(y)])
    try:
        sample = points[:, np.linspace(0, points.shape[1] - 1, min(2000, points.shape[1])).astype(int)]
        return stats.gaussian_kde(sample)(points)
    except (np.linalg.LinAlgError, ValueError):
        return np.ones(points.shape[1])


def scatter(
    path: str | os.PathLike[str],
    panels: dict[str, np.ndarray],
    accuracy: np.ndarray,
    titles: dict[str, str],
    label: str,
) -> None:
    """Score against accuracy, one panel a proxy, coloured by density, as in Figure 2 of the WRCor paper.

    Args:
        path: a PNG, written whole or not at all.
        panels: name of a proxy to its scores float[N]; those that are not finite are left out and counted.
        accuracy: float[N], fractions.
        titles: title of each panel.
        label: of the accuracy axis.
    """
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.8 * rows), layout="constrained")
    for i, (name, scores) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        finite = np.isfinite(scores)
        x, y = scores[finite], 100 * accuracy[finite]
        if len(x):
            density = _density(x, y)
            order = np.argsort(density)
            axes.scatter(x[order], y[order], c=density[order], s=9, cmap="viridis", linewidths=0)
        left_out = f"\n{np.sum(~finite)} without a finite score not drawn" if not finite.all() else ""
        axes.set_title(titles[name] + left_out, fontsize=10)
        axes.set_xlabel(f"{name} score")
        axes.set_ylabel(f"{label} (%)")
        axes.grid(alpha=0.3)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")

"""Pictures of scores. N architectures."""

from collections.abc import Mapping, Sequence
import os
import re
import textwrap
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import rankdata

from zsnas_jax.reports.diagnostics import ByConvolutions, Group
from zsnas_jax.reports.documents import format_interval
from zsnas_jax.reports.metrics import Interval
from zsnas_jax.storage import files
from zsnas_jax.storage.reading import shorten

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # told apart by all eyes
_MARKERS = "osD^vP*"


_FEW = 10
"""Values that no axis squashes."""
_MOST_POINTS = 5000
"""Of a picture."""
_NEAR = 0.04
"""Of the sides of a panel: points no farther than that crowd each other."""


def in_lines(label: str, width: int = 40) -> str:
    """The label of a proxy with its settings, broken between them where it is longer than a panel is wide."""
    lines = [""]
    for part in re.findall(r"[^:]*:?", label):
        if len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(filter(None, lines))


def _density(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """int[N], how many points lie near each, of at most 2,000 of them, where a panel shows them."""
    across = lambda values: (values - values.min()) / (np.ptp(values) or 1.0)
    points = np.column_stack([across(np.float64(x)), across(np.float64(y))])
    sample = points[np.linspace(0, len(points) - 1, min(2000, len(points))).astype(int)]
    return cKDTree(sample).query_ball_point(points, _NEAR, return_length=True)


def scatter(
    path: str | os.PathLike[str],
    panels: dict[str, np.ndarray],
    accuracy: np.ndarray,
    titles: dict[str, str],
    label: str,
) -> None:
    """Score against accuracy, one panel a proxy, coloured by density, as in Figure 2 of the WRCor paper.

    Where a few values would squash the others (`is_squashed`), scores are shown as ranks, and the axis of accuracies is
    cut; the picture says so.

    Args:
        path: a PNG, written whole or not at all.
        panels: label of a proxy to its scores float[N]; those that are not finite are left out and counted.
        accuracy: float[N], fractions.
        titles: title of each panel.
        label: of the accuracy axis.
    """
    rows, columns = _grid(len(panels))
    figure = Figure(figsize=(4.2 * columns, 3.8 * rows), layout="constrained")
    for i, (name, scores) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        finite = np.isfinite(scores)
        x, y = scores[finite], 100 * accuracy[finite]
        x_label, y_label = in_lines(f"{name} score"), f"{label} (%)"
        if is_squashed(x):
            x, x_label = rankdata(x), f"{x_label}\n(ranks: a few scores would squash the others)"
        y, is_cut = _cut(y)
        if is_cut.any():
            y_label = f"{y_label}\n(cut: {is_cut.sum()} lie lower, at the triangles)"
            axes.scatter(x[is_cut], y[is_cut], marker="v", s=16, color="#888888", linewidths=0)
            x, y = x[~is_cut], y[~is_cut]
        if len(x):
            density = _density(x, y)
            order = np.argsort(density)
            axes.scatter(x[order], y[order], c=density[order], s=9, cmap="viridis", linewidths=0)
        left_out = f"\n{np.sum(~finite)} without a finite score not drawn" if not finite.all() else ""
        axes.set_title(titles[name] + left_out, fontsize=10)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(alpha=0.3)
    _save(figure, path)


def is_squashed(values: np.ndarray) -> bool:
    """Whether half of some finite values, those in the middle, lie within a twentieth of their range."""
    if len(values) < _FEW:
        return False
    low, high = np.percentile(values, [25, 75])
    return bool(high - low < 0.05 * np.ptp(values))


def _cut(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values float[N], the lowest moved up to where the axis ends if they would squash the others; which these are."""
    low, high = np.percentile(values, [25, 75]) if len(values) else (0.0, 0.0)
    end = low - 6 * (high - low) if is_squashed(values) and high > low else -np.inf
    return np.maximum(values, end), values < end


def _grid(num_panels: int) -> tuple[int, int]:
    """(rows, columns): up to four panels a row."""
    columns = min(num_panels, 4)
    return -(-num_panels // columns), columns


def _panels(num_panels: int, width: float, height: float, columns: int = 0) -> tuple[Figure, int, int]:
    """(figure, rows, columns) for panels of that many inches, with air between them; 0 columns: up to four."""
    rows, columns = (-(-num_panels // columns), columns) if columns else _grid(num_panels)
    figure = Figure(figsize=(width * columns, height * rows + 0.6))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure, rows, columns


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def by_convolutions(
    path: str | os.PathLike[str],
    panels: Mapping[str, np.ndarray],
    num_convolutions: np.ndarray,
    diagnoses: Mapping[str, ByConvolutions],
    label: str,
) -> None:
    """Scores by number of convolutions, the rank correlation inside each group above: NCD's Figures 3 and 4.

    One panel a proxy: below a box of the finite scores a group (quartiles; whiskers at 5 and 95 %), above the group's
    Spearman's rho with its 95 % interval, and a line at 0.

    Args:
        path: a PNG, written whole or not at all.
        panels: label of a proxy to its scores float[N].
        num_convolutions: int[N].
        diagnoses: label of a proxy to `zsnas_jax.reports.diagnostics.by_convolutions` of its scores.
        label: of the accuracies.
    """
    figure, rows, columns = _panels(len(panels), 4.4, 4.6)
    grid = figure.add_gridspec(rows, columns)
    for i, (name, scores) in enumerate(panels.items()):
        diagnosis = diagnoses[name]
        halves = grid[divmod(i, columns)].subgridspec(2, 1, height_ratios=(2, 3))
        above, below = figure.add_subplot(halves[0]), figure.add_subplot(halves[1])
        _draw_rho(above, diagnosis.groups, _COLOURS[1])
        above.set_title(
            f"{in_lines(name)}\nwithin groups: {format_interval(diagnosis.within_group_spearman)}", fontsize=10
        )
        _draw_boxes(below, scores, num_convolutions, diagnosis.groups)
        below.set_ylabel(in_lines(f"{name} score", 30))
        _label_groups(below, diagnosis.groups)
        above.sharex(below)
        above.tick_params(labelbottom=False)
    title = f"Spearman's rho with {label} among networks of equally many convolutions"
    figure.suptitle(textwrap.fill(title, 46 * columns), fontsize=11)
    _save(figure, path)


def _draw_rho(axes: Axes, groups: Sequence[Group], colour: str, marker: str = "o", shift: float = 0.0) -> Any:
    """The rho of each group with its interval, at the group's place moved by `shift`; returns the line's handle."""
    nothing = (np.nan,) * 3
    rho, low, high = np.array([group.spearman or nothing for group in groups]).T
    error = np.maximum([rho - low, high - rho], 0)
    drawn = axes.errorbar(
        np.arange(len(groups)) + shift, rho, error, color=colour, marker=marker, ms=4.5, lw=1.4, elinewidth=1, capsize=2
    )
    axes.axhline(0, color="black", lw=0.9)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks((-1, -0.5, 0, 0.5, 1))
    axes.set_ylabel("rho")
    axes.grid(alpha=0.3)
    return drawn


def _draw_boxes(axes: Axes, scores: np.ndarray, num_convolutions: np.ndarray, groups: Sequence[Group]) -> None:
    finite = np.isfinite(scores)
    boxes = {i: scores[finite & (num_convolutions == group.num_convolutions)] for i, group in enumerate(groups)}
    boxes = {i: values for i, values in boxes.items() if len(values)}
    if boxes:
        line = {"color": _COLOURS[0]}
        axes.boxplot(
            list(boxes.values()),
            positions=list(boxes),
            widths=0.6,
            whis=(5, 95),
            showfliers=False,
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": "#BBD7EA", "edgecolor": _COLOURS[0]},
            medianprops=line | {"lw": 1.6},
            whiskerprops=line,
            capprops=line,
        )
    if _spans_decades(scores[finite]):
        axes.set_yscale("log")
    else:
        axes.ticklabel_format(axis="y", scilimits=(-3, 5), useMathText=True)
    if not finite.all():
        note = f"{np.sum(~finite)} without a finite score not drawn"
        axes.text(0.98, 0.03, note, transform=axes.transAxes, ha="right", fontsize=8)
    axes.grid(alpha=0.3)


def _spans_decades(scores: np.ndarray) -> bool:
    """Whether scores float[N] are positive and most of them spread over more than a factor of 1,000."""
    if not len(scores) or scores.min() <= 0:
        return False
    low, high = np.percentile(scores, [5, 95])
    return bool(high > 1000 * low)


def _label_groups(axes: Axes, groups: Sequence[Group]) -> None:
    """A tick a group, its size below it where there is room."""
    few = len(groups) <= 8
    step = -(-len(groups) // 12)
    ticks = range(0, len(groups), step)
    size = lambda group: f"\nn {group.num_archs}" if few else ""
    axes.set_xticks(list(ticks), [f"{groups[i].num_convolutions}{size(groups[i])}" for i in ticks], fontsize=8)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_xlabel("number of convolutions")


def within_groups(path: str | os.PathLike[str], panels: Mapping[str, Mapping[str, ByConvolutions]]) -> None:
    """The rank correlation inside each group of equally many convolutions: a panel a proxy, a line a data set.

    Args:
        path: a PNG, written whole or not at all.
        panels: label of a proxy to name of a data set to its diagnosis, all of the same groups.
    """
    figure, rows, columns = _panels(len(panels), 4.2, 3.5)
    handles: dict[str, Any] = {}
    for i, (name, diagnoses) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        middle = (len(diagnoses) - 1) / 2
        for j, (dataset, diagnosis) in enumerate(diagnoses.items()):
            colour, marker = _COLOURS[j % len(_COLOURS)], _MARKERS[j % len(_MARKERS)]
            handles[dataset] = _draw_rho(axes, diagnosis.groups, colour, marker, 0.12 * (j - middle))
        within = [diagnosis.within_group_spearman for diagnosis in diagnoses.values()]
        means = " / ".join(f"{rho.value:.2f}" if rho else "-" for rho in within)
        axes.set_title(f"{in_lines(name)}\nmean within groups: {means}", fontsize=10)
        _label_groups(axes, diagnosis.groups)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper center",
        ncols=min(len(handles), 3 * columns),
        fontsize=9,
        columnspacing=1.2,
        title=textwrap.fill("Spearman's rho with accuracy among networks of equally many convolutions", 46 * columns),
        frameon=False,
    )
    _save(figure, path)


def heat_map(
    path: str | os.PathLike[str], values: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str
) -> None:
    """Correlations as colours with their numbers, blue above 0, red below; what is not there stays white.

    Args:
        path: a PNG, written whole or not at all.
        values: float[R, C] in [-1, 1]; NaN is not there.
        rows: names of the rows.
        columns: names of the columns.
        title: of the picture.
    """
    longest = max(map(len, rows))
    size = 2.2 + 0.075 * longest + 0.52 * len(columns), 2.6 + 0.34 * len(rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(len(rows)), rows, fontsize=9)
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            text = f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.0f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if abs(value) > 0.6 else "black")
    axes.set_title(textwrap.fill(title, max(30, int(9 * size[0]))), fontsize=10)
    _save(figure, path)


class Worth(NamedTuple):
    """How well predictions rank, by how many networks were trained.

    Attributes:
        lines: kind of the features to records of `trained`, `rho` and `rho_std`.
        label: of what needs no trained network.
        level: its rho.
    """

    lines: Mapping[str, Sequence[Mapping[str, float]]]
    label: str
    level: float


def worth(path: str | os.PathLike[str], panels: Mapping[str, Worth]) -> None:
    """Rho over the number of trained networks, a panel a space, with what needs none as a dotted line.

    Args:
        path: a PNG, written whole or not at all.
        panels: name of a space to its lines.
    """
    figure, rows, columns = _panels(len(panels), 4.6, 3.6, min(len(panels), 3))
    for i, (name, own) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, i + 1)
        for j, (kind, records) in enumerate(own.lines.items()):
            x, y, spread = (np.array([record[key] for record in records]) for key in ("trained", "rho", "rho_std"))
            axes.errorbar(x, y, spread, color=_COLOURS[j], marker=_MARKERS[j], markersize=4, capsize=2, label=kind)
        axes.axhline(own.level, color="black", linestyle=":", label=own.label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(x, [str(int(count)) for count in x])
        axes.set_xlabel("trained networks")
        axes.set_ylabel("rho on the others")
        axes.set_title(in_lines(name), fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    _save(figure, path)


def profile(path: str | os.PathLike[str], lines: Mapping[str, np.ndarray], name: str) -> None:
    """A score over the layers, a line an architecture, the first half with filled marks; layers without one are gaps.

    Args:
        path: a PNG, written whole or not at all.
        lines: label of an architecture to its scores by layer, float[L].
        name: of the score.
    """
    figure = Figure(figsize=(7.5, 4.2 + 0.22 * len(lines)))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    for i, (label, scores) in enumerate(lines.items()):
        axes.plot(
            np.arange(1, len(scores) + 1),
            np.where(np.isfinite(scores), scores, np.nan),
            color=_COLOURS[i % len(_COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=4,
            markerfacecolor=None if 2 * i < len(lines) else "white",
            label=shorten(label, 90),
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer, from the input")
    axes.set_ylabel(f"{name} of the layer alone")
    axes.grid(alpha=0.3)
    figure.legend(fontsize=7, loc="outside lower center")
    _save(figure, path)


def learning_curves(path: str | os.PathLike[str], runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Loss and accuracy by epoch, thin and dashed in training, thick in tests, a colour each; of many, a colour a run.

    Args:
        path: a PNG, written whole or not at all.
        runs: name of a run to its rows, as `zsnas_jax.training.fit` gives them.
    """
    figure, _, _ = _panels(2, 5.0, 3.8)
    for i, (measure, label, scale) in enumerate((("loss", "cross-entropy", 1), ("accuracy", "accuracy (%)", 100))):
        axes = figure.add_subplot(1, 2, i + 1)
        for j, (name, history) in enumerate(runs.items()):
            for k, (split, line, width) in enumerate((("train", "--", 1.0), ("test", "-", 1.8))):
                known = [row for row in history if row.get(f"{split}_{measure}") is not None]
                epochs, values = [row["epoch"] for row in known], [scale * row[f"{split}_{measure}"] for row in known]
                dots = "." if len(known) <= 50 else ""  # more of them would hide the line
                [drawn] = axes.plot(epochs, values, ls=line, lw=width, marker=dots, ms=4, label=f"{name}, {split}")
                own = 2 * j + k if 2 * len(runs) <= len(_COLOURS) else j
                drawn.set_color(_COLOURS[own % len(_COLOURS)])
        if all(row["epoch"] == int(row["epoch"]) for history in runs.values() for row in history):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        else:
            axes.set_xlim(left=0)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(runs), 4), fontsize=9, frameon=False)
    _save(figure, path)


class CurvePanel(NamedTuple):
    """One panel of `incumbents`; P points.

    Attributes:
        x: float[P].
        values: float[3, P], the mean over seeds and the ends of its interval; NaN where there is none.
        seeds: float[S, P], single seeds to draw thinly behind it.
        labels: of the x and the y axis.
        line: a level to draw, and what it is; None: none.
    """

    x: np.ndarray
    values: np.ndarray
    seeds: np.ndarray
    labels: tuple[str, str]
    line: tuple[float, str] | None = None


def incumbents(path: str | os.PathLike[str], panels: Sequence[CurvePanel], title: str, *, columns: int = 0) -> None:
    """The best so far along a search, its mean over seeds with its interval, a panel a measure.

    Args:
        path: a PNG, written whole or not at all.
        panels: what to draw.
        title: above all of them.
        columns: panels in a row; 0: up to four.
    """
    figure, rows, columns = _panels(len(panels), 4.8, 3.6, columns)
    handles: dict[str, Any] = {}
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        handles |= _draw_incumbents(axes, panel)
        _cut_the_start(axes, panel)
        axes.set_xlabel(panel.labels[0])
        axes.set_ylabel(panel.labels[1])
        axes.grid(alpha=0.3)
    figure.suptitle(textwrap.fill(title, 46 * columns), fontsize=11)
    if handles:
        explained, names = list(handles.values()), list(handles)
        figure.legend(
            explained,
            names,
            loc="outside lower center",
            ncols=2 * columns,
            fontsize=9,
            frameon=False,
            columnspacing=1.5,
        )
    _save(figure, path)


def _draw_incumbents(axes: Axes, panel: CurvePanel) -> dict[str, Any]:
    """Draws a panel and returns what has to be explained, by explanation."""
    handles: dict[str, Any] = {}
    mean, low, high = panel.values
    if len(panel.seeds) > 1:
        for seed in panel.seeds:
            [line] = axes.plot(panel.x, seed, color="#888888", lw=0.6, alpha=0.5, drawstyle="steps-post")
        band = axes.fill_between(panel.x, low, high, color=_COLOURS[0], alpha=0.25, step="post", lw=0)
        handles |= {"single seeds": line, "95 % interval of the mean": band}
    [drawn] = axes.plot(panel.x, mean, color=_COLOURS[0], lw=1.8, drawstyle="steps-post")
    if handles:
        handles = {"mean over seeds": drawn} | handles
    if panel.line:
        handles[panel.line[1]] = axes.axhline(panel.line[0], color=_COLOURS[1], lw=1.2, ls="--")
    return handles


def _cut_the_start(axes: Axes, panel: CurvePanel) -> None:
    """Leaves room for what follows the first 3 % of a search, in which the best so far rises from anywhere."""
    shown = np.concatenate([panel.values[:, len(panel.x) // 32 :].ravel(), [panel.line[0]] if panel.line else []])
    shown = shown[np.isfinite(shown)]
    if len(shown) and (span := np.ptp(shown)) > 0:
        axes.set_ylim(shown.min() - 0.05 * span, shown.max() + 0.08 * span)


class TradeOff(NamedTuple):
    """One panel of `trade_offs`; every array has a column along x and one along y.

    Attributes:
        explored: float[N, 2], all that was explored; what is not finite is left out.
        front: float[F, 2], what nothing found dominates.
        true: float[B, 2], what nothing at all dominates; None: it is not known.
        labels: of the x and the y axis.
        is_line: whether `true` is a front of these two alone, drawn as a line; else it is one of more objectives.
    """

    explored: np.ndarray
    front: np.ndarray
    true: np.ndarray | None
    labels: tuple[str, str]
    is_line: bool


def trade_offs(path: str | os.PathLike[str], panels: Sequence[TradeOff], title: str) -> None:
    """What a search found, a panel a pair of objectives, with the true front where it is known.

    Args:
        path: a PNG, written whole or not at all.
        panels: what to draw.
        title: above all of them.
    """
    figure, rows, columns = _panels(len(panels), 4.6, 4.0, min(len(panels), 3))
    handles: dict[str, Any] = {}
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        handles |= _draw_trade_off(axes, panel)
        axes.set_xlabel(panel.labels[0])
        axes.set_ylabel(panel.labels[1])
        axes.grid(alpha=0.3)
    figure.suptitle(textwrap.fill(title, 46 * columns), fontsize=11)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    _save(figure, path)


def _near_the_fronts(panel: TradeOff) -> tuple[float, float]:
    """The part of the upright axis that shows the fronts: two of their spans on either side, all if that is little."""
    fronts = np.concatenate([panel.front, *([] if panel.true is None else [panel.true])])[:, 1]
    low, high = fronts.min(), fronts.max()
    return (low - 2 * (high - low), high + 2 * (high - low)) if high > low else (-np.inf, np.inf)


def _draw_trade_off(axes: Axes, panel: TradeOff) -> dict[str, Any]:
    """Draws a panel and returns what has to be explained, by explanation."""
    finite = panel.explored[np.isfinite(panel.explored).all(1)]
    near = _near_the_fronts(panel)
    beyond = int((finite[:, 1] < near[0]).sum() + (finite[:, 1] > near[1]).sum())
    finite = np.unique(finite[(finite[:, 1] >= near[0]) & (finite[:, 1] <= near[1])], axis=0)
    if beyond:
        axes.set_title(f"{beyond:,} of {len(panel.explored):,} lie beyond the upright axis", fontsize=9)
    few = finite[np.linspace(0, len(finite) - 1, min(len(finite), _MOST_POINTS)).astype(int)]
    handles: dict[str, Any] = {"explored": axes.scatter(few[:, 0], few[:, 1], color="#BBBBBB", s=7, linewidths=0)}
    if panel.true is not None:
        known = panel.true[np.lexsort(panel.true.T[::-1])]
        if panel.is_line:
            [line] = axes.plot(known[:, 0], known[:, 1], color=_COLOURS[1], lw=1.4, drawstyle="steps-post")
            handles["true front of two"] = line
        else:
            rings = axes.scatter(known[:, 0], known[:, 1], s=26, facecolors="none", edgecolors=_COLOURS[1], lw=0.9)
            handles["true front of all objectives"] = rings
    found = axes.scatter(panel.front[:, 0], panel.front[:, 1], color=_COLOURS[0], s=16, linewidths=0, zorder=3)
    handles["found front"] = found
    if _spans_decades(finite[:, 0]):
        axes.set_xscale("log")
    else:
        axes.ticklabel_format(axis="x", scilimits=(-3, 5), useMathText=True)
    return handles


def intervals(
    path: str | os.PathLike[str], pairs: Mapping[str, Mapping[str, Interval]], label: str, title: str
) -> None:
    """Estimates with their intervals, a line a name, a colour and marker a series.

    Args:
        path: a PNG, written whole or not at all.
        pairs: name of a series to name of a line to the estimate, of which NaN is left out.
        label: of the axis of the estimates.
        title: of the picture.
    """
    names = list(dict.fromkeys(name for series in pairs.values() for name in series))
    figure = Figure(figsize=(8.5, 1.9 + 0.42 * len(names) + 0.22 * len(pairs)), layout="constrained")
    axes = figure.add_subplot()
    middle = (len(pairs) - 1) / 2
    for i, (series, own) in enumerate(pairs.items()):
        known = {name: estimate for name, estimate in own.items() if not np.isnan(estimate.value)}
        values = np.array(list(known.values())).reshape(-1, 3).T
        places = [names.index(name) + 0.5 * (i - middle) / len(pairs) for name in known]
        error = np.maximum([values[0] - values[1], values[2] - values[0]], 0)
        look: dict[str, Any] = {"color": _COLOURS[i % len(_COLOURS)], "marker": _MARKERS[i % len(_MARKERS)]}
        axes.errorbar(values[0], places, xerr=error, ls="", ms=5, capsize=3, label=series, **look)
    axes.axvline(0, color="black", lw=0.9)
    axes.set_xlim(min(-0.05, axes.get_xlim()[0]), 1.02)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [in_lines(name) for name in names], fontsize=9)
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)
    axes.set_title(textwrap.fill(title, 80), fontsize=10)
    figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    _save(figure, path)

"""One page of what proxies are worth on each space, from folders that score_main left.

    python -m projects.spaces.report_main --folders=results/spaces/a,results/spaces/b --tables=tables

Of each folder: its space and task, the pictures, the architectures, then a row a proxy: Spearman's rho and Kendall's
tau with 95 % bootstrap intervals, the same among architectures that are alike, the mean accuracy of its ten best, the
printed rho, and the controls whose rho is higher. Controls are params, flops, num_sites, and what the space counts:
convolutions; of an AutoFormer depth, width and the sums of its blocks' heads, ratios and hidden units.

Of each space with convolutions also a picture, as NCD's Figure 3: Spearman's rho inside each group of equally many, a
panel a proxy of theirs, a line a task, for WRCor and the parameters, too.
"""

import csv
import json
import pathlib
from typing import Any, NamedTuple

from absl import app, flags
import numpy as np

from projects.spaces.groups import within
from projects.spaces.published import PRINTED
from zsnas_jax import benchmarks, search_spaces
from zsnas_jax.reports import diagnostics, metrics, plots
from zsnas_jax.search_spaces import autoformer
from zsnas_jax.storage import files

FLAGS = flags.FLAGS
flags.DEFINE_list("folders", [], "Folders of score_main, separated by commas.")
flags.DEFINE_string("tables", ".", "Folder of the tables of trained accuracy that the runs were held against.")
flags.DEFINE_string("out", "benchmarks/spaces", "Folder of RESULTS.md.")
flags.DEFINE_string("title", "Proxies on the convolutional spaces", "Of the page.")

CONTROLS = ("params", "flops", "num_sites")
DRAWN = ("naswot", "sam_nwot", "nir_nwot", "ncd_nwot", "swap", "sam_swap", "nir_swap", "ncd_swap", "wrcor", "params")
TOP = 10


class Scored(NamedTuple):
    """What a folder holds: its report, the architectures as strings, label to scores float64[A], accuracies or None."""

    report: dict[str, Any]
    archs: list[str]
    scores: dict[str, np.ndarray]
    accuracy: np.ndarray


def read(folder: pathlib.Path, tables: pathlib.Path) -> Scored:
    """Reads report.json and scores.csv, and the accuracies from the table.

    Raises:
        ValueError: if the run had no table of trained accuracy, or another one of its name.
    """
    report = json.loads((folder / "report.json").read_text())
    if not report["benchmark"]:
        raise ValueError(f"{folder} was scored without a benchmark: nothing to correlate with")
    with open(folder / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    scores = {name: np.array([float(row[name]) for row in rows]) for name in report["proxies"]}
    archs, truth = [row["arch"] for row in rows], report["benchmark"]
    space = search_spaces.make_space(report["settings"]["space"])
    benchmark = benchmarks.open_benchmark(tables / truth["name"], space.name)
    if benchmark.checksum != truth["sha256"]:
        raise ValueError(f"{tables / truth['name']} is not the table that {folder} was held against")
    accuracy = benchmark.lookup(truth["column"], benchmark.rows_of(space, [space.decode(arch) for arch in archs]))
    return Scored(report, archs, scores, np.asarray(accuracy, float))


def counted(scored: Scored) -> dict[str, np.ndarray]:
    """What the space counts of the architectures, float64[A] each: controls beside params, flops and num_sites."""
    space = search_spaces.make_space(scored.report["settings"]["space"])
    genotypes = [space.decode(arch) for arch in scored.archs]
    if space.name in autoformer.GRIDS:
        grid = autoformer.GRIDS[space.name]
        plans = [autoformer.plan_of(grid, arch) for arch in genotypes]
        return {
            "depth": np.array([float(len(plan.heads)) for plan in plans]),
            "width": np.array([float(plan.width) for plan in plans]),
            "sum_heads": np.array([float(sum(plan.heads)) for plan in plans]),
            "sum_ratios": np.array([float(sum(plan.ratios)) for plan in plans]),
            "sum_hidden": np.array([float(sum(grid.hidden(p.width, ratio) for ratio in p.ratios)) for p in plans]),
        }
    if space.num_convolutions is None:
        return {}
    return {"num_convolutions": np.array([float(space.num_convolutions(arch)) for arch in genotypes])}


def groups_of(counts: dict[str, np.ndarray]) -> np.ndarray | None:
    """Which architectures are alike, int[A]; None where the space counts nothing that says so."""
    own = [counts[name] for name in ("num_convolutions", "depth", "width") if name in counts]
    return np.unique(np.stack(own, 1), axis=0, return_inverse=True)[1].ravel() if own else None


def distinct(scored: Scored) -> Scored:
    """One architecture of each class of equal networks."""
    space = search_spaces.make_space(scored.report["settings"]["space"])
    if space.isomorphism_key is None:
        return scored
    keys = [space.isomorphism_key(space.decode(arch)) for arch in scored.archs]
    kept = sorted({key: i for i, key in reversed(list(enumerate(keys)))}.values())
    own = {name: values[kept] for name, values in scored.scores.items()}
    return Scored(scored.report, [scored.archs[i] for i in kept], own, scored.accuracy[kept])


def table(scored: Scored) -> list[str]:
    """The rows of a folder, best rho first."""
    counts = counted(scored)
    scored, groups = scored._replace(scores=scored.scores | counts), groups_of(counts)
    rhos = {name: metrics.bootstrap_spearman(own, scored.accuracy) for name, own in scored.scores.items()}
    controls = {name: rhos[name].value for name in (*CONTROLS, *counts) if name in rhos}
    settings, column = scored.report["settings"], scored.report["benchmark"]["column"]
    place = settings["space"], settings.get("task", "surrogate" if column.endswith("surrogate") else "")
    lines = [
        "| proxy | rho | tau | among alike | ten best | undefined | printed rho | below |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in sorted(rhos, key=lambda name: -np.nan_to_num(rhos[name].value, nan=-2)):
        own, rho = scored.scores[name], rhos[name]
        tau = metrics.bootstrap(metrics.kendall, own, scored.accuracy, num_resamples=200)
        best = metrics.top_k(own, scored.accuracy, TOP).mean()
        alike = "" if groups is None else _text(within(own, scored.accuracy, groups))
        printed = PRINTED.get(name, {}).get(place)
        better = [control for control, value in controls.items() if value > rho.value]
        below = "control" if name in controls else ", ".join(better) if np.isfinite(rho.value) else ""
        undefined = int((~np.isfinite(own)).sum())
        lines.append(
            f"| {name} | {_text(rho)} | {_text(tau)} | {alike} | {best:.4f} | {undefined or ''} | "
            f"{'' if printed is None else f'{printed:.2f}'} | {below} |"
        )
    return lines


def _text(found: metrics.Interval) -> str:
    if not np.isfinite(found.value):
        return "-"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def section(folder: pathlib.Path, tables: pathlib.Path) -> list[str]:
    """What is said of a folder."""
    scored = distinct(whole := read(folder, tables))
    settings, truth, run = (whole.report[key] for key in ("settings", "benchmark", "run"))
    task = f", task {settings['task']} (targets: {settings['targets']})" if "task" in settings else ""
    count, all_of_them = len(scored.archs), len(whole.archs)
    same = f", {count} different networks, which are compared" if count < all_of_them else ""
    size = f", {settings['space_source']}" if "space_source" in settings else ""
    size += f", {settings['size']}" if settings.get("size") else ""
    return [
        f"## {settings['space']}{size}{task}",
        "",
        f"{all_of_them} architectures{same}; pictures {pathlib.Path(settings['dataset']).name}, batch "
        f"{settings['batch_size']}, seed {settings['seed']}, {settings['init']}; {settings['num_classes']} outputs. "
        f"Truth: {truth['column']} of {truth['name']}, best of these {scored.accuracy.max():.4f}, mean "
        f"{scored.accuracy.mean():.4f}. {run.get('num_compilations', 0)} programs in the last run.",
        "",
        *table(scored),
        "",
    ]


def draw(scored: dict[str, Scored], path: pathlib.Path) -> bool:
    """Draws rho by number of convolutions, and says whether there is something to draw.

    Args:
        scored: name of a line to the architectures of one space, at least one.
        path: of the picture.
    """
    panels: dict[str, dict[str, diagnostics.ByConvolutions]] = {}
    for name, own in scored.items():
        numbers = counted(own).get("num_convolutions")
        if numbers is None:
            return False
        for proxy in (proxy for proxy in DRAWN if proxy in own.scores):
            found = diagnostics.by_convolutions(own.scores[proxy], own.accuracy, numbers.astype(int))
            panels.setdefault(proxy, {})[name] = found
    if panels:
        plots.within_groups(path, panels)
    return bool(panels)


HEAD = """# {title}

By `projects/spaces/report_main.py`, from folders of `score_main`, whose commands stand in `projects/spaces/README.md`.
rho is Spearman's, tau Kendall's, with 95 % bootstrap intervals over the architectures. "Among alike": the share of
pairs ranked right minus that ranked wrong, of pairs with as many convolutions, of transformers with equal depth and
width.
"Ten best" is the mean accuracy of the ten that the proxy ranks first; "printed" NAS-Bench-Suite-Zero's figure for 1,000
other networks of the space, of transformers that of NCD's supplement, Table 2; "below" names the controls whose rho is
higher. Undefined scores rank last.
"""


def main(_: list[str]) -> None:
    """Reads the folders, writes the page."""
    lines, tables, out = [HEAD.format(title=FLAGS.title)], pathlib.Path(FLAGS.tables), pathlib.Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, dict[str, Scored]] = {}
    for folder in map(pathlib.Path, FLAGS.folders):
        lines += section(folder, tables)
        scored = distinct(read(folder, tables))
        settings = scored.report["settings"]
        line = settings.get("task") or settings.get("space_source") or scored.report["benchmark"]["column"]
        drawn.setdefault(settings["space"], {})[line] = scored
    for space, of_space in drawn.items():
        if draw(of_space, out / f"{space}.png"):
            lines += [f"## {space}, by number of convolutions", "", f"![{space}]({space}.png)", ""]
    with files.replacing(out / "RESULTS.md") as temporary:
        pathlib.Path(temporary).write_text("\n".join(lines).rstrip() + "\n")
    print(f"written: {out}/RESULTS.md, {len(FLAGS.folders)} spaces and tasks")


if __name__ == "__main__":
    app.run(main)

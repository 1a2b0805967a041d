"""One page of what proxies are worth on each convolutional space, from folders that score_main left.

    python -m projects.spaces.report_main --folders=results/spaces/a,results/spaces/b --tables=tables

Of each folder: its space and task, the pictures, the architectures, then a row a proxy: Spearman's rho and Kendall's
tau with 95 % bootstrap intervals, the mean accuracy of its ten best, the printed rho, and the controls (params, flops,
num_sites, and the number of convolutions where the space counts them) whose rho is higher.
"""

import csv
import json
import pathlib
from typing import Any, NamedTuple

from absl import app, flags
import numpy as np

from projects.spaces.published import SUITE_ZERO
from zsnas_jax import benchmarks, search_spaces
from zsnas_jax.reports import metrics
from zsnas_jax.storage import files

FLAGS = flags.FLAGS
flags.DEFINE_list("folders", [], "Folders of score_main, separated by commas.")
flags.DEFINE_string("tables", ".", "Folder of the tables of trained accuracy that the runs were held against.")
flags.DEFINE_string("out", "benchmarks/spaces", "Folder of RESULTS.md.")

CONTROLS = ("params", "flops", "num_sites")
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


def with_convolutions(scored: Scored) -> Scored:
    """With the number of convolutions as one more control, where the space counts them."""
    space = search_spaces.make_space(scored.report["settings"]["space"])
    if space.num_convolutions is None:
        return scored
    counts = np.array([float(space.num_convolutions(space.decode(arch))) for arch in scored.archs])
    return scored._replace(scores=scored.scores | {"num_convolutions": counts})


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
    scored = with_convolutions(scored)
    rhos = {name: metrics.bootstrap_spearman(own, scored.accuracy) for name, own in scored.scores.items()}
    controls = {name: rhos[name].value for name in (*CONTROLS, "num_convolutions") if name in rhos}
    settings, column = scored.report["settings"], scored.report["benchmark"]["column"]
    place = settings["space"], settings.get("task", "surrogate" if column.endswith("surrogate") else "")
    lines = [
        "| proxy | rho | tau | ten best | undefined | printed rho | below |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in sorted(rhos, key=lambda name: -np.nan_to_num(rhos[name].value, nan=-2)):
        own, rho = scored.scores[name], rhos[name]
        tau = metrics.bootstrap(metrics.kendall, own, scored.accuracy, num_resamples=200)
        best = metrics.top_k(own, scored.accuracy, TOP).mean()
        printed = SUITE_ZERO.get(name, {}).get(place)
        better = [control for control, value in controls.items() if value > rho.value]
        below = "control" if name in controls else ", ".join(better) if np.isfinite(rho.value) else ""
        undefined = int((~np.isfinite(own)).sum())
        lines.append(
            f"| {name} | {_text(rho)} | {_text(tau)} | {best:.4f} | {undefined or ''} | "
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


HEAD = """# Proxies on the convolutional spaces

By `projects/spaces/report_main.py`, from folders of `score_main`, whose commands stand in `projects/spaces/README.md`.
rho is Spearman's, tau Kendall's, with 95 % bootstrap intervals over the architectures; "ten best" the mean accuracy of
the ten that the proxy ranks first; "printed" NAS-Bench-Suite-Zero's figure for 1,000 other networks of the space;
"below" names the controls whose rho is higher. Undefined scores rank last.
"""


def main(_: list[str]) -> None:
    """Reads the folders, writes the page."""
    lines = [HEAD]
    for folder in FLAGS.folders:
        lines += section(pathlib.Path(folder), pathlib.Path(FLAGS.tables))
    out = pathlib.Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    with files.replacing(out / "RESULTS.md") as temporary:
        pathlib.Path(temporary).write_text("\n".join(lines).rstrip() + "\n")
    print(f"written: {out}/RESULTS.md, {len(FLAGS.folders)} spaces and tasks")


if __name__ == "__main__":
    app.run(main)

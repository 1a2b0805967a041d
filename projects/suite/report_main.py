"""What NAS-Bench-Suite-Zero's stored values are worth on every space and task, and how far ours rank alike.

    python -m projects.suite.report_main --files=transnas101_micro=transnas101_micro_suite_zero.csv.gz,...
    python -m projects.suite.report_main --files=... --folders=results/spaces/a,results/spaces/b --tables=tables

--files are spaces with the CSVs of values of them (`stored_values.FORMATS`), in which accuracies stand, too; params and
flops among their columns are the controls. --folders are those of score_main: each is compared with the file of its
space and task on the architectures that both have. Writes RESULTS.md, results.csv, agreement.csv and overview.png.
"""

from collections.abc import Sequence
import pathlib
from typing import Any

from absl import app, flags
import numpy as np

from projects.spaces.scored import Scored, distinct
from projects.spaces.scored import read as read_folder
from projects.suite.stored_values import FORMATS, Values, read
from zsnas_jax.reports import documents, metrics, plots
from zsnas_jax.reports.documents import format_bounds, format_figure, interval_record, markdown_table
from zsnas_jax.storage import files

FLAGS = flags.FLAGS
CONTROLS = ("params", "flops")

HEAD = """# What NAS-Bench-Suite-Zero's stored values are worth, and ours beside them

By `python -m projects.suite.report_main`. Another implementation with other weights, batches, pictures and numbers of
classes, as its authors stored them (Krishnakumar et al., NAS-Bench-Suite-Zero, 2022), under our names: Spearman's rho
with the accuracies in the same files. `results.csv` has the 95 % bootstrap intervals over the architectures, Kendall's
tau, and the controls that are above.

![rho of their values](overview.png)
"""
AGREEMENT = """## Ours beside theirs

On the architectures that both have: rho of the two scores, and each one's rho with the accuracy of our table.
"""


def worth(values: Values) -> list[dict[str, Any]]:
    """A record a proxy: what its values say of the accuracies beside them. Those that are not there are left out."""
    rhos = {name: _known_rho(own, values.accuracy) for name, own in values.scores.items()}
    controls = {name: rhos[name][1].value for name in CONTROLS if name in rhos}
    return [
        {
            "space": values.space,
            "task": values.task,
            "proxy": name,
            "archs": count,
            "failed": int(np.isneginf(values.scores[name]).sum()),
            **interval_record("rho", rho, 4),
            "tau": None if np.isnan(tau) else round(float(tau), 4),
            "below": "+".join(control for control, value in controls.items() if value > rho.value),
        }
        for name, (count, rho, tau) in rhos.items()
    ]


def _known_rho(scores: np.ndarray, accuracy: np.ndarray) -> tuple[int, metrics.Interval, float]:
    known = ~np.isnan(scores)
    rho = metrics.bootstrap_spearman(scores[known], accuracy[known])
    return int(known.sum()), rho, metrics.kendall(scores[known], accuracy[known])


def agreement(ours: Scored, theirs: Values) -> list[dict[str, Any]]:
    """A record a proxy that both have: rho of the two, and of each with the accuracy of our table."""
    places = {arch: place for place, arch in enumerate(theirs.archs)}
    common = [i for i, arch in enumerate(ours.archs) if arch in places]
    records = []
    for name in (name for name in ours.scores if name in theirs.scores):
        x, y = ours.scores[name][common], theirs.scores[name][[places[ours.archs[i]] for i in common]]
        known = ~np.isnan(y)
        truth = ours.accuracy[common][known]
        records.append(
            {
                "space": theirs.space,
                "task": theirs.task,
                "proxy": name,
                "archs": int(known.sum()),
                "ours_undefined": int((~np.isfinite(x[known])).sum()),
                "theirs_failed": int((~np.isfinite(y[known])).sum()),
                **interval_record("alike", metrics.bootstrap_spearman(x[known], y[known]), 4),
                **interval_record("ours", metrics.bootstrap_spearman(x[known], truth), 4),
                **interval_record("theirs", metrics.bootstrap_spearman(y[known], truth), 4),
            }
        )
    return records


def overview(path: pathlib.Path, records: Sequence[dict[str, Any]]) -> None:
    """Rho of every proxy on every space and task, the controls on the right."""
    place = lambda record: ", ".join(filter(None, (record["space"], record["task"])))
    places = list(dict.fromkeys(map(place, records)))
    rho = {(place(record), record["proxy"]): np.nan if record["rho"] is None else record["rho"] for record in records}
    proxies = dict.fromkeys(record["proxy"] for record in records)
    middle = lambda name: np.nanmedian([rho.get((own, name), np.nan) for own in places] + [-1.0])
    names = sorted(proxies, key=lambda name: (name in CONTROLS, -middle(name)))
    values = np.array([[rho.get((own, name), np.nan) for name in names] for own in places])
    plots.heat_map(path, values, places, names, "NAS-Bench-Suite-Zero's values: Spearman's rho with accuracy")


def define_flags() -> None:
    """The flags of this binary."""
    flags.DEFINE_list("files", [], "SPACE=FILE of NAS-Bench-Suite-Zero's values, separated by commas.")
    flags.DEFINE_list("folders", [], "Folders of score_main, separated by commas.")
    flags.DEFINE_string("tables", ".", "Folder of the tables of trained accuracy that the runs were held against.")
    flags.DEFINE_string("out", "benchmarks/suite_zero", "Folder of what is written.")


def main(_: list[str]) -> None:
    """Reads, compares, writes."""
    pairs = [entry.partition("=") for entry in FLAGS.files]
    if not pairs or not all(path for _, _, path in pairs):
        raise app.UsageError(f"--files: SPACE=FILE is needed, SPACE one of {', '.join(FORMATS)}")
    stored = [values for space, _, path in pairs for values in read(path, space)]
    folders = [distinct(read_folder(pathlib.Path(own), pathlib.Path(FLAGS.tables))) for own in FLAGS.folders]
    records = [record for values in stored for record in worth(values)]
    alike: list[dict[str, Any]] = []
    for ours in folders:
        space, task = ours.report["settings"]["space"], ours.report["settings"].get("task", "")
        alike += [
            record
            for values in stored
            if (values.space, values.task) == (space, task)
            for record in agreement(ours, values)
        ]
    out = pathlib.Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    documents.write_csv(out / "results.csv", records)
    overview(out / "overview.png", records)
    text = lambda record, name: (
        f"{format_figure(record[name])} {format_bounds(record[f'{name}_low'], record[f'{name}_high'])}"
    )
    lines = [HEAD]
    if alike:
        documents.write_csv(out / "agreement.csv", alike)
        kept = ("space", "task", "proxy", "archs")
        named = {"rho of both": "alike", "ours": "ours", "theirs": "theirs"}
        rows = [
            {key: str(own[key]) for key in kept} | {title: text(own, name) for title, name in named.items()}
            for own in alike
        ]
        lines += [AGREEMENT, markdown_table(rows), ""]
    with files.replacing(out / "RESULTS.md") as temporary:
        pathlib.Path(temporary).write_text("\n".join(lines))
    print(f"{len(records)} values of a proxy on a space and task; written: {out}/")


if __name__ == "__main__":
    define_flags()
    app.run(main)

"""Sets runs of train_main beside each other: their curves in one picture, their ends in a table.

    for arch in 13714 6571 13421; do
      train_main --arch=$arch --dataset=cifar10.npz --test_every=5 --benchmark=nasbench201.csv.gz \
        --benchmark_column=cifar10_test_200 --out=results/train/$arch
    done
    python -m projects.wrcor.compare_training --out=results/training results/train/*

Run it in a clone of the repository. Nine minutes on one H100, the three runs beside each other.
"""

from collections.abc import Mapping
import csv
import json
import pathlib
import sys
from typing import Any

from absl import app, flags
import numpy as np

from zsnas_jax import search_spaces
from zsnas_jax.reports import documents, plots
from zsnas_jax.storage import files

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flag of this script; its arguments are the folders."""
    flags.DEFINE_string("out", "results/training", "Folder of curves.png, metrics.csv and RESULTS.md.")


def read_rows(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a run, numbers as numbers."""
    text = (folder / "metrics.csv").read_text().splitlines()
    return [{name: float(value) if value else None for name, value in row.items()} for row in csv.DictReader(text)]


def summarise(name: str, made: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A run as a row of the table."""
    space = search_spaces.make_space(made["settings"]["space"])
    last, table = rows[-1], made["benchmark"] or {}
    known, arch = table.get("accuracy"), np.asarray(space.decode(made["arch"]))
    return {
        "run": name,
        "architecture": f"`{made['arch']}`".replace("|", "\\|"),
        "parameters": f"{int(space.num_params(arch, 10)):,}" if space.num_params else "",
        table.get("column", "table"): "" if known is None else f"{100 * known:.2f} %",
        "test": f"{100 * last['test_accuracy']:.2f} %",
        "training": f"{100 * last['train_accuracy']:.2f} %",
        "seconds": f"{last['seconds']:,.0f}",
    }


def main(argv: list[str]) -> None:
    """Reads the folders, writes the comparison."""
    folders = [pathlib.Path(argument) for argument in argv[1:]]
    if not folders:
        raise ValueError("give the folders of runs")
    reports = [json.loads((folder / "report.json").read_text()) for folder in folders]
    runs = {folder.name: read_rows(folder) for folder in folders}
    table = [summarise(name, made, rows) for made, (name, rows) in zip(reports, runs.items(), strict=True)]
    out = pathlib.Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    plots.learning_curves(out / "curves.png", runs)
    documents.write_csv(out / "metrics.csv", [{"run": name} | row for name, rows in runs.items() for row in rows])
    settings = reports[0]["settings"]
    said = ", ".join(f"{name} {value}" for name, value in settings["recipe"].items() if name != "source")
    text = "# Cells trained side by side\n\nWritten by `python -m projects.wrcor.compare_training` from "
    pictures = f"{settings['num_examples']:,} pictures of `{pathlib.Path(settings['dataset']).name}`"
    text += f"{pictures}, seed {settings['seed']}: {said}.\n\n"
    text += f"{documents.markdown_table(table)}\n\n![Learning curves](curves.png)\n"
    files.write_text(out / "RESULTS.md", text)
    print(documents.markdown_table(table))


if __name__ == "__main__":
    define_flags()
    try:
        app.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"compare_training: error: {error}")

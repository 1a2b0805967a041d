"""What a run of training leaves behind, while it goes on and at its end."""

from collections.abc import Callable, Mapping, Sequence
import json
import math
import os
import pathlib
import re
import shutil
from typing import Any

from tabulate import tabulate
from tensorboardX import SummaryWriter

from zsnas_jax.reports import documents, score_report
from zsnas_jax.storage import files

COLUMNS = (
    *("epoch", "step", "learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"),
)


def make_journal(folder: str | os.PathLike[str], name: str) -> Callable[[Sequence[Mapping[str, Any]]], None]:
    """What writes the rows so far after each epoch: metrics.csv, curves.png, and what TensorBoard reads.

    A process writes TensorBoard's file anew from the first row, so that nothing stands there twice after a stop.
    """
    from zsnas_jax.reports import plots  # here: matplotlib would be a second of every command's start

    folder = pathlib.Path(folder)
    writers: list[SummaryWriter] = []

    def write(history: Sequence[Mapping[str, Any]]) -> None:
        rows = [{column: row.get(column) for column in COLUMNS} for row in history]
        documents.write_csv(folder / "metrics.csv", rows)
        plots.learning_curves(folder / "curves.png", {name: rows})
        new = history[-1:]
        if not writers:
            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
            writers.append(SummaryWriter(str(folder / "tensorboard")))
            new = history
        for row in new:
            for measure in COLUMNS[2:]:
                if row.get(measure) is not None:
                    writers[0].add_scalar(re.sub("^(train|test)_", r"\1/", measure), row[measure], row["step"])
        writers[0].flush()

    return write


def make_report(
    settings: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    costs: tuple[int, int],
    truth: score_report.Truth | None,
) -> dict[str, Any]:
    """The report as JSON.

    Args:
        settings: what was trained and how.
        history: a row an epoch.
        costs: parameters, and multiply-adds of a picture.
        truth: the accuracy of the architecture in a benchmark, or None.
    """
    last = history[-1]
    table = None
    if truth:
        accuracy = float(truth.accuracy[0])
        known = accuracy if math.isfinite(accuracy) else None
        table = {"name": truth.benchmark.name, "column": truth.column, "accuracy": known, "warning": truth.warning}
    loss = last.get("test_loss")
    return {
        "arch": settings["arch"],
        "accuracy": last.get("test_accuracy"),
        "loss": loss if loss is None or math.isfinite(loss) else None,
        "train_accuracy": last["train_accuracy"],
        "train_loss": last["train_loss"],
        "params": costs[0],
        "flops": costs[1],
        "seconds": last["seconds"],
        "settings": dict(settings),
        "benchmark": table,
        "versions": score_report.versions(),
        "device": score_report.device(),
    }


def as_text(made: Mapping[str, Any]) -> str:
    """The report for the terminal."""
    percent = lambda share: "unknown" if share is None else f"{100 * share:.2f} %"
    settings = made["settings"]
    shown = {
        "architecture": made["arch"],
        **({"size": _say_size(settings["size"])} if "size" in settings else {}),
        "test accuracy": percent(made["accuracy"]) if made["accuracy"] is not None else "there are no test pictures",
        "training accuracy": f"{percent(made['train_accuracy'])} in the last epoch, on augmented pictures",
        "parameters": f"{made['params']:,}",
        "FLOPs": f"{made['flops'] / 1e6:,.2f} M",
        "recipe": f"{settings['recipe']['epochs']:g} epochs of {settings['num_examples']} pictures",
        "seconds": f"{made['seconds']:,.1f}",
    }
    if made["benchmark"]:
        table = made["benchmark"]
        shown["by the table"] = f"{percent(table['accuracy'])}, {table['column']} of {table['name']}"
        if table["warning"]:
            shown["warning"] = table["warning"]
    return "\n" + tabulate(list(shown.items()), tablefmt="plain", disable_numparse=True)


def _say_size(size: Mapping[str, Any]) -> str:
    """As in "channels 16, layers 8": what is false is left out, of what is true the name is enough."""
    return ", ".join(name if value is True else f"{name} {value}" for name, value in size.items() if value is not False)


def write_report(folder: str | os.PathLike[str], made: Mapping[str, Any]) -> list[str]:
    """Writes report.json, and returns the names of all that a run leaves: the others were written as it went on."""
    files.write_text(pathlib.Path(folder) / "report.json", json.dumps(made, indent=2, allow_nan=False) + "\n")
    return ["report.json", "metrics.csv", "curves.png", "checkpoints/", "tensorboard/"]

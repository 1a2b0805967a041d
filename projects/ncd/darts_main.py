"""What NCD's proxies find in DARTS: the best of random cells by each, drawn, beside a median and a random one.

    score_main --space=darts --channels=3 --layers=1 --nowith_stem --init=normal --batch_size=16 --archs=random:3000 \
      --proxies=ncd_nwot,ncd_swap,naswot,swap,params,num_sites --dataset=cifar10 --out=results/darts_search
    python -m projects.ncd.darts_main --folder=results/darts_search

Writes to --out: RESULTS.md, cells.csv, and a drawing of each cell, normal beside reduction. Parameters are those of the
networks that the papers train, C 36 and L 20, without the auxiliary head. Folders of `train_main` on the cells of
cells.csv (--trained) add their test accuracies, under the budget that their reports state.
"""

import csv
import json
import pathlib
from typing import Any

from absl import app, flags
import numpy as np

from zsnas_jax.reports import documents, drawing
from zsnas_jax.search_spaces import darts
from zsnas_jax.storage import files

FLAGS = flags.FLAGS

PROXIES = ("ncd_nwot", "ncd_swap", "naswot", "swap")
CHANNELS, LAYERS = 36, 20


def pick(scores: dict[str, np.ndarray]) -> dict[str, int]:
    """Name to row: the best by each proxy, the median by ncd_nwot (of an even number the lower), the first drawn."""
    finite = {name: np.where(np.isfinite(own), own, -np.inf) for name, own in scores.items()}
    found = {name: int(np.argmax(finite[name])) for name in PROXIES if name in finite}
    order = np.argsort(finite["ncd_nwot"], kind="stable")
    return found | {"median": int(order[(len(order) - 1) // 2]), "random": 0}


def describe(name: str, arch: str, scores: dict[str, float]) -> dict[str, Any]:
    """A row of the table."""
    genotype, big = darts.space().decode(arch), darts.space(channels=CHANNELS, layers=LAYERS)
    assert big.num_params and big.num_convolutions
    normal, reduction = arch.partition("reduce=")[::2]
    count = lambda cell, *ops: sum(cell.count(f"'{op}") for op in ops)
    return {
        "cell": name,
        **{proxy: round(scores[proxy], 2) for proxy in PROXIES if proxy in scores},
        "params (M), C 36, L 20": round(float(big.num_params(genotype, 10)) / 1e6, 3),
        "convolutions": int(big.num_convolutions(genotype)),
        "normal: conv / skip / pool": " / ".join(
            str(count(normal, *ops)) for ops in (("sep", "dil"), ("skip",), ("max", "avg"))
        ),
        "reduction": " / ".join(str(count(reduction, *ops)) for ops in (("sep", "dil"), ("skip",), ("max", "avg"))),
    }


def trained(folders: list[str]) -> dict[str, tuple[float, str]]:
    """Architecture to (test accuracy after the last epoch, the budget) of runs of `train_main`.

    Raises:
        ValueError: if a run had no test pictures.
    """
    found = {}
    for folder in folders:
        report = json.loads((pathlib.Path(folder) / "report.json").read_text())
        settings = report["settings"]
        if report["accuracy"] is None:
            raise ValueError(f"{folder} was trained without test pictures: there is no test accuracy")
        size = ", ".join(f"{name} {value}" for name, value in settings["size"].items())
        budget = f"{settings['recipe']['epochs']:g} epochs of {settings['num_examples']} pictures; {size}"
        found[report["arch"]] = report["accuracy"], budget
    return found


HEAD = """# What NCD's proxies find in DARTS

By `projects/ncd/darts_main.py`: {count} random cells, scored as {source}, pictures {pictures}, batch {batch_size}, seed
{seed}, weights {init}. NCD (Kang et al., ICCV 2025) prints 2.52 to 2.83 % test error of what NWOT with its remedies
finds in S1 to S4, trained in full; what it prints of DARTS is not at hand. Here only what is said below was trained.

"""


def define_flags() -> None:
    """The flags of this binary."""
    flags.DEFINE_string("folder", None, "Of score_main on darts.", required=True)
    flags.DEFINE_list("trained", [], "Folders of train_main on the cells that are found, separated by commas.")
    flags.DEFINE_string("out", "benchmarks/ncd_darts", "Folder of what is written.")


def main(_: list[str]) -> None:
    """Reads the flags."""
    write(pathlib.Path(FLAGS.folder), FLAGS.trained, pathlib.Path(FLAGS.out))


def write(folder: pathlib.Path, trained_folders: list[str], out: pathlib.Path) -> None:
    """Reads the scores of a folder and what was trained, writes another."""
    report = json.loads((folder / "report.json").read_text())
    settings = report["settings"]
    if settings["space"] != "darts":
        raise app.UsageError(f"{folder} is of space {settings['space']}: needed is darts")
    with open(folder / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    scores = {name: np.array([float(row[name]) for row in rows]) for name in report["proxies"]}
    out.mkdir(parents=True, exist_ok=True)
    table, pictures, accuracies = [], [], trained(trained_folders)
    for name, place in pick(scores).items():
        arch = rows[place]["arch"]
        row = describe(name, arch, {proxy: float(own[place]) for proxy, own in scores.items()})
        if arch in accuracies:
            accuracy, budget = accuracies[arch]
            row |= {"test accuracy": f"{100 * accuracy:.2f} %", "trained for": budget}
        table.append(row | {"arch": arch})
        drawing.draw(out / f"{name}.png", darts.space(), darts.space().decode(arch), f"best by {name}")
        pictures.append(f"## {name}\n\n![{name}]({name}.png)\n")
    documents.write_csv(out / "cells.csv", table)
    shown = [{key: value for key, value in row.items() if key != "arch"} for row in table]
    head = HEAD.format(
        count=f"{len(rows):,}",
        source=settings.get("space_source", "DARTS"),
        pictures=pathlib.Path(settings["dataset"]).name,
        **settings,
    )
    files.write_text(out / "RESULTS.md", f"{head}{documents.markdown_table(shown)}\n\n" + "\n".join(pictures))
    print(f"written: {out}/RESULTS.md, cells.csv and {len(table)} drawings")


if __name__ == "__main__":
    define_flags()
    app.run(main)

"""What NCD's proxies find in DARTS, from a folder as score_main leaves it."""

import csv
import json

import jax
import numpy as np
import pytest

from projects.ncd import darts_main
from zsnas_jax.reports import train_report
from zsnas_jax.search_spaces import darts


def test_the_best_of_each_proxy_the_median_and_the_first_are_described(tmp_path):
    space = darts.space()
    archs = [space.encode(space.sample(key)) for key in jax.random.split(jax.random.key(0), 5)]
    scores = {"ncd_nwot": [3.0, 1, 2, 5, -np.inf], "swap": [1.0, 2, 9, 3, 4]}
    assert darts_main.pick({k: np.array(v) for k, v in scores.items()}) == {
        "ncd_nwot": 3, "swap": 2, "median": 2, "random": 0,
    }  # fmt: skip
    settings = {
        "space": "darts",
        "space_source": "C 3",
        "dataset": "a/b.npz",
        "batch_size": 4,
        "seed": 0,
        "init": "normal",
    }
    (tmp_path / "report.json").write_text(json.dumps({"settings": settings, "proxies": dict.fromkeys(scores)}))
    with open(tmp_path / "scores.csv", "w", newline="") as file:
        csv.writer(file).writerows([["index", "arch", *scores], *zip(range(5), archs, *scores.values(), strict=True)])
    darts_main.write(tmp_path, [], tmp_path / "out")
    with open(tmp_path / "out/cells.csv", newline="") as file:
        rows = {row["cell"]: row for row in csv.DictReader(file)}
    assert rows["swap"]["arch"] == archs[2] and rows["random"]["arch"] == archs[0]
    params = darts.space(channels=36, layers=20).num_params(space.decode(archs[3]), 10)
    assert float(rows["ncd_nwot"]["params (M), C 36, L 20"]) == round(float(params) / 1e6, 3)
    assert (tmp_path / "out/ncd_nwot.png").stat().st_size > 1000 and "b.npz" in (
        tmp_path / "out/RESULTS.md"
    ).read_text()


def test_what_was_trained_stands_beside_its_budget(tmp_path):
    settings = {"arch": "a", "recipe": {"epochs": 3.0}, "num_examples": 100, "size": {"channels": 8, "layers": 5}}
    row = {"test_accuracy": 0.5, "test_loss": 1.0, "train_accuracy": 0.6, "train_loss": 1.0, "seconds": 2.0}
    made = train_report.make_report(settings, [row], (1, 2), None)
    (tmp_path / "report.json").write_text(json.dumps(made))
    assert darts_main.trained([str(tmp_path)]) == {"a": (0.5, "3 epochs of 100 pictures; channels 8, layers 5")}
    (tmp_path / "report.json").write_text(json.dumps(made | {"accuracy": None}))
    with pytest.raises(ValueError, match="was trained without test pictures"):
        darts_main.trained([str(tmp_path)])

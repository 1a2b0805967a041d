"""The binary of the NCD paper's claims, on made-up scores."""

import csv
import json
import os
import re
import subprocess
import sys

import conftest
from made_up import Flags
import numpy as np
import pytest

from projects.ncd import reproduce_main, scores
from zsnas_jax.proxies import make_proxies
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage.store import ResultStore

DEFAULTS = {"store": [], "table": [], "proxies": [], "num_samples": 30, "num_seeds": 5}
NAMES = [nasbench201.encode(arch) for arch in nasbench201.from_index(np.arange(60))]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A folder with a table of accuracies and one of scores: naswot counts convolutions, ncd_nwot knows."""
    folder = tmp_path_factory.mktemp("scored")
    rng = np.random.default_rng(1)
    numbers = np.array([nasbench201.num_convolutions(arch) for arch in nasbench201.from_index(np.arange(60))])
    accuracy = 60 + 0.2 * numbers + rng.uniform(-3, 3, 60)
    columns = ["cifar10_test_200", "cifar100_test_200", "imagenet16_120_test_200"]
    lines = [f"{a},{y:.4f},{y:.4f},{y:.4f}" for a, y in zip(NAMES, accuracy, strict=True)]
    (folder / "truth.csv").write_text("\n".join([",".join(["arch", *columns]), *lines]))
    lines = ["index,arch,naswot,ncd_nwot"]
    cells = zip(NAMES, numbers, accuracy, strict=True)
    lines += [f"{i},{name},{2 * number - y:.6f},{y:.6f}" for i, (name, number, y) in enumerate(cells)]
    lines[1] = f"0,{NAMES[0]},-inf,{accuracy[0]}"
    (folder / "scores.csv").write_text("\n".join(lines))
    np.savez(folder / "more.npz", index=np.arange(50), wrcor=accuracy[:50], naswot=np.full(50, 1e9))
    return folder


def main(monkeypatch, scored, out, **given):
    values = DEFAULTS | {"benchmark": f"{scored}/truth.csv", "out": str(out)} | given
    monkeypatch.setattr(reproduce_main, "FLAGS", Flags(**values))
    reproduce_main.main()


def rows_of(out, name):
    with open(out / name) as file:
        return list(csv.DictReader(file))


def test_the_binary_writes_its_folder(scored, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    main(monkeypatch, scored, out, store=[str(scored)], num_seeds=6)
    assert capsys.readouterr().out.startswith("60 cells; written: ")
    pictures = ["cifar10.png", "cifar100.png", "imagenet16_120.png", "within_groups.png"]
    tables = ["RESULTS.md", "convolutions.csv", "gains.csv", "search.csv"]
    assert sorted(path.name for path in out.iterdir()) == sorted(pictures + tables)
    text = (out / "RESULTS.md").read_text()
    assert "60 cells that all these proxies" in text and "Not among the scores: sam_nwot, nir_nwot, swap" in text
    found = {(row["dataset"], row["proxy"]): row for row in rows_of(out, "search.csv")}
    best = found["CIFAR-10", "best accuracy (oracle)"]
    assert found["CIFAR-10", "ncd_nwot"]["mean"] == best["mean"] > found["CIFAR-10", "naswot"]["mean"]
    assert found["CIFAR-10", "naswot"]["paper"] == "91.95" and found["CIFAR-100", "naswot"]["paper"] == ""
    gains = [float(row["gain"]) for row in rows_of(out, "gains.csv") if row["gain"]]
    assert gains and min(gains) > 1


SETTINGS = {"space": "nasbench201", "seed": 0}


def make_store(folder, names=("naswot",), **settings):
    """A results folder of 40 cells, as `score_main` leaves it."""
    with ResultStore(folder, SETTINGS | settings) as results:
        results.add(NAMES[:40], make_proxies(names), np.tile(np.arange(40.0)[:, None], len(names)))
    return folder


def test_proxies_under_another_norm_lie_in_one_folder(scored, tmp_path, monkeypatch):
    folder, out = make_store(tmp_path / "norms", ["naswot", "naswot:norm=gn8"]), tmp_path / "out"
    before = sorted(path.name for path in folder.iterdir())
    main(monkeypatch, scored, out, store=[str(folder)])
    paper = {row["proxy"]: row["paper"] for row in rows_of(out, "search.csv") if row["dataset"] == "CIFAR-10"}
    assert paper["naswot"] == "91.95" and paper["naswot:norm=gn8"] == "93.37"
    assert {row["proxy"] for row in rows_of(out, "convolutions.csv")} == {"naswot"}
    assert sorted(path.name for path in folder.iterdir()) == before
    other = make_store(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match="has seed 1, those before it 0: give stores alike"):
        main(monkeypatch, scored, out, store=[str(folder), str(other)])
    in_use = pytest.raises(ValueError, match="is in use by another process: copy it with results.sqlite-wal, and read")
    with ResultStore(folder, SETTINGS), in_use:
        main(monkeypatch, scored, out, store=[str(folder)])


def test_older_folders_say_norm_and_weighting_of_all_their_proxies(tmp_path):
    settings = {"format": 1, "norm": "gn8", "mask_rate": 0.0, "activation": "relu", "weighting": "none", "seed": 0}
    columns = ("naswot", "nir_nwot", "wrcor", "params", "mine")
    (tmp_path / "scores.csv").write_text("\n".join([",".join(["index", *columns]), "7,1,2,3,4,5"]))
    (tmp_path / "report.json").write_text(json.dumps({"settings": settings}))
    old = scores.read_store(tmp_path)
    assert set(old.scores) == {"naswot:norm=gn8", "nir_nwot", "wrcor:norm=gn8:weighting=none", "params", "mine"}
    new = scores.Source({"format": 2, "seed": 0}, {"naswot": {7: 6.0}})
    merged = scores.merge({"old": old, "new": new})
    assert merged["naswot"][7] == 6 and merged["naswot:norm=gn8"][7] == 1 and np.isnan(merged["naswot"][0])


REFUSED = [
    ({"store": ["nowhere"]}, "store nowhere has neither results.sqlite nor scores.csv"),
    ({"table": ["{0}/scores.csv"], "proxies": ["swap"]}, "none of swap is in"),
    ({}, "is in the scores: give --store or --table"),
    ({"table": ["{0}/scores.csv", "{0}/more.npz"]}, r"naswot of cell 0 is 1000000000.0 in .*more\.npz, -inf before it"),
    ({"table": ["{0}/truth.csv"], "proxies": ["cifar10_test_200"], "benchmark": "none.csv"}, "unknown benchmark"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_the_binary_refuses_in_one_line(scored, tmp_path, monkeypatch, given, message):
    filled = {
        name: [text.format(scored) for text in value] if isinstance(value, list) else value
        for name, value in given.items()
    }
    with pytest.raises((ValueError, OSError), match=message) as caught:
        main(monkeypatch, scored, tmp_path / "out", **filled)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_another_space_is_refused(tmp_path):
    with ResultStore(tmp_path, {"space": "nasbench101"}):
        pass
    with pytest.raises(ValueError, match=re.escape("is of space 'nasbench101': needed is nasbench201")):
        scores.read_store(tmp_path)


@pytest.mark.slow
def test_the_command_says_in_one_line_what_is_wrong():
    command = [sys.executable, "-m", "projects.ncd.reproduce_main", "--store=nowhere"]
    done = subprocess.run(command, cwd=conftest.ROOT, env=os.environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("reproduce_main: error: store nowhere has neither")

"""The page of what proxies are worth on each space, from folders as score_main leaves them."""

import csv
import json

import numpy as np
import pytest

from projects.spaces import comparison, pictures, report_main
from projects.spaces import groups as groups_module
from projects.spaces import scored as scored_module
from zsnas_jax.search_spaces import nasbench_macro
from zsnas_jax.storage import files


@pytest.fixture
def folder(tmp_path):
    """Six strings, two of which are one network; a score that is the accuracy, one that is undefined, the controls."""
    archs = ["00000000", "00010000", "00001000", "22222222", "12000000", "10200000"]
    accuracy = [0.5, 0.6, 0.6, 0.9, 0.8, 0.7]
    scores = {"wrcor": accuracy, "jaccor": [-np.inf] * 6}
    scores |= {name: [1.0, 2, 2, 3, 5, 4] for name in ("params", "flops", "num_sites")}
    with open(tmp_path / "scores.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "arch", *scores])
        for i, arch in enumerate(archs):
            writer.writerow([i, arch, *(own[i] for own in scores.values())])
    trained = [f"{arch},[],{100 * own}\n" for arch, own in zip(archs, accuracy, strict=True)]
    (tmp_path / "macro.csv").write_text("".join(["arch,test_acc,mean_acc\n", *trained]))
    settings = {"space": "nasbench_macro", "dataset": "cifar10.npz", "batch_size": 4, "seed": 0, "num_classes": 10}
    report = {
        "settings": settings | {"init": "kaiming_uniform"},
        "benchmark": {
            "column": "cifar10_test_50_mean",
            "name": "macro.csv",
            "sha256": files.sha256(tmp_path / "macro.csv"),
        },
        "run": {"num_compilations": 3},
        "proxies": {name: {} for name in scores},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    return tmp_path


def section(folder):
    whole = scored_module.read(folder, folder)
    scored = scored_module.distinct(whole)
    return "\n".join(report_main.section(whole, scored, comparison.compare(scored))).split("\n")


def test_a_section_compares_different_networks_beside_their_controls(folder):
    text = section(folder)
    assert text[0] == "## nasbench_macro"
    assert "6 architectures, 5 different networks, which are compared" in text[2]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text if line.startswith("| ")]
    rows = {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells}
    assert rows["wrcor"]["rho"].startswith("1.000 [") and not rows["wrcor"]["below"]
    assert rows["wrcor"]["nDCG"].startswith("1.000") and rows["wrcor"]["regret"] == "0.0000"
    assert rows["jaccor"]["rho"] == "-" and rows["jaccor"]["undefined"] == "5"
    assert rows["params"]["below"] == rows["num_convolutions"]["below"] == "control"


def test_records_and_pictures_are_written(folder):
    scored = scored_module.distinct(scored_module.read(folder, folder))
    rows = comparison.compare(scored)
    records = comparison.as_records(rows)
    assert [record["proxy"] for record in records] == [row.proxy for row in rows]
    assert records[0]["rho"] == 1 and {"rho_low", "ndcg_high", "alike"} <= set(records[0])
    pictures.overview(folder / "overview.png", rows)
    pictures.agreement(folder / "scores.png", scored)
    assert pictures.by_convolutions(folder / "convolutions.png", {"one": scored})
    assert all((folder / name).stat().st_size > 1000 for name in ("overview.png", "scores.png", "convolutions.png"))


def test_pairs_of_a_group_are_counted():
    truth, groups = np.array([1.0, 2, 3, 4, 4]), np.array([0, 0, 0, 1, 1])
    value = lambda *scores: groups_module.within(np.array(scores), truth, groups).value
    assert value(1.0, 2, 3, 0, 0) == 1 and value(3.0, 2, 1, 9, 9) == -1
    assert value(1.0, 1, 1, 0, 0) == 0 and value(-np.inf, 5, 7, 0, 0) == 1
    assert value(2.0, 1, 3, 0, 0) == pytest.approx(1 / 3)


def test_equal_networks_are_one(folder):
    scored = scored_module.distinct(scored_module.read(folder, folder))
    keys = [nasbench_macro.isomorphism_key(nasbench_macro.decode(arch)) for arch in scored.archs]
    assert len(keys) == len(set(keys)) == 5 and len(scored.accuracy) == len(scored.scores["wrcor"]) == 5


def test_a_run_without_a_benchmark_is_refused(folder):
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(report | {"benchmark": None}))
    with pytest.raises(ValueError, match="was scored without a benchmark"):
        scored_module.read(folder, folder)


def test_another_table_of_the_name_is_refused(folder):
    (folder / "macro.csv").write_text("arch,test_acc,mean_acc\n00000000,[],50\n")
    with pytest.raises(ValueError, match="is not the table that"):
        scored_module.read(folder, folder)

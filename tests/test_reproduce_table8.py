"""Table 8 on synthetic tables, and the tables of NAS-Bench-101 that it joins."""

import re

import golden
from made_up import (
    NUM101,
    RUN,
    SETTINGS,
    SPACE101,
    inputs,
    live_report,
    make_runner,
    rows_of,
    store_scores,
    truth101_table,
    truth201,
)
import numpy as np
import pytest

from projects.wrcor import nasbench101_truth, searches, table8
from zsnas_jax.benchmarks import TabularBenchmark, nasbench101


@pytest.mark.parametrize("is_real", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_table_8_says_how_each_row_came_about(tmp_path, monkeypatch, is_real):
    # of validation accuracies of 200 cells, scores of 60 and a live report; searches of JAX take long to compile
    if not is_real:
        monkeypatch.setattr(searches, "make_runner", make_runner)
    live = table8.read_live(live_report(tmp_path / "report.json"))
    setup = table8.Setup(store_scores(tmp_path, 60), RUN, SETTINGS, [live])
    out, names = tmp_path, table8.reproduce(setup, say=lambda line: None)
    assert names == ["table8.md", "table8.csv", "table8_cells.csv"]
    rows = {(row["row"], row["how"], row["condition"]): row for row in rows_of(out, "table8")}
    hows = {how: row for row, how, _ in rows}
    oracle = "whole space, by cifar10_test_108_mean (oracle)"
    assert hows.keys() >= {
        oracle,
        "random over 200 scored cells",
        "random over 60 scored cells",
        "random over 30 scored cells",
    }
    assert hows["live, 1 seed of 1,000 architectures, cifar10, 2,000 s on cpu"] == "RE-WRCor"
    accuracy = truth101_table().columns["cifar10_test_108_mean"]
    evolved = rows["RE-ValAcc", oracle, "test"]
    assert float(evolved["ours"]) + float(evolved["regret"]) == pytest.approx(float(accuracy.max()), abs=1e-6)
    assert rows["RE-ValAcc", oracle, "valid"]["ours"] == ""  # not known of what was found
    best = float(np.sort(accuracy[:60])[-3])
    scored = rows["R-WRCor", "random over 60 scored cells", "test"]  # 100 draws of 60
    assert float(scored["ours"]) > best and scored["paper"] == "0.9326"
    assert rows["R-WRCor", "random over 60 scored cells", "valid"]["ours"]
    found = rows["RE-WRCor", "live, 1 seed of 1,000 architectures, cifar10, 2,000 s on cpu", "test"]
    assert float(found["ours"]) == pytest.approx(float(accuracy[17])) and found["low"] == ""
    assert rows["RL-SJW", "", "test"]["ours"] == "" and rows["RL-SJW", "", "test"]["paper"] == "0.9347"
    text = (out / "table8.md").read_text()
    assert "an **oracle**" in text and "the published means have 94.32" in text
    assert "- no scored cells: zerocost, zerocost:flipped, sjw, sjw:flipped, ncd_nwot, ncd_swap, " in text
    assert "What each score likes best among the scored cells" in text


def test_table_8_searches_the_validation_accuracy_where_all_cells_have_one(tmp_path):
    made = inputs(tmp_path, SPACE101, truth101_table(full=True), with_pictures=False)
    setup = table8.Setup(made, RUN, SETTINGS)
    assert setup.trained == "cifar10_valid_12_mean" and not setup.is_oracle
    assert table8.find_scored(setup) == [] and table8.find_validated(setup) == []
    plan = table8.make_plan(setup, [])
    assert [one.row for one, _ in plan] == ["R-ValAcc", "RL-ValAcc", "RE-ValAcc"]
    assert {one.how for one, _ in plan} == {"whole space, by cifar10_valid_12_mean"}
    lines = table8.make_lines(setup, [one for one, _ in plan], [])
    assert [line.summary for line in lines if line.row == "Optimum"][1].mean.value == pytest.approx(0.95, abs=1e-3)


BAD_REPORTS = [
    ("{", "is not a report of search_main: JSONDecodeError"),
    ("{}", "is not a report of search_main: KeyError 'settings'"),
    ({"settings": {"space": "nasbench201"}}, "is of a live search of nasbench201: needed is a live one of nasbench101"),
    ({"run": {"how": "looked up"}}, "is of a looked up search of nasbench101: needed is a live one of nasbench101"),
    ({"search": {"strategy": "grid"}}, "is not a report of search_main: KeyError 'grid'"),
]


@pytest.mark.parametrize(("made", "message"), BAD_REPORTS)
def test_other_reports_are_refused(tmp_path, made, message):
    path = tmp_path / "report.json"
    path.write_text(made) if isinstance(made, str) else live_report(path, **made)
    with pytest.raises(ValueError, match=re.escape(message)):
        table8.read_live(path)


def test_table_8_needs_every_test_accuracy(tmp_path):
    columns = truth101_table().columns | {"cifar10_test_108_mean": np.where(np.arange(NUM101) < 5, np.nan, 0.5)}
    part = TabularBenchmark(columns, "nasbench101", "part", "", "")
    with pytest.raises(ValueError, match="table 8 needs the test accuracy of all cells: part lacks 5"):
        table8.Setup(inputs(tmp_path, SPACE101, part), RUN, SETTINGS)


# The ground truth of NAS-Bench-101


def test_two_tables_of_nasbench101_are_joined(tmp_path):
    whole = truth101_table()
    columns = dict(whole.columns)
    first = {"cifar10_test_108_mean": columns["cifar10_test_108_mean"], "cifar10_test_108_run0": np.zeros(NUM101)}
    second = {"cifar10_valid_12_single": columns["cifar10_valid_12_mean"], "cifar10_valid_4_single": np.zeros(NUM101)}
    for name, made in (("first", first), ("second", second)):
        TabularBenchmark(made, "nasbench101", name, f"source of {name}", name).save(tmp_path / f"{name}.npz")
    truth201().save(tmp_path / "other.npz")
    both = nasbench101_truth.open_truth(tmp_path / "first.npz", tmp_path / "second.npz")
    assert list(both.columns) == ["cifar10_test_108_mean", "cifar10_valid_12_single"]
    assert (both.name, both.checksum) == ("first+second", "first, second")
    assert nasbench101_truth.find_column(both, nasbench101_truth.VALID) is None
    assert inputs(tmp_path, SPACE101, both).accuracy_column("cifar10") == "cifar10_test_108_mean"
    with pytest.raises(ValueError, match="second has no cifar10_test_108: its columns are cifar10_valid_12_single"):
        nasbench101_truth.open_truth(tmp_path / "second.npz")
    with pytest.raises(ValueError, match="made-up is a table of space nasbench201, needed is one of nasbench101"):
        nasbench101_truth.open_truth(tmp_path / "first.npz", tmp_path / "other.npz")


def test_the_extracts_of_nasbench101_serve_tables_7_and_8():
    path, valid = (golden.shared_file(f"data/{name}") for name in ("nasbench101.npz", "nasbench101_valid_30001.csv.gz"))
    both = nasbench101_truth.open_truth(path, valid)
    assert not np.isnan(both.columns[nasbench101_truth.find_column(both, nasbench101_truth.SHORT_VALID)][:3000]).any()
    test = both.columns[nasbench101_truth.find_column(both, nasbench101_truth.TEST)]
    assert 100 * test.max() == pytest.approx(94.66, abs=0.005) and both.space == nasbench101.__name__.rpartition(".")[2]

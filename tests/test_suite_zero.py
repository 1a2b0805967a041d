"""Another implementation's values: the importer, the comparison by rank, and the binary."""

import dataclasses
import os
import subprocess
import sys

import conftest
import golden
from made_up import Flags, rows_of, scores201
import numpy as np
import pytest

from projects.suite import agreement, compare_main
from projects.suite.suite_zero import from_suite_zero
from zsnas_jax.proxies import make_proxies
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage import files
from zsnas_jax.storage.store import ResultStore


def small_table(path):
    lines = ["index,params,l2_norm,plain,zen", "0,0.13,4,1,1", "2,0.8,-1e8,1,2", "1,0.7,5,1,3", "5,0.6,5,1,"]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_another_implementation_is_compared_by_rank_over_common_cells(tmp_path):
    theirs = from_suite_zero(small_table(tmp_path / "zero.csv"))
    assert list(theirs.columns) == ["params", "pnorm", "zen"] and theirs.checksum == files.sha256(tmp_path / "zero.csv")
    name = lambda index: nasbench201.encode(nasbench201.from_index(index))
    ours = {"params": {name(0): 10, name(1): 20, name(2): 30, name(7): 5}, "pnorm": {name(1): -np.inf, name(2): 1}}
    params, pnorm, zen = agreement.agreement(ours, theirs, nasbench201.space())
    assert (params["common"], params["ours_undefined"], params["spearman"]) == (3, 0, pytest.approx(1))
    assert (pnorm["common"], pnorm["ours_undefined"], pnorm["theirs_failed"]) == (2, 1, 1)
    assert pnorm["spearman"] is None and zen["common"] == 0
    agreement.write(tmp_path, [params, pnorm, zen], "cifar10, batch 4", theirs)
    assert [row["proxy"] for row in rows_of(tmp_path, "suite_zero")] == ["params", "pnorm", "zen"]
    text = (tmp_path / "suite_zero.md").read_text()
    assert "| params  | 3        | 0" in text and theirs.checksum in text and "cifar10, batch 4" in text
    with pytest.raises(ValueError, match=r"zero\.csv is of space nasbench101, the scores of nasbench201"):
        agreement.agreement(ours, dataclasses.replace(theirs, space="nasbench101"), nasbench201.space())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch,zen\n", r"bad\.csv lacks a column 'index', or one of epe_nas.*: it has arch, zen"),
        ("index,zen\n20000,1\n", r"bad\.csv, line 2: index is '20000': allowed are numbers from 0 to 15624"),
        ("index,zen\n3,1\n4,high\n", r"bad\.csv, line 3: zen is 'high': allowed are numbers from -3.4"),
    ],
)
def test_a_bad_file_of_values_is_refused(text, message, tmp_path):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        from_suite_zero(tmp_path / "bad.csv")
    (tmp_path / "bad.csv.gz").write_bytes(b"\x1f\x8b" + text.encode())
    with pytest.raises(ValueError, match=r"bad\.csv\.gz is not a CSV file"):
        from_suite_zero(tmp_path / "bad.csv.gz")
    with pytest.raises(FileNotFoundError, match=r"suite_zero file .*none\.csv does not exist"):
        from_suite_zero(tmp_path / "none.csv")


def test_published_values_agree_with_what_needs_no_weights():
    theirs = from_suite_zero(golden.shared_file("data/nasbench201_suite_zero_cifar10.csv.gz"))
    space, archs = nasbench201.space(), nasbench201.from_index(np.arange(200))
    ours = {"params": {space.encode(arch): int(space.num_params(arch, 10)) for arch in archs}}
    found = {record["proxy"]: record for record in agreement.agreement(ours, theirs, space)}
    assert found["params"]["common"] > 100 and found["params"]["spearman"] > 0.9999
    assert sum(np.isneginf(column).sum() for column in theirs.columns.values()) == 4  # that failed in theirs


# The binary


def compare(monkeypatch, folder, **given):
    values = {"suite_zero": str(small_table(folder / "zero.csv")), "scores": "none", "store": None, "out": str(folder)}
    monkeypatch.setattr(compare_main, "FLAGS", Flags(**(values | given)))
    compare_main.main()
    return {row["proxy"]: row for row in rows_of(folder, "suite_zero")}, (folder / "suite_zero.md").read_text()


def test_the_binary_compares_a_table(tmp_path, monkeypatch, capsys):
    scores201().save(tmp_path / "scores.npz")
    rows, text = compare(monkeypatch, tmp_path, scores=str(tmp_path / "scores.npz"))
    assert (rows["params"]["common"], rows["zen"]["common"]) == ("4", "0")
    assert "Ours: scores, SHA-256 f00d; python " in text
    assert capsys.readouterr().out.startswith("1 of 3 proxies compared; written: ")


def test_the_binary_compares_a_folder_and_leaves_it_as_it_is(tmp_path, monkeypatch):
    names = [nasbench201.encode(nasbench201.from_index(index)) for index in (0, 1, 7)]
    with ResultStore(tmp_path / "run", {"space": "nasbench201", "batch_size": 4, "init": "normal"}) as store:
        store.add(names, make_proxies(["zen"]), np.arange(3.0)[:, None])
    before = sorted((tmp_path / "run").iterdir())
    rows, text = compare(monkeypatch, tmp_path, store=str(tmp_path / "run"))
    assert (rows["params"]["common"], rows["zen"]["common"]) == ("0", "2")
    assert "Ours: batch_size 4, init normal; python " in text and sorted((tmp_path / "run").iterdir()) == before


def test_the_binary_refuses_in_one_line(tmp_path, monkeypatch):
    with ResultStore(tmp_path / "run", {"space": "nasbench101"}):
        pass
    truth = dataclasses.replace(scores201(), space="elsewhere")
    truth.save(tmp_path / "other.npz")
    cases = [
        ({"suite_zero": None}, "no values of NAS-Bench-Suite-Zero are given"),
        ({"store": str(tmp_path / "run")}, "run is of space 'nasbench101': needed is nasbench201"),
        ({"scores": str(tmp_path / "other.npz")}, "is of space elsewhere: needed is nasbench201"),
        ({"scores": "nothing"}, "unknown benchmark 'nothing'"),
        ({"store": str(tmp_path / "none")}, "does not exist"),
    ]
    for given, message in cases:
        with pytest.raises((ValueError, OSError), match=message):
            compare(monkeypatch, tmp_path, **given)
    assert not (tmp_path / "suite_zero.md").exists()


@pytest.mark.slow
def test_the_command_runs_from_the_root(tmp_path):
    command = [sys.executable, "-m", "projects.suite.compare_main", f"--suite_zero={tmp_path}/none.csv"]
    done = subprocess.run(command, cwd=conftest.ROOT, env=os.environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr == f"compare_main: error: suite_zero file {tmp_path}/none.csv does not exist\n"

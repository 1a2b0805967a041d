"""The binary of the WRCor paper's tables on a tiny network: whole, stopped and gone on with, hostile flags."""

import os
import signal
import subprocess
import sys

import conftest
from made_up import Flags, made_up_scores, rows_of
import numpy as np
import pytest
import tiny

from projects.wrcor import layout, reproduce_main
from zsnas_jax import flags, search_spaces
from zsnas_jax.runs import scores as run_scores
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage.store import ResultStore

DEFAULTS = {
    "table": ["2"], "num_architectures": 20, "batch_size": 4, "candidates_per_step": 1, "seed": 0, "cifar10": "noise", "cifar100": "noise",
    "imagenet16_120": "noise", "slow": False, "data_dir": None, "num_seeds": 3, "live_reports": [],
    "nasbench101": None, "nasbench101_valid": None, "benchmark": "auto", "scores": "nasbench201_scores",
}  # fmt: skip
GROUPS = (("params",), ("pnorm",))


@pytest.fixture(autouse=True)
def tiny_space(monkeypatch):
    monkeypatch.setattr(search_spaces, "make_space", lambda name: tiny.space())
    monkeypatch.setattr(layout, "GROUPS", GROUPS)
    monkeypatch.setattr(flags, "configure", lambda: None)
    monkeypatch.setattr(flags, "num_together", lambda: 1)


def main(monkeypatch, out, **given):
    monkeypatch.setattr(reproduce_main, "FLAGS", Flags(**(DEFAULTS | {"out": str(out)} | given)))
    reproduce_main.main()


@pytest.mark.dear
def test_the_binary_scores_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(layout, "GROUPS", (("params", "pnorm"),))
    main(monkeypatch, tmp_path, num_architectures=5)
    said = capsys.readouterr().out
    rows = {row["score"]: row for row in rows_of(tmp_path, "table2")}
    assert {score for score, row in rows.items() if row["ours"]} == {"params", "pnorm"}
    assert "table 2: 2 of 34 rows done" in said
    assert "run 1 of 1: cifar10, batch 4, kaiming_uniform: params, pnorm; 5 architectures" in said
    assert f"written: {tmp_path}/ table2.md, table2.csv" in said
    text = (tmp_path / "table2.md").read_text()
    assert "analog-nasbench" in text and "ValAcc: the benchmark analog has no cifar10_valid_12" in text


def in_chunks(store, space, archs, proxies, *args, progress, **options):
    """Stands in for the scorer: a third of the architectures at a time, of those that the store lacks."""
    names = [space.encode(arch) for arch in archs]
    missing = [place for place, name in enumerate(names) if name not in store.get(proxies[0])]
    with progress(total=len(names), initial=len(names) - len(missing)) as bar:
        for start in range(0, len(missing), 8):
            chunk = missing[start : start + 8]
            store.add([names[place] for place in chunk], proxies, np.sqrt(np.array(chunk, float))[:, None] % 1)
            bar.update(len(chunk))


def test_stopped_and_started_again_it_ends_with_the_same_bytes(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(run_scores, "score_archs", in_chunks)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    main(monkeypatch, whole)
    add, calls = ResultStore.add, []

    def add_and_stop(*args):
        add(*args)
        calls.append(args)
        if len(calls) == 2:  # of three chunks of the first of two groups
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResultStore, "add", add_and_stop)
        with pytest.raises(KeyboardInterrupt):
            main(monkeypatch, stopped)
    assert not any(row["ours"] for row in rows_of(stopped, "table2"))  # written before the first run
    capfd.readouterr()
    main(monkeypatch, stopped)
    assert "16/20" in capfd.readouterr().err  # where the first group went on
    assert (stopped / "table2.csv").read_bytes() == (whole / "table2.csv").read_bytes()
    tables_of = lambda folder: (folder / "table2.md").read_text().split("## Runs")[0]  # the runs name seconds
    assert tables_of(stopped) == tables_of(whole)


def test_a_run_that_fails_ends_in_an_error_after_the_rest(tmp_path, monkeypatch):
    def score_archs(store, space, archs, proxies, *args, **options):
        if proxies[0].name == "params":
            raise RuntimeError("no memory")
        made_up_scores(store, space, archs, proxies)

    monkeypatch.setattr(run_scores, "score_archs", score_archs)
    with pytest.raises(ValueError, match="1 runs failed: the tables say which and why"):
        main(monkeypatch, tmp_path)
    assert "- failed: params of cifar10, batch 4, kaiming_uniform: no memory" in (tmp_path / "table2.md").read_text()


BAD = [
    ({"table": ["1"]}, "table '1': allowed are 2, 3, 4, 5, 6, 7, 8, 9"),
    ({"table": []}, "no table is asked for: allowed are 2, 3, 4, 5, 6, 7, 8, 9"),
    ({"num_architectures": -3}, r"num_architectures is -3: allowed are 0 \(each table's own\) and 2 or more"),
    ({"num_architectures": 20000}, "num_architectures is 20000: nasbench201 has 15625"),
    ({"benchmark": "none"}, "unknown benchmark 'none': allowed are analog"),
    (
        {"benchmark": "c100.csv"},
        "nothing of the tables can be computed: the benchmark c100.csv has no test accuracy on",
    ),
    ({"cifar10": "none"}, "nothing of the tables can be computed: no pictures of cifar10 were given"),
    ({"cifar10": "svhn"}, "unknown data set 'svhn': allowed are noise, cifar10"),
    ({"cifar10": "none.npz"}, "data set none.npz does not exist"),
    ({"cifar10": "cifar100"}, "num_classes is 10: cifar100 has 100"),
    ({"cifar10": "small.npz", "batch_size": 64}, "small.npz has 20 pictures, fewer than a batch of 64"),
    ({"batch_size": 1}, "batch_size is 1: a correlation between samples needs at least 2"),
    ({"seed": -1}, "seed is -1: allowed are 0 to"),
    ({"out": "small.npz"}, "cannot make the results folder small.npz: File exists"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_bad_flags_end_in_a_clear_line(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    np.savez(
        "small.npz",
        x_train=np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8),
        y_train=np.arange(20) % 10,
    )
    (tmp_path / "c100.csv").write_text(f"arch,cifar100_test_200\n{nasbench201.encode(nasbench201.from_index(0))},70\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises((ValueError, OSError), match=message):
        main(monkeypatch, **({"out": "out"} | given))
    assert sorted(tmp_path.iterdir()) == before


# Processes of their own


def run(*flags, cwd, script=None, **environment):
    env = os.environ | {"PYTHONPATH": f"{conftest.ROOT}:{conftest.ROOT / 'tests'}"} | environment
    module = ["-c", script] if script else ["-m", "projects.wrcor.reproduce_main"]
    command = [sys.executable, *module, "--num_devices=1", f"--compilation_cache={conftest.CACHE}", *flags]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_command_says_in_one_line_what_is_wrong(tmp_path):
    process = run("--table=10", cwd=tmp_path)
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert "reproduce_main: error: table '10': allowed are" in process.stderr


KILLED = """
import os, signal
import tiny
from projects.wrcor import layout, reproduce_main
from zsnas_jax import search_spaces
from zsnas_jax.storage.store import ResultStore
search_spaces.make_space = lambda name: tiny.space()
layout.GROUPS = (("params",), ("pnorm",))
if deaths := int(os.environ.get("DIE_AFTER", 0)):
    add, calls = ResultStore.add, []
    def add_and_die(*args):
        add(*args)
        calls.append(args)
        if len(calls) == deaths:
            os.kill(os.getpid(), signal.SIGKILL)
    ResultStore.add = add_and_die
from zsnas_jax import command
command.run("projects.wrcor.reproduce_main")
"""


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_bytes(tmp_path):
    flags = ["--table=2", "--num_architectures=20", "--cifar10=noise", "--batch_size=4"]
    start = lambda folder, **environment: run(*flags, f"--out={folder}", cwd=tmp_path, script=KILLED, **environment)
    whole = start("whole")
    assert whole.returncode == 0, whole.stderr
    killed = start("killed", DIE_AFTER="2")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = start("killed")
    assert resumed.returncode == 0, resumed.stderr
    assert "16/20" in resumed.stderr
    csv_of = lambda folder: (tmp_path / folder / "table2.csv").read_bytes()
    assert csv_of("killed") == csv_of("whole")

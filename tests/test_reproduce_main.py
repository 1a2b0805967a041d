"""The real binary on a tiny network, in processes of its own: whole, killed and resumed, hostile flags."""

import csv
import json
import os
import signal
import subprocess
import sys

import conftest
import numpy as np
import pytest

from zsnas_jax.search_spaces import nasbench201

SUITE_ZERO = "index,params,l2_norm,plain,zen\n0,0.13,4,1,1\n2,0.8,-1e8,1,2\n1,0.7,5,1,3\n5,0.6,5,1,\n"


def rows_of(folder, name):
    with open(folder / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


DRIVER = """
import os, signal, sys
import tiny
from zsnas_jax import flags, search_spaces
from projects.wrcor import reproduce_main
from zsnas_jax.storage import store
from projects.wrcor import tables as paper_tables
search_spaces.make_space = lambda name: tiny.space()
paper_tables.GROUPS = (("params",), ("pnorm",))
if deaths := int(os.environ.get("DIE_AFTER", 0)):
    add, calls = results.ResultStore.add, []
    def add_and_die(*args):
        add(*args)
        calls.append(args)
        if len(calls) == deaths:
            os.kill(os.getpid(), signal.SIGKILL)
    results.ResultStore.add = add_and_die
"""
START = "reproduce_main.cli()"
TRY_ALL = """
import json
from absl import flags as absl_flags
reproduce_main.define_flags()
flags.configure = lambda: None
for case in json.loads(os.environ["CASES"]):
    for name in absl_flags.FLAGS:
        absl_flags.FLAGS[name].unparse()
    absl_flags.FLAGS(["reproduce_main", *case])
    try:
        reproduce_main.main()
        print(json.dumps("no error"))
    except (ValueError, OSError) as error:
        print(json.dumps(str(error)))
"""


def run(*flags, cwd, script=DRIVER + START, **environment):
    env = os.environ | {"PYTHONPATH": f"{conftest.ROOT}:{conftest.ROOT / 'tests'}"} | environment
    small = ["--batch_size=4", "--num_devices=1", f"--compilation_cache={conftest.CACHE}"]
    command = [sys.executable, "-c", script, *small, *flags]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Table 2, written by the binary in one go: (folder, what it said)."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "zero.csv").write_text(SUITE_ZERO)
    flags = ["--table=2", "--num_architectures=20", "--cifar10=noise", "--suite_zero=zero.csv", "--out=out"]
    process = run(*flags, cwd=folder)
    assert process.returncode == 0, process.stderr
    return folder, flags, process.stdout


def test_the_binary_writes_tables_and_the_comparison(tables):
    folder, _, said = tables
    rows = {row["score"]: row for row in rows_of(folder / "out", "table2")}
    assert {score for score, row in rows.items() if row["ours"]} == {"params", "pnorm"}
    assert "table 2: 2 of 34 rows done" in said and "suite_zero: 2 of 3 proxies compared" in said
    assert "run 2 of 2: cifar10, batch 4, kaiming_uniform, expb2t: pnorm; 20 architectures" in said
    assert "written: out/ table2.md, table2.csv, suite_zero.md, suite_zero.csv" in said
    text = (folder / "out" / "table2.md").read_text()
    assert "analog-nasbench" in text and "ValAcc: the benchmark analog has no cifar10_valid_12" in text
    zero = {row["proxy"]: row for row in rows_of(folder / "out", "suite_zero")}
    assert (zero["params"]["common"], zero["pnorm"]["theirs_failed"], zero["zen"]["common"]) == ("4", "1", "0")


def test_killed_and_started_again_it_ends_with_the_same_bytes(tables, tmp_path):
    whole, flags, _ = tables
    (tmp_path / "zero.csv").write_text(SUITE_ZERO)
    killed = run(*flags, cwd=tmp_path, DIE_AFTER="2")  # of three chunks of the first of two groups
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not any(row["ours"] for row in rows_of(tmp_path / "out", "table2"))  # written before the first run
    resumed = run(*flags, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "16/20" in resumed.stderr  # where the first group went on
    for name in ("table2.csv", "suite_zero.csv", "suite_zero.md"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / "out" / name).read_bytes(), name
    tables_of = lambda folder: (folder / "out" / "table2.md").read_text().split("## Runs")[0]  # the runs name seconds
    assert tables_of(tmp_path) == tables_of(whole)


BAD = [
    (["--table=1"], "table '1': allowed are 2, 3, 4, 5, 6, 7, 8, 9"),
    (["--table="], "no table is asked for: give --table, or --suite_zero"),
    (["--num_architectures=-3"], "num_architectures is -3: allowed are 0 (each table's own) and 2 or more"),
    (["--num_architectures=20000", "--cifar10=noise"], "num_architectures is 20000: nasbench201 has 15625"),
    (["--benchmark=none"], "unknown benchmark 'none': allowed are analog"),
    (
        ["--benchmark=c100.csv"],
        "nothing of the tables can be computed: the benchmark c100.csv has no test accuracy on cif",
    ),
    (["--cifar10=none"], "nothing of the tables can be computed: no pictures of cifar10 were given"),
    (["--cifar10=svhn"], "unknown data set 'svhn': allowed are noise, cifar10"),
    (["--cifar10=none.npz"], "data set none.npz does not exist"),
    (["--cifar10=cifar100"], "num_classes is 10: cifar100 has 100"),
    (["--cifar10=small.npz"], "small.npz has 20 pictures, fewer than a batch of 64"),
    (["--batch_size=1"], "batch_size is 1: a correlation between samples needs at least 2"),
    (["--seed=-1"], "seed is -1: allowed are 0 to"),
    (["--suite_zero=none.csv"], "suite_zero file none.csv does not exist"),
    (
        ["--suite_zero=zero.csv", "--cifar10=none", "--table="],
        "suite_zero compares scores on cifar10: give --cifar10 pictures",
    ),
    (["--out=small.npz", "--cifar10=noise"], "cannot make the results folder small.npz: File exists"),
]


def test_bad_flags_end_in_a_clear_line(tmp_path):
    np.savez(tmp_path / "small.npz", x_train=np.zeros((20, 8, 8, 3), np.uint8), y_train=np.arange(20) % 10)
    (tmp_path / "zero.csv").write_text(SUITE_ZERO)
    (tmp_path / "c100.csv").write_text(f"arch,cifar100_test_200\n{nasbench201.encode(nasbench201.from_index(0))},70\n")
    before = sorted(tmp_path.iterdir())
    cases = json.dumps([["--table=2", *flags] for flags, _ in BAD])
    process = run(cwd=tmp_path, script=DRIVER + TRY_ALL, CASES=cases)
    assert process.returncode == 0, process.stderr
    errors = [json.loads(line) for line in process.stdout.splitlines()]
    assert len(errors) == len(BAD)
    for error, (flags, message) in zip(errors, BAD, strict=True):
        assert message in error, flags
    assert sorted(tmp_path.iterdir()) == before


def test_a_bad_flag_and_help_through_the_command(tmp_path):
    process = run("--table=10", cwd=tmp_path)
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert "error: table '10': allowed are" in process.stderr

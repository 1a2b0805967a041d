"""What a command was told and what it said, in its folder."""

import re

import binaries
import pytest

from zsnas_jax.runs.log import RunLog


def test_starts_are_appended_and_the_flags_are_those_of_the_last(tmp_path, capsys):
    for flag in ("--archs=0:2", "--archs=a file.txt"):
        RunLog(tmp_path, "score_main", [flag]).say("two lines\nof text")
    assert (tmp_path / "flags.txt").read_text() == "--archs=a file.txt\n"
    assert capsys.readouterr().out == "two lines\nof text\n" * 2
    lines = (tmp_path / "log.txt").read_text().splitlines()
    date = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d"
    assert re.fullmatch(f"{date} started: score_main '--archs=a file.txt'", lines[4])
    assert re.fullmatch(date, lines[5]) and lines[6:] == ["two lines", "of text"]


@pytest.mark.dear
def test_the_flags_of_a_run_start_it_again(tmp_path):
    flags = [
        "--archs=0:4",
        "--proxies=params,flops",
        "--noaugment",
        "--benchmark=none",
        "--batch_size=4",
        "--out=found",
    ]
    code, _, err = binaries.run("score_main", *flags, cwd=tmp_path, is_tiny=True)
    assert not code, err
    kept = (tmp_path / "found/flags.txt").read_text().splitlines()
    assert sorted(line for line in kept if "compilation_cache" not in line) == sorted(flags)
    before = (tmp_path / "found/scores.csv").read_text()
    (tmp_path / "found/scores.csv").unlink()
    code, out, err = binaries.run("score_main", "--flagfile=found/flags.txt", cwd=tmp_path, is_tiny=True)
    assert not code, err
    assert (tmp_path / "found/scores.csv").read_text() == before and "written: found/" in out
    log = (tmp_path / "found/log.txt").read_text()
    assert log.count("started: score_main") == 2 and "written: found/" in log

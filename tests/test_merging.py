"""Results of several machines in one folder."""

import csv
import json

import binaries
import numpy as np
import pytest

from zsnas_jax.proxies import make_proxies
from zsnas_jax.runs.merging import Shard, merge, parse_shard
from zsnas_jax.storage import stored
from zsnas_jax.storage.store import ResultStore

PROXIES = {proxy.name: proxy for proxy in make_proxies(["wrcor", "naswot"])}
SETTINGS = {"space": "nasbench201", "batch_size": 4}


def fill(folder, scores, shard=None, settings=SETTINGS):
    """A folder with scores, proxy to architecture to score, and a report that says which shard it is."""
    with ResultStore(folder, settings) as store:
        for name, own in scores.items():
            proxy = PROXIES[name]
            store.add(list(own), [proxy], np.array(list(own.values()))[:, None])
            store.mark(proxy, {arch: "no memory" for arch, score in own.items() if score == -np.inf})
    if shard:
        (folder / "report.json").write_text(json.dumps({"run": {"shard": shard}}))
    return str(folder)


def test_parts_are_all_and_do_not_overlap():
    archs = np.arange(20).reshape(10, 2)
    parts = [parse_shard(f"{number}/3").of(archs) for number in (1, 2, 3)]
    assert sorted(map(tuple, np.concatenate(parts))) == sorted(map(tuple, archs)) and list(map(len, parts)) == [4, 3, 3]
    with pytest.raises(ValueError, match="shard 12/12 of 10 architectures is empty: take fewer shards"):
        Shard(12, 12).of(archs)


@pytest.mark.parametrize("text", ["", "2", "0/3", "4/3", "1/", "/2", "-1/3", "1/2/3", "a/b", "1/99999999", "\u0661/2x"])
def test_a_bad_shard_is_named(text):
    with pytest.raises(ValueError, match="allowed are 1/COUNT to COUNT/COUNT, such as 2/8"):
        parse_shard(text)


def test_scores_are_put_together_and_what_is_missing_is_said(tmp_path):
    one = fill(tmp_path / "1", {"wrcor": {"a": 1.0, "b": -np.inf}, "naswot": {"a": 5.0}}, "1/4")
    two = fill(tmp_path / "2", {"wrcor": {"c": 2.0, "a": 1.0}}, "3/4")
    found = merge([one, two], tmp_path / "out")
    assert found == (3, {"naswot": 1, "wrcor": 3}, ["2/4", "4/4"])
    held = stored.read(tmp_path / "out")
    assert held.settings == SETTINGS | {"format": stored.FORMAT}
    assert held.scores == {"wrcor": {"a": 1.0, "b": -np.inf, "c": 2.0}, "naswot": {"a": 5.0}}
    assert held.failures["wrcor"] == {"b": "no memory"}
    assert merge([one, two], tmp_path / "out") == found and stored.read(tmp_path / "out") == held


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path):
    one = fill(tmp_path / "1", {"wrcor": {"a": 1.0}}, "1/4")
    again = fill(tmp_path / "again", {"wrcor": {"a": 1.0}}, "1/4")
    others = fill(tmp_path / "others", {"wrcor": {"b": 1.0}}, "2/5")
    settings = fill(tmp_path / "settings", {"wrcor": {"b": 1.0}}, settings=SETTINGS | {"batch_size": 8})
    score = fill(tmp_path / "score", {"wrcor": {"a": 1.5}})
    cases = [
        (again, "again and .*1 are both shard 1/4"),
        (others, "others is shard 2/5, others are shards of 4"),
        (settings, "settings has other settings than .*1: batch_size is 8, there it was 4"),
        (score, "score and .*1 have different scores of a under wrcor"),
        (str(tmp_path / "none"), "results.sqlite does not exist"),
    ]
    for folder, message in cases:
        with pytest.raises(ValueError, match=message):
            merge([one, folder], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    merge([one], tmp_path / "out")
    with pytest.raises(ValueError, match="out has another score of a under wrcor"):
        merge([score], tmp_path / "out")


@pytest.mark.dear
def test_shards_of_a_run_are_the_run(tmp_path):
    flags = ["--archs=0:6", "--proxies=params,flops", "--benchmark=none", "--batch_size=4"]
    run = lambda program, *own: binaries.run(program, *own, cwd=tmp_path, is_tiny=True)
    for number in (1, 2):
        code, _, err = run("score_main", *flags, f"--shard={number}/2", f"--out=part{number}")
        assert not code, err
    merged = lambda *own: binaries.run_forked(
        binaries.run_command, "merge_main", argv=["merge_main", *own], cwd=tmp_path
    )
    code, out, err = merged("part1", "part2", "--out=whole")
    assert not code and "params: 6 architectures\n" in out and "missing" not in out, out + err
    for folder in ("whole", "alone"):
        code, _, err = run("score_main", *flags, f"--out={folder}")
        assert not code, err
    rows = [
        list(csv.DictReader((tmp_path / folder / "scores.csv").read_text().splitlines()))
        for folder in ("whole", "alone")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 6
    assert json.loads((tmp_path / "whole/report.json").read_text())["run"]["num_scored"] == 0
    code, _, err = merged("part1")
    assert code == 1 and err.endswith(
        "needed are results folders of score_main, and --out=FOLDER that takes them all\n"
    )


def test_a_conflict_with_what_is_there_writes_nothing(tmp_path):
    merge([fill(tmp_path / "1", {"wrcor": {"b": 1.0}})], tmp_path / "out")
    before = stored.read(tmp_path / "out")
    with pytest.raises(ValueError, match="out has another score of b under wrcor"):
        merge(
            [fill(tmp_path / "2", {"wrcor": {"a": 3.0}}), fill(tmp_path / "3", {"wrcor": {"b": 2.0}})], tmp_path / "out"
        )
    assert stored.read(tmp_path / "out") == before


@pytest.mark.parametrize("text", ["{", "[]", '{"run": 3}', '{"run": {"shard": "9"}}', "\xff"])
def test_a_damaged_report_is_named(tmp_path, text):
    folder = fill(tmp_path / "1", {"wrcor": {"a": 1.0}})
    (tmp_path / "1" / "report.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"1/report\.json: ") as caught:
        merge([folder], tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()

"""The real binary, end to end, in processes of its own; and the store that it goes on from."""

import csv
import hashlib
import json
import signal
import time

import binaries
import conftest
import numpy as np
import pytest
import searching

from zsnas_jax import proxies
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.search import seeds
from zsnas_jax.search_spaces import nasbench201

SPACE = nasbench201.space()
TOY = f"{conftest.ROOT}/tests/data/toy_space.py:space"
WRITTEN = ("report.json", "found.csv", "curve.csv", "curve.png", "cell.png", "report.html")


def start(*flags, cwd):
    return binaries.start("search_main", *flags, cwd=cwd)


def run(*flags, cwd):
    return binaries.run("search_main", *flags, cwd=cwd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table: `good` ranks as `accuracy` does, but for noise; the others are noise; one lacks values."""
    path = tmp_path_factory.mktemp("tables")
    columns = searching.counted_columns()
    good = columns["good"]
    columns |= {"part": np.where(good < 1, good, np.nan), "empty": np.full(15625, np.nan)}
    searching.save_table(path / "table.npz", columns)
    digest = hashlib.sha256(good.tobytes()).hexdigest()
    wide = {"good": np.zeros(423_624, np.float32)}
    TabularBenchmark(wide, "nasbench101", "other", "made by a test", digest).save(path / "other.npz")
    return path


TABLE = ["--scores=table.npz", "--benchmark=table.npz", "--benchmark_column=accuracy"]
SEARCH = [*TABLE, "--proxies=good", "--num_architectures=300", "--num_seeds=30", "--chunk=20"]


@pytest.fixture(scope="module")
def finished(folder):
    code, out, err = run(*SEARCH, "--out=finished", cwd=folder)
    assert code == 0, err
    return folder / "finished", out


def without_timing(folder):
    report = json.loads((folder / "report.json").read_text())
    return {name: value for name, value in report.items() if name != "run"}


def test_a_search_leaves_report_curve_and_drawing(finished):
    folder, out = finished
    report = json.loads((folder / "report.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*WRITTEN, "results.sqlite", "flags.txt", "log.txt"]
    )
    assert report["num_seeds"] == len(report["seeds"]) == 30
    assert report["search"] == {
        "strategy": "evolution", "population_size": 64, "tournament_size": 10, "num_architectures": 300,
        "scores": "good", "vote": None, "proxies": {},
    }  # fmt: skip
    optimum = report["benchmark"]["optimum"]
    best = max(report["seeds"], key=lambda row: row["scores"]["good"])
    assert report["best"]["arch"] == best["arch"]
    for row in report["seeds"]:
        arch = SPACE.decode(row["arch"])
        assert row["index"] == SPACE.to_index(arch) and row["params"] == SPACE.num_params(arch)
        assert row["flops"] == SPACE.num_flops(arch) and 1 <= row["found_at"] <= 300
        assert row["regret"] == pytest.approx(optimum["accuracy"] - row["accuracy"])
    accuracies = [row["accuracy"] for row in report["seeds"]]
    summary = report["summary"]["accuracy"]
    assert summary["mean"] == pytest.approx(np.mean(accuracies)) and summary["std"] == pytest.approx(
        np.std(accuracies, ddof=1)
    )
    assert summary["low"] < summary["mean"] < summary["high"]
    curve = list(csv.DictReader((folder / "curve.csv").read_text().splitlines()))
    assert list(curve[0]) == [
        "architectures",
        "good",
        "good_low",
        "good_high",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
    ]
    means = [float(row["good"]) for row in curve]
    assert len(curve) == 300 and means == sorted(means)
    assert float(curve[-1]["accuracy"]) == pytest.approx(summary["mean"], rel=1e-6)
    found = list(csv.DictReader((folder / "found.csv").read_text().splitlines()))
    assert [row["arch"] for row in found] == [row["arch"] for row in report["seeds"]]
    for name in ("curve.png", "cell.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert "by good alone a search finds the maximum of good, which need not be the best network\n" in out
    assert report["best"]["arch"] in (folder / "report.html").read_text()
    assert report["best"]["arch"] in out and "regret over seeds" in out and "explored now: 9000" in out


@pytest.mark.slow
def test_killed_and_started_again_it_ends_alike(finished, folder):
    process = start(*SEARCH, "--out=killed", cwd=folder)
    journal = folder / "killed" / "results.sqlite-wal"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if journal.exists() and journal.stat().st_size > 1_500_000:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL and not (folder / "killed" / "report.json").exists()
    code, _, err = run(*SEARCH, "--out=killed", cwd=folder)
    assert code == 0, err
    explored_now = json.loads((folder / "killed" / "report.json").read_text())["run"]["num_explored_now"]
    assert 0 < explored_now < 9000
    assert without_timing(folder / "killed") == without_timing(finished[0])
    for name in ("curve.csv", "found.csv", "cell.png"):
        assert (folder / "killed" / name).read_bytes() == (finished[0] / name).read_bytes()


@pytest.mark.slow
def test_a_finished_search_goes_on_with_more_seeds(folder):
    flags = [*TABLE, "--proxies=good", "--num_architectures=80", "--strategy=random"]
    for out, num_seeds in (("more", 3), ("more", 5), ("at_once", 5)):
        code, _, err = run(*flags, f"--num_seeds={num_seeds}", f"--out={out}", cwd=folder)
        assert code == 0, err
    assert json.loads((folder / "more" / "report.json").read_text())["run"]["num_explored_now"] == 160
    assert without_timing(folder / "more") == without_timing(folder / "at_once")


@pytest.mark.dear  # six seconds
def test_votes_and_limits_search_a_table(folder):
    flags = ["--vote=good+first+second", "--params_limit=400000", "--num_architectures=120", "--strategy=reinforce"]
    code, out, err = run(*TABLE, *flags, "--out=vote", cwd=folder)
    assert code == 0, err
    report = json.loads((folder / "vote" / "report.json").read_text())
    assert list(report["best"]["scores"]) == ["good", "first", "second"] and report["best"]["params"] <= 400_000
    assert report["search"]["vote"]["method"] == "copeland" and report["summary"]["accuracy"]["low"] is None
    assert report["search"]["learning_rate"] == 0.001 and "score second" in out
    optimum = report["benchmark"]["optimum"]
    assert optimum["is_within_limits"] and nasbench201.num_params(SPACE.from_index(optimum["index"])) <= 400_000
    assert report["best"]["regret"] == pytest.approx(optimum["accuracy"] - report["best"]["accuracy"])
    assert "optimum within the limits" in out


OTHERS = [
    (["--seed=1"], "seed is 1, there it was 0"),
    (
        ["--population_size=20", "--flops_limit=1e8"],
        "max_flops is 100000000.0, there it was None; population_size is 20",
    ),
]


def test_the_folder_of_another_search_is_refused(finished):
    folder, _ = finished
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    cases = [[*SEARCH, *flags, f"--out={folder}"] for flags, _ in OTHERS]
    errors = binaries.errors_of("search_main", cases, folder.parent)
    for error, (flags, message) in zip(errors, OTHERS, strict=True):
        assert message in error and "\n" not in error, flags
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


BAD_INPUT = [
    (["--strategy=bandit"], "flag --strategy=bandit: allowed are random, reinforce, evolution, genetic, nsga2"),
    (["--tournament_size=65"], "tournament_size is 65: at most population_size, 64, is allowed"),
    (["--num_architectures=63"], "num_architectures is 63: evolution begins with 64 random ones"),
    (["--num_architectures=0"], "flag --num_architectures=0: allowed are whole numbers from 1 to 20,000,000"),
    (["--num_seeds=0"], "flag --num_seeds=0: allowed are whole numbers from 1 to"),
    (["--chunk=-1"], "flag --chunk=-1: allowed are whole numbers from 0 to"),
    (["--learning_rate=0"], "flag --learning_rate=0: allowed are numbers from 0 to 1e+06, 0 excluded"),
    (["--params_limit=10"], "satisfies params at most 10 (the smallest is 73,306, the largest 1,531,546)"),
    (["--proxies=good,first"], "proxies good, first: a search needs one, or --vote"),
    (["--proxies="], "proxies none: a search needs one, or --vote"),
    (["--vote=sjw", "--proxies=good"], "proxies good: vote sjw is of synflow, jaccor, wrcor"),
    (["--vote=good+first"], "a majority needs an odd number of three or more"),
    (["--proxies=nothing"], "column 'nothing' is not in benchmark table"),
    (["--proxies=good", "--scores=other.npz"], "scores other.npz are of space nasbench101, the search is of nasbench201"),
    (["--proxies=good", "--scores=gone.npz"], "unknown benchmark 'gone.npz'"),
    (["--proxies=good", "--benchmark_column=empty"], "column empty of benchmark table holds no value"),
    (["--scores="], "flag --scores=: a path or a name is needed"),
    (["live", "--proxies=wrcor:weight=none"], "proxy 'wrcor:weight=none': unknown setting 'weight': allowed are weighting"),
    (["live", "--vote=wrcor+snip+wrcor:weighting=expb2t"], "wrcor:weighting=expb2t is wrcor, given twice"),
    (["--proxies=all"], "a search needs one, or --vote"),
    (["--num_architectures=100000", "--num_seeds=1000"], "num_architectures is 100000, num_seeds 1000: together at most 20,000,000"),
    (["live", "--proxies=good"], "unknown proxy 'good'"),
    (["live", "--proxies=params", "--batch_size=65536"], "batch_size is 65536: about 156 GiB are needed for 1 networks"),
    (["--proxies=good", "--dataset=svhn"], "unknown data set 'svhn': allowed are noise, cifar10"),
    (["--proxies=good", "--benchmark=none"], "benchmark_column is 'accuracy': there is none where --benchmark is none"),
    (["--proxies=good", "--norm=ln"], "norm is 'ln': scores are looked up in a table, by the columns that --proxies names"),
    (["--proxies=good", "--weighting=none"], "weighting is 'none': scores are looked up in a table"),
    (["--programs=fast"], "flag --programs=fast: allowed are auto, dispatched, chained, static"),
    (["--proxies=good", "--repeats=2"], "repeats is 2: a search scores each architecture once"),
    (["--proxies=good", "--resample"], "resample is True: a search scores each architecture once"),
    (["--proxies=good", "--num_devices=2"], "num_devices is 2: a search scores each architecture once"),
    (["--space=nb301"], "unknown space 'nb301'"),
    (["--objectives=good"], "objectives good: at least two are needed; --proxies takes one score"),
    (["--objectives="], "objectives none: at least two are needed"),
    (["--objectives=good,flops"], "objective 'flops': whether a cost is to be small has to be said: say -flops"),
    (["--objectives=good,-"], "objective '-': a name is needed, such as wrcor or -flops"),
    (["--objectives=good,-flops,-good"], "objectives good, -flops, -good: good is given twice"),
    (["--objectives=good,-nothing"], "column 'nothing' is not in benchmark table"),
    (["--objectives=sjw,-flops"], "objective 'sjw': a vote by copeland compares those at hand, and has no number for one architecture: allowed are az_nas, vkdnw_agg, quartet, quintet"),
    (["--objectives=good+first+second,-flops"], "objective 'good+first+second': a vote by copeland compares"),
    (["--objectives=good,-flops", "--proxies=good"], "proxies is ['good']: a search goes by it or by objectives, here good, -flops"),
    (["--objectives=good,-flops", "--strategy=genetic"], "strategy is genetic: several objectives are searched by nsga2"),
    (["--strategy=nsga2"], "strategy is nsga2: it searches trade-offs, give --objectives=wrcor,-flops"),
    (["--objectives=good,-flops", "--num_architectures=63"], "num_architectures is 63: nsga2 begins with 64 random ones"),
    (["--objectives=good,-latency", "--latency_repeats=0"], "flag --latency_repeats=0: allowed are whole numbers from 1 to 10,000"),
    (["live", "--objectives=wrcor,wrcor:weighting=expb2t"], "proxies wrcor, wrcor:weighting=expb2t: wrcor:weighting=expb2t is wrcor, given twice"),
    (["live", "--objectives=quintett,-flops"], "unknown proxy 'quintett'"),
    (["live", f"--space={TOY}", "--objectives=acor,-latency"], "latency: space toy has no static: its network holds the operations of all"),
    (["live", f"--space={TOY}", "--objectives=acor,-flops"], "objective 'flops': space toy has no num_flops"),
]  # fmt: skip


@pytest.fixture(scope="module")
def complaints(folder):
    """What the binary says of every bad input, in one process; and that it leaves nothing behind."""
    judged = lambda case: any("proxies" in flag or "vote" in flag or "objectives" in flag for flag in case)
    looked_up = lambda case: [*TABLE, *([] if judged(case) else ["--proxies=good"]), *case]
    cases = [case[1:] if case[0] == "live" else looked_up(case) for case, _ in BAD_INPUT]
    before = sorted(folder.rglob("*"))
    errors = binaries.errors_of("search_main", cases, folder)
    assert sorted(folder.rglob("*")) == before
    return errors


@pytest.mark.parametrize("number", range(len(BAD_INPUT)), ids=lambda number: " ".join(BAD_INPUT[number][0]))
def test_bad_input_is_named(number, complaints):
    assert BAD_INPUT[number][1] in complaints[number]


@pytest.mark.slow  # the binaries end alike, which test_score_main.py sees
def test_bad_input_ends_in_one_clear_line(folder):
    before = sorted(folder.rglob("*"))
    code, _, err = run(*TABLE, "--proxies=good", "--tournament_size=65", cwd=folder)
    assert code == 1 and err.startswith("search_main: error: tournament_size is 65") and err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_a_live_search_has_the_scores_of_score_main_and_scores_nothing_twice(tmp_path):
    small = ["--batch_size=4", "--proxies=naswot", "--benchmark=none"]
    flags = [*small, "--num_architectures=6", "--population_size=3", "--tournament_size=2", "--chunk=3", "--out=live"]
    code, _, err = run(*flags, "--num_seeds=2", cwd=tmp_path)
    assert code == 0, err
    report = json.loads((tmp_path / "live" / "report.json").read_text())
    assert report["run"]["num_explored_now"] == 12 and report["benchmark"] is None and "accuracy" not in report["best"]
    assert report["search"]["scores"] == "naswot" and report["search"]["proxies"]["naswot"]["settings"] == {}
    found = (tmp_path / "live" / "found.csv").read_bytes()
    code, out, err = run(*flags, "--num_seeds=2", "--norm=ln", cwd=tmp_path)  # beside it, in the same folder
    assert code == 0, err
    other = json.loads((tmp_path / "live" / "report.json").read_text())
    assert other["settings"] == report["settings"] and other["search"]["scores"] == "naswot:norm=ln"
    assert list(other["best"]["scores"]) == ["naswot:norm=ln"] and "naswot:norm=ln" in out
    assert other["run"]["num_explored_now"] == 12 and other["run"]["programs"] == "dispatched"
    code, out, err = run(*flags, "--num_seeds=2", cwd=tmp_path)
    assert code == 0, err
    assert "explored now: 0" in out and (tmp_path / "live" / "found.csv").read_bytes() == found
    with seeds.SearchStore(tmp_path / "live", report["settings"]) as store:
        scored, others = (store.get(proxy) for proxy in proxies.make_proxies(["naswot", "naswot:norm=ln"]))
    assert others and all(scored[arch] != score for arch, score in others.items() if arch in scored)
    assert len(scored) == report["run"]["num_scored"] <= 12
    assert "seconds" in (tmp_path / "live" / "curve.csv").read_text()
    (tmp_path / "archs.txt").write_text("\n".join(scored))
    scoring = [*small, "--num_devices=1", "--archs=archs.txt", "--out=scored"]
    code, _, err = binaries.run("score_main", *scoring, cwd=tmp_path)
    assert code == 0, err
    for row in csv.DictReader((tmp_path / "scored" / "scores.csv").read_text().splitlines()):
        assert scored[row["arch"]] == pytest.approx(float(row["naswot"]), rel=1e-5)


# --- functions


@pytest.mark.slow
def test_a_weighted_vote_is_searched_as_one_score(folder):
    flags = ["--vote=quintet", "--num_architectures=70"]
    columns = dict(np.load(folder / "table.npz"))
    quintet = ("gcor_first5", "wrcor", "log_params", "gcor_first2", "neg_log_fisher")
    TabularBenchmark(dict.fromkeys(quintet, columns["column/good"]), "nasbench201", "five", "made by a test", "0").save(
        folder / "five.npz"
    )
    code, _, err = run(*TABLE, "--scores=five.npz", *flags, "--out=quintet", cwd=folder)
    assert code == 0, err
    report = json.loads((folder / "quintet" / "report.json").read_text())
    assert list(report["best"]["scores"]) == ["quintet"] and report["search"]["vote"]["weights"] == [
        2.0,
        1.0,
        0.5,
        0.5,
        0.25,
    ]

"""Searches for trade-offs by the real binary, over a table and live; latencies; what objectives are."""

import csv
import json

import binaries
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import searching
import tiny

from zsnas_jax import search, votes
from zsnas_jax.measure import latency
from zsnas_jax.measure.latency import Latency
from zsnas_jax.reports import pareto_report
from zsnas_jax.reports.search_task import Task
from zsnas_jax.search import objectives, pareto, seeds
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage import stored

SPACE = nasbench201.space()
KIND = Latency(2, 3, 10, 8, "a device")


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table of a score that is noise beside the number of 3x3 convolutions, and its accuracies."""
    path = tmp_path_factory.mktemp("tables")
    columns = searching.counted_columns()
    searching.save_table(path / "table.npz", {name: columns[name] for name in ("accuracy", "good")})
    return path


@pytest.mark.dear
def test_a_table_is_searched_for_trade_offs(folder):
    flags = ["--scores=table.npz", "--objectives=good,-flops", "--benchmark=table.npz", "--benchmark_column=accuracy"]
    flags += ["--params_limit=1e6", "--num_seeds=3", "--num_architectures=96", "--population_size=16"]
    code, out, err = binaries.run("search_main", *flags, "--out=table", cwd=folder)
    assert code == 0, err
    written = {
        "report.json",
        "front.csv",
        "fronts.csv",
        "front.png",
        "hypervolume.csv",
        "hypervolume.png",
        "report.html",
    }
    assert {path.name for path in (folder / "table").iterdir()} == written | {"results.sqlite", "flags.txt", "log.txt"}
    assert (folder / "table" / "report.html").read_text().count("data:image/png;base64,") == 2
    front, report = rows_of(folder / "table" / "front.csv"), json.loads((folder / "table" / "report.json").read_text())
    assert list(front[0]) == ["arch", "index", "good", "flops", "params", "accuracy", "num_seeds"]
    table = np.load(folder / "table.npz")
    for row in front:
        arch = SPACE.decode(row["arch"])
        assert int(row["flops"]) == nasbench201.num_flops(arch, 10, 32) and int(row["params"]) <= 1_000_000
        assert float(row["good"]) == pytest.approx(table["column/good"][int(row["index"])])
        assert float(row["accuracy"]) == pytest.approx(table["column/accuracy"][int(row["index"])])
    signs = np.array([1, -1])
    scores = lambda rows: signs * np.array([[float(row["good"]), float(row["flops"])] for row in rows])
    assert pareto.is_optimal(scores(front)).all() and (np.diff([float(row["good"]) for row in front]) < 0).all()
    every = rows_of(folder / "table" / "fronts.csv")
    assert {row["seed"] for row in every} == {"0", "1", "2"}
    best = {row["arch"] for row, kept in zip(every, pareto.is_optimal(scores(every)), strict=True) if kept}
    assert best == {row["arch"] for row in front}
    truth, volume = report["true_front"], report["hypervolume"]
    shares = [float(row["hypervolume"]) for row in rows_of(folder / "table" / "hypervolume.csv")]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(volume["summary"]["mean"])
    assert shares[-1] < truth["hypervolume"] < 1 and truth["num_found"] <= truth["num_trade_offs"]
    assert (
        volume["reference"]["flops"] > volume["ideal"]["flops"]
        and volume["reference"]["good"] < volume["ideal"]["good"]
    )
    assert "hypervolume: " in out and f"true front: {truth['num_trade_offs']} trade-offs" in out


@pytest.mark.dear
def test_a_live_search_measures_each_latency_once_and_goes_on(tmp_path):
    flags = ["--objectives=naswot,-latency,-params", "--batch_size=4", "--benchmark=none", "--out=live"]
    flags += ["--latency_repeats=2", "--programs=static", "--num_architectures=10", "--population_size=4"]
    code, out, err = binaries.run("search_main", *flags, cwd=tmp_path, is_tiny=True)
    assert code == 0, err
    first = (tmp_path / "live" / "front.csv").read_bytes()
    rows = rows_of(tmp_path / "live" / "front.csv")
    assert list(rows[0]) == ["arch", "index", "naswot", "latency_seconds", "params", "flops", "num_seeds"]
    assert all(0 < float(row["latency_seconds"]) < 60 for row in rows)
    known = stored.read(tmp_path / "live")
    [label] = [name for name in known.scores if name.startswith("latency_seconds")]
    assert known.proxies[label].settings["device"] and known.proxies[label].settings["batch_size"] == 1
    assert len(known.scores[label]) == len(known.scores["params"]) <= 10
    code, out, err = binaries.run("search_main", *flags, cwd=tmp_path, is_tiny=True)
    assert code == 0 and "explored now: 0;" in out, err
    assert (tmp_path / "live" / "front.csv").read_bytes() == first


# --- functions


@pytest.mark.parametrize(
    ("text", "name", "sign"),
    [("wrcor", "wrcor", 1), ("+wrcor", "wrcor", 1), ("-wrcor", "wrcor", -1), ("+flops", "flops", 1), (" -params", "params", -1)],
)  # fmt: skip
def test_an_objective_is_a_name_with_a_direction(text, name, sign):
    assert objectives.parse(["snip", text])[1] == objectives.Objective(name, sign, (name,))


def test_values_are_signed_and_back():
    asked = objectives.parse(["quintet", "-flops"])
    values = np.array([[1.0, 2.0], [-np.inf, 3.0], [np.nan, -np.inf]])
    signs = objectives.signed(asked, values)
    np.testing.assert_array_equal(signs, [[1, -2], [-np.inf, -3], [-np.inf, -np.inf]])
    np.testing.assert_array_equal(objectives.signed(asked, signs), [[1, 2], [-np.inf, 3], [-np.inf, -np.inf]])


def test_a_vote_is_one_objective_and_undefined_where_an_expert_is():
    asked = objectives.parse(["az_nas", "-flops"])
    names = objectives.score_names(asked)
    assert names == votes.VOTES["az_nas"].experts  # which has the FLOPs, too
    reference = np.random.default_rng(0).random((20, len(names))).astype(np.float32)
    scores = np.append(reference[:5], [[np.nan, *reference[0, 1:]]], 0)
    ours = jax.vmap(objectives.objective_scores(lambda arch: arch, asked, names, reference))(jnp.asarray(scores))
    expected = votes.vote(
        votes.VOTES["az_nas"], dict(zip(names, scores.T, strict=True)), dict(zip(names, reference.T, strict=True))
    )
    np.testing.assert_allclose(ours[:5, 0], expected[:5], rtol=1e-5)
    np.testing.assert_array_equal(ours[:, 1], -scores[:, names.index("flops")])
    assert np.isneginf(ours[5, 0])


def test_a_latency_is_the_median_of_runs_after_one_to_warm_up():
    times = iter(np.cumsum([0, 5, 0, 1, 0, 3]).tolist())
    assert latency.measure(tiny.space(), tiny.CELL, KIND, clock=lambda: next(times)) == 3
    assert KIND.settings == {"batch_size": 2, "repeats": 3, "num_classes": 10, "image_size": 8, "device": "a device"}


def test_a_network_that_the_device_cannot_hold_is_named():
    huge = KIND._replace(batch_size=2**31, image_size=64)
    with pytest.raises(RuntimeError, match=r"latency of \|.*: a device with latency_batch_size 2147483648 cannot hold"):
        latency.measure(tiny.space(), tiny.CELL, huge)


def test_latencies_are_kept_at_once(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(latency, "measure", lambda space, arch, kind: measured.append(arch) or 0.5)
    for _ in range(2):
        with seeds.SearchStore(tmp_path, {}) as store:
            timed = search.latency_scores(store, SPACE, KIND)
            assert [timed(np.array(tiny.CELL)) for _ in range(2)] == [0.5, 0.5]
    assert len(measured) == 1


def test_a_front_without_anyone_is_a_report_without_a_front(tmp_path):
    explored = seeds.Explored(
        np.zeros((1, 3, 6), np.int32), np.full((1, 3, 5), -np.inf), np.zeros((1, 3), int), np.ones((1, 3)), [[(3, 1.0)]]
    )
    asked = objectives.parse(["wrcor", "snip", "-flops", "-params", "-latency"])
    task = Task(SPACE, tuple(one.name for one in asked), 10, 32, None)
    for count, reason in ((5, "of 5 objectives"), (2, "no architecture of the first population")):
        few = explored._replace(scores=explored.scores[..., :count])
        trade = pareto_report.analyse(task._replace(experts=task.experts[:count]), asked[:count], few, 2)
        run = {"num_explored_now": 3, "how": "computed", "num_scored": 3}
        own = {"strategy": "nsga2", "scores": "several", "num_architectures": 3}
        made = pareto_report.make_report(trade, {}, own, run)
        assert reason in made["hypervolume"]["note"] and made["front"] == []
        assert pareto_report.write_all(tmp_path, trade, made) == ["report.json", "report.html"]
        assert "no architecture has all objectives" in pareto_report.as_text(made)

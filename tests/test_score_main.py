"""The real binary, end to end, in processes of its own: small real input, kill and resume, hostile input."""

import csv
import json
import pathlib
import signal
import time

import binaries
import conftest
import numpy as np
import pytest

from zsnas_jax import datasets, proxies, search
from zsnas_jax.base import Proxy
from zsnas_jax.reports import metrics, plots, score_report
from zsnas_jax.runs.scores import score_archs
from zsnas_jax.runs.selection import select_archs
from zsnas_jax.runs.settings import ScoreSettings, stored_settings
from zsnas_jax.search_spaces import make_space, nasbench201
from zsnas_jax.storage import stored
from zsnas_jax.storage.store import ResultStore

SMALL = ["--batch_size=4", "--num_devices=1"]


def start(*flags, cwd):
    return binaries.start("score_main", *SMALL, *flags, cwd=cwd, is_tiny=True)


def run(*flags, cwd, is_tiny=True):
    return binaries.run("score_main", *SMALL, *flags, cwd=cwd, is_tiny=is_tiny)


def errors_of(cases, cwd):
    return binaries.errors_of("score_main", cases, cwd)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "small.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x_train=rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8), y_train=np.arange(20) % 10)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, pictures):
    """An uninterrupted run over 40 cells: its folder and its output."""
    folder = tmp_path_factory.mktemp("finished")
    flags = [f"--dataset={pictures}", "--archs=0:40", "--proxies=wrcor,acor", "--out=out"]
    code, out, err = run(*flags, cwd=folder)
    assert code == 0, err
    return folder / "out", out


def test_a_run_leaves_scores_report_and_picture(finished):
    folder, out = finished
    with open(folder / "scores.csv") as file:
        rows = list(csv.DictReader(file))
    scored = ["wrcor", "wrcor_rank", "acor", "acor_rank"]
    assert list(rows[0]) == ["index", "arch", *scored, "params", "flops", "accuracy"] and len(rows) == 40
    best = max(rows, key=lambda row: float(row["wrcor"]))
    assert best["wrcor_rank"] == "1" and int(best["params"]) == nasbench201.num_params(
        nasbench201.decode(best["arch"]), 10
    )
    matrix = list(csv.DictReader((folder / "correlations.csv").read_text().splitlines()))
    assert [row["proxy"] for row in matrix] == ["wrcor", "acor", "accuracy"] and float(matrix[1]["acor"]) == 1
    assert [int(row["index"]) for row in rows] == list(range(40))
    assert rows[5]["arch"] == nasbench201.encode(nasbench201.from_index(5))
    assert all(row["wrcor"] and row["acor"] for row in rows)
    report = json.loads((folder / "report.json").read_text())
    degenerate = sum(row["wrcor"] == "-inf" for row in rows)
    assert report["proxies"]["wrcor"]["degenerate"] == degenerate
    entry = report["proxies"]["wrcor"]
    assert entry["name"] == "wrcor" and entry["settings"]["weighting"] == "expb2t" and "Jing" in entry["reference"]
    assert "weighting" not in report["settings"] and "norm" not in report["settings"]
    assert report["run"]["num_scored"] == 40 and report["run"]["num_compilations"] == 1
    assert report["run"]["programs"] == "dispatched"
    assert report["benchmark"]["name"] == "analog"
    rho = report["proxies"]["wrcor"]["spearman"]
    assert -1 <= rho["low"] <= rho["value"] <= rho["high"] <= 1
    assert float(matrix[0]["accuracy"]) == pytest.approx(rho["value"], abs=1e-6)
    assert (folder / "scatter.png").read_bytes().startswith(b"\x89PNG")
    groups = report["proxies"]["acor"]["by_convolutions"]["groups"]
    assert sum(group["num_archs"] for group in groups) == 40
    with open(folder / "convolutions.csv") as file:
        assert sum(int(row["num_archs"]) for row in csv.DictReader(file) if row["proxy"] == "wrcor") == 40
    assert (folder / "convolutions.png").read_bytes().startswith(b"\x89PNG")
    assert "scores.csv, report.json, scatter.png, convolutions.csv, convolutions.png, correlations.csv" in out
    assert f"{rho['value']:.3f}" in out and "best by wrcor" in out


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_bytes(finished, pictures, tmp_path):
    flags = [f"--dataset={pictures}", "--archs=0:40", "--proxies=wrcor,acor", "--out=out"]
    process = start(*flags, cwd=tmp_path)
    store = tmp_path / "out" / "results.sqlite-wal"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if store.exists() and store.stat().st_size > 30_000:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    code, _, err = run(*flags, cwd=tmp_path)
    assert code == 0, err
    run_report = json.loads((tmp_path / "out" / "report.json").read_text())["run"]
    assert run_report["num_reused"] > 0 and run_report["num_scored"] + run_report["num_reused"] == 40
    assert (tmp_path / "out" / "scores.csv").read_bytes() == (finished[0] / "scores.csv").read_bytes()


@pytest.mark.slow
def test_a_finished_folder_is_extended(finished, pictures):
    """By architectures, then by another proxy and by one under another setting; then everything is there."""
    folder, _ = finished
    before = (folder / "scores.csv").read_text().splitlines()

    def extend(*flags):
        code, out, err = run(*flags, f"--dataset={pictures}", f"--out={folder}", cwd=folder.parent)
        assert code == 0, err
        report = json.loads((folder / "report.json").read_text())
        return (folder / "scores.csv").read_text().splitlines(), report, out

    more = [*nasbench201.from_index(np.arange(38, 42)), np.zeros(6, int)]
    (folder / "archs.txt").write_text("\n".join(map(nasbench201.encode, more)))
    after, report, _ = extend(f"--archs={folder}/archs.txt", "--proxies=wrcor,acor")
    same = lambda lines: [[line.split(",")[place] for place in (0, 1, 2, 4)] for line in lines]  # ranks are of the set
    assert same(after[1:3]) == same(before[39:41]) and after[-1].split(",")[2:5:2] == ["-inf", "-inf"]
    assert (report["run"]["num_scored"], report["run"]["num_reused"]) == (3, 2)
    entry = report["proxies"]["wrcor"]
    assert entry["top"][-1]["score"] is None and entry["undefined"] == proxies.wrcor().undefined
    after, report, out = extend("--archs=0:10", "--proxies=acor,wrcor,params", "--weighting=none")
    columns = [line.split(",") for line in after]
    assert columns[0][2:8:2] == ["acor", "wrcor:weighting=none", "params"] and "wrcor:weighting=none" in out
    assert [line[2] for line in columns] == [line.split(",")[4] for line in before[:11]]
    assert [line[4] for line in columns[1:]] != [line.split(",")[2] for line in before[1:11]]
    assert report["run"]["num_scored"] == 10 and report["proxies"]["wrcor:weighting=none"]["name"] == "wrcor"
    after, report, out = extend("--archs=0:40", "--proxies=wrcor,acor")
    assert after == before and report["run"]["num_scored"] == 0
    assert report["stored"] == {"acor": 43, "params": 10, "wrcor": 43, "wrcor:weighting=none": 10}
    assert "the folder also has scores of params (10), wrcor:weighting=none (10)" in out


REFUSED = {
    "--seed=1": "seed is 1, there it was 0",
    "--init=normal": "init is 'normal', there it was 'kaiming_uniform'",
    "--dataset=noise": "dataset is 'noise', there it was",
    "--share_isomorphic": "share_isomorphic is True, there it was False",
    "--proxies=wrcor,wrcor:weighting=expb2t": "wrcor:weighting=expb2t is wrcor, given twice",
}


@pytest.mark.slow
def test_a_flag_that_would_change_scores_is_refused(finished, pictures):
    folder, _ = finished
    before = (folder / "scores.csv").read_bytes()
    same = ["--batch_size=4", f"--dataset={pictures}", "--archs=0:40", f"--out={folder}"]
    errors = errors_of([[*same, change] for change in REFUSED], folder.parent)
    for error, (change, message) in zip(errors, REFUSED.items(), strict=True):
        assert message in error, change
    code, _, err = run(*same, "--seed=1", cwd=folder.parent)
    assert code == 1 and REFUSED["--seed=1"] in err and err.count("\n") == 1
    assert (folder / "scores.csv").read_bytes() == before


BAD = [
    (["--space=nb301"], "unknown space 'nb301': allowed are nasbench201"),
    (["--proxies=wrcore"], "unknown proxy 'wrcore': allowed are all, pnorm, pgnorm, snip"),
    (["--proxies=swap:samples=2"], "proxy 'swap:samples=2': unknown setting 'samples': allowed are num_samples, mu"),
    (["--proxies=acor,acor"], "proxies acor, acor: acor is given twice"),
    (["--programs=fast"], "flag --programs=fast: allowed are auto, dispatched, chained, static"),
    (["--programs=chained"], "programs 'chained': space nasbench201 offers dispatched, static"),
    (
        ["--weighting=cubic", "--proxies=params"],
        "flag --weighting=cubic: allowed are none, linear, quad, expb2t, expt2b",
    ),
    (["--norm=rms"], "flag --norm=rms: allowed are bn, ln, gn16"),
    (["--mask_rate=1"], "flag --mask_rate=1: allowed are numbers from 0 to 1, 1 excluded"),
    (["--activation=sine"], "flag --activation=sine: allowed are relu, gelu, leaky_relu"),
    (["--votes=sjv"], "unknown vote 'sjv': allowed are zerocost, spw, sjw, az_nas, vkdnw_agg, quartet, quintet"),
    (["--votes=wrcor+snip"], "a majority needs an odd number of three or more"),
    (["--votes=wrcor+snip+wrcore"], "unknown proxy 'wrcore'"),
    (["--votes=wrcor+snip+wrcor:weighting=expb2t"], "experts 'wrcor,snip,wrcor': one is given twice"),
    (
        ["--vote_method=borda"],
        "flag --vote_method=borda: allowed are copeland, rank_sum, comparator, z_score_sum, log_rank_sum",
    ),
    (["--init=xavier"], "flag --init=xavier: allowed are kaiming_uniform, kaiming_normal, normal, kaiming_fan_out"),
    (["--batch_size=1"], "flag --batch_size=1: allowed are whole numbers from 2 to 65,536"),
    (["--repeats=0"], "flag --repeats=0: allowed are whole numbers from 1 to 10,000"),
    (["--seed=-1"], "flag --seed=-1: allowed are whole numbers from 0 to"),
    (["--archs=10:5"], "archs '10:5': needed is 0 <= START < STOP <= 15625"),
    (["--archs=0:20000"], "STOP <= 15625"),
    (["--archs=random:0"], "COUNT must lie between 1 and 15625"),
    (["--archs=some"], "archs 'some' is neither a file nor a selection: allowed are all, START:STOP"),
    (["--archs=bad.txt"], "bad.txt, line 2: bad architecture '|conv~0|': 1 nodes"),
    (["--archs=empty.txt"], "empty.txt holds no architecture"),
    (["--dataset=svhn"], "unknown data set 'svhn': allowed are noise, cifar10"),
    (["--dataset=none.npz"], "data set none.npz does not exist"),
    (["--dataset=small.npz", "--batch_size=64"], "small.npz has 20 pictures, fewer than a batch of 64"),
    (["--dataset=small.npz", "--num_classes=5"], "label 9 does not fit 5 classes"),
    (["--dataset=imagenet16_120", "--data_dir=."], "imagenet_resized/16x16 is not prepared as array_record"),
    (
        ["--benchmark=nowhere.csv"],
        "unknown benchmark 'nowhere.csv': allowed are analog, nasbench201_scores or an existing path",
    ),
    (["--benchmark=part.csv"], "has no cifar10_test_200_mean for architecture"),
    (
        ["--benchmark=analog", "--benchmark_column=svhn"],
        "column 'svhn' is not in benchmark analog: allowed are cifar10_test_unstated_single",
    ),
    (["--candidates_per_step=-2"], "flag --candidates_per_step=-2: allowed are whole numbers from 1 to 1,024"),
    (["--out=small.npz"], "cannot make the results folder small.npz: File exists"),
    (["--task=jigsaw"], "task 'jigsaw': space nasbench201 has no tasks to choose from"),
    (
        ["--space=transnas101_micro", "--task=depth"],
        "unknown task 'depth' of space transnas101_micro: allowed are class",
    ),
    (["--space=transnas101_micro", "--dataset=small.npz"], "class_scene has 47 classes, the pictures have"),
    (["--layers=3"], "layers is 3: networks of space nasbench201 have no such size to choose"),
    (["--archs=benchmark", "--benchmark=none"], "archs 'benchmark': the benchmark lists none"),
]


def test_bad_input_ends_in_one_clear_line(pictures, tmp_path):
    arch = nasbench201.encode(nasbench201.from_index(0))
    (tmp_path / "bad.txt").write_text(f"{arch}\n|conv~0|\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "part.csv").write_text(f"arch,cifar10_test_200\n{arch},93\n")
    (tmp_path / "small.npz").write_bytes(pictures.read_bytes())
    before = sorted(tmp_path.iterdir())
    same = ["--batch_size=4", "--benchmark=none"]  # reading the default's table takes seconds
    errors = errors_of([[*same, *flags] for flags, _ in BAD], tmp_path)
    for error, (flags, message) in zip(errors, BAD, strict=True):
        assert message in error and "\n" not in error, flags
    code, _, err = run("0:5", cwd=tmp_path, is_tiny=False)
    assert code == 1 and err.count("\n") == 1
    assert err.startswith("score_main: error: unknown argument '0:5': flags start with --")
    assert sorted(tmp_path.iterdir()) == before


def test_more_random_cells_contain_the_fewer():
    space = nasbench201.space()
    few, many = (select_archs(space, f"random:{count}", seed=3) for count in (10, 30))
    assert set(map(space.encode, few)) < set(map(space.encode, many)) and len(many) == 30


def test_limits_choose_among_the_cells():
    space = nasbench201.space()
    within = search.constrained(space, max_params=200_000)
    select = lambda text: select_archs(within, text, seed=3, has_limits=True)
    sizes = lambda archs: [nasbench201.num_params(arch, 10) for arch in archs]
    assert len(select("random:30")) == 30 and max(sizes(select("random:30"))) <= 200_000
    some, all_of_them = select("0:40"), select_archs(space, "0:40")
    assert len(some) == sum(size <= 200_000 for size in sizes(all_of_them)) and max(sizes(some)) <= 200_000
    with pytest.raises(ValueError, match=r"archs '1:2': none of them keeps to the limits"):
        select("1:2")
    with pytest.raises(ValueError, match=r"archs 'random:15625': \d+ keep to the limits"):
        select("random:15625")


@pytest.mark.slow
def test_repeats_resampling_augmentation_and_sharing_run(pictures, tmp_path):
    classes = {}
    for arch in nasbench201.from_index(np.arange(200)):
        classes.setdefault(nasbench201.isomorphism_key(nasbench201.prune(arch)), []).append(nasbench201.encode(arch))
    one, twin = next(members for members in classes.values() if len(members) > 1)[:2]
    (tmp_path / "archs.txt").write_text("\n".join([one, twin, one]))
    flags = [
        "--archs=archs.txt",
        f"--dataset={pictures}",
        "--repeats=2",
        "--resample",
        "--augment",
        "--share_isomorphic",
        "--proxies=acor",
        "--votes=naswot+swap+params",
        "--norm=ln",
        "--mask_rate=0.5",
        "--activation=gelu",
    ]
    code, out, err = run(*flags, "--out=out", cwd=tmp_path, is_tiny=False)
    assert code == 0, err
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").read_text().splitlines()))
    under = "activation=gelu:mask_rate=0.5:norm=ln"
    experts = [f"naswot:{under}", f"swap:{under}", "params"]
    assert [row["arch"] for row in rows] == [one, twin]
    labels = [name for name in rows[0] if f"{name}_rank" in rows[0]]
    assert labels == [f"acor:{under}", *experts, "naswot+swap+params"]
    assert rows[0][f"acor:{under}"] == rows[1][f"acor:{under}"] != "-inf"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    vote = report["proxies"]["naswot+swap+params"]
    assert vote["settings"] == {"experts": experts, "method": "copeland", "weights": None} and vote["experimental"]
    assert "score of their pruned form" in report["approximation"] and "score of their pruned form" in out
    assert pathlib.Path(tmp_path / "out" / "scatter.png").exists()


# --- functions

SPACE, SOURCE = make_space(f"{conftest.ROOT}/tests/data/toy_space.py:space"), datasets.noise(image_size=8)
SETTINGS = ScoreSettings(batch_size=4)
STORED = stored_settings(SETTINGS, SPACE, SOURCE, "noise")
CELLS = SPACE.from_index(np.array([5, 14, 26]))


@pytest.mark.dear
def test_what_one_folder_holds_of_another_proxy_is_not_taken(tmp_path):
    """The faults that a name alone led to, in one call and in one folder."""

    def score(*chosen):
        with ResultStore(tmp_path, STORED) as store:
            scores, times = score_archs(store, SPACE, CELLS, chosen, SOURCE, SETTINGS)
        return *scores.T, times.num_scored

    names = ["wrcor", "wrcor:weighting=none", "rcor", "swap", "params"]
    wrcor, unweighted, rcor, swap, params, num_scored = score(*proxies.make_proxies(names))
    assert num_scored == 3 and (wrcor > unweighted).all()
    np.testing.assert_allclose(unweighted, rcor, rtol=1e-6)
    two, again, num_scored = score(proxies.swap(num_samples=2), proxies.swap())
    assert num_scored == 3 and max(two) <= 4 < max(swap)  # two pictures have four patterns
    np.testing.assert_array_equal(again, swap)
    mine = Proxy("pnorm", lambda measured: measured.network.num_params * 2.0, frozenset(), {}, "twice the parameters")
    np.testing.assert_array_equal(score(mine)[0], 2 * params)
    with pytest.raises(ValueError, match=r"of pnorm \(twice the parameters\), not of pnorm \(Jing et al"):
        score(proxies.pnorm())
    with pytest.raises(ValueError, match=r"proxy pnorm \(twice the parameters\) and proxy pnorm \(Jing et al"):
        score(mine, proxies.pnorm())
    known = stored.read(tmp_path)
    assert set(known.scores) == {*names, "swap:num_samples=2", "pnorm"}
    assert known.proxies["pnorm"].reference == "twice the parameters"


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("wrcor", ["wrcor"]),
        ("wrcor: rho = 0.123 [0.012, 0.345]", ["wrcor: rho = 0.123 [0.012, 0.345]"]),
        ("wrcor:activation=gelu:mask_rate=0.5:norm=ln:weighting=none score", ["wrcor:activation=gelu:mask_rate=0.5:", "norm=ln:weighting=none score"]),
        ("a" * 50, ["a" * 50]),
    ],
)  # fmt: skip
def test_long_labels_stand_in_lines(name, lines):
    assert plots.in_lines(name).split("\n") == lines


def test_a_report_says_why_there_is_no_score():
    archs = np.asarray(SPACE.from_index(np.arange(4)))
    names = [SPACE.encode(arch) for arch in archs]
    scores = {"mine": np.array([1.0, -np.inf, -np.inf, 2.0]), "acor": np.arange(4.0)}
    mine = Proxy("mine", lambda measured: 0.0, frozenset(), {"k": (1,)}, "me", undefined="where all pictures are alike")
    scored_by = {"mine": mine, "acor": proxies.acor()}
    run = dict.fromkeys(("num_scored", "num_reused", "num_compilations", "num_devices"), 0)
    run |= {"first_call_seconds": 0.0, "scoring_seconds": 0.0}
    make = lambda failures: score_report.make_report(
        SPACE, archs, scores, {}, scored_by, run, None, failures={"mine": failures}
    )
    report = make({})
    entry = report["proxies"]["mine"]
    assert entry["degenerate"] == 2 and entry["undefined"] == "where all pictures are alike" and "failed" not in entry
    assert "undefined" not in report["proxies"]["acor"]
    assert "mine has no score of 2: where all pictures are alike" in score_report.as_text(report)
    report = make({names[1]: "no memory"})
    assert "mine has no score of 1: where all pictures are alike" in score_report.as_text(report)
    assert "mine failed on 1 architectures, for example" in score_report.as_text(report)
    report = make(dict.fromkeys(names[1:3], "no memory"))
    assert "undefined" not in report["proxies"]["mine"] and json.loads(json.dumps(report)) is not None


@pytest.mark.dear  # seven seconds
def test_votes_are_counted_against_a_reference(tmp_path):
    def scored(*archs):
        (tmp_path / "archs.txt").write_text("\n".join(nasbench201.encode(nasbench201.from_index(i)) for i in archs))
        flags = ["--archs=archs.txt", "--proxies=params", "--votes=params+flops+num_sites", "--vote_reference=9"]
        code, _, err = run(
            *flags, "--vote_method=rank_sum", "--batch_size=4", "--benchmark=none", "--out=o", cwd=tmp_path
        )
        assert not code, err
        with open(tmp_path / "o/scores.csv", newline="") as file:
            return {int(row["index"]): row["params+flops+num_sites:rank_sum"] for row in csv.DictReader(file)}

    alone, others = scored(5, 4444), scored(5, 77, 3000, 4444, 15000)
    assert alone == {index: others[index] for index in alone} and len(set(others.values())) > 2


def test_a_table_of_scores_has_ranks_and_says_what_is_missing(tmp_path):
    space, archs = nasbench201.space(), nasbench201.from_index(np.arange(4))
    scores = {"mine": np.array([2.0, -np.inf, 3.0, 2.0]), "params": np.arange(4.0)}
    read = lambda **how: (
        score_report.write_scores(tmp_path / "s.csv", space, archs, scores, score_report.Sizes(10, 32), **how)
        or list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    )
    rows = read()
    assert list(rows[0]) == ["index", "arch", "mine", "mine_rank", "params", "params_rank", "flops"]
    assert [(row["mine"], row["mine_rank"]) for row in rows] == [("2", "2"), ("-inf", "4"), ("3", "1"), ("2", "2")]
    assert [(row["mine"], row["mine_rank"]) for row in read(missing="empty")][1] == ("", "")


def test_the_matrix_of_correlations_is_that_of_the_pairs():
    rng = np.random.default_rng(0)
    scores = {"a": rng.integers(0, 4, 30).astype(float), "b": rng.random(30), "c": np.zeros(30)}
    scores["b"][:3] = -np.inf
    names, rho = score_report.correlations(scores)
    assert names == ["a", "b", "c"] and np.isnan(rho[2]).all()
    assert rho[0, 1] == rho[1, 0] == pytest.approx(metrics.spearman(scores["a"], scores["b"]))


def test_a_few_outliers_squash_the_rest():
    values = np.linspace(0, 1, 100)
    assert not plots.is_squashed(values) and plots.is_squashed(np.append(values, [1e6]))
    assert not plots.is_squashed(np.array([0, 9.0]))
    cut, is_cut = plots._cut(np.append(values, [-1e6]))
    assert is_cut.sum() == 1 and is_cut[-1] and -4 < cut[-1] < 0 and (cut[:-1] == values).all()

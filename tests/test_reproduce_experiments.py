"""The scripts beside the WRCor paper's tables: scores on all three data sets, and trainings side by side."""

import json

from made_up import Flags, made_up_scores
import numpy as np
import pytest

from projects.wrcor import compare_training, experiments
from zsnas_jax import flags
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.runs import scores as run_scores
from zsnas_jax.search_spaces import nasbench201


def table(folder, name, columns, count=nasbench201.NUM_ARCHS):
    rng = np.random.default_rng(len(name))
    known = np.arange(nasbench201.NUM_ARCHS) < count
    values = {
        column: np.where(known, rng.random(nasbench201.NUM_ARCHS), np.nan).astype(np.float32) for column in columns
    }
    TabularBenchmark(values, "nasbench201", name, "made up", "abc").save(folder / f"{name}.npz")
    return str(folder / f"{name}.npz")


def experiment(monkeypatch, folder, **given):
    values = {
        "benchmark": table(folder, "truth", [f"{d}_test_200_mean" for d in ("cifar10", "cifar100", "imagenet16_120")]),
        "scores": table(folder, "scores", ["params", "fisher", "wrcor", "gcor_first5", "gcor_first2"], count=5000),
        "archs": "all", "samples": False, "cifar10": "noise", "out": str(folder), "document": str(folder / "e.md"),
    }  # fmt: skip
    monkeypatch.setattr(experiments, "FLAGS", Flags(**(values | given)))
    monkeypatch.setattr(flags, "configure", lambda: None)
    experiments.main()
    return (folder / "e.md").read_text()


def test_a_table_of_scores_is_measured_on_the_cells_that_it_has(tmp_path, monkeypatch):
    text = experiment(monkeypatch, tmp_path)
    assert text.startswith("5000 cells, 1 draws.")
    rows = [line.split("|")[1].strip() for line in text.splitlines()[4:]]
    assert rows == [
        "params",
        "fisher",
        "wrcor",
        "gcor_first5",
        "gcor_first2",
        "log_params",
        "neg_log_fisher",
        "quintet",
        "trio",
    ]
    assert text.splitlines()[4].split("|")[-2].strip() not in ("", "-")  # the rank of the all-1x1 cell
    assert experiment(monkeypatch, tmp_path, archs="0:50").startswith("50 cells, 1 draws.")


def test_samples_are_scored_once(tmp_path, monkeypatch):
    asked = []

    def score_archs(store, space, archs, proxies, *args, **options):
        names = [space.encode(arch) for arch in archs]
        if names[0] not in store.get(proxies[0]):
            asked.append(len(archs))
            made_up_scores(store, space, archs, proxies)
        known = [store.get(proxy) for proxy in proxies]
        return np.array([[scores[name] for scores in known] for name in names]), None

    monkeypatch.setattr(run_scores, "score_archs", score_archs)
    monkeypatch.setattr(experiments, "SAMPLE_SIZE", 20)
    monkeypatch.setattr(experiments, "NUM_DRAWS", 2)
    text = experiment(monkeypatch, tmp_path, samples=True)
    assert asked == [20] * 4 and text.startswith("20 cells, 4 draws.") and "| sjw " in text
    assert experiment(monkeypatch, tmp_path, samples=True) == text and len(asked) == 4


def train_folder(folder, index, accuracy):
    folder.mkdir()
    settings = {"space": "nasbench201", "dataset": "some/small.npz", "num_examples": 1000, "seed": 0}
    made = {
        "arch": nasbench201.encode(nasbench201.from_index(index)),
        "settings": settings | {"recipe": {"epochs": 2, "source": "a paper"}},
        "benchmark": {"column": "cifar10_test_200_mean", "accuracy": 0.9},
    }
    (folder / "report.json").write_text(json.dumps(made))
    rows = [f"{epoch},{accuracy - 0.1 / epoch},{accuracy},{10 * epoch}" for epoch in (1, 2)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,test_accuracy,train_accuracy,seconds", *rows]))
    return str(folder)


def test_trainings_stand_beside_each_other(tmp_path, monkeypatch, capsys):
    folders = [train_folder(tmp_path / str(index), index, 0.5 + index / 100) for index in (7, 5)]
    monkeypatch.setattr(compare_training, "FLAGS", Flags(out=str(tmp_path / "out")))
    compare_training.main(["compare_training", *folders])
    text = (tmp_path / "out" / "RESULTS.md").read_text()
    assert capsys.readouterr().out.strip() in text
    assert "from 1,000 pictures of `small.npz`, seed 0: epochs 2." in text and "52.00 %" in text and "90.00 %" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["RESULTS.md", "curves.png", "metrics.csv"]
    with pytest.raises(ValueError, match="give the folders of runs"):
        compare_training.main(["compare_training"])

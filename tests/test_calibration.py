"""Accuracies predicted from scores of a few trained networks."""

import csv
import json

import binaries
import golden
import numpy as np
import pytest

from zsnas_jax import benchmarks, calibration
from zsnas_jax.reports import calibration_report, metrics
from zsnas_jax.runs.trained import Trained, read_trained
from zsnas_jax.search_spaces import nasbench201

SPACE = nasbench201.space()


def made_up(count, noise=0.05, seed=0):
    """Features, of which the first tells the accuracy, with a long tail of networks that hardly learn."""
    rng = np.random.default_rng(seed)
    features = calibration.score_features(rng.standard_normal((count, 3)))
    signal = features[:, 0] + noise * rng.standard_normal(count)
    return features, 0.94 - 0.3 * np.exp(-2 * (signal - signal.min()))


def dense(model, x):
    """(normal score, variance) of the textbook's inverse."""
    kernel, train = model.kernel, model.features
    matrix = kernel(train, train) + (kernel.noise**2 + 1e-8) * np.eye(len(train))
    shared, own = kernel(x, train), np.diag(kernel(x, x))
    return shared @ np.linalg.inv(matrix) @ model.target, own - np.einsum(
        "at,ts,as->a", shared, np.linalg.inv(matrix), shared
    )


def test_predictions_are_the_textbooks():
    features, accuracies = made_up(60)
    model = calibration.fit(features[:20], accuracies[:20])
    found = calibration.predict(model, features)
    score, variance = dense(model, features)
    np.testing.assert_allclose(found.score, score, rtol=1e-5, atol=1e-7)
    at = lambda scores: calibration._accuracies(model, scores)
    np.testing.assert_allclose(found.high, at(score + np.sqrt(np.maximum(variance, 0))), atol=1e-4)
    assert ((found.low <= found.accuracy) & (found.accuracy <= found.high)).all()
    assert metrics.spearman(found.score[20:], accuracies[20:]) > 0.95


def test_the_slope_of_the_likelihood_is_that_of_differences():
    features, accuracies = made_up(14)
    target = calibration._normal_scores(accuracies)
    spreads = [calibration._spread(features[:, a:b], features[:, a:b]) for a, b in ((0, 1), (1, 3))]

    def cost(logs):
        own = np.exp(logs)
        parts = tuple(calibration.Part(slice(0, 1), *own[i : i + 3]) for i in (0, 3))
        return calibration._cost(calibration.Kernel(parts, own[6]), spreads, target)

    logs = np.array([0.1, -0.3, 0.2, -0.5, 0.4, 0.3, -0.7])
    differences = [(cost(logs + step)[0] - cost(logs - step)[0]) / 2e-6 for step in 1e-6 * np.eye(7)]
    np.testing.assert_allclose(cost(logs)[1], differences, rtol=1e-5)


def test_leaving_one_out_is_fitting_without_it():
    features, accuracies = made_up(12)
    model = calibration.fit(features, accuracies)
    for place in range(3):
        rest = np.delete(np.arange(12), place)
        own = model._replace(features=features[rest], target=model.target[rest])
        expected, _ = dense(own, features[place : place + 1])
        np.testing.assert_allclose(calibration.leave_one_out(model)[place], expected[0], rtol=1e-5)


def test_the_next_to_train_is_the_least_known_once_those_before_it_are():
    features, accuracies = made_up(40)
    model = calibration.fit(features[:10], accuracies[:10])
    chosen = calibration.most_informative(model, features[10:], 4)
    train = features[:10]
    for place in chosen:
        own = model._replace(features=train, target=np.zeros(len(train)))
        variance = dense(own, features[10:])[1]
        assert variance[place] == pytest.approx(variance.max(), rel=1e-5)
        train = np.concatenate([train, features[10 + place : 11 + place]])
    assert len(set(chosen)) == 4 and len(calibration.most_informative(model, features[10:], 99)) == 30


def test_accuracies_are_monotone_in_what_is_predicted_and_stay_fractions():
    features, accuracies = made_up(30)
    model = calibration.fit(features, accuracies)
    at = calibration._accuracies(model, np.linspace(-9, 9, 200))
    assert (np.diff(at) >= 0).all() and at.min() >= 0 and at.max() <= 1
    np.testing.assert_allclose(calibration._accuracies(model, model.target), accuracies, atol=1e-12)


def test_64_trained_cells_rank_the_others_of_nasbench201():
    scores = benchmarks.open_benchmark("nasbench201_scores").columns
    names = tuple(scores)
    features = calibration.score_features(np.stack([scores[name] for name in names], axis=1))
    table = benchmarks.open_benchmark(golden.shared_file("data/nasbench201.csv.gz"))
    truth = np.asarray(table.columns["cifar10_test_200_mean"])
    order = np.random.default_rng(0).permutation(len(truth))
    model = calibration.fit(features[order[:64]], truth[order[:64]])
    rest = order[64:]
    rho = metrics.spearman(calibration.predict(model, features[rest]).score, truth[rest])
    alone = max(metrics.spearman(scores[name][rest], truth[rest]) for name in names)
    assert rho > 0.92 > 0.9 > alone


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: calibration.fit(np.ones((7, 2)), np.arange(7)), "7 trained networks: a calibration needs 8"),
        (lambda: calibration.fit(np.ones((8, 2)), np.full(8, 0.5)), "all 8 trained networks have accuracy 0.5000"),
        (lambda: calibration.fit(np.full((8, 2), np.nan), np.arange(8)), "finite numbers, a row a network"),
        (lambda: calibration_report.check_count(9, 12), "9 trained networks for 12 scores: 12 are needed, or at most 9 scores"),
        (lambda: calibration_report.check_count(3, 1), "3 trained networks for 1 scores: 8 are needed$"),
        (lambda: calibration.fit(np.ones((8, 2)), np.arange(8), [1, 2]), r"groups of \[1, 2\] features: 2 features are to be"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_a_score_that_is_undefined_on_all_trained_networks_is_named():
    archs = SPACE.from_index(np.arange(20))
    trained = Trained(archs[:8], np.linspace(0.5, 0.9, 8))
    scores = {"wrcor": np.arange(20.0), "jaccor": np.where(np.arange(20) < 8, -np.inf, 1.0)}
    own = {name: values[:8] for name, values in scores.items()}
    with pytest.raises(ValueError, match="jaccor is undefined on all 8 trained networks: calibrate without it"):
        calibration_report.calibrate(SPACE, archs, scores, trained, own, 3)


def strings(*places):
    return [nasbench201.encode(nasbench201.from_index(place)) for place in places]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch,score\n", "has columns arch, score: needed are arch and one of accuracy, percent"),
        ("arch,accuracy,percent\n", "needed are arch and one of accuracy, percent"),
        ("arch,accuracy\n", "holds no trained architecture"),
        (f"arch,accuracy\n{strings(0)[0]},93.5\n", "line 2: accuracy is '93.5': allowed are"),
        ("arch,percent\n|conv~0|,93.5\n", "line 2: bad architecture"),
        (f"arch,percent\n{strings(0)[0]},93\n{strings(0)[0]},94\n", "line 3: .* had another percent before"),
    ],
)
def test_files_of_trained_networks_are_checked(tmp_path, text, message):
    (tmp_path / "trained.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_trained(SPACE, tmp_path / "trained.csv")


@pytest.mark.dear  # six seconds
def test_the_command_predicts_and_proposes(tmp_path):
    truth = {string: 40 + i for i, string in enumerate(strings(*range(0, 15000, 1500)))}
    lines = "".join(f"{arch},{percent}\n" for arch, percent in truth.items())
    (tmp_path / "trained.csv").write_text(f"arch,percent\n{lines}")
    flags = ["--archs=0:30", "--proxies=params,flops,num_sites", "--calibrate=trained.csv", "--train_next=3", "--out=o"]
    code, out, err = binaries.run(
        "score_main", *flags, "--benchmark=none", "--batch_size=4", cwd=tmp_path, is_tiny=True
    )
    assert not code, err
    with open(tmp_path / "o/predicted.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 39 and {row["arch"] for row in rows if row["is_trained"] == "1"} == set(truth)
    predicted = [float(row["predicted_accuracy"]) for row in rows]
    assert predicted == sorted(predicted, reverse=True) and 0.3 < predicted[-1] <= predicted[0] < 0.6
    proposed = (tmp_path / "o/train_next.txt").read_text().split()
    report = json.loads((tmp_path / "o/report.json").read_text())["calibration"]
    assert report["train_next"] == proposed and len(proposed) == 3 and not set(proposed) & set(truth)
    assert report["num_trained"] == 10 and "calibrated on 10 trained networks" in out

"""The diagnostic by number of convolutions: equations on cases made by hand, the table, the picture, the script."""

import csv
import itertools

import jax
from matplotlib.figure import Figure
import numpy as np
import pytest
from scipy import stats

from zsnas_jax.reports import diagnostics, documents, metrics, plots
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.search_spaces.nasbench201.network import NASBench201

RNG = np.random.default_rng(0)
NUMBERS = np.repeat([5, 20, 35], [40, 60, 20])
ACCURACIES = RNG.uniform(0.5, 0.9, 120)
NOISY = NUMBERS + 20 * RNG.standard_normal(120)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (figures.append(self), save(self, *args, **kw)))
    return figures


@pytest.mark.parametrize("arch", [(0,) * 6, (3, 1, 4, 2, 0, 3), (2,) * 6, (1, 3, 1, 1, 1, 1)])
@pytest.mark.parametrize("cells_per_stage", [1, 5])
def test_convolutions_are_the_kernels_of_the_static_network(arch, cells_per_stage):
    network = NASBench201(channels=4, cells_per_stage=cells_per_stage)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), np.zeros((1, 8, 8, 3)), arch))["params"]
    count = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        names = [entry.key for entry in path]
        if names[-1] == "kernel" and names[0] != "head" and "downsample" not in names:
            count += leaf.shape[0] if leaf.ndim == 5 else 1  # cells of a stage are stacked
    assert nasbench201.num_convolutions(arch, cells_per_stage) == count


def test_convolutions_of_the_space():
    space = nasbench201.space()
    counts = [space.num_convolutions(arch) for arch in space.from_index(np.arange(1000))]
    assert set(counts) == {5 + 15 * k for k in range(7)}
    arch = np.array([2, 3, 0, 1, 4, 3])
    assert jax.jit(space.num_convolutions)(arch) == space.num_convolutions(tuple(arch)) == 50


def test_groups_hold_what_they_say():
    scores = np.where(np.arange(120) % 10 == 0, -np.inf, NOISY)
    diagnosis = diagnostics.by_convolutions(scores, ACCURACIES, NUMBERS)
    assert [g.num_convolutions for g in diagnosis.groups] == [5, 20, 35]
    assert [g.num_archs for g in diagnosis.groups] == [40, 60, 20]
    assert [g.num_degenerate for g in diagnosis.groups] == [4, 6, 2]
    finite = scores[40:100][np.isfinite(scores[40:100])]
    group = diagnosis.groups[1]
    np.testing.assert_allclose(group.score_mean, finite.mean())
    np.testing.assert_allclose(group[4:7], np.quantile(finite, [0.25, 0.5, 0.75]))
    np.testing.assert_allclose(group.accuracy_mean, ACCURACIES[40:100].mean())
    lowest = np.where(np.isfinite(scores), scores, -1e9)
    np.testing.assert_allclose(group.spearman.value, stats.spearmanr(lowest[40:100], ACCURACIES[40:100]).statistic)


def test_intervals_are_those_of_metrics():
    scores, accuracies = NOISY.round(), ACCURACIES.round(1)  # ties
    diagnosis = diagnostics.by_convolutions(scores, accuracies, NUMBERS)
    for group in diagnosis.groups:
        members = group.num_convolutions == NUMBERS
        expected = metrics.bootstrap_spearman(scores[members], accuracies[members])
        np.testing.assert_allclose(group.spearman, expected, rtol=1e-12)
    expected = metrics.bootstrap_spearman(scores, NUMBERS)
    np.testing.assert_allclose(diagnosis.spearman_with_convolutions, expected, rtol=1e-12)


def test_pooled_statistics_on_a_case_made_by_hand():
    """Two groups of 10 and 30: rho 1 in the first, -1 in the second."""
    numbers = np.repeat([5, 20], [10, 30])
    accuracies = np.arange(40) / 100
    scores = np.concatenate([np.arange(10), 100 - np.arange(30)])
    diagnosis = diagnostics.by_convolutions(scores, accuracies, numbers)
    assert [g.spearman.value for g in diagnosis.groups] == [1, -1]
    np.testing.assert_allclose(diagnosis.within_group_spearman, [(10 * 1 + 30 * -1) / 40] * 3)
    expected = stats.spearmanr(scores, numbers).statistic
    np.testing.assert_allclose(diagnosis.spearman_with_convolutions.value, expected)


def test_a_count_ranks_the_whole_and_fails_inside():
    """Accuracy rises with the number of convolutions; the score counts them, and falls with accuracy inside a group."""
    inside = RNG.uniform(-0.01, 0.01, 120)
    accuracies, counts = 0.5 + 0.01 * NUMBERS + inside, NUMBERS - 100 * inside + 0.2 * RNG.standard_normal(120)
    bare = diagnostics.by_convolutions(counts, accuracies, NUMBERS)
    assert metrics.spearman(counts, accuracies) > 0.5 and bare.spearman_with_convolutions.low > 0.5
    assert all(g.spearman.high < -0.5 for g in bare.groups) and bare.within_group_spearman.high < -0.5
    gains = diagnostics.gain_by_convolutions(counts, NUMBERS + 100 * inside, accuracies, NUMBERS)
    for group in bare.groups:
        gain = gains[group.num_convolutions]
        np.testing.assert_allclose(gain.value, 1 - group.spearman.value)
        assert 1.5 < gain.low <= gain.value <= gain.high <= 2


def test_the_gain_of_nothing_is_nothing():
    gains = diagnostics.gain_by_convolutions(NOISY, 3 * NOISY - 1, ACCURACIES, NUMBERS)
    assert gains == dict.fromkeys([5, 20, 35], metrics.Interval(0.0, 0.0, 0.0))


def test_groups_without_a_correlation():
    """Nothing finite, too few, a constant score, a constant accuracy, and one that has it."""
    numbers = np.repeat([1, 2, 3, 4, 5], [12, 9, 12, 12, 12])
    scores, accuracies = RNG.standard_normal(57), RNG.uniform(size=57)
    scores[:12] = [-np.inf, np.nan, np.inf] * 4
    scores[21:33], accuracies[33:45] = 7.0, 0.5
    diagnosis = diagnostics.by_convolutions(scores, accuracies, numbers)
    assert [g.spearman is None for g in diagnosis.groups] == [True, True, True, True, False]
    assert [g.num_degenerate for g in diagnosis.groups] == [12, 0, 0, 0, 0]
    assert diagnosis.groups[0].score_mean is None and diagnosis.groups[2].score_median == 7
    np.testing.assert_allclose(diagnosis.within_group_spearman, diagnosis.groups[4].spearman, rtol=1e-12)
    gains = diagnostics.gain_by_convolutions(scores, scores[::-1], accuracies, numbers)
    assert [gains[number] is None for number in (1, 2, 3, 4, 5)] == [True, True, True, True, True]


def test_nothing_to_correlate_at_all():
    diagnosis = diagnostics.by_convolutions(np.full(3, -np.inf), np.full(3, 0.5), np.full(3, 5))
    assert diagnosis.within_group_spearman is None and diagnosis.spearman_with_convolutions is None
    assert diagnostics.as_json(diagnosis)["within_group_spearman"] is None


@pytest.mark.parametrize(
    "scores, accuracies, numbers, message",
    [
        (NOISY[:5], ACCURACIES, NUMBERS, r"shapes \(5,\), \(120,\), \(120,\): needed is one length above 0"),
        (NOISY[:0], ACCURACIES[:0], NUMBERS[:0], r"shapes \(0,\), \(0,\), \(0,\): needed is one length above 0"),
        (NOISY, np.where(NUMBERS == 20, np.nan, 0.5), NUMBERS, "accuracy 40 is nan: needed is a finite number"),
    ],
)
def test_bad_input_is_refused(scores, accuracies, numbers, message):
    with pytest.raises(ValueError, match=message):
        diagnostics.by_convolutions(scores, accuracies, numbers)


def test_the_table_round_trips(tmp_path):
    scores = {"noisy": NOISY, "none": np.full(120, -np.inf)}
    diagnoses = {name: diagnostics.by_convolutions(s, ACCURACIES, NUMBERS) for name, s in scores.items()}
    rows = [row for name, d in diagnoses.items() for row in diagnostics.as_rows(d, proxy=name)]
    documents.write_csv(tmp_path / "c.csv", rows)
    with open(tmp_path / "c.csv") as file:
        back = list(csv.DictReader(file))
    assert len(back) == 6 and list(back[0]) == list(rows[0]) and list(rows[0])[:2] == ["proxy", "num_convolutions"]
    for row, text in zip(rows, back, strict=True):
        for name, value in row.items():
            if isinstance(value, float):
                np.testing.assert_allclose(float(text[name]), value, rtol=1e-8)
            else:
                assert text[name] == ("" if value is None else str(value))
    lines = diagnostics.as_markdown(diagnoses).splitlines()
    assert len(lines) == 4 and "| 5 (n 40)" in lines[0] and lines[3].count("| undefined") == 5
    assert documents.format_interval(diagnoses["noisy"].groups[1].spearman) in lines[2]


@pytest.mark.parametrize("num_panels", [1, 5, pytest.param(12, marks=pytest.mark.slow)])
def test_the_picture_has_a_panel_a_proxy(num_panels, tmp_path, drawn):
    # scores of many decades, of none, below 0
    kinds = itertools.cycle([np.exp(NOISY / 2), np.full(120, -np.inf), np.where(NUMBERS == 5, np.nan, -NUMBERS)])
    panels = {f"proxy{i}": scores for i, scores in zip(range(num_panels), kinds, strict=False)}
    diagnoses = {name: diagnostics.by_convolutions(s, ACCURACIES, NUMBERS) for name, s in panels.items()}
    plots.by_convolutions(tmp_path / "one.png", panels, NUMBERS, diagnoses, "accuracy")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert len(drawn[0].axes) == 2 * num_panels  # rho above, boxes below
    assert [axes.get_title().split("\n")[0] for axes in drawn[0].axes[::2]] == list(panels)
    assert drawn[0].axes[1].get_yscale() == "log"
    assert [label.get_text() for label in drawn[0].axes[1].get_xticklabels()] == ["5\nn 40", "20\nn 60", "35\nn 20"]
    plots.within_groups(tmp_path / "sets.png", {name: {"a": d, "b": d} for name, d in diagnoses.items()})
    assert (tmp_path / "sets.png").read_bytes().startswith(b"\x89PNG")
    assert len(drawn[1].axes) == num_panels
    assert [text.get_text() for text in drawn[1].legends[0].get_texts()] == ["a", "b"]


def test_many_groups_keep_their_labels_apart(tmp_path, drawn):
    numbers = np.arange(120) // 3
    diagnosis = diagnostics.by_convolutions(NOISY, ACCURACIES, numbers)
    plots.by_convolutions(tmp_path / "many.png", {"p": NOISY}, numbers, {"p": diagnosis}, "accuracy")
    labels = [label.get_text() for label in drawn[0].axes[1].get_xticklabels()]
    assert labels == [str(number) for number in range(0, 40, 4)]

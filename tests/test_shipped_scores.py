"""The scores that the package ships: whole, without NaN, and those that this software computes."""

import json

import golden
import jax
import numpy as np
import pytest

from zsnas_jax import benchmarks, datasets, proxies, scoring, search_spaces, votes
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.reports import metrics
from zsnas_jax.runs.settings import ScoreSettings, batch_identity, fixed_batch, seed_keys

TABLE = benchmarks.shipped_scores()
SPACE = search_spaces.make_space("nasbench201")
SETTINGS = json.loads(TABLE.source)["settings"]


def test_every_cell_has_every_score():
    for name, column in TABLE.columns.items():
        assert column.shape == (SPACE.num_archs,) and not np.isnan(column).any(), name
        assert not np.isposinf(column).any(), name
    assert np.isneginf(TABLE.columns["wrcor"]).sum() == 201  # no activation with a defined correlation


def test_votes_of_the_papers_whose_tables_these_are_and_the_experimental_one_can_be_looked_up():
    for vote in (votes.VOTES[name] for name in ("zerocost", "spw", "sjw", "quintet")):
        assert set(vote.experts) <= set(TABLE.columns), vote.name


def test_sizes_are_those_of_the_space():
    archs = SPACE.from_index(np.arange(0, SPACE.num_archs, 997))
    sizes = np.array([SPACE.num_params(arch, 10) for arch in archs], np.float32)
    np.testing.assert_array_equal(TABLE.columns["params"][::997], sizes)


# A small cell by a program of its own, two by the one for all.
ROADS = [("static", [3105]), ("dispatched", [7, 13714])]


@pytest.mark.slow
@pytest.mark.parametrize(("programs", "index"), ROADS)
def test_the_scores_are_those_that_this_software_computes(programs, index):
    source = datasets.load(str(golden.shared_file("data/cifar10_subset.npz")), None, None)
    settings = ScoreSettings(**{field: SETTINGS[field] for field in ScoreSettings.__dataclass_fields__})
    batch = fixed_batch(settings, source)
    assert batch_identity(batch) == SETTINGS["batch_sha256"]
    chosen = ["wrcor", "naswot", "pnorm"]
    scorer = scoring.make_scorer(
        seed_keys(settings.seed)[0],
        SPACE,
        proxies.make_proxies(chosen),
        num_classes=10,
        initializer=INITIALIZERS[settings.init],
        devices=jax.local_devices()[:1],
        programs=programs,
    )
    archs = SPACE.from_index(np.array(index))
    scores = np.concatenate([scorer.score(archs[i : i + 1], np.zeros(1), batch) for i in range(len(index))])
    expected = np.stack([TABLE.columns[name][index] for name in chosen], axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-3)


def test_wrcor_ranks_the_whole_space_as_the_paper_says():
    path = golden.shared_file("data/nasbench201.csv.gz")
    accuracy = benchmarks.open_benchmark(path).lookup("cifar10_test_200", np.arange(SPACE.num_archs))
    assert metrics.spearman(TABLE.columns["wrcor"], accuracy) == pytest.approx(0.812, abs=0.02)

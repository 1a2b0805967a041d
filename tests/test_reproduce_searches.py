"""What Tables 7 to 9 stand on: figures, judges, findings, table-driven searches kept and resumed."""

import functools

import conftest
import golden
import jax
import jax.numpy as jnp
from made_up import NUM, OWN_VOTE, SETTINGS, SPACE, scores201
import numpy as np
import pytest

from projects.wrcor import findings, judges, paper, searches
from projects.wrcor.searches import Search, SearchSettings
from zsnas_jax import search, votes
from zsnas_jax.proxies import PROXIES
from zsnas_jax.reports import metrics
from zsnas_jax.storage import files

# The figures


def test_the_figures_of_searches_are_the_published_ones():
    assert files.sha256(paper.SEARCH_FILE) in paper.__doc__.replace("\n", " ")
    assert paper.SEARCH_FILE.name in (conftest.ROOT / "setup.py").read_text()
    assert paper.SEARCH_FILE.read_bytes() == golden.shared_file("data/paper_tables_8_to_10.csv").read_bytes()


def test_figures_of_searches_are_fractions_and_seconds():
    eight, nine = paper.search_figures(8), paper.search_figures(9)
    assert eight["RE-SJW", "test"] == pytest.approx((0.9315, 0.0077)) and len(eight) == 39
    assert nine["RE-WRCor", "imagenet16_120_test"] == pytest.approx((0.3548, 0)) and len(nine) == 92
    assert nine["R-SJW", paper.COST].value == 5825 and np.isnan(nine["Optimum", "cifar10_test"].std)
    with pytest.raises(ValueError, match="table 7 of the WRCor paper is not of searches: allowed are 8, 9"):
        paper.search_figures(7)


# Judges


def test_derived_scores_are_undefined_where_their_logarithm_is():
    columns = {"fisher": np.array([2.0, 0.0, -1.0, -np.inf]), "params": np.array([1.0, 10.0, 100.0, 7.0])}
    find = judges.with_derived(columns.get)
    assert find("neg_log_fisher").tolist() == [-np.log(2.0), -np.inf, -np.inf, -np.inf]
    assert find("log_params")[2] == np.log(100) and find("wrcor") is None and find("fisher") is columns["fisher"]
    assert set(judges.DERIVED) <= set(PROXIES)


def test_a_flipped_vote_turns_experts_but_not_what_is_undefined():
    columns = {"synflow": np.array([1.0, 2, 3]), "jaccor": np.array([3.0, -np.inf, 1]), "wrcor": np.array([0.0, 0, 1])}
    plain = judges.find_experts("sjw", columns.get)
    turned = judges.find_experts("sjw:flipped", columns.get)
    assert turned["jaccor"].tolist() == [-3, -np.inf, -1] and plain["jaccor"] is columns["jaccor"]
    assert all(np.array_equal(turned[e], columns[e]) for e in ("synflow", "wrcor"))
    ballot = votes.VOTES["sjw"]
    assert np.array_equal(judges.find_values("sjw", columns.get), votes.vote(ballot, columns))
    assert np.array_equal(judges.find_values("sjw:flipped", columns.get), votes.vote(ballot, turned))
    assert judges.find_values("zerocost", columns.get) is None and judges.make_judge("spw", columns.get) is None
    assert all(set(turned) <= set(judges.expert_names(name)) for name, turned in judges.FLIPPED.items())


def test_a_weighted_vote_goes_by_the_score_of_its_searches():
    rng = np.random.default_rng(0)
    columns = {name: rng.standard_normal(50).astype(np.float32) for name in judges.expert_names(OWN_VOTE)}
    columns["wrcor"][7] = -np.inf
    rows = np.arange(0, 50, 2)
    judge = judges.make_judge(OWN_VOTE, columns.get, rows)
    table = np.stack(list(columns.values()), axis=1)
    score_fn = search.z_score_sum(lambda row: jnp.asarray(table)[row], table[rows], votes.VOTES[OWN_VOTE].weights)
    expected = np.array([score_fn(row)[0] for row in range(50)])
    np.testing.assert_allclose(judge.columns[:, 0], expected, rtol=1e-5, atol=1e-5)
    assert judge.columns.shape == (50, 1) and np.isfinite(judge.columns).all()
    assert judge.digest != judge._replace(columns=judge.columns + 1).digest


def test_titles_are_the_papers():
    assert [judges.title(n) for n in ("wrcor", "valacc:cifar10", "sjw:flipped", "swap")] == [
        "WRCor",
        "ValAcc",
        "SJW",
        "swap",
    ]


def test_the_maximum_is_the_first_of_equals_and_never_undefined():
    assert judges.maximum(np.array([1.0, 3, np.inf, 3, np.nan])) == (1, 2)
    assert judges.maximum(np.array([np.nan, -np.inf])) is None


def test_a_reference_needs_an_order():
    rows = judges.reference_rows(jax.random.key(0), SPACE)
    assert rows.shape == (judges.NUM_REFERENCE,) and rows.min() >= 0
    with pytest.raises(ValueError, match="space nasbench201 has no published order: a table cannot be looked up"):
        judges.reference_rows(jax.random.key(0), SPACE._replace(to_index=None))


# Findings


def test_a_summary_has_an_interval_where_there_are_seeds():
    accuracies = np.array([0.9, 0.92, 0.94])
    summary = findings.summarise(accuracies)
    assert summary.mean.value == pytest.approx(0.92) and summary.std == pytest.approx(0.02)
    assert 0.9 <= summary.mean.low < 0.92 < summary.mean.high <= 0.94 and summary.num_seeds == 3
    one = findings.summarise(accuracies[:1])
    assert one.mean.value == 0.9 and np.isnan([one.std, one.mean.low, one.mean.high]).all()


def test_a_finding_is_held_to_the_paper_and_the_optimum():
    summary = findings.Summary(metrics.Interval(0.93, 0.92, 0.94), 0.01, 3)
    line = findings.Finding("RE-WRCor", "wrcor", "", "cifar10_test", paper.Figure(0.8937, 0.0), summary, 0.9437)
    record = findings.as_record(line)
    assert (record["difference"], record["regret"]) == pytest.approx((0.0363, 0.0137))
    text = findings.as_markdown([line, line._replace(summary=None)])
    assert "| 89.37 ± 0.00 | 93.00 ± 1.00 | [92.00, 94.00] " in text and "how" not in text and "+3.63" in text
    assert "| live  |" in findings.as_markdown([line, line._replace(how="live")])
    empty = findings.as_record(line._replace(summary=None))
    assert list(empty) == list(record) and empty["ours"] is None


def test_cells_are_counted():
    record = findings.cells_record("RE-WRCor", "wrcor", np.array([5, 7, 7, 5, 9]), {"nine": 9})
    assert list(record.values()) == ["RE-WRCor", "wrcor", "3", "5", "40 %", "20 %"]


# Searches


def test_seeds_find_what_a_search_of_their_key_finds():
    column = scores201().columns["wrcor"]
    judge = judges.Judge("wrcor", "WRCor", column[:, None])
    found = searches.make_runner(SPACE, SETTINGS)(Search("evolution", judge), [0, 2])
    strategy, scores = search.evolution(SPACE), search.table_scores(SPACE, column)
    for index, key in zip(found, SETTINGS.keys([0, 2]), strict=True):
        state = search.run(key, strategy, scores, SETTINGS.num_architectures)
        assert int(SPACE.to_index(state.archs[state.best])) == index
    assert Search("evolution", judge).row == "RE-WRCor"


def test_a_subspace_is_sampled_uniformly_from_its_places():
    space = searches.subspace(SPACE, 4)
    places = jax.vmap(space.sample)(jax.random.split(jax.random.key(0), 4000))
    counts = np.bincount(np.asarray(space.to_index(places)), minlength=4)
    assert len(counts) == 4 and np.abs(counts - 1000).max() < 100
    assert np.array_equal(space.from_index(jnp.arange(3)), [[0], [1], [2]])


def test_searches_are_kept_and_only_missing_seeds_run(tmp_path):
    one = Search("random", judges.Judge("wrcor", "WRCor", np.arange(NUM, dtype=np.float32)[:, None]))
    asked = []

    def run(search, seeds):
        asked.append(list(seeds))
        return np.array(seeds) + 10

    more = SearchSettings(100, 5)
    for settings in (SETTINGS, SETTINGS, more):
        found = searches.run_all(tmp_path, SPACE, [(one, run)], settings, lambda found: None)
    assert asked == [[0, 1, 2], [3, 4]] and found[0].indices.tolist() == [10, 11, 12, 13, 14]
    other = one._replace(judge=one.judge._replace(columns=one.judge.columns + 1))
    searches.run_all(tmp_path, SPACE, [(other, run)], SETTINGS, lambda found: None)
    assert asked[2:] == [[0, 1, 2]]  # other scores are another search
    assert searches.seconds(tmp_path, SPACE, SETTINGS).endswith(" on cpu")


def test_a_stopped_table_goes_on_with_the_search_that_it_was_at(tmp_path):
    judge = judges.Judge("wrcor", "WRCor", np.zeros((NUM, 1), np.float32))
    plan, asked = [Search(name, judge) for name in searches.PREFIXES], []

    def run(one, seeds, stop=None):
        asked.append(one.row)
        if one.row == stop:
            raise KeyboardInterrupt
        return np.array(seeds)

    stopped = functools.partial(run, stop="RL-WRCor")
    with pytest.raises(KeyboardInterrupt):
        searches.run_all(tmp_path, SPACE, [(one, stopped) for one in plan], SETTINGS, lambda found: None)
    told = []
    searches.run_all(tmp_path, SPACE, [(one, run) for one in plan], SETTINGS, lambda found: told.append(len(found)))
    assert asked == ["R-WRCor", "RL-WRCor", "RL-WRCor", "RE-WRCor"] and told == [1, 2, 3]


@pytest.mark.parametrize(
    ("steps", "seeds", "message"),
    [(99, 3, "num_architectures is 99: a search needs at least 100"), (100, 0, "num_seeds is 0: at least 1 is needed")],
)
def test_searches_that_are_too_short_are_refused(steps, seeds, message):
    with pytest.raises(ValueError, match=message):
        searches.check_budget(SPACE, SearchSettings(steps, seeds))


# Table 9

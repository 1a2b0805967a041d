"""What Tables 7 to 9 stand on: figures, experts, objectives, accuracies, searches over tables, kept and gone on with."""

import functools

import golden
import jax
import jax.numpy as jnp
from made_up import NUM, OWN_VOTE, SETTINGS, SPACE, scores201
import numpy as np
import pytest

from projects.wrcor import accuracies, experts, objectives, paper, searches
from projects.wrcor.objectives import Objective
from projects.wrcor.searches import Search, SearchSettings
from zsnas_jax import search, votes
from zsnas_jax.proxies import PROXIES
from zsnas_jax.reports import metrics
from zsnas_jax.storage import files

# The figures


def test_the_figures_of_searches_are_the_published_ones():
    assert files.sha256(paper.SEARCH_FILE) in paper.__doc__.replace("\n", " ")
    assert paper.SEARCH_FILE.read_bytes() == golden.shared_file("data/paper_tables_8_to_10.csv").read_bytes()


def test_figures_of_searches_are_fractions_and_seconds():
    eight, nine = paper.search_figures(8), paper.search_figures(9)
    assert eight["RE-SJW", "test"] == pytest.approx((0.9315, 0.0077)) and len(eight) == 39
    assert nine["RE-WRCor", "imagenet16_120_test"] == pytest.approx((0.3548, 0)) and len(nine) == 92
    assert nine["R-SJW", paper.COST].value == 5825 and np.isnan(nine["Optimum", "cifar10_test"].std)
    with pytest.raises(ValueError, match="table 7 of the WRCor paper is not of searches: allowed are 8, 9"):
        paper.search_figures(7)


# Experts and objectives


def test_derived_scores_are_undefined_where_their_logarithm_is():
    columns = {"fisher": np.array([2.0, 0.0, -1.0, -np.inf]), "params": np.array([1.0, 10.0, 100.0, 7.0])}
    find = experts.with_derived(columns.get)
    assert find("neg_log_fisher").tolist() == [-np.log(2.0), -np.inf, -np.inf, -np.inf]
    assert find("log_params")[2] == np.log(100) and find("wrcor") is None and find("fisher") is columns["fisher"]
    assert set(experts.DERIVED) <= set(PROXIES)


def test_a_flipped_vote_turns_experts_but_not_what_is_undefined():
    columns = {"synflow": np.array([1.0, 2, 3]), "jaccor": np.array([3.0, -np.inf, 1]), "wrcor": np.array([0.0, 0, 1])}
    plain = experts.find_experts("sjw", columns.get)
    turned = experts.find_experts("sjw:flipped", columns.get)
    assert turned["jaccor"].tolist() == [-3, -np.inf, -1] and plain["jaccor"] is columns["jaccor"]
    assert all(np.array_equal(turned[e], columns[e]) for e in ("synflow", "wrcor"))
    ballot = votes.VOTES["sjw"]
    assert np.array_equal(experts.find_values("sjw", columns.get), votes.vote(ballot, columns))
    assert np.array_equal(experts.find_values("sjw:flipped", columns.get), votes.vote(ballot, turned))
    assert experts.find_values("zerocost", columns.get) is None
    assert objectives.make_objective("spw", columns.get) is None
    assert all(set(turned) <= set(experts.expert_names(name)) for name, turned in experts.FLIPPED.items())


def test_a_weighted_vote_goes_by_the_score_of_its_searches():
    rng = np.random.default_rng(0)
    columns = {name: rng.standard_normal(50).astype(np.float32) for name in experts.expert_names(OWN_VOTE)}
    columns["wrcor"][7] = -np.inf
    rows = np.arange(0, 50, 2)
    objective = objectives.make_objective(OWN_VOTE, columns.get, rows)
    table = np.stack(list(columns.values()), axis=1)
    score_fn = search.vote_scores(lambda row: jnp.asarray(table)[row], votes.VOTES[OWN_VOTE], table[rows])
    expected = np.array([score_fn(row)[0] for row in range(50)])
    np.testing.assert_allclose(objective.columns[:, 0], expected, rtol=1e-5, atol=1e-5)
    assert objective.columns.shape == (50, 1) and np.isfinite(objective.columns).all()
    assert objective.digest != objective._replace(columns=objective.columns + 1).digest


def test_titles_are_the_papers():
    scores = ("wrcor", "valacc:cifar10", "sjw:flipped", "swap")
    assert [paper.title(score) for score in scores] == ["WRCor", "ValAcc", "SJW", "swap"]


def test_the_maximum_is_the_first_of_equals_and_never_undefined():
    assert objectives.maximum(np.array([1.0, 3, np.inf, 3, np.nan])) == (1, 2)
    assert objectives.maximum(np.array([np.nan, -np.inf])) is None


def test_a_reference_needs_an_order():
    rows = objectives.reference_rows(jax.random.key(0), SPACE)
    assert rows.shape == (objectives.NUM_REFERENCE,) and rows.min() >= 0
    with pytest.raises(ValueError, match="space nasbench201 has no published order: a table cannot be looked up"):
        objectives.reference_rows(jax.random.key(0), SPACE._replace(to_index=None))


# Accuracies


def test_a_summary_has_an_interval_where_there_are_seeds():
    found = np.array([0.9, 0.92, 0.94])
    summary = accuracies.summarise(found)
    assert summary.mean.value == pytest.approx(0.92) and summary.std == pytest.approx(0.02)
    assert 0.9 <= summary.mean.low < 0.92 < summary.mean.high <= 0.94 and summary.num_seeds == 3
    one = accuracies.summarise(found[:1])
    assert one.mean.value == 0.9 and np.isnan([one.std, one.mean.low, one.mean.high]).all()


def test_a_line_is_held_to_the_paper_and_the_optimum():
    summary = accuracies.Summary(metrics.Interval(0.93, 0.92, 0.94), 0.01, 3)
    line = accuracies.Line("RE-WRCor", "wrcor", "", "cifar10_test", paper.Figure(0.8937, 0.0), summary, 0.9437)
    record = accuracies.as_record(line)
    assert (record["difference"], record["regret"]) == pytest.approx((0.0363, 0.0137))
    text = accuracies.as_markdown([line, line._replace(summary=None)])
    assert "| 89.37 ± 0.00 | 93.00 ± 1.00 | [92.00, 94.00] " in text and "how" not in text and "+3.63" in text
    assert "| live  |" in accuracies.as_markdown([line, line._replace(how="live")])
    empty = accuracies.as_record(line._replace(summary=None))
    assert list(empty) == list(record) and empty["ours"] is None


def test_cells_are_counted():
    record = accuracies.cells_record("RE-WRCor", "wrcor", np.array([5, 7, 7, 5, 9]), {"nine": 9})
    assert list(record.values()) == ["RE-WRCor", "wrcor", "3", "5", "40 %", "20 %"]


# Searches


def test_seeds_find_what_a_search_of_their_key_finds():
    column = scores201().columns["wrcor"]
    objective = Objective("wrcor", "WRCor", column[:, None])
    found = searches.make_runner(SPACE, SETTINGS)(Search("evolution", objective), [0, 2])
    strategy, scores = search.evolution(SPACE), search.table_scores(SPACE, column)
    state = search.run(SETTINGS.keys([2])[0], strategy, scores, SETTINGS.num_architectures)
    assert int(SPACE.to_index(state.archs[state.best])) == found[1] != found[0]
    assert Search("evolution", objective).row == "RE-WRCor"


def test_a_subspace_is_sampled_uniformly_from_its_places():
    space = searches.subspace(SPACE, 4)
    places = jax.vmap(space.sample)(jax.random.split(jax.random.key(0), 4000))
    counts = np.bincount(np.asarray(space.to_index(places)), minlength=4)
    assert len(counts) == 4 and np.abs(counts - 1000).max() < 100
    assert np.array_equal(space.from_index(jnp.arange(3)), [[0], [1], [2]])


def test_searches_are_kept_and_only_missing_seeds_run(tmp_path):
    one = Search("random", Objective("wrcor", "WRCor", np.arange(NUM, dtype=np.float32)[:, None]))
    asked = []

    def run(search, seeds):
        asked.append(list(seeds))
        return np.array(seeds) + 10

    more = SearchSettings(100, 5)
    for settings in (SETTINGS, SETTINGS, more):
        found = searches.run_all(tmp_path, SPACE, [(one, run)], settings, lambda found: None)
    assert asked == [[0, 1, 2], [3, 4]] and found[0].indices.tolist() == [10, 11, 12, 13, 14]
    other = one._replace(objective=one.objective._replace(columns=one.objective.columns + 1))
    searches.run_all(tmp_path, SPACE, [(other, run)], SETTINGS, lambda found: None)
    assert asked[2:] == [[0, 1, 2]]  # other scores are another search
    assert searches.seconds(tmp_path, SPACE, SETTINGS).endswith(" on cpu")


def test_a_stopped_table_goes_on_with_the_search_that_it_was_at(tmp_path):
    objective = Objective("wrcor", "WRCor", np.zeros((NUM, 1), np.float32))
    plan, asked = [Search(name, objective) for name in searches.PREFIXES], []

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

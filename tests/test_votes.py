import csv
import functools
import gzip

import chex
from golden import shared_file
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from zsnas_jax import votes
from zsnas_jax.reports import metrics

RING = np.array([[3.0, 1, 2], [2, 3, 1], [1, 2, 3]])  # 0 beats 1, 1 beats 2, 2 beats 0
SMALL = st.sampled_from([-np.inf, np.inf, np.nan, -0.0, 0.0, 1.0, 2.0, 3.0, 1e300])  # ties and failures are frequent
QUICK = settings(deadline=None, max_examples=60)


def matrices(num_experts=(1, 2, 3, 5), min_archs=0):
    shapes = st.tuples(st.integers(min_archs, 9), st.sampled_from(num_experts))
    return shapes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=SMALL))


def ayes(x, y):
    """How many experts prefer x, in plain Python."""
    worth = lambda score: score if np.isfinite(score) else -np.inf
    return sum(worth(a) > worth(b) for a, b in zip(x, y, strict=True))


def majority(x, y):
    return 2 * ayes(x, y) > len(x)


@pytest.mark.parametrize(
    "x, y, wins, loses",
    [
        ([2, 2, 0], [1, 1, 9], True, False),  # two of three
        ([2, 0, 0], [1, 0, 0], False, False),  # one higher, two equal: no majority
        ([2, 2, 0], [1, 1, np.nan], True, False),
        ([2, 2, np.nan], [1, 1, np.nan], True, False),
        ([np.inf, np.inf, 0], [1, 1, 9], False, True),  # infinity is a failure, too
        ([np.nan, 1, np.inf], [-np.inf, np.inf, 0], False, False),  # one each; NaN and -inf tie
        ([np.nan, np.nan, np.nan], [-np.inf, np.inf, np.nan], False, False),
        ([2, 2, 0, 0], [1, 1, 0, 0], False, False),  # half is no majority
        ([2, 2, 2, 0], [1, 1, 1, 9], True, False),
        ([1], [0], True, False),
    ],
)
@pytest.mark.parametrize("asarray", [np.float64, jnp.asarray, list])
def test_a_majority_is_more_than_half(x, y, wins, loses, asarray):
    assert bool(votes.beats(asarray(x), asarray(y))) is wins
    assert bool(votes.beats(asarray(y), asarray(x))) is loses


@QUICK
@given(matrices())
def test_beats_is_the_plain_majority_antisymmetric_and_irreflexive(scores):
    won = votes.beats(scores[:, None], scores[None])
    np.testing.assert_array_equal(won, np.reshape([majority(x, y) for x in scores for y in scores], won.shape))
    assert not (won & won.T).any() and not np.diag(won).any()


def test_beats_traces_and_broadcasts():
    scores = jnp.asarray(RING, jnp.float32).at[0, 0].set(jnp.nan)
    expected = votes.beats(np.asarray(scores)[:, None], np.asarray(scores)[None])
    won = jax.jit(jax.vmap(jax.vmap(votes.beats, (None, 0)), (0, None)))(scores, scores)
    chex.assert_trees_all_equal(won, expected)
    assert won.dtype == bool
    chex.assert_trees_all_equal(votes.beats(scores, scores[1]), expected[:, 1])


def test_numpy_scores_keep_their_precision():
    x, y = np.full(3, 1e53), np.full(3, 1e53 * (1 + 1e-12))  # both overflow float32
    assert votes.beats(y, x) and not votes.beats(x, y)
    assert votes.tournament(np.stack([x, y])) == 1


def test_integers_are_compared_exactly():
    assert votes.beats(jnp.full(3, 2**24 + 1), jnp.full(3, 2**24))  # equal in float32


@QUICK
@given(matrices(num_experts=[3], min_archs=1))
def test_tournament_is_a_fold(scores):
    scores = np.where(scores == 1e300, 1e30, scores)  # so that float32 holds it
    fold = functools.reduce(lambda old, new: new if majority(scores[new], scores[old]) else old, range(len(scores)))
    padded = jnp.asarray(np.concatenate([scores, np.full((9 - len(scores), 3), np.nan)]), jnp.float32)
    champion = jax.jit(votes.tournament)(padded)  # one shape, one program: contestants without a score never win
    assert champion == fold == votes.tournament(scores)
    assert champion.dtype == jnp.int32


def test_tournament_depends_on_the_order_in_a_ring_and_keeps_the_older_on_a_tie():
    assert [int(votes.tournament(RING[order])) for order in ([0, 1, 2], [1, 2, 0], [2, 0, 1])] == [2, 2, 2]
    assert votes.tournament(np.zeros((4, 3))) == 0
    assert votes.tournament(np.full((4, 3), np.nan)) == 0
    assert votes.tournament(RING[:1]) == 0
    batch = jnp.asarray([RING, RING * [[1], [9], [1]], 0 * RING])
    np.testing.assert_array_equal(jax.vmap(votes.tournament)(batch), [2, 1, 0])


def test_a_ring_is_a_tie_for_copeland_and_none_for_the_comparator():
    np.testing.assert_array_equal(votes.copeland(RING), [1, 1, 1])
    assert sorted(votes.comparator_sort(RING)) == [0, 1, 2]


@QUICK
@given(matrices())
def test_copeland_counts_wins(scores):
    wins = votes.copeland(scores)
    np.testing.assert_array_equal(wins, [sum(majority(x, y) for y in scores) for x in scores])
    assert wins.dtype == np.int64


@QUICK
@given(matrices(num_experts=[3]), st.randoms(use_true_random=False))
def test_copeland_sees_order_only_and_follows_permutations(scores, random):
    wins = votes.copeland(scores)
    moved = np.stack([scores[:, 0], np.arctan(scores[:, 1]), np.cbrt(scores[:, 2]) * 7 - 3], axis=1)
    np.testing.assert_array_equal(votes.copeland(np.where(np.isfinite(scores), moved, scores)), wins)
    order = random.sample(range(len(scores)), len(scores))
    np.testing.assert_array_equal(votes.copeland(scores[order]), wins[order])


def test_copeland_counts_many_experts_and_many_archs():
    np.testing.assert_array_equal(votes.copeland(np.tile(np.arange(4.0)[:, None], 301)), [0, 1, 2, 3])  # > uint8
    num_archs = 2**15 + 1  # > int16
    scores = np.arange(num_archs)[:, None]
    ranks = votes._dense_ranks(scores)
    assert ranks.dtype == np.int32 and ranks[-1] == num_archs
    assert votes._dense_ranks(scores[:-2]).dtype == np.int16


@QUICK
@given(matrices(num_experts=[3]))
def test_the_comparator_sorts_as_python_does(scores):
    compare = lambda i, j: int(majority(scores[j], scores[i])) - int(majority(scores[i], scores[j]))
    best_first = sorted(range(len(scores)), key=functools.cmp_to_key(compare))
    places = votes.comparator_sort(scores)
    np.testing.assert_array_equal(np.argsort(-places), best_first)
    assert sorted(places) == list(range(len(scores))) and places.dtype == np.int64


def test_the_comparator_keeps_the_older_first_on_a_tie():
    np.testing.assert_array_equal(
        votes.comparator_sort(np.array([[1.0] * 3, [2] * 3, [1] * 3, [np.nan] * 3])), [2, 3, 1, 0]
    )


@pytest.mark.parametrize("method", votes.METHODS)
@QUICK
@given(experts=st.permutations(range(6)))
def test_unanimous_experts_are_followed(method, experts):
    scores = np.array(experts, np.float64)[:, None] ** [1, 3, 0.5]
    np.testing.assert_array_equal(stats.rankdata(votes.METHODS[method](scores, None, None)) - 1, experts)


@QUICK
@given(matrices())
def test_rank_sum_is_scipys(scores):
    worth = np.where(np.isfinite(scores), scores, -np.inf)
    weights = np.arange(1.0, scores.shape[1] + 1)
    ranks = np.stack([stats.rankdata(column) for column in worth.T], axis=1)
    np.testing.assert_allclose(votes.rank_sum(scores), ranks.sum(axis=1))
    np.testing.assert_allclose(votes.rank_sum(scores, weights), ranks @ weights)


def test_z_scores_are_the_equation():
    scores = np.random.default_rng(0).standard_normal((20, 3)) * [1, 1e-3, 1e5] + [0, 50, 1e5]
    z = stats.zscore(scores, axis=0)
    np.testing.assert_allclose(votes.z_score_sum(scores), z.sum(axis=1), atol=1e-9)
    np.testing.assert_allclose(votes.z_score_sum(scores, (2, 1, 0.5)), z @ [2, 1, 0.5], atol=1e-9)


def test_constant_experts_add_nothing():
    z = votes.z_score_sum(np.array([[0.0, 0.1, 7.0], [1, 0.1, np.nan], [2, 0.1, 7]]))
    np.testing.assert_allclose(z, [-np.sqrt(1.5), -1, np.sqrt(1.5)])  # the failure alone counts: one deviation


@pytest.mark.parametrize("failure", [np.nan, np.inf, -np.inf])
def test_a_failure_counts_a_deviation_less_than_the_worst(failure):
    z = votes.z_score_sum(np.array([[1.0, 5.0], [3, failure], [1, 9], [3, 5], [2, failure]]))
    np.testing.assert_allclose(
        z - stats.zscore([1.0, 3, 1, 3, 2]), stats.zscore([5.0, 9, 5])[[0, 0, 1, 0, 0]] - [0, 1, 0, 0, 1]
    )
    np.testing.assert_array_equal(votes.z_score_sum(np.full((3, 2), failure)), np.zeros(3))


@QUICK
@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 6), st.just(1))))
@example(np.array([[1e308], [-1e308], [0]]))
@example(np.array([[5e-324], [0], [5e-324]]))
@example(np.array([[1.0], [1 + 2**-52], [np.inf]]))
@example(np.array([[0.1], [0.1], [0.1]]))
def test_z_scores_are_finite_and_keep_the_order(scores):
    z = votes.z_score_sum(scores)
    assert np.isfinite(z).all()
    order = np.argsort(np.where(np.isfinite(scores[:, 0]), scores[:, 0], -np.inf))
    assert (np.diff(z[order]) >= 0).all()
    failed = ~np.isfinite(scores[:, 0])
    if failed.any() and not failed.all():
        assert z[failed].max() < z[~failed].min()


@pytest.mark.parametrize("method", votes.METHODS)
def test_every_method_takes_any_array_and_gives_finite_float64(method):
    scores = {"a": jnp.array([1.0, jnp.nan, 3]), "b": np.array([-np.inf, 2.0, 1]), "c": [5, 5, 6], "other": np.zeros(9)}
    values = votes.vote(votes.make_vote("a,b,c", method), scores)
    assert values.dtype == np.float64 and values.shape == (3,) and np.isfinite(values).all() and values.argmax() == 2
    assert votes.vote(votes.make_vote("a,b,c", method), dict.fromkeys("abc", np.zeros(0))).shape == (0,)


def test_votes_read_their_experts_in_the_order_of_their_weights():
    vote = votes.make_vote(["b", "a"], "rank_sum", [1, 10])
    np.testing.assert_array_equal(votes.vote(vote, {"a": [1, 2, 3], "b": [3, 2, 1]}), [13, 22, 31])


def test_published_votes():
    experts = {name: set(vote.experts) for name, vote in votes.VOTES.items()}
    assert experts == {
        "zerocost": {"synflow", "jaccor", "snip"},
        "spw": {"synflow", "pnorm", "wrcor"},
        "sjw": {"synflow", "jaccor", "wrcor"},
        "az_nas": {"az_expressivity", "az_progressivity", "az_trainability", "flops"},
        "vkdnw_agg": {"vkdnw", "jaccor", "az_expressivity", "az_trainability", "flops"},
        "quartet": {"flops", "gcor_first2", "gcor_first5", "synflow"},
        "quintet": {"gcor_first5", "wrcor", "log_params", "gcor_first2", "neg_log_fisher"},
    }
    for name, vote in votes.VOTES.items():
        assert votes.make_vote(name) == vote and vote.name == name and vote.reference
        assert vote.experimental == (name in ("quartet", "quintet"))
    with pytest.raises(TypeError):
        votes.VOTES["own"] = vote


def test_names_tell_votes_apart():
    assert votes.make_vote(" sjw ", "comparator").name == "sjw:comparator"
    assert not votes.make_vote("sjw", "comparator").experimental and votes.make_vote("sjw", "rank_sum").experimental
    own = votes.make_vote("wrcor, naswot,synflow")
    assert own == votes.make_vote(("wrcor", "naswot", "synflow"))
    assert (own.name, own.experts, own.experimental) == ("wrcor+naswot+synflow", ("wrcor", "naswot", "synflow"), True)
    assert votes.make_vote("spw", "z_score_sum", (1, 2, 0.5)).name == "1.0*synflow+2.0*pnorm+0.5*wrcor:z_score_sum"
    assert votes.make_vote(["wrcor"], "z_score_sum").experts == ("wrcor",)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("jsw",),
            "unknown vote 'jsw': allowed are zerocost, spw, sjw, az_nas, vkdnw_agg, quartet, quintet, or experts joined by commas",
        ),
        (("",), "unknown vote ''"),
        (([],), "experts '': at least one"),
        (("a,,b",), "experts 'a,,b': at least one, each with a name"),
        (("a,b,a",), "experts 'a,b,a': one is given twice"),
        (("a,b",), "2 experts 'a,b': a majority needs an odd number of three or more"),
        (("a,b,c,d", "comparator"), "4 experts 'a,b,c,d': a majority"),
        ((["a"],), "1 experts 'a': a majority"),
        (
            ("sjw", "borda"),
            "unknown method 'borda': allowed are copeland, rank_sum, comparator, z_score_sum, log_rank_sum",
        ),
        (("sjw", "copeland", (1, 1, 1)), "with method 'copeland': a majority has none"),
        (("sjw", "rank_sum", (1, 1)), r"2 weights \[1.0, 1.0\] for 3 experts"),
        (("a,b", "z_score_sum", (1, -1)), r"weights \[1.0, -1.0\]: finite numbers above 0 are wanted"),
        (("a,b", "z_score_sum", (1, np.nan)), r"weights \[1.0, nan\]: finite"),
        (("a,b", "z_score_sum", (1, np.inf)), r"weights \[1.0, inf\]: finite"),
    ],
)
def test_bad_votes_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        votes.make_vote(*arguments)
    assert "\n" not in str(caught.value)


def test_votes_refuse_missing_and_mismatched_scores():
    scores = dict.fromkeys(["synflow", "snip"], np.zeros(4))
    with pytest.raises(ValueError, match="vote 'zerocost' lacks scores of jaccor: there are synflow, snip"):
        votes.vote(votes.VOTES["zerocost"], scores)
    with pytest.raises(ValueError, match=r"scores of jaccor have shape \(3,\).* synflow has shape \(4,\)"):
        votes.vote(votes.VOTES["zerocost"], scores | {"jaccor": np.zeros(3)})
    with pytest.raises(ValueError, match=r"scores of synflow have shape \(2, 2\)"):
        votes.vote(votes.VOTES["zerocost"], dict.fromkeys(["synflow", "snip", "jaccor"], np.zeros((2, 2))))
    with pytest.raises(ValueError, match="unknown method 'borda'"):
        votes.vote(votes.VOTES["sjw"]._replace(method="borda"), scores)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(1,\): the last axis must be the same experts"):
        votes.beats(np.zeros(3), np.zeros(1))
    with pytest.raises(ValueError, match=r"shapes \(\) and \(\)"):
        votes.beats(1.0, 2.0)
    with pytest.raises(ValueError, match=r"shape \(0, 3\): at least one contestant"):
        votes.tournament(jnp.zeros((0, 3)))
    for function in (votes.copeland, votes.comparator_sort, votes.rank_sum, votes.z_score_sum):
        with pytest.raises(ValueError, match=r"shape \(3,\): a matrix"):
            function(np.zeros(3))
    with pytest.raises(ValueError, match=r"2 weights \[1, 2\] for 3 experts"):
        votes.rank_sum(RING, [1, 2])


def columns(path, names):
    with gzip.open(path, "rt") as lines:
        rows = list(csv.DictReader(lines))
    return {int(row["index"]): [float(row[name]) for name in names] for row in rows}


def test_zerocost_on_published_scores():
    """Published scores of 9,445 cells: the vote ranks better than its best expert, and Copeland than the comparator."""
    scores = columns(shared_file("data/nasbench201_suite_zero_cifar10.csv.gz"), ["synflow", "jacov", "snip"])
    accuracy = columns(shared_file("data/nasbench201.csv.gz"), ["cifar10_test_200"])
    truth = np.array([accuracy[index][0] for index in scores])
    matrix = np.array(list(scores.values()))
    matrix[matrix == -1e8] = np.nan
    experts = dict(zip(["synflow", "jaccor", "snip"], matrix.T, strict=True))
    alone = [metrics.spearman(np.nan_to_num(column, nan=-np.inf), truth) for column in matrix.T]
    by = {m: metrics.spearman(votes.vote(votes.make_vote("zerocost", m), experts), truth) for m in votes.METHODS}
    np.testing.assert_allclose(alone, [0.778, 0.799, 0.603], atol=1e-3)
    np.testing.assert_allclose(
        [by["copeland"], by["rank_sum"], by["comparator"], by["z_score_sum"]], [0.853, 0.850, 0.791, 0.781], atol=1e-3
    )
    assert by["copeland"] > max(alone) and min(by.values()) > np.median(alone)


def test_a_score_under_a_reference_does_not_depend_on_the_others():
    rng = np.random.default_rng(0)
    names, table = ("a", "b", "c"), rng.standard_normal((9, 3))
    table[3, 1], table[5, 0] = -np.inf, np.nan
    reference = dict(zip(names, rng.standard_normal((20, 3)).T, strict=True))
    reference["a"][4] = np.nan
    scores = dict(zip(names, table.T, strict=True))
    for method in ("copeland", *votes.SUMS):
        vote = votes.make_vote(names, method)
        together = votes.vote(vote, scores, reference)
        alone = [votes.vote(vote, {n: s[i : i + 1] for n, s in scores.items()}, reference)[0] for i in range(9)]
        np.testing.assert_allclose(together, alone, rtol=1e-12)
        np.testing.assert_allclose(votes.vote(vote, reference, reference), votes.vote(vote, reference), rtol=1e-12)
    with pytest.raises(ValueError, match=r"vote 'a\+b\+c:comparator': the comparator sorts a set"):
        votes.vote(votes.make_vote(names, "comparator"), scores, reference)


def test_logarithms_of_ranks_are_those_of_az_nas():
    scores = np.array([[1.0, 3.0], [2.0, 3.0], [np.nan, 5.0], [0.5, -1.0]])
    ranks = np.array([[3, 2.5], [4, 2.5], [1, 4], [2, 1]])
    np.testing.assert_allclose(votes.log_rank_sum(scores), np.log(ranks / 4).sum(1))
    assert votes.VOTES["az_nas"].method == votes.VOTES["vkdnw_agg"].method == "log_rank_sum"

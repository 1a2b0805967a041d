"""Sums of log ranks, chosen on other spaces than they are held against."""

import numpy as np
import pytest

from projects.spaces import aggregates
from projects.spaces.aggregates import Subject
from zsnas_jax import votes
from zsnas_jax.reports import metrics

RNG = np.random.default_rng(0)


def subject(space, noise):
    """Experts a, b, c that see the accuracy through noise of their own, and one that sees none of it."""
    truth = RNG.standard_normal(200)
    scores = {name: truth + own * RNG.standard_normal(200) for name, own in zip("abc", noise, strict=True)}
    return Subject(space, space, scores | {"params": RNG.standard_normal(200)}, truth)


SUBJECTS = [subject("one", (0.6, 0.6, 9.0)), subject("two", (0.6, 0.7, 9.0)), subject("three", (9.0, 9.0, 0.1))]
CHOSEN = aggregates.sets(("a", "b", "c", "params"), 3)
VALUES = np.stack([aggregates.rhos(own, CHOSEN) for own in SUBJECTS])


def test_a_set_is_the_vote_of_its_experts():
    assert len(CHOSEN) == 4 + 6 + 4
    for own, values in zip(SUBJECTS, VALUES, strict=True):
        for place in (0, 5, 12):
            summed = aggregates.sums(own, [CHOSEN[place]])[0]
            assert values[place] == pytest.approx(metrics.spearman(summed, own.accuracy), abs=1e-9)
    pair = CHOSEN.index(("a", "b"))
    vote = votes.vote(votes.make_vote("a+b", "log_rank_sum"), SUBJECTS[0].scores)
    assert metrics.spearman(vote, aggregates.sums(SUBJECTS[0], [CHOSEN[pair]])[0]) == pytest.approx(1)


def test_what_is_chosen_has_not_seen_the_space_that_it_is_held_against():
    found = {own.subject: own for own in aggregates.leave_one_out(SUBJECTS, CHOSEN, VALUES, ("params",))}
    assert set(found["three"].chosen) == {"a", "b"} and abs(found["three"].rho.value) < 0.4
    assert found["three"].best_here > 0.9 and "c" in found["one"].chosen
    assert found["three"].single in "ab" and found["one"].num_archs == 200
    means = np.mean([VALUES[0], VALUES[1]], axis=0)
    assert found["three"].elsewhere == pytest.approx(means.max())


def test_tasks_of_a_space_weigh_together_as_one_space():
    twice = [SUBJECTS[0], SUBJECTS[0]._replace(name="again"), SUBJECTS[2]]
    values = np.stack([VALUES[0], VALUES[0], VALUES[2]])
    means = aggregates.by_space(twice, values)
    np.testing.assert_allclose(means["one"], VALUES[0])
    assert aggregates.leave_one_out(twice, CHOSEN, values, ("params",))[2].chosen == CHOSEN[int(VALUES[0].argmax())]

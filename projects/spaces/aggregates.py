"""Which experts together rank every space: sums of logarithms of ranks, chosen on other spaces than they are held to.

A score of s_e of expert e is put together as sum_e log(rank_e / A), equal weights, ranks among the architectures at
hand. Axes: A architectures, E experts, S sets of experts.
"""

from collections.abc import Mapping, Sequence
import itertools
from typing import NamedTuple

import numpy as np
import scipy

from zsnas_jax import votes
from zsnas_jax.reports import metrics
from zsnas_jax.reports.metrics import Interval


class Subject(NamedTuple):
    """Architectures of a space (and task), label to scores float[A], and accuracies float[A]."""

    space: str
    name: str
    scores: Mapping[str, np.ndarray]
    accuracy: np.ndarray


class LeftOut(NamedTuple):
    """What is chosen without a space, on a subject of it.

    Attributes:
        subject: its name.
        num_archs: how many are compared.
        chosen: the experts of the highest mean rho on the other spaces.
        elsewhere: that mean.
        rho: theirs here.
        single: the expert that alone is best on the other spaces.
        rho_of_single: its rho here.
        controls: label to rho here.
        best_here: the highest rho that any set has here, which no choice elsewhere can know.
    """

    subject: str
    num_archs: int
    chosen: tuple[str, ...]
    elsewhere: float
    rho: Interval
    single: str
    rho_of_single: Interval
    controls: dict[str, Interval]
    best_here: float


def sets(experts: Sequence[str], largest: int) -> list[tuple[str, ...]]:
    """All sets of up to so many experts."""
    return [own for size in range(1, largest + 1) for own in itertools.combinations(experts, size)]


def sums(subject: Subject, chosen: Sequence[tuple[str, ...]]) -> np.ndarray:
    """The sum of logarithms of ranks of each set, float64[S, A]."""
    experts = sorted(set(itertools.chain.from_iterable(chosen)))
    own = np.stack([subject.scores[name] for name in experts], axis=1)
    logs = np.log(votes.ranks(own, own) / len(own))
    takes = np.array([[name in set_ for name in experts] for set_ in chosen], float)
    return takes @ logs.T


def rhos(subject: Subject, chosen: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Spearman's rho of each set, float64[S]."""
    truth = scipy.stats.rankdata(subject.accuracy)
    truth = (truth - truth.mean()) / truth.std()
    found = []
    for part in np.array_split(np.arange(len(chosen)), max(1, len(chosen) // 500)):
        ranked = scipy.stats.rankdata(sums(subject, [chosen[i] for i in part]), axis=1)
        ranked -= ranked.mean(1, keepdims=True)
        found.append((ranked @ truth) / (len(truth) * np.maximum(ranked.std(1), 1e-12)))
    return np.concatenate(found)


def by_space(subjects: Sequence[Subject], values: np.ndarray) -> dict[str, np.ndarray]:
    """The mean over the subjects of each space of float[subjects, S]."""
    spaces = list(dict.fromkeys(subject.space for subject in subjects))
    return {
        space: np.mean([own for subject, own in zip(subjects, values, strict=True) if subject.space == space], axis=0)
        for space in spaces
    }


def leave_one_out(
    subjects: Sequence[Subject], chosen: Sequence[tuple[str, ...]], values: np.ndarray, controls: Sequence[str]
) -> list[LeftOut]:
    """For each space the set of the highest mean rho over the other spaces, all of which weigh the same.

    Args:
        subjects: of two spaces or more.
        chosen: the sets to choose among.
        values: their rho, float[subjects, S], of `rhos`.
        controls: labels that all subjects have.
    """
    means, found = by_space(subjects, values), []
    alone = [place for place, own in enumerate(chosen) if len(own) == 1]
    for subject, own in zip(subjects, values, strict=True):
        elsewhere = np.mean([mean for space, mean in means.items() if space != subject.space], axis=0)
        best, single = int(elsewhere.argmax()), alone[int(elsewhere[alone].argmax())]
        rho = lambda place, subject=subject: metrics.bootstrap_spearman(
            sums(subject, [chosen[place]])[0], subject.accuracy
        )
        found.append(
            LeftOut(
                subject.name,
                len(subject.accuracy),
                chosen[best],
                float(elsewhere[best]),
                rho(best),
                chosen[single][0],
                rho(single),
                {name: metrics.bootstrap_spearman(subject.scores[name], subject.accuracy) for name in controls},
                float(own.max()),
            )
        )
    return found

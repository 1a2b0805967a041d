"""What a search for trade-offs goes by: scores, votes and costs, each with the direction in which it is better.

    quintet    +wrcor    -flops    -params    -latency

A bare name and +NAME are maximised, -NAME is minimised; a cost has to say which. E objectives, P scores that they read.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax import user_code, votes
from zsnas_jax.search.reference import ScoreFn, vote_scores
from zsnas_jax.votes import SUMS, VOTES, Vote

LATENCY = "latency"
COSTS = ("params", "flops", LATENCY)
"""Names that say nothing of a direction: whether they are to be small is to be said."""
SIGNS: Mapping[str, float] = MappingProxyType({"+": 1.0, "-": -1.0})


class Objective(NamedTuple):
    """One of several things that a search wants.

    Attributes:
        name: of its column.
        sign: 1 where more of it is better, -1 where less is.
        scores: names of the scores that it reads: its own, or those of a vote's experts.
        vote: how they are put together; None: it is one score.
    """

    name: str
    sign: float
    scores: tuple[str, ...]
    vote: Vote | None = None

    def __str__(self) -> str:
        """As flags have it, the sign of what is maximised left out."""
        return f"-{self.name}" if self.sign < 0 else self.name


def parse(texts: Sequence[str]) -> tuple[Objective, ...]:
    """The objectives that a user names.

    Raises:
        ValueError: for fewer than two, a cost without a sign, a name given twice, or a vote that gives an architecture
            no number of its own.
    """
    found = tuple(_parse(text.strip()) for text in texts)
    if len(found) < 2:
        raise ValueError(f"objectives {', '.join(texts) or 'none'}: at least two are needed; --proxies takes one score")
    return check_names(found)


def _parse(text: str) -> Objective:
    sign, name = (text[0], text[1:]) if text[:1] in SIGNS else ("", text)
    if not name:
        raise ValueError(f"objective {text!r}: a name is needed, such as wrcor or -flops")
    if name in COSTS and not sign:
        raise ValueError(f"objective {name!r}: whether a cost is to be small has to be said: say -{name}")
    factor = SIGNS.get(sign, 1.0)
    if name not in VOTES and ("+" not in name or user_code.find_reference(name)):
        return Objective(name, factor, (name,))
    vote = votes.make_vote(name)
    if vote.method not in SUMS:
        sums = ", ".join(own.name for own in VOTES.values() if own.method in SUMS)
        raise ValueError(
            f"objective {name!r}: a vote by {vote.method} compares those at hand, and has no number for one "
            f"architecture: allowed are {sums}"
        )
    return Objective(vote.name, factor, vote.experts, vote)


def check_names(objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    """The objectives; ValueError if two have one name."""
    names = [objective.name for objective in objectives]
    if again := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"objectives {', '.join(map(str, objectives))}: {again} is given twice")
    return tuple(objectives)


def score_names(objectives: Sequence[Objective]) -> tuple[str, ...]:
    """The names of the scores that they read, each once."""
    return tuple(dict.fromkeys(name for objective in objectives for name in objective.scores))


def relabel(objectives: Sequence[Objective], labels: Mapping[str, str]) -> tuple[Objective, ...]:
    """The objectives by the labels of their scores under the settings of a run.

    Raises:
        ValueError: if two objectives, or two experts of a vote, turn out to be the same.
    """

    def own(objective: Objective) -> Objective:
        scores = tuple(labels.get(name, name) for name in objective.scores)
        vote = objective.vote and votes.with_experts(objective.vote, scores)
        return objective._replace(name=objective.name if vote else scores[0], scores=scores, vote=vote)

    return check_names([own(objective) for objective in objectives])


def signed(objectives: Sequence[Objective], values: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """Values [..., E] with what is to be small negated, or back again; what is not finite becomes -inf."""
    xp = jnp if isinstance(values, jax.Array) else np
    signs = np.array([objective.sign for objective in objectives], np.float32)
    return xp.where(xp.isfinite(values), signs * values, -xp.inf)


def objective_scores(
    score_fn: ScoreFn,
    objectives: Sequence[Objective],
    names: Sequence[str],
    reference: jax.Array | np.ndarray | None = None,
) -> ScoreFn:
    """A source of what a search for trade-offs maximises.

    A vote is counted against a sample, as `zsnas_jax.search.vote_scores` does; where one of its experts has no score,
    it has none here: an architecture that does not work would else stand at the cheap end of the front.

    Args:
        score_fn: of P scores.
        objectives: E of them.
        names: of the scores, in the order of `score_fn`.
        reference: float[R, P], scores of R architectures drawn from the space; needed where there is a vote.

    Returns:
        arch to float32[E], what is to be small negated, -inf where an objective is undefined; traces if `score_fn`
        does.
    """
    places = [np.array([list(names).index(name) for name in objective.scores]) for objective in objectives]
    sample = None if reference is None else jnp.asarray(reference)

    def value(objective: Objective, place: np.ndarray, scores: jax.Array) -> jax.Array:
        own = scores[place]
        if objective.vote is None:
            return own[0]
        assert sample is not None
        total = vote_scores(lambda _: own, objective.vote, sample[:, place])(None)[0]
        return jnp.where(jnp.isfinite(own).all(), total, -jnp.inf)

    def combine(scores: jax.Array) -> jax.Array:
        values = [value(objective, place, scores) for objective, place in zip(objectives, places, strict=True)]
        return jnp.asarray(signed(objectives, jnp.stack(values)), jnp.float32)

    combined = jax.jit(combine)
    return lambda arch: combined(jnp.asarray(score_fn(arch)))

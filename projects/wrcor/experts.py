"""Scores of all architectures: of proxies, and of the votes whose experts they are. A architectures."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from zsnas_jax.votes import VOTES, Vote, make_vote, vote

Find = Callable[[str], np.ndarray | None]
"""Label of a proxy to its scores float[A], or None where there are none."""

FLIPPED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"zerocost:flipped": ("snip", "jaccor"), "sjw:flipped": ("jaccor",)}
)
"""Votes in which the paper turns experts round on NAS-Bench-101, where they rank the wrong way, and which these are."""

EXPERIMENTAL = ("quintet",)
"""Our own votes that stand in the tables."""
SHOWN = tuple(name for name, ballot in VOTES.items() if name in EXPERIMENTAL or not ballot.experimental)
"""The votes that the tables know: the papers', and these."""

DERIVED: Mapping[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = MappingProxyType(
    {"log_params": ("params", np.log), "neg_log_fisher": ("fisher", lambda fisher: -np.log(fisher))}
)
"""Scores that are functions of another: name to (the other, what of it)."""


def with_derived(find: Find) -> Find:
    """Also finds the scores of `DERIVED` where it finds what they are made of; -inf where they are undefined."""

    def found(name: str) -> np.ndarray | None:
        values = find(name)
        if values is None and name in DERIVED:
            source, function = DERIVED[name]
            if (base := find(source)) is not None:
                with np.errstate(all="ignore"):
                    derived = function(np.where(np.isfinite(base), base, np.nan))
                values = np.where(np.isfinite(derived), derived, -np.inf)
        return values

    return found


def _turn(values: np.ndarray) -> np.ndarray:
    """The other way round; what is not finite still loses."""
    return np.where(np.isfinite(values), -values, -np.inf)


def find_vote(score: str) -> Vote | None:
    """The vote that a score is, by its name: `sjw`, `sjw:rank_sum` or one of `FLIPPED`; None for any other score."""
    name, _, method = score.partition(":")
    if name not in VOTES:
        return None
    return VOTES[name] if score in FLIPPED else make_vote(name, method or None)


def expert_names(score: str) -> tuple[str, ...]:
    """The proxies that a score is made of, by label: a vote's experts, else itself."""
    ballot = find_vote(score)
    return ballot.experts if ballot else (score,)


def find_experts(score: str, find: Find) -> dict[str, np.ndarray] | None:
    """The scores float[A] of a score's experts, turned where `FLIPPED` says so; None if an expert is missing."""
    experts = {expert: find(expert) for expert in expert_names(score)}
    turned = FLIPPED.get(score, ())
    found = {e: _turn(values) if e in turned else values for e, values in experts.items() if values is not None}
    return found if len(found) == len(experts) else None


def find_values(score: str, find: Find) -> np.ndarray | None:
    """A score of the whole set, float[A]: of a proxy, or of a vote over it; None where an expert is missing."""
    experts, ballot = find_experts(score, find), find_vote(score)
    if experts is None:
        return None
    return vote(ballot, experts) if ballot else experts[score]

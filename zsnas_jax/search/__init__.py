"""Search: strategies, one loop, two sources of scores, limits. A search is a function of a key.

strategy = search.evolution(space)
state = search.run(key, strategy, search.table_scores(space, column), num_steps=1000)
found = state.archs[state.best]
"""

from zsnas_jax.search.constraints import allowed_rows, constrained, costs_of_all
from zsnas_jax.search.host import HostLoop, host_scores
from zsnas_jax.search.loop import Known, SearchState, advance, run, start
from zsnas_jax.search.objectives import objective_scores
from zsnas_jax.search.reference import ScoreFn, vote_scores, z_scores
from zsnas_jax.search.sources import canonical_form, latency_scores, live_scores, table_scores
from zsnas_jax.search.strategies import (
    STRATEGIES,
    SearchStrategy,
    evolution,
    genetic,
    make_strategy,
    nsga2,
    random_search,
    reinforce,
)

__all__ = [
    "STRATEGIES",
    "HostLoop",
    "Known",
    "ScoreFn",
    "SearchState",
    "SearchStrategy",
    "advance",
    "allowed_rows",
    "canonical_form",
    "constrained",
    "costs_of_all",
    "evolution",
    "genetic",
    "host_scores",
    "latency_scores",
    "live_scores",
    "make_strategy",
    "nsga2",
    "objective_scores",
    "random_search",
    "reinforce",
    "run",
    "start",
    "table_scores",
    "vote_scores",
    "z_scores",
]

"""Search strategies as values: random search, REINFORCE, regularized evolution, evolution by generations, NSGA-II.

A strategy proposes an architecture (`ask`) and hears its scores (`tell`); its state is a pytree, so that seeds vmap.
Hyper-parameters may be traced, save those that are sizes: a strategy can be made inside a function that is vmapped
over a learning rate. Axes: G genes, P population, K contestants, R reference architectures, E experts.

Every proposal counts among the architectures of a search, the first ones included, which are drawn from the space.
Sources: Jing et al., "WRCor: Zero-Shot Neural Architecture Search with Weighted Response Correlation" (all three, and
their settings); Real et al., "Regularized Evolution for Image Classifier Architecture Search"; Williams, "Simple
Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning"; Chen et al., "AutoFormer", ICCV
2021 (generations, after Guo et al., "Single Path One-Shot"); Deb et al., "A Fast and Elitist Multiobjective Genetic
Algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6, 2002.
"""

from collections.abc import Callable, Mapping
import functools
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zsnas_jax.base import Arch, SearchSpace
from zsnas_jax.search import pareto
from zsnas_jax.search.reference import z_scores
from zsnas_jax.votes import tournament

MAX_CROSSINGS = 50
"""How often two parents are crossed for a child of the space, before it samples one."""

MAX_REDRAWS = 1000
"""How often REINFORCE draws again for a valid architecture, before it takes one that the space samples."""


class SearchStrategy(NamedTuple):
    """How a search picks its architectures.

    Attributes:
        name: as in flags.
        init: key to the state before the first architecture, a pytree.
        ask: (key, state) to the next architecture.
        tell: (state, arch, scores float32[E]) to the state that has heard of it.
        settings: hyper-parameters, for reports and for telling results apart.
        num_initial: how many architectures it draws from the space before it chooses; a search needs at least those.
    """

    name: str
    init: Callable[[jax.Array], Any]
    ask: Callable[[jax.Array, Any], Arch]
    tell: Callable[[Any, Arch, jax.Array], Any]
    settings: Mapping[str, Any]
    num_initial: int = 0


def random_search(space: SearchSpace, *, num_experts: int = 1) -> SearchStrategy:
    """Draws every architecture from the space, with replacement, whatever the scores."""
    del num_experts
    return SearchStrategy(
        name="random",
        init=lambda key: (),
        ask=lambda key, state: space.sample(key),
        tell=lambda state, arch, scores: state,
        settings={},
    )


class EvolutionState(NamedTuple):
    """A population as a ring: archs [P, ...], scores float32[P, E], num_told int32[], architectures so far.

    The member of age a, 0 the oldest, stands at (num_told + a) mod P once there are P of them.
    """

    archs: Arch
    scores: jax.Array
    num_told: jax.Array


def draw_contestants(key: jax.Array, population_size: int, tournament_size: int) -> jax.Array:
    """The ages of K of P members, drawn uniformly without replacement and in increasing order: int32[K], 0 the oldest.

    Floyd's algorithm, and a sort by counting the smaller: XLA's own sorts on a CPU take longer than the whole search.
    """
    first = population_size - tournament_size
    draws = jax.random.randint(key, (tournament_size,), 0, first + jnp.arange(tournament_size) + 1)

    def add(i: jax.Array, ages: jax.Array) -> jax.Array:
        return ages.at[i].set(jnp.where((ages == draws[i]).any(), first + i, draws[i]))

    ages = jax.lax.fori_loop(0, tournament_size, add, jnp.full(tournament_size, -1))
    places = (ages[:, None] > ages).sum(1)
    return jnp.where(places[:, None] == jnp.arange(tournament_size), ages[:, None], 0).sum(0)


def fittest(scores: jax.Array) -> jax.Array:
    """The row of float[K, E] that wins `zsnas_jax.votes.tournament`, the oldest first: int32[].

    For one expert that is the largest, the oldest of equals, which an argmax finds sooner.
    """
    if scores.shape[-1] > 1:
        return tournament(scores)
    return jnp.argmax(jnp.where(jnp.isfinite(scores[:, 0]), scores[:, 0], -jnp.inf)).astype(jnp.int32)


def evolution(
    space: SearchSpace, *, num_experts: int = 1, population_size: int = 64, tournament_size: int = 10
) -> SearchStrategy:
    """Regularized (aging) evolution: the winner of a tournament has a mutated child, and the oldest member goes.

    The first P architectures are drawn from the space. A tournament takes K of P members without replacement; several
    experts vote in it by strict majority.

    Args:
        space: what is searched.
        num_experts: E.
        population_size: P.
        tournament_size: K.

    Raises:
        ValueError: if a size is below 1, or the tournament larger than the population.
    """
    for name, size in (("population_size", population_size), ("tournament_size", tournament_size)):
        if size < 1:
            raise ValueError(f"{name} is {size}: at least 1 is needed")
    if tournament_size > population_size:
        raise ValueError(
            f"tournament_size is {tournament_size}: at most population_size, {population_size}, is allowed"
        )

    def init(key: jax.Array) -> EvolutionState:
        archs = _empty(jax.eval_shape(space.sample, key), population_size)
        return EvolutionState(archs, jnp.full((population_size, num_experts), -jnp.inf, jnp.float32), jnp.int32(0))

    def breed(key: jax.Array, state: EvolutionState) -> Arch:
        contest_key, mutation_key = jax.random.split(key)
        seats = (state.num_told + draw_contestants(contest_key, population_size, tournament_size)) % population_size
        parent = seats[fittest(state.scores[seats])]
        return space.mutate(mutation_key, jax.tree.map(lambda leaf: leaf[parent], state.archs))

    def ask(key: jax.Array, state: EvolutionState) -> Arch:
        first = lambda key, state: space.sample(key)
        return jax.lax.cond(state.num_told < population_size, first, breed, key, state)

    def tell(state: EvolutionState, arch: Arch, scores: jax.Array) -> EvolutionState:
        _check_experts(scores, num_experts)
        seat = state.num_told % population_size
        archs = jax.tree.map(lambda ring, leaf: ring.at[seat].set(leaf), state.archs, arch)
        return EvolutionState(archs, state.scores.at[seat].set(scores), state.num_told + 1)

    settings = {"population_size": population_size, "tournament_size": tournament_size}
    return SearchStrategy("evolution", init, ask, tell, settings, population_size)


class GeneticState(NamedTuple):
    """The best architectures so far and the parents of this generation, K of each, num_told int32[] so far.

    The first `num_best` int32[] of archs [K, ...] and scores float32[K] are there; likewise of the parents.
    """

    archs: Arch
    scores: jax.Array
    num_best: jax.Array
    parents: Arch
    num_parents: jax.Array
    num_told: jax.Array


def genetic(
    space: SearchSpace, *, num_experts: int = 1, generation_size: int = 50, num_parents: int = 10
) -> SearchStrategy:
    """Evolution by generations of P: half are mutations of the K best so far, half children that two of them share.

    The first generation is drawn from the space. A child takes each gene from one of two of the K, uniformly; where the
    space does not have it, two are drawn again; after `MAX_CROSSINGS` the space samples one. The K best are those of
    all generations, each architecture once; of equal scores the older stays.

    Args:
        space: what is searched. AutoFormer's own mutation is that of
            `space._replace(mutate=functools.partial(autoformer.redraw, grid))`.
        num_experts: 1; a vote that is no sum has no best.
        generation_size: P.
        num_parents: K.

    Raises:
        ValueError: if there are several experts, a size is below 1, or K above P.

    Source: Chen et al., AutoFormer, ICCV 2021. Deviation: there what was proposed before is drawn again.
    """
    if num_experts != 1:
        raise ValueError(
            f"strategy genetic goes by one score, not by {num_experts} experts: allowed is a vote that sums"
        )
    if not 1 <= num_parents <= generation_size:
        raise ValueError(f"num_parents is {num_parents}: allowed are 1 to generation_size, {generation_size}")

    def init(key: jax.Array) -> GeneticState:
        archs = _empty(jax.eval_shape(space.sample, key), num_parents)
        none, zero = jnp.full(num_parents, -jnp.inf, jnp.float32), jnp.int32(0)
        return GeneticState(archs, none, zero, archs, zero, zero)

    def parent(key: jax.Array, state: GeneticState) -> Arch:
        place = jax.random.randint(key, (), 0, state.num_parents)
        return jax.tree.map(lambda leaf: leaf[place], state.parents)

    def cross(key: jax.Array, state: GeneticState) -> Arch:
        return crossed(space, key, lambda key: parent(key, state))

    def mutate(key: jax.Array, state: GeneticState) -> Arch:
        parent_key, mutation_key = jax.random.split(key)
        return space.mutate(mutation_key, parent(parent_key, state))

    def ask(key: jax.Array, state: GeneticState) -> Arch:
        first = lambda key, state: space.sample(key)
        return jax.lax.switch(_kind(state.num_told, generation_size), (first, mutate, cross), key, state)

    def tell(state: GeneticState, arch: Arch, scores: jax.Array) -> GeneticState:
        _check_experts(scores, 1)
        score = jnp.where(jnp.isfinite(scores[0]), scores[0], -jnp.inf)
        equal = jax.tree.map(lambda ring, leaf: (ring == leaf).reshape(num_parents, -1).all(1), state.archs, arch)
        there = jnp.arange(num_parents) < state.num_best
        is_known = (jnp.stack(jax.tree.leaves(equal)).all(0) & there).any()
        is_full = state.num_best == num_parents
        seat = jnp.where(is_full, jnp.argmin(state.scores), state.num_best)
        enters = ~is_known & (~is_full | (score > state.scores[seat]))
        put = lambda ring, leaf: jnp.where(enters, ring.at[seat].set(leaf), ring)
        best = jax.tree.map(put, state.archs, arch), put(state.scores, score), state.num_best + (enters & ~is_full)
        ends = (state.num_told + 1) % generation_size == 0
        chosen = lambda new, old: jax.tree.map(lambda a, b: jnp.where(ends, a, b), new, old)
        parents = chosen(best[0], state.parents), chosen(best[2], state.num_parents)
        return GeneticState(*best, *parents, state.num_told + 1)

    settings = {"generation_size": generation_size, "num_parents": num_parents}
    return SearchStrategy("genetic", init, ask, tell, settings, generation_size)


def crossed(space: SearchSpace, key: jax.Array, parent: Callable[[jax.Array], Arch]) -> Arch:
    """A child of two parents that takes each gene from one of them, uniformly, and is of the space.

    Where it is not, two are drawn again; after `MAX_CROSSINGS` the space samples one.

    Args:
        space: of the parents.
        key: of the draws.
        parent: key to one of the parents there are.
    """

    def propose(i: jax.Array) -> Arch:
        one_key, other_key, gene_key = jax.random.split(jax.random.fold_in(key, i), 3)
        one, tree = jax.tree.flatten(parent(one_key))
        other = jax.tree.leaves(parent(other_key))
        keys = jax.random.split(gene_key, len(one))
        mixed = [
            jnp.where(jax.random.bernoulli(k, 0.5, a.shape), a, b) for k, a, b in zip(keys, one, other, strict=True)
        ]
        return jax.tree.unflatten(tree, mixed)

    return redraw(propose, space.is_valid, MAX_CROSSINGS, lambda: space.sample(key))


def _kind(num_told: jax.Array, generation_size: int) -> jax.Array:
    """How the next is made: 0 sampled, in the first; in the others half 1 mutated, half 2 crossed."""
    place = num_told % generation_size
    return jnp.where(num_told < generation_size, 0, jnp.where(2 * place < generation_size, 1, 2))


class ParetoState(NamedTuple):
    """The P parents, then the P children of this generation, as far as there are any.

    Attributes:
        archs: [2P, ...].
        scores: float32[2P, E].
        front: int32[P], the number of each parent's front among those that it was chosen from.
        distance: float32[P], its crowding distance there.
        num_told: int32[], architectures so far.
    """

    archs: Arch
    scores: jax.Array
    front: jax.Array
    distance: jax.Array
    num_told: jax.Array


def nsga2(space: SearchSpace, *, num_experts: int = 2, population_size: int = 64) -> SearchStrategy:
    """NSGA-II: generations of P, from which and whose parents the P best by front, then by crowding distance, remain.

    Each expert is an objective that is maximised. The first generation is drawn from the space; of the others half are
    mutations, half children of two parents, as `genetic` makes them. A parent is the winner of a binary tournament: of
    two drawn uniformly that of the lower front, in one front the less crowded (`zsnas_jax.search.pareto`).

    Args:
        space: what is searched.
        num_experts: E.
        population_size: P.

    Raises:
        ValueError: if P is below 1.

    Source: Deb et al., NSGA-II, 2002. Deviations: mutation or crossover, not both, as in `genetic`, with which it can
    so be compared; the later of two equal architectures counts as dominated, or copies of the extremes, which are
    infinitely far from nothing but each other, would fill the population.
    """
    if population_size < 1:
        raise ValueError(f"population_size is {population_size}: at least 1 is needed")
    both = jnp.arange(2 * population_size)

    def init(key: jax.Array) -> ParetoState:
        archs = _empty(jax.eval_shape(space.sample, key), 2 * population_size)
        none = jnp.full((2 * population_size, num_experts), -jnp.inf, jnp.float32)
        front, distance = jnp.zeros(population_size, jnp.int32), jnp.zeros(population_size, jnp.float32)
        return ParetoState(archs, none, front, distance, jnp.int32(0))

    def parent(key: jax.Array, state: ParetoState) -> Arch:
        one, other = jax.random.randint(key, (2,), 0, population_size)
        ranks = state.front, state.distance
        wins = pareto.is_better(*(of[other] for of in ranks), *(of[one] for of in ranks))
        place = jnp.where(wins, other, one)
        return jax.tree.map(lambda leaf: leaf[place], state.archs)

    def mutate(key: jax.Array, state: ParetoState) -> Arch:
        parent_key, mutation_key = jax.random.split(key)
        return space.mutate(mutation_key, parent(parent_key, state))

    def cross(key: jax.Array, state: ParetoState) -> Arch:
        return crossed(space, key, lambda key: parent(key, state))

    def ask(key: jax.Array, state: ParetoState) -> Arch:
        first = lambda key, state: space.sample(key)
        return jax.lax.switch(_kind(state.num_told, population_size), (first, mutate, cross), key, state)

    def select(state: ParetoState) -> ParetoState:
        """The parents of the next generation in the first P places."""
        equal = [(leaf[:, None] == leaf).reshape(*both.shape * 2, -1).all(-1) for leaf in jax.tree.leaves(state.archs)]
        is_copy = jnp.stack(equal).all(0) & (both[:, None] < both)
        is_there = (both >= population_size) | (state.num_told > population_size)
        dominance = pareto.dominates(state.scores[:, None], state.scores) | is_copy | ~is_there
        front = pareto.fronts(dominance & is_there[:, None])
        distance = pareto.crowding(state.scores, front)
        chosen = pareto.survivors(front, distance, population_size)
        put = lambda leaf: leaf.at[:population_size].set(leaf[chosen])
        return ParetoState(
            jax.tree.map(put, state.archs), put(state.scores), front[chosen], distance[chosen], state.num_told
        )

    # Under vmap a conditional would be both of its branches at each step: seeds take turns instead.
    @jax.custom_batching.sequential_vmap
    def end_generation(state: ParetoState) -> ParetoState:
        return jax.lax.cond(state.num_told % population_size == 0, select, lambda state: state, state)

    def tell(state: ParetoState, arch: Arch, scores: jax.Array) -> ParetoState:
        _check_experts(scores, num_experts)
        seat = population_size + state.num_told % population_size
        archs = jax.tree.map(lambda seats, leaf: seats.at[seat].set(leaf), state.archs, arch)
        told = state._replace(archs=archs, scores=state.scores.at[seat].set(scores), num_told=state.num_told + 1)
        return end_generation(told)

    return SearchStrategy("nsga2", init, ask, tell, {"population_size": population_size}, population_size)


class Policy(NamedTuple):
    """Independent distributions of the genes of int32[G], C the most choices of a gene.

    Attributes:
        num_logits: how many parameters there are: one for a gene of two choices (a Bernoulli), else one a choice.
        log_probs: float[num_logits] to float[G, C], -inf where a gene has fewer choices.
    """

    num_logits: int
    log_probs: Callable[[jax.Array], jax.Array]


def make_policy(num_choices: tuple[int, ...]) -> Policy:
    """The policy over genes of so many choices each."""
    sizes = [1 if choices == 2 else choices for choices in num_choices]
    ends = np.cumsum(sizes)
    zero, never = ends[-1], ends[-1] + 1  # places of two constants behind the parameters
    places = np.full((len(num_choices), max(num_choices)), never)
    for gene, (choices, size, end) in enumerate(zip(num_choices, sizes, ends, strict=True)):
        places[gene, :choices] = [zero, end - 1] if choices == 2 else np.arange(end - size, end)

    def log_probs(logits: jax.Array) -> jax.Array:
        constants = jnp.array([0.0, -jnp.inf], logits.dtype)
        return jax.nn.log_softmax(jnp.concatenate([logits, constants])[places])

    return Policy(int(ends[-1]), log_probs)


def log_likelihood(policy: Policy, logits: jax.Array, arch: jax.Array) -> jax.Array:
    """Log pi(a) = sum_g log p_g(a_g), float[], for int32[G]."""
    return jnp.take_along_axis(policy.log_probs(logits), arch[:, None], axis=1).sum()


class ReinforceState(NamedTuple):
    """logits float32[J], Adam's state, baseline float32[], reference float32[R, E], num_told int32[]."""

    logits: jax.Array
    optimizer: Any
    baseline: jax.Array
    reference: jax.Array
    num_told: jax.Array


def reinforce(
    space: SearchSpace,
    *,
    num_experts: int = 1,
    learning_rate: Any = 1e-3,
    momentum: Any = 0.9,
    num_reference: int = 100,
) -> SearchStrategy:
    """REINFORCE: a policy of independent genes climbs (r - b) * grad log pi(a) with Adam.

    r = sum_e z_e, in units of the first R architectures, which are drawn uniformly from the space, count among the
    search's and do not move the policy (`zsnas_jax.search.reference.z_scores`). b is the exponential moving average of
    r, divided by 1 - momentum^t after t rewards, r among them: with w = (1 - momentum) / (1 - momentum^t) the step
    b <- b + w (r - b), after which r - b is (1 - w) of what it was. The first reward moves nothing. Logits start from
    1e-3 N(0, 1).

    An architecture that is not of the space is drawn again; pi stays the unconditional one. After `MAX_REDRAWS` draws
    the space samples one.

    Args:
        space: what is searched; it says `num_choices`.
        num_experts: E.
        learning_rate: of Adam; may be traced.
        momentum: of the baseline; may be traced.
        num_reference: R.

    Raises:
        ValueError: if the space has no `num_choices`, or R is below 1.
    """
    if space.num_choices is None:
        raise ValueError(f"strategy reinforce needs the num_choices of every gene, which space {space.name} lacks")
    if num_reference < 1:
        raise ValueError(f"num_reference is {num_reference}: at least 1 is needed")
    policy, optimizer = make_policy(space.num_choices), optax.adam(learning_rate)

    def init(key: jax.Array) -> ReinforceState:
        logits = 1e-3 * jax.random.normal(key, (policy.num_logits,))
        reference = jnp.full((num_reference, num_experts), -jnp.inf, jnp.float32)
        return ReinforceState(logits, optimizer.init(logits), jnp.float32(0), reference, jnp.int32(0))

    def draw(key: jax.Array, state: ReinforceState) -> Arch:
        log_probs = policy.log_probs(state.logits)
        propose = lambda i: jax.random.categorical(jax.random.fold_in(key, i), log_probs).astype(jnp.int32)
        return redraw(propose, space.is_valid, MAX_REDRAWS, lambda: space.sample(key))

    def ask(key: jax.Array, state: ReinforceState) -> Arch:
        first = lambda key, state: space.sample(key)
        return jax.lax.cond(state.num_told < num_reference, first, draw, key, state)

    climb = functools.partial(_climb, policy, optimizer, momentum)

    def tell(state: ReinforceState, arch: Arch, scores: jax.Array) -> ReinforceState:
        _check_experts(scores, num_experts)
        note = lambda state, arch, scores: state._replace(reference=state.reference.at[state.num_told].set(scores))
        state = jax.lax.cond(state.num_told < num_reference, note, climb, state, arch, scores)
        return state._replace(num_told=state.num_told + 1)

    settings = {"learning_rate": learning_rate, "momentum": momentum, "num_reference": num_reference}
    return SearchStrategy("reinforce", init, ask, tell, settings, num_reference)


def _climb(
    policy: Policy,
    optimizer: optax.GradientTransformation,
    momentum: Any,
    state: ReinforceState,
    arch: jax.Array,
    scores: jax.Array,
) -> ReinforceState:
    """One step of Adam up (r - b) * grad log pi(a), after b has heard of r."""
    reward = z_scores(state.reference, scores).sum()
    num_rewards = state.num_told - len(state.reference) + 1
    # Exactly 1 at first: Adam would blow up what rounding leaves of an advantage of 0.
    weight = jnp.where(num_rewards == 1, 1.0, (1 - momentum) / (1 - momentum ** num_rewards.astype(jnp.float32)))
    advantage = (1 - weight) * (reward - state.baseline)
    gradient = jax.grad(lambda logits: -advantage * log_likelihood(policy, logits, arch))(state.logits)
    updates, adam = optimizer.update(gradient, state.optimizer, state.logits)
    return state._replace(
        logits=optax.apply_updates(state.logits, updates),
        optimizer=adam,
        baseline=state.baseline + weight * (reward - state.baseline),
    )


STRATEGIES: Mapping[str, Callable[..., SearchStrategy]] = MappingProxyType(
    {
        "random": random_search,
        "reinforce": reinforce,
        "evolution": evolution,
        "genetic": genetic,
        "nsga2": nsga2,
    }
)
"""The strategies by name: (space, num_experts, its hyper-parameters) to the value."""


def make_strategy(name: str, space: SearchSpace, *, num_experts: int = 1, **settings: Any) -> SearchStrategy:
    """A strategy by name, with its hyper-parameters as keywords.

    Raises:
        ValueError: if the name is unknown, or as its factory says.
    """
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}: allowed are {', '.join(STRATEGIES)}")
    return STRATEGIES[name](space, num_experts=num_experts, **settings)


def redraw(
    propose: Callable[[jax.Array], Arch],
    accept: Callable[[Arch], Any],
    max_draws: int,
    otherwise: Callable[[], Arch],
) -> Arch:
    """The first of propose(0), propose(1), ... that is accepted; after `max_draws` of them, `otherwise()`.

    Traces under jit and vmap.
    """

    def refused(state: tuple[jax.Array, Arch]) -> jax.Array:
        number, arch = state
        return (number < max_draws) & ~jnp.asarray(accept(arch), bool)

    again = lambda state: (state[0] + 1, propose(state[0]))
    _, arch = jax.lax.while_loop(refused, again, (jnp.int32(1), propose(jnp.int32(0))))
    return jax.lax.cond(jnp.asarray(accept(arch), bool), lambda: arch, otherwise)


def _empty(shapes: Arch, count: int) -> Arch:
    """Zeros for `count` architectures of given shapes."""
    return jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), shapes)


def _check_experts(scores: jax.Array, num_experts: int) -> None:
    if scores.shape != (num_experts,):
        raise ValueError(f"scores of shape {scores.shape}: the strategy was made for num_experts {num_experts}")

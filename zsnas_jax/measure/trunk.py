"""The trunk of a network: the feature maps through which every path runs, and the way back from each to the one before.

F_0, ..., F_L are what stands at the probes `Trunk` and `LayerOutput`, in order. Axes: N batch, C channels, P positions
along the axes that `nn.scan` and `nn.vmap` add.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import itertools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.base import Path
from zsnas_jax.measure.network import Network, Observation, forward, num_positions
from zsnas_jax.nn.probes import LayerOutput, Observers, Trunk

DrawSigns = Callable[[jax.Array, tuple[int, ...]], jax.Array]
"""(i int32[], shape of F_i) to r_i, +1 and -1 of that shape."""


class Feature(NamedTuple):
    """What stands at one probe of the trunk.

    Attributes:
        path: of the probe.
        times: float[P], 1 where it stands there, else 0.
        arriving: float[P, N, ..., C], (dF_{i+1} / dF_i)^T r_{i+1}, i the number of each position; of the last of all
            what the rest of the network sends back, which nobody needs.
        leaving: float[P, N, ..., C], r_i, zero in padding.
    """

    path: Path
    times: Any
    arriving: Any
    leaving: Any


def random_signs(key: jax.Array) -> DrawSigns:
    """Independent signs. A channel's do not depend on how many channels there are, so that padding changes none."""

    def draw(number: Any, shape: tuple[int, ...]) -> jax.Array:
        channels_first = (shape[-1], *shape[:-1])
        bits = jax.random.bits(jax.random.fold_in(key, number), channels_first, jnp.uint8) & 1
        return jnp.moveaxis(2.0 * bits - 1.0, 0, -1)

    return draw


def groups(observed: Sequence[Any]) -> Iterator[list[Any]]:
    """What was observed in order of execution, together what one scan holds: there positions come before paths.

    Args:
        observed: with a `path` and `times` float[P], in the order in which the modules ran.
    """
    for _, own in itertools.groupby(observed, key=lambda seen: (seen.path[0], len(seen.times))):
        yield list(own)


def numbers(observed: Sequence[Any]) -> list[jax.Array]:
    """The number i of what stands at each position, int32[P] for each of `observed`; absent ones are not counted."""
    start, found = jnp.zeros((), jnp.int32), []
    for group in groups(observed):
        present = jnp.stack([jnp.asarray(seen.times) > 0 for seen in group], axis=1).astype(jnp.int32)  # [P, paths]
        before = start + jnp.cumsum(present.ravel()).reshape(present.shape) - present
        found += list(before.T)
        start = start + present.sum()
    return found


def no_trunk(name: str) -> str:
    """The error of a network without a layer output."""
    return f"{name} has no layer output: mark it with LayerOutput, or choose it by `layers`"


def trunk_slots(network: Network, draw_signs: DrawSigns) -> tuple[list[Observation], dict[Path, Any], dict[Path, Any]]:
    """(the trunk's probes in order, by path zeros for what arrives, by path the signs that leave).

    Slots are named "arriving" and "leaving" behind the path of their probe.

    Raises:
        ValueError: if the network has no layer output.
    """

    def run(statistic: Callable[[jax.Array], jax.Array]) -> Mapping[str, list[Observation]]:
        observe: Observers = {probe: {"trunk": statistic} for probe in (Trunk, LayerOutput)}
        return forward(network, network.batch.image, observe=observe).observed

    shapes = jax.eval_shape(lambda: run(lambda x: x)).get("trunk", [])
    if not shapes:
        raise ValueError(no_trunk(network.name))
    # What only the genotype decides: nothing else of this pass is used, so that XLA computes nothing else.
    seen = run(lambda x: jnp.zeros((), x.dtype))
    arriving: dict[Path, Any] = {}
    leaving: dict[Path, Any] = {}
    kept = {own.path: own.value for own in seen.get("kept_of_trunk", [])}
    for own, shape, number in zip(seen["trunk"], shapes, numbers(seen["trunk"]), strict=True):
        value = shape.value
        draw = lambda number, value=value: draw_signs(number, value.shape[1:]).astype(value.dtype)
        signs = jax.vmap(draw)(number)
        if own.path in kept:
            signs *= kept[own.path].reshape(len(signs), *(1,) * (signs.ndim - 2), -1)
        lifted = (*own.lifted, *value.shape[1:])
        arriving[*own.path, "arriving"] = jnp.zeros(lifted, value.dtype)
        leaving[*own.path, "leaving"] = signs.reshape(lifted)
    return seen["trunk"], arriving, leaving


def features(
    observed: Sequence[Observation], arrived: Mapping[Path, Any], leaving: Mapping[Path, Any]
) -> list[Feature]:
    """What a way back through the cut trunk found."""
    in_a_row = lambda seen, value: value.reshape(num_positions(seen), *value.shape[len(seen.lifted) :])
    return [
        Feature(
            seen.path,
            seen.times,
            in_a_row(seen, arrived[*seen.path, "arriving"]),
            in_a_row(seen, leaving[*seen.path, "leaving"]),
        )
        for seen in observed
    ]


def over_neighbours(
    trunk: Sequence[Any], compare: Callable[[Any, Any], Any], before: Callable[[Any], Any], after: Callable[[Any], Any]
) -> list[tuple[jax.Array, jax.Array]]:
    """compare(before(F_{i-1}), after(F_i)) for i = 1, ..., L: (whether there is such a pair, value), any shape each.

    Args:
        trunk: what was observed, in order; what is absent at run time is passed over.
        compare: of two arrays to float[]; it is traced for pairs that turn out absent, too, whose value means nothing.
        before: of one of the trunk, [P, ...].
        after: likewise.
    """
    found: list[tuple[jax.Array, jax.Array]] = []
    last: Any = None
    is_first: Any = jnp.bool_(True)

    def step(last: Any, is_first: Any, own: Any) -> tuple[Any, Any, Any]:
        """(F of the last that is there, whether none was, the pair) after one that may be there."""
        is_here, value, following = own
        pair = None if last is None else (is_here & ~is_first, compare(last, value))
        if last is not None and jnp.shape(last) == jnp.shape(following):
            following = jnp.where(is_here, following, last)  # a change of shape needs what changes it
        return following, is_first & ~is_here, pair

    for group in groups(trunk):
        rows = [(jnp.asarray(own.times) > 0, jnp.asarray(after(own)), jnp.asarray(before(own))) for own in group]
        for row in rows:
            last, is_first, pair = step(last, is_first, jax.tree.map(lambda leaf: leaf[0], row))
            found += [] if pair is None else [pair]
        if len(rows[0][0]) == 1:
            continue

        def further(carry: Any, position: Any) -> tuple[Any, Any]:
            last, is_first = carry
            pairs = []
            for own in position:
                last, is_first, pair = step(last, is_first, own)
                pairs.append(pair)
            return (last, is_first), pairs

        # A loop, or what compares would be compiled for every position.
        rest = jax.tree.map(lambda leaf: leaf[1:], rows)
        (last, is_first), pairs = lax.scan(further, (last, is_first), rest)
        found += pairs
    return found

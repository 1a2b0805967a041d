"""Scores by chains of blocks: programs are those of single blocks, which networks share by shape.

Serves every proxy but those that run the network themselves, by what they need. Axes: P proxies.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from zsnas_jax.base import Arch, Batch, Proxy, SearchSpace
from zsnas_jax.measure.blocks import Chained
from zsnas_jax.measure.chain import Chain, measure_chain
from zsnas_jax.measure.costs import count_params
from zsnas_jax.measure.losses import Loss
from zsnas_jax.measure.measurements import asked_for, measurements_for
from zsnas_jax.measure.network import Network, enough_range
from zsnas_jax.measure.programs import Programs
from zsnas_jax.nn.initializers import Initializer
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.proxies.activation import code_agreement
from zsnas_jax.scoring.scorer import Scorer, last_line, the_candidate, where_connected

KEPT = 3000
"""Programs that are kept: those of blocks are small."""

ADDITIVE = (code_agreement,)
"""Statistics of what enters activations that are sums over neurons, so that tiles of channels give them."""


def check_chained(space: SearchSpace, proxies: Sequence[Proxy]) -> None:
    """Raises ValueError if a proxy runs the network itself."""
    for proxy in proxies:
        if "network" in proxy.needs:
            offered = {"dispatched": space.is_dispatched, "static": space.static is not None}
            others = " or ".join(name for name, is_offered in offered.items() if is_offered)
            raise ValueError(
                f"proxy {proxy.name} runs the network itself, which programs chained do not serve: space {space.name} "
                f"offers it {f'by programs {others}' if others else 'by no other programs'}"
            )


@jax.default_matmul_precision("highest")
def score_chained(programs: Programs, steps: Sequence[Any], network: Network, proxies: Sequence[Proxy]) -> np.ndarray:
    """As `zsnas_jax.scoring.score_network`, of a network that is a chain, on the host.

    Args:
        programs: what compiles its blocks.
        steps: the chain.
        network: with the parameters of all steps.
        proxies: of different identities, that do not run the network.

    Returns:
        float32[P], -inf where a score is undefined.
    """
    scores = np.empty(len(proxies), np.float32)
    for prepare in dict.fromkeys(proxy.prepare for proxy in proxies):
        group = {place: proxy for place, proxy in enumerate(proxies) if proxy.prepare == prepare}
        with enough_range(prepare(network) if prepare else network) as prepared:
            measured = measure_chain(programs, steps, prepared, *asked_for(list(group.values())), additive=ADDITIVE)
            for place, proxy in group.items():
                scores[place] = proxy.score(measurements_for(proxy, measured))
    return np.where(np.isfinite(scores), scores, np.float32(-np.inf))


def make_chained(
    key: jax.Array,
    space: SearchSpace,
    proxies: Sequence[Proxy],
    *,
    num_classes: int,
    initializer: Initializer,
    options: LayerOptions,
    loss: Loss,
    resample: bool,
    devices: Sequence[jax.Device] | None = None,
) -> Scorer:
    """As `zsnas_jax.scoring.make_scorer`, which says what the arguments are; a candidate a call, on one device.

    Raises:
        ValueError: if a proxy runs the network itself.
    """
    check_chained(space, proxies)
    programs, chain = Programs(KEPT), space.chain
    assert isinstance(chain, Chain)
    device = next(iter(devices or jax.local_devices()))

    def score(archs: Arch, repeats: Any, batch: Batch) -> np.ndarray:
        candidate = the_candidate(key, space, archs, repeats, batch, resample=resample)
        try:
            return score_one(*candidate)[None]
        except ValueError:
            raise  # what is wrong with the proxies or their input
        except Exception as error:
            raise RuntimeError(last_line(error)) from error

    def score_one(arch: Arch, own_batch: Batch, arch_key: jax.Array) -> np.ndarray:
        steps, weights = tuple(chain.steps(arch, num_classes)), chain.weights(arch, num_classes)
        with jax.default_device(device):
            params = chain.draw_params(arch_key, arch, num_classes, initializer)
            network = Network(
                module=Chained(steps),
                variables={"params": params},
                batch=own_batch,
                args=(),
                key=jax.random.fold_in(arch_key, 1),
                options=options,
                layer_of=space.layer_of,
                is_active=lambda path: True,
                num_params=space.num_params(arch, num_classes) if space.num_params else count_params(params),
                num_flops=space.num_flops(arch, num_classes, own_batch.image.shape[1]) if space.num_flops else None,
                weights=weights,
                loss=loss,
                is_homogeneous=space.is_homogeneous,
                initializer=initializer,
            )
            return where_connected(space, arch, proxies, score_chained(programs, steps, network, proxies))

    return Scorer(score, 1, lambda: programs.num_compiled, "chained")

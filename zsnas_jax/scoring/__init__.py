"""Scoring untrained networks: one network, one architecture of a space, or many by compiled programs."""

from collections.abc import Sequence
from typing import Any

import jax

from zsnas_jax.base import Proxy, SearchSpace, check_identities
from zsnas_jax.measure.losses import Loss
from zsnas_jax.nn.initializers import Initializer, kaiming_uniform
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.scoring.arch import draw_params, score_arch
from zsnas_jax.scoring.chained import make_chained
from zsnas_jax.scoring.dispatched import STEPS_PER_CALL, make_dispatched
from zsnas_jax.scoring.network import degenerate_to_minus_inf, score_module, score_network
from zsnas_jax.scoring.scorer import Scorer
from zsnas_jax.scoring.static import make_static
from zsnas_jax.tasks import loss_of

PROGRAMS = ("auto", "dispatched", "chained", "static")
"""How architectures share compiled programs: as the space serves best; one program with the genotype as data; the
network as a chain of blocks, whose programs networks share by shape; a program for each architecture."""

__all__ = [
    "PROGRAMS",
    "STEPS_PER_CALL",
    "Scorer",
    "choose_programs",
    "degenerate_to_minus_inf",
    "draw_params",
    "make_scorer",
    "score_arch",
    "score_module",
    "score_network",
]


def choose_programs(space: SearchSpace, programs: str = "auto", platform: str = "cpu") -> str:
    """The kind of programs that score a space: what is asked for, or what serves it best.

    Of a space that offers both, that is chained on a CPU, where small programs compile as they are needed and run as
    fast as one program, and dispatched on any other platform, which waits between small programs. A search that is to
    be one scan asks for dispatched.

    Args:
        space: the search space.
        programs: one of `PROGRAMS`.
        platform: of the devices, as JAX names it.

    Raises:
        ValueError: if the kind is unknown, or the space does not offer it.
    """
    if programs not in PROGRAMS:
        raise ValueError(f"unknown programs {programs!r}: allowed are {', '.join(PROGRAMS)}")
    offered = {
        "chained": space.chain is not None,
        "dispatched": space.is_dispatched,
        "static": space.static is not None,
    }
    served = [name for name, is_offered in offered.items() if is_offered]
    if not served:
        raise ValueError(f"space {space.name} says neither is_dispatched nor chain nor static: nothing scores it")
    if programs != "auto" and programs not in served:
        raise ValueError(f"programs {programs!r}: space {space.name} offers {', '.join(served)}")
    if programs == "auto" and platform != "cpu" and space.is_dispatched:
        return "dispatched"
    return served[0] if programs == "auto" else programs


def make_scorer(
    key: jax.Array,
    space: SearchSpace,
    proxies: Sequence[Proxy],
    *,
    num_classes: int,
    initializer: Initializer = kaiming_uniform,
    options: LayerOptions | None = None,
    loss: Loss | None = None,
    programs: str = "auto",
    candidates_per_step: int = 1,
    resample: bool = False,
    devices: Sequence[jax.Device] | None = None,
) -> Scorer:
    """Builds the programs that score architectures of a space.

    An architecture's weights come from `key`, its genes and the number of the repeat alone: its score depends neither
    on chunking, nor on the order, nor on the number of devices, and on the kind of programs to rounding only.

    Args:
        key: root of all weights.
        space: the search space.
        proxies: what to compute.
        num_classes: width of the logits.
        initializer: distribution of every kernel.
        options: norm, mask and activation of the networks under score.
        loss: of logits and labels; None: of the space's task.
        programs: how architectures share programs, one of `PROGRAMS`. "dispatched" compiles one for each variant of the
            space; "chained" and "static" take a candidate a call, on the first device.
        candidates_per_step: how many candidates a device works on at once (vmap). 1 on a CPU: vmap turns the dispatch
            into running every operation. More fill a GPU. Scores agree to a relative 1e-3.
        resample: whether every candidate brings its own batch.
        devices: what to run on; default all local devices.

    Returns:
        The programs, each compiled at the first call that needs it.

    Raises:
        ValueError: if candidates_per_step is below 1, two proxies are of one identity, or the space does not offer the
            programs, or a proxy or the options do not go with them.
    """
    check_identities(proxies)
    if candidates_per_step < 1:
        raise ValueError(f"candidates_per_step is {candidates_per_step}: at least 1 is needed")
    own: dict[str, Any] = {"num_classes": num_classes, "initializer": initializer}
    own |= {
        "options": options or LayerOptions(),
        "loss": loss or loss_of(space),
        "resample": resample,
        "devices": devices,
    }
    kind = choose_programs(space, programs, next(iter(devices or jax.local_devices())).platform)
    if kind == "dispatched":
        return make_dispatched(key, space, proxies, candidates_per_step=candidates_per_step, **own)
    return {"chained": make_chained, "static": make_static}[kind](key, space, proxies, **own)

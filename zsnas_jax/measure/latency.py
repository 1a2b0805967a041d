"""How long a network takes on the device at hand: compiled for one architecture, in evaluation mode, and timed.

N pictures, H W C. A time is no property of an architecture alone: what it was measured on and how is in its settings.
"""

from collections.abc import Callable
import os
import statistics
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from zsnas_jax.base import Arch, SearchSpace
from zsnas_jax.nn.options import LayerOptions, has_layer_options

CHANNELS = 3
_WEIGHT = 0.01
"""Of all parameters and statistics: how long a network takes does not depend on their values, if none is subnormal."""


class Latency(NamedTuple):
    """A kind of measurement, known by its name and settings like a proxy.

    Attributes:
        batch_size: N.
        repeats: runs, of which the median counts.
        num_classes: width of the logits.
        image_size: H and W.
        device: kind of the device, a CPU's with its cores.
    """

    batch_size: int
    repeats: int
    num_classes: int
    image_size: int
    device: str

    @property
    def name(self) -> str:
        """By which it is known; in seconds."""
        return "latency_seconds"

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that a time depends on, JSON values."""
        return self._asdict()

    @property
    def reference(self) -> str:
        """What it is."""
        return "median seconds of a forward pass in evaluation mode"


def device_name() -> str:
    """The kind of the first device; a CPU's kind says nothing of its cores, so these are added."""
    kind = jax.devices()[0].device_kind
    return f"{kind}, {os.cpu_count()} cores" if jax.default_backend() == "cpu" else kind


def check(space: SearchSpace) -> None:
    """Raises ValueError if a space builds no network for one architecture alone."""
    if space.static is None:
        raise ValueError(f"latency: space {space.name} has no static: its network holds the operations of all")


def measure(
    space: SearchSpace,
    arch: Arch,
    kind: Latency,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median seconds of a forward pass of the network built for an architecture, after one run to warm up.

    Batch norm normalises by running statistics where the network has `LayerOptions`; another network is run as it is.

    Args:
        space: of the architecture.
        arch: which is timed.
        kind: how.
        clock: seconds.

    Returns:
        A float that float32 holds exactly, so that it is the same in a state of a search and in a store.

    Raises:
        ValueError: if the space has no `static`.
        RuntimeError: if the device cannot hold the network, or fails to run it.
    """
    check(space)
    refused = f"latency of {space.encode(arch)[:80]}: {kind.device} with latency_batch_size {kind.batch_size}"
    try:
        run, variables, image = _compiled(space, arch, kind)
        needed, there = _bytes_needed(run), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > there and jax.default_backend() == "cpu":
            raise MemoryError(f"{needed / 2**30:,.1f} GiB are needed, there are {there / 2**30:,.1f}")
        arguments = jax.device_put((variables(), np.full(image.shape, 0.5, np.float32)), jax.devices()[0])
        jax.block_until_ready(run(*arguments))
        seconds = []
        for _ in range(kind.repeats):
            began = clock()
            jax.block_until_ready(run(*arguments))
            seconds.append(clock() - began)
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RuntimeError(f"{refused} cannot hold or run the network: {reason}") from error
    return float(np.float32(statistics.median(seconds)))


def _compiled(space: SearchSpace, arch: Arch, kind: Latency) -> tuple[Any, Callable[[], Any], Any]:
    """(the program of variables and pictures, () to variables, the shape of the pictures)."""
    assert space.static is not None
    variant = {"variant": int(space.variant_of(np.asarray(arch)))} if space.num_variants > 1 else {}
    module, built_for = space.make_network(num_classes=kind.num_classes, **variant), space.static(arch)
    if has_layer_options(module):
        module = module.clone(options=LayerOptions(statistics="running"))
    image = jax.ShapeDtypeStruct((kind.batch_size, kind.image_size, kind.image_size, CHANNELS), np.float32)
    shapes = jax.eval_shape(lambda image: module.init(jax.random.key(0), image, built_for), image)
    shapes = {name: collection for name, collection in shapes.items() if name in ("params", "batch_stats")}
    variables = lambda: jax.tree.map(lambda leaf: np.full(leaf.shape, _WEIGHT, leaf.dtype), shapes)
    apply = jax.jit(lambda variables, image: module.apply(variables, image, built_for))
    return apply.lower(shapes, image).compile(), variables, image


def _bytes_needed(program: Any) -> int:
    """What a program holds while it runs; 0 where XLA does not say."""
    stats = program.memory_analysis()
    parts = ("temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes")
    return sum(int(getattr(stats, part, 0)) for part in parts)

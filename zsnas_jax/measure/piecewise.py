"""Scoring networks whose shapes differ too much for a program to serve several: the host runs them piece by piece.

A space says by `Pieces` how a network of it is read in small programs that many networks share. What comes out are
sums over pieces, from which the proxies that are such sums get what a whole measured gives them; others are refused.

Axes: N batch, L layers, P proxies.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Arch, Batch, Proxy, ResponseMatrices, SearchSpace, fingerprint
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import Network, Observation
from zsnas_jax.measure.pieces import Programs
from zsnas_jax.nn.initializers import Initializer
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.probes import Path

Kernels = Mapping[Path, np.ndarray]
"""Path of a kernel, as in the network's parameters, to the kernel."""

NORMS = ("bn", "identity")
"""The norms that are a channel's own."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is asked of a network: the fields of `Found`.

    Attributes:
        activations: |corr| of activations.
        gradients: |corr| of gradients.
        agreement: of codes.
        jacobian: the gradient of the pictures.
        saliency: of the kernels, by the loss.
        flow: of the kernels, by the sum of the logits, layers divided by their largest values.
    """

    activations: bool = False
    gradients: bool = False
    agreement: bool = False
    jacobian: bool = False
    saliency: bool = False
    flow: bool = False


class Found(NamedTuple):
    """What a network showed; None where it was not asked for.

    Attributes:
        activations: float32[L, N, N], the sum of each layer's |corr| of activations.
        gradients: likewise of the gradients of the loss.
        agreement: float32[N, N], in how many neurons two pictures agree.
        jacobian: float32[N, D], gradient of the sum of all logits with respect to each picture.
        saliency: path of a kernel W with gradient g to (sum |W g|, sum g^2).
        log_scale: logarithm of what layers were divided by.
    """

    activations: Any = None
    gradients: Any = None
    agreement: Any = None
    jacobian: Any = None
    saliency: Mapping[Path, tuple[float, float]] = {}
    log_scale: float = 0.0


class Pieces(NamedTuple):
    """How a space's networks are read.

    Attributes:
        kernel_shapes: (arch, num_classes) to the shapes of a network's kernels by path. It has no other parameters that
            are not ones or zeros before training.
        read: (programs, arch, kernels, options, batch, wanted) to `Found`; what it compiles is kept by the programs.
    """

    kernel_shapes: Callable[[Arch, int], Mapping[Path, tuple[int, ...]]]
    read: Callable[[Programs, Arch, Kernels, LayerOptions, Batch, Wanted], Found]


def draw_kernels(key: jax.Array, shapes: Mapping[Path, tuple[int, ...]], initializer: Initializer) -> dict[Path, Any]:
    """Kernels as slices of one flat draw, whose length is rounded up so that few lengths are compiled."""
    sizes = {path: int(np.prod(shape)) for path, shape in shapes.items()}
    total = sum(sizes.values())
    rounded = next(n for i in range(64) for n in (2**i, 3 * 2**i // 2) if n >= total)
    noise = np.asarray(_noise(initializer, key, rounded))
    ends = np.cumsum(list(sizes.values()))
    scale = lambda shape: np.float32(initializer.scale_of(shape))
    slices = zip(shapes.items(), ends, strict=True)
    return {path: scale(shape) * noise[end - sizes[path] : end].reshape(shape) for (path, shape), end in slices}


@functools.partial(jax.jit, static_argnums=(0, 2))
def _noise(initializer: Initializer, key: jax.Array, size: int) -> jax.Array:
    return initializer.noise(key, (size,))


_BY_KERNEL: Mapping[str, Callable[[Found, Kernels], float]] = {
    "pnorm": lambda _, kernels: sum(float(np.linalg.norm(kernel)) for kernel in kernels.values()),
    "snip": lambda found, _: sum(product for product, _ in found.saliency.values()),
    "pgnorm": lambda found, _: sum(square**0.5 for _, square in found.saliency.values()),
}
"""Proxies that are sums over kernels, by formulas that `zsnas_jax.proxies.saliency` explains."""

_SIZES = ("params", "flops", "log_params")
_NEEDS = {"activations", "gradients", "jacobian"}


def check(space: SearchSpace, proxies: Sequence[Proxy], options: LayerOptions) -> None:
    """Raises ValueError if a proxy or the options is not made of what pieces show."""
    for proxy in proxies:
        by_reading = proxy.needs | set(proxy.observe)
        from_sums = bool(by_reading - {"labels"}) and by_reading <= _NEEDS | {"labels", "codes"}
        if not (from_sums or proxy.name in (*_BY_KERNEL, *_SIZES, "synflow")):
            raise ValueError(
                f"proxy {proxy.name}: networks of {space.name} are scored piece by piece, which serves "
                f"{', '.join((*_BY_KERNEL, 'synflow', *_SIZES))} and what asks for {', '.join(sorted(_NEEDS))} or codes"
            )
        own = proxy.options or options
        if own.norm not in NORMS or own.mask_rate:
            raise ValueError(
                f"proxy {proxy.name} under norm {own.norm} and mask rate {own.mask_rate}: networks of {space.name} are "
                f"scored piece by piece, which allows the norms {', '.join(NORMS)} and no mask"
            )


def make_score(
    key: jax.Array,
    space: SearchSpace,
    proxies: Sequence[Proxy],
    *,
    num_classes: int,
    initializer: Initializer,
    options: LayerOptions,
    resample: bool,
) -> tuple[Callable[[Arch, Any, Batch], np.ndarray], Programs]:
    """What `zsnas_jax.scoring.make_scorer` gives for such a space, one candidate a call; and the programs it compiles.

    Raises:
        ValueError: as `check`.
    """
    check(space, proxies, options)
    programs = Programs()
    own: dict[str, Any] = {"num_classes": num_classes, "initializer": initializer, "options": options}
    first = lambda tree: jax.tree.map(lambda array: array[0], tree)

    def score_one(archs: Arch, repeats: Any, batch: Batch) -> np.ndarray:
        if len(repeats) != 1:
            raise ValueError(f"{len(repeats)} candidates in one call: allowed is 1")
        arch = first(archs)
        arch_key = jax.random.fold_in(jax.random.fold_in(key, fingerprint(arch)), repeats[0])
        batch = first(batch) if resample else batch
        return score(arch_key, arch, batch, programs=programs, space=space, proxies=proxies, **own)[None]

    return score_one, programs


def score(
    key: jax.Array,
    arch: Arch,
    batch: Batch,
    *,
    programs: Programs,
    space: SearchSpace,
    proxies: Sequence[Proxy],
    num_classes: int,
    initializer: Initializer,
    options: LayerOptions,
) -> np.ndarray:
    """Scores of one architecture at one initialisation, as `zsnas_jax.scoring.score_arch`, on the host.

    Kernels are drawn otherwise than by `zsnas_jax.scoring.draw_params`: in slices of a longer draw.

    Returns:
        float32[P], -inf where a score is undefined.

    Raises:
        ValueError: if labels are needed and missing.
    """
    pieces: Pieces = space.pieces
    labelled = [proxy.name for proxy in proxies if proxy.needs & {"labels", "gradients", "kernel_gradients"}]
    if labelled and batch.label is None:
        raise ValueError(f"{', '.join(labelled)}: labels are needed, the batch has none")
    kernels = draw_kernels(key, pieces.kernel_shapes(arch, num_classes), initializer)
    scores: dict[str, Any] = {}
    for own in dict.fromkeys(proxy.options or options for proxy in proxies):
        group = [proxy for proxy in proxies if (proxy.options or options) == own]
        wanted = _wanted(group)
        found = pieces.read(programs, arch, kernels, own, batch, wanted) if wanted != Wanted() else Found()
        scores |= {proxy.name: _BY_KERNEL[proxy.name](found, kernels) for proxy in group if proxy.name in _BY_KERNEL}
        if "synflow" in (proxy.name for proxy in group):
            scores["synflow"] = _synflow(programs, pieces, arch, kernels, own, batch)
        rest = [proxy for proxy in group if proxy.name not in scores]
        sizes = space.num_params(arch, num_classes), space.num_flops(arch, num_classes, batch.image.shape[1])  # type: ignore[misc]
        arrays = found.activations, found.gradients, found.agreement, found.jacobian, batch.label
        values = _from_sums(tuple(proxy.score for proxy in rest), arrays, tuple(map(float, sizes)))
        scores |= dict(zip((proxy.name for proxy in rest), values, strict=True))
    values = np.array([scores[proxy.name] for proxy in proxies], np.float32)
    return np.where(np.isfinite(values), values, np.float32(-np.inf))


def _wanted(proxies: Sequence[Proxy]) -> Wanted:
    needs: set[str] = set().union(*(proxy.needs for proxy in proxies))
    return Wanted(
        activations="activations" in needs,
        gradients="gradients" in needs,
        agreement=any("codes" in proxy.observe for proxy in proxies),
        jacobian="jacobian" in needs,
        saliency="kernel_gradients" in needs,
    )


def _synflow(
    programs: Programs, pieces: Pieces, arch: Arch, kernels: Kernels, options: LayerOptions, batch: Batch
) -> float:
    """As `zsnas_jax.proxies.synflow`."""
    own = {path: np.abs(kernel) for path, kernel in kernels.items()}
    ones = Batch(jnp.ones_like(batch.image[:1]), None)
    found = pieces.read(programs, arch, own, options.unmasked("identity"), ones, Wanted(flow=True))
    return float(np.log(sum(flow for flow, _ in found.saliency.values()))) + found.log_scale


@functools.partial(jax.jit, static_argnums=0)
def _from_sums(scores: tuple[Callable[[Measurements], jax.Array], ...], arrays: Any, sizes: Any) -> list[jax.Array]:
    """The scores of proxies that are made of sums and costs."""
    activations, gradients, agreement, jacobian, label = arrays
    codes = [] if agreement is None else [Observation((), jnp.ones(1), agreement[None], False)]
    network = Network(
        module=None,  # type: ignore[arg-type]
        variables={"params": {}},
        batch=Batch(None, label),  # type: ignore[arg-type]
        args=(),
        key=None,  # type: ignore[arg-type]
        options=LayerOptions(),
        layer_of=None,
        is_active=lambda path: True,
        num_params=sizes[0],
        num_flops=sizes[1],
    )
    measured = Measurements(network, ResponseMatrices(activations, gradients), {"codes": codes}, None, None, jacobian)
    return [jnp.float32(score(measured)) for score in scores]

"""The weight layers of a network: its kernels, whether one to a layer, stacked by a scan, or chosen at run time.

Weights are kernels of convolutions and dense layers, attention's among them: no biases, no norms, no embeddings. Axes:
P positions along an `nn.scan` (1 for a single kernel), I weights of one filter, O filters.
"""

from collections.abc import Callable, Iterator
import dataclasses
from typing import Any, NamedTuple

from flax.errors import FlaxError
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Batch
from zsnas_jax.measure.network import Network, forward, need_real_pictures
from zsnas_jax.nn.initializers import draw_kernels, kaiming_normal
from zsnas_jax.nn.roles import Role
from zsnas_jax.nn.weights import kernels_of


class WeightLayer(NamedTuple):
    """One kernel leaf: whether the architecture has it, bool or bool[P], and the trees' arrays, float[P, I, O] each."""

    active: Any
    arrays: tuple[jax.Array, ...]


def weight_layers(network: Network, asker: str, *trees: Any) -> Iterator[WeightLayer]:
    """The kernels of trees like `network.params`, leaf by leaf; the name of the proxy that asks is for errors."""
    flats = [flatten_dict(tree) for tree in trees]
    for path, weight in kernels_of(network.weights, asker):
        active = network.has(path, weight, flats[0][path])
        yield WeightLayer(active, tuple(weight.as_matrices(flat[path]) for flat in flats))


def sum_over_layers(network: Network, asker: str, per_layer: Callable[..., jax.Array], *trees: Any) -> jax.Array:
    """Sum over the weight layers that the architecture has of a function of float[P, I, O] arrays to float[P]."""
    layers = weight_layers(network, asker, *trees)
    return sum(jnp.where(active, per_layer(*arrays), 0.0).sum() for active, arrays in layers)  # type: ignore[return-value]


def gradients_by_part(network: Network, asker: str, num_parts: int) -> list[Any]:
    """Gradients of the loss of each part of the batch, normalised by itself: trees like `network.params`.

    Raises:
        ValueError: if the parts are not all equal, of at least two pictures.
    """
    image, label = network.batch.image, network.batch.label
    if len(image) % num_parts or len(image) < 2 * num_parts:
        raise ValueError(f"{asker} cuts a batch of {len(image)} into {num_parts}: at least 2 each, all equal")

    def loss(params: object, image: jax.Array, label: object) -> jax.Array:
        return network.loss(forward(network, image, params=params).logits, label)

    cut = lambda tree: jax.tree.map(lambda x: x.reshape(num_parts, -1, *x.shape[1:]), tree)
    gradients = lax.map(lambda part: jax.grad(loss)(network.params, *part), (cut(image), cut(label)))
    return [jax.tree.map(lambda g, i=i: g[i], gradients) for i in range(num_parts)]


def redrawn(network: Network, asker: str) -> Network:
    """The network with kernels of N(0, 2 / fan_in), biases 0, scales 1 and shifts 0; tables stay.

    Where it is known what the kernels were drawn from, their own noise becomes normal, quantile by quantile: so
    networks that draw alike are redrawn alike, whether they are built alone or chosen at run time. Else they are drawn
    from the network's key.

    Raises:
        ValueError: if a parameter is of no known layer.
    """
    weights, drawn_from, flat = network.weights, network.initializer, flatten_dict(network.params)
    kernels = dict(kernels_of(weights, asker))
    if drawn_from is None or drawn_from.to_normal is None:
        own = draw_kernels(jax.random.fold_in(network.key, 5), network.params, weights, kaiming_normal)
        fresh: dict[Any, Any] = flatten_dict(own)
    else:
        fresh = {path: _as_normal(network, path, weight, flat[path]) for path, weight in kernels.items()}
    constants = {Role.BIAS: 0.0, Role.SHIFT: 0.0, Role.SCALE: 1.0}

    def leaf(path: Any, held: Any) -> Any:
        if path in kernels:
            return fresh[path]
        role: Any = weights[path].role
        return _zero(held) + held.dtype.type(constants[role]) if role in constants else held

    return network.with_params(unflatten_dict({path: leaf(path, held) for path, held in flat.items()}))


def _as_normal(network: Network, path: Any, weight: Any, kernel: Any) -> Any:
    """A kernel with the deviation and the distribution of `kaiming_normal`."""
    drawn_from, active = network.initializer, network.is_active(path)
    assert drawn_from is not None and drawn_from.to_normal is not None
    xp: Any = np if isinstance(kernel, np.ndarray) else jnp
    before, after = (init.scales(weight, kernel.shape, active) for init in (drawn_from, kaiming_normal))
    if not jnp.ndim(active):
        return (after * drawn_from.to_normal(kernel / before)).astype(kernel.dtype)
    noise = xp.where(active, kernel / xp.where(active, before, 1.0), 0.0)
    return xp.where(active, after * drawn_from.to_normal(noise), 0.0).astype(kernel.dtype)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Prepares a network for proxies that measure weights and pictures of their own.

    Attributes:
        weights: "normal": `redrawn`; "own": the network's.
        pictures: "noise": standard normal, of the batch's shape; "own": the batch's.
        norm: what stands in the place of batch norm, a name in `zsnas_jax.nn.options.NORMS`; None: what the run says.
        image_size: of noise, pixels along both sides, where it is not the batch's.
        num_pictures: of noise, where it is not the batch's.
        refuses_attention: the name of the proxy that does not serve networks with attention; empty: that serves them.
    """

    weights: str = "normal"
    pictures: str = "noise"
    norm: str | None = None
    image_size: int | None = None
    num_pictures: int | None = None
    refuses_attention: str = ""

    def __call__(self, network: Network) -> Network:
        """The network that is measured.

        Raises:
            ValueError: if noise is asked for in the place of pictures that are no floats, a module takes no pictures of
                its size, or has attention that is not served.
        """
        if self.refuses_attention:
            refuse_transformers(network, self.refuses_attention, "tokens have more channels than places")
        asker = "a proxy with weights='normal'"
        network = redrawn(network, asker) if self.weights == "normal" else network
        if self.norm:
            network = network._replace(options=network.options.unmasked(self.norm))
        if self.pictures == "own":
            return network
        need_real_pictures(network, "a proxy with pictures='noise'")
        image, label = network.batch.image, network.batch.label
        side = image.shape[1:-1] if self.image_size is None else (self.image_size,) * (image.ndim - 2)
        shape = (self.num_pictures or len(image), *side, image.shape[-1])
        noise = jax.random.normal(jax.random.fold_in(network.key, 6), shape, image.dtype)
        network = network._replace(batch=Batch(noise, label if self.num_pictures is None else None))
        if self.image_size and network.initializer is None:  # a module of which nobody says what it takes
            _check_size(network, self.image_size)
        return network


def _check_size(network: Network, image_size: int) -> None:
    try:
        jax.eval_shape(lambda: forward(network, network.batch.image).logits)
    except (FlaxError, TypeError) as error:
        raise ValueError(
            f"a proxy with pictures of {image_size} pixels: {network.name} does not take them ({type(error).__name__})"
        ) from error


def check_drawn(name: str, weights: str, pictures: str) -> None:
    """Raises ValueError, naming the proxy, for what `Drawn` does not know."""
    for setting, value, allowed in (("weights", weights, ("normal", "own")), ("pictures", pictures, ("noise", "own"))):
        if value not in allowed:
            raise ValueError(f"{name} with {setting}={value!r}: allowed are {' and '.join(map(repr, allowed))}")


def has_attention(network: Network) -> bool:
    """Whether a module says that a kernel is attention's."""
    return any(weight.kernel and weight.kernel.part == "attention" for weight in network.weights.values())


def refuse_transformers(network: Network, name: str, why: str) -> None:
    """Raises ValueError if a network has attention."""
    if has_attention(network):
        raise ValueError(f"proxy {name} does not serve transformers, and {network.name} has attention: {why}")


def _zero(x: Any) -> Any:
    """Zeros of an array's shape; of numpy's in numpy, as chained networks hold theirs, so that nothing is compiled."""
    return (np if isinstance(x, np.ndarray) else jnp).zeros_like(x)


def map_parameters(
    network: Network,
    asker: str,
    *,
    kernel: Callable[[jax.Array], jax.Array] = lambda w: w,
    other: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> Network:
    """The network with its kernels and other parameters changed, and the biases of its weight layers zero.

    Raises:
        ValueError: if a parameter is of no known layer.
    """
    kernels = {path for path, _ in kernels_of(network.weights, asker)}
    change = lambda path: kernel if path in kernels else _zero if network.weights[path].role is Role.BIAS else other
    return network.with_params(
        unflatten_dict({path: change(path)(leaf) for path, leaf in flatten_dict(network.params).items()})
    )

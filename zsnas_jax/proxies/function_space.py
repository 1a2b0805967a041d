"""What a network does to noise and to bundles of pictures: Phi, Zen, BT, BndlEnt.

F(x) is the feature map before global pooling, marked with `Features`. Phi, Zen and BT draw standard normal noise of the
batch's shape from the network's key. Axes: N batch, D features, K classes.
"""

from typing import Any

from flax.traverse_util import flatten_dict
import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.base import Batch, Proxy
from zsnas_jax.measure.measurements import PLACES, Measurements, measure, no_features
from zsnas_jax.measure.network import Network, Pass, enough_range, forward, need_real_pictures
from zsnas_jax.measure.trunk import no_trunk
from zsnas_jax.nn.probes import WHOLE_FEATURES, NormInput, Observers
from zsnas_jax.proxies.weights import map_parameters

_NOISE = 0.01

Noise = tuple[jax.Array, jax.Array]
"""Two draws e, e' of the batch's shape."""


def _draw_noise(network: Network, asker: str) -> Noise:
    need_real_pictures(network, f"proxy {asker}")
    first, second = jax.random.split(jax.random.fold_in(network.key, 1))
    shape = network.batch.image.shape
    return jax.random.normal(first, shape), jax.random.normal(second, shape)


def _features(network: Network, seen: Pass) -> jax.Array:
    """F(x) as float[N, D]."""
    if seen.features is None:
        raise ValueError(no_features(network))
    return seen.features.reshape(len(seen.features), -1)


def without_norms(network: Network, noise: Noise | None = None) -> Network:
    """The network that Phi measures: no norm, biases zero; pictures e + 0.01 e', then e."""
    base, direction = noise or _draw_noise(network, "phi")
    both = jnp.concatenate([base + _NOISE * direction, base])
    batch = Batch(both, None)
    options = network.options.unmasked("identity")
    return map_parameters(network, "phi")._replace(batch=batch, options=options, wide_range=True)


def _phi(measured: Measurements) -> jax.Array:
    perturbed, clean = jnp.split(measured.features, 2)
    return jax.nn.softplus(jnp.log(jnp.abs(perturbed - clean).sum()) + measured.log_scale)


def phi_of_noise(network: Network, noise: Noise) -> jax.Array:
    """Phi with given noise, see `phi`."""
    with enough_range(without_norms(network, noise)) as prepared:
        return jnp.float32(_phi(measure(prepared, frozenset({"features"}))))


def phi() -> Proxy:
    """Phi = log(1 + ||F(e + 0.01 e') - F(e)||_1), summed over the batch; no norm, biases zero; e, e' normal noise.

    No data, no labels. 0 for a network without a path. With N(0, 1) weights the sum leaves float32: layers are rescaled
    or float64 is taken, as in SynFlow.

    Source: Lin et al., "Zen-NAS", ICCV 2021, Section 3. Deviation: log(1 + .), which keeps the order and the zero.
    """
    reference = "Lin et al., Zen-NAS, ICCV 2021"
    return Proxy("phi", _phi, frozenset({"features"}), {"noise": _NOISE}, reference, prepare=without_norms)


def phi_bn() -> Proxy:
    """Phi with batch norm kept: log(1 + ||F(e + 0.01 e') - F(e)||_1), statistics of each pass's own batch.

    No data, no labels; 0 for a network without a path. The rank correlation that the WRCor paper prints for
    its Phi on NAS-Bench-201 agrees with this reading, not with `phi` (benchmarks/RESULTS.md).

    Source: Lin et al., "Zen-NAS", ICCV 2021; Jing et al., WRCor, Table 2.
    """

    def score(measured: Measurements) -> jax.Array:
        network = measured.network
        base, direction = _draw_noise(network, "phi_bn")
        features = lambda image: _features(network, forward(network, image, observe=WHOLE_FEATURES))
        perturbed, clean = lax.map(features, jnp.stack([base + _NOISE * direction, base]))
        return jnp.log1p(jnp.abs(perturbed - clean).sum())

    return Proxy("phi_bn", score, frozenset({"network"}), {"noise": _NOISE}, "Jing et al., WRCor, Table 2")


def zen_of_noise(network: Network, noise: Noise) -> jax.Array:
    """Zen with given noise, see `zen`."""
    base, direction = noise
    is_batch_norm = network.options.norm == "bn"
    observe: Observers = {**WHOLE_FEATURES, **({NormInput: {"variance": lambda v: v}} if is_batch_norm else {})}

    def look(image: jax.Array) -> tuple[jax.Array, Pass]:
        seen = forward(network, image, observe=observe)
        return _features(network, seen), seen

    features, seen = lax.map(look, jnp.stack([base + _NOISE * direction, base]))
    difference = jnp.log(jnp.abs(features[0] - features[1]).sum() + 1e-6)
    scaling = jnp.zeros(())
    for variance in seen.observed.get("variance", []):  # times [2, P], value [2, P, C]
        running = 0.9 * (0.9 + 0.1 * variance.value[0]) + 0.1 * variance.value[1]
        scaling += (variance.times[0] * jnp.log(jnp.sqrt(running.mean(-1)) + 1e-6)).sum()
    return difference + scaling


def zen() -> Proxy:
    """Zen = log(||F(e + 0.01 e') - F(e)||_1 + 1e-6) + sum over batch norms of log(sqrt(mean_c running_var) + 1e-6).

    e, e' normal noise; no data, no labels. Batch norm uses batch statistics; running_var starts at 1 and is updated
    with momentum 0.1 and unbiased variances by the perturbed pass, then by the clean one. Batch norms of convolutions
    that nobody reads count, as they do in a network that is built. Under another norm the second term falls away.

    Source: Lin et al., "Zen-NAS", ICCV 2021.
    """
    score = lambda m: zen_of_noise(m.network, _draw_noise(m.network, "zen"))
    return Proxy("zen", score, frozenset({"network"}), {"noise": _NOISE}, "Lin et al., Zen-NAS, ICCV 2021")


def bt_of_noise(network: Network, noise: Noise) -> jax.Array:
    """BT with given noise, see `bt`."""

    def view(noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        seen = forward(network, network.batch.image + _NOISE * noise, observe=WHOLE_FEATURES)
        z, kept = _features(network, seen), seen.kept_features
        kept = jnp.ones(z.shape[1], bool) if kept is None else jnp.tile(kept, z.shape[1] // len(kept))
        return (z - z.mean(0)) * lax.rsqrt(z.var(0) + 1e-5), kept

    (first, second), (kept, _) = lax.map(view, jnp.stack(noise))
    diagonal = (first * second).mean(0)
    gram = lambda z: jnp.matmul(z, z.T, precision=lax.Precision.HIGHEST) / len(z)
    everything = (gram(first) * gram(second)).sum()  # sum_ij C_ij^2 without the D x D matrix
    return -(jnp.where(kept, jnp.square(diagonal - 1), 0.0).sum() + 0.005 * (everything - jnp.square(diagonal).sum()))


def bt() -> Proxy:
    """BT = -[sum_i (C_ii - 1)^2 + 0.005 sum_{i != j} C_ij^2], C = z_1^T z_2 / N, the Barlow Twins loss of two views.

    z_1 and z_2 are F(x + 0.01 e) for two draws of e, standardised per feature over the batch (population variance,
    epsilon 1e-5). One batch, no labels.

    Source: WRCor paper, Table 2; Zbontar et al., "Barlow Twins", ICML 2021.
    """
    score = lambda m: bt_of_noise(m.network, _draw_noise(m.network, "bt"))
    return Proxy("bt", score, frozenset({"network"}), {"noise": _NOISE}, "Jing et al., WRCor, Table 2")


def _largest_parameter(network: Network) -> jax.Array:
    """The largest absolute value among the parameters that the architecture has."""
    flat = flatten_dict(network.params)
    largest = [jnp.where(network.is_active(path), jnp.abs(leaf), 0.0).max() for path, leaf in flat.items()]
    return jnp.stack(largest).max()


def bndlent(*, learning_rate: float = 1e-3) -> Proxy:
    """BndlEnt = minus the mean over layers of the label entropy of bundles, weighted by their sizes, over N.

    In evaluation mode (batch norm: mean 0, variance 1), with a the output of a layer: two pictures share a bundle when
    w_max - a * learning_rate / N is equal in every entry, in float32, w_max the largest absolute parameter of the
    network, scales of batch norms included. Natural logarithm. One batch with labels that are class indices. Layers
    are the marked `LayerOutput`s, as in WRCor. It depends on rounding by its definition.

    Source: Peer et al., "Conflicting Bundles", and Jing et al., WRCor, Table 2. Deviation: the paper's code counts
    pictures outside a bundle as members of class 0; here they do not count.
    """

    def score(measured: Measurements) -> jax.Array:
        network = measured.network
        label: Any = network.batch.label
        largest = _largest_parameter(network)
        same_label = (label[:, None] == label[None, :]).astype(jnp.float32)

        def entropy(a: jax.Array) -> jax.Array:
            rows = (largest - a * (learning_rate / len(a))).reshape(len(a), -1)
            together = lax.map(lambda row: (rows == row).all(1), rows).astype(jnp.float32)
            share = (together * same_label).sum(1) / together.sum(1)  # of each picture's own label in its bundle
            return -jnp.log(share).mean()

        options = network.options.unmasked("bn_initial")
        observe: Observers = {probe: {"entropy": entropy} for probe in PLACES["layers"]}
        seen = forward(network, network.batch.image, options=options, observe=observe).observed.get("entropy")
        if not seen:
            raise ValueError(no_trunk(network.name))
        return -jnp.concatenate([o.value for o in seen]).mean()

    settings = {"learning_rate": learning_rate}
    return Proxy("bndlent", score, frozenset({"class_labels", "network"}), settings, "Jing et al., WRCor, Table 2")

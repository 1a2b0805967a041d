"""Saliency of weights: PNorm, PGNorm, SNIP, GraSP, SynFlow, Fisher, ZiCo.

W is the kernel of a convolution or a dense layer, g_W its gradient of the mean cross-entropy L of the batch; biases and
norms do not count, nor do kernels that the architecture does not use. Sums run over all weight layers. Batch norm uses
the statistics of the batch, or whatever stands in its place under the run's options; SynFlow has none.

Where nothing depends on a weight its gradient is 0 and adds 0: these scores are finite for a network without a path,
but for log-SynFlow, which is -inf there.
"""

import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.base import Proxy
from zsnas_jax.measure.measurements import Measurements, mean_cross_entropy
from zsnas_jax.measure.network import run
from zsnas_jax.proxies.weights import map_kernels, sum_over_layers, weight_layers

_ABDELFATTAH = "Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021"
_KERNEL_GRADIENTS = frozenset({"kernel_gradients"})


def _norm(w: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(w).sum((1, 2)))


def _saliency(w: jax.Array, g: jax.Array) -> jax.Array:
    return jnp.abs(w * g).sum((1, 2))


def pnorm() -> Proxy:
    """PNorm = sum ||W||_2. No data, no labels."""
    score = lambda r: sum_over_layers(r.network, _norm, r.network.params)
    return Proxy("pnorm", score, frozenset(), {}, "Jing et al., WRCor, Table 2")


def pgnorm() -> Proxy:
    """PGNorm = sum ||g_W||_2, the gradient norm. One batch with labels."""
    score = lambda r: sum_over_layers(r.network, _norm, r.kernel_gradients)
    return Proxy("pgnorm", score, _KERNEL_GRADIENTS, {}, _ABDELFATTAH)


def snip() -> Proxy:
    """SNIP = sum |W * g_W|. One batch with labels. Source: Lee, Ajanthan and Torr, ICLR 2019."""
    score = lambda r: sum_over_layers(r.network, _saliency, r.network.params, r.kernel_gradients)
    return Proxy("snip", score, _KERNEL_GRADIENTS, {}, "Lee et al., SNIP, ICLR 2019")


def fisher() -> Proxy:
    """Fisher = sum over weight layers of (weights of a filter) * sum_c 1/2 mean_n (sum_hw a dL/da)^2.

    a is the output of the layer before its norm, c its channels. One batch with labels.

    Source: Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018, as in the WRCor paper:
    per weight layer, each channel counted once for every weight of its filter.
    """
    score = lambda r: r.fisher
    return Proxy("fisher", score, frozenset({"fisher"}), {}, "Theis et al., Fisher pruning, 2018")


def grasp() -> Proxy:
    """GraSP = sum -W * H g, with H g = gradient with respect to W of (g . g_W), g a constant copy of g_W.

    One batch with labels. The Hessian-vector product is taken backward over backward: the operations of
    `zsnas_jax.nn.layers` carry derivatives of their own, which have no forward mode.

    Source: Wang, Zhang and Grosse, "Picking winning tickets before training by preserving gradient flow", ICLR 2020.
    """

    def score(measured: Measurements) -> jax.Array:
        network = measured.network

        def loss(params: object) -> jax.Array:
            logits = run(network, network.batch.image, params=params).logits
            return mean_cross_entropy(logits, network.batch.label)

        def alignment(params: object) -> tuple[jax.Array, object]:
            gradients = jax.grad(loss)(params)
            dot = lambda g: (lax.stop_gradient(g) * g).sum((1, 2))
            return sum_over_layers(network, dot, gradients), gradients

        products = jax.grad(alignment, has_aux=True)(network.params)[0]
        return sum_over_layers(network, lambda w, h: -(w * h).sum((1, 2)), network.params, products)

    return Proxy("grasp", score, frozenset({"labels"}), {}, "Wang et al., GraSP, ICLR 2020")


def synflow() -> Proxy:
    """SynFlow = log sum |W * dR/dW|, R the sum of the logits, weights absolute, biases zero, no norm.

    The input is one picture of ones; no data, no labels. -inf where no path leads to the logits. Values of 1e36 to 1e53
    are common, so every layer's output is divided by its largest value, and the logarithms of these are added: exact,
    since the network is homogeneous; a module must probe its `LayerOutput`s for it, or overflow where float32 ends.

    Source: Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS
    2020. Deviation: the logarithm, which keeps the order.
    """

    def score(measured: Measurements) -> jax.Array:
        network = measured.network
        network = network._replace(options=network.options.unmasked("identity"))
        params = map_kernels(jnp.abs, network.params, biases=jnp.zeros_like)
        image = jnp.ones_like(network.batch.image[:1])

        def flow(params: object) -> tuple[jax.Array, jax.Array]:
            passed = run(network, image, params=params, rescale=True)
            return passed.logits.sum(), passed.log_scale

        gradients, log_scale = jax.grad(flow, has_aux=True)(params)
        return jnp.log(sum_over_layers(network, _saliency, params, gradients)) + log_scale

    return Proxy("synflow", score, frozenset(), {}, "Tanaka et al., SynFlow, NeurIPS 2020")


def zico(*, num_batches: int = 2) -> Proxy:
    """ZiCo = sum over layers of log sum_{std != 0} mean_b |g_W| / std_b(g_W), over b batches; std divides by b.

    Needs labels. Layers whose inner sum is not positive add nothing.

    Args:
        num_batches: the run's batch is cut into that many equal batches, each with its own statistics of batch norm.

    Raises:
        ValueError: for fewer than two batches, or when scored on a batch that they do not divide.

    Source: Li et al., "ZiCo: Zero-shot NAS via inverse coefficient of variation on gradients", ICLR 2023. Deviation:
    the batches are parts of the run's.
    """
    if num_batches < 2:
        raise ValueError(f"zico with num_batches={num_batches}: a deviation over batches needs at least 2")

    def score(measured: Measurements) -> jax.Array:
        network = measured.network
        image, label = network.batch.image, network.batch.label
        if len(image) % num_batches or len(image) < 2 * num_batches:
            raise ValueError(f"zico cuts a batch of {len(image)} into {num_batches}: at least 2 each, all equal")

        def loss(params: object, image: jax.Array, label: jax.Array) -> jax.Array:
            return mean_cross_entropy(run(network, image, params=params).logits, label)

        cut = lambda x: x.reshape(num_batches, -1, *x.shape[1:])
        gradients = lax.map(lambda batch: jax.grad(loss)(network.params, *batch), (cut(image), cut(label)))
        batches = [jax.tree.map(lambda g, b=b: g[b], gradients) for b in range(num_batches)]
        score = jnp.zeros(())
        for active, arrays in weight_layers(network, *batches):
            g = jnp.stack(arrays)
            deviation = g.std(0)
            ratios = jnp.abs(g).mean(0) / jnp.where(deviation > 0, deviation, 1.0)
            inner = jnp.where(deviation > 0, ratios, 0.0).sum((1, 2))
            score += jnp.where(active, jnp.log(jnp.where(inner > 0, inner, 1.0)).sum(), 0.0)
        return score

    return Proxy("zico", score, frozenset({"labels"}), {"num_batches": num_batches}, "Li et al., ZiCo, ICLR 2023")

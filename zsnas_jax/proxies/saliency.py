"""Saliency of weights: PNorm, PGNorm, SNIP, GraSP, SynFlow, Fisher, ZiCo.

W is the kernel of a weight layer, g_W its gradient of the loss L of the batch (mean cross-entropy unless the task says
otherwise); biases, norms and embeddings do not count, nor do kernels that the architecture does not use. Sums run over
all weight layers. Batch norm uses the statistics of the batch, or whatever stands in its place under the layers'
options; SynFlow has none.

Where nothing depends on a weight its gradient is 0 and adds 0: these scores are finite for a network without a path,
but for log-SynFlow, which is -inf there.
"""

import jax
from jax import lax
import jax.numpy as jnp

from zsnas_jax.base import Batch, KernelSum, Proxy
from zsnas_jax.measure.losses import logit_sum
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import Network, forward
from zsnas_jax.proxies.weights import gradients_by_part, map_parameters, sum_over_layers, weight_layers

_ABDELFATTAH = "Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021"
_KERNEL_GRADIENTS = frozenset({"kernel_gradients"})

WEIGHT_NORM = KernelSum(lambda w, g: jnp.square(w), jnp.sqrt)
"""sum ||W||_2"""

GRADIENT_NORM = KernelSum(lambda w, g: jnp.square(g), jnp.sqrt)
"""sum ||g_W||_2"""

SALIENCY = KernelSum(lambda w, g: jnp.abs(w * g))
"""sum |W * g_W|"""


def pnorm() -> Proxy:
    """PNorm = sum ||W||_2. No data, no labels."""
    score = lambda m: m.kernel_sums["norm"]
    return Proxy("pnorm", score, frozenset(), {}, "Jing et al., WRCor, Table 2", kernel_sums={"norm": WEIGHT_NORM})


def pgnorm() -> Proxy:
    """PGNorm = sum ||g_W||_2, the gradient norm. One batch with labels."""
    score = lambda m: m.kernel_sums["norm"]
    return Proxy("pgnorm", score, _KERNEL_GRADIENTS, {}, _ABDELFATTAH, kernel_sums={"norm": GRADIENT_NORM})


def snip() -> Proxy:
    """SNIP = sum |W * g_W|. One batch with labels. Source: Lee, Ajanthan and Torr, ICLR 2019."""
    score = lambda m: m.kernel_sums["saliency"]
    reference = "Lee et al., SNIP, ICLR 2019"
    return Proxy("snip", score, _KERNEL_GRADIENTS, {}, reference, kernel_sums={"saliency": SALIENCY})


def fisher() -> Proxy:
    """Fisher = sum over weight layers of (weights of a filter) * sum_c 1/2 mean_n (sum_hw a dL/da)^2.

    a is the output of the layer before its norm, c its channels, or its filters where they have several axes (heads
    and features of attention). A layer called twice counts twice. One batch with labels.

    Source: Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018, as in the WRCor paper:
    per weight layer, each channel counted once for every weight of its filter.
    """
    score = lambda m: m.fisher
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
            logits = forward(network, network.batch.image, params=params).logits
            return network.loss(logits, network.batch.label)

        def alignment(params: object) -> tuple[jax.Array, object]:
            gradients = jax.grad(loss)(params)
            dot = lambda g: (lax.stop_gradient(g) * g).sum((1, 2))
            return sum_over_layers(network, "grasp", dot, gradients), gradients

        products = jax.grad(alignment, has_aux=True)(network.params)[0]
        return sum_over_layers(network, "grasp", lambda w, h: -(w * h).sum((1, 2)), network.params, products)

    return Proxy("grasp", score, frozenset({"labels", "network"}), {}, "Wang et al., GraSP, ICLR 2020")


def without_signs(network: Network) -> Network:
    """The network that SynFlow measures: |W|, biases zero, no batch norm, one picture of ones; the loss is R."""
    image = jnp.ones_like(network.batch.image[:1])
    return map_parameters(network, "synflow", kernel=abs, other=abs)._replace(
        batch=Batch(image, ()), options=network.options.unmasked("identity"), loss=logit_sum, wide_range=True
    )


def synflow() -> Proxy:
    """SynFlow = log sum |W * dR/dW|, R the sum of the logits, all weights absolute, biases zero, no batch norm.

    The input is one picture of ones; no data, no labels; other norms, attention and activations stay as they are. -inf
    where no path leads to the logits. Values of 1e36 to 1e53 are common. Where a space declares its networks
    homogeneous, every layer's output is divided by its largest value, and the logarithms of these are added, which then
    is exact; any other network is computed in float64. -inf where that ends too.

    Source: Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS
    2020. Deviation: the logarithm, which keeps the order.
    """
    score = lambda m: jnp.log(m.kernel_sums["flow"]) + m.log_scale
    return Proxy(
        "synflow",
        score,
        _KERNEL_GRADIENTS,
        {},
        "Tanaka et al., SynFlow, NeurIPS 2020",
        kernel_sums={"flow": SALIENCY},
        prepare=without_signs,
        undefined="where no path leads to the logits, or the flow leaves float64",
    )


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
        batches = gradients_by_part(network, "zico", num_batches)
        score = jnp.zeros(())
        for active, arrays in weight_layers(network, "zico", *batches):
            g = jnp.stack(arrays)
            deviation = g.std(0)
            ratios = jnp.abs(g).mean(0) / jnp.where(deviation > 0, deviation, 1.0)
            inner = jnp.where(deviation > 0, ratios, 0.0).sum((1, 2))
            score += jnp.where(active, jnp.log(jnp.where(inner > 0, inner, 1.0)), 0.0).sum()
        return score

    needs = frozenset({"labels", "network"})
    return Proxy("zico", score, needs, {"num_batches": num_batches}, "Li et al., ZiCo, ICLR 2023")

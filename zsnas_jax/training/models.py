"""A network that can be trained: two views of the same variables, and the first of them. N batch, H W C, K classes.

A user's own is a `Model` of two Flax modules called as `module.apply(variables, image)` with image float[N, H, W, C] in
[0, 1]: one that moves its "batch_stats", if it has any, and one that normalises by them.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax.base import Arch, SearchSpace
from zsnas_jax.measure import costs
from zsnas_jax.nn.initializers import Initializer, draw_kernels, kaiming_uniform
from zsnas_jax.nn.options import LayerOptions, has_layer_options
from zsnas_jax.nn.weights import init_with_weights


class Classifier(nn.Module):
    """A network built for one architecture; it takes pictures as they are.

    Attributes:
        network: a network of a search space.
        arch: what it is called with to be built for one architecture, Python values.
        mean: of the pixels, in [0, 1], by channel.
        std: their deviation.
    """

    network: nn.Module
    arch: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @nn.compact
    def __call__(self, image: jax.Array, **further: Any) -> Any:
        """Logits float[N, K] of pictures uint8[N, H, W, C], or float[N, H, W, C] in [0, 1].

        `further` are what the network takes besides; with an auxiliary head it returns a pair of logits.
        """
        pixels = image / jnp.float32(255) if image.dtype == jnp.uint8 else image
        standard = (pixels - jnp.asarray(self.mean)) / jnp.asarray(self.std)
        return self.network(standard.astype(pixels.dtype), self.arch, **further)


class Model(NamedTuple):
    """Two views of the same variables.

    Attributes:
        train: batch norm by the batch; "batch_stats" follow.
        evaluate: batch norm by "batch_stats".
        init: (key, one batch of pictures) to the variables to begin with, "params" among them.
        has_auxiliary: whether `train` returns (logits, logits of an auxiliary head); `evaluate` has no such head.
        has_drop_path: whether `train` is called with a keyword drop_path, the rate float[], and draws from the random
            stream "drop_path".
    """

    train: nn.Module
    evaluate: nn.Module
    init: Any
    has_auxiliary: bool = False
    has_drop_path: bool = False


def make_model(
    space: SearchSpace,
    arch: Arch,
    num_classes: int,
    *,
    mean: Any,
    std: Any,
    norm_momentum: float = 0.9,
    initializer: Initializer = kaiming_uniform,
    auxiliary: bool = False,
    drop_path: bool = False,
) -> Model:
    """The network of an architecture, to be trained.

    Args:
        space: where the architecture is from; its networks have a field `options`.
        arch: the architecture.
        num_classes: width of the logits.
        mean: float[C], of pixels in [0, 1].
        std: float[C], their deviation.
        norm_momentum: share of the running statistics that a step keeps.
        initializer: of the kernels.
        auxiliary: whether the network in training has an auxiliary head.
        drop_path: whether it has drop path.

    Raises:
        ValueError: if the space does not offer networks of a single architecture, or neither of the last two.
    """
    network = space.make_network(num_classes=num_classes)
    if space.static is None or not has_layer_options(network):
        lacking = "a function static" if space.static is None else "networks with a field of LayerOptions"
        raise ValueError(f"networks of space {space.name} cannot be trained: it lacks {lacking}")
    trained = network
    if auxiliary or drop_path:
        if space.training_network is None:
            raise ValueError(
                f"networks of space {space.name} have no auxiliary head and no drop path: auxiliary_weight and "
                "drop_path must be 0"
            )
        trained = space.training_network(num_classes=num_classes, auxiliary=auxiliary, drop_path=drop_path)
    static, colours = space.static(arch), [tuple(np.asarray(values).tolist()) for values in (mean, std)]

    def view(network: nn.Module, statistics: str) -> Classifier:
        options = LayerOptions(statistics=statistics, momentum=norm_momentum)
        return Classifier(network.clone(options=options), static, *colours)

    train = view(trained, "follow")

    def init(key: jax.Array, image: jax.Array) -> Any:
        rate = {"drop_path": jnp.zeros(())} if drop_path else {}
        variables, weights = init_with_weights(train, key, image[:1], **rate)
        return dict(variables) | {"params": draw_kernels(key, variables["params"], weights, initializer)}

    return Model(train, view(network, "running"), init, auxiliary, drop_path)


def count_costs(model: Model, image_size: int) -> tuple[int, int]:
    """(trainable parameters, multiply-adds of the convolutions and matrix products of one picture), when trained."""
    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.uint8)
    variables = jax.eval_shape(model.evaluate.init, jax.random.key(0), image)
    return costs.count_params(variables["params"]), costs.count_multiply_adds(model.evaluate.apply, variables, image)

"""Scores a convolutional network that someone else wrote, without a change to it.

    python examples/unedited_module.py

Its activations, blocks and feature map are told from outside: which calls of which modules return what. Dropout and
running statistics are as the author left them; while it is scored, batch norms take the batch's statistics and dropout
is off.
"""

import flax.linen as nn
import jax

from zsnas_jax import datasets, proxies, scoring


class Block(nn.Module):
    """A residual block as people write it: the norm's output enters a ReLU, which has no name."""

    width: int
    train: bool

    @nn.compact
    def __call__(self, x):
        """Maps float[N, H, W, C] to the same."""
        y = nn.Conv(self.width, (3, 3), use_bias=False, name="conv")(x)
        y = nn.relu(nn.BatchNorm(use_running_average=not self.train, name="norm")(y))
        y = nn.Dropout(0.1, deterministic=not self.train)(y)
        return x + nn.Conv(self.width, (3, 3), name="last")(y)


class TheirNet(nn.Module):
    """A stem, residual blocks, the mean over pixels, a classifier."""

    width: int
    depth: int

    @nn.compact
    def __call__(self, image, train=False):
        """Maps pictures float[N, H, W, 3] to logits."""
        x = nn.Conv(self.width, (3, 3), name="stem")(image)
        for i in range(self.depth):
            x = Block(self.width, train, name=f"block{i}")(x)
        return nn.Dense(10, name="head")(x.mean((1, 2)))


def enters_an_activation(module, method):
    """Whether what this call returns goes into a ReLU."""
    return module.name == "norm" and method == "__call__"


def main():
    """Scores two depths of it, by proxies of every kind of measurement."""
    names = ["wrcor", "naswot", "swap", "snip", "synflow", "jaccor", "az_expressivity", "params", "num_sites"]
    batch = datasets.draw_batch(jax.random.key(0), datasets.noise(image_size=8), batch_size=8)
    for depth in (1, 3):
        net = TheirNet(width=8, depth=depth)
        scores = scoring.score_module(
            jax.random.key(1),
            net,
            net.init(jax.random.key(2), batch.image),
            batch,
            proxies=proxies.make_proxies(names),
            sites=enters_an_activation,
            layers=lambda module, method: isinstance(module, Block) and method == "__call__",
            features=lambda module, method: module.name == f"block{depth - 1}" and method == "__call__",  # noqa: B023 called here
        )
        print(f"depth {depth}:", ", ".join(f"{name} {score:.5g}" for name, score in zip(names, scores, strict=True)))


if __name__ == "__main__":
    main()

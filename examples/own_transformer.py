"""Scores a vision transformer written in plain Flax, of which nothing was changed for it.

    python examples/own_transformer.py

What nobody can see from outside is told: where the activations are (`sites`), what the feature map is (`features`), and
what of a transformer a dense layer is (`roles`), for DSS and AutoProx. Attention says it by itself.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch
from zsnas_jax.nn.roles import Kernel, Role


class Encoder(nn.Module):
    """A block: attention, then two dense layers."""

    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x):
        """Maps tokens float[N, T, C] to the same."""
        x = x + nn.MultiHeadDotProductAttention(self.heads, name="attention")(nn.LayerNorm()(x))
        y = nn.gelu(nn.Dense(self.hidden, name="widen")(nn.LayerNorm()(x)))
        return x + nn.Dense(x.shape[-1], name="narrow")(y)


class VisionTransformer(nn.Module):
    """Patches, blocks, mean over tokens, classifier."""

    width: int = 32
    depth: int = 4
    heads: int = 2
    num_classes: int = 10

    @nn.compact
    def __call__(self, image):
        """Maps pictures float[N, H, W, 3] to logits."""
        x = nn.Conv(self.width, (8, 8), (8, 8), name="patches")(image)
        x = x.reshape(len(x), -1, self.width)
        x = x + nn.Embed(x.shape[1], self.width, name="positions")(jnp.arange(x.shape[1]))
        for i in range(self.depth):
            x = Encoder(self.heads, 4 * self.width, name=f"block{i}")(x)
        x = nn.LayerNorm(name="norm")(x)
        return nn.Dense(self.num_classes, name="head")(x.mean(1))


PARTS = {"widen": "mlp", "narrow": "mlp", "head": "head"}


def roles(module):
    """What the parameters of a module are, where its class does not say all; None elsewhere."""
    if isinstance(module, nn.Dense) and module.name in PARTS:
        return {"kernel": Kernel((0,), (1,), part=PARTS[module.name]), "bias": Role.BIAS}
    if isinstance(module, nn.Conv):
        return {"kernel": Kernel((2,), (3,), (0, 1), part="other"), "bias": Role.BIAS}
    return None


def main():
    """Scores two transformers of different depth."""
    image = jax.random.normal(jax.random.key(0), (16, 32, 32, 3))
    batch = Batch(image, jnp.arange(16) % 10)
    names = ["wrcor", "naswot", "swap", "snip", "jaccor", "dss", "autoprox", "params", "num_sites"]
    for depth in (2, 6):
        module = VisionTransformer(depth=depth)
        scores = scoring.score_module(
            jax.random.key(1),
            module,
            module.init(jax.random.key(2), image[:1]),
            batch,
            proxies=proxies.make_proxies(names),
            sites=lambda module, method: method == "__call__" and module.name == "widen",  # what enters GELU
            features=lambda module, method: method == "__call__" and module.name == "norm",
            roles=roles,
        )
        print(f"depth {depth}:", ", ".join(f"{name} {score:.5g}" for name, score in zip(names, scores, strict=True)))


if __name__ == "__main__":
    main()

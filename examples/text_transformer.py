"""Scores a transformer that reads tokens: a batch need not hold pictures.

    python examples/text_transformer.py

Proxies that need derivatives by the input (JacCor, EPE, NetSens, DynIso) or noise of its kind (Phi, Zen, BT) refuse
tokens by name; all others are served. Here the sites are marked by the author, with `Site`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch
from zsnas_jax.nn.probes import Site


class TextTransformer(nn.Module):
    """Tokens int[N, T] to logits: two blocks of attention and dense layers, mean over tokens."""

    vocabulary: int = 100
    width: int = 32
    num_classes: int = 2

    @nn.compact
    def __call__(self, tokens):
        """Classifies texts."""
        x = nn.Embed(self.vocabulary, self.width)(tokens)
        x = x + nn.Embed(tokens.shape[1], self.width)(jnp.arange(tokens.shape[1]))
        for i in range(2):
            x = x + nn.MultiHeadDotProductAttention(4, name=f"attention{i}")(nn.LayerNorm()(x))
            y = Site(name=f"site{i}")(nn.Dense(64)(nn.LayerNorm()(x)))
            x = x + nn.Dense(self.width)(nn.gelu(y))
        return nn.Dense(self.num_classes)(nn.LayerNorm()(x).mean(1))


def main():
    """Scores it, and shows what is refused."""
    tokens = jax.random.randint(jax.random.key(0), (16, 12), 0, 100)
    batch, module = Batch(tokens, jnp.arange(16) % 2), TextTransformer()
    variables = module.init(jax.random.key(1), tokens[:1])
    score = lambda names: scoring.score_module(
        jax.random.key(2), module, variables, batch, proxies=proxies.make_proxies(names)
    )
    names = ["wrcor", "acor", "naswot", "swap", "snip", "fisher", "params"]
    print(", ".join(f"{name} {value:.5g}" for name, value in zip(names, score(names), strict=True)))
    for name in ("jaccor", "phi", "dss"):
        try:
            score([name])
        except ValueError as error:
            print(f"refused: {error}")


if __name__ == "__main__":
    main()

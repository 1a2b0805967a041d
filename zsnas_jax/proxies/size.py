"""The size of a network: Params and FLOPs, the controls that every proxy has to beat. No data, no labels."""

import jax
import jax.numpy as jnp

from zsnas_jax.base import Proxy
from zsnas_jax.measure.measurements import Measurements


def params() -> Proxy:
    """Params = number of trainable parameters, norms and biases included, of the operations that the network uses."""
    return Proxy("params", lambda m: jnp.float32(m.network.num_params), frozenset(), {}, "a count", is_size=True)


def flops() -> Proxy:
    """FLOPs = multiply-adds of one picture, of convolutions and dense layers only.

    Raises, where it is scored:
        ValueError: if the space does not say `num_flops`.
    """

    def score(measured: Measurements) -> jax.Array:
        if measured.network.num_flops is None:
            raise ValueError("proxy flops needs the num_flops of a space, which this one lacks")
        return jnp.float32(measured.network.num_flops)

    return Proxy("flops", score, frozenset(), {}, "a count", is_size=True)

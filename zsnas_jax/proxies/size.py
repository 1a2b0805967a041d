"""The size of a network: Params and FLOPs, the controls that every proxy has to beat. No data, no labels."""

import jax.numpy as jnp

from zsnas_jax.base import Proxy


def params() -> Proxy:
    """Params = number of trainable parameters, norms and biases included, of the operations that the network uses."""
    return Proxy("params", lambda r: jnp.float32(r.subject.num_params), frozenset(), {}, "a count")


def flops() -> Proxy:
    """FLOPs = multiply-adds of one picture, of convolutions and dense layers only."""
    return Proxy("flops", lambda r: jnp.float32(r.subject.num_flops), frozenset(), {}, "a count")

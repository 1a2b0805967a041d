"""The size of a network: Params, FLOPs, sites, tensors, the controls that every proxy has to beat. No labels."""

import jax
import jax.numpy as jnp

from zsnas_jax.base import Proxy
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.measure.network import total
from zsnas_jax.measure.tensors import count


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


def num_tensors() -> Proxy:
    """Number of parameter tensors: kernels, scales, shifts, biases and tables, as the modules hold them.

    Source: Tybl and Neumann, "Training-free Neural Architecture Search through Variance of Knowledge of Deep Network
    Weights" (VKDNW), CVPR 2025, which orders networks by it first.
    """
    return Proxy("num_tensors", lambda m: count(m.network), frozenset(), {}, "a count", is_size=True)


def _once(x: jax.Array) -> jax.Array:
    """A site counts one, whatever enters it."""
    del x
    return jnp.ones(())


def num_sites() -> Proxy:
    """Number of response sites: applications of activations, those that a proxy of responses looks at. One batch."""
    score = lambda measured: total(measured.observed["sites"])
    return Proxy("num_sites", score, frozenset(), {}, "a count", observe={"sites": _once}, is_size=True)

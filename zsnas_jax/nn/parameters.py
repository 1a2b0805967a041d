"""Parameters in scopes of their own, for networks that use them inside conditionals, where no Flax module can be."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from zsnas_jax.nn.initializers import Initializer
from zsnas_jax.nn.probes import slot_of
from zsnas_jax.nn.roles import Kernel, Role, Roles


class ConvKernel(nn.Module):
    """A convolution kernel float32[k, k, C, D] in a scope of its own, so that its draw depends on its path alone."""

    shape: tuple[int, ...]
    initializer: Initializer

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array | None]:
        """Returns (kernel, its slot for the Fisher score)."""
        return self.param("kernel", self.initializer, self.shape), slot_of(self, "kernel")  # type: ignore[arg-type]

    def parameter_roles(self) -> Roles:
        """What it holds; who uses the kernel passes the output through `weigh`, and scans along axis 0."""
        return {"kernel": Kernel((2,), (3,), (0, 1), weighs_itself=True, lifted_in_front=True)}


class Affine(nn.Module):
    """The scale and bias of a norm, float32[C] each, one and zero at the start."""

    channels: int

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """Returns (scale, bias)."""
        draw = lambda name, init: self.param(name, init, (self.channels,), jnp.float32)
        return draw("scale", nn.initializers.ones), draw("bias", nn.initializers.zeros)

    def parameter_roles(self) -> Roles:
        """What it holds."""
        return {"scale": Role.SCALE, "bias": Role.SHIFT}

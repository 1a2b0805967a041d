import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax.base import Batch
from zsnas_jax.measure import capture
from zsnas_jax.measure.losses import cross_entropy
from zsnas_jax.nn import probes
from zsnas_jax.nn.probes import Site


class Net(nn.Module):
    """A user's module: two sites in a residual block, the first activation called twice."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3))(x)
        shared = Site(name="shared")
        y = nn.relu(shared(x))
        y = nn.Conv(4, (3, 3))(y)
        z = nn.gelu(shared(y)) + x
        z = nn.relu(Site(name="last")(z))
        return nn.Dense(3)(z.mean((1, 2)))


class Plain(nn.Module):
    """A module nobody can edit."""

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm(name="norm1")(nn.Conv(4, (3, 3))(x))
        x = nn.relu(x)
        x = nn.relu(nn.LayerNorm(name="norm2")(nn.Conv(4, (3, 3))(x)))
        return nn.Dense(3)(x.mean((1, 2)))


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.relu(Site()(nn.Dense(x.shape[-1])(x))), None


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        axes = {"params": 0, **dict.fromkeys(probes.COLLECTIONS, 0)}
        scan = nn.scan(Layer, variable_axes=axes, split_rngs={"params": True}, length=3)
        return nn.Dense(3)(scan()(nn.relu(Site(name="first")(x.reshape(len(x), -1))), None)[0])


def batch(n=5):
    return Batch(jax.random.normal(jax.random.key(0), (n, 6, 6, 2)), jnp.arange(n) % 3)


def variables(module):
    return module.init(jax.random.key(1), batch().image)


def test_capture_returns_activations_and_gradients_of_each_application():
    module = Net()
    found = capture.capture(module, variables(module), batch())
    assert [r.path for r in found] == [("shared", "0"), ("shared", "1"), ("last",)]

    def by_hand(perturbation):
        """The network written out, its second activation perturbed."""
        p = variables(module)["params"]
        conv = lambda i, x: nn.Conv(4, (3, 3)).apply({"params": p[f"Conv_{i}"]}, x)
        x = conv(0, batch().image)
        pre = conv(1, nn.relu(x)) + perturbation
        z = nn.relu(nn.gelu(pre) + x)
        logits = nn.Dense(3).apply({"params": p["Dense_0"]}, z.mean((1, 2)))
        return cross_entropy(logits, batch().label), pre

    gradient, pre = jax.grad(by_hand, has_aux=True)(jnp.zeros_like(found[1].activation))
    chex.assert_trees_all_close(found[1].activation, pre, atol=1e-6)
    chex.assert_trees_all_close(found[1].gradient, gradient, atol=1e-6)


@pytest.mark.parametrize(
    "module", [pytest.param(Net(), marks=pytest.mark.slow), pytest.param(Scanned(), marks=pytest.mark.dear)]
)
def test_both_readings_agree(module):
    plain = capture.aggregate(capture.capture(module, variables(module), batch()))
    streamed = tiny.stream(module, variables(module), batch())
    chex.assert_trees_all_close(plain, streamed, rtol=1e-4, atol=1e-5)


def test_default_layers_are_top_level_modules_and_scan_positions():
    streamed = tiny.stream(Scanned(), variables(Scanned()), batch())
    np.testing.assert_allclose(jnp.trace(streamed.activations, axis1=1, axis2=2), [5.0] * 4, rtol=1e-5)
    streamed = tiny.stream(Net(), variables(Net()), batch())
    np.testing.assert_allclose(jnp.trace(streamed.activations, axis1=1, axis2=2), [10.0, 5.0], rtol=1e-5)


def test_a_module_that_cannot_be_edited_is_read_by_a_predicate():
    module = Plain()
    is_norm = lambda m, method: isinstance(m, nn.LayerNorm) and method == "__call__"
    found = capture.capture(module, variables(module), batch(), sites=is_norm)
    assert [r.path for r in found] == [("norm1",), ("norm2",)]
    assert float(jnp.abs(found[0].gradient).max()) > 0
    matrices = jax.jit(lambda v: capture.aggregate(capture.capture(module, v, batch(), sites=is_norm)))(
        variables(module)
    )
    chex.assert_shape(matrices.activations, (2, 5, 5))


def test_a_module_without_sites_is_refused():
    for read in (capture.capture, tiny.stream):
        with pytest.raises(ValueError, match="Plain has no response site: mark"):
            read(Plain(), variables(Plain()), batch())


def test_forward_only_matches_the_forward_of_both():
    both = tiny.stream(Net(), variables(Net()), batch())
    forward = tiny.stream(Net(), variables(Net()), batch(), needs=["activations"])
    assert forward.gradients is None
    chex.assert_trees_all_close(both.activations, forward.activations, rtol=1e-6)


def test_sites_change_nothing_in_ordinary_use():
    logits = Net().apply(variables(Net()), batch().image)
    chex.assert_tree_all_finite(logits)
    assert set(variables(Net())) == {"params"}

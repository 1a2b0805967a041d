"""A NAS-Bench-201 of one stage, small enough to compile in seconds, and a batch for it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from zsnas_jax import datasets, proxies, scoring
from zsnas_jax.measure import costs
from zsnas_jax.measure.measurements import measure
from zsnas_jax.measure.network import Network, with_weights
from zsnas_jax.nn.initializers import draw_kernels, kaiming_uniform
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.weights import init_with_weights
from zsnas_jax.scoring import static
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.search_spaces.nasbench101.network import NASBench101
from zsnas_jax.search_spaces.nasbench201.network import NASBench201, is_active

CELL = (3, 0, 2, 1, 4, 3)


def network(num_classes=10):
    return NASBench201(num_classes=num_classes, channels=4, cells_per_stage=2, num_stages=1)


def space():
    return nasbench201.space()._replace(make_network=network, layer_of=network().layer_of)


def batch(batch_size=6, image_size=8, seed=0):
    return datasets.draw_batch(jax.random.key(seed), datasets.noise(image_size=image_size), batch_size)


def draw_params(key, initializer=kaiming_uniform):
    """Parameters of the dispatched network; one flat draw, since XLA takes long over many."""
    image, arch = jnp.zeros((1, 8, 8, 3)), jnp.zeros(6, jnp.int32)

    def draw(key):
        variables, weights = init_with_weights(network(), key, image, arch)
        return draw_kernels(key, variables["params"], weights, initializer)

    return jax.jit(draw)(key)


def select_params(params, arch, module=None, image_size=8):
    """The parameters of the network built for one architecture, from those of the dispatched one."""
    image, module = jnp.zeros((1, image_size, image_size, 3)), module or network()
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), image, arch))["params"]
    return static.select_params(space(), params, shapes)


def scored(module, variables, batch, *args, layer_of=None, options=None, is_active=lambda path: True):
    num_params = costs.count_params(variables["params"])
    options = options or LayerOptions()
    key = jax.random.key(9, impl="rbg")  # its masks compile in half the time of the default's
    own = Network(module, variables, batch, args, key, options, layer_of, is_active, num_params, 0, {})
    return with_weights(own)._replace(is_homogeneous=isinstance(module, NASBench101 | NASBench201))


def stream(module, variables, batch, *args, layer_of=None, needs=("activations", "gradients")):
    """The streamed ResponseMatrices of a network."""
    return measure(scored(module, variables, batch, *args, layer_of=layer_of), frozenset(needs)).responses


def _scored(names, params, pictures, arch):
    active = (lambda path: is_active(arch)(path, ())) if isinstance(arch, jax.Array) else lambda path: True
    own = scored(network(), {"params": params}, pictures, arch, is_active=active)
    own = own._replace(num_params=1000, num_flops=1, initializer=kaiming_uniform)
    return scoring.score_network(own, proxies.make_proxies(names))


@functools.cache
def _dispatched(names):
    return jax.jit(lambda params, pictures, arch: _scored(names, params, pictures, arch))


def dispatched_scores(names, arch):
    """Scores by proxies of the network whose operations are chosen at run time, a program for all."""
    return np.asarray(_dispatched(tuple(names))(draw_params(jax.random.key(0)), batch(4), jnp.array(arch, jnp.int32)))


def compare_kinds(names, arch=CELL, **tolerances):
    """Whether the network built for a cell has the scores of the other, and all are finite."""
    static = jax.jit(lambda params, pictures: _scored(tuple(names), params, pictures, arch))
    expected = np.asarray(static(select_params(draw_params(jax.random.key(0)), arch), batch(4)))
    assert np.isfinite(expected).all(), expected
    tolerances = {"rtol": 1e-4, "atol": 1e-5, **tolerances}
    np.testing.assert_allclose(dispatched_scores(names, arch), expected, err_msg=str(names), **tolerances)

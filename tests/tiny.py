"""A NAS-Bench-201 small enough to compile in seconds, and a batch for it."""

import jax

from zsnas_jax import costs, datasets
from zsnas_jax.reading import read
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.search_spaces.nasbench201_network import NASBench201
from zsnas_jax.subject import Subject
from zsnas_jax.treatments import Treatment


def network(num_classes=10):
    return NASBench201(num_classes=num_classes, channels=4, cells_per_stage=1)


def space():
    return nasbench201.space()._replace(make_network=network, layer_of=network().layer_of)


def batch(batch_size=6, image_size=8, seed=0):
    return datasets.draw_batch(jax.random.key(seed), datasets.noise(image_size=image_size), batch_size)


def subject(module, variables, batch, *args, layer_of=None, treatment=None, is_active=lambda path: True):
    num_params = costs.count_params(variables["params"])
    treatment = treatment or Treatment()
    return Subject(module, variables, batch, args, jax.random.key(9), treatment, layer_of, is_active, num_params, 0)


def stream(module, variables, batch, *args, layer_of=None, needs=("activations", "gradients")):
    """The streamed ResponseMatrices of a network."""
    return read(subject(module, variables, batch, *args, layer_of=layer_of), frozenset(needs), {}).responses

"""A NAS-Bench-201 small enough to compile in seconds, and a batch for it."""

import jax

from zsnas_jax import datasets
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.search_spaces.nasbench201_network import NASBench201


def network(num_classes=10):
    return NASBench201(num_classes=num_classes, channels=4, cells_per_stage=1)


def space():
    return nasbench201.space()._replace(make_network=network, layer_of=network().layer_of)


def batch(batch_size=6, image_size=8, seed=0):
    return datasets.draw_batch(jax.random.key(seed), datasets.noise(image_size=image_size), batch_size)

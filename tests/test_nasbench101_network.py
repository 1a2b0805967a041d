"""The NAS-Bench-101 network: golden values, the static network against the dispatched one, layers, padding."""

import functools
import json

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_proxies
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.initializers import kaiming_uniform
from zsnas_jax.search_spaces import make_space, nasbench101, nasbench101_network
from zsnas_jax.search_spaces.nasbench101_network import NASBench101, select_params, share_output, wire

CELLS = {
    0: "01000000:in-out",
    1: "0101000001000000000000000:in-c3-c1-mp-out",
    3: "0",
}


def golden_cells():
    return json.loads(golden.shared_file("golden/nasbench101.json").read_text())


def genes(cell):
    """The genotype of a golden cell, 26 Python ints."""
    matrix = np.array(cell["matrix"])
    slot = [*range(len(matrix) - 1), 6]
    arch = [0] * 26
    for source, target in np.argwhere(matrix):
        arch[nasbench101_network.edge_position(slot[source], slot[target])] = 1
    for v, op in enumerate(cell["ops"][1:-1]):
        arch[21 + v] = nasbench101.OPS.index(op)
    return tuple(arch)

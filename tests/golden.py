"""Reads the golden values of the shared folder: networks with given weights, scored by another implementation."""

import json
import pathlib
import zlib

from flax.traverse_util import unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsnas_jax.base import Batch
from zsnas_jax.measure.measurements import asked_for, measure, measurements_for
from zsnas_jax.measure.network import Network, with_weights
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.nn.roles import Role
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.search_spaces.nasbench201.network import NASBench201, is_active

SHARED = pathlib.Path(__file__).parents[2] / "shared"


def shared_file(name):
    """A file of the shared folder; skips the test, saying so, where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is absent: this test reads data that is not part of the project")
    return path


def kernel(seed, name, shape):
    """The golden kernel of a name."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)


def nasbench201_params(seed, num_classes=10, channels=16, cells=5):
    """The golden weights as parameters of the dispatched network."""
    norm = lambda c, *lead: {"scale": np.ones((*lead, c), np.float32), "bias": np.zeros((*lead, c), np.float32)}
    params = {"stem": {"kernel": kernel(seed, "stem", (3, 3, 3, channels))}, "stem_norm": norm(channels)}
    for stage in range(3):
        c, first = channels * 2**stage, stage * (cells + 1)
        if stage:
            shapes = {"conv_a": (3, 3, c // 2, c), "conv_b": (3, 3, c, c), "downsample": (1, 1, c // 2, c)}
            block = {n: {"kernel": kernel(seed, f"cell{first - 1}/{n}", s)} for n, s in shapes.items()}
            params[f"reduction{stage}"] = block | {"norm_a": norm(c), "norm_b": norm(c)}
        stack = lambda e, k: np.stack([kernel(seed, f"cell{first + i}/edge{e}", (k, k, c, c)) for i in range(cells)])
        params[f"stage{stage}"] = {
            f"edge{e}": {
                "conv_1x1": {"kernel": stack(e, 1)},
                "conv_3x3": {"kernel": stack(e, 3)},
                "norm": norm(c, cells),
            }
            for e in range(6)
        }
    params["head_norm"] = norm(4 * channels)
    params["head"] = {
        "kernel": kernel(seed, "head", (4 * channels, num_classes)),
        "bias": np.zeros(num_classes, np.float32),
    }
    return params


def batch(batch_size):
    """The golden batch."""
    with np.load(shared_file("golden/batch.npz")) as arrays:
        return Batch(jnp.asarray(arrays["image"][:batch_size]), jnp.asarray(arrays["label"][:batch_size], jnp.int32))


def cells():
    """The golden cells of NAS-Bench-201."""
    return json.loads(shared_file("golden/nasbench201.json").read_text())


def chain_entries(space):
    """The golden networks of a space whose networks are chains."""
    return json.loads(shared_file(f"golden/{space}.json").read_text())


def chain_params(space, arch, entry, name_of):
    """The golden weights as parameters of the chain of an architecture; name_of: path of a module to a kernel's name."""
    own = arch, entry["num_classes"]
    weights, shapes, flat = space.chain.weights(*own), space.chain.shapes(*own), {}
    for path, shape in shapes.items():
        if weights[path].kernel:
            flat[path] = kernel(entry["seed"], name_of(path[:-1]), shape)
        else:
            flat[path] = np.full(shape, float(weights[path].role is Role.SCALE), np.float32)
    return unflatten_dict(flat)


def more_cells():
    """The golden cells of NAS-Bench-201 for the further proxies."""
    return json.loads(shared_file("golden/nasbench201_more.json").read_text())


def network201(params, pictures, arch):
    """A NAS-Bench-201 network under score with given weights, its operations chosen at run time."""
    network = Network(
        module=NASBench201(),
        variables={"params": params},
        batch=pictures,
        args=(arch,),
        key=jax.random.key(0),
        options=LayerOptions(),
        layer_of=NASBench201().layer_of,
        is_active=lambda path: is_active(arch)(path, ()),
        num_params=0,
        num_flops=0,
        weights={},
        is_homogeneous=True,
    )
    return with_weights(network)


def compiled(run, dtype=np.float64):
    """A function of (params, batch, arch, ...) compiled once: it takes a golden cell, a batch and the rest.

    XLA's convolutions of float64 are slow on a CPU: what takes many passes is held to float64 in `FEW` cells alone.
    """
    programs = []

    def score(cell, pictures, *rest):
        with jax.enable_x64(dtype == np.float64):
            own = lambda leaf: np.asarray(leaf, dtype)
            params = jax.tree.map(own, nasbench201_params(cell["seed"]))
            pictures = Batch(own(pictures.image), np.asarray(pictures.label))
            programs.append(programs[0] if programs else jax.jit(run))
            arch = np.asarray(nasbench201.decode(cell["arch"]), np.int32)
            return jax.tree.map(np.asarray, programs[0](params, pictures, arch, *rest))

    return score


FEW = (1, 3)
"""Numbers of golden cells with few convolutions."""


def check_costly(chosen, names, in_float32, sign=1):
    """Whether proxies have golden values: in float64 those of `FEW` cells, in float32 of all.

    Args:
        chosen: proxies.
        names: of their values.
        in_float32: tolerances of the values there.
        sign: of the values.
    """
    cells = more_cells()
    for dtype, numbers, tolerances in ((np.float64, FEW, {"rtol": 1e-5}), (np.float32, range(5), in_float32)):
        score = compiled(scorer(chosen), dtype)
        for number in numbers:
            expected = [sign * cells[number]["scores"][name] for name in names]
            np.testing.assert_allclose(score(cells[number], batch(16)), expected, err_msg=str(number), **tolerances)


def scorer(chosen):
    """A function for `compiled`: scores by proxies, in the dtype of the network."""

    def run(params, pictures, arch):
        network, scores = network201(params, pictures, arch), []
        for proxy in chosen:
            own = proxy.prepare(network) if proxy.prepare else network
            scores.append(proxy.score(measurements_for(proxy, measure(own, *asked_for([proxy])))))
        return jnp.stack([jnp.asarray(score, pictures.image.dtype) for score in scores])

    return run

"""Golden values of the spaces whose networks are chains: every proxy of the files, as the chained programs score."""

import functools

import golden
import jax
import numpy as np
import pytest

from zsnas_jax import proxies, search_spaces
from zsnas_jax.measure.blocks import ChainNetwork
from zsnas_jax.measure.network import Network
from zsnas_jax.measure.programs import Programs
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.scoring.chained import score_chained

THROUGH = {"synflow": lambda score: score}
LOOSE = {"fisher": 1e-2, "epe": 2e-2, "swap": 1e-3}
LOG_DETERMINANTS = {"naswot", "acor", "gcor", "rcor", "wrcor"}
NAMES = ("acor", "gcor", "rcor", "wrcor", "naswot", "pnorm", "pgnorm", "snip", "fisher", "jaccor", "netsens", "epe")
ZERO_JACOBIAN = {"jaccor", "netsens", "epe"}


def nasbench_macro_name(path):
    layer, module = path[0], path[1]
    if layer.startswith("layer"):
        return f"{layer}/{'downsample' if module == 'conv' else module}"
    return layer


def nats_size_name(path):
    step, module = path[0].replace("block", "cell"), path[1]
    return f"{step}/{module}" if path[0].startswith("block") else step.replace("_", "/")


def transnas_name(path):
    step, module = path
    if step in ("stem", "head"):
        return "head" if step == "head" else f"stem/{module}"
    if step.startswith("block"):
        return f"{step}/{module}"
    return step.replace("_", "/") + ("" if module == "conv" else f"/{module}")


def darts_name(path):
    step, module = path
    if not step.startswith("cell"):
        return step
    module = module.replace("depthwise_", "dw").replace("pointwise_", "pw")
    return step.replace("_", "/") + ("" if module == "conv" else f"/{module}")


CASES = {
    "darts": darts_name,
    "nasbench_macro": nasbench_macro_name,
    "nats_size": nats_size_name,
    "transnas101_micro": transnas_name,
    "transnas101_macro": transnas_name,
}


LARGE = ("darts",)  # a minute each


@functools.cache
def compiled():
    return Programs(1000)


def check(name, number, names):
    """Whether a golden network has its golden scores."""
    space, entry = search_spaces.make_space(name), golden.chain_entries(name.replace("transnas101", "transnas"))[number]
    arch, classes = space.decode(entry["arch"]), entry["num_classes"]
    assert space.encode(arch) == entry["arch"]
    steps = tuple(space.chain.steps(arch, classes))
    params = golden.chain_params(space, arch, entry, CASES[name])
    network = Network(
        module=ChainNetwork(lambda *_, **__: steps),
        variables={"params": params},
        batch=golden.batch(entry["batch_size"]),
        args=(),
        key=jax.random.key(0),
        options=LayerOptions(),
        layer_of=space.layer_of,
        is_active=lambda path: True,
        num_params=space.num_params(arch, classes),
        num_flops=space.num_flops(arch, classes, 32),
        weights=space.chain.weights(arch, classes),
        is_homogeneous=space.is_homogeneous,
    )
    chosen = [proxies.swap(num_samples=16) if own == "swap" else proxies.PROXIES[own]() for own in names]
    scores = dict(zip(names, score_chained(compiled(), steps, network, chosen), strict=True))
    for own, score in scores.items():
        expected = entry["scores"][own]
        if own in ZERO_JACOBIAN and entry["jacobian_is_zero"]:
            assert expected is None and score == -np.inf, own
            continue
        rtol, atol = (0, 0.05) if own in LOG_DETERMINANTS else (LOOSE.get(own, 1e-3), 1e-6)
        np.testing.assert_allclose(score, expected, rtol=rtol, atol=atol, err_msg=own)


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [pytest.param(own, marks=pytest.mark.slow) if own in LARGE else own for own in CASES])
def test_golden_values(name, number):
    check(name, number, (*NAMES, "params", "flops", "synflow", "swap"))


@pytest.mark.parametrize("name", LARGE)
def test_golden_values_of_a_pass_forward(name):
    check(name, 0, ("acor", "naswot", "swap", "params", "flops"))

"""Conformance of every proxy: golden values, the dispatched network against the static one, degenerate cells."""

import functools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.measure.network import Network, with_weights
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.nn.options import LayerOptions
from zsnas_jax.proxies import function_space
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.search_spaces.nasbench201.network import is_active

SPACE = nasbench201.space()
GOLDEN = (
    *("pnorm", "pgnorm", "snip", "grasp", "synflow", "fisher", "jaccor", "epe", "phi", "zen", "bt"),
    *("lydyniso", "dyniso", "netsens", "naswot", "acor", "gcor", "rcor", "wrcor"),
)
QUICK = ("pnorm", "naswot", "acor")
"""Those of a pass forward."""
SHARED = tuple(name for name in GOLDEN if name not in ("grasp", "dyniso", "phi", "zen", "bt", "synflow"))
"""Those that share one pass, which compiles for half a minute; the others for minutes."""
# Our scores that are a monotone function of the golden number, and the golden number through that function.
THROUGH = {"synflow": np.log, "phi": np.log1p, "wrcor": lambda score: score + 16 * np.log(2)}
# Rounding flips ReLUs that sit near zero, and these amplify it; in float64 every value agrees to 1e-12.
LOOSE = {"fisher": 1e-2, "grasp": 5e-3, "epe": 3e-3}
LOG_DETERMINANTS = {"naswot", "acor", "gcor", "rcor", "wrcor"}
UNDEFINED = {"synflow", "jaccor", "epe", "dyniso", "naswot", "acor", "gcor", "rcor", "wrcor"}


def golden_noise(seed, batch_size):
    draw = lambda i: np.random.default_rng([seed, 900 + i]).standard_normal((batch_size, 32, 32, 3)).astype(np.float32)
    return jnp.asarray(draw(0)), jnp.asarray(draw(1))


@functools.cache
def golden_program(names):
    """Scores of golden proxies of a cell with given weights and noise, as one compiled program."""
    chosen = [proxies.dyniso(num_samples=4) if name == "dyniso" else proxies.PROXIES[name]() for name in names]
    of_noise = {n: getattr(function_space, f"{n}_of_noise") for n in ("phi", "zen", "bt") if n in names}

    @jax.jit
    def score(params, batch, arch, noise):
        network = Network(
            module=SPACE.make_network(10),
            variables={"params": params},
            batch=batch,
            args=(arch,),
            key=jax.random.key(0),
            options=LayerOptions(),
            layer_of=SPACE.layer_of,
            is_active=lambda path: is_active(arch)(path, ()),
            num_params=0,
            num_flops=0,
            weights={},
            is_homogeneous=True,
        )
        network = with_weights(network)
        rest = [proxy for proxy in chosen if proxy.name not in of_noise]
        scores = dict(zip([proxy.name for proxy in rest], scoring.score_network(network, rest), strict=True))
        scores |= {name: of(network, noise) for name, of in of_noise.items()}
        return scoring.degenerate_to_minus_inf(jnp.stack([scores[name] for name in names]))

    return score


@pytest.mark.parametrize(
    "names",
    [QUICK, pytest.param(SHARED, marks=pytest.mark.dear), pytest.param(GOLDEN, marks=pytest.mark.slow)],
    ids=["quick", "shared", "all"],
)
@pytest.mark.parametrize("number", range(6))
def test_golden_values(number, names):
    cell = golden.cells()[number]
    arguments = golden.nasbench201_params(cell["seed"]), golden.batch(16), jnp.asarray(SPACE.decode(cell["arch"]))
    scores = golden_program(names)(*arguments, golden_noise(cell["seed"], 16))
    for name, score in zip(names, np.asarray(scores), strict=True):
        expected = cell["scores"][name]
        if expected is None or (name == "synflow" and expected == 0):
            assert score == -np.inf, name
            continue
        expected = THROUGH.get(name, lambda score: score)(expected)
        rtol, atol = (0, 0.05) if name in LOG_DETERMINANTS else (LOOSE.get(name, 1e-3), 1e-6)
        np.testing.assert_allclose(score, expected, rtol=rtol, atol=atol, err_msg=name)


ALL = tuple(proxies.expand(["all"]))
FEW = ("num_tensors", "pnorm", "snip", "fisher", "jaccor", "naswot", "wrcor", "params", "synflow", "nir_swap")
"""One of each kind that shares the pass of WRCor, or prepares the network: the others compile for minutes."""
KEY = jax.random.key(3)
CELLS = [(3, 0, 2, 1, 4, 3), (2, 3, 0, 0, 1, 4), (0, 0, 0, 0, 0, 0), (1, 1, 1, 1, 1, 1)]
BATCH = tiny.batch(batch_size=8)

MARKED = [pytest.param(FEW, marks=pytest.mark.dear), pytest.param(ALL, marks=pytest.mark.slow)]
sets = pytest.mark.parametrize("names", MARKED, ids=["few", "all"])


@functools.cache
def drawn(initializer):
    """The parameters of the dispatched tiny network under an initialisation."""
    return tiny.draw_params(KEY, INITIALIZERS[initializer])


def score_tiny(params, arch, names, active=lambda path: True):
    network = tiny.network()
    network = tiny.scored(network, {"params": params}, BATCH, arch, layer_of=network.layer_of, is_active=active)
    network = network._replace(num_params=1000, num_flops=1)
    return scoring.score_network(network, proxies.make_proxies(names))


@functools.cache
def dispatched_program(names):
    return jax.jit(lambda params, arch: score_tiny(params, arch, names, lambda path: is_active(arch)(path, ())))


def dispatched_scores(initializer, arch, names):
    """Scores of the tiny network whose operations are chosen at run time, by name."""
    scores = dispatched_program(names)(drawn(initializer), jnp.array(arch))
    return dict(zip(names, np.asarray(scores), strict=True))


@pytest.mark.slow  # each of the two is a program of its own
@pytest.mark.parametrize("cell", [0, 1])
@sets
def test_a_static_network_scores_as_the_dispatched_one(names, cell):
    alone = jax.jit(lambda params: score_tiny(params, CELLS[cell], names))
    for initializer in INITIALIZERS:
        static = np.asarray(alone(tiny.select_params(drawn(initializer), CELLS[cell])))
        others = dispatched_scores(initializer, CELLS[cell], names)
        for name, one in zip(names, static, strict=True):
            np.testing.assert_allclose(one, others[name], rtol=5e-3, atol=1e-3, err_msg=f"{name} {initializer}")
        assert np.isfinite(static).all(), static


@sets
def test_a_cell_without_a_path_is_undefined_or_has_the_formulas_value(names):
    scores = dispatched_scores("kaiming_uniform", CELLS[2], names)
    assert not np.isnan(list(scores.values())).any()
    own = {"sam_nwot", "nir_nwot", "ncd_nwot", "gcor_first2", "gcor_first5", "neg_log_fisher"}
    own |= {"az_expressivity", "az_progressivity"}
    assert {name for name, score in scores.items() if score == -np.inf} == (UNDEFINED | own) & set(names)
    zero = {"pgnorm", "snip", "grasp", "fisher", "phi", "phi_bn", "netsens", "zico"} & set(names)
    assert all(scores[name] == 0 for name in zero)


@sets
def test_a_cell_of_skips_lacks_only_what_needs_convolutions(names):
    scores = dispatched_scores("kaiming_uniform", CELLS[3], names)
    assert {name for name, score in scores.items() if not np.isfinite(score)} <= {"gcor_first2", "gcor_first5"}


def test_every_proxy_says_what_it_is():
    for name, factory in proxies.PROXIES.items():
        proxy = factory()
        assert proxy.name == name and proxy.reference and factory.__doc__.strip()
        assert isinstance(proxy.settings, dict)
    with pytest.raises(TypeError):
        proxies.zico(3)  # hyper-parameters are named

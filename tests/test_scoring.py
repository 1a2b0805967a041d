import functools
import os
import pathlib
import subprocess
import sys

import conftest
import jax
import numpy as np
import pytest
import tiny

from zsnas_jax import datasets, proxies, scoring
from zsnas_jax.base import Batch, fingerprint
from zsnas_jax.measure import capture
from zsnas_jax.measure.measurements import Measurements
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.runs.scores import score_archs
from zsnas_jax.runs.settings import ScoreSettings, stored_settings
from zsnas_jax.search_spaces import make_space
from zsnas_jax.search_spaces.nasbench201.network import EDGES
from zsnas_jax.storage.store import ResultStore

KEY = jax.random.key(5)
ARCHS = tiny.space().from_index(np.arange(40))
ACOR = ("acor",)
RESPONSE = ("acor", "gcor", "rcor", "wrcor")
PROXIES = (*RESPONSE, "snip", "swap")


@functools.cache
def scorer(names=PROXIES, **options):
    """A program, which calls with equal options share."""
    return scoring.make_scorer(KEY, tiny.space(), proxies.make_proxies(names), num_classes=10, **options)


def score(archs, repeats=None, **options):
    """Scores, and the program that they come from."""
    program = scorer(**options)
    repeats = np.zeros(len(archs), int) if repeats is None else repeats
    places = range(0, len(archs), program.capacity)
    take = lambda i: program.score(archs[i : i + program.capacity], repeats[i : i + program.capacity], tiny.batch())
    return np.concatenate([take(i) for i in places]), program


@pytest.fixture(scope="module")
def reference():
    return score(ARCHS)[0]


def test_one_compilation_whatever_the_number_of_architectures(reference):
    scores, program = score(ARCHS)
    program.score(ARCHS[:3], np.zeros(3), tiny.batch())
    program.score(ARCHS[7:8], np.ones(1), tiny.batch(seed=1))
    assert program.num_compilations() == 1
    np.testing.assert_array_equal(scores, reference)


@pytest.mark.dear
def test_double_precision_elsewhere_in_a_program_changes_nothing():
    space = make_space(f"{conftest.ROOT}/tests/data/toy_space.py:space")
    chosen = proxies.make_proxies(["wrcor", "snip", "synflow", "jaccor"])
    score = functools.partial(scoring.score_arch, KEY, space=space, proxies=chosen, num_classes=10)
    with jax.enable_x64(False):
        single = np.asarray(jax.jit(score)(space.from_index(14), tiny.batch()))
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.jit(score)(space.from_index(14), tiny.batch()), single, rtol=1e-5)


def test_every_product_is_float32_also_on_a_gpu():
    """Whose default keeps ten bits: PGNorm was seen to differ by 7 %."""
    network, batch = tiny.network(), tiny.batch()
    chosen = proxies.make_proxies([*PROXIES, "synflow", "naswot"])

    def scored(params, arch):
        under_score = tiny.scored(network, {"params": params}, batch, arch, layer_of=network.layer_of)
        return scoring.score_network(under_score, chosen)

    with jax.default_matmul_precision(None):
        made = jax.make_jaxpr(scored)(tiny.draw_params(KEY), ARCHS[0])
    products = {line.strip() for line in str(made).splitlines() if "precision=" in line}
    assert products == {"precision=(Precision.HIGHEST, Precision.HIGHEST)"}


def test_scores_do_not_depend_on_chunking_or_order(reference):
    order = np.random.default_rng(0).permutation(len(ARCHS))
    shuffled, program = score(ARCHS[order])
    np.testing.assert_allclose(shuffled, reference[order], rtol=1e-6)
    single = np.concatenate([program.score(ARCHS[i : i + 1], [0], tiny.batch()) for i in range(5)])
    np.testing.assert_allclose(single, reference[:5], rtol=1e-6)


@pytest.mark.dear
def test_a_vmapped_step_gives_the_same_scores(reference):
    scores, program = score(ARCHS, names=("wrcor",), candidates_per_step=3)
    np.testing.assert_allclose(scores[:, 0], reference[:, PROXIES.index("wrcor")], rtol=1e-3)
    assert program.num_compilations() == 1


def test_a_score_is_that_of_the_static_network(reference):
    space, batch = tiny.space(), tiny.batch()
    for i in (0, 3):
        arch = tuple(int(gene) for gene in ARCHS[i])
        key = jax.random.fold_in(jax.random.fold_in(KEY, fingerprint(ARCHS[i])), 0)
        network = space.make_network(10)
        plain = lambda p, arch=arch: capture.capture(network, {"params": p}, batch, arch)
        matrices = jax.jit(lambda p: capture.aggregate(plain(p), space.layer_of))(
            tiny.select_params(tiny.draw_params(key), arch)
        )
        expected = [proxy.score(Measurements(None, matrices)) for proxy in proxies.make_proxies(RESPONSE)]
        np.testing.assert_allclose(reference[i, : len(RESPONSE)], np.array(expected), rtol=1e-4)


def test_repeats_and_own_batches(reference):
    program = scorer(ACOR, resample=True)
    batches = [tiny.batch(seed=seed) for seed in (0, 1, 0)]
    stacked = Batch(np.stack([b.image for b in batches]), np.stack([b.label for b in batches]))
    scores = program.score(ARCHS[[0, 0, 1]], [0, 0, 0], stacked)
    np.testing.assert_allclose(scores[[0, 2]], reference[:2, :1], rtol=1e-5)
    assert not np.allclose(scores[1], scores[0])
    other, _ = score(ARCHS[:1], np.array([1]))
    assert not np.allclose(other, reference[:1])


def test_forward_only_proxies_score_the_same(reference):
    forward, _ = score(ARCHS, names=ACOR)
    np.testing.assert_allclose(forward[:, 0], reference[:, 0], rtol=1e-5)


@pytest.mark.slow
def test_another_initialisation_scores(reference):
    scores, _ = score(ARCHS[:4], names=ACOR, initializer=INITIALIZERS["normal"])
    assert np.isfinite(scores).all() and not np.allclose(scores, reference[:4, :1])


def has_path(arch):
    """Whether a signal reaches the last node."""
    reached = {0}
    for op, (source, target) in zip(arch, EDGES, strict=True):
        if op and source in reached:
            reached.add(target)
    return 3 in reached


def test_cells_without_a_defined_site_score_minus_infinity():
    """341 cells have no path; 201 of them have no convolution whose input carries a signal, hence no defined site."""
    space = tiny.space()
    dead = np.array([arch for arch in space.from_index(np.arange(15625)) if not has_path(arch)])
    assert len(dead) == 341
    scores, program = score(dead)
    assert program.num_compilations() == 1 and not np.isnan(scores).any()
    undefined = np.isneginf(scores[:, : len(RESPONSE)])
    assert dict(zip(RESPONSE, undefined.sum(0), strict=True)) == {"acor": 201, "gcor": 341, "rcor": 201, "wrcor": 201}
    assert (undefined[:, 0] == undefined[:, 2]).all() and (undefined[:, 0] == undefined[:, 3]).all()


def test_nan_and_infinity_become_minus_infinity():
    values = scoring.degenerate_to_minus_inf(np.array([1.0, np.nan, np.inf, -np.inf]))
    np.testing.assert_array_equal(values, [1.0, -np.inf, -np.inf, -np.inf])


def test_a_users_own_proxy_is_scored():
    largest = proxies.acor()._replace(name="largest", score=lambda r: r.responses.activations.max())
    program = scoring.make_scorer(KEY, tiny.space(), [largest], num_classes=10)
    scores = program.score(ARCHS[:2], [0, 0], tiny.batch())
    assert scores.shape == (2, 1) and (scores > 0).all()


@pytest.mark.slow
def test_four_devices_share_the_work(reference, tmp_path):
    program = "import numpy as np, jax, test_scoring as t; assert jax.device_count() == 4; np.save('four.npy', t.score(t.ARCHS, names=t.ACOR)[0])"
    path = f"{pathlib.Path(__file__).parent}{os.pathsep}{pathlib.Path(__file__).parents[1]}"
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "four.npy"), reference[:, :1], rtol=1e-4)


def test_bad_calls_are_refused():
    with pytest.raises(ValueError, match="candidates_per_step is 0: at least 1"):
        scorer(candidates_per_step=0)
    with pytest.raises(ValueError, match="0 candidates in one call: allowed are 1 to"):
        scorer().score(ARCHS[:0], [], tiny.batch())


def test_a_failing_proxy_marks_its_architecture_and_the_run_goes_on(tmp_path):
    """Three of twelve cells make a proxy raise; the others and the other proxy have their scores, also when resumed."""

    def picky(gene):
        if gene == 3:
            raise FloatingPointError("gene three is bad")
        return np.float32(gene)

    shape = jax.ShapeDtypeStruct((), np.float32)
    first_gene = lambda r: jax.pure_callback(picky, shape, r.network.args[0][0])
    chosen = [proxies.params(), proxies.params()._replace(name="picky", score=first_gene)]
    settings, source, space = ScoreSettings(batch_size=4), datasets.noise(image_size=8), tiny.space()
    for _ in range(2):
        with ResultStore(tmp_path, stored_settings(settings, space, source, "noise")) as store:
            scores, times = score_archs(store, space, ARCHS[:12], chosen, source, settings)
            failures = store.failures(chosen[1])
    bad = ARCHS[:12, 0] == 3
    np.testing.assert_array_equal(scores[:, 1], np.where(bad, -np.inf, ARCHS[:12, 0]))
    assert np.isfinite(scores[:, 0]).all() and bad.any() and times.num_scored == 0
    assert failures.keys() == {space.encode(arch) for arch in ARCHS[:12][bad]}
    assert all(why.startswith("FloatingPointError: gene three is bad") for why in failures.values())


def test_a_proxy_that_fails_everywhere_stops_the_run(tmp_path):
    def broken(gene):
        raise FloatingPointError("no")

    score = lambda r: jax.pure_callback(broken, jax.ShapeDtypeStruct((), np.float32), r.network.args[0][0])
    chosen = [proxies.params()._replace(name="broken", score=score)]
    settings, source, space = ScoreSettings(batch_size=4), datasets.noise(image_size=8), tiny.space()
    with ResultStore(tmp_path, stored_settings(settings, space, source, "noise")) as store:
        with pytest.raises(RuntimeError, match="proxy broken fails on every architecture: FloatingPointError: no"):
            score_archs(store, space, ARCHS[:3], chosen, source, settings)
        assert store.failures(chosen[0]) == {}

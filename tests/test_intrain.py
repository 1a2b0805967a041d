"""InTrain and L-SWAG: golden values, both kinds of networks, layers of zeros."""

import golden
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies
from zsnas_jax.measure.measurements import asked_for, measure, measurements_for
from zsnas_jax.measure.network import total
from zsnas_jax.proxies.intrain import evenness
from zsnas_jax.proxies.lswag import patterns, steadiness

COUNTED = proxies.intrain(zero_layers="counted", pictures="own")


@pytest.mark.slow
def test_golden_values():
    names = ("intrain_relu", "intrain_gamma_relu", "intrain_num_relu", "intrain_o_all_tensors")
    names += ("lswag_lambda_all", "lswag_psi_all", "lswag_all")
    chosen = [COUNTED, proxies.lswag()]

    def run(params, batch, arch):
        measured = measure(golden.network201(params, batch, arch), *asked_for(chosen))
        even, steady = (measurements_for(proxy, measured) for proxy in chosen)
        gamma, _, count = total(even.observed["ratios"])
        values = [COUNTED.score(even), gamma, count, evenness(even)]
        return jnp.stack([*values, steadiness(steady, 2), patterns(steady), chosen[1].score(steady)])

    score = golden.compiled(run)
    for cell in golden.more_cells():
        expected = [cell["scores"][name] for name in names]
        # Gradients that are zero in truth, of shifts before a norm, are noise above InTrain's epsilon.
        rtol = [2e-2, 1e-6, 0, 2e-2, 1e-2, 0, 1e-2]
        found = score(cell, golden.batch(16))
        for name, value, right, own in zip(names, found, expected, rtol, strict=True):
            np.testing.assert_allclose(value, right, rtol=own, err_msg=name)


@pytest.mark.slow  # two programs
def test_a_static_network_scores_as_the_dispatched_one():
    tiny.compare_kinds(["lswag", "intrain"], rtol=2e-2)


@pytest.mark.slow  # two programs
def test_activations_of_zeros_count_for_nothing_unless_asked_for():
    skipped, counted = tiny.dispatched_scores(["intrain", "intrain:zero_layers=counted"], (0, 3, 3, 0, 0, 0))
    assert 0 < skipped < counted


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: proxies.intrain(zero_layers="no"),
            "intrain with zero_layers='no': allowed are 'skipped' and 'counted'",
        ),
        (lambda: proxies.intrain(pictures="real"), "intrain with pictures='real': allowed are 'noise' and 'own'"),
        (lambda: proxies.lswag(num_batches=1), "lswag with num_batches=1: a deviation over batches needs at least 2"),
        (lambda: proxies.lswag(num_samples=0), "lswag with num_samples=0"),
        (lambda: proxies.w_pca(share=0.0), "w_pca with share=0.0: allowed are 0 to 1, 0 excluded"),
        (lambda: tiny.dispatched_scores(["lswag:num_batches=3"], tiny.CELL), "lswag cuts a batch of 4 into 3"),
        (
            lambda: tiny.dispatched_scores(["w_pca"], tiny.CELL),
            "proxy w_pca is of transformers: no module of NASBench201",
        ),
    ],
)
def test_bad_input_is_one_clear_error(build, message):
    with pytest.raises(ValueError, match=message):
        build()

"""GradSign and the number of tensors: golden values, both kinds of networks, whose gradients count."""

import functools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from zsnas_jax import proxies, scoring
from zsnas_jax.base import Batch
from zsnas_jax.measure.network import forward
from zsnas_jax.proxies import labels

MEAN = "gradsign:reduction=mean"


@pytest.mark.slow
def test_golden_values():
    chosen = proxies.make_proxies(["num_tensors", "gradsign"])
    golden.check_costly(chosen, ["vkdnw_num_tensors", "gradsign"], {"rtol": 1e-3})


@pytest.mark.slow
def test_the_mean_is_of_the_golden_number_of_weights():
    cell = golden.more_cells()[3]
    found = golden.compiled(golden.scorer(proxies.make_proxies([MEAN])), np.float32)(cell, golden.batch(16))
    np.testing.assert_allclose(found, cell["scores"]["gradsign"] / cell["scores"]["num_kernel_weights"], rtol=1e-3)


@pytest.mark.slow  # two programs
def test_a_static_network_scores_as_the_dispatched_one():
    tiny.compare_kinds(["num_tensors", "gradsign", MEAN], rtol=1e-3)


@pytest.mark.slow  # two programs
def test_tensors_are_counted():
    """Stem 1 + 2, two cells of three convolutions with three each, last norm 2, classifier 2."""
    assert tiny.dispatched_scores(["num_tensors", "gradsign", MEAN], tiny.CELL)[0] == 3 + 2 * 9 + 2 + 2
    assert tiny.dispatched_scores(["num_tensors", "gradsign", MEAN], (0,) * 6)[0] == 7


@functools.cache
def network(batch_size):
    params = tiny.select_params(tiny.draw_params(jax.random.key(0)), (3, 1, 0, 0, 1, 2))
    drawn = tiny.batch(4)
    return tiny.scored(
        tiny.network(),
        {"params": params},
        Batch(*(leaf[:batch_size] for leaf in (drawn.image, drawn.label))),
        (3, 1, 0, 0, 1, 2),
    )


@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_picture_is_a_pass_of_its_own(batch_size):
    own = network(batch_size)
    found = jax.jit(lambda: scoring.score_network(own, [proxies.gradsign()])[0])()

    @jax.jit
    def gradients(n):
        image, label = own.batch.image[n][None], own.batch.label[n][None]
        return jax.grad(lambda p: own.loss(forward(own, image, params=p).logits, label))(own.params)

    signs = [jax.tree.map(np.sign, gradients(n)) for n in range(batch_size)]
    total = jax.tree.map(lambda *leaves: np.abs(sum(leaves)).sum() * (leaves[0].ndim > 1), *signs)
    kernels = {"stem": total["stem"], "head": total["head"]["kernel"]}
    kernels |= {f"edge{e}": total["stage0"][f"edge{e}"][f"conv_{s}x{s}"]["kernel"] for e, s in ((0, 3), (5, 1))}
    expected = sum(np.sum(jax.tree.leaves(part)) for part in kernels.values())
    np.testing.assert_allclose(found, expected, atol=4)


def test_labels_are_needed_and_the_reduction_is_known():
    own = network(1)
    with pytest.raises(ValueError, match="gradsign.*labels are needed"):
        scoring.score_network(own._replace(batch=Batch(own.batch.image, None)), [proxies.gradsign()])
    with pytest.raises(ValueError, match="gradsign with reduction='median': allowed are 'sum' and 'mean'"):
        proxies.gradsign(reduction="median")
    assert labels.label(proxies.gradsign(reduction="mean")) == MEAN


def test_it_is_costly_and_not_among_all():
    assert "gradsign" not in proxies.expand(["all"]) and "num_tensors" in proxies.expand(["all"])
    assert jnp.ndim(proxies.gradsign().settings["reduction"]) == 0

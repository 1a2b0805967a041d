"""What every search space has to keep to."""

import functools

import jax
import numpy as np
import pytest

from zsnas_jax import search_spaces
from zsnas_jax.nn.options import has_layer_options
from zsnas_jax.reports import drawing

ALIKE = ("darts_s2", "darts_s3", "darts_s4", "proxylessnas")  # as others, with other choices or widths


def marked(names):
    return [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in names]


every_space = pytest.mark.parametrize("name", marked(search_spaces.SPACES))
CHAINED = [name for name, make in search_spaces.SPACES.items() if make().chain is not None]


@functools.cache
def drawn(name):
    """Eight samples of a space."""
    sample = search_spaces.make_space(name).sample
    return np.asarray(jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(0), 8)))


@every_space
def test_samples_are_written_and_read_back_and_mutate_to_others(name):
    space = search_spaces.make_space(name)
    archs = drawn(name)
    mutants = np.asarray(jax.jit(jax.vmap(space.mutate))(jax.random.split(jax.random.key(1), len(archs)), archs))
    for arch, mutant in zip(archs, mutants, strict=True):
        assert bool(space.is_valid(arch)) and bool(space.is_valid(mutant))
        string = space.encode(arch)
        assert string.isprintable() and string != space.encode(mutant)
        again = np.asarray(space.decode(string))
        assert space.encode(again) == string and again.dtype == np.int32
        hash(space.static(arch))
    with pytest.raises(ValueError) as caught:
        space.decode("?")
    assert "\n" not in str(caught.value)


@every_space
def test_what_is_said_of_a_space_can_be_asked(name, tmp_path):
    space = search_spaces.make_space(name)
    arch = drawn(name)[0]
    assert space.name == name
    assert int(space.num_params(arch, 10)) > 0 and int(space.num_flops(arch, 10, 32)) > 0
    if space.num_archs and space.from_index:
        np.testing.assert_array_equal(space.to_index(space.from_index(np.arange(5))), np.arange(5))
    if space.graph:
        assert drawing.draw(tmp_path / "arch.png", space, arch) and (tmp_path / "arch.png").stat().st_size > 1000


@pytest.mark.parametrize("name", marked(CHAINED))
def test_every_block_of_a_chain_takes_options(name):
    """Or a norm or an activation that a block has no use for would be refused."""
    space = search_spaces.make_space(name)
    for arch in drawn(name)[:4]:
        blocks = [step.block for step in space.chain.steps(arch, 10)]
        assert all(map(has_layer_options, blocks)), {type(b).__name__ for b in blocks if not has_layer_options(b)}

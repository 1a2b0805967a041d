"""Data on which no score is defined: refused by name before anything compiles, or mended and said."""

import jax
import numpy as np
import pytest

from zsnas_jax import datasets, proxies, scoring, search_spaces
from zsnas_jax.base import Batch, check_pictures
from zsnas_jax.datasets import PictureSource, copies, draw_batch, from_arrays
from zsnas_jax.runs.settings import ScoreSettings, stored_settings

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGE, LABEL = RNG.integers(0, 256, (12, 8, 8, 3), np.uint8), np.arange(12) % 3


def without_variance():
    image = IMAGE.copy()
    image[..., 1] = 7
    return image


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (without_variance(), LABEL, "x: every pixel of channel 1 is 7, it has no variance"),
        (IMAGE, np.full(12, 2), "x: every label is 2, needed are at least 2 classes"),
        (IMAGE, np.append(LABEL[1:], 2**31), "x: label 2147483648 would need 2147483649 classes, allowed are 1000000"),
        (IMAGE, LABEL - 1, r"x: labels are int64\[12\], needed is int\[12\], from 0"),
    ],
)
def test_arrays_that_cannot_be_standardised_or_classified_are_refused(image, label, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(image, label, name="x")


def test_a_batch_takes_each_picture_once():
    image = np.concatenate([IMAGE, IMAGE[:4], IMAGE[:2]])
    source = from_arrays(image, np.arange(18) % 3, name="x")
    seen = []
    for seed in range(5):
        with pytest.warns(UserWarning, match=r"x: 6 of 18 pictures are copies \(12 is 0, 13 is 1, 14 is 2, \.\.\.\)"):
            batch = draw_batch(jax.random.key(seed), source, 12)
        seen.append(len(np.unique(np.asarray(batch.image).reshape(12, -1), axis=0)))
    assert seen == [12] * 5
    with pytest.raises(
        ValueError, match=r"6 of 18 pictures are copies \(.*\): a batch of 13 needs as many that differ"
    ):
        draw_batch(KEY, source, 13)


def test_without_copies_a_batch_is_as_ever():
    draw = lambda: np.random.default_rng(3)
    np.testing.assert_array_equal(
        copies.draw_distinct(draw(), IMAGE, 5, "x", dict), draw().choice(12, 5, replace=False)
    )
    assert copies.find_copies(IMAGE) == {} and copies.find_copies(IMAGE[[0, 1, 0, 1, 0]]) == {2: 0, 3: 1, 4: 0}


def source_of(image, label=None, num_classes=3):
    """A source of one's own, which gives what it is told to."""
    label = np.arange(len(image)) % num_classes if label is None else label
    return PictureSource("mine", num_classes, lambda rng, count: (image, label), np.zeros(3), np.ones(3))


NOISE = RNG.standard_normal((4, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (source_of(NOISE * np.float32([1, 0, 1])), "mine: channel 1 has no variance in a batch of 4"),
        (
            source_of(NOISE + np.float32(1e5)),
            "mine: channel 0 has mean 1e.05 and deviation 0.978, too far from standard",
        ),
        (source_of(NOISE * np.float32(np.nan)), "mine: pictures are not finite"),
        (source_of(NOISE[[0, 1, 1, 2]]), "mine: 1 of 4 pictures of a batch are copies, picture 2 of 1"),
        (source_of(NOISE, np.array([0, 1, 2, 3])), "mine: labels from 0 to 3 do not fit 3 classes"),
        (source_of(NOISE[:, :0]), r"mine: a batch is of shape \[4, 0, 8, 3\]"),
    ],
)
def test_a_batch_on_which_no_score_is_defined_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        draw_batch(KEY, source, 4)


@pytest.mark.parametrize("size", [1, 2, 29, 30])
@pytest.mark.parametrize("name", ["nasbench201", "nasbench101"])
def test_pictures_that_a_space_does_not_take_are_refused_before_anything_is_traced(name, size):
    space, source = search_spaces.make_space(name), datasets.noise(image_size=size)
    message = f"pictures are of {size} x {size} pixels: space {name} needs a multiple of 4"
    with pytest.raises(ValueError, match=message):
        stored_settings(ScoreSettings(batch_size=4), space, source, "noise")
    with pytest.raises(ValueError, match=message):
        arch = space.sample(KEY)
        scoring.score_arch(KEY, arch, draw_batch(KEY, source, 4), space=space, proxies=[proxies.acor()], num_classes=10)
    for programs in ("dispatched", "static"):
        with pytest.raises(ValueError, match=message):
            scorer = scoring.make_scorer(KEY, space, [proxies.acor()], num_classes=10, programs=programs)
            scorer.score(np.asarray(arch)[None], np.zeros(1, int), draw_batch(KEY, source, 4))


def test_mobilenetv2_resizes_its_pictures():
    space = search_spaces.make_space("mobilenetv2")
    check_pictures(space, np.zeros((2, 29, 29, 3)))
    with pytest.raises(ValueError, match="pictures are of 0 x 29 pixels: space mobilenetv2 needs at least 1"):
        check_pictures(space, np.zeros((2, 0, 29, 3)))


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_pictures_as_far_from_standard_as_is_allowed_score_as_in_float64(offset):
    """Of one convolution, batch norm and ReLU, written out."""
    import flax.linen as nn

    from zsnas_jax.nn.probes import Site

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(8, (3, 3), padding="VALID", use_bias=False)(x)
            x = nn.BatchNorm(use_running_average=False)(x)
            return nn.Dense(3)(nn.relu(Site()(x)).mean((1, 2)))

    batch = Batch(NOISE + np.float32(offset), np.arange(4) % 3)
    variables = Plain().init(KEY, batch.image)
    score = scoring.score_module(KEY, Plain(), variables, batch, proxies=[proxies.acor()])[0]
    kernel = np.asarray(variables["params"]["Conv_0"]["kernel"], np.float64)
    patches = np.lib.stride_tricks.sliding_window_view(batch.image.astype(np.float64), (3, 3), (1, 2))
    y = np.einsum("nhwcij,ijcd->nhwd", patches, kernel)
    y = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + 1e-5)
    expected = np.linalg.slogdet(np.abs(np.corrcoef(y.reshape(4, -1))))[1]
    np.testing.assert_allclose(score, expected, atol=1e-3)

"""Augmentations, AutoAugment's policies, and the batches that grain makes of them."""

import collections

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from PIL import Image
import pytest

from zsnas_jax.datasets import Examples
from zsnas_jax.datasets.crops import centre_crop
from zsnas_jax.training import AUGMENTATIONS, Frame, autoaugment, randaugment
from zsnas_jax.training.augmentations import crop, cutout, erasing, flip, lighting, make_augmentations, resized_crop
from zsnas_jax.training.batches import ordered_batches, train_batches

FRAME = Frame(16, np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.2, 0.2]))


def picture(size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_every_augmentation_gives_a_picture_and_leaves_its_input(name, seed):
    augment, given_picture = AUGMENTATIONS[name](FRAME), picture(seed=seed % 5)
    kept = given_picture.copy()
    first, again = (augment(np.random.default_rng(seed), given_picture) for _ in range(2))
    assert first.shape == (16, 16, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)  # the generator is all its randomness
    np.testing.assert_array_equal(given_picture, kept)


def test_a_flip_mirrors_half_of_the_time():
    given_picture, rng = picture(), np.random.default_rng(0)
    flipped = [np.array_equal(flip(rng, given_picture), given_picture[:, ::-1]) for _ in range(400)]
    assert 160 < sum(flipped) < 240


def test_a_crop_is_a_part_of_the_padded_picture():
    given_picture, rng = picture(8), np.random.default_rng(0)
    padded = np.pad(given_picture, ((2, 2), (2, 2), (0, 0)))
    parts = {padded[i : i + 8, j : j + 8].tobytes() for i in range(5) for j in range(5)}
    found = {crop(rng, given_picture, pad=2).tobytes() for _ in range(300)}
    assert found == parts


def test_cutout_fills_a_square():
    rng = np.random.default_rng(0)
    counts = collections.Counter()
    for _ in range(200):
        cut = cutout(rng, np.zeros((8, 8, 3), np.uint8), 4, np.array([9, 9, 9], np.uint8))
        rows, columns = np.nonzero(cut[..., 0])
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        counts[len(rows)] += 1
    assert max(counts) == 16 and min(counts) >= 4


def test_erasing_happens_as_often_as_it_says():
    rng = np.random.default_rng(0)
    changed = [not np.array_equal(erasing(rng, picture(), FRAME), picture()) for _ in range(800)]
    assert 0.2 < np.mean(changed) < 0.3


def test_lighting_adds_one_colour():
    bright = np.full((4, 4, 3), 128, np.uint8)
    lit = lighting(np.random.default_rng(3), bright).astype(int) - 128
    assert (lit == lit[0, 0]).all() and 0 < np.abs(lit).max() < 64


def test_a_resized_crop_of_a_plain_picture_is_plain():
    rng, plain = np.random.default_rng(0), np.full((20, 30, 3), 77, np.uint8)
    for _ in range(20):
        np.testing.assert_array_equal(resized_crop(rng, plain, 16), np.full((16, 16, 3), 77, np.uint8))


def test_pictures_of_another_size_are_cropped_to_the_frame():
    large = picture(40)
    [fit, own] = make_augmentations(("flip",), FRAME)
    assert fit(np.random.default_rng(0), large).shape == (16, 16, 3) and own is flip
    assert len(make_augmentations(("resized_crop", "flip"), FRAME)) == 2
    np.testing.assert_array_equal(centre_crop(picture(16), 16), picture(16))


def test_policies_are_25_pairs_of_known_operations():
    for policy in (autoaugment.CIFAR10, autoaugment.IMAGENET):
        assert len(policy) == 25
        for name, probability, magnitude in (step for pair in policy for step in pair):
            assert name in autoaugment._OPERATIONS and 0 <= probability <= 1 and 0 <= magnitude <= 9


@pytest.mark.parametrize(
    ("name", "share", "value", "expected"),
    [
        ("Invert", 0.5, 10, 245),
        ("Posterize", 1.0, 0b10111111, 0b10110000),
        ("Solarize", 0.5, 200, 55),
        ("Solarize", 0.5, 100, 100),
        ("Brightness", 1.0, 100, 190),
    ],
)
def test_operations_do_what_their_names_say(name, share, value, expected):
    plain = np.full((4, 4, 3), value, np.uint8)
    policy = (((name, 1.0, round(9 * share)), ("Equalize", 0.0, 0)),)
    found = {autoaugment.apply(np.random.default_rng(seed), plain, policy)[0, 0, 0] for seed in range(20)}
    if name == "Brightness":  # to either side
        assert found == {expected, 200 - expected}
    elif name == "Solarize":
        assert abs(int(found.pop()) - expected) <= 0
    else:
        assert found == {expected}


SHARE = {"Posterize": 1.75, "Solarize": 230 / 256, "TranslateX": 0.9 * 0.45 * 331 / 150}
PLAIN = [("Posterize", 200, {128}), ("Solarize", 27, {228}), ("Solarize", 25, {25}), ("SolarizeAdd", 100, {199}), ("SolarizeAdd", 128, {128}), ("Brightness", 100, {19, 181})]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected"), PLAIN)
def test_randaugments_operations_are_as_strong_as_they_say(monkeypatch, name, value, expected):
    """At magnitude 9: 1 bit stays, what is 26 or more turns over, 99 are added to what is below 128."""
    monkeypatch.setattr(randaugment, "_DEVIATION", 0)
    own = {name: randaugment.make_operations((0, 0, 0))[name]}
    plain, seen = np.full((4, 4, 3), value, np.uint8), collections.Counter()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        monkeypatch.setattr(randaugment, "_COUNT", 1)
        seen[int(randaugment.apply(rng, plain, own)[0, 0, 0])] += 1
    assert set(seen) == expected | {value}
    assert value in expected or 10 < seen[value] < 30  # half of the time nothing is done


def test_randaugment_moves_pictures_over_their_mean_colour():
    operations = randaugment.make_operations((7, 8, 9))
    assert len(operations) == 15 and {"Invert", "AutoContrast", "SolarizeAdd"} < set(operations)
    moved = {name: randaugment._SHARES[name](0.9) for name in SHARE}
    assert moved == pytest.approx(SHARE)
    large = Image.fromarray(np.full((100, 100, 3), 50, np.uint8))
    found = np.asarray(operations["TranslateX"](large, moved["TranslateX"], -1))
    assert (found[:, :40] == (7, 8, 9)).all() and (found[:, 41:] == 50).all()  # 0.9 of 45 pixels, rounded
    assert randaugment._SHARES["Posterize"](1.0) == 1.75  # Pillow refuses to leave nothing


def numbered(count):
    """Pictures of one pixel that say their number, which is their label, too."""
    return Examples(count, lambda i: (np.full((1, 1, 3), i, np.uint8), i))


def test_an_epoch_shows_every_picture_once_in_an_order_of_its_own():
    found = train_batches(numbered(20), 5, seed=3)
    orders = [np.concatenate([next(found)["label"] for _ in range(4)]) for _ in range(3)]
    for order in orders:
        assert sorted(order) == list(range(20))
    assert len({tuple(order) for order in orders}) == 3


def test_a_batch_is_a_function_of_seed_and_number():
    noisy = lambda rng, image: image + rng.integers(0, 100, image.shape).astype(np.uint8)
    whole = train_batches(numbered(20), 5, 3, [noisy])
    batches = [next(whole) for _ in range(11)]
    late = train_batches(numbered(20), 5, 3, [noisy], start=7)
    for expected in batches[7:]:
        found = next(late)
        assert all(np.array_equal(found[name], expected[name]) for name in ("image", "label"))
    other = next(train_batches(numbered(20), 5, 4, [noisy]))
    assert not np.array_equal(other["label"], batches[0]["label"])


def test_repeated_augmentation_shows_a_picture_three_times_in_a_row():
    """23 pictures, 5 a batch: an epoch has 4 batches, of the first 7 pictures of its order."""
    noisy = lambda rng, image: image + rng.integers(0, 100, image.shape).astype(np.uint8)
    found = train_batches(numbered(23), 5, 3, [noisy], repeats=3)
    batches = [next(found) for _ in range(8)]
    plain = train_batches(numbered(23), 5, 3)
    for epoch in range(2):
        order = np.concatenate([next(plain)["label"] for _ in range(4)])
        shown = np.concatenate([batch["label"] for batch in batches[4 * epoch : 4 * epoch + 4]])
        np.testing.assert_array_equal(shown, np.repeat(order[:7], 3)[:20])
    assert len({tuple(picture.ravel()) for picture in batches[0]["image"][:3]}) == 3  # each augmented on its own
    late = train_batches(numbered(23), 5, 3, [noisy], repeats=3, start=6)
    for expected in batches[6:]:
        again = next(late)
        assert all(np.array_equal(again[name], expected[name]) for name in ("image", "label"))


def test_stored_logits_stay_beside_their_pictures():
    logits = np.arange(20.0)[:, None] * np.ones(4)
    found = next(train_batches(numbered(20), 5, 0, teacher=logits))
    np.testing.assert_array_equal(found["teacher"], found["label"][:, None] * np.ones((5, 4)))
    assert found["teacher"].dtype == np.float32


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="batch_size is 21: there are 20 pictures to train on"):
        next(train_batches(numbered(20), 21, 0))


def test_every_test_picture_counts_once():
    found = list(ordered_batches(numbered(13), 5, 1))
    labels = np.concatenate([batch["label"] for batch in found])
    assert [len(batch["label"]) for batch in found] == [5, 5, 5]
    assert labels.tolist() == [*range(13), -1, -1]

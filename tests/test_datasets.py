import functools
import hashlib
import http.server
import io
import pathlib
import tarfile
import threading

import jax
import numpy as np
import pytest

from zsnas_jax import datasets
from zsnas_jax.datasets import sources
from zsnas_jax.storage import files

TFDS = pathlib.Path(__file__).parent / "data" / "tfds"
KEY = jax.random.key(0)


def pictures(count=12, size=8, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8), (np.arange(count) % classes).astype(np.int64)


@pytest.fixture
def npz(tmp_path):
    image, label = pictures()
    np.savez(tmp_path / "data.npz", x_train=image, y_train=label, x_test=image[:1])
    return tmp_path / "data.npz"


@pytest.fixture(scope="module", params=["cifar10", "cifar100"])
def archive(request, tmp_path_factory):
    """A small archive in the published layout: name, folder of the server, its description, pictures and labels."""
    name = request.param
    image, label = pictures(20, 32, 10 if name == "cifar10" else 100)
    published = sources.CIFAR_ARCHIVES[name]
    folder = tmp_path_factory.mktemp(name)
    with tarfile.open(folder / published.file, "w:gz") as tar:
        for part, chunk in zip(published.members, np.array_split(np.arange(20), len(published.members)), strict=True):
            coarse = [[7]] * len(chunk) if published.label_bytes == 2 else np.empty((len(chunk), 0))
            records = np.hstack(
                [coarse, label[chunk, None], image[chunk].transpose(0, 3, 1, 2).reshape(len(chunk), -1)]
            )
            data = records.astype(np.uint8).tobytes()
            info = tarfile.TarInfo(part)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    small = published._replace(sha256=files.sha256(folder / published.file))
    return name, folder, small, image, label


@pytest.fixture
def server(archive):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(archive[1]))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}/"
        httpd.shutdown()
        thread.join()


def everything(source, count):
    image, label = source.take(np.random.default_rng(0), count)
    order = np.lexsort(image.reshape(count, -1).T)
    return image[order], label[order]


def test_npz_reads_pictures_and_labels(npz):
    source = datasets.load(str(npz))
    image, label = pictures()
    order = np.lexsort(image.reshape(12, -1).T)
    found = everything(source, 12)
    np.testing.assert_array_equal(found[0], image[order])
    np.testing.assert_array_equal(found[1], label[order])
    assert source.num_classes == 3


def test_batches_are_standardised_and_depend_on_the_key_alone(npz):
    source = datasets.load(str(npz))
    batch = datasets.draw_batch(KEY, source, 12)
    np.testing.assert_allclose(batch.image.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(batch.image.std((0, 1, 2)), 1, atol=1e-4)
    np.testing.assert_array_equal(batch.image, datasets.draw_batch(KEY, source, 12).image)
    other = datasets.draw_batch(jax.random.key(1), source, 12)
    assert not np.array_equal(batch.image, other.image)


def test_augmentation_flips_and_crops():
    image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(1, 16, 16, 3) // 4 + 1
    number = np.arange(40)
    pictures = image + number.astype(np.uint8)[:, None, None, None]  # each its number lighter
    source = datasets.from_arrays(pictures, number, name="x", statistics=([0] * 3, [1 / 255] * 3))
    batch = datasets.draw_batch(KEY, source, 40, augment=True)
    padded = np.pad(image[0], ((2, 2), (2, 2), (0, 0))).astype(np.float32)
    crops = [padded[i : i + 16, j : j + 16][:, ::flip] for i in range(5) for j in range(5) for flip in (1, -1)]
    darker = [np.where(p > 0, p - n, 0) for p, n in zip(np.asarray(batch.image), np.asarray(batch.label), strict=True)]
    kinds = [next(k for k, crop in enumerate(crops) if np.allclose(crop, picture, atol=1e-3)) for picture in darker]
    assert len(set(kinds)) > 15


def test_noise_is_standard_normal():
    batch = datasets.draw_batch(KEY, datasets.load("noise", num_classes=7), 128)
    assert batch.image.shape == (128, 32, 32, 3) and abs(float(batch.image.mean())) < 0.01
    assert abs(float(batch.image.std()) - 1) < 0.01 and set(np.asarray(batch.label)) == set(range(7))


def test_cifar_archives_are_read(archive):
    name, folder, small, image, label = archive
    source = datasets.from_cifar_archive(folder / small.file, small, name)
    order = np.lexsort(image.reshape(20, -1).T)
    found = everything(source, 20)
    np.testing.assert_array_equal(found[0], image[order])
    np.testing.assert_array_equal(found[1], label[order])
    assert source.num_classes == sources.NUM_CLASSES[name]


def test_cifar_archives_are_fetched_with_their_checksum(archive, server, tmp_path):
    _, folder, small, *_ = archive
    path = tmp_path / "new" / small.file
    files.fetch(server + small.file, path, small.sha256)
    assert path.read_bytes() == (folder / small.file).read_bytes()
    files.fetch("http://127.0.0.1:1/unreachable", path, small.sha256)  # it is there: only verified


def test_a_download_with_another_checksum_leaves_nothing(archive, server, tmp_path):
    small = archive[2]
    with pytest.raises(ValueError, match=f"has SHA-256 {small.sha256}, expected is 00"):
        files.fetch(server + small.file, tmp_path / small.file, "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_leaves_nothing_and_names_the_url(server, tmp_path):
    with pytest.raises(OSError, match=r"cannot download http.*missing.tar.gz: File not found"):
        files.fetch(server + "missing.tar.gz", tmp_path / "missing.tar.gz", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_named_data_set_is_found_as_an_archive(archive, monkeypatch):
    name, folder, small, *_ = archive
    monkeypatch.setitem(sources.CIFAR_ARCHIVES, name, small)
    assert datasets.load(name, str(folder)).num_classes == sources.NUM_CLASSES[name]


def test_a_damaged_archive_in_data_dir_is_refused(archive, tmp_path):
    name, folder, small, *_ = archive
    (tmp_path / small.file).write_bytes((folder / small.file).read_bytes()[:-9])
    with pytest.raises(ValueError, match="expected is .* it is damaged or another version"):
        datasets.load(name, str(tmp_path))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "size", "count"), [("cifar10", 32, 24), ("cifar100", 32, 24), ("imagenet16_120", 16, 20)]
)
def test_tfds_array_records_are_read_without_tensorflow(name, size, count):
    source = datasets.load(name, str(TFDS))
    image, label = source.take(np.random.default_rng(0), count)
    assert image.shape == (count, size, size, 3) and image.dtype == np.uint8
    expected = [i % 10 if name == "cifar10" else i if name == "cifar100" else i * 6 for i in range(count)]
    assert sorted(label) == sorted(expected)
    with pytest.raises(ValueError, match=f"fewer than a batch of {count + 1}"):
        source.take(np.random.default_rng(0), count + 1)


def test_pictures_are_there_one_by_one(tmp_path):
    image, label = pictures()
    np.savez(tmp_path / "both.npz", x_train=image, y_train=label, x_test=image[:5], y_test=label[:5])
    source = datasets.load(str(tmp_path / "both.npz"))
    train, test = source.examples("train"), source.examples("test")
    assert (len(train), len(test), source.image_size) == (12, 5, 8)
    for i in range(5):
        for found in (train[i], test[np.int64(i)]):
            np.testing.assert_array_equal(found[0], image[i])
            assert found[1] == label[i]
    np.savez(tmp_path / "train.npz", x_train=image, y_train=label)
    assert datasets.load(str(tmp_path / "train.npz")).examples("test") is None
    assert datasets.load("noise").examples is None


def test_a_test_split_is_checked_as_the_other_is(npz, tmp_path):
    with pytest.raises(
        ValueError, match="data.npz is not an .npz file of pictures: it lacks y_test: it has x_train, y_train, x_test"
    ):
        datasets.load(str(npz)).examples("test")
    image, label = pictures()
    np.savez(tmp_path / "odd.npz", x_train=image, y_train=label, x_test=image, y_test=label + 1)
    with pytest.raises(ValueError, match="odd.npz, test: label 3 does not fit 3 classes"):
        datasets.load(str(tmp_path / "odd.npz")).examples("test")


def test_cifar_archives_have_their_test_pictures_apart(archive):
    name, folder, small, image, label = archive
    moved = small._replace(members=small.members[:1], test_members=small.members[-1:])
    source = datasets.from_cifar_archive(folder / small.file, moved, name)
    test = source.examples("test")
    np.testing.assert_array_equal(test[len(test) - 1][0], image[-1])
    assert test[len(test) - 1][1] == label[-1] and source.image_size == 32


@pytest.mark.filterwarnings("ignore")
def test_tfds_gives_its_records_one_by_one():
    examples = datasets.load("imagenet16_120", str(TFDS)).examples("train")
    assert sorted(examples[i][1] for i in range(len(examples))) == [i * 6 for i in range(20)]
    assert examples[0][0].shape == (16, 16, 3)
    with pytest.raises(FileNotFoundError, match="cifar10 is not prepared as array_record"):
        datasets.load("cifar10", str(TFDS)).examples("test")


@pytest.mark.filterwarnings("ignore")
def test_imagenet_keeps_its_sizes_for_training_and_is_cropped_for_batches(monkeypatch):
    import tensorflow_datasets as tfds

    records = [{"image": np.full((200 + 20 * i, 300, 3), i, np.uint8), "label": 7 * i} for i in range(6)]
    asked = []
    monkeypatch.setattr(tfds, "data_source", lambda name, split, **_: asked.append((name, split)) or records)
    source = datasets.load("imagenet2012")
    image, label = source.take(np.random.default_rng(0), 6)
    assert image.shape == (6, 224, 224, 3) and (image[:, 0, 0, 0] * 7 == label).all()
    assert source.examples("test")[2][0].shape == (240, 300, 3) and source.image_size is None
    assert asked == [("imagenet2012", "train"), ("imagenet2012", "validation")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["cifar10", "imagenet16_120"])
def test_data_that_is_nowhere_says_what_to_do(name, tmp_path, monkeypatch):
    if name in sources.CIFAR_ARCHIVES:
        unreachable = sources.CIFAR_ARCHIVES[name]._replace(url="http://127.0.0.1:1/cifar.tar.gz")
        monkeypatch.setitem(sources.CIFAR_ARCHIVES, name, unreachable)
    with pytest.raises(FileNotFoundError, match=f"{name}.* is not prepared as array_record in .*npz with x_train"):
        datasets.load(name, str(tmp_path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": pictures()[0]}, "lacks y_train: it has x_train"),
        ({}, "lacks x_train and y_train"),
        (
            {"x_train": pictures()[0].astype(np.float32), "y_train": pictures()[1]},
            r"pictures are float32\[12, 8, 8, 3\]",
        ),
        ({"x_train": pictures()[0][..., 0], "y_train": pictures()[1]}, r"pictures are uint8\[12, 8, 8\], needed is"),
        ({"x_train": pictures()[0], "y_train": pictures()[1][:5]}, r"labels are int64\[5\], needed is int\[12\]"),
        ({"x_train": pictures()[0], "y_train": pictures()[1] - 1}, "from 0"),
    ],
)
def test_bad_npz_files_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        datasets.load(str(tmp_path / "bad.npz"))


@pytest.mark.parametrize("contents", [b"", b"hello", b"PK\x03\x04broken"])
def test_files_that_are_no_npz_are_refused(tmp_path, contents):
    (tmp_path / "bad.npz").write_bytes(contents)
    with pytest.raises(ValueError, match=r"bad.npz is not an .npz file"):
        datasets.load(str(tmp_path / "bad.npz"))


def test_an_npz_with_pickled_objects_is_not_unpickled(tmp_path):
    np.savez(tmp_path / "bad.npz", x_train=np.array([{}], object), y_train=np.zeros(1))
    with pytest.raises(
        ValueError, match="bad.npz is not an .npz file of pictures: x_train is of type object: allowed are numbers"
    ):
        datasets.load(str(tmp_path / "bad.npz"))


def test_bad_requests_are_refused(npz):
    source = datasets.load(str(npz))
    with pytest.raises(ValueError, match="has 12 pictures, fewer than a batch of 13"):
        datasets.draw_batch(KEY, source, 13)
    with pytest.raises(ValueError, match="batch_size is 1: a correlation between samples needs at least 2"):
        datasets.draw_batch(KEY, source, 1)
    with pytest.raises(ValueError, match="label 2 does not fit 2 classes"):
        datasets.load(str(npz), num_classes=2)
    with pytest.raises(ValueError, match="num_classes is 1: at least 2"):
        datasets.load("noise", num_classes=1)
    with pytest.raises(ValueError, match="unknown data set 'mnist': allowed are noise, cifar10"):
        datasets.load("mnist")
    with pytest.raises(FileNotFoundError, match="nowhere.npz does not exist"):
        datasets.load("nowhere.npz")
    with pytest.raises(ValueError, match="num_classes is 9: cifar10 has 10"):
        datasets.load("cifar10", num_classes=9)


def test_a_file_being_replaced_is_never_half_written(tmp_path):
    path = tmp_path / "file.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError, match="stop"), files.replacing(path) as temporary:
        temporary.write_text("ne")
        raise RuntimeError("stop")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    assert hashlib.sha256(b"old").hexdigest() == files.sha256(path)

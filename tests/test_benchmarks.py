import bz2
import collections
import pickle
import tarfile

from golden import shared_file
import jax
import numpy as np
import pytest
from scipy import stats

from zsnas_jax import benchmarks
from zsnas_jax.benchmarks import safe_pickle
from zsnas_jax.search_spaces import nasbench201

INDICES = (0, 7, 4317)
SEEDS = {"12": {0: (777,), 7: (777,), 4317: (777,)}, "200": {0: (777, 888, 999), 7: (777, 999), 4317: (888,)}}
SETS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}


class Hostile:
    def __reduce__(self):
        return (open, ("/tmp/zsnas_jax_was_here", "w"))


@pytest.fixture(scope="module")
def nats_folder(tmp_path_factory):
    """A NATS-Bench archive of three cells, written with the records of the package nats-bench."""
    api_utils = pytest.importorskip("nats_bench.api_utils")
    folder = tmp_path_factory.mktemp("nats") / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    rng = np.random.default_rng(0)
    archs = [nasbench201.encode(arch) for arch in nasbench201.from_index(np.arange(15625))]
    for index in INDICES:
        records = collections.OrderedDict()
        for epochs, seeds in SEEDS.items():
            results = api_utils.ArchResults(index, archs[index])
            for dataset, splits in SETS.items():
                for seed in seeds[index]:
                    run = api_utils.ResultsCount(
                        dataset, None, {}, {}, 0.1, 15.6, {"arch_str": archs[index]}, seed, int(epochs), [0.01]
                    )
                    keys = [f"{split}@{epoch}" for split in splits for epoch in range(int(epochs))]
                    accuracies = dict(zip(keys, rng.uniform(10, 95, len(keys)), strict=True))
                    run.update_train_info(*[dict.fromkeys(range(int(epochs)), 1.0)] * 4)
                    run.update_eval(accuracies, dict.fromkeys(keys, 0.0), dict.fromkeys(keys, 0.0))
                    results.update(dataset, seed, run)
            records[epochs] = results.state_dict()
        api_utils.pickle_save(records, str(folder / f"{index:06d}.pickle"))
    meta = {"meta_archs": archs, "total_archs": 15625, "arch2infos": {}, "evaluated_indexes": set(INDICES)}
    api_utils.pickle_save(meta, str(folder / "meta.pickle"))
    return folder


def test_nats_archive_equals_its_own_api(nats_folder):
    import nats_bench

    table = benchmarks.open_benchmark(nats_folder)
    api = nats_bench.create(str(nats_folder), "tss", fast_mode=True, verbose=False)
    for index in INDICES:
        for hp, seeds in SEEDS.items():
            for column, dataset, split in (
                ("cifar10_test", "cifar10", "ori-test"),
                ("cifar10_valid", "cifar10-valid", "x-valid"),
                ("cifar10split_test", "cifar10-valid", "ori-test"),
                ("cifar100_test", "cifar100", "x-test"),
                ("imagenet16_120_valid", "ImageNet16-120", "x-valid"),
            ):
                info = api.query_meta_info_by_index(index, hp).get_metrics(dataset, split)
                np.testing.assert_allclose(table.lookup(f"{column}_{hp}", index), info["accuracy"] / 100, rtol=1e-6)
                for seed in (777, 888, 999):
                    value = table.columns.get(f"{column}_{hp}_seed{seed}", np.full(15625, np.nan))[index]
                    assert np.isfinite(value) == (seed in seeds[index])


def test_nats_tar_equals_the_folder(nats_folder, tmp_path):
    with tarfile.open(tmp_path / "nats.tar", "w") as tar:
        tar.add(nats_folder, nats_folder.name)
    folder, tar = benchmarks.open_benchmark(nats_folder), benchmarks.open_benchmark(tmp_path / "nats.tar")
    assert folder.checksum == tar.checksum
    jax.tree.map(np.testing.assert_array_equal, dict(folder.columns), dict(tar.columns))


def test_an_archive_with_a_hostile_file_raises_and_runs_nothing(nats_folder, tmp_path):
    probe = "/tmp/zsnas_jax_was_here"
    (tmp_path / "000001.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(Hostile())))
    with pytest.raises(ValueError, match=r"000001.pickle.pbz2.*it asks for .*open, which is not admitted"):
        benchmarks.open_benchmark(tmp_path)
    assert not __import__("pathlib").Path(probe).exists()


def test_damaged_archives_are_refused(nats_folder, tmp_path):
    data = (nats_folder / "000007.pickle.pbz2").read_bytes()
    (tmp_path / "000007.pickle.pbz2").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"000007.pickle.pbz2"):
        benchmarks.open_benchmark(tmp_path)
    (tmp_path / "000007.pickle.pbz2").rename(tmp_path / "000008.pickle.pbz2")
    (tmp_path / "000008.pickle.pbz2").write_bytes(data)
    with pytest.raises(ValueError, match="it holds .* expected is"):
        benchmarks.open_benchmark(tmp_path)
    (tmp_path / "000008.pickle.pbz2").unlink()
    with pytest.raises(ValueError, match=r"holds no NATS-Bench file like 000000.pickle.pbz2"):
        benchmarks.open_benchmark(tmp_path)


@pytest.mark.parametrize("payload", [Hostile(), eval, collections.Counter(a=1)])
def test_hostile_pickles_are_refused(tmp_path, payload):
    (tmp_path / "x").write_bytes(pickle.dumps(payload))
    with open(tmp_path / "x", "rb") as file, pytest.raises(ValueError, match=r"x is not a pickle.*not admitted"):
        safe_pickle.load(file, "x")


@pytest.mark.parametrize("data", [b"", b"garbage", pickle.dumps([1, 2, 3])[:-2]])
def test_truncated_pickles_are_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with (
        open(tmp_path / "x", "rb") as file,
        pytest.raises(ValueError, match="x is not a pickle that can be read safely"),
    ):
        safe_pickle.load(file, "x")


@pytest.fixture(scope="module")
def analog():
    return benchmarks.open_benchmark("analog")


@pytest.fixture(scope="module")
def published():
    return benchmarks.open_benchmark(shared_file("data/nasbench201.csv.gz"))


def test_analog_nasbench_is_complete(analog):
    values = analog.lookup("cifar10_test_unstated_single", np.arange(15625))
    assert 0.09 < values.min() < 0.11 and 0.93 < values.max() < 0.95


def test_analog_nasbench_ranks_as_the_published_table(analog, published):
    truth = published.lookup("cifar10_test_200", np.arange(15625))
    ours = analog.lookup("cifar10", np.arange(15625))
    assert stats.spearmanr(truth, ours).statistic > 0.99


def test_the_published_csv_imports_and_survives_npz(published, tmp_path):
    table = published
    assert table.lookup("cifar10_test_200", np.arange(15625)).max() == pytest.approx(0.94373, abs=1e-5)
    assert int(table.columns["cifar10_valid_12_single"].argmax()) == 13714
    table.save(tmp_path / "table.npz")
    again = benchmarks.open_benchmark(tmp_path / "table.npz")
    assert (again.checksum, again.source, again.space) == (table.checksum, table.source, "nasbench201")
    jax.tree.map(np.testing.assert_array_equal, dict(again.columns), dict(table.columns))


@pytest.fixture
def small_csv(tmp_path):
    rows = [f"{nasbench201.encode(nasbench201.from_index(i))},{50 + i}," for i in (3, 1)]
    (tmp_path / "t.csv").write_text("arch,cifar10_test_200,cifar10_test_12\n" + "\n".join(rows) + "\n")
    return tmp_path / "t.csv"


def test_lookups_name_what_is_missing(small_csv):
    table = benchmarks.open_benchmark(small_csv)
    np.testing.assert_allclose(table.lookup("cifar10_test_200", [1, 3]), [0.51, 0.53])
    with pytest.raises(ValueError, match="has no cifar10_test_200_mean for architecture 2"):
        table.lookup("cifar10_test_200", [1, 2])
    with pytest.raises(ValueError, match="column 'svhn' is not in benchmark .* allowed are cifar10_test_200_mean"):
        table.lookup("svhn", [1])
    with pytest.raises(ValueError, match="column 'cifar10' is ambiguous"):
        table.lookup("cifar10", [1])


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("t.csv", b"index,accuracy\n1,2\n", "lacks a column 'arch'"),
        ("t.csv", b"arch,cifar10_test_200\n|none~0|,3\n", "line 2: bad architecture"),
        ("t.csv.gz", b"\x1f\x8bbroken", "is not a CSV file"),
        ("t.csv", b"\xff\xfe\x00", "is not a CSV file"),
        ("t.npz", b"hello", "is not a benchmark .npz"),
        ("t.txt", b"", "needed is a .csv, .csv.gz, .npz"),
    ],
)
def test_bad_files_are_refused(tmp_path, name, contents, message):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        benchmarks.open_benchmark(tmp_path / name)


def test_unknown_benchmarks_are_refused():
    with pytest.raises(
        FileNotFoundError,
        match="unknown benchmark 'nowhere': allowed are analog, nasbench201_scores or an existing path",
    ):
        benchmarks.open_benchmark("nowhere")

"""Tables of the convolutional spaces: the published files, and what is wrong with made-up ones."""

import pickle
import zipfile

import golden
import jax
import numpy as np
import pytest

from zsnas_jax import benchmarks, search_spaces, tasks
from zsnas_jax.reports import search_task
from zsnas_jax.reports.score_report import find_truth
from zsnas_jax.runs.selection import select_archs

FILES = {  # file to (space, rows, columns with their best value and where it stands)
    "transnas101_micro_val": (
        "transnas101_micro",
        4096,
        {
            "class_scene_valid_last": (0.54936, "64-41414-3_32_132"),
            "class_object_valid_last": (0.45586, "64-41414-3_13_113"),
            "room_layout_negloss_last": (-0.6010, "64-41414-3_11_133"),
            "jigsaw_valid_last": (0.95372, "64-41414-3_30_132"),
            "autoencoder_ssim_last": (0.5772, "64-41414-1_21_310"),
            "normal_ssim_last": (0.5873, "64-41414-1_30_123"),
            "segmentsemantic_valid_last": (0.94613, "64-41414-3_13_022"),
        },
    ),
    "transnas101_macro_val": (
        "transnas101_macro",
        3256,
        {
            "class_scene_valid_last": (0.57414, "64-224131-basic"),
            "jigsaw_valid_last": (0.97019, "64-2243-basic"),
            "autoencoder_ssim_last": (0.7488, "64-221113-basic"),
        },
    ),
    "nasbench_macro_6561": ("nasbench_macro", 6561, {"cifar10_test_50_mean": (0.93127, "22212220")}),
    "nats_sss_32768": (
        "nats_size",
        32768,
        {
            "cifar10_test_90_single": (0.9365, "64:64:56:64:24"),
            "cifar100_test_90_single": (0.7134, "64:64:48:48:64"),
            "imagenet16_120_test_90_single": (0.4740, "64:64:56:64:56"),
        },
    ),
    "accel_nasbench_5138": ("accel_nasbench", 5125, {"imagenet_valid_16_single": (0.67052, None)}),
    "swap_darts1000": ("darts", 1000, {"cifar10_valid_200_single": (0.8661, None)}),
    "nb301_surrogate_1225": ("darts", 1218, {"cifar10_valid_100_surrogate": (0.944889, None)}),
}


def opened(name):
    return benchmarks.open_benchmark(golden.shared_file(f"data/extra/{name}.csv.gz"))


@pytest.mark.parametrize("name", FILES)
def test_published_tables_are_read(name):
    space_name, num_rows, bests = FILES[name]
    table, space = opened(name), search_spaces.make_space(space_name)
    assert table.space == space_name
    for column, (best, arch) in bests.items():
        values = table.columns[column]
        assert np.isfinite(values).sum() == num_rows
        np.testing.assert_allclose(np.nanmax(values), best, rtol=2e-4)
        if arch:
            key = space.isomorphism_key or space.encode  # strings of one network share their row
            assert key(space.from_index(int(np.nanargmax(values)))) == key(space.decode(arch))


def test_an_architecture_that_is_listed_twice_has_the_mean_and_the_table_says_so(tmp_path):
    lines = [
        "compact,val_accuracy",
        *(f'"{compact}",{value}' for compact, value in zip(_COMPACTS, (90, 92, 95), strict=True)),
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    table = benchmarks.open_benchmark(tmp_path / "t.csv")
    np.testing.assert_allclose(table.columns["cifar10_valid_100_surrogate"], [0.91, 0.95], rtol=1e-6)
    assert len(table.archs) == 2 and table.source.endswith("1 architectures that it lists more than once by their mean")


_CELL = "((0, 1), (1, 2), (0, 3), (1, 4), (0, 5), (2, 6), (0, 1), (3, 2))"
_OTHER = "((0, 2), (1, 2), (0, 3), (1, 4), (0, 5), (2, 6), (0, 1), (3, 2))"
_COMPACTS = (f"({_CELL}, {_CELL})", f"({_CELL}, {_CELL})", f"({_OTHER}, {_CELL})")


def test_a_table_that_lists_its_architectures_is_looked_up_by_them(tmp_path):
    table, space = opened("swap_darts1000"), search_spaces.make_space("darts")
    archs = select_archs(space, "benchmark:20", listed=table.archs)
    assert len(archs) == 20
    accuracy = find_truth(table, None, space, archs, "cifar10").accuracy
    by_arch = dict(zip(table.archs, table.columns["cifar10_valid_200_single"], strict=True))
    np.testing.assert_array_equal(accuracy, [by_arch[space.encode(arch)] for arch in archs])
    table.save(tmp_path / "table.npz")
    again = benchmarks.open_benchmark(tmp_path / "table.npz")
    assert again.archs == table.archs
    other = np.asarray(space.sample(jax.random.key(0)))
    with pytest.raises(ValueError, match="does not list Genotype.*--archs=benchmark takes those that it lists"):
        find_truth(table, None, space, other[None], "cifar10")
    for text, message in (("benchmark:0", "between 1 and 1000"), ("benchmark:1001", "between 1 and 1000")):
        with pytest.raises(ValueError, match=message):
            select_archs(space, text, listed=table.archs)
    with pytest.raises(ValueError, match="archs 'benchmark': the benchmark lists none"):
        select_archs(space, "benchmark")


def test_a_search_needs_a_table_of_all():
    table = opened("swap_darts1000")
    with pytest.raises(ValueError, match="lists 1000 architectures of space darts: a search needs a table of all"):
        search_task.find_truth(table, None, search_spaces.make_space("darts"), "noise")


def test_the_column_is_that_of_the_task():
    table, space = opened("transnas101_micro_val"), search_spaces.make_space("transnas101_micro")
    archs = space.from_index(np.arange(3))
    for task in space.tasks:
        truth = find_truth(table, None, tasks.with_task(space, task), archs, "cifar100")
        assert truth.column.startswith(task) and truth.column.endswith("last") and truth.warning is None
    other = find_truth(table, "jigsaw_valid_last", space, archs, "noise")
    assert other.warning.startswith("scores under task class_scene are compared with column jigsaw_valid_last")


def written(path, database):
    """A file as torch.save writes it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(database, protocol=2))
        archive.writestr("archive/version", "3\n")
    return path


def results(top1, ssim):
    return {
        "class_scene": {
            "total_epochs": 3,
            "metrics": {"valid_top1": top1, "test_top1": top1[::-1], "train_loss": [1.0]},
        },
        "normal": {"total_epochs": 2, "metrics": {"valid_ssim": ssim, "test_ssim": ssim}},
        "room_layout": {"total_epochs": 1, "metrics": {"valid_neg_loss": [-0.5]}},
    }


def test_the_file_of_transnas_is_read(tmp_path):
    data = {
        "micro": {"64-41414-1_02_333": results([1.0, 30, 20.0], [0.1, 0.5])},
        "macro": {"64-1234-basic": results([7], [1])},
    }
    path = written(tmp_path / "transnas.pth", {"data": data, "task_list": ["class_scene"]})
    table, space = benchmarks.open_benchmark(path, "transnas101_micro"), search_spaces.make_space("transnas101_micro")
    row = int(space.to_index(space.decode("64-41414-1_02_333")))
    found = {name: float(column[row]) for name, column in table.columns.items()}
    expected = {"class_scene_valid_last": 0.2, "class_scene_valid_best": 0.3, "class_scene_test_last": 0.01}
    expected |= {"normal_ssim_last": 0.5, "normal_ssim_best": 0.5, "normal_ssim_test_last": 0.5}
    expected |= {"room_layout_negloss_last": -0.5, "room_layout_negloss_best": -0.5}
    assert found == pytest.approx(expected)
    assert {np.isfinite(column).sum() for column in table.columns.values()} == {1}
    macro = benchmarks.open_benchmark(path, "transnas101_macro")
    assert np.nanmax(macro.columns["class_scene_valid_last"]) == np.float32(0.07)


@pytest.mark.parametrize(
    ("database", "space", "message"),
    [
        ({"data": {}}, "transnas101_micro", "is not TransNAS-Bench-101's file: 'micro'"),
        ({"data": {"micro": []}}, "transnas101_micro", "is no dict by strings"),
        ({"data": {"micro": {}}}, "transnas101_micro", "holds no metric"),
        ({"data": {"micro": {"64-1-basic": {}}}}, "transnas101_micro", "bad architecture '64-1-basic'"),
        ({"data": {"micro": {"64-41414-1_02_333": results([101.0], [1])}}}, "transnas101_micro", "0 to 100 percent"),
        ({"data": {"micro": {"64-41414-1_02_333": results(["x"], [1])}}}, "transnas101_micro", "no finite number"),
        ({"data": {"micro": {"64-41414-1_02_333": results([], [1])}}}, "transnas101_micro", "no list of"),
        ({"data": {}}, "nasbench201", "holds tables of transnas101_micro, transnas101_macro, not of space nasbench201"),
        ({"data": print}, "transnas101_micro", "cannot|not a pickle that can be read safely"),
    ],
)
def test_what_is_wrong_with_the_file_of_transnas_is_named(database, space, message, tmp_path):
    path = written(tmp_path / "transnas.pth", database)
    with pytest.raises(ValueError, match=message) as caught:
        benchmarks.open_benchmark(path, space)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_other_files_are_not_transnas(tmp_path):
    path = tmp_path / "transnas.pth"
    path.write_bytes(pickle.dumps(1))
    with pytest.raises(ValueError, match="is not TransNAS-Bench-101's file"):
        benchmarks.open_benchmark(path, "transnas101_micro")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "arch_str,jigsaw_val\n64-41414-1_02_333,101\n",
            "line 2: jigsaw_val is '101': allowed are numbers from 0 to 100",
        ),
        ("arch_str,jigsaw_val\n64-41414-1_02_334,1\n", "line 2: bad architecture .* operation '4' of edge 5"),
        ("arch_str,jigsaw_val\n64-41414-1_02_333,1\n64-1234-basic,1\n", "line 3: bad architecture '64-1234-basic'"),
        ("arch_str,room_layout_val\n64-1234-basic,0.5\n", "line 2: room_layout_val is '0.5': .* from -1e.06 to 0"),
        ("arch,test_acc,mean_acc\n01201203,[],90\n", "line 2: bad architecture '01201203'"),
        ("arch,test_acc,mean_acc\n01201201,[],90\n01201201,[],91\n", "line 3: .*earlier line with other values"),
        ("c0,c1,c2,c3,c4,c10_acc\n8,8,8,8,9,90\n", "line 2: bad architecture"),
        ("genotype,val_acc\nGenotype(),90\n", "line 2: bad architecture"),
        (f"genotype,val_acc\n{'(' * 20_000},90\n", "line 2: an architecture has more than 10,000 characters"),
        ('compact,val_accuracy\n"[[(0, 9)]]",90\n', "line 2: "),
        (f"compact,val_accuracy\n{'[' * 5000},90\n", "line 2: "),
        ("compact,val_accuracy\n__import__('os'),90\n", "line 2: "),
    ],
)
def test_bad_rows_are_named(text, message, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        benchmarks.open_benchmark(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)

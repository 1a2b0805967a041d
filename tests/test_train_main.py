"""The real binary, end to end, in processes of its own: training, kill and resume, teachers, bad input."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import binaries
import chex
import conftest
import jax
import numpy as np
import pytest
from tensorboardX.proto import event_pb2
from test_training import examples
import tiny

from zsnas_jax import search_spaces, training
from zsnas_jax.search_spaces import nasbench201

ARCH = "|skip_connect~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
PAIRS = "[" + ", ".join(f"('avg_pool_3x3', {place % 2})" for place in range(8)) + "]"
CELLS = f"Genotype(normal={PAIRS}, normal_concat=range(2, 6), reduce={PAIRS}, reduce_concat=range(2, 6))"
SMALL = ["--dataset=small.npz", "--benchmark=none", "--epochs=3", "--batch_size=8", "--learning_rate=0.05"]
WRITTEN = ("report.json", "metrics.csv", "curves.png", "checkpoints", "tensorboard")


def start(*flags, cwd):
    return binaries.start("train_main", *flags, cwd=cwd, is_tiny=True)


def run(*flags, cwd, is_tiny=True):
    return binaries.run("train_main", *flags, cwd=cwd, is_tiny=is_tiny)


@pytest.fixture(scope="module", autouse=True)
def tiny_networks():
    """What the binaries trained is loaded here, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_spaces, "SPACES", {**search_spaces.SPACES, "nasbench201": tiny.space})
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("train")
    train, test = ([examples(count, seed=seed)[i] for i in range(count)] for count, seed in ((40, 0), (12, 1)))
    arrays = {
        f"{axis}_{split}": np.stack([pair[place] for pair in found])
        for split, found in (("train", train), ("test", test))
        for place, axis in enumerate("xy")
    }
    np.savez(path / "small.npz", **arrays)
    np.savez(path / "odd.npz", **arrays | {"y_test": arrays["y_test"] + 7})
    np.savez(path / "untested.npz", x_train=arrays["x_train"], y_train=arrays["y_train"])
    np.save(path / "logits.npy", np.zeros((40, 4), np.float32))
    np.save(path / "wide.npy", np.zeros((40, 9), np.float32))
    (path / "found.json").write_text(json.dumps({"best": {"arch": ARCH}}))
    (path / "broken.npy").write_bytes(b"nothing")
    (path / "broken.json").write_text("nothing")
    (path / "nested.json").write_text("[" * 100_000)
    return path


@pytest.fixture(scope="module")
def trained(folder):
    code, out, err = run("--arch=found.json", *SMALL, "--out=trained", "--checkpoint_every=2", cwd=folder)
    assert code == 0, err
    return folder / "trained", out


def rows_of(folder):
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def variables_of(folder):
    return jax.device_get(training.load(folder)[1])


def test_a_run_leaves_report_curves_and_checkpoints(trained):
    folder, out = trained
    assert sorted(path.name for path in folder.iterdir()) == sorted([".lock", "flags.txt", "log.txt", *WRITTEN])
    report = json.loads((folder / "report.json").read_text())
    assert report["arch"] == ARCH and report["settings"]["recipe"]["epochs"] == 3
    # The stem of 4 channels, a convolution of 1 x 1 in each of two cells, three norms and that of the head, the head.
    assert report["params"] == 27 * 4 + 2 * 16 + 4 * 8 + 5 * 4
    assert report["flops"] == nasbench201.num_flops(np.asarray(nasbench201.decode(ARCH)), 4, 8)  # the space's rule
    assert report["seconds"] > 0 and 0 <= report["accuracy"] <= 1
    rows = rows_of(folder)
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "5"), ("2", "10"), ("3", "15")]
    assert float(rows[2]["train_loss"]) < float(rows[0]["train_loss"])
    assert float(rows[2]["test_accuracy"]) == pytest.approx(report["accuracy"])
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert f"{100 * report['accuracy']:.2f} %" in out and "written: trained/" in out


def scalars(folder):
    """(tag, step) of every scalar that TensorBoard would read."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data, place = path.read_bytes(), 0
        while place < len(data):
            length = int.from_bytes(data[place : place + 8], "little")
            event = event_pb2.Event.FromString(data[place + 12 : place + 12 + length])
            found += [(value.tag, event.step) for value in event.summary.value]
            place += 16 + length
    return found


def test_tensorboard_reads_every_epoch_once(trained):
    found = scalars(trained[0])
    tags = ("learning_rate", "train/loss", "train/accuracy", "test/loss", "test/accuracy", "seconds")
    assert sorted(found) == sorted((tag, step) for tag in tags for step in (5, 10, 15))


def test_what_was_trained_loads_in_three_lines(trained, folder):
    network, variables = training.load(trained[0])
    pictures = np.load(folder / "small.npz")
    logits = jax.jit(network.apply)(variables, pictures["x_test"])
    accuracy = (np.asarray(logits).argmax(-1) == pictures["y_test"]).mean()
    assert accuracy == pytest.approx(json.loads((trained[0] / "report.json").read_text())["accuracy"])


def kill_after(step, folder, *flags, cwd):
    process = start(*flags, f"--out={folder}", cwd=cwd)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if (cwd / folder / "checkpoints" / str(step) / "sha256.json").exists():
            break
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_killed_twice_it_ends_in_the_same_weights(trained, folder):
    flags = ["--arch=found.json", *SMALL, "--checkpoint_every=2"]
    for step in (4, 8):
        kill_after(step, "killed", *flags, cwd=folder)
        assert not (folder / "killed" / "report.json").exists()
    code, _, err = run(*flags, "--out=killed", cwd=folder)
    assert code == 0, err
    chex.assert_trees_all_equal(variables_of(folder / "killed"), variables_of(trained[0]))
    measured = lambda path: [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(path)]
    assert measured(folder / "killed") == measured(trained[0])
    assert sorted(scalars(folder / "killed")) == sorted(scalars(trained[0]))


def test_a_finished_run_only_says_its_result(trained, folder):
    before = (trained[0] / "metrics.csv").read_bytes()
    code, out, err = run("--arch=found.json", *SMALL, "--out=trained", "--checkpoint_every=2", cwd=folder)
    assert code == 0, err
    assert out == trained[1] and (trained[0] / "metrics.csv").read_bytes() == before


@pytest.mark.slow
def test_everything_at_once_on_two_devices(trained, folder):
    """A teacher's folder, two devices, and what the ImageNet recipe does to pictures."""
    extras = ["--teacher=trained", "--num_devices=2", "--mixup=0.4", "--label_smoothing=0.1", "--ema_decay=0.5"]
    extras += ["--augmentations=resized_crop,flip,lighting,autoaugment_imagenet,erasing", "--warmup_epochs=1"]
    code, _, err = run(f"--arch={ARCH}", *SMALL, *extras, "--out=all", "--test_every=2", cwd=folder)
    assert code == 0, err
    rows = rows_of(folder / "all")
    assert [bool(row["test_accuracy"]) for row in rows] == [False, True, True]
    settings = json.loads((folder / "all" / "report.json").read_text())["settings"]
    assert settings["teacher"] == "trained" and settings["num_devices"] == 2


@pytest.mark.slow
def test_darts_is_trained_at_a_size_that_is_told(folder):
    flags = [f"--arch={CELLS}", *SMALL, "--image_size=16", "--channels=2", "--layers=1", "--epochs=1", "--out=darts"]
    code, out, err = run("--space=darts_s4", *flags, cwd=folder)
    assert code == 1 and "normal entry 0 is avg_pool_3x3 on the edge 0 to 2, which offers" in err
    code, out, err = run("--space=darts", *flags, cwd=folder)
    assert code == 0, err
    assert re.search("size +channels 2, layers 1, with_stem\n", out)
    report = json.loads((folder / "darts" / "report.json").read_text())
    assert report["settings"]["size"] == {"channels": 2, "layers": 1, "imagenet": False, "with_stem": True}
    assert report["settings"]["recipe"]["drop_path"] == 0.2
    _, variables = training.load(folder / "darts")
    assert "auxiliary" not in variables["params"]["network"]
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == report["params"]


@pytest.mark.slow
def test_stored_logits_teach_and_no_test_pictures_are_no_hindrance(folder):
    flags = ["--teacher=logits.npy", "--dataset=untested.npz", "--benchmark=none", "--batch_size=20", "--epochs=1"]
    code, out, err = run("--arch=0", *flags, "--out=taught", cwd=folder, is_tiny=False)
    assert code == 0, err
    assert "there are no test pictures" in out
    assert out.index("no test pictures in") < out.index("there are no test pictures")  # said before the first epoch


BAD_INPUT = [
    ([], "arch is missing"),
    (["--arch=15625"], "arch 15625: space nasbench201 has 15625"),
    (["--arch=missing.json"], "No such file or directory: 'missing.json'"),
    (["--arch=broken.json"], "arch broken.json: it is no report of a search: Expecting value"),
    (["--arch=nested.json"], "arch nested.json: it is no report of a search: "),
    (["--arch=0", "--teacher=broken.npy"], "teacher broken.npy cannot be read: "),
    (["--arch=0", "--dataset=noise"], "data set noise holds nothing to learn"),
    (["--arch=0", "--num_classes=3"], "label 3 does not fit 3 classes"),
    (["--arch=0", "--dataset=odd.npz"], "odd.npz, test: label 10 does not fit 4 classes"),
    (["--arch=0", "--teacher=wide.npy"], "teacher's logits are of shape [40, 9]: 4 classes are needed"),
    (["--arch=0", "--num_devices=2", "--batch_size=7"], "batch_size is 7: 2 devices cannot share it evenly"),
    (["--arch=0", "--out=trained"], "is of another run: arch is"),
    (["--arch=0", "--drop_path=0.1"], "networks of space nasbench201 have no auxiliary head and no drop path"),
    (["--arch=0", "--channels=4"], "channels is 4: networks of space nasbench201 have no such size to choose"),
    (["--space=darts", f"--arch={CELLS}", "--layers=1", "--channels=2"], "the auxiliary head reads 4 x 4 pixels"),
    (["--arch=0", "--image_size=10"], "pictures of 10 pixels do not fit space nasbench201"),
]


def test_bad_input_is_named(trained, folder):
    errors = binaries.errors_of("train_main", [[*SMALL, *flags] for flags, _ in BAD_INPUT], folder, num_devices=2)
    for error, (flags, complaint) in zip(errors, BAD_INPUT, strict=True):
        assert complaint in error and "\n" not in error, flags


@pytest.mark.slow  # the binaries end alike, which test_score_main.py sees
def test_bad_input_ends_in_one_clear_line(folder):
    flags, complaint = BAD_INPUT[0]
    code, _, err = run(*SMALL, *flags, cwd=folder)
    assert code == 1 and err.startswith(f"train_main: error: {complaint}") and err.count("\n") == 1


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(trained, folder):
    shutil.copytree(trained[0], folder / "damaged")
    flags = ["--arch=found.json", *SMALL, "--out=damaged"]
    last = folder / "damaged" / "checkpoints" / "15"
    [array] = (last / "state" / "d").glob("*")
    array.write_bytes(array.read_bytes()[:50])
    code, _, err = run(*flags, cwd=folder)
    assert code == 1 and "15 is damaged" in err and "delete it to go on from step 14" in err
    shutil.rmtree(last)
    code, _, err = run(*flags, cwd=folder)
    assert code == 0, err
    chex.assert_trees_all_equal(variables_of(folder / "damaged"), variables_of(trained[0]))


@pytest.mark.slow
def test_a_folder_in_use_is_refused(trained, folder):
    import fcntl

    with open(trained[0] / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = run("--arch=found.json", *SMALL, "--out=trained", "--checkpoint_every=2", cwd=folder)
    assert code == 1 and "trained is in use by another process" in err


SHARED = """
import dataclasses, jax, numpy as np, optax
jax.config.update("jax_num_cpu_devices", 2)
import flax.linen as nn
from zsnas_jax import training
from zsnas_jax.training import steps

class Net(nn.Module):
    @nn.compact
    def __call__(self, image):
        return nn.Dense(4)(nn.relu(nn.Conv(4, (3, 3))(image)).mean((1, 2)))

own = training.Model(Net(), Net(), Net().init)
recipe = training.Recipe(source="a test", epochs=1, batch_size=8, weight_decay=0.01)
rng = np.random.default_rng(0)
batch = {"image": rng.integers(0, 256, (8, 8, 8, 3)).astype(np.uint8), "label": np.arange(8) % 4}
found = []
for num_devices in (1, 2):
    mesh = training.make_mesh(num_devices, 8)
    state = steps.init_state(jax.random.key(0), own, recipe, batch["image"][:1] / np.float32(255))
    step = steps.make_train_step(own, recipe, 4, optax.constant_schedule(0.5), mesh=mesh)
    for _ in range(3):
        state, metrics = step(state, batch, jax.random.key(1))
    found.append(jax.device_get((state.variables, metrics)))
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *found)
print("equal")
"""


@pytest.mark.slow
def test_devices_together_take_the_step_of_one():
    """Without norms, which see a device's own pictures."""
    done = subprocess.run(
        [sys.executable, "-c", SHARED], capture_output=True, text=True, timeout=120, cwd=conftest.ROOT
    )
    assert done.stdout.strip() == "equal", done.stderr

"""Checkpoints that survive kill, damage and full disks."""

import json
import os
import shutil
import subprocess
import sys

import chex
import conftest
import jax.numpy as jnp
import pytest

from zsnas_jax.training import checkpoints
from zsnas_jax.training.checkpoints import Checkpoints

SETTINGS = {"arch": "a", "seed": 0}
STATE = {"a": jnp.arange(6.0).reshape(2, 3), "n": None, "b": {"c": jnp.int32(7)}}


@pytest.fixture
def folder(tmp_path):
    with Checkpoints(tmp_path, SETTINGS) as store:
        for step in (1, 2, 3):
            store.save(step, STATE | {"a": step * STATE["a"]}, {"rows": [step]})
    return tmp_path


def restore(folder, settings=SETTINGS, like=STATE):
    with Checkpoints(folder, settings) as store:
        return store.restore(like)


def test_the_last_two_are_kept_and_the_last_comes_back(folder):
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["2", "3"]
    state, meta = restore(folder)
    chex.assert_trees_all_equal(state, STATE | {"a": 3 * STATE["a"]})
    assert meta == {"rows": [3], "settings": SETTINGS}


def test_a_new_folder_has_none(tmp_path):
    assert restore(tmp_path / "new") is None
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        checkpoints.newest(tmp_path)


def test_other_settings_are_refused_by_name(folder):
    with pytest.raises(ValueError, match="is of another run: seed is 1, there it was 0. Take another folder"):
        restore(folder, SETTINGS | {"seed": 1})


def test_another_network_is_refused(folder):
    with pytest.raises(ValueError, match="3 is of another network"):
        restore(folder, like=STATE | {"a": jnp.zeros((2, 4))})
    with pytest.raises(ValueError, match="3 is of another network"):
        restore(folder, like={"a": STATE["a"]})


def files_of(folder):
    return sorted(path for path in (folder / "checkpoints" / "3").rglob("*") if path.is_file())


def test_every_truncated_or_missing_file_is_noticed(folder, capfd):
    for path in files_of(folder):
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1])):
            path.write_bytes(damaged)
            if path.name == "sha256.json" and json.loads(whole) == _json(damaged):
                continue  # a changed newline
            with pytest.raises(ValueError, match="checkpoint .*3 is damaged .*: delete it to go on from step 2"):
                restore(folder)
        path.unlink()
        if path.name != "sha256.json":
            with pytest.raises(ValueError, match="is damaged"):
                restore(folder)
        path.write_bytes(whole)
    assert restore(folder)[1]["rows"] == [3]


@pytest.mark.parametrize("sums", [b"{}", b"[]", b'{"meta/metadata": 1}', b"[" * 100_000, b"\xff\xfe"])
def test_checksums_that_verify_nothing_are_damage(folder, sums):
    (folder / "checkpoints" / "3" / "sha256.json").write_bytes(sums)
    with pytest.raises(ValueError, match="checkpoint .*3 is damaged .*: delete it to go on from step 2"):
        restore(folder)


def test_a_file_that_nobody_vouches_for_is_damage(folder):
    (folder / "checkpoints" / "3" / "state" / "more").write_text("")
    with pytest.raises(ValueError, match=r"3 is damaged \(state/more\)"):
        restore(folder)


def _json(data):
    try:
        return json.loads(data)
    except ValueError:
        return None


def test_a_folder_that_was_taken_away_is_noticed_at_the_next_checkpoint(folder):
    with Checkpoints(folder, SETTINGS) as store:
        shutil.rmtree(folder)
        with pytest.raises(OSError, match="cannot save the checkpoint of step 4: .*checkpoints was deleted while this"):
            store.save(4, STATE, {})
    assert not folder.exists()


def test_one_that_was_not_finished_is_forgotten(folder):
    (folder / "checkpoints" / "3" / "sha256.json").unlink()
    assert restore(folder)[1]["rows"] == [2]
    assert not (folder / "checkpoints" / "3").exists()


def test_what_a_killed_process_left_is_cleared_away(folder):
    (folder / "checkpoints" / "9.orbax-checkpoint-tmp").mkdir()
    assert restore(folder)[1]["rows"] == [3]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["2", "3"]


def test_too_little_space_is_noticed_before_anything_is_written(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 2**20))
    with Checkpoints(folder, SETTINGS) as store, pytest.raises(OSError, match="1.0 MiB of the disk are free, 1.0 MiB are needed; the checkpoint of step 3 is kept"):  # fmt: skip
        store.save(4, STATE, {})
    assert restore(folder)[1]["rows"] == [3]


FULL = """
import resource, signal, sys
import jax.numpy as jnp, numpy as np
from zsnas_jax.training.checkpoints import Checkpoints
with Checkpoints(sys.argv[1], {"arch": "a", "seed": 0}) as store:
    store.save(4, {"a": jnp.zeros((2, 3))}, {"rows": [4]})
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        store.save(5, {"a": np.random.default_rng(0).random((1000, 100))}, {"rows": [5]})
    except OSError as error:
        print("refused:", error)
"""


def test_a_full_disk_is_one_error_and_the_last_checkpoint_is_kept(folder):
    env = os.environ | {"PYTHONPATH": str(conftest.ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder)], env=env, capture_output=True, text=True, timeout=120
    )
    assert "refused: cannot save the checkpoint" in done.stdout, done.stderr
    assert "the checkpoint of step 4 is kept" in done.stdout
    assert checkpoints.newest(folder).name == "4"
    assert not list((folder / "checkpoints").glob("*tmp*"))
    state, meta = restore(folder, like={"a": jnp.zeros((2, 3))})
    assert meta["rows"] == [4] and not state["a"].any()

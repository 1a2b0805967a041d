import os
import signal
import sqlite3
import subprocess
import sys

import conftest
import numpy as np
import pytest

from zsnas_jax.storage import store as store_file
from zsnas_jax.storage.store import ResultStore

SETTINGS = {"seed": 0, "batch_size": 64, "layers": [1, 2]}


def filled(folder):
    with ResultStore(folder, SETTINGS) as store:
        store.add(["a", "b"], ["wrcor", "acor"], np.array([[1.5, -np.inf], [np.float32(0.1), 3.0]]))


def test_scores_come_back_exactly(tmp_path):
    filled(tmp_path)
    with ResultStore(tmp_path, SETTINGS) as store:
        assert store.get("wrcor") == {"a": 1.5, "b": float(np.float32(0.1))}
        assert store.get("acor") == {"a": -np.inf, "b": 3.0} and store.get("rcor") == {}


def test_other_settings_are_refused_by_name(tmp_path):
    filled(tmp_path)
    with pytest.raises(
        ValueError, match=r"batch_size is 32, there it was 64; seed is 1, there it was 0\. Take another"
    ):
        ResultStore(tmp_path, SETTINGS | {"seed": 1, "batch_size": 32})
    with ResultStore(tmp_path, SETTINGS) as store:
        assert store.get("wrcor")


def test_a_second_process_is_kept_out(tmp_path):
    with ResultStore(tmp_path, SETTINGS), pytest.raises(ValueError, match="is in use by another process"):
        ResultStore(tmp_path, SETTINGS)


@pytest.mark.parametrize(
    "contents", [b"not a database, but long enough to look at" * 30, b"SQLite format 3\x00" + b"\x07" * 5000]
)
def test_corrupt_files_are_refused_and_kept(tmp_path, contents):
    (tmp_path / "results.sqlite").write_bytes(contents)
    with pytest.raises(ValueError, match=r"results.sqlite is damaged or not a results file"):
        ResultStore(tmp_path, SETTINGS)
    assert (tmp_path / "results.sqlite").read_bytes() == contents


def test_another_programs_database_is_refused(tmp_path):
    connection = sqlite3.connect(tmp_path / "results.sqlite")
    connection.execute("CREATE TABLE settings (a, b, c)")
    connection.commit()
    connection.close()
    with pytest.raises(ValueError, match="is damaged or not a results file"):
        ResultStore(tmp_path, SETTINGS)


def test_damage_in_the_middle_of_a_file_is_refused(tmp_path):
    with ResultStore(tmp_path, SETTINGS) as store:
        store.add([f"arch {i}" for i in range(2000)], ["wrcor"], np.zeros((2000, 1)))
    data = bytearray((tmp_path / "results.sqlite").read_bytes())
    data[4 * 4096 :] = b"\xff" * (len(data) - 4 * 4096)
    (tmp_path / "results.sqlite").write_bytes(data)
    with pytest.raises(ValueError, match="is damaged or not a results file"), ResultStore(tmp_path, SETTINGS) as store:
        store.get("wrcor")


def listed(folder):
    return sorted((path.name, path.read_bytes()) for path in folder.iterdir())


def test_a_folder_is_read_whatever_its_settings_and_left_as_it_is(tmp_path):
    filled(tmp_path)
    before = listed(tmp_path)
    settings, scores = store_file.read(tmp_path)
    assert settings == SETTINGS | {"format": store_file.FORMAT}
    assert scores == {"wrcor": {"a": 1.5, "b": float(np.float32(0.1))}, "acor": {"a": -np.inf, "b": 3.0}}
    assert listed(tmp_path) == before


def test_what_a_killed_run_committed_is_read_and_kept(tmp_path):
    program = """
import os, numpy as np
from zsnas_jax.storage.store import ResultStore
ResultStore("out", {"seed": 0}).add(["a"], ["wrcor"], np.ones((1, 1)))
os.kill(os.getpid(), 9)
"""
    env = os.environ | {"PYTHONPATH": str(conftest.ROOT)}
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env).returncode == -signal.SIGKILL
    assert (tmp_path / "out" / "results.sqlite-wal").exists()
    assert store_file.read(tmp_path / "out").scores == {"wrcor": {"a": 1.0}}
    with ResultStore(tmp_path / "out", {"seed": 0}) as store:
        assert store.get("wrcor") == {"a": 1.0}


def test_a_folder_that_cannot_be_read_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"results\.sqlite does not exist"):
        store_file.read(tmp_path)
    with (
        ResultStore(tmp_path, SETTINGS),
        pytest.raises(ValueError, match="by another process: copy it with results.sq"),
    ):
        store_file.read(tmp_path)
    (tmp_path / "results.sqlite").write_bytes(b"not a database, but long enough to look at" * 30)
    with pytest.raises(ValueError, match=r"results\.sqlite is damaged or not a results file"):
        store_file.read(tmp_path)
    (tmp_path / "results.sqlite").unlink()
    (tmp_path / "results.sqlite").mkdir()
    with pytest.raises(OSError, match=r"cannot read .*results\.sqlite: unable to open"):
        store_file.read(tmp_path)


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OSError, match="cannot make the results folder .*out: File exists"):
        ResultStore(tmp_path / "out", SETTINGS)


def test_a_failed_transaction_leaves_nothing(tmp_path):
    with ResultStore(tmp_path, SETTINGS) as store, pytest.raises(OSError, match="cannot write"):
        store.add(["a", "b"], ["wrcor"], np.array([[1.0], [np.nan]]))
    with ResultStore(tmp_path, SETTINGS) as store:
        assert store.get("wrcor") == {}

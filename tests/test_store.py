"""The store of scores: what comes back, what is kept apart, what is refused, what survives."""

import json
import os
import signal
import sqlite3
import subprocess
import sys

import conftest
import numpy as np
import pytest

from zsnas_jax.base import Proxy
from zsnas_jax.proxies import acor, rcor, wrcor
from zsnas_jax.proxies.labels import label
from zsnas_jax.storage import seals
from zsnas_jax.storage import stored as store_file
from zsnas_jax.storage.store import ResultStore
from zsnas_jax.votes import VOTES

SETTINGS = {"seed": 0, "batch_size": 64, "layers": [1, 2]}


def filled(folder):
    with ResultStore(folder, SETTINGS) as store:
        store.add(["a", "b"], [wrcor(), acor()], np.array([[1.5, -np.inf], [np.float32(0.1), 3.0]]))


def own_proxy(name="mine", reference="me", **settings):
    return Proxy(name, lambda measured: 0.0, frozenset(), settings, reference)


def test_scores_come_back_exactly(tmp_path):
    filled(tmp_path)
    with ResultStore(tmp_path, SETTINGS) as store:
        assert store.get(wrcor()) == {"a": 1.5, "b": float(np.float32(0.1))}
        assert store.get(acor()) == {"a": -np.inf, "b": 3.0} and store.get(rcor()) == {}


def test_proxies_that_differ_in_a_setting_lie_side_by_side(tmp_path):
    two, plain = [wrcor(), wrcor(weighting="none")], own_proxy()
    others = [own_proxy(k=1), own_proxy(k=1.0), own_proxy(k="1"), own_proxy(k=True), own_proxy(k={"a": 1, "b": 2})]
    with ResultStore(tmp_path, SETTINGS) as store:
        store.add(["a"], two, np.array([[1.0, 2.0]]))
        store.add(["a"], others, np.arange(5.0)[None])
        store.mark(two[1], {"a": "no memory"})
    with ResultStore(tmp_path, SETTINGS) as store:
        assert [store.get(proxy) for proxy in two] == [{"a": 1.0}, {"a": 2.0}]
        assert [store.get(proxy) for proxy in others] == [{"a": float(i)} for i in range(5)]
        assert store.get(own_proxy(k={"b": 2, "a": 1})) == {"a": 4.0} and store.get(plain) == {}
        assert store.failures(two[1]) == {"a": "no memory"} and store.failures(two[0]) == {}
        store.add(["a"], two, np.array([[3.0, 4.0]]))  # again: in the place of those before
        assert [store.get(proxy) for proxy in two] == [{"a": 3.0}, {"a": 4.0}]
        assert store.counts() == dict.fromkeys(sorted(["wrcor", "wrcor:weighting=none", *map(label, others)]), 1)
    stored = store_file.read(tmp_path)
    assert {name: stored.scores[name] for name in ("wrcor", "wrcor:weighting=none")} == {
        "wrcor": {"a": 3.0},
        "wrcor:weighting=none": {"a": 4.0},
    }
    assert stored.proxies["wrcor:weighting=none"] == ("wrcor", dict(two[1].settings), two[1].reference)
    assert set(stored.scores) == {"wrcor", "wrcor:weighting=none", "mine:k=1", "mine:k=1.0", 'mine:k="1"', "mine:k=true", 'mine:k={"a":1,"b":2}'}  # fmt: skip


def test_a_vote_has_scores_too(tmp_path):
    with ResultStore(tmp_path, SETTINGS) as store:
        store.add(["a"], [VOTES["sjw"], VOTES["spw"]], np.array([[1.0, 2.0]]))
        assert store.get(VOTES["spw"]) == {"a": 2.0}


def test_another_proxy_of_a_name_and_its_settings_is_refused_by_both_references(tmp_path):
    message = r"results\.sqlite holds scores of mine:k=1 \(me\), not of mine:k=1 \(you\): give the proxy another name"
    with ResultStore(tmp_path, SETTINGS) as store:
        store.add(["a"], [own_proxy(k=1)], np.ones((1, 1)))
        other = own_proxy(k=1, reference="you")
        for use in (
            lambda: store.get(other),
            lambda: store.failures(other),
            lambda: store.mark(other, {"a": "why"}),
            lambda: store.add(["b"], [acor(), other], np.ones((1, 2))),
        ):
            with pytest.raises(ValueError, match=message):
                use()
        assert store.get(acor()) == {}  # nothing of a call that is refused stays
        store.add(["b"], [own_proxy(k=2, reference="you")], np.ones((1, 1)))


def older(folder):
    """A folder as versions before this one left it."""
    folder.mkdir(exist_ok=True)
    connection = sqlite3.connect(folder / "results.sqlite", isolation_level=None)
    connection.execute("CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    connection.execute("CREATE TABLE scores (arch TEXT, proxy TEXT, score REAL NOT NULL, PRIMARY KEY (arch, proxy)) WITHOUT ROWID")  # fmt: skip
    settings = {"format": 1, "norm": "ln"} | SETTINGS
    connection.executemany("INSERT INTO settings VALUES (?, ?)", [(k, json.dumps(v)) for k, v in settings.items()])
    connection.executemany("INSERT INTO scores VALUES (?, ?, ?)", [("a", "wrcor", 1.5), ("a", "acor", -np.inf)])
    connection.close()
    return settings


def test_an_older_folder_is_read_and_not_written(tmp_path):
    settings = older(tmp_path / "old")
    before = listed(tmp_path / "old")
    stored = store_file.read(tmp_path / "old")
    assert stored.settings == settings and stored.scores == {"wrcor": {"a": 1.5}, "acor": {"a": -np.inf}}
    assert stored.proxies["wrcor"] == ("wrcor", {}, "") and listed(tmp_path / "old") == before
    with pytest.raises(ValueError) as caught:
        ResultStore(tmp_path / "old", SETTINGS)
    assert str(caught.value).endswith(
        "results.sqlite holds scores of format 1, which knows them by the names of their proxies alone: "
        "zsnas_jax.storage.stored.read reads them. Take another folder"
    )
    assert store_file.read(tmp_path / "old") == stored


def test_a_later_format_is_refused(tmp_path):
    filled(tmp_path)
    connection = sqlite3.connect(tmp_path / "results.sqlite", isolation_level=None)
    seals.put(connection, store_file.SETTINGS, [("format", "4")])
    connection.close()
    with pytest.raises(ValueError, match=r"results\.sqlite is of format 4: formats 1, 2 and 3 are read"):
        store_file.read(tmp_path)
    with pytest.raises(ValueError, match="holds scores of format 4, needed is 3. Take another folder"):
        ResultStore(tmp_path, SETTINGS)


def test_other_settings_are_refused_by_name(tmp_path):
    filled(tmp_path)
    with pytest.raises(
        ValueError, match=r"batch_size is 32, there it was 64; seed is 1, there it was 0\. Take another"
    ):
        ResultStore(tmp_path, SETTINGS | {"seed": 1, "batch_size": 32})
    with ResultStore(tmp_path, SETTINGS) as store:
        assert store.get(wrcor())


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
        store.add([f"arch {i}" for i in range(2000)], [wrcor()], np.zeros((2000, 1)))
    data = bytearray((tmp_path / "results.sqlite").read_bytes())
    data[4 * 4096 :] = b"\xff" * (len(data) - 4 * 4096)
    (tmp_path / "results.sqlite").write_bytes(data)
    with pytest.raises(ValueError, match="is damaged or not a results file"), ResultStore(tmp_path, SETTINGS) as store:
        store.get(wrcor())


def listed(folder):
    return sorted((path.name, path.read_bytes()) for path in folder.iterdir())


def test_a_folder_is_read_whatever_its_settings_and_left_as_it_is(tmp_path):
    filled(tmp_path)
    before = listed(tmp_path)
    settings, scores, *_ = store_file.read(tmp_path)
    assert settings == SETTINGS | {"format": store_file.FORMAT}
    assert scores == {"wrcor": {"a": 1.5, "b": float(np.float32(0.1))}, "acor": {"a": -np.inf, "b": 3.0}}
    assert listed(tmp_path) == before


def test_what_a_killed_run_committed_is_read_and_kept(tmp_path):
    program = """
import os, numpy as np
from zsnas_jax.proxies import wrcor
from zsnas_jax.storage.store import ResultStore
ResultStore("out", {"seed": 0}).add(["a"], [wrcor(weighting="none")], np.ones((1, 1)))
os.kill(os.getpid(), 9)
"""
    env = os.environ | {"PYTHONPATH": str(conftest.ROOT)}
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env).returncode == -signal.SIGKILL
    assert (tmp_path / "out" / "results.sqlite-wal").exists()
    assert store_file.read(tmp_path / "out").scores == {"wrcor:weighting=none": {"a": 1.0}}
    with ResultStore(tmp_path / "out", {"seed": 0}) as store:
        assert store.get(wrcor(weighting="none")) == {"a": 1.0}


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
    with (
        ResultStore(tmp_path, SETTINGS) as store,
        pytest.raises(ValueError, match="the score of b is nan: needed is a number, or -inf"),
    ):
        store.add(["a", "b"], [wrcor()], np.array([[1.0], [np.nan]]))
    with ResultStore(tmp_path, SETTINGS) as store:
        assert store.get(wrcor()) == {}
        store.add(["a"], [wrcor()], np.array([[1.0]]))
        with pytest.raises(ValueError, match="the score of b is nan"):
            store.add(["b"], [wrcor()], np.array([[np.nan]]))
        store.add(["c"], [wrcor()], np.array([[2.0]]))  # a failure ends with its transaction
        assert store.get(wrcor()) == {"a": 1.0, "c": 2.0}

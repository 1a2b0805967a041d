"""Files that decayed: whatever bit flips and wherever a file ends, what is read is what was written, or nothing is."""

import collections
import shutil
import sqlite3

import numpy as np
import pytest

from zsnas_jax.proxies import acor, wrcor
from zsnas_jax.search.seeds import Group, SearchStore
from zsnas_jax.storage import seals, stored
from zsnas_jax.storage.store import ResultStore
from zsnas_jax.training.checkpoints import Checkpoints

SETTINGS = {"seed": 0, "space": "made up"}
ARCHS = [f"arch {i}" for i in range(120)]
SCORES = np.random.default_rng(0).standard_normal((len(ARCHS), 2))
GROUP = Group(0, 2, [(10, 0.5)], bytes(range(256)) * 8)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with SearchStore(folder, SETTINGS) as made:
        made.add(ARCHS[:60], [wrcor(), acor()], SCORES[:60])
        made.commit("what for", GROUP, [wrcor(), acor()], dict(zip(ARCHS[60:], SCORES[60:], strict=True)))
        made.mark(acor(), {"arch 3": "no memory"})
    return folder / stored.FILE


def held(folder):
    """Everything that a folder gives: to whoever reads it, and to a run that goes on."""
    read = stored.read(folder)
    with SearchStore(folder, SETTINGS) as again:
        failures = [again.failures(proxy) for proxy in (wrcor(), acor())]
        return read, again.get(wrcor()), again.get(acor()), failures, again.groups("what for"), again.counts()


def damaged(data, rng):
    """(kind, the bytes with one bit flipped, or cut short)."""
    if rng.random() < 0.5:
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
        return "flip", bytes(flipped)
    page = rng.random() < 0.5  # at the end of a page a cut is harder to see
    end = int(rng.integers(len(data)))
    return "cut", data[: end // 4096 * 4096 if page else end]


def check_damaged(store, folder, count):
    """Counts of what became of damaged copies; none gives anything else than was written."""
    whole, data = held(store.parent), store.read_bytes()
    outcomes = collections.Counter()
    for seed in range(count):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        kind, damage = damaged(data, np.random.default_rng(seed))
        (folder / stored.FILE).write_bytes(damage)
        try:
            found = held(folder)
        except (ValueError, OSError) as error:
            assert "\n" not in str(error) and str(folder) in str(error), f"seed {seed}: {error}"
            outcomes[kind, "refused"] += 1
            continue
        assert found == whole, f"{kind} of seed {seed} changes what is read in silence"
        outcomes[kind, "as written"] += 1
    return outcomes


def test_a_store_that_decayed_is_refused_or_as_it_was(store, tmp_path):
    outcomes = check_damaged(store, tmp_path / "copy", 40)
    assert outcomes["flip", "refused"] and outcomes["cut", "refused"]


@pytest.mark.slow
def test_many_stores_that_decayed(store, tmp_path):
    outcomes = check_damaged(store, tmp_path / "copy", 400)
    print(f"\n400 damaged stores: {dict(outcomes)}")
    assert outcomes.total() == 400


def check_checkpoints(folder, count):
    """As `check_damaged`, of any file of the last checkpoint; without its checksums it counts as not finished."""
    state = {"a": np.arange(600.0), "b": {"c": np.int32(7)}}
    whole = folder / "whole"
    with Checkpoints(whole, SETTINGS) as kept:
        for step in (1, 2):
            kept.save(step, state | {"b": {"c": np.int32(step)}}, {"rows": [step]})
    paths = sorted(path.relative_to(whole) for path in (whole / "checkpoints" / "2").rglob("*") if path.is_file())
    outcomes = collections.Counter()
    for seed in range(count):
        rng, copy = np.random.default_rng(seed), folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        path = copy / paths[rng.integers(len(paths))]
        if rng.random() < 0.1 or not path.stat().st_size:
            kind = "gone"
            path.unlink()
        else:
            kind, damage = damaged(path.read_bytes(), rng)
            path.write_bytes(damage)
        try:
            with Checkpoints(copy, SETTINGS) as store:
                found, meta = store.restore(state)
        except (ValueError, OSError) as error:
            assert "\n" not in str(error) and "damaged" in str(error), f"seed {seed}: {error}"
            outcomes[kind, "refused"] += 1
            continue
        step = meta["rows"][0]
        assert step == 2 or (kind, path.name) == ("gone", "sha256.json"), f"seed {seed}"
        np.testing.assert_array_equal(found["a"], state["a"])
        assert found["b"]["c"] == step
        outcomes[kind, "as written" if step == 2 else "the one before"] += 1
    return outcomes


def test_a_checkpoint_that_decayed_is_refused_or_as_it_was(tmp_path):
    assert check_checkpoints(tmp_path, 15).total() == 15


@pytest.mark.slow
def test_many_checkpoints_that_decayed(tmp_path):
    outcomes = check_checkpoints(tmp_path, 200)
    print(f"\n200 damaged checkpoints: {dict(outcomes)}")
    assert outcomes.total() == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE scores SET score = score + 1 WHERE arch = 'arch 7' AND proxy = 1", "a row of scores is not as it was"),
        ("UPDATE scores SET score = 'nonsense' WHERE arch = 'arch 7'", "a row of scores is not as it was written"),
        ("DELETE FROM scores WHERE arch = 'arch 7'", "scores holds 119 rows where 120 were written"),
        ("DELETE FROM parts", "holds [0-9]+ rows where 0 were written"),
        ("UPDATE parts SET total = 1", "a row of parts is not as it was written"),
        ("UPDATE proxies SET settings = '{}'", "a row of proxies is not as it was written"),
        ("UPDATE settings SET value = '2' WHERE name = 'format'", "a row of settings is not as it was written"),
        ("CREATE VIEW other AS SELECT 1", "'other' is no table: view"),
        ("CREATE TRIGGER t AFTER INSERT ON scores BEGIN DELETE FROM parts; END", "'t' is no table: trigger"),
        ("DROP TABLE scores; CREATE VIEW scores AS SELECT * FROM proxies", "'scores' is no table: view"),
        ("ALTER TABLE scores RENAME TO gone; CREATE TABLE scores (proxy, arch, score, seal)", "not the table that bel"),
        ("DROP TABLE scores", "its scores are not those of format 3"),
    ],
)
def test_what_was_changed_from_outside_is_refused(store, tmp_path, change, message):
    shutil.copy(store, tmp_path)
    connection = sqlite3.connect(tmp_path / stored.FILE, isolation_level=None)
    connection.executescript(change)
    connection.close()
    with pytest.raises(ValueError, match=rf"results\.sqlite is damaged or not a results file: .*{message}"):
        stored.read(tmp_path)
    with pytest.raises(ValueError, match=rf"results\.sqlite is damaged or not a results file: .*{message}"):
        held(tmp_path)


def test_a_format_without_seals_is_read(tmp_path):
    connection = sqlite3.connect(tmp_path / stored.FILE, isolation_level=None)
    connection.executescript("""
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE proxies (id INTEGER PRIMARY KEY, name TEXT, settings TEXT, reference TEXT, UNIQUE (name, settings));
CREATE TABLE scores (proxy INTEGER, arch TEXT, score REAL NOT NULL, PRIMARY KEY (proxy, arch)) WITHOUT ROWID;
INSERT INTO settings VALUES ('format', '2'), ('seed', '0');
INSERT INTO proxies VALUES (1, 'mine', '{"k": 1}', 'me');
INSERT INTO scores VALUES (1, 'a', 1.5);
""")
    assert stored.read(tmp_path).scores == {"mine:k=1": {"a": 1.5}}
    with pytest.raises(ValueError, match=r"of format 2, which has no seals against damage: .*stored\.read reads them"):
        ResultStore(tmp_path, {"seed": 0})
    connection.execute("UPDATE scores SET score = 'nonsense'")
    with pytest.raises(ValueError, match="damaged or not a results file: a score is 'nonsense'"):
        stored.read(tmp_path)
    connection.execute("UPDATE scores SET score = 1.0, proxy = 2")
    connection.close()
    with pytest.raises(ValueError, match="a score is of proxy 2, which is not there"):
        stored.read(tmp_path)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_was_taken_away_is_noticed_at_the_next_commit(store, tmp_path, is_replaced):
    with SearchStore(tmp_path / "out", SETTINGS) as opened:
        opened.add(["a"], [wrcor()], np.ones((1, 1)))
        shutil.rmtree(tmp_path / "out")
        if is_replaced:
            (tmp_path / "out").mkdir()
            shutil.copy(store, tmp_path / "out")
        with pytest.raises(OSError, match=r"cannot write .*results\.sqlite: it was deleted or replaced while this ran"):
            opened.add(["b"], [wrcor()], np.ones((1, 1)))


def test_seals_tell_types_and_borders_apart():
    known = {seals.seal(*row) for row in [(1,), (1.0,), ("1",), (b"1",), ("1", ""), ("", "1"), (1, 1), ("11",)]}
    assert len(known) == 8 and all(0 <= number < 1 << 62 for number in known)
    with pytest.raises(seals.Damaged, match="a value is a NoneType"):
        seals.seal(None)

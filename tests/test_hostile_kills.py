"""kill -9 at random moments, again and again until the command ends: it ends in the bytes of one that nobody killed."""

import collections
import json
import random
import re
import shutil
import signal
import sqlite3
import time

import binaries
import numpy as np
import pytest
from test_hostile_commands import COMMANDS, finish, result_of

from zsnas_jax.proxies import wrcor
from zsnas_jax.storage import stored
from zsnas_jax.storage.store import ResultStore

NUM_KILLS = 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("killed")
    binaries.write_pictures(path / "tiny.npz")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_moment_it_ends_in_the_same_bytes(name, folder):
    moments, counts = random.Random(f"kill {name}"), collections.Counter()
    began = time.monotonic()
    expected = finish(name, "whole", folder)
    duration = time.monotonic() - began
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    while counts["kills"] < NUM_KILLS:
        process = binaries.start(name, *COMMANDS[name], "--out=out", cwd=folder)
        try:
            process.communicate(timeout=moments.uniform(0, 1.1 * duration))
        except Exception:  # its time is up
            process.send_signal(signal.SIGKILL)
            process.communicate()
        if process.returncode == -signal.SIGKILL:
            counts["kills"] += 1
            continue
        assert process.returncode == 0
        counts["ends"] += 1
        assert result_of(name, out) == expected
        json.loads((out / "report.json").read_text())
        shutil.rmtree(out)
    assert finish(name, "out", folder) == expected
    assert not [path for path in out.iterdir() if re.match(r"\..*\.\w{8}\.", path.name)]
    shutil.rmtree(folder / "whole")
    print(f"\n{name}: {dict(counts)}, all ends as without")


PREFIXES = [{f"arch {i}": float(i) for i in range(10 * n)} for n in range(9)]


@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_a_journal_that_decayed_reads_as_an_earlier_moment_of_its_run(tmp_path, count):
    """As a kill leaves it: no score is another, and what is lost is lost from the end."""
    with ResultStore(tmp_path / "run", {"seed": 0}) as store:
        store._connection.execute("PRAGMA wal_autocheckpoint=0")
        for n in range(8):
            archs = list(PREFIXES[n + 1])[10 * n :]
            store.add(archs, [wrcor()], np.array([[PREFIXES[n + 1][arch]] for arch in archs]))
        files = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if not path.name.startswith(".")}
    journal = f"{stored.FILE}-wal"
    assert len(files[journal]) > 20_000
    counts = collections.Counter()
    for seed in range(count):
        rng, copy = np.random.default_rng(seed), tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        damage = bytearray(files[journal])
        if rng.random() < 0.5:
            damage[rng.integers(len(damage))] ^= 1 << rng.integers(8)
        else:
            del damage[rng.integers(len(damage)) :]
        for name, data in (files | {journal: bytes(damage)}).items():
            (copy / name).write_bytes(data)
        (copy / f"{stored.FILE}-shm").unlink(missing_ok=True)  # of the process that was killed
        try:
            with ResultStore(copy, {"seed": 0}) as store:
                found = store.get(wrcor())
        except (ValueError, OSError, sqlite3.Error) as error:
            assert "\n" not in str(error)
            counts["refused"] += 1
            continue
        assert found in PREFIXES, f"seed {seed}"
        counts[f"{len(found)} scores"] += 1
    print(f"\n{count} damaged journals: {dict(counts)}")
    assert len(counts) > 5

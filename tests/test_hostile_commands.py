"""Attacks on the binaries: absurd values of every flag, and stops at random moments. They print their counts."""

import collections
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import binaries
import conftest
import pytest
from test_commands import SEARCH

ABSURD = [
    "", "-1", "0", "-0.0", "1e300", "1e400", "-1e400", "nan", "inf", "-inf", "0.5", "1e-320", "2147483648", str(2**63),
    str(-(2**63)), 400 * "9", 5000 * "9", "0x10", "1_0", " 7", "\u0663", "x", "x,y,,x", "x:y=z:", "a\nb", "\x1b[2J",
    300 * "\u00e9", 5000 * "x", "\udcff", "%s%n", "~", "~no_such_user/x", "/dev/null", "/dev/zero", "/proc/self/mem",
    "/proc/version", "..", "true", "random:99999999999", "all",
]  # fmt: skip
"""More than any flag allows, less, and other than it asks for."""

DRIVER = """
import importlib, json, os, signal, sys
from absl import flags as absl_flags
from zsnas_jax import arguments, command, training
FLAGS = absl_flags.FLAGS
asked = json.load(sys.stdin)
binary = importlib.import_module(asked["module"])
binary.define_flags()
class Late(BaseException):
    pass
def late(*_):
    raise Late
def fit(*_, **__):
    raise ValueError("training begins")
training.fit = fit  # which compiles for seconds; what is wrong has been found by then
signal.signal(signal.SIGALRM, late)
names = [name for names in arguments._HEADINGS.values() for name in names] + ["verbosity"]
said, standard = [], os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
for flag in names:
    for number, value in enumerate(asked["values"]):
        for name in FLAGS:
            FLAGS[name].unparse()
        base = [f"--out=out/{flag}{number}"] if flag != "out" else []
        base += [text for text in asked["base"] if not text.startswith(f"--{flag}=")]
        signal.alarm(asked["seconds"])
        try:
            FLAGS([asked["module"], *base, f"--{flag}={value}"])
            binary.main()
            outcome = "accepted"
        except absl_flags.Error as error:
            outcome = command.describe(ValueError(str(error)))
        except Late:
            outcome = "TOO LATE"
        except BaseException as error:
            outcome = "accepted" if str(error) == "training begins" else command.describe(error)
        signal.alarm(0)
        said.append((flag, value, outcome))
os.write(standard, json.dumps(said).encode())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile")
    binaries.write_pictures(path / "tiny.npz")
    return path


BASES = {
    "zsnas_jax.score_main": ["--archs=0:2", "--proxies=params", "--batch_size=2", "--benchmark=none"],
    "zsnas_jax.search_main": [*SEARCH, "--strategy=random", "--num_architectures=5"],
    "zsnas_jax.train_main": ["--arch=0", "--dataset=tiny.npz", "--benchmark=none", "--batch_size=8", "--epochs=1"],
    "projects.suite.compare_main": ["--suite_zero=none.csv"],
    "projects.ncd.reproduce_main": ["--benchmark=none.csv"],
    "projects.wrcor.reproduce_main": ["--benchmark=none.csv"],
}


@pytest.mark.slow
@pytest.mark.parametrize("module", BASES)
def test_absurd_values_of_every_flag_are_refused_in_one_line(module, folder):
    """None hangs, none ends in an error that nobody foresaw."""
    env = os.environ | {"PYTHONPATH": str(conftest.ROOT), "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    base = [*BASES[module], f"--compilation_cache={conftest.CACHE}"]
    asked = json.dumps({"module": module, "base": base, "values": ABSURD, "seconds": 20})
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=folder, env=env, input=asked, capture_output=True, text=True, timeout=3000
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    kinds = collections.Counter(
        "accepted" if outcome == "accepted" else "late" if outcome == "TOO LATE" else
        "unforeseen" if outcome.endswith("shows the traceback") else "refused" for _, _, outcome in said
    )  # fmt: skip
    print(f"{module}: {len({flag for flag, *_ in said})} flags, {len(said)} values: {dict(kinds)}")
    print(f"accepted by {dict(collections.Counter(flag for flag, _, outcome in said if outcome == 'accepted'))}")
    wrong = [case for case in said if case[2] == "TOO LATE" or case[2].endswith("shows the traceback")]
    assert not wrong, wrong[:20]
    assert not [case for case in said if "\n" in case[2] or len(case[2]) > 1100]


# --- stops

COMMANDS = {
    "search_main": [*SEARCH, "--num_seeds=40", "--chunk=10"],
    "score_main": ["--archs=0:6", "--proxies=params,naswot", "--batch_size=2", "--benchmark=none", "--num_devices=1"],
    "train_main": ["--arch=0", "--dataset=tiny.npz", "--benchmark=none", "--batch_size=8", "--epochs=3"],
}
RESULT = {"search_main": "found.csv", "score_main": "scores.csv", "train_main": "metrics.csv"}
NUM_STOPS, RUNS_OF_A_FOLDER = 22, 4


def listens(process):
    """Whether SIGTERM is caught: before, while Python itself starts, a signal is Python's own business."""
    try:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return False
    return bool(int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (signal.SIGTERM - 1) & 1)


def result_of(name, folder):
    """The bytes that a command leaves, without the seconds that it took."""
    text = (folder / RESULT[name]).read_text()
    return re.sub(r",[^,]*$", "", text, flags=re.M) if name == "train_main" else text


def finish(name, out, cwd):
    process = binaries.start(name, *COMMANDS[name], f"--out={out}", cwd=cwd)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return result_of(name, cwd / out)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_stopped_at_any_moment_it_says_so_and_goes_on(name, folder):
    """Interrupts, every fourth twice at once, every sixth SIGTERM, at moments of imports, compilation, work, reports."""
    moments = random.Random(name)
    expected = finish(name, f"{name}_whole", folder)
    began = time.monotonic()
    assert finish(name, f"{name}_again", folder) == expected
    duration = time.monotonic() - began  # of what has been compiled before
    line = f"{name}: stopped; the same command goes on from here"
    counts, slowest, folders = collections.Counter(), 0.0, set()
    for trial in range(3 * NUM_STOPS):
        sent, code = (signal.SIGTERM, 143) if trial % 6 == 5 else (signal.SIGINT, 130)
        out = f"{name}{trial // RUNS_OF_A_FOLDER}"
        folders.add(out)
        process = binaries.start(name, *COMMANDS[name], f"--out={out}", cwd=folder)
        while not listens(process) and process.poll() is None:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.9 * duration))
        for _ in range(2 if trial % 4 == 3 else 1):
            process.send_signal(sent)
        began = time.monotonic()
        _, err = process.communicate(timeout=60)
        seconds = time.monotonic() - began
        assert "Traceback" not in err and "Exception" not in err, err
        if process.returncode == 0:
            counts["finished before"] += 1
            assert result_of(name, folder / out) == expected
            continue
        assert process.returncode == code and err.endswith(f"\n{line}\n") and err.count(line) == 1, err
        counts[sent.name], slowest = counts[sent.name] + 1, max(slowest, seconds)
        if counts["SIGINT"] + counts["SIGTERM"] == NUM_STOPS:
            break
    assert counts["SIGINT"] + counts["SIGTERM"] == NUM_STOPS
    for out in folders:
        assert finish(name, out, folder) == expected
        assert not [path for path in (folder / out).iterdir() if re.match(r"\..*\.\w{8}\.", path.name)]
    print(f"{name}: {dict(counts)}, the slowest left after {slowest:.2f} s; all {len(folders)} folders went on")

"""How the binaries run: errors in one line, stops, closed pipes, surroundings, flags."""

import os
import re
import signal
import subprocess
import sys

import binaries
from binaries import ENVIRONMENT, start_python
import jax
import pytest

from zsnas_jax import arguments, command
from zsnas_jax.arguments import Range
from zsnas_jax.runs.settings import stream_identity
from zsnas_jax.storage import files
from zsnas_jax.storage.store import ResultStore

STUB = """
import os, pathlib, signal, sys, time, types
stub = types.ModuleType("stub_main", "Does what a test says.")
parser = types.ModuleType("zsnas_jax.flags")  # the real one imports JAX, which takes seconds
parser.parse, stub.define_flags = lambda argv, description: True, lambda: None
sys.modules |= {"zsnas_jax.flags": parser, "stub_main": stub}
exec("def main():\\n" + "".join(f"    {line}\\n" for line in BODY.splitlines()), stub.__dict__ | {"os": os, "time": time}, stub.__dict__)
from zsnas_jax import command
command.run("stub_main")
"""
STOPPED = "stub_main: stopped; the same command goes on from here"


def start_stub(body, *flags, **options):
    return start_python("-c", STUB.replace("BODY", repr(body)), *flags, **options)


def run_stub(body, *flags, **options):
    process = start_stub(body, *flags, **options)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


# --- errors


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('x is 3: allowed are\\n 1 to 2')", "x is 3: allowed are 1 to 2"),
        ("raise RuntimeError('no \\x1b[2J device')", "no [2J device"),
        ("open('/none/there')", "[Errno 2] No such file or directory: '/none/there'"),
        ("raise MemoryError", "MemoryError: no more is known; --verbosity=1 shows the traceback"),
        ("{}['gone']", "KeyError: 'gone'; --verbosity=1 shows the traceback"),
        ("float(10**400)", "OverflowError: int too large to convert to float; --verbosity=1 shows the traceback"),
        ("b'\\xff'.decode()", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff"),
        ("main = lambda f: f(f)\nmain(main)", "RecursionError: maximum recursion depth exceeded"),
        ("import zsnas_none", "ModuleNotFoundError: No module named 'zsnas_none'"),
        ("class XlaRuntimeError(RuntimeError): pass\nraise XlaRuntimeError('OOM')", "XlaRuntimeError: OOM; --verb"),
        ("raise ExceptionGroup('two', [ValueError(), OSError()])", "ExceptionGroup: two (2 sub-exceptions)"),
        ("raise ValueError('begin' + 10**6 * 'x' + 'end')", "beginxxx"),
    ],
)
def test_whatever_goes_wrong_is_one_line(body, said):
    code, out, err = run_stub(body)
    assert code == 1 and not out
    assert err.startswith(f"stub_main: error: {said.replace(chr(27), ' ')}") and err.count("\n") == 1
    assert len(err) < 1100 and err.isascii() and "\x1b" not in err


def test_the_traceback_is_there_for_those_who_ask():
    code, _, err = run_stub("{}['gone']", "--verbosity=1")
    assert code == 1 and err.startswith("Traceback") and "stub_main: error: KeyError: 'gone'" in err.splitlines()[-1]


def test_a_warning_is_one_line():
    code, out, err = run_stub("import warnings\nwarnings.warn('x is 3')")
    assert (code, out, err) == (0, "", "stub_main: warning: x is 3\n")


def test_the_version_needs_no_imports():
    assert run_stub("pass", "--version") == (0, f"stub_main {command.__version__}\n", "")


# --- stops and pipes

SWALLOWING = """
print("begun", flush=True)
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
"""
CALLBACK = """
import jax
def wait(x):
    print("begun", flush=True)
    time.sleep(60)
    return x
jax.jit(lambda x: jax.pure_callback(wait, jax.ShapeDtypeStruct((), "float32"), x))(1.0).block_until_ready()
"""
COMPUTING = """
import hashlib
print("begun", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


@pytest.mark.parametrize("body", [SWALLOWING, CALLBACK, COMPUTING], ids=["swallowing", "callback", "computing"])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_is_one_line_wherever_it_arrives(body, sent, code):
    process = start_stub(body)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(sent)
    process.send_signal(sent)  # impatient
    _, err = process.communicate(timeout=5)
    assert process.returncode == code and err.strip() == STOPPED


def test_a_signal_that_is_ignored_stays_so():
    process = start_stub("print('begun', flush=True)\ntime.sleep(1)\nprint('ended')", at_interrupt=signal.SIG_IGN)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10) == ("ended\n", "") and process.returncode == 0


def test_a_stop_after_the_end_changes_nothing():
    body = "import atexit\natexit.register(lambda: (print('leaving', flush=True), time.sleep(1)))\nprint('done')"
    process = start_stub(body)
    assert [process.stdout.readline() for _ in range(2)] == ["done\n", "leaving\n"]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10) == ("", "") and process.returncode == 0


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_pipe_ends_quietly(closed):
    stream = f"import sys\nfor _ in range(10**5): print('text', file=sys.{closed}, flush=True)"
    process = start_stub(stream)
    reader = getattr(process, closed)
    assert reader.readline() == "text\n"
    reader.close()
    other = process.stderr if closed == "stdout" else process.stdout
    assert other.read() == "" and process.wait(timeout=10) == 141
    other.close()


def test_an_error_is_said_where_stdout_is_closed():
    process = start_stub("import time\ntime.sleep(0.5)\nraise ValueError('x is 3')")
    process.stdout.close()
    assert process.stderr.read() == "stub_main: error: x is 3\n" and process.wait() == 1
    process.stderr.close()


def test_closed_streams_are_not_files_of_the_run(tmp_path):
    """Otherwise what is printed goes to the first file that is opened."""
    body = "file = open('first', 'w')\nprint('text')\nprint('text', file=__import__('sys').stderr, flush=True)"
    shell = f'{sys.executable} -c "$0" >&- 2>&- <&-'
    script = STUB.replace("BODY", repr(body))
    assert subprocess.run(["sh", "-c", shell, script], cwd=tmp_path, env=ENVIRONMENT, check=True)
    assert (tmp_path / "first").read_text() == ""


def test_a_full_device_is_an_error():
    with open("/dev/full", "w") as full:
        code, _, err = run_stub("print('text')", stdout=full)
    assert code == 1 and err == "stub_main: error: [Errno 28] No space left on device\n"


# --- flags


@pytest.mark.parametrize(
    ("parser", "text", "value"),
    [
        (arguments.Number(int, Range(2, 9)), "7", 7),
        (arguments.Number(float, Range(0, 1, without=(1,))), "0", 0.0),
        (arguments.Choice(["a", "b"]), "b", "b"),
        (arguments.Path(), "a/~b", "a/~b"),
        (arguments.Path(), "~/b", os.path.expanduser("~/b")),
        (arguments.Path(may_be_empty=True), "", ""),
        (arguments.Paths(), "~/b,c", [os.path.expanduser("~/b"), "c"]),
    ],
)
def test_a_flag_reads(parser, text, value):
    assert parser.parse(text) == value


@pytest.mark.parametrize(
    ("parser", "texts", "said"),
    [
        (
            arguments.Number(int, Range(2, 65_536)),
            ["1", "65537", "-5", "2.0", "1e3", "nan", "", "x", str(2**63), 5000 * "9"],
            "allowed are whole numbers from 2 to 65,536",
        ),
        (
            arguments.Number(float, Range(0, 1e6, without=(0,))),
            ["0", "-0.0", "-1", "1e7", "nan", "inf", "-inf", "1e400", "", "x"],
            "allowed are numbers from 0 to 1e+06, 0 excluded",
        ),
        (arguments.Choice(["a", "b"]), ["", "c", "a,b"], "allowed are a, b"),
        (arguments.Path(), [""], "a path or a name is needed"),
        (arguments.Path(), ["a/\udcff"], "a path in UTF-8 is needed"),
        (arguments.Path(), ["~no_such_user/b"], "~no_such_user is no home folder that is known here"),
    ],
)
def test_a_flag_refuses(parser, texts, said):
    for text in texts:
        with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
            parser.parse(text)


def test_a_home_that_nobody_knows_is_said(monkeypatch):
    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(ValueError, match="^~ is no home folder that is known here$"):
        arguments.Path().parse("~/x")


# --- surroundings

SEARCH = ["--scores=nasbench201_scores", "--proxies=wrcor", "--benchmark=none", "--num_architectures=70"]
NOWHERE = """
import os, pwd, sys
def nobody(uid):
    raise KeyError(uid)
pwd.getpwuid = nobody
os.environ |= {"MPLBACKEND": "nope", "JAX_ENABLE_X64": "1"}
del os.environ["HOME"]
from zsnas_jax import command
command.run("zsnas_jax.search_main")
"""


@pytest.mark.slow
def test_no_home_no_name_another_back_end_and_double_precision_change_nothing(tmp_path):
    process = binaries.start("search_main", *SEARCH, "--out=usual", cwd=tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / ".found.csv.0123abc_.csv").write_text("of a run that was killed")
    process = start_python("-c", NOWHERE, *SEARCH, "--out=odd", cwd=tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert sorted(path.name for path in (tmp_path / "odd").iterdir()) == sorted(os.listdir(tmp_path / "usual"))
    for name in ("found.csv", "curve.csv"):
        assert (tmp_path / "odd" / name).read_bytes() == (tmp_path / "usual" / name).read_bytes()


def test_help_groups_the_flags(tmp_path):
    process = binaries.start("train_main", "-h", cwd=tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and not err
    headings = re.findall(r"^[A-Z].*$", out, re.M)
    assert headings == [
        "Stopped at any moment and started again with the same flags, it goes on from the last checkpoint, to the same weights.",
        "Networks", "Pictures", "Trained accuracy", "The run and its results", "Training",
        "In the place of what the recipe says", "Help",
    ]  # fmt: skip
    assert "  --seed=0\n      Seed of weights" in out and "Allowed are whole numbers from 0 to 2,147,483,647." in out
    assert "  --[no]nesterov\n" in out and "  --label_smoothing\n" in out and "Allowed are sgd, rmsprop, adamw." in out


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is a GPU")
def test_a_device_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "JAX_PLATFORMS", "cuda")
    process = binaries.start("score_main", cwd=tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1 and err.count("\n") == 1
    assert err.startswith("score_main: error: JAX_PLATFORMS is 'cuda': there is none here")


def test_another_stream_of_random_numbers_is_noticed():
    key = jax.random.key(0)
    with jax.threefry_partitionable(True):
        new = stream_identity(key)
    with jax.threefry_partitionable(False):
        old = stream_identity(key)
    others = {stream_identity(other) for other in (jax.random.key(1), jax.random.key(0, impl="rbg"))}
    assert len({new, old, *others}) == 4 and stream_identity(key) in (new, old)


# --- disks


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 64 KiB, full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    with pytest.raises(OSError, match="No space left"):
        (disk / "filling").write_bytes(bytes(2**20))
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_called_that(full_disk):
    with pytest.raises(OSError, match=r"cannot write .*results.sqlite: database or disk is full"):
        ResultStore(full_disk / "out", {"seed": 0})
    with pytest.raises(OSError, match="No space left on device"):
        files.write_text(full_disk / "scores.csv", 10_000 * "text")


def test_what_killed_runs_left_is_swept_and_nothing_else(tmp_path):
    for name in (".scores.csv.ab_9xyz0.csv", ".README.0123abcd", ".a.tar.gz.00000000.gz"):
        (tmp_path / name).write_text("left")
    mine = (".scores.csv", "scores.csv", ".lock", ".scores.csv.ab_9xyz0.png", ".scores.csv.ab_9xyz.csv", ".x.ABCDEFGH")
    for name in mine:
        (tmp_path / name).write_text("kept")
    (tmp_path / ".folder.0123abcd").mkdir()
    (tmp_path / ".link.0123abcd").symlink_to("scores.csv")
    with files.replacing(tmp_path / "report.json") as temporary:
        temporary.write_text("{}")
        assert files.sweep(tmp_path) == [".README.0123abcd", ".a.tar.gz.00000000.gz", ".scores.csv.ab_9xyz0.csv"]
        assert temporary.exists()
    assert sorted(os.listdir(tmp_path)) == sorted([*mine, ".folder.0123abcd", ".link.0123abcd", "report.json"])

"""The real binaries, in processes of their own."""

import atexit
import importlib
import json
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from absl import flags as absl_flags
import conftest
import numpy as np
import tiny

from zsnas_jax import command, search_spaces

ENVIRONMENT = os.environ | {"PYTHONPATH": f"{conftest.ROOT}{os.pathsep}{conftest.ROOT / 'tests'}"}
TINY = "import binaries, sys; binaries.run_tiny(sys.argv.pop(1))"
"""A binary for which NAS-Bench-201 has the networks of tiny.py, which compile in seconds."""
PRELOADED = ["binaries", "tiny", *(f"zsnas_jax.{name}_main" for name in ("score", "search", "train", "compare"))]
"""What processes that are forked have imported already: seconds of each."""
PRELOADED += ["zsnas_jax.reports.plots", "zsnas_jax.reports.drawing"]


def start_python(*arguments, cwd=None, at_interrupt=signal.default_int_handler, **options):
    """Python on its way; its output is read by `communicate`."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    inherited = signal.signal(signal.SIGINT, at_interrupt)  # a shell's background job, which this may be, ignores it
    try:
        return subprocess.Popen([sys.executable, *arguments], cwd=cwd, text=True, env=ENVIRONMENT, **options)
    finally:
        signal.signal(signal.SIGINT, inherited)


def start(module, *flags, cwd, is_tiny=False):
    """A binary on its way; `is_tiny`: with small networks of NAS-Bench-201."""
    binary = ["-c", TINY, module] if is_tiny else ["-m", f"zsnas_jax.{module}"]
    return start_python(*binary, f"--compilation_cache={conftest.CACHE}", *flags, cwd=cwd)


def run(module, *flags, cwd, is_tiny=False):
    """(exit code, what it printed, what it complained of) of a binary, as its console command runs it."""
    binary = run_tiny if is_tiny else run_command
    return run_forked(binary, module, argv=[module, f"--compilation_cache={conftest.CACHE}", *flags], cwd=cwd)


def run_command(module):
    command.run(f"zsnas_jax.{module}")


def run_tiny(module):
    search_spaces.SPACES = {**search_spaces.SPACES, "nasbench201": tiny.space}
    run_command(module)


def errors_of(module, cases, cwd, num_devices=1):
    """What a binary says to each list of flags, all in one process, on so many CPU devices."""
    devices = f"--xla_force_host_platform_device_count={num_devices}"
    env = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {devices}"}
    code, out, err = run_forked(try_all, module, cases, argv=[module], cwd=cwd, env=env)
    assert code == 0, err
    errors = json.loads(out.splitlines()[-1])
    assert len(errors) == len(cases)
    return errors


def try_all(module, cases):
    """Prints what a binary says to each list of flags."""
    binary = importlib.import_module(f"zsnas_jax.{module}")
    binary.define_flags()
    said = []
    for case in cases:
        for name in absl_flags.FLAGS:
            absl_flags.FLAGS[name].unparse()
        try:
            absl_flags.FLAGS([module, *case])
            binary.main()
            said.append("nothing is wrong")
        except (absl_flags.Error, ValueError, OSError) as error:
            said.append(str(error))
    print("\n" + json.dumps(said))


def run_forked(function, *args, argv, cwd=None, env=None, timeout=600):
    """(exit code, what it printed, what it complained of) of a function in a process of its own."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        said = [pathlib.Path(folder, name) for name in ("out", "err")]
        process = forks.Process(target=_call, args=(function, args, argv, cwd or os.getcwd(), env or {}, said))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"{argv} took more than {timeout} seconds: {said[1].read_text()}")
        return process.exitcode, *(path.read_text() for path in said)


def _call(function, args, argv, cwd, env, said):
    for number, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.update(env)
    sys.argv[:] = argv
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        function(*args)
    finally:
        atexit._run_exitfuncs()  # which a process of multiprocessing leaves out


def write_pictures(path):
    """An .npz of 40 pictures of 8 x 8 pixels, four classes, and 8 to test."""
    rng = np.random.default_rng(0)
    picture = lambda count: rng.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    np.savez(path, x_train=picture(40), y_train=np.arange(40) % 4, x_test=picture(8), y_test=np.arange(8) % 4)

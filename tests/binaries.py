"""The real binaries, in processes of their own."""

import json
import os
import signal
import subprocess
import sys

import conftest
import numpy as np

ENVIRONMENT = os.environ | {"PYTHONPATH": f"{conftest.ROOT}{os.pathsep}{conftest.ROOT / 'tests'}"}
TINY = """
import sys
import tiny
from zsnas_jax import command, search_spaces
search_spaces.SPACES = {**search_spaces.SPACES, "nasbench201": tiny.space}
command.run(f"zsnas_jax.{sys.argv.pop(1)}")
"""
"""A binary for which NAS-Bench-201 has the networks of tiny.py, which compile in seconds."""
TRY_ALL = """
import importlib, json, sys
from absl import flags as absl_flags
asked = json.load(sys.stdin)
binary = importlib.import_module(f"zsnas_jax.{asked['module']}")
binary.define_flags()
said = []
for case in asked["cases"]:
    for name in absl_flags.FLAGS:
        absl_flags.FLAGS[name].unparse()
    try:
        absl_flags.FLAGS([asked["module"], *case])
        binary.main()
        said.append("nothing is wrong")
    except (absl_flags.Error, ValueError, OSError) as error:
        said.append(str(error))
print("\\n" + json.dumps(said))
"""


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
    """(exit code, what it printed, what it complained of)."""
    process = start(module, *flags, cwd=cwd, is_tiny=is_tiny)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def errors_of(module, cases, cwd, num_devices=1):
    """What a binary says to each list of flags, all in one process, on so many CPU devices."""
    asked = json.dumps({"module": module, "cases": cases})
    devices = f"--xla_force_host_platform_device_count={num_devices}"
    env = ENVIRONMENT | {"XLA_FLAGS": f"{ENVIRONMENT.get('XLA_FLAGS', '')} {devices}"}
    command = [sys.executable, "-c", TRY_ALL]
    done = subprocess.run(command, cwd=cwd, env=env, input=asked, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout.splitlines()[-1])
    assert len(errors) == len(cases)
    return errors


def write_pictures(path):
    """An .npz of 40 pictures of 8 x 8 pixels, four classes, and 8 to test."""
    rng = np.random.default_rng(0)
    picture = lambda count: rng.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    np.savez(path, x_train=picture(40), y_train=np.arange(40) % 4, x_test=picture(8), y_test=np.arange(8) % 4)

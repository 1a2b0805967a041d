"""The real binaries, in processes of their own."""

import json
import os
import subprocess
import sys

import conftest

ENVIRONMENT = os.environ | {"PYTHONPATH": str(conftest.ROOT)}
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


def start(module, *flags, cwd, **options):
    """A binary on its way; its output is read by `communicate`."""
    command = [sys.executable, "-m", f"zsnas_jax.{module}", f"--compilation_cache={conftest.CACHE}", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, text=True, **pipes, **options)


def run(module, *flags, cwd):
    """(exit code, what it printed, what it complained of)."""
    process = start(module, *flags, cwd=cwd)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def errors_of(module, cases, cwd, num_devices=1):
    """What a binary says to each list of flags, all in one process, on so many CPU devices."""
    asked = json.dumps({"module": module, "cases": cases})
    env = ENVIRONMENT | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}"}
    command = [sys.executable, "-c", TRY_ALL]
    done = subprocess.run(command, cwd=cwd, env=env, input=asked, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout.splitlines()[-1])
    assert len(errors) == len(cases)
    return errors

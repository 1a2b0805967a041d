"""Shared set-up: the compilation cache, the --slow option, parsed flags."""

from importlib.metadata import version
import os
import pathlib
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the commands have it
# Before JAX is imported, and for the binaries too: compiling is most of what the tests do, and takes half as long so.
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1":
    KNOWN = tuple(map(int, version("jaxlib").split(".")[:2])) <= (0, 10)  # XLA dies of a flag that it does not know
    FEWER_PASSES = "--xla_cpu_use_fusion_emitters=false" if KNOWN else ""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FEWER_PASSES}".strip()

from absl import flags
import jax
import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]  # what tests share, and `projects`
CACHE = ROOT / ".jax_cache"

jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
jax.config.update("jax_default_matmul_precision", "highest")  # on a GPU tests compare float32, not its default of TF32
flags.FLAGS.mark_as_parsed()


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests that take long, too")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords or "dear" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes long: run with --slow"))

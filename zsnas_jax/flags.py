"""Command-line flags that binaries share, defined once: two binaries that define one flag collide."""

from collections.abc import Callable, Mapping
import hashlib
import importlib.util
import json
import os
import pathlib
import sys
from typing import Any

from absl import app, flags, logging
import jax

from zsnas_jax import benchmarks
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.datasets import DATASETS
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.nn.options import ACTIVATIONS, NORMS, LayerOptions
from zsnas_jax.proxies import PROXIES, WEIGHTINGS
from zsnas_jax.scoring import PROGRAMS
from zsnas_jax.search_spaces import SPACES

FLAGS = flags.FLAGS
_MAX_CPU_DEVICES = 8  # each holds its own activations: 0.3 GB at a batch of 64
_LARGE_SPACES = ("nasbench101",)  # one network keeps all cores busy, and two would take 7.6 GiB instead of 4.5


def define_common_flags() -> None:
    """The flags of every binary: data, seed, ground truth, where the work and its results go."""
    flags.DEFINE_string("data_dir", None, "Folder of the data sets (TFDS's, or CIFAR's binary archives).")
    flags.DEFINE_integer("seed", 0, "Seed of weights, batches and random selections.")
    flags.DEFINE_string(
        "benchmark",
        "auto",
        "Ground truth: analog, a path (csv, csv.gz, npz, archive), none, or auto (analog if installed).",
    )
    flags.DEFINE_string("out", None, "Folder of the results; default results/ and a name made from the settings.")
    flags.DEFINE_string(
        "compilation_cache",
        str(pathlib.Path.home() / ".cache" / "zsnas_jax" / "xla"),
        "Compiled programs; empty: none kept.",
    )


def define_run_flags() -> None:
    """The flags of every binary that scores."""
    define_common_flags()
    flags.DEFINE_integer("batch_size", 64, "Pictures in a batch.")
    flags.DEFINE_integer("candidates_per_step", 1, "Architectures that a device scores at once (vmap).")
    flags.DEFINE_integer(
        "num_devices", 0, "CPU devices to share the work; 0: one a core, or one for large networks. Ignored on a GPU."
    )


def define_network_flags(dataset: str) -> None:
    """The flags that say what is scored or trained, on what by default."""
    flags.DEFINE_string("space", "nasbench201", f"Search space: {', '.join(SPACES)}.")
    flags.DEFINE_string("dataset", dataset, f"Pictures: {', '.join(DATASETS)}, or the path of an .npz.")
    flags.DEFINE_integer("num_classes", None, "Width of the logits; default that of the data set.")
    flags.DEFINE_string("init", "kaiming_uniform", f"Initialisation: {', '.join(INITIALIZERS)}.")
    flags.DEFINE_string("benchmark_column", None, "Column of the ground truth, for example cifar10_test_200.")


def define_scoring_flags() -> None:
    """The flags that say what is scored, how, and on what."""
    define_run_flags()
    define_network_flags("noise")
    flags.DEFINE_list(
        "proxies",
        ["wrcor"],
        "Proxies, separated by commas, each with settings of its own or without (wrcor,wrcor:weighting=none,"
        f"swap:num_samples=16,naswot:norm=ln), or all: {', '.join(PROXIES)}.",
    )
    flags.DEFINE_bool("augment", False, "Flip and crop the pictures at random.")
    flags.DEFINE_string(
        "programs",
        "auto",
        f"How architectures share compiled programs: {', '.join(PROGRAMS)}; auto: as the space serves best.",
    )
    flags.DEFINE_string("norm", "bn", f"In the place of batch norm: {', '.join(NORMS)}; ln is NCD's NIR.")
    flags.DEFINE_float("mask_rate", 0.0, "Share of what enters a convolution that is masked: NCD's SAM, in [0, 1).")
    flags.DEFINE_string("activation", "relu", f"Activation: {', '.join(ACTIVATIONS)}.")
    flags.DEFINE_string("weighting", "expb2t", f"Layer weights of WRCor: {', '.join(WEIGHTINGS)}.")
    flags.DEFINE_integer("repeats", 1, "Initialisations that a score is the mean of.")
    flags.DEFINE_bool("resample", False, "Draw a new batch for every architecture and repeat.")
    flags.DEFINE_float("flops_limit", None, "Only architectures of at most so many multiply-adds.")
    flags.DEFINE_float("params_limit", None, "Only architectures of at most so many parameters.")


def configure(most_cpu_devices: int = _MAX_CPU_DEVICES) -> None:
    """Sets up logging, devices and the compilation cache; call it before anything touches a device.

    Args:
        most_cpu_devices: where --num_devices is 0.
    """
    if not FLAGS["verbosity"].present:  # or jax reports every backend, and TFDS every package, that a machine lacks
        logging.set_verbosity(logging.ERROR)
    if FLAGS.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", FLAGS.compilation_cache)
        # Low, since a space whose networks are chains has thousands of small programs.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    if FLAGS.num_devices < 0:
        raise ValueError(f"num_devices is {FLAGS.num_devices}: allowed are 0 (one a core) and more")
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        most = 1 if getattr(FLAGS, "space", "") in _LARGE_SPACES else most_cpu_devices
        jax.config.update("jax_num_cpu_devices", FLAGS.num_devices or min(cores, most))


def candidates_per_step() -> int:
    """The flag, checked before anything is written."""
    if FLAGS.candidates_per_step < 1:
        raise ValueError(f"candidates_per_step is {FLAGS.candidates_per_step}: at least 1 is needed")
    return FLAGS.candidates_per_step


def layer_options() -> LayerOptions:
    """Norm, mask and activation of the networks under score; part of the settings of the proxies of the run."""
    return LayerOptions(FLAGS.norm, FLAGS.mask_rate, FLAGS.activation)


def results_folder(stem: str, settings: Mapping[str, Any]) -> pathlib.Path:
    """The folder of --out, or one whose name, after a stem, belongs to these settings alone."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return pathlib.Path(FLAGS.out or f"results/{stem}-{digest}")


def ground_truth(space: str) -> TabularBenchmark | None:
    """The table of --benchmark, if there is one for a space."""
    if FLAGS.benchmark == "none":
        return None
    if FLAGS.benchmark != "auto":
        return benchmarks.open_benchmark(FLAGS.benchmark)
    if space != "nasbench201":
        return None
    if importlib.util.find_spec("analognasbench") is None:
        print("no ground truth: pip install analog-nasbench, or give --benchmark a table")
        return None
    return benchmarks.from_analog_nasbench()


def run(main: Callable[[], None], description: str) -> None:
    """Runs a binary: what a user got wrong ends in one line on stderr and exit code 1.

    With --verbosity=1 the traceback is shown as well.

    Args:
        main: reads the flags and does the work.
        description: what --help says above the flags.
    """
    # absl's --help shows the docstring and the flags of the script alone, which as a console command has neither.
    sys.modules["__main__"].__doc__ = description
    for module in ("zsnas_jax.flags", main.__module__):
        for flag in FLAGS.flags_by_module_dict().get(module, []):
            FLAGS.register_key_flag_for_module(sys.argv[0], flag)

    def guarded(argv: list[str]) -> Any:
        program = pathlib.Path(argv[0]).stem
        try:
            if len(argv) > 1:
                raise ValueError(f"unknown argument {argv[1]!r}: flags start with --, see {program} --help")
            main()
        except (ValueError, OSError, RuntimeError) as error:
            if FLAGS.verbosity > 0:
                raise
            print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print(f"\n{program}: stopped; the same command goes on from here", file=sys.stderr)
            sys.exit(130)

    app.run(guarded)

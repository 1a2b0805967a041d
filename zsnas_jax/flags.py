"""Command-line flags that binaries share, defined once: two binaries that define one flag collide."""

from collections.abc import Mapping, Sequence
import hashlib
import importlib.util
import json
import os
import pathlib
from typing import Any

from absl import app, flags, logging
import jax

from zsnas_jax import arguments, benchmarks, datasets, search_spaces, tasks
from zsnas_jax.arguments import Range, Subject
from zsnas_jax.base import SearchSpace
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.datasets import DATASETS, PictureSource
from zsnas_jax.datasets.sources import MAX_CLASSES
from zsnas_jax.nn.initializers import INITIALIZERS
from zsnas_jax.nn.options import ACTIVATIONS, NORMS, LayerOptions
from zsnas_jax.proxies import PROXIES, WEIGHTINGS
from zsnas_jax.scoring import PROGRAMS
from zsnas_jax.search_spaces import SPACES, transnas101

FLAGS = flags.FLAGS

NETWORK = Subject("Networks")
DATA = Subject("Pictures")
SCORES = Subject("Scores")
TRUTH = Subject("Trained accuracy")
RUN = Subject("The run and its results")

NUM_DEVICES = Range(0, 128)
_SIZES = ("channels", "layers", "imagenet", "with_stem", "input_size", "patch_size", "attention_sites")
"""Flags that say the size of networks, where a space lets one choose it."""
_SIZE = Range(0.0, 1e18, without=(0,))
_MAX_CPU_DEVICES = 8  # each holds its own activations: 0.3 GB at a batch of 64
_LARGE_SPACES = ("nasbench101",)  # one network keeps all cores busy, and two would take 7.6 GiB instead of 4.5
_BYTES_PER_PIXEL = {"nasbench201": 2_500, "nasbench101": 47_000}
"""Of a picture's, while its network is scored under WRCor on a CPU: measured, activations and gradients included."""
_NOISE_SIZE = 32
"""Pixels along a side."""


def define_common_flags() -> None:
    """The flags of every binary: data, seed, ground truth, where the work and its results go."""
    DATA.path("data_dir", None, "Folder of the data sets (TFDS's, or CIFAR's binary archives).")
    TRUTH.path(
        "benchmark",
        "auto",
        "Ground truth: analog, a path (csv, csv.gz, npz, archive), none, or auto (analog if installed).",
    )
    RUN.path("out", None, "Folder of the results; default results/ and a name made from the settings.")
    RUN.whole("seed", 0, "Seed of weights, batches and random selections.", Range(0, 2**31 - 1))
    cache = os.path.expanduser("~/.cache/zsnas_jax/xla")  # stays as it is where nobody knows a home folder
    kept = "" if cache.startswith("~") else cache
    RUN.path("compilation_cache", kept, "Folder of compiled programs; empty: none kept.", may_be_empty=True)


def define_run_flags() -> None:
    """The flags of every binary that scores."""
    DATA.whole("batch_size", 64, "Pictures in a batch.", Range(2, 65_536))
    define_common_flags()
    RUN.whole("candidates_per_step", 1, "Architectures that a device scores at once (vmap).", Range(1, 1024))
    RUN.whole(
        "num_devices",
        0,
        "CPU devices to share the work; 0: one a core, or one for large networks. Ignored on a GPU.",
        NUM_DEVICES,
    )


def define_network_flags(dataset: str) -> None:
    """The flags that say what is scored or trained, on what by default."""
    NETWORK.path(
        "space", "nasbench201", f"Search space: {', '.join(SPACES)}, or PATH.py:NAME, MODULE:NAME, one of your own."
    )
    says = "of spaces that let one choose it, as DARTS; default the space's."
    NETWORK.whole("channels", None, f"C, the width of a network's first cell, {says}", Range(1, 1024))
    NETWORK.whole("layers", None, f"L, the cells of a network, {says}", Range(1, 256))
    NETWORK.switch("imagenet", None, f"Stems of ImageNet, which make a picture eight times smaller, {says}")
    NETWORK.switch("with_stem", None, f"Whether a stem stands before the cells, {says}")
    says = "of transformers; default the space's."
    NETWORK.whole("input_size", None, f"Pixels along a side of what networks see, {says}", Range(1, 1024))
    NETWORK.whole("patch_size", None, f"Pixels along a side of a patch, {says}", Range(1, 1024))
    NETWORK.switch("attention_sites", None, f"Response sites where softmax is, not where GELU is, {says}")
    NETWORK.choice("init", "kaiming_uniform", "Initialisation.", INITIALIZERS)
    DATA.path("dataset", dataset, f"Pictures: {', '.join(DATASETS)}, or the path of an .npz.")
    DATA.whole("num_classes", None, "Width of the logits; default that of the data set.", Range(2, MAX_CLASSES))
    TRUTH.text("benchmark_column", None, "Column of the ground truth, for example cifar10_test_200.")


def define_scoring_flags() -> None:
    """The flags that say what is scored, how, and on what."""
    define_network_flags("noise")
    NETWORK.text("task", None, f"What networks are asked for; of transnas101: {', '.join(transnas101.HEADS)}.")
    NETWORK.choice("norm", "bn", "In the place of batch norm; ln is NCD's NIR.", NORMS)
    NETWORK.real(
        "mask_rate", 0.0, "Share of what enters a convolution that is masked: NCD's SAM.", Range(0, 1, without=(1,))
    )
    NETWORK.choice("activation", "relu", "Activation.", ACTIVATIONS)
    NETWORK.real("flops_limit", None, "Only architectures of at most so many multiply-adds.", _SIZE)
    NETWORK.real("params_limit", None, "Only architectures of at most so many parameters.", _SIZE)
    NETWORK.real("min_flops", None, "Only architectures of at least so many multiply-adds.", _SIZE)
    NETWORK.real("min_params", None, "Only architectures of at least so many parameters.", _SIZE)
    SCORES.words(
        "proxies",
        ["wrcor"],
        "Proxies, separated by commas, each with settings of its own or without (wrcor,wrcor:weighting=none,"
        f"swap:num_samples=16,naswot:norm=ln), PATH.py:NAME or MODULE:NAME of your own, or all that serve any network: "
        f"{', '.join(PROXIES)}.",
    )
    SCORES.choice("weighting", "expb2t", "Layer weights of WRCor.", WEIGHTINGS)
    SCORES.whole("repeats", 1, "Initialisations that a score is the mean of.", Range(1, 10_000))
    DATA.switch("augment", False, "Flip and crop the pictures at random.")
    DATA.switch("resample", False, "Draw a new batch for every architecture and repeat.")
    define_run_flags()
    RUN.choice(
        "programs", "auto", "How architectures share compiled programs; auto: as the space serves best.", PROGRAMS
    )


def parse(argv: Sequence[str], description: str) -> bool:
    """Reads a command line of flags alone, or prints what --help shows; as `parse_with_arguments`.

    Returns:
        Whether there is work to do.
    """
    return parse_with_arguments(argv, description, "") is not None


def parse_with_arguments(argv: Sequence[str], description: str, takes: str) -> list[str] | None:
    """Reads a command line, or prints what --help shows.

    Args:
        argv: the program's name and its arguments.
        description: what --help says above the flags.
        takes: what stands beside flags, as --help names it ("DIR DIR ..."); empty: nothing may.

    Returns:
        What stood beside the flags; None where there is no work to do.

    Raises:
        ValueError: for an argument that is no flag, a flag that there is not, or a value that it does not allow.
    """
    logging.use_absl_handler()
    for flag in FLAGS.get_flags_for_module(app):  # of absl's own way to run a binary, which this is not
        delattr(FLAGS, flag.name)
    arguments.define_help()
    try:
        rest = FLAGS(argv)
    except flags.Error as error:
        raise ValueError(str(error)) from error
    if FLAGS.help:
        print(arguments.help_text(argv[0], description, takes))
        return None
    if len(rest) > 1 and not takes:
        raise ValueError(f"unknown argument {rest[1]!r}: flags start with --, see {argv[0]} --help")
    return rest[1:]


def configure(most_cpu_devices: int = _MAX_CPU_DEVICES) -> None:
    """Sets up logging, devices and the compilation cache; call it before anything touches a device.

    Args:
        most_cpu_devices: where --num_devices is 0.

    Raises:
        RuntimeError: if there is no device as the environment asks for.
    """
    if not FLAGS["verbosity"].present:  # or jax reports every backend, and TFDS every package, that a machine lacks
        logging.set_verbosity(logging.ERROR)
    if FLAGS.compilation_cache:
        jax.config.update("jax_compilation_cache_dir", FLAGS.compilation_cache)
        # Low, since a space whose networks are chains has thousands of small programs.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        most = 1 if getattr(FLAGS, "space", "") in _LARGE_SPACES else most_cpu_devices
        jax.config.update("jax_num_cpu_devices", FLAGS.num_devices or min(cores, most))
    try:
        jax.devices()
    except AssertionError as error:  # what jax has to say of JAX_PLATFORMS=cuda without a GPU
        raise RuntimeError(f"JAX_PLATFORMS is {os.environ.get('JAX_PLATFORMS')!r}: there is none here") from error


def check_memory(space: str, image_size: int | None, batch_size: int, num_together: int = 1) -> None:
    """Refuses a batch that this machine cannot hold, before anything is drawn; a GPU says so itself.

    Args:
        space: of the networks.
        image_size: pixels along a side; None: those of noise.
        batch_size: pictures of a network.
        num_together: networks at a time.

    Raises:
        ValueError: naming what would be needed.
    """
    pixel = _BYTES_PER_PIXEL.get(space, 12)  # at least the picture itself
    needed = batch_size * num_together * (image_size or _NOISE_SIZE) ** 2 * pixel
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there and jax.default_backend() == "cpu":
        raise ValueError(
            f"batch_size is {batch_size}: about {needed / 2**30:,.0f} GiB are needed for {num_together} networks at a "
            f"time, this machine has {there / 2**30:,.0f}"
        )


def num_together() -> int:
    """Networks that are scored at a time."""
    count: int = FLAGS.candidates_per_step * jax.device_count()
    return count


def sized_space() -> SearchSpace:
    """The space of --space, with networks of the size that flags say.

    Raises:
        ValueError: as `zsnas_jax.search_spaces.make_space`.
    """
    given = {name: FLAGS[name].value for name in _SIZES if FLAGS[name].value is not None}
    return search_spaces.make_space(FLAGS.space, given)


def search_space() -> SearchSpace:
    """The space of --space, with networks of the size that flags say, under --task.

    Raises:
        ValueError: as `zsnas_jax.search_spaces.make_space` and `zsnas_jax.tasks.with_task`.
    """
    return tasks.with_task(sized_space(), FLAGS.task)


def pictures(space: SearchSpace) -> PictureSource:
    """The pictures of --dataset; noise has as many classes as the task of the space, unless --num_classes says so.

    Raises:
        ValueError: as `zsnas_jax.datasets.load`.
    """
    num_classes = FLAGS.num_classes
    if FLAGS.dataset == "noise" and space.task and space.task.takes_classes:
        num_classes = num_classes or space.task.num_outputs
    return datasets.load(FLAGS.dataset, FLAGS.data_dir, num_classes)


def limits() -> dict[str, Any]:
    """What flags say of the costs, as keywords of `zsnas_jax.search.constrained`; those of older folders always."""
    lower = {"min_params": FLAGS.min_params, "min_flops": FLAGS.min_flops}
    upper = {"max_params": FLAGS.params_limit, "max_flops": FLAGS.flops_limit}
    return upper | {name: limit for name, limit in lower.items() if limit is not None}


def layer_options() -> LayerOptions:
    """Norm, mask and activation of the networks under score; part of the settings of the proxies of the run."""
    return LayerOptions(FLAGS.norm, FLAGS.mask_rate, FLAGS.activation)


def results_folder(stem: str, settings: Mapping[str, Any]) -> pathlib.Path:
    """The folder of --out, or one whose name, after a stem, belongs to these settings alone."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return pathlib.Path(FLAGS.out or f"results/{stem}-{digest}")


def given() -> list[str]:
    """The flags that the user gave, as `--name=value`: a file of them starts the command again (`--flagfile`)."""
    own = [FLAGS[name] for name in FLAGS if FLAGS[name].present and name != "flagfile"]
    return [line for flag in own for line in flag.serialize().splitlines()]


def ground_truth(space: str) -> TabularBenchmark | None:
    """The table of --benchmark, if there is one for a space.

    Raises:
        ValueError: for a column without a table, or as `zsnas_jax.benchmarks.open_benchmark`.
    """
    if FLAGS.benchmark == "none":
        if FLAGS.benchmark_column:
            raise ValueError(f"benchmark_column is {FLAGS.benchmark_column!r}: there is none where --benchmark is none")
        return None
    if FLAGS.benchmark != "auto":
        return benchmarks.open_benchmark(FLAGS.benchmark, space)
    if space != "nasbench201":
        return None
    if importlib.util.find_spec("analognasbench") is None:
        print("no ground truth: pip install analog-nasbench, or give --benchmark a table")
        return None
    return benchmarks.from_analog_nasbench()

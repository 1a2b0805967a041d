"""Times WRCor on NAS-Bench-201 beside the bare convolutions of the same cells, in one process.

    python perf/score_nasbench201.py --num_archs=50

Prints compile seconds, seconds per architecture (median, one call each on one device), the floor, their ratio, the
throughput with one CPU device a core, and peak memory. The floor of a cell is the time of its convolutions alone,
forward and input gradient (also written as a forward convolution, XLA's fast form), each jitted by itself in a chain of
ten. Machines are noisy: cells and floor are timed in turn, and the ratio is the figure to compare.
"""

from collections.abc import Callable
import os
import resource
import time
from typing import Any

from absl import app, flags
import jax
from jax import lax
import numpy as np

from zsnas_jax import datasets, proxies, scoring, search_spaces
from zsnas_jax.search_spaces.nasbench201_network import CONV1, CONV3

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_archs", 50, "Random cells.")
flags.DEFINE_integer("batch_size", 64, "Pictures in a batch.")
flags.DEFINE_integer("num_devices", 0, "CPU devices of the throughput run; 0: one a core.")

CHAIN = 10


def median_seconds(function: Callable[..., Any], *operands: Any, repeats: int = 9) -> float:
    """Median wall time of a compiled function."""
    jax.block_until_ready(function(*operands))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*operands))
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def convolution(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """A bare convolution."""
    pad = (kernel.shape[0] - 1) // 2
    axes = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=axes)


def convolution_seconds(batch: int, size: int, inputs: int, outputs: int, kernel: int, stride: int = 1) -> float:
    """Seconds of one convolution; equal shapes are chained so that the call's own cost does not count."""
    x = jax.random.normal(jax.random.key(0), (batch, size, size, inputs))
    kernels = 0.1 * jax.random.normal(jax.random.key(1), (CHAIN, kernel, kernel, inputs, outputs))
    if inputs == outputs and stride == 1:
        chain = jax.jit(lambda x, kernels: lax.scan(lambda x, k: (convolution(x, k), None), x, kernels)[0])
        return median_seconds(chain, x, kernels) / CHAIN
    return median_seconds(jax.jit(lambda x, k: convolution(x, k, stride)), x, kernels[0])


def floor_of_cells(archs: np.ndarray, batch: int) -> np.ndarray:
    """Seconds of the bare convolutions of each cell's network, forward and input gradient, float[A]."""
    fixed = convolution_seconds(batch, 32, 3, 16, 3)
    per_cell = {}
    for stage in range(3):
        c, size = 16 << stage, 32 >> stage
        if stage:
            fixed += 2 * convolution_seconds(batch, 2 * size, c // 2, c, 3, 2)
            fixed += 2 * convolution_seconds(batch, size, c, c, 3) + 2 * convolution_seconds(batch, size, c // 2, c, 1)
        for op, kernel in ((CONV1, 1), (CONV3, 3)):
            per_cell[op] = per_cell.get(op, 0) + 5 * 2 * convolution_seconds(batch, size, c, c, kernel)
    return fixed + sum((archs == op).sum(axis=1) * seconds for op, seconds in per_cell.items())


def main(_: list[str]) -> None:
    """Measures and prints."""
    space = search_spaces.make_space("nasbench201")
    archs = np.asarray(jax.vmap(space.sample)(jax.random.split(jax.random.key(0), FLAGS.num_archs)))
    batch = datasets.draw_batch(jax.random.key(1), datasets.noise(), FLAGS.batch_size)
    chosen = proxies.make_proxies(["wrcor"])
    cpu = jax.devices()

    def make(devices: list[jax.Device]) -> scoring.Scorer:
        return scoring.make_scorer(jax.random.key(2), space, chosen, num_classes=10, devices=devices)

    single = make(cpu[:1])
    start = time.perf_counter()
    single.score(archs[:1], [0], batch)
    first = time.perf_counter() - start
    times, floors = [], []
    chunk = single.capacity
    for i in range(0, len(archs), chunk):
        part = archs[i : i + chunk]
        floors.append(floor_of_cells(part, FLAGS.batch_size))
        for arch in part:
            start = time.perf_counter()
            single.score(arch[None], [0], batch)
            times.append(time.perf_counter() - start)
    floor = np.concatenate(floors)
    start = time.perf_counter()
    for i in range(0, len(archs), chunk):
        single.score(archs[i : i + chunk], np.zeros(len(archs[i : i + chunk])), batch)
    chunked = (time.perf_counter() - start) / len(archs)
    print(
        f"machine: {os.cpu_count()} cores, {cpu[0].device_kind}, jax {jax.__version__}, batch {FLAGS.batch_size}, 32x32"
    )
    print(f"compilation (first call less one score): {first - np.median(times):.1f} s")
    print(f"one call an architecture, one device: median {np.median(times):.3f} s")
    print(f"chunks of {chunk}, one device: mean {chunked:.3f} s an architecture")
    print(f"floor, bare convolutions: median {np.median(floor):.3f} s, mean {floor.mean():.3f} s")
    print(f"ratio to the floor: one call each {np.median(times / floor):.2f}, chunks {chunked / floor.mean():.2f}")
    if len(cpu) > 1:
        many = make(cpu)
        many.score(archs[:1], [0], batch)
        start = time.perf_counter()
        for i in range(0, len(archs), many.capacity):
            part = archs[i : i + many.capacity]
            many.score(part, np.zeros(len(part)), batch)
        rate = (time.perf_counter() - start) / len(archs)
        print(
            f"{len(cpu)} devices: mean {rate:.3f} s an architecture, ratio {rate / floor.mean():.2f}, "
            f"all 15,625 in {15625 * rate / 60:.0f} minutes"
        )
    print(f"peak resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def configure(argv: list[str]) -> None:
    """One CPU device a core, before jax starts."""
    jax.config.update("jax_num_cpu_devices", FLAGS.num_devices or os.cpu_count())
    main(argv)


if __name__ == "__main__":
    app.run(configure)

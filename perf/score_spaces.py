"""Times WRCor on a space beside the bare convolutions of the same cells, in one process.

    python perf/score_spaces.py --num_archs=50
    python perf/score_spaces.py --space=nasbench101 --num_archs=12
    python perf/score_spaces.py --space=darts --num_archs=10 --batch_size=32
    python perf/score_spaces.py --space=darts --num_archs=10 --batch_size=32 --programs=dispatched

Serves every space but mobilenetv2, which has a script of its own. Prints compile seconds (of all programs that the
cells need), seconds per architecture (median, one call each on one device), the floor, their ratio, the throughput with
one CPU device a core, and peak memory. The floor of a cell is the time of its convolutions alone, forward and input
gradient (also written as a forward convolution, XLA's fast form), each jitted by itself, narrow ones in a chain of ten;
depthwise ones in the form that XLA's CPU backend runs fast. Where programs are chained every network is scored once
before it is timed: that is what compiling takes. --programs chooses the kind. Machines are noisy: cells and floor are
timed in turn, and
the ratio is the figure to compare. Figures: perf/RESULTS.md.
"""

import collections
from collections.abc import Callable
import functools
import os
import resource
import time
from typing import Any, NamedTuple

from absl import app, flags
import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from zsnas_jax import datasets, proxies, scoring, search_spaces
from zsnas_jax.measure.blocks import Chained
from zsnas_jax.nn.layers import depthwise_conv2d
from zsnas_jax.nn.modules import Conv
from zsnas_jax.search_spaces.nasbench101 import cells
from zsnas_jax.search_spaces.nasbench201 import network as nasbench201_network

FLAGS = flags.FLAGS
flags.DEFINE_enum("space", "nasbench201", sorted(set(search_spaces.SPACES) - {"mobilenetv2"}), "Search space.")
flags.DEFINE_enum("programs", "auto", scoring.PROGRAMS, "How architectures share compiled programs.")
flags.DEFINE_integer("num_archs", 50, "Random cells.")
flags.DEFINE_integer("batch_size", 64, "Pictures in a batch.")
flags.DEFINE_integer("image_size", 32, "Pixels along a side.")
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


class Layer(NamedTuple):
    """A convolution: pixels along a side of what enters, channels in and out, kernel size, stride, dilation.

    Of a depthwise one, a dilation other than 0.
    """

    size: int
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    depthwise: int = 0


def convolution_seconds(batch: int, layer: Layer) -> float:
    """Seconds of one convolution; equal shapes are chained so that the call's own cost does not count."""
    size, inputs, outputs, k, stride, dilation = layer
    x = jax.random.normal(jax.random.key(0), (batch, size, size, inputs))
    if dilation:
        kernel = 0.1 * jax.random.normal(jax.random.key(1), (k, k, 1, outputs))
        return median_seconds(jax.jit(lambda x, k: depthwise_conv2d(x, k, stride, dilation)), x, kernel)
    if inputs == outputs and inputs <= 64:
        kernels = 0.1 * jax.random.normal(jax.random.key(1), (CHAIN, k, k, inputs, outputs))
        chain = jax.jit(lambda x, kernels: lax.scan(lambda x, k: (convolution(x, k), None), x, kernels)[0])
        return median_seconds(chain, x, kernels) / CHAIN
    kernel = 0.1 * jax.random.normal(jax.random.key(1), (k, k, inputs, outputs))
    return median_seconds(jax.jit(lambda x, k: convolution(x, k, stride)), x, kernel)


def layers_nasbench201(arch: np.ndarray) -> collections.Counter[Layer]:
    """The convolutions of a cell's network: how many there are of each shape."""
    layers = collections.Counter({Layer(32, 3, 16, 3): 1})
    for stage in range(3):
        c, size = 16 << stage, 32 >> stage
        if stage:
            layers.update([Layer(2 * size, c // 2, c, 3, 2), Layer(size, c, c, 3), Layer(size, c // 2, c, 1)])
        for op, kernel in ((nasbench201_network.CONV1, 1), (nasbench201_network.CONV3, 3)):
            layers[Layer(size, c, c, kernel)] += 5 * int((arch == op).sum())
    return layers


def layers_nasbench101(arch: np.ndarray) -> collections.Counter[Layer]:
    """The convolutions of a cell's network: how many there are of each shape."""
    layers = collections.Counter({Layer(32, 3, 128, 3): 1})
    for stack in range(3):
        c, size = 128 << stack, 32 >> stack
        wiring = cells.wire(tuple(arch.tolist()), c)
        widths = [0, *cells.vertex_widths(arch, c).tolist(), c]
        for module in range(3):
            entering = c // 2 if stack and not module else c
            for v in range(1, 7):
                if wiring.edges[0][v]:
                    layers[Layer(size, entering, widths[v], 1)] += 1
                if wiring.ops[v] in (cells.CONV3, cells.CONV1):
                    kernel = 3 if wiring.ops[v] == cells.CONV3 else 1
                    layers[Layer(size, widths[v], widths[v], kernel)] += 1
    return layers


def layers_of_chain(space: search_spaces.SearchSpace, arch: np.ndarray) -> collections.Counter[Layer]:
    """The convolutions that the network of an architecture calls: how many there are of each shape."""
    layers = collections.Counter[Layer]()

    def look(next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        y, module = next_fun(*args, **kwargs), context.module
        if isinstance(module, Conv) and context.method_name == "__call__" and args[0].ndim == 4:
            depthwise = module.dilation if module.depthwise else 0
            layers[
                Layer(args[0].shape[1], args[0].shape[-1], module.channels, module.size, module.stride, depthwise)
            ] += 1
        return y

    steps = space.chain.steps(arch, 10)
    image = jax.ShapeDtypeStruct((1, FLAGS.image_size, FLAGS.image_size, 3), jnp.float32)
    with nn.intercept_methods(look):
        jax.eval_shape(lambda x: Chained(tuple(steps)).init_with_output(jax.random.key(0), x)[0], image)
    return layers


LAYERS = {"nasbench101": layers_nasbench101, "nasbench201": layers_nasbench201}


def floor_of_cells(space: search_spaces.SearchSpace, archs: np.ndarray, batch: int) -> np.ndarray:
    """Seconds of the bare convolutions of each cell's network, forward and input gradient, float[A]."""
    own = LAYERS.get(FLAGS.space) or functools.partial(layers_of_chain, space)
    layers = [own(arch) for arch in archs]
    seconds = {layer: convolution_seconds(batch, layer) for layer in set().union(*layers)}
    # The pictures themselves need no gradient.
    return np.array([sum((1 + (la.inputs > 3)) * n * seconds[la] for la, n in own.items()) for own in layers])


def _one_of_each(space: search_spaces.SearchSpace, programs: str, archs: np.ndarray) -> list[np.ndarray]:
    """An architecture for every program that the architectures need; all where programs are not dispatched."""
    if programs != "dispatched":
        return list(archs)
    return list({int(space.variant_of(arch)): arch for arch in archs}.values())


def main(_: list[str]) -> None:
    """Measures and prints."""
    space = search_spaces.make_space(FLAGS.space)
    archs = np.asarray(jax.vmap(space.sample)(jax.random.split(jax.random.key(0), FLAGS.num_archs)))
    batch = datasets.draw_batch(jax.random.key(1), datasets.noise(image_size=FLAGS.image_size), FLAGS.batch_size)
    chosen = proxies.make_proxies(["wrcor"])
    cpu = jax.devices()

    def make(devices: list[jax.Device]) -> scoring.Scorer:
        return scoring.make_scorer(
            jax.random.key(2), space, chosen, num_classes=10, devices=devices, programs=FLAGS.programs
        )

    single = make(cpu[:1])
    start = time.perf_counter()
    samples = _one_of_each(space, single.programs, archs)
    for arch in samples:
        single.score(arch[None], [0], batch)
    first = time.perf_counter() - start
    times, floors = [], []
    chunk = single.capacity
    for i in range(0, len(archs), chunk):
        part = archs[i : i + chunk]
        floors.append(floor_of_cells(space, part, FLAGS.batch_size))
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
        f"machine: {os.cpu_count()} cores, {cpu[0].device_kind}, jax {jax.__version__}, batch {FLAGS.batch_size}, "
        f"{FLAGS.image_size} pixels"
    )
    compilation = first - len(samples) * np.median(times)
    programs = f"{single.num_compilations()} programs for {len(samples)} networks"
    print(f"compilation (first calls less their scores): {compilation:.1f} s, {programs}")
    print(f"one call an architecture, one device: median {np.median(times):.3f} s")
    print(f"chunks of {chunk}, one device: mean {chunked:.3f} s an architecture")
    print(f"floor, bare convolutions: median {np.median(floor):.3f} s, mean {floor.mean():.3f} s")
    print(f"ratio to the floor: one call each {np.median(times / floor):.2f}, chunks {chunked / floor.mean():.2f}")
    if len(cpu) > 1 and single.programs == "dispatched":
        many = make(cpu)
        for arch in samples:
            many.score(arch[None], [0], batch)
        start = time.perf_counter()
        for i in range(0, len(archs), many.capacity):
            part = archs[i : i + many.capacity]
            many.score(part, np.zeros(len(part)), batch)
        rate = (time.perf_counter() - start) / len(archs)
        every = f", all {space.num_archs:,} in {space.num_archs * rate / 60:.0f} minutes" if space.num_archs else ""
        print(f"{len(cpu)} devices: mean {rate:.3f} s an architecture, ratio {rate / floor.mean():.2f}{every}")
    print(f"peak resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def configure(argv: list[str]) -> None:
    """One CPU device a core, before jax starts."""
    jax.config.update("jax_num_cpu_devices", FLAGS.num_devices or os.cpu_count())
    main(argv)


if __name__ == "__main__":
    app.run(configure)

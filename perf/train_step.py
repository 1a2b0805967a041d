"""What a step of training costs: compilation, seconds, the ratio to a forward pass, peak memory.

    python perf/train_step.py                                                   # NAS-Bench-201's best cell, 64 pictures
    python perf/train_step.py --space=mobilenetv2 --batch_size=32 --dataset=../shared/data/imagenet_sample_64px.npz

Without --arch: the best cell of NAS-Bench-201 on CIFAR-10, the network of the paper's Table 11.
Figures: perf/RESULTS.md.
"""

from collections.abc import Callable
import dataclasses
import resource
import time
from typing import Any

from absl import app, flags
import jax
import numpy as np

from zsnas_jax import datasets, search_spaces, training
from zsnas_jax.search_spaces import mobilenetv2
from zsnas_jax.training import steps

FLAGS = flags.FLAGS
_USUAL = {
    "nasbench201": "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|",
    "mobilenetv2": mobilenetv2.TABLE_11,
}
flags.DEFINE_string("space", "nasbench201", "Search space.")
flags.DEFINE_string("arch", None, "What to train.")
flags.DEFINE_string("dataset", "noise", "As of score_main; pixels of noise are drawn as bytes.")
flags.DEFINE_integer("batch_size", 64, "Pictures of a step.")
flags.DEFINE_string("precision", "float32", f"One of {', '.join(training.recipes.PRECISIONS)}.")
flags.DEFINE_integer("num_steps", 5, "Steps after the first.")


def seconds_of(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call until its result is there, and the result."""
    began = time.perf_counter()
    value = jax.block_until_ready(call())
    return time.perf_counter() - began, value


def main(argv: list[str]) -> None:
    """Measures and prints."""
    del argv
    space = search_spaces.make_space(FLAGS.space)
    arch = space.decode(FLAGS.arch or _USUAL[FLAGS.space])
    recipe = training.find_recipe("imagenet" if FLAGS.space == "mobilenetv2" else FLAGS.space)
    recipe = dataclasses.replace(recipe, batch_size=FLAGS.batch_size, precision=FLAGS.precision)
    source = datasets.load(FLAGS.dataset)
    image, label = source.take(np.random.default_rng(0), FLAGS.batch_size)
    image = image if image.dtype == np.uint8 else np.clip(128 + 64 * image, 0, 255).astype(np.uint8)
    model = training.make_model(space, arch, source.num_classes, mean=source.mean, std=source.std)
    key, batch = jax.random.key(0), {"image": image, "label": label}
    seconds, state = seconds_of(lambda: steps.init_state(key, model, recipe, image))
    print(f"weights drawn in {seconds:.1f} s, compilation included")
    schedule, _ = steps.make_schedule(recipe, 100)
    step = steps.make_train_step(model, recipe, source.num_classes, schedule)
    seconds, (state, metrics) = seconds_of(lambda: step(state, batch, key))
    print(f"first step {seconds:.1f} s, compilation included, loss {float(metrics['loss']):.3f}")
    times = []
    for _ in range(FLAGS.num_steps):
        seconds, (state, metrics) = seconds_of(lambda state=state: step(state, batch, key))
        times.append(seconds)
    forward = jax.jit(lambda v, image: model.train.apply(v, image, mutable=["batch_stats"])[0])
    seconds_of(lambda: forward(state.variables, image))
    passes = [seconds_of(lambda: forward(state.variables, image))[0] for _ in range(FLAGS.num_steps)]
    step_seconds, pass_seconds = np.median(times), np.median(passes)
    print(f"step {step_seconds:.3f} s, {step_seconds / pass_seconds:.2f} times a forward pass of {pass_seconds:.3f} s")
    print(f"peak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    app.run(main)

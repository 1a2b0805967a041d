"""What scoring MobileNetV2 networks as chains of blocks costs: programs, compilation, memory; beside a whole network's.

    python perf/score_mobilenetv2.py                           # fresh random networks, each scored twice; half an hour
    python perf/score_mobilenetv2.py --whole                   # the paper's Table 11, as one program and as a chain
    python perf/score_mobilenetv2.py --memory --batch_size=64  # its peak memory

The first writes a row an architecture to --out/programs.csv, and programs.png. Steady seconds are those of the second
time, when nothing is compiled any more. Seconds are those of a call of the scorer, weights drawn included. Figures:
perf/RESULTS.md.
"""

from collections.abc import Callable, Sequence
import pathlib
import resource
import time
from typing import Any

from absl import app, flags
import jax
from matplotlib.figure import Figure
import numpy as np

from zsnas_jax import datasets, proxies, scoring, search
from zsnas_jax.base import Proxy, SearchSpace
from zsnas_jax.reports import documents
from zsnas_jax.search_spaces import mobilenetv2

Score = Callable[[Any], np.ndarray]
"""An architecture to its scores."""

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_archs", 200, "Random networks under --flops_limit.")
flags.DEFINE_float("flops_limit", 600e6, "Most multiply-adds of a network.")
flags.DEFINE_integer("batch_size", 16, "Pictures.")
flags.DEFINE_string("dataset", "noise", "As of score_main.")
flags.DEFINE_list("proxies", ["wrcor"], "What is scored.")
flags.DEFINE_bool("whole", False, "Compile and time the network of Table 11 as one program, and as a chain, instead.")
flags.DEFINE_bool("memory", False, "Score the network of Table 11 once, for the peak memory.")
flags.DEFINE_string("out", "results/mobilenetv2_programs", "Folder of programs.csv and programs.png.")


def seconds_of(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and what it returns."""
    began = time.perf_counter()
    value = call()
    return time.perf_counter() - began, value


def whole(one: Score, chain: Score, chosen: Sequence[Proxy]) -> None:
    """Table 11's network as one program, and as a chain of blocks."""
    arch = mobilenetv2.decode(mobilenetv2.TABLE_11)
    first_of_one, first_of_chain = seconds_of(lambda: one(arch))[0], seconds_of(lambda: chain(arch))[0]
    times = [(seconds_of(lambda: one(arch))[0], seconds_of(lambda: chain(arch))[0]) for _ in range(5)]
    of_one, of_chain = np.median(times, axis=0)
    for proxy, first, second in zip(chosen, one(arch)[0], chain(arch)[0], strict=True):
        print(f"{proxy.name}: whole {first:.6g}, chain {second:.6g}, {second / first - 1:+.1e} of it")
    print(f"compilation (first calls less the others): whole {first_of_one - of_one:.1f} s, ", end="")
    print(f"chain {first_of_chain - of_chain:.1f} s")
    print(f"whole {of_one:.2f} s, chain {of_chain:.2f} s: {of_chain / of_one:.2f} times")


def fresh(score: Score, num_programs: Callable[[], int], space: SearchSpace) -> None:
    """Networks that nobody has seen, one after another."""
    sample = jax.jit(jax.vmap(search.constrained(space, max_flops=FLAGS.flops_limit).sample))
    rows = []
    for number, arch in enumerate(np.asarray(sample(jax.random.split(jax.random.key(7), FLAGS.num_archs))), start=1):
        first, again = (seconds_of(lambda arch=arch: score(arch))[0] for _ in range(2))
        row = {"architectures": number, "programs": num_programs(), "seconds": first, "steady": again}
        rows.append(
            row | {"flops": int(mobilenetv2.num_flops(arch)), "resolution": mobilenetv2.plan_of(arch).resolution}
        )
        total, steady = sum(row["seconds"] for row in rows), sum(row["steady"] for row in rows)
        print(
            f"{number}: {row['programs']} programs, {first:.1f} s then {again:.2f} s; in all {total / steady:.2f}",
            flush=True,
        )
        documents.write_csv(pathlib.Path(FLAGS.out) / "programs.csv", rows)
    draw(rows)


def draw(rows: list[dict[str, Any]]) -> None:
    """Programs by architectures, and seconds with and without compilation."""
    numbers = [row["architectures"] for row in rows]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(numbers, [row["programs"] for row in rows])
    left.set(xlabel="architectures", ylabel="programs compiled", ylim=0)
    right.plot(numbers, np.cumsum([row["seconds"] for row in rows]), label="with every compilation")
    right.plot(numbers, np.cumsum([row["steady"] for row in rows]), label="running")
    right.plot(numbers, 3 * np.cumsum([row["steady"] for row in rows]), "--", color="#999999", label="3 times running")
    right.set(xlabel="architectures", ylabel="seconds", ylim=0)
    right.legend(frameon=False)
    figure.savefig(pathlib.Path(FLAGS.out) / "programs.png", dpi=130)


def main(_: list[str]) -> None:
    """Measures what the flags ask for."""
    jax.config.update("jax_num_cpu_devices", 1)
    space, chosen = mobilenetv2.space(), proxies.make_proxies(FLAGS.proxies)
    batch = datasets.draw_batch(jax.random.key(1), datasets.load(FLAGS.dataset, None, None), FLAGS.batch_size)

    def make(programs: str) -> tuple[Score, Callable[[], int]]:
        scorer = scoring.make_scorer(jax.random.key(2), space, chosen, num_classes=10, programs=programs)
        return lambda arch: scorer.score(np.asarray(arch)[None], [0], batch), scorer.num_compilations

    score, num_programs = make("chained")
    pathlib.Path(FLAGS.out).mkdir(parents=True, exist_ok=True)
    if FLAGS.whole:
        whole(make("static")[0], score, chosen)
    elif FLAGS.memory:
        print(f"{seconds_of(lambda: score(mobilenetv2.decode(mobilenetv2.TABLE_11)))[0]:.1f} s, compilation included")
    else:
        fresh(score, num_programs, space)
    print(f"peak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    app.run(main)

"""What each proxy costs on NAS-Bench-201, in one process: compilation, seconds an architecture, ratios, and sets.

    python perf/proxies_nasbench201.py --dataset=../shared/data/cifar10_subset.npz

Prints Markdown tables: ratios to a plain forward pass and to WRCor; the cost of sets beside the sum of their parts.
Figures: perf/RESULTS.md.
"""

import time

from absl import app, flags
import jax
import numpy as np
from tabulate import tabulate

from zsnas_jax import datasets, proxies, scoring, search_spaces
from zsnas_jax.base import Proxy
from zsnas_jax.measure.network import forward as forward_pass

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "noise", "Pictures: noise, or the path of an .npz.")
flags.DEFINE_integer("num_archs", 24, "Cells, of random indices.")
flags.DEFINE_integer("batch_size", 64, "Pictures.")
flags.DEFINE_integer("rounds", 2, "The faster of so many rounds counts.")
flags.DEFINE_list("proxies", ["all"], "Which.")
flags.DEFINE_integer("num_devices", 2, "CPU devices.")

SLOW = {"dyniso": 4, "grasp": 4}  # rounds on fewer cells: a factor
SETS = {
    "SJW": ("synflow", "jaccor", "wrcor"),
    "activation": ("acor", "naswot", "swap"),
    "saliency": ("pnorm", "pgnorm", "snip", "fisher"),
    "Jacobian": ("jaccor", "epe", "netsens"),
    "one pass": ("wrcor", "rcor", "acor", "naswot", "swap", "snip", "pgnorm", "jaccor", "netsens"),
}


def measure(chosen: list[Proxy], archs: np.ndarray, batch: datasets.Batch) -> tuple[float, float]:
    """(seconds of the first call, seconds an architecture in the faster round)."""
    space = search_spaces.make_space("nasbench201")
    scorer = scoring.make_scorer(jax.random.key(0), space, chosen, num_classes=10)
    started = time.perf_counter()
    scorer.score(archs[:1], [0], batch)
    first = time.perf_counter() - started
    seconds = []
    for _ in range(FLAGS.rounds):
        started = time.perf_counter()
        for i in range(0, len(archs), scorer.capacity):
            part = archs[i : i + scorer.capacity]
            scorer.score(part, np.zeros(len(part)), batch)
        seconds.append((time.perf_counter() - started) / len(archs))
    if scorer.num_compilations() != 1:
        raise RuntimeError(f"{[p.name for p in chosen]}: {scorer.num_compilations()} compilations")
    return first - min(seconds), min(seconds)


def main(_: list[str]) -> None:
    """Measures and prints."""
    jax.config.update("jax_num_cpu_devices", FLAGS.num_devices)
    batch = datasets.draw_batch(jax.random.key(0), datasets.load(FLAGS.dataset, None, None), FLAGS.batch_size)
    space = search_spaces.make_space("nasbench201")
    chosen = np.random.default_rng(0).permutation(space.num_archs)[: FLAGS.num_archs]
    archs = np.asarray(space.from_index(chosen))
    forward = Proxy(
        "forward", lambda m: forward_pass(m.network, m.network.batch.image).logits.sum(), frozenset(), {}, "the control"
    )
    entries = {p.name: p for p in (forward, *proxies.make_proxies(FLAGS.proxies))}
    seconds: dict[str, tuple[float, float]] = {}
    for name in sorted(entries, key=lambda name: name not in ("forward", "wrcor")):
        seconds[name] = measure([entries[name]], archs[: len(archs) // SLOW.get(name, 1)], batch)
        print(f"{name}: {seconds[name][1]:.3f} s, first call {seconds[name][0]:.1f} s more", flush=True)
    each = lambda name: seconds[name][1]
    rows = [
        [
            name,
            f"{first:.1f}",
            f"{each(name):.3f}",
            f"{each(name) / each('forward'):.2f}",
            f"{each(name) / each('wrcor'):.2f}",
        ]
        for name, (first, _) in seconds.items()
    ]
    print(tabulate(rows, ["proxy", "compilation s", "s / arch", "/ forward", "/ WRCor"], tablefmt="github"))
    sets = {title: names for title, names in SETS.items() if set(names) <= set(seconds)}
    rows = []
    for title, names in sets.items():
        first, cost = measure([entries[name] for name in names], archs, batch)
        parts = sum(each(name) for name in names)
        rows.append(
            [title, ", ".join(names), f"{first:.1f}", f"{cost:.3f}", f"{parts:.3f}", f"{cost / each('wrcor'):.2f}"]
        )
    print()
    print(tabulate(rows, ["set", "proxies", "compilation s", "s / arch", "sum of parts", "/ WRCor"], tablefmt="github"))


if __name__ == "__main__":
    app.run(main)

"""Times table-driven search on NAS-Bench-201, and what a live search costs over scoring the same cells.

    python perf/search_nasbench201.py
    python perf/search_nasbench201.py --scores=nasbench201_scores --column=wrcor
    python perf/search_nasbench201.py --live --num_archs=48 --proxies=wrcor

Without --scores the table is random numbers. Prints compile and run seconds of every strategy, all seeds in one vmapped
scan. With --live: seconds per architecture of a search's compiled chunk, of `make_scorer` on one device for the cells
that the search explored, and their ratio; both in turn, chunk by chunk, for machines are noisy.
Figures: perf/RESULTS.md.
"""

import time

from absl import app, flags
import jax
import numpy as np

from zsnas_jax import benchmarks, datasets, proxies, scoring, search, search_spaces

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_seeds", 500, "Searches at once.")
flags.DEFINE_integer("num_architectures", 1000, "Architectures of each.")
flags.DEFINE_string("scores", None, "A table of scores; default random numbers.")
flags.DEFINE_string("column", "wrcor", "Column of --scores.")
flags.DEFINE_bool("live", False, "Measure a live search instead.")
flags.DEFINE_integer("num_archs", 48, "Architectures of the live search, a multiple of --chunk.")
flags.DEFINE_integer("chunk", 16, "Steps of a call of the live search.")
flags.DEFINE_integer("batch_size", 64, "Pictures in a batch.")
flags.DEFINE_list("proxies", ["wrcor"], "Of the live search.")


def time_tables() -> None:
    """Compile and run seconds of every strategy."""
    space = search_spaces.make_space("nasbench201")
    random = np.random.default_rng(0).standard_normal(space.num_archs or 0)
    column = benchmarks.open_benchmark(FLAGS.scores).columns[FLAGS.column] if FLAGS.scores else random
    score_fn = search.table_scores(space, column)
    keys = jax.random.split(jax.random.key(0), FLAGS.num_seeds)
    for name in search.STRATEGIES:
        strategy = search.make_strategy(name, space)
        searches = jax.vmap(lambda key, s=strategy: search.run(key, s, score_fn, FLAGS.num_architectures))
        start = time.perf_counter()
        compiled = jax.jit(searches).lower(keys).compile()
        compile_seconds = time.perf_counter() - start
        times = []
        for _ in range(5):
            start = time.perf_counter()
            state = jax.block_until_ready(compiled(keys))
            times.append(time.perf_counter() - start)
        best = np.asarray(state.scores[..., 0].max(1)).mean()
        print(
            f"{name}: {FLAGS.num_seeds} seeds of {FLAGS.num_architectures}: compilation {compile_seconds:.1f} s, "
            f"run median {np.median(times):.2f} s, fastest {min(times):.2f} s; mean best {best:.4f}"
        )


def time_live() -> None:
    """Seconds per architecture of a live search and of the scorer, chunk by chunk."""
    space, batch = (
        search_spaces.make_space("nasbench201"),
        datasets.draw_batch(jax.random.key(1), datasets.noise(), FLAGS.batch_size),
    )
    chosen, key = proxies.make_proxies(FLAGS.proxies), jax.random.key(2)
    score_fn = search.live_scores(key, space, chosen, batch, num_classes=10)
    strategy = search.evolution(space, num_experts=len(chosen), population_size=FLAGS.num_archs)
    state = search.start(jax.random.key(3), strategy, score_fn, FLAGS.num_archs)
    chunk = jax.jit(lambda state: search.advance(state, strategy, score_fn, FLAGS.chunk, reuse=True))
    chunk = chunk.lower(state).compile()
    scorer = scoring.make_scorer(key, space, chosen, num_classes=10, devices=jax.devices()[:1])
    scorer.score(np.asarray(space.from_index([0])), [0], batch)
    live, plain = [], []
    for i in range(0, FLAGS.num_archs, FLAGS.chunk):
        start = time.perf_counter()
        state = jax.block_until_ready(chunk(state))
        live.append(time.perf_counter() - start)
        archs = np.asarray(state.archs[i : i + FLAGS.chunk])
        start = time.perf_counter()
        for j in range(0, len(archs), scorer.capacity):
            part = archs[j : j + scorer.capacity]
            scorer.score(part, np.zeros(len(part)), batch)
        plain.append(time.perf_counter() - start)
    ratios = np.array(live) / np.array(plain)
    print(f"live search: {np.sum(live) / FLAGS.num_archs:.3f} s an architecture")
    print(f"make_scorer, the same cells: {np.sum(plain) / FLAGS.num_archs:.3f} s")
    print(
        f"ratio: median {np.median(ratios):.3f}, from {ratios.min():.3f} to {ratios.max():.3f}, of {len(ratios)} chunks"
    )


def main(_: list[str]) -> None:
    """Measures and prints."""
    print(f"machine: {jax.devices()[0].device_kind}, jax {jax.__version__}")
    if FLAGS.live:
        time_live()
    else:
        time_tables()


if __name__ == "__main__":
    app.run(main)

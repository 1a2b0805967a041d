"""Times scoring in the checkout that it runs in, for comparing two of them: run it in each in turn, and compare.

    (cd ../before && python /path/to/perf/score_beside.py wrcor) && python perf/score_beside.py wrcor

Prints a line of JSON: seconds of the first call, its compilation included, and of an architecture after it (median of
calls), by the clock and of processors, and some scores, which two checkouts should share. One CPU device. It uses only
what versions have in common.
"""

import json
import sys
import time
from typing import Any

import jax
import numpy as np

from zsnas_jax import datasets, proxies, scoring, search_spaces

SETS = {
    "wrcor": ("nasbench201", ["wrcor"], 8, 64),
    "sjw": ("nasbench201", ["synflow", "jaccor", "wrcor"], 8, 64),
    "nasbench101": ("nasbench101", ["wrcor"], 1, 16),
}
"""Space, proxies, architectures of a call, pictures of a batch."""
CALLS = 4


def timed(run: Any) -> tuple[float, float, Any]:
    """(seconds, seconds of processors, what the function returns)."""
    start, used = time.perf_counter(), time.process_time()
    result = run()
    return time.perf_counter() - start, time.process_time() - used, result


def main() -> None:
    """Scores and prints."""
    jax.config.update("jax_num_cpu_devices", 1)
    name, names, count, batch_size = SETS[sys.argv[1]]
    space = search_spaces.make_space(name)
    batch = datasets.draw_batch(jax.random.key(0), datasets.noise(), batch_size)
    archs = space.from_index(np.arange(0, space.num_archs, 1953)[:count])
    scorer = scoring.make_scorer(jax.random.key(1), space, proxies.make_proxies(names), num_classes=10)
    first = timed(lambda: scorer.score(archs[:1], [0], batch))
    calls = [timed(lambda: scorer.score(archs, [0] * count, batch)) for _ in range(CALLS)]
    median = [round(float(np.median([call[i] for call in calls])) / count, 4) for i in range(2)]
    scores = np.asarray(calls[-1][2]).ravel()[:4].round(4).tolist()
    made = {"first": [round(value, 2) for value in first[:2]], "an_architecture": median, "scores": scores}
    print(json.dumps({"set": sys.argv[1]} | made))


if __name__ == "__main__":
    main()

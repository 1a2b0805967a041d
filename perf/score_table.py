"""Computes the score table that the package ships: every NAS-Bench-201 cell under the cheap proxies.

    python perf/score_table.py --dataset=../shared/data/cifar10_subset.npz --archs=0:1000
    python perf/score_table.py --dataset=../shared/data/cifar10_subset.npz

A job of hours, stopped and continued at will: scores are committed chunk by chunk to --out.
"""

import pathlib

from absl import app
from absl import flags as absl_flags
import numpy as np

from zsnas_jax import datasets, flags, proxies, ranking, search_spaces
from zsnas_jax.proxies.response import response_correlation
from zsnas_jax.results import ResultStore

FLAGS = absl_flags.FLAGS
GROUPS = {
    "one_pass": "wrcor,rcor,acor,gcor,naswot,swap,snip,pnorm,pgnorm,fisher,jaccor,epe,netsens,lydyniso,params,flops,"
    "gcor_first2,gcor_first5",
    "synflow": "synflow",
    "nir": "nir_nwot,nir_swap",
    "sam": "sam_nwot,sam_swap",
    "ncd": "ncd_nwot,ncd_swap",
    "zico": "zico",
}


def _stages() -> list[proxies.Proxy]:
    """What experiments draw on: log-determinants of each stage and of the first two layers, free of counts."""
    parts = {"first2": range(1, 3), "stage1": range(1, 6), "stage2": range(6, 12), "stage3": range(12, 19)}
    return [
        response_correlation(f"{kind[0]}_{part}", responses=[kind], layers=list(layers), count_exponent=0.0)
        for kind in ("activations", "gradients")
        for part, layers in parts.items()
    ]


def main(_: list[str]) -> None:
    """Scores what is missing, group by group."""
    flags.configure()
    space = search_spaces.make_space("nasbench201")
    settings = ranking.ScoreSettings()
    source = datasets.load(FLAGS.dataset, None, None)
    archs = ranking.select_archs(space, FLAGS.archs)
    groups = FLAGS.groups or list(GROUPS)
    stored = ranking.stored_settings(settings, space, source, pathlib.Path(FLAGS.dataset).stem)
    with ResultStore(FLAGS.out, stored) as store:
        for group in groups:
            chosen = list(proxies.make_proxies(GROUPS[group].split(",")))
            if group == "one_pass":
                chosen += _stages()
            scores, times = ranking.score_archs(store, space, archs, chosen, source, settings)
            print(group, times, np.isfinite(scores).mean(0), flush=True)


if __name__ == "__main__":
    flags.define_scoring_flags()
    absl_flags.DEFINE_string("archs", "all", "As in score_main.")
    absl_flags.DEFINE_list("groups", [], f"Which groups, default all: {', '.join(GROUPS)}.")
    app.run(main)

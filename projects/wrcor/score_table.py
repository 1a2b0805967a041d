"""Computes the score table that the package ships: every NAS-Bench-201 cell under the cheap proxies.

    python -m projects.wrcor.score_table --dataset=../shared/data/cifar10_subset.npz --archs=0:1000
    python -m projects.wrcor.score_table --dataset=../shared/data/cifar10_subset.npz

A job of hours, stopped and continued at will: scores are committed chunk by chunk to --out (default
results/score_table). Then the same command with --export=benchmarks/nasbench201_scores.npz writes what there is as the
table that `benchmarks.shipped_scores` reads.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from zsnas_jax import command

    command.run("projects.wrcor.score_table")

import hashlib
import json
import pathlib
from typing import Any

from absl import flags as absl_flags
import numpy as np

from projects.wrcor.experts import DERIVED, with_derived
from zsnas_jax import datasets, flags, proxies, search_spaces
from zsnas_jax.base import Proxy
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.proxies.response import response_correlation
from zsnas_jax.reports import score_report
from zsnas_jax.runs.scores import score_archs
from zsnas_jax.runs.selection import select_archs
from zsnas_jax.runs.settings import ScoreSettings, stored_settings
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage.store import ResultStore

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


def _stages() -> list[Proxy]:
    """What experiments draw on: log-determinants of each stage and of the first two layers, free of counts."""
    parts = {"first2": range(1, 3), "stage1": range(1, 6), "stage2": range(6, 12), "stage3": range(12, 19)}
    return [
        response_correlation(f"{kind[0]}_{part}", responses=[kind], layers=list(layers), count_exponent=0.0)
        for kind in ("activations", "gradients")
        for part, layers in parts.items()
    ]


def export(store: ResultStore, stored: dict[str, Any]) -> None:
    """Writes the proxies of which every cell of --archs has a score; others are named and left out.

    A column is called by the proxy's name, which no two of them share; `source` has the settings behind it.
    """
    space = search_spaces.make_space("nasbench201")
    names = [space.encode(arch) for arch in nasbench201.from_index(np.arange(nasbench201.NUM_ARCHS))]
    columns, settings = {}, {}
    for proxy in (proxy for group in GROUPS for proxy in _chosen(group)):
        scores = store.get(proxy)
        if len(scores) == len(names):
            columns[proxy.name] = np.array([scores[name] for name in names], np.float32)
            settings[proxy.name] = dict(proxy.settings)
        else:
            print(f"left out: {proxy.name} has {len(scores)} of {len(names)} scores")
    find = with_derived(columns.get)  # so that votes that name such columns can be looked up too
    columns |= {name: values for name in DERIVED if (values := find(name)) is not None}
    source = json.dumps({"settings": stored, "proxies": settings, "versions": score_report.versions()})
    digest = hashlib.sha256(b"".join(column.tobytes() for column in columns.values())).hexdigest()
    TabularBenchmark(columns, "nasbench201", "nasbench201_scores", source, digest).save(FLAGS.export)


def _chosen(group: str) -> list[Proxy]:
    return list(proxies.make_proxies(GROUPS[group].split(","))) + (_stages() if group == "one_pass" else [])


def define_flags() -> None:
    """The flags of this script."""
    flags.define_scoring_flags()
    flags.NETWORK.path("archs", "all", "As in score_main.")
    flags.SCORES.words("groups", [], f"Which groups, default all: {', '.join(GROUPS)}.")
    flags.RUN.path("export", None, "Path of the table to write from what is scored, instead of scoring.")


def main() -> None:
    """Scores what is missing, group by group, or exports."""
    flags.configure()
    space = search_spaces.make_space("nasbench201")
    settings = ScoreSettings()
    source = datasets.load(FLAGS.dataset, None, None)
    archs = select_archs(space, FLAGS.archs)
    groups = FLAGS.groups or list(GROUPS)
    stored = stored_settings(settings, space, source, pathlib.Path(FLAGS.dataset).stem)
    with ResultStore(FLAGS.out or "results/score_table", stored) as store:
        if FLAGS.export:
            export(store, stored)
            return
        for group in groups:
            scores, times = score_archs(store, space, archs, _chosen(group), source, settings)
            print(group, times, np.isfinite(scores).mean(0), flush=True)

"""Tables, scores and reports of noise, for the tests of what is made of them."""

import csv
import json
import types

import numpy as np

from projects.wrcor import experts
from projects.wrcor.inputs import Inputs
from projects.wrcor.layout import Run
from projects.wrcor.pictures import Pictures
from projects.wrcor.searches import SearchSettings
from zsnas_jax import datasets
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.proxies import make_proxies
from zsnas_jax.proxies.labels import label
from zsnas_jax.runs.settings import ScoreSettings
from zsnas_jax.search_spaces import nasbench101 as space101
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage.store import ResultStore

SPACE, SPACE101 = nasbench201.space(), space101.space()
NUM, NUM101 = SPACE.num_archs, SPACE101.num_archs
SETTINGS = SearchSettings(num_architectures=100, num_seeds=3)
RUN = Run("cifar10", ScoreSettings(batch_size=4))
OWN_VOTE = experts.EXPERIMENTAL[0]
ALL_1X1, BEST = 4317, 1462  # of NAS-Bench-201, all 1x1 and all 3x3


class Flags(dict):
    """Stands in for absl's flags, which a process can define only once."""

    def __init__(self, **values):
        super().__init__({name: types.SimpleNamespace(value=value) for name, value in values.items()})

    def __getattr__(self, name):
        return self[name].value


def make_runner(space, settings):
    """Stands in for `searches.make_runner`: random search in numpy for every strategy, by the first expert."""

    def run(one, seeds):
        score, found = np.asarray(one.objective.columns)[:, 0], []
        for seed in seeds:
            drawn = np.random.default_rng(seed).integers(0, space.num_archs, settings.num_architectures)
            found.append(drawn[np.argmax(np.where(np.isfinite(score), score, -np.inf)[drawn])])
        return np.array(found)

    return run


def rows_of(folder, name):
    with open(folder / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def truth201():
    """Accuracy grows with the number of 3x3 convolutions; the validation accuracy is the same and a little noise."""
    rng = np.random.default_rng(0)
    accuracy = 0.5 + (np.asarray(SPACE.from_index(np.arange(NUM))) == 3).sum(1) / 20
    columns = {f"{d}_test_200_mean": accuracy + 0.001 * rng.random(NUM) for d in ("cifar10", "cifar100")}
    columns["cifar10_valid_12_single"] = accuracy + 0.001 * rng.random(NUM)
    columns = {name: column.astype(np.float32) for name, column in columns.items()}
    return TabularBenchmark(columns, "nasbench201", "made-up", "a table of noise", "abc")


def scores201():
    """WRCor is largest for the cell of 1x1 convolutions alone; SWAP is noise; most are missing."""
    archs = np.asarray(SPACE.from_index(np.arange(NUM)))
    rng = np.random.default_rng(1)
    wrcor = (archs == 2).sum(1) + 0.5 * (archs == 3).sum(1) + 0.1 * rng.random(NUM)
    columns = {"wrcor": wrcor, "ncd_nwot": np.where(archs[:, 0] == 0, -np.inf, rng.random(NUM))}
    columns |= {"part": np.where(wrcor > 2, wrcor, np.nan), "params": np.arange(NUM), "fisher": wrcor - 1}
    columns = {name: column.astype(np.float32) for name, column in columns.items()}
    return TabularBenchmark(columns, "nasbench201", "scores", "made by a test", "f00d")


def truth101_table(full=False):
    """Noise as test accuracy, and validation accuracies of the first 200 cells, or of all."""
    rng = np.random.default_rng(2)
    accuracy = (0.9 + 0.04 * rng.random(NUM101)).astype(np.float32)
    known = np.arange(NUM101) < (NUM101 if full else 200)
    valid = np.where(known, accuracy + np.float32(0.01), np.nan).astype(np.float32)
    columns = {"cifar10_test_108_mean": accuracy, "cifar10_valid_12_mean": valid, "cifar10_valid_108_mean": valid}
    return TabularBenchmark(columns, "nasbench101", "made-up-101", "noise", "abc101")


def inputs(out, space=SPACE, benchmark=None, with_pictures=True):
    pictures = {"cifar10": Pictures("small", datasets.noise(image_size=8), "f00d")} if with_pictures else {}
    return Inputs(space, pictures, benchmark or truth201(), out)


def store_scores(out, count):
    """What Table 7's run leaves: WRCor and PNorm of some cells, SynFlow of half of them."""
    made = inputs(out, SPACE101, truth101_table())
    stored = made.stored(RUN)
    names = [SPACE101.encode(arch) for arch in SPACE101.from_index(np.arange(count))]
    accuracy = made.benchmark.columns["cifar10_test_108_mean"][:count]
    with ResultStore(made.folder(RUN, stored), stored) as store:
        store.add(names, make_proxies(["wrcor", "pnorm"]), np.stack([accuracy, -accuracy], axis=1))
        store.add(names[: count // 2], make_proxies(["synflow"]), accuracy[: count // 2, None])
    return made


def live_report(path, **changes):
    made = {
        "settings": {"space": "nasbench101", "dataset": "cifar10"},
        "search": {"strategy": "evolution", "scores": "wrcor", "num_architectures": 1000},
        "seeds": [{"index": 17}],
        "run": {"how": "computed", "commits": [[500, 1000.0], [1000, 2000.4]]},
        "device": {"kind": "cpu"},
    }
    path.write_text(
        json.dumps({name: made[name] | changes.get(name, {}) if name != "seeds" else made[name] for name in made})
    )
    return path


def made_up_scores(store, space, archs, proxies, *args, **options):
    """Stands in for the scorer."""
    names = [space.encode(arch) for arch in archs]
    values = [np.random.default_rng(sum(map(ord, label(proxy)))).random(len(archs)) for proxy in proxies]
    store.add(names, proxies, np.stack(values, axis=1))

"""Shows NCD's negative correlation and its mending on NAS-Bench-201, from scores that are there already.

    python -m projects.ncd.reproduce_ncd --table=nasbench201_scores --benchmark=../shared/data/nasbench201.csv.gz

Writes to --out, for the 200-epoch test accuracies of the three data sets: RESULTS.md, the tables as CSV
(convolutions.csv, gains.csv, search.csv), a picture of scores by number of convolutions a data set, and
within_groups.png with the rank correlation inside each group. Compares only cells that every proxy has a score for.
Scores come from folders of `score_main` (--store; scores under another --norm or --mask_rate are told apart by it) and
from tables (--table). A store that a running job fills is locked: copy results.sqlite with its -wal file first.
"""

from collections.abc import Mapping, Sequence
import json
import pathlib
import sys
from typing import Any

from absl import app, flags
import numpy as np

from zsnas_jax import benchmarks
from zsnas_jax.benchmarks.tabular import read_csv
from zsnas_jax.reports import diagnostics, documents, metrics, plots
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage import files, store

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("store", [], "Folder of results.sqlite, or of scores.csv and report.json; may be repeated.")
flags.DEFINE_multi_string(
    "table",
    [],
    "nasbench201_scores, or a CSV (may be gzipped) or npz: `index` or `arch`, and a column a proxy; may be repeated.",
)
flags.DEFINE_string("benchmark", "../shared/data/nasbench201.csv.gz", "Table of trained accuracies.")
flags.DEFINE_string("out", "benchmarks/ncd", "Folder of what is written.")
flags.DEFINE_list("proxies", [], "Which, in this order; default those of the paper, WRCor and Params.")
flags.DEFINE_integer("num_samples", 3000, "Cells that one random search scores.", lower_bound=1)
flags.DEFINE_integer("num_seeds", 200, "Random searches; the first 5 stand beside the paper's 5.", lower_bound=5)

DATASETS = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "ImageNet16-120": "imagenet16_120"}
REMEDIES = {"sam_nwot": "naswot", "nir_nwot": "naswot", "ncd_nwot": "naswot"}
REMEDIES |= {"sam_swap": "swap", "nir_swap": "swap", "ncd_swap": "swap"}
PROXIES = ("naswot", "sam_nwot", "nir_nwot", "ncd_nwot", "swap", "sam_swap", "nir_swap", "ncd_swap", "wrcor", "params")
TREATMENTS = {"norm": "bn", "mask_rate": 0.0, "activation": "relu"}
MIN_CELLS = 20

# Accuracy (%) of the cell that random search over 3,000 samples finds, mean of 5 runs: NCD paper, Tables 3 and 4.
_NORMS = ("bn", "gn16", "gn8", "in", "dropout", "ln")
PAPER = {
    ("naswot", "CIFAR-10"): dict(zip(_NORMS, (91.95, 92.24, 93.37, 91.32, 91.41, 93.48), strict=True)),
    ("naswot", "ImageNet16-120"): dict(zip(_NORMS, (42.31, 42.98, 43.13, 36.83, 40.55, 43.75), strict=True)),
    ("swap", "CIFAR-10"): dict(zip(_NORMS, (90.48, 91.35, 92.31, 86.35, 92.35, 93.01), strict=True)),
    ("swap", "ImageNet16-120"): dict(zip(_NORMS, (35.40, 37.42, 41.80, 21.84, 34.61, 44.07), strict=True)),
}
NORM_OF = {"naswot": ("naswot", "bn"), "swap": ("swap", "bn"), "nir_nwot": ("naswot", "ln"), "nir_swap": ("swap", "ln")}
NORM_OF |= {f"{p}@norm={n}": (p, n) for p in ("naswot", "swap") for n in _NORMS[1:]}

INTRODUCTION = """# Negative correlation on NAS-Bench-201

A proxy that counts non-linear operations ranks the whole space well, and may yet rank the networks that have many of
them the wrong way round. Below: Spearman's rho of score with accuracy inside each group of cells with equally many
convolutions (5 + 15 k for k convolutions in the cell), with 95 % bootstrap intervals; "weighted mean" is the mean over
groups weighted by their size, "score with number" the rho of score with the number of convolutions. Undefined: fewer
than {min_group} cells, or nothing to rank. SAM masks the activations that enter convolutions (rate 0.95), NIR puts
layer norm in the place of batch norm, NCD is both; `params` is the control. Accuracies are the 200-epoch test
accuracies, mean over seeds; all three data sets are compared with the same scores.

{cells} cells that all these proxies have a score for. {missing}Scores: {sources}. Truth: {truth}.
"""


def _read_store(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, dict[int, float]]]:
    """(settings, proxy to published index to score) of a results folder, read without writing to it."""
    if not (folder / store.FILE).exists():
        if not (folder / "scores.csv").exists():
            raise ValueError(f"store {folder} has neither {store.FILE} nor scores.csv")
        report = folder / "report.json"
        settings = json.loads(report.read_text())["settings"] if report.exists() else {}
        return settings, _read_table(folder / "scores.csv")
    settings, scores = store.read(folder)
    if settings.get("space") != "nasbench201":
        raise ValueError(f"{folder} is of space {settings.get('space')!r}: needed is nasbench201")
    index = {arch: _index(arch) for arch in dict.fromkeys(arch for column in scores.values() for arch in column)}
    return settings, {name: {index[arch]: score for arch, score in column.items()} for name, column in scores.items()}


def _index(arch: str) -> int:
    return int(nasbench201.to_index(nasbench201.decode(arch)))


def _read_scores(name: str) -> tuple[dict[str, Any], dict[str, dict[int, float]]]:
    """(settings, proxy to published index to score) of a table: one that the package ships, or a file."""
    if name not in benchmarks.BENCHMARKS:
        return {}, _read_table(pathlib.Path(name))
    table = benchmarks.open_benchmark(name)
    scores = {proxy: dict(enumerate(np.asarray(column).tolist())) for proxy, column in table.columns.items()}
    return json.loads(table.source)["settings"], scores


def _read_table(path: pathlib.Path) -> dict[str, dict[int, float]]:
    """Proxy to published index to score, of a CSV or an npz with `index` or `arch` and a column a proxy."""
    columns: dict[str, Any]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in arrays}
    else:
        names, rows, _ = read_csv(path)
        columns = {name: [row[name] for row in rows] for name in names}
    if "index" not in columns and "arch" not in columns:
        raise ValueError(f"table {path} has columns {', '.join(columns) or 'none'}: needed is index or arch")
    index = [_index(str(a)) for a in columns["arch"]] if "arch" in columns else [int(i) for i in columns["index"]]
    scores = {}
    for name, column in columns.items():
        if name not in ("arch", "index") and np.shape(column) == (len(index),):
            scores[name] = {i: float(v) for i, v in zip(index, column, strict=True) if str(v) != ""}
    return scores


def _merge(parts: Mapping[str, tuple[dict[str, Any], dict[str, dict[int, float]]]]) -> dict[str, np.ndarray]:
    """Proxy to float64[15625], NaN where there is no score; a proxy under a run's options is NAME@norm=..., say."""
    merged: dict[str, np.ndarray] = {}
    shared: dict[str, Any] = {}
    for source, (settings, scores) in parts.items():
        for name, value in settings.items():
            # The name of a data set may be a path: batch_sha256 says what is in it.
            if name not in (*TREATMENTS, "dataset") and shared.setdefault(name, value) != value:
                raise ValueError(f"{source} has {name} {value!r}, those before it {shared[name]!r}: give stores alike")
        under = [f"{k}={settings[k]}" for k, usual in TREATMENTS.items() if settings.get(k, usual) != usual]
        for proxy, values in scores.items():
            own = proxy in REMEDIES or proxy in ("params", "flops")
            label = proxy if own or not under else f"{proxy}@{','.join(under)}"
            column = merged.setdefault(label, np.full(nasbench201.NUM_ARCHS, np.nan))
            index, value = np.array(list(values)), np.array(list(values.values()))
            clash = ~np.isnan(column[index]) & ~np.isclose(column[index], value, rtol=1e-4)  # equal up to rounding
            if clash.any():
                first = np.flatnonzero(clash)[0]
                raise ValueError(
                    f"{label} of cell {index[first]} is {value[first]} in {source}, {column[index[first]]} before it"
                )
            column[index] = np.where(np.isnan(column[index]), value, column[index])
    return merged


def _random_search(scores: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Accuracy float[S] of the best-scored of `num_samples` distinct cells (all, if there are fewer), a seed each."""
    found = []
    for seed in range(FLAGS.num_seeds):
        drawn = np.random.default_rng(seed).permutation(len(scores))[: FLAGS.num_samples]
        found.append(accuracies[drawn[np.argmax(scores[drawn])]])
    return np.array(found)


def _search_rows(scores: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """What random search finds under each proxy, in percent, beside the paper."""
    rows = []
    for dataset, accuracies in truth.items():
        oracle = {"best accuracy (oracle)": accuracies, "any cell (random)": np.zeros_like(accuracies)}
        for name, values in {**scores, **oracle}.items():
            found = 100 * _random_search(values, accuracies)
            base, norm = NORM_OF.get(name, ("", ""))
            rows.append(
                {
                    "dataset": dataset,
                    "proxy": name,
                    "norm": norm,
                    "mean": float(found.mean()),
                    "std": float(found.std(ddof=1)),
                    "mean_of_5": float(found[:5].mean()),
                    "std_of_5": float(found[:5].std(ddof=1)),
                    "paper": PAPER.get((base, dataset), {}).get(norm),
                }
            )
    return rows


def _gains(
    scores: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], numbers: np.ndarray
) -> list[dict[str, Any]]:
    """How each remedy changes the rho inside each group."""
    rows = []
    for dataset, accuracies in truth.items():
        for remedy, bare in REMEDIES.items():
            if remedy in scores and bare in scores:
                gains = diagnostics.gain_by_convolutions(scores[bare], scores[remedy], accuracies, numbers)
                for number, gain in gains.items():
                    value, low, high = gain or (None, None, None)
                    rows.append(
                        {"dataset": dataset, "remedy": remedy, "of": bare, "num_convolutions": number}
                        | {"gain": value, "low": low, "high": high}
                    )
    return rows


def _verdicts(
    diagnoses: Mapping[str, Mapping[str, diagnostics.ByConvolutions]], gains: Sequence[Mapping[str, Any]]
) -> str:
    """Which groups are surely negative (interval below 0), and which a remedy surely raises or lowers."""
    listed = lambda numbers: ", ".join(map(str, numbers)) or "none"
    rows = []
    for dataset, name, diagnosis in ((d, n, x) for d, found in diagnoses.items() for n, x in found.items()):
        rhos = {group.num_convolutions: group.spearman for group in diagnosis.groups if group.spearman}
        row = {
            "data set": dataset,
            "proxy": name,
            "negative estimate": listed(number for number, rho in rhos.items() if rho.value < 0),
            "interval below 0": listed(number for number, rho in rhos.items() if rho.high < 0),
        }
        if mine := [r for r in gains if (r["dataset"], r["remedy"]) == (dataset, name) and r["gain"] is not None]:
            row["remedy raises"] = listed(r["num_convolutions"] for r in mine if r["low"] > 0)
            row["remedy lowers"] = listed(r["num_convolutions"] for r in mine if r["high"] < 0)
        rows.append(row)
    return documents.markdown_table(rows)


def _gain_table(gains: Sequence[Mapping[str, Any]]) -> str:
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for row in gains:
        entry = rows.setdefault((row["dataset"], row["remedy"]), {"data set": row["dataset"], "remedy": row["remedy"]})
        interval = metrics.Interval(row["gain"], row["low"], row["high"]) if row["gain"] is not None else None
        entry[str(row["num_convolutions"])] = documents.format_interval(interval)
    return documents.markdown_table(list(rows.values()))


def _search_table(rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [
        {
            "data set": row["dataset"],
            "proxy": row["proxy"],
            "norm": row["norm"],
            f"{FLAGS.num_seeds} seeds": f"{row['mean']:.2f} ± {row['std']:.2f}",
            "5 seeds": f"{row['mean_of_5']:.2f} ± {row['std_of_5']:.2f}",
            "paper, 5 runs": "" if row["paper"] is None else f"{row['paper']:.2f}",
        }
        for row in rows
    ]
    return documents.markdown_table(shown)


def _document(
    introduction: str,
    num_cells: int,
    diagnoses: Mapping[str, Mapping[str, diagnostics.ByConvolutions]],
    gains: Sequence[Mapping[str, Any]],
    search: Sequence[Mapping[str, Any]],
) -> str:
    """RESULTS.md."""
    parts = [introduction, "![Rank correlation inside each group](within_groups.png)\n"]
    for dataset, found in diagnoses.items():
        parts.append(f"## {dataset}\n\n{diagnostics.as_markdown(found)}\n\n![{dataset}]({DATASETS[dataset]}.png)\n")
    parts.append(
        f"## What the remedies change\n\nrho with the remedy minus rho without, paired.\n\n{_gain_table(gains)}\n"
    )
    parts.append(f"## In short\n\nNumbers of convolutions of the groups.\n\n{_verdicts(diagnoses, gains)}\n")
    all_drawn = " Every search sees all the cells there are, so seeds differ in nothing but ties."
    parts.append(
        "## Random search\n\nTest accuracy (%) of the best-scored of "
        f"{min(FLAGS.num_samples, num_cells)} distinct cells of the {num_cells}, mean ± standard deviation."
        f"{all_drawn if num_cells <= FLAGS.num_samples else ''} Beside it NCD's Tables 3 and 4, which search the whole "
        "space with 3,000 samples and new batches, and name a norm, not whether activations were masked.\n\n"
        f"{_search_table(search)}\n"
    )
    return "\n".join(parts)


def _write(
    out: pathlib.Path,
    scores: Mapping[str, np.ndarray],
    index: np.ndarray,
    benchmark: benchmarks.TabularBenchmark,
    introduction: str,
) -> None:
    """Computes everything for some cells and writes it."""
    truth = {name: benchmark.lookup(f"{column}_test_200", index) for name, column in DATASETS.items()}
    numbers = np.array([int(nasbench201.num_convolutions(arch)) for arch in nasbench201.from_index(index)])
    chosen = {name: values for name, values in scores.items() if "@" not in name}
    diagnoses = {
        dataset: {name: diagnostics.by_convolutions(values, accuracies, numbers) for name, values in chosen.items()}
        for dataset, accuracies in truth.items()
    }
    gains, search = _gains(chosen, truth, numbers), _search_rows(scores, truth)
    out.mkdir(parents=True, exist_ok=True)
    labelled = [(d, name, found) for d, by_proxy in diagnoses.items() for name, found in by_proxy.items()]
    rows = [row for d, name, found in labelled for row in diagnostics.as_rows(found, dataset=d, proxy=name)]
    documents.write_csv(out / "convolutions.csv", rows)
    if gains:
        documents.write_csv(out / "gains.csv", gains)
    documents.write_csv(out / "search.csv", search)
    for dataset, found in diagnoses.items():
        plots.by_convolutions(out / f"{DATASETS[dataset]}.png", chosen, numbers, found, f"{dataset} test accuracy")
    by_proxy = {name: {dataset: found[name] for dataset, found in diagnoses.items()} for name in chosen}
    plots.within_groups(out / "within_groups.png", by_proxy)
    files.write_text(out / "RESULTS.md", _document(introduction, len(index), diagnoses, gains, search))


def _described(settings: Mapping[str, Any]) -> str:
    shown = [f"{name} {settings[name]}" for name in ("dataset", "batch_size", "init", "seed") if name in settings]
    return f"({', '.join(shown)})" if shown else ""


def main(_: list[str]) -> None:
    """Reads the scores, writes the folder."""
    parts = {name: _read_store(pathlib.Path(name)) for name in FLAGS.store}
    parts |= {name: _read_scores(name) for name in FLAGS.table}
    merged = _merge(parts)
    wanted = FLAGS.proxies or [*PROXIES, *(name for name in NORM_OF if name in merged and name not in PROXIES)]
    missing = [name for name in wanted if name not in merged]
    scores = {name: merged[name] for name in wanted if name in merged}
    if not scores:
        raise ValueError(
            f"none of {', '.join(wanted)} is in {', '.join(parts) or 'the scores: give --store or --table'}"
        )
    index = np.flatnonzero(~np.isnan(np.stack(list(scores.values()))).any(0))
    if len(index) < MIN_CELLS:
        counts = ", ".join(f"{name} {np.sum(~np.isnan(values))}" for name, values in scores.items())
        raise ValueError(f"{len(index)} cells have all scores, {MIN_CELLS} are needed; cells of each: {counts}")
    benchmark = benchmarks.open_benchmark(FLAGS.benchmark)
    introduction = INTRODUCTION.format(
        min_group=diagnostics.MIN_GROUP,
        cells=f"{len(index):,}",
        missing=f"Not among the scores: {', '.join(missing)}. " if missing else "",
        sources="; ".join(f"{name} {_described(settings)}".rstrip() for name, (settings, _) in parts.items()),
        truth=f"{benchmark.source}, SHA-256 {benchmark.checksum[:16]}",
    )
    out = pathlib.Path(FLAGS.out)
    _write(out, {name: values[index] for name, values in scores.items()}, index, benchmark, introduction)
    print(f"{len(index)} cells; written: {', '.join(sorted(str(path) for path in out.iterdir()))}")


if __name__ == "__main__":
    try:
        app.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"reproduce_ncd: error: {error}")

"""The folder that shows NCD's negative correlation and its mending: RESULTS.md, tables as CSV, pictures."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

import numpy as np

from projects.ncd import gains, random_search
from projects.ncd.random_search import RandomSearch
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.reports import diagnostics, documents, plots
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage import files

DATASETS = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "ImageNet16-120": "imagenet16_120"}
"""As documents name them, to the beginnings of their columns."""

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


def write(
    out: pathlib.Path,
    scores: Mapping[str, np.ndarray],
    index: np.ndarray,
    benchmark: TabularBenchmark,
    introduction: str,
    search: RandomSearch,
) -> None:
    """Computes everything for some cells and writes it.

    Args:
        out: the folder.
        scores: label to float[A]; those with a norm or a mask of their own are searched by alone.
        index: published, of the cells, int[A].
        benchmark: accuracies.
        introduction: `INTRODUCTION`, filled in.
        search: how random search runs.

    Raises:
        ValueError: if the benchmark lacks a column or a cell.
        OSError: if the folder cannot be written.
    """
    accuracies = {name: benchmark.lookup(f"{column}_test_200", index) for name, column in DATASETS.items()}
    numbers = np.array([int(nasbench201.num_convolutions(arch)) for arch in nasbench201.from_index(index)])
    plain = {label: values for label, values in scores.items() if ":" not in label}
    diagnoses = {
        dataset: {label: diagnostics.by_convolutions(values, truth, numbers) for label, values in plain.items()}
        for dataset, truth in accuracies.items()
    }
    changes = gains.measure_gains(plain, accuracies, numbers)
    found = random_search.search_all(search, scores, accuracies)
    out.mkdir(parents=True, exist_ok=True)
    labelled = [(d, label, diagnosis) for d, by_proxy in diagnoses.items() for label, diagnosis in by_proxy.items()]
    rows = [row for d, label, diagnosis in labelled for row in diagnostics.as_rows(diagnosis, dataset=d, proxy=label)]
    documents.write_csv(out / "convolutions.csv", rows)
    if changes:
        documents.write_csv(out / "gains.csv", changes)
    documents.write_csv(out / "search.csv", found)
    for dataset, by_proxy in diagnoses.items():
        picture = out / f"{DATASETS[dataset]}.png"
        plots.by_convolutions(picture, plain, numbers, by_proxy, f"{dataset} test accuracy")
    of_proxies = {label: {dataset: by_proxy[label] for dataset, by_proxy in diagnoses.items()} for label in plain}
    plots.within_groups(out / "within_groups.png", of_proxies)
    text = _document(introduction, len(index), diagnoses, changes, found, search)
    files.write_text(out / "RESULTS.md", text)


def _document(
    introduction: str,
    num_cells: int,
    diagnoses: Mapping[str, Mapping[str, diagnostics.ByConvolutions]],
    changes: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    search: RandomSearch,
) -> str:
    """RESULTS.md."""
    parts = [introduction, "![Rank correlation inside each group](within_groups.png)\n"]
    for dataset, by_proxy in diagnoses.items():
        picture = f"![{dataset}]({DATASETS[dataset]}.png)"
        parts.append(f"## {dataset}\n\n{diagnostics.as_markdown(by_proxy)}\n\n{picture}\n")
    changed, summary = gains.as_markdown(changes), gains.summarise(diagnoses, changes)
    parts.append(f"## What the remedies change\n\nrho with the remedy minus rho without, paired.\n\n{changed}\n")
    parts.append(f"## In short\n\nNumbers of convolutions of the groups.\n\n{summary}\n")
    all_drawn = " Every search sees all the cells there are, so seeds differ in nothing but ties."
    same = all_drawn if num_cells <= search.num_samples else ""
    parts.append(
        "## Random search\n\nTest accuracy (%) of the best-scored of "
        f"{min(search.num_samples, num_cells)} distinct cells of the {num_cells}, mean ± standard deviation."
        f"{same} Beside it NCD's Tables 3 and 4, which search the whole "
        "space with 3,000 samples and new batches, and name a norm, not whether activations were masked.\n\n"
        f"{random_search.as_markdown(search, found)}\n"
    )
    return "\n".join(parts)

"""What random search finds under each proxy, beside the paper. A architectures, S seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from projects.ncd import paper
from zsnas_jax.reports.documents import markdown_table


class RandomSearch(NamedTuple):
    """How often a search runs, and how many cells each run scores."""

    num_seeds: int
    num_samples: int

    def find(self, scores: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
        """Accuracy float[S] of the best-scored of `num_samples` distinct cells (all, if there are fewer)."""
        found = []
        for seed in range(self.num_seeds):
            drawn = np.random.default_rng(seed).permutation(len(scores))[: self.num_samples]
            found.append(accuracies[drawn[np.argmax(scores[drawn])]])
        return np.array(found)


def search_all(
    search: RandomSearch, scores: Mapping[str, np.ndarray], accuracies: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """A record for each data set and proxy, and for the best and any cell; accuracies in percent.

    Args:
        search: how.
        scores: label to float[A].
        accuracies: data set to float[A], fractions.
    """
    records = []
    for dataset, truth in accuracies.items():
        limits = {"best accuracy (oracle)": truth, "any cell (random)": np.zeros_like(truth)}
        for label, values in {**scores, **limits}.items():
            found = 100 * search.find(values, truth)
            records.append(
                {
                    "dataset": dataset,
                    "proxy": label,
                    "norm": paper.NORM_OF.get(label, ("", ""))[1],
                    "mean": float(found.mean()),
                    "std": float(found.std(ddof=1)),
                    "mean_of_5": float(found[:5].mean()),
                    "std_of_5": float(found[:5].std(ddof=1)),
                    "paper": paper.find_figure(label, dataset),
                }
            )
    return records


def as_markdown(search: RandomSearch, records: Sequence[Mapping[str, Any]]) -> str:
    """Records of `search_all` as a table for people."""
    shown = [
        {
            "data set": record["dataset"],
            "proxy": record["proxy"],
            "norm": record["norm"],
            f"{search.num_seeds} seeds": f"{record['mean']:.2f} ± {record['std']:.2f}",
            "5 seeds": f"{record['mean_of_5']:.2f} ± {record['std_of_5']:.2f}",
            "paper, 5 runs": "" if record["paper"] is None else f"{record['paper']:.2f}",
        }
        for record in records
    ]
    return markdown_table(shown)

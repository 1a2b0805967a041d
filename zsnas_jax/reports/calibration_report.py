"""What a few trained networks say about scores: predictions, and which networks to train next. A archs, T trained."""

from collections.abc import Mapping
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
from tabulate import tabulate

from zsnas_jax import calibration
from zsnas_jax.base import SearchSpace
from zsnas_jax.reports import documents, metrics
from zsnas_jax.runs.trained import Trained
from zsnas_jax.storage import files
from zsnas_jax.structure import structure_features


class Calibrated(NamedTuple):
    """A calibration of a run.

    Attributes:
        archs: those of the run, then the trained ones that are not among them, as strings.
        is_trained: bool[A].
        prediction: of each.
        left_out: Spearman's rho with the accuracy of what is predicted of each trained network without it.
        alone: label to Spearman's rho of a score with the accuracies of the trained networks.
        num_features: of the architectures' structure, beside the scores.
        next_ones: places of those to train next, the most informative first.
    """

    archs: list[str]
    is_trained: np.ndarray
    prediction: calibration.Prediction
    left_out: metrics.Interval
    alone: dict[str, metrics.Interval]
    num_features: int
    next_ones: list[int]


def calibrate(
    space: SearchSpace,
    archs: np.ndarray,
    scores: Mapping[str, np.ndarray],
    trained: Trained,
    scores_of_trained: Mapping[str, np.ndarray],
    num_next: int,
    with_structure: bool = True,
) -> Calibrated:
    """Fits the model to the trained networks and predicts all.

    Args:
        space: of the architectures.
        archs: int[A, G] of the run.
        scores: label to float[A], the features by their ranks among all architectures here.
        trained: T architectures and their accuracies.
        scores_of_trained: label to float[T].
        num_next: how many to train next.
        with_structure: whether genes and graphs are features, too, as far as the space says what they are.

    Raises:
        ValueError: if there are fewer trained networks than scores, or than a calibration needs, or a score is
            undefined on all of them.
    """
    count, labels = len(trained.accuracies), list(scores)
    check_count(count, len(labels))
    for name in labels:
        if not np.isfinite(scores_of_trained[name]).any():
            raise ValueError(f"{name} is undefined on all {count} trained networks: calibrate without it")
    strings = [space.encode(arch) for arch in archs]
    places = {string: place for place, string in enumerate(strings)}
    own = [space.encode(arch) for arch in trained.archs]
    others = [place for place, string in enumerate(own) if string not in places]
    together = np.stack([np.concatenate([scores[n], scores_of_trained[n][others]]) for n in labels], axis=1)
    every = np.concatenate([archs, trained.archs[others]])
    groups = [calibration.score_features(together)]
    groups += [structure_features(space, every)] if with_structure else []
    features = np.concatenate(groups, axis=1)
    sizes = [own.shape[1] for own in groups if own.shape[1]]
    places |= {own[place]: len(strings) + i for i, place in enumerate(others)}
    rows = np.array([places[string] for string in own])
    model = calibration.fit(features[rows], trained.accuracies, sizes)
    is_trained = np.isin(np.arange(len(features)), rows)
    untrained = np.flatnonzero(~is_trained)
    chosen = calibration.most_informative(model, features[untrained], num_next)
    return Calibrated(
        strings + [own[place] for place in others],
        is_trained,
        calibration.predict(model, features),
        metrics.bootstrap_spearman(calibration.leave_one_out(model), trained.accuracies),
        {name: metrics.bootstrap_spearman(scores_of_trained[name], trained.accuracies) for name in labels},
        features.shape[1] - len(labels),
        [int(untrained[place]) for place in chosen],
    )


def check_count(num_trained: int, num_scores: int) -> None:
    """Raises ValueError, saying what would do, if there are too few trained networks for so many scores."""
    needed = max(calibration.MIN_TRAINED, num_scores)
    if num_trained < needed:
        fewer = f", or at most {num_trained} scores" if num_trained >= calibration.MIN_TRAINED else ""
        raise ValueError(f"{num_trained} trained networks for {num_scores} scores: {needed} are needed{fewer}")


def as_json(found: Calibrated) -> dict[str, Any]:
    """What report.json says of it."""
    text = lambda own: {key: None if np.isnan(value) else value for key, value in own._asdict().items()}
    return {
        "num_trained": int(found.is_trained.sum()),
        "num_features_of_structure": found.num_features,
        "spearman_left_out": text(found.left_out),
        "spearman_of_scores": {name: text(own) for name, own in found.alone.items()},
        "train_next": [found.archs[place] for place in found.next_ones],
    }


def write(folder: str | os.PathLike[str], found: Calibrated) -> list[str]:
    """Writes predicted.csv, best first, and train_next.txt, one architecture a line; returns their names."""
    folder, own = pathlib.Path(folder), found.prediction
    rows = [
        {
            "arch": found.archs[place],
            "predicted_accuracy": float(own.accuracy[place]),
            "low": float(own.low[place]),
            "high": float(own.high[place]),
            "is_trained": int(found.is_trained[place]),
        }
        for place in np.argsort(-own.score, kind="stable")
    ]
    documents.write_csv(folder / "predicted.csv", rows)
    files.write_text(folder / "train_next.txt", "".join(f"{found.archs[place]}\n" for place in found.next_ones))
    return ["predicted.csv", "train_next.txt"]


def as_text(found: Calibrated) -> str:
    """For the terminal."""
    own, best = found.prediction, np.argsort(-found.prediction.score, kind="stable")[:10]
    rows = [
        {
            "predicted": f"{100 * own.accuracy[place]:.2f} %",
            "68 %": f"{100 * own.low[place]:.2f} to {100 * own.high[place]:.2f}",
            "trained": "yes" if found.is_trained[place] else "",
            "arch": found.archs[place],
        }
        for place in best
    ]
    known = lambda rho: documents.format_interval(None if np.isnan(rho.value) else rho)
    name, alone = max(found.alone.items(), key=lambda item: np.nan_to_num(item[1].value, nan=-1))
    return "\n".join(
        [
            f"calibrated on {found.is_trained.sum()} trained networks, {len(found.alone)} scores and "
            f"{found.num_features} features of genes and graphs: rho {known(found.left_out)} with each left out; the "
            f"best score alone, {name}, {known(alone)}",
            "",
            "best predicted:",
            tabulate(rows, headers="keys", disable_numparse=True),
            *(["", "to train next:", *(found.archs[place] for place in found.next_ones)] if found.next_ones else []),
        ]
    )

"""How many trained networks a score is worth: rho of predictions over the number of networks that were trained.

    python -m projects.spaces.curves_main --folders=results/spaces/a,results/spaces/b --tables=tables
    python -m projects.spaces.curves_main --nasbench201=nasbench201.csv.gz

For 8, 16, ..., 1,024 trained networks, as long as half are left, 20 draws of them each: a calibration on ranks of all
scores (`zsnas_jax.calibration`), and Spearman's rho of what it predicts with the accuracies of the others. Writes
curves.csv and curves.png, in which the line of dots is the best score alone: where the curve crosses it, training that
many networks beats it. Beside the scores the genes and graphs of the architectures (`zsnas_jax.structure`), alone and
together with the scores. --nasbench201 takes the shipped scores of all 15,625 cells.
"""

from collections.abc import Mapping, Sequence
import csv
import pathlib
from typing import Any, NamedTuple

from absl import app, flags
import numpy as np

from projects.spaces.scored import distinct, read
from zsnas_jax import benchmarks, calibration, search_spaces
from zsnas_jax.reports import documents, metrics, plots
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.structure import structure_features

FLAGS = flags.FLAGS

DATASETS = ("cifar10", "cifar100", "imagenet16_120")
_OF_STAGES = ("a_first2", "a_stage1", "a_stage2", "a_stage3", "g_first2", "g_stage1", "g_stage2", "g_stage3")


class Subject(NamedTuple):
    """Architectures with scores, label to float[A], accuracies float[A], and features of structure float[A, F]."""

    name: str
    scores: Mapping[str, np.ndarray]
    accuracy: np.ndarray
    structure: np.ndarray


def of_nasbench201(table: str) -> list[Subject]:
    """The shipped scores beside each of the three data sets."""
    scores = benchmarks.open_benchmark("nasbench201_scores").columns
    own = {name: np.asarray(column) for name, column in scores.items() if name not in _OF_STAGES}
    space, index = nasbench201.space(), np.arange(nasbench201.NUM_ARCHS)
    features, truth = structure_features(space, nasbench201.from_index(index)), benchmarks.open_benchmark(table)
    return [Subject(f"nasbench201, {d}", own, truth.lookup(f"{d}_test_200", index), features) for d in DATASETS]


def curve(groups: Sequence[np.ndarray], truth: np.ndarray, draws: int, most: int) -> list[dict[str, float]]:
    """A record for each number of trained networks: the mean and deviation of rho, and the mean of the ten best.

    Args:
        groups: of features, float[A, F_g] each.
        truth: float[A].
        draws: of the trained networks.
        most: trained networks.
    """
    features, sizes = np.concatenate(groups, axis=1), [own.shape[1] for own in groups]
    records, count = [], calibration.MIN_TRAINED
    while count <= min(most, len(truth) // 2):
        rhos, tops = [], []
        for draw in range(draws):
            order = np.random.default_rng(draw).permutation(len(truth))
            trained, rest = order[:count], order[count:]
            score = calibration.predict(calibration.fit(features[trained], truth[trained], sizes), features[rest]).score
            rhos.append(metrics.spearman(score, truth[rest]))
            tops.append(metrics.top_k(score, truth[rest], 10).mean())
        records.append(
            {
                "trained": count,
                "rho": float(np.mean(rhos)),
                "rho_std": float(np.std(rhos)),
                "ten_best": float(np.mean(tops)),
            }
        )
        count *= 2
    return records


def define_flags() -> None:
    """The flags of this binary."""
    flags.DEFINE_list("folders", [], "Folders of score_main, separated by commas.")
    flags.DEFINE_string("tables", ".", "Folder of the tables of trained accuracy that the runs were held against.")
    flags.DEFINE_string("nasbench201", None, "Table of NAS-Bench-201's accuracies, for its shipped scores.")
    flags.DEFINE_string("out", "benchmarks/calibration", "Folder of what is written.")
    flags.DEFINE_integer("draws", 20, "Of the trained networks.")
    flags.DEFINE_integer("most", 1024, "Trained networks at most.")
    flags.DEFINE_boolean("add", False, "Keep what curves.csv has of other spaces.")


def main(_: list[str]) -> None:
    """Reads, fits, writes."""
    subjects = of_nasbench201(FLAGS.nasbench201) if FLAGS.nasbench201 else []
    for folder in map(pathlib.Path, FLAGS.folders):
        scored = distinct(read(folder, pathlib.Path(FLAGS.tables)))
        name = ", ".join(filter(None, (scored.space, scored.task)))
        space = search_spaces.make_space(scored.report["settings"]["space"])
        structure = structure_features(space, np.stack([space.decode(arch) for arch in scored.archs]))
        subjects.append(Subject(name, scored.scores, scored.accuracy, structure))
    if not subjects:
        raise app.UsageError("--folders or --nasbench201: one is needed")
    out = pathlib.Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    names = {subject.name for subject in subjects}
    rows = [row for row in _read(out / "curves.csv") if row["space"] not in names] if FLAGS.add else []
    for subject in subjects:
        ranked = calibration.score_features(np.stack(list(subject.scores.values()), axis=1))
        kinds: dict[str, list[np.ndarray]] = {"scores": [ranked]}
        if subject.structure.shape[1]:
            kinds |= {"structure": [subject.structure], "both": [ranked, subject.structure]}
        alone = {name: metrics.spearman(own, subject.accuracy) for name, own in subject.scores.items()}
        best = max(alone, key=lambda name: np.nan_to_num(alone[name], nan=-1.0))
        for kind, groups in kinds.items():
            line = curve(groups, subject.accuracy, FLAGS.draws, FLAGS.most)
            own = {"space": subject.name, "features": kind, "best_alone": best, "rho_alone": alone[best]}
            rows += [own | record for record in line]
            said = ", ".join(f"{record['rho']:.3f} of {record['trained']}" for record in line)
            print(f"{subject.name}, {kind}: {said}", flush=True)
    documents.write_csv(out / "curves.csv", rows)
    plots.worth(out / "curves.png", _panels(rows))
    print(f"written: {out}/curves.csv, curves.png")


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    """Rows that are there already, numbers as numbers; none where there is no file."""
    if not path.exists():
        return []
    texts = ("space", "features", "best_alone")
    with open(path, newline="") as file:
        return [{k: v if k in texts else float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _panels(rows: Sequence[Mapping[str, Any]]) -> dict[str, plots.Worth]:
    """What is drawn: a panel a space, a line a kind of features."""
    panels: dict[str, plots.Worth] = {}
    for row in rows:
        alone = f"{row['best_alone']} alone", row["rho_alone"]
        lines: Any = panels.setdefault(row["space"], plots.Worth({}, *alone)).lines
        lines.setdefault(row["features"], []).append(row)
    return panels


if __name__ == "__main__":
    define_flags()
    app.run(main)

"""Searches sums of log ranks that hold on every space, and shows what each is worth on the space that it did not see.

    python -m projects.spaces.aggregates_main --folders=results/spaces/a,results/spaces/b --tables=tables

--folders are those of score_main; of NAS-Bench-201 the shipped scores of its cells are taken beside the folder's. Of
several tasks of a space each is a row, and their mean is the space's. Experts are those that every folder has, or
--experts. Writes RESULTS.md, left_out.csv (a row a space and task) and sets.csv (the best sets over all spaces, which
have seen them all). Only spaces on which all experts are defined can be compared: transformers lack some.
"""

from collections.abc import Sequence
import pathlib
from typing import Any

from absl import app, flags
import numpy as np

from projects.spaces import aggregates
from projects.spaces.aggregates import LeftOut, Subject
from projects.spaces.scored import distinct, read
from zsnas_jax import benchmarks
from zsnas_jax.reports import documents
from zsnas_jax.reports.documents import format_interval, interval_record, markdown_table
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage import files

FLAGS = flags.FLAGS
CONTROLS = ("params", "flops")
MOST_SETS = 40
"""In sets.csv."""

HEAD = """# One score for all spaces

By `python -m projects.spaces.aggregates_main`, from folders of `score_main` (`projects/spaces/README.md`). The scores
of up to {largest} experts are put together as the sum of the logarithms of their ranks, without weights; the set is
chosen by its mean rho over all spaces but one, and held against that one, which it has not seen. rho is Spearman's with
95 % bootstrap intervals over the architectures. "Best here" is what no choice elsewhere can know. Experts: {experts}.
{num_sets} sets.
"""


def subject_of(folder: pathlib.Path, tables: pathlib.Path) -> Subject:
    """What a folder holds, different networks alone; of NAS-Bench-201 with the shipped scores of its cells."""
    scored = distinct(read(folder, tables))
    scores, space = dict(scored.scores), scored.report["settings"]["space"]
    if space == "nasbench201":
        index = [int(nasbench201.to_index(nasbench201.decode(arch))) for arch in scored.archs]
        shipped = benchmarks.open_benchmark("nasbench201_scores").columns
        scores = {label: np.asarray(column, float)[index] for label, column in shipped.items()} | scores
    name = ", ".join(filter(None, (scored.space, scored.task, scored.report["benchmark"]["column"])))
    return Subject(space, name, scores, scored.accuracy)


def as_markdown(found: Sequence[LeftOut]) -> str:
    """A row a subject."""
    return markdown_table(
        [
            {
                "left out": own.subject,
                "archs": own.num_archs,
                "chosen on the others": " + ".join(own.chosen),
                "their mean": f"{own.elsewhere:.3f}",
                "rho here": format_interval(own.rho),
                "best single of the others": f"{own.single} {format_interval(own.rho_of_single)}",
                **{name: format_interval(rho) for name, rho in own.controls.items()},
                "best here": f"{own.best_here:.3f}",
            }
            for own in found
        ]
    )


def as_records(found: Sequence[LeftOut]) -> list[dict[str, object]]:
    """The same for a CSV."""
    records = []
    for own in found:
        record: dict[str, object] = {"left_out": own.subject, "archs": own.num_archs, "chosen": "+".join(own.chosen)}
        record |= {"elsewhere": own.elsewhere} | interval_record("rho", own.rho) | {"single": own.single}
        record |= interval_record("rho_of_single", own.rho_of_single)
        for name, rho in own.controls.items():
            record |= interval_record(name, rho)
        records.append(record | {"best_here": own.best_here})
    return records


def define_flags() -> None:
    """The flags of this binary."""
    flags.DEFINE_list("folders", [], "Folders of score_main, separated by commas.")
    flags.DEFINE_string("tables", ".", "Folder of the tables of trained accuracy that the runs were held against.")
    flags.DEFINE_list("experts", [], "Labels of the experts to choose among; those that all folders have.")
    flags.DEFINE_integer("largest", 5, "Experts of a set.")
    flags.DEFINE_string("out", "benchmarks/aggregates", "Folder of what is written.")


def main(_: list[str]) -> None:
    """Reads the folders, searches, writes."""
    subjects = [subject_of(pathlib.Path(folder), pathlib.Path(FLAGS.tables)) for folder in FLAGS.folders]
    if len({subject.space for subject in subjects}) < 2:
        raise app.UsageError("--folders: at least two spaces are needed, to choose on one and hold against the other")
    everywhere = set.intersection(*(set(subject.scores) for subject in subjects))
    experts = FLAGS.experts or sorted(everywhere - {"num_sites"})
    if missing := [name for name in (*experts, *CONTROLS) if name not in everywhere]:
        raise app.UsageError(
            f"--experts: {missing[0]!r} is not in all folders: allowed are {', '.join(sorted(everywhere))}"
        )
    chosen = aggregates.sets(experts, FLAGS.largest)
    values = np.stack([aggregates.rhos(subject, chosen) for subject in subjects])
    found = aggregates.leave_one_out(subjects, chosen, values, CONTROLS)
    means = np.stack(list(aggregates.by_space(subjects, values).values()))
    order = np.argsort(-means.mean(0), kind="stable")[:MOST_SETS]
    records: list[dict[str, Any]] = [
        {"experts": "+".join(chosen[i]), "mean": float(means[:, i].mean()), "worst": float(means[:, i].min())}
        | {subject.name: float(own[i]) for subject, own in zip(subjects, values, strict=True)}
        for i in order
    ]
    out = pathlib.Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    documents.write_csv(out / "left_out.csv", as_records(found))
    documents.write_csv(out / "sets.csv", records)
    over_all = [
        {key: f"{value:.3f}" if isinstance(value, float) else value.replace("+", " + ") for key, value in own.items()}
        for own in records[:10]
    ]
    head = HEAD.format(largest=FLAGS.largest, experts=", ".join(experts), num_sets=len(chosen))
    lines = [head, as_markdown(found), "", "## The best over all spaces, which have seen them all", ""]
    lines += [markdown_table(over_all), ""]
    with files.replacing(out / "RESULTS.md") as temporary:
        pathlib.Path(temporary).write_text("\n".join(lines))
    for own in found:
        print(f"{own.subject}: {' + '.join(own.chosen)} {own.rho.value:.3f}, flops {own.controls['flops'].value:.3f}")
    print(f"written: {out}/RESULTS.md, left_out.csv, sets.csv")


if __name__ == "__main__":
    define_flags()
    app.run(main)

"""What proxies are worth on every space: one page, a CSV and pictures, from folders that score_main left.

    python -m projects.spaces.report_main --folders=results/spaces/a,results/spaces/b --tables=tables

RESULTS.md has a section a folder: its space and task, the pictures, the architectures, then a row a proxy: Spearman's
rho, Kendall's tau and nDCG with 95 % bootstrap intervals, how well it ranks architectures that are alike, the mean
accuracy of its ten best, its regret, the printed rho, and the controls whose rho is higher. Controls are params, flops,
num_sites, and what the space counts: convolutions; of an AutoFormer depth, width and the sums of its blocks' heads,
ratios and hidden units. results.csv holds the same rows.

Pictures: overview.png, rho of all proxies on all spaces; a folder's scores among each other; of a space with
convolutions, as NCD's Figure 3, rho inside each group of equally many.
"""

import pathlib

from absl import app, flags

from projects.spaces import comparison, pictures
from projects.spaces.scored import Scored, distinct, read
from zsnas_jax.reports import documents
from zsnas_jax.storage import files

FLAGS = flags.FLAGS

HEAD = """# {title}

By `projects/spaces/report_main.py`, from folders of `score_main`, whose commands stand in `projects/spaces/README.md`;
`results.csv` holds the same rows. rho is Spearman's, tau Kendall's, with 95 % bootstrap intervals over the
architectures; nDCG that of the tenth that is ranked first, gains 2^a - 1, accuracies a scaled to [0, 1]. "Among alike":
the share of pairs ranked right minus that ranked wrong, of pairs with as many convolutions, of transformers with equal
depth and width. "Ten best" is the mean accuracy of the ten that the proxy ranks first, "regret" the best accuracy minus
that of the first; "printed" NAS-Bench-Suite-Zero's figure for 1,000 other networks of the space, of transformers that
of NCD's supplement, Table 2; "below" names the controls whose rho is higher. Undefined scores rank last.

![rho of all proxies on all spaces](overview.png)
"""


def section(whole: Scored, scored: Scored, rows: list[comparison.Row]) -> list[str]:
    """What is said of a folder: of all its architectures, of the different ones among them, which are compared."""
    settings, truth, run = (whole.report[key] for key in ("settings", "benchmark", "run"))
    task = f", task {settings['task']} (targets: {settings['targets']})" if "task" in settings else ""
    count, all_of_them = len(scored.archs), len(whole.archs)
    same = f", {count} different networks, which are compared" if count < all_of_them else ""
    return [
        f"## {whole.space}{task}",
        "",
        f"{all_of_them} architectures{same}; pictures {pathlib.Path(settings['dataset']).name}, batch "
        f"{settings['batch_size']}, seed {settings['seed']}, {settings['init']}; {settings['num_classes']} outputs. "
        f"Truth: {truth['column']} of {truth['name']}, best of these {scored.accuracy.max():.4f}, mean "
        f"{scored.accuracy.mean():.4f}. {run.get('num_compilations', 0)} programs in the last run.",
        "",
        comparison.as_markdown(rows),
        "",
    ]


def define_flags() -> None:
    """The flags of this binary."""
    flags.DEFINE_list("folders", [], "Folders of score_main, separated by commas.")
    flags.DEFINE_string("tables", ".", "Folder of the tables of trained accuracy that the runs were held against.")
    flags.DEFINE_string("out", "benchmarks/spaces", "Folder of what is written.")
    flags.DEFINE_string("title", "Proxies on the convolutional spaces", "Of the page.")


def main(_: list[str]) -> None:
    """Reads the folders, writes the page, the table and the pictures."""
    if not FLAGS.folders:
        raise app.UsageError("--folders: at least one is needed")
    lines, tables, out = [HEAD.format(title=FLAGS.title)], pathlib.Path(FLAGS.tables), pathlib.Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    every: list[comparison.Row] = []
    spaces: dict[str, dict[str, Scored]] = {}
    for folder in map(pathlib.Path, FLAGS.folders):
        whole = read(folder, tables)
        scored = distinct(whole)
        rows = comparison.compare(scored)
        every += rows
        name = f"scores-{folder.name}.png"
        pictures.agreement(out / name, scored)
        lines += [*section(whole, scored, rows), f"![scores among each other]({name})", ""]
        line = scored.task or scored.report["settings"].get("space_source") or scored.report["benchmark"]["column"]
        spaces.setdefault(scored.report["settings"]["space"], {})[line] = scored
    pictures.overview(out / "overview.png", every)
    documents.write_csv(out / "results.csv", comparison.as_records(every))
    for space, of_space in spaces.items():
        if pictures.by_convolutions(out / f"{space}.png", of_space):
            lines += [f"## {space}, by number of convolutions", "", f"![{space}]({space}.png)", ""]
    with files.replacing(out / "RESULTS.md") as temporary:
        pathlib.Path(temporary).write_text("\n".join(lines).rstrip() + "\n")
    print(f"written: {out}/RESULTS.md, results.csv and pictures; {len(FLAGS.folders)} spaces and tasks")


if __name__ == "__main__":
    define_flags()
    app.run(main)

"""Runs the WRCor paper's experiments on the response family and writes benchmarks/RESULTS.md beside its numbers.

    python perf/reproduce_response_family.py --shared=../shared --out=results/response_family

Needs a folder with the pictures and the table: data/{cifar10_subset,cifar100_subset,imagenet16_120_standin}.npz and
data/nasbench201.csv.gz. Resumable: every experiment is a `score_main` run with a folder of its own. About half an
hour on two cores.
"""

import json
import pathlib
import subprocess
import sys

from absl import app, flags
from tabulate import tabulate

FLAGS = flags.FLAGS
flags.DEFINE_string("shared", "../shared", "Folder that holds data/.")
flags.DEFINE_string("out", "results/response_family", "Folder of the runs.")
flags.DEFINE_string("document", "benchmarks/RESULTS.md", "What to write.")

C10, C100, IM120 = "cifar10_subset.npz", "cifar100_subset.npz", "imagenet16_120_standin.npz"
FIRST = "--archs=0:300"
# name, pictures, column, flags, {proxy: the paper's Spearman (Tables 2 to 6 and Section 4.4)}
EXPERIMENTS = (
    (
        "first 1,000 indices",
        C10,
        "cifar10_test_200",
        ["--archs=0:1000"],
        {"acor": 0.787, "rcor": 0.803, "wrcor": 0.811},
    ),
    ("weighting linear", C10, "cifar10_test_200", [FIRST, "--weighting=linear"], {"wrcor": 0.805}),
    ("weighting quad", C10, "cifar10_test_200", [FIRST, "--weighting=quad"], {"wrcor": 0.806}),
    ("weighting expt2b", C10, "cifar10_test_200", [FIRST, "--weighting=expt2b"], {"wrcor": 0.800}),
    (
        "weighting expb2t, and none (rcor)",
        C10,
        "cifar10_test_200",
        [FIRST],
        {"wrcor": 0.811, "rcor": 0.803, "acor": 0.787},
    ),
    ("init kaiming_normal", C10, "cifar10_test_200", [FIRST, "--init=kaiming_normal"], {"acor": 0.775, "wrcor": 0.805}),
    ("init normal", C10, "cifar10_test_200", [FIRST, "--init=normal"], {"acor": 0.766, "wrcor": 0.796}),
    ("noise as input", "noise", "cifar10_test_200", [FIRST], {"wrcor": 0.784}),
    ("batch 32", C10, "cifar10_test_200", [FIRST, "--batch_size=32"], {"acor": 0.781, "wrcor": 0.797}),
    ("batch 128", C10, "cifar10_test_200", [FIRST, "--batch_size=128"], {"acor": 0.780, "wrcor": 0.818}),
    ("CIFAR-100", C100, "cifar100_test_200", [FIRST], {"acor": 0.823, "wrcor": 0.846}),
    ("ImageNet16-120 stand-in", IM120, "imagenet16_120_test_200", [FIRST], {"acor": 0.790, "wrcor": 0.822}),
)

INTRODUCTION = """# Response family on NAS-Bench-201

Spearman's rho of each proxy with the 200-epoch test accuracy of NAS-Bench-201 (mean over seeds), with the 95 %
bootstrap interval over architectures. "Paper" is what the WRCor paper prints, from other batches, other
initialisations and the test accuracy of the train/valid split; its numbers are for the first 1,000 indices where ours
are for the first 300 (Tables 3 to 6), so a difference within the interval says nothing. CIFAR-10 and CIFAR-100 are
subsets of 10,000 and 5,000 pictures, ImageNet16-120 is a stand-in of 2,400 pictures of 120 classes at 16 x 16.
"No score" counts the cells without a finite score; they rank last.

Made by `python perf/reproduce_response_family.py`; the command of each row is below the table.
"""


def main(_: list[str]) -> None:
    """Runs what is missing and writes the document."""
    data = pathlib.Path(FLAGS.shared) / "data"
    rows, commands = [], []
    for name, pictures, column, extra, paper in EXPERIMENTS:
        out = pathlib.Path(FLAGS.out) / "".join(c if c.isalnum() else "-" for c in name)
        dataset = pictures if pictures == "noise" else str(data / pictures)
        arguments = ["--proxies=acor,gcor,rcor,wrcor", f"--dataset={dataset}", *extra]
        arguments += [f"--benchmark={data / 'nasbench201.csv.gz'}", f"--benchmark_column={column}"]
        commands.append(f"score_main {' '.join(arguments)}")
        subprocess.run([sys.executable, "-m", "zsnas_jax.score_main", *arguments, f"--out={out}"], check=True)
        report = json.loads((out / "report.json").read_text())
        for proxy, entry in report["proxies"].items():
            if proxy != "wrcor" and "--weighting" in " ".join(extra):
                continue  # the weighting touches WRCor alone
            rho, printed = entry["spearman"], paper.get(proxy)
            rows.append(
                {
                    "experiment": name,
                    "proxy": proxy,
                    "paper": printed if printed is None else f"{printed:.3f}",
                    "ours": f"{rho['value']:.3f}",
                    "95 % interval": f"[{rho['low']:.3f}, {rho['high']:.3f}]",
                    "difference": "" if printed is None else f"{rho['value'] - printed:+.3f}",
                    "top 10 accuracy": f"{100 * entry['top_mean_accuracy']:.2f}",
                    "no score": entry["degenerate"],
                }
            )
    table = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    listing = "\n".join(f"{i}. `{command}`" for i, command in enumerate(commands, 1))
    version = ", ".join(f"{k} {v}" for k, v in report["versions"].items())
    text = f"{INTRODUCTION}\n{table}\n\n## Commands\n\n{listing}\n\nVersions: {version}; {report['device']['kind']}.\n"
    pathlib.Path(FLAGS.document).write_text(text)


if __name__ == "__main__":
    app.run(main)

"""Puts the results of several machines into one folder.

    score_main --archs=all --shard=1/8 --out=part1        # on the first machine, and so on to 8/8
    merge_main part1 part2 part3 part4 part5 part6 part7 part8 --out=whole
    score_main --archs=all --out=whole                    # scores what is missing, and writes the reports

Folders of other settings are refused, and so are two that disagree on a score; what is missing is said.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from zsnas_jax import command

    command.run("zsnas_jax.merge_main")

from collections.abc import Sequence

from absl import flags as absl_flags

from zsnas_jax.arguments import Subject
from zsnas_jax.runs.merging import merge

FLAGS = absl_flags.FLAGS
MERGING = Subject("The merge")
ARGUMENTS = "DIR ..."


def define_flags() -> None:
    """The flags of this binary."""
    MERGING.path("out", None, "The folder that all scores are put into.")


def main(folders: Sequence[str]) -> None:
    """Merges the folders, says what there is.

    Args:
        folders: of score_main.
    """
    if not folders or not FLAGS.out:
        raise ValueError("needed are results folders of score_main, and --out=FOLDER that takes them all")
    found = merge(folders, FLAGS.out)
    for label, count in found.counts.items():
        lacking = "" if count == found.num_archs else f", {found.num_archs - count} are missing"
        print(f"{label}: {count} architectures{lacking}")
    if found.missing:
        print(f"missing shards: {', '.join(found.missing)}")
    print(f"written: {FLAGS.out}; score_main with the flags of the runs and --out={FLAGS.out} writes the reports")

"""The binary on synthetic tables, for Tables 7 to 9."""

import re

from made_up import (
    OWN_VOTE,
    Flags,
    live_report,
    made_up_scores,
    make_runner,
    rows_of,
    scores201,
    truth101_table,
    truth201,
)
import pytest

from projects.wrcor import layout, reproduce_main, searches, table7
from zsnas_jax import flags
from zsnas_jax.runs import scores as run_scores

DEFAULTS = {
    "table": [], "num_architectures": 100, "batch_size": 4, "seed": 0, "cifar10": "noise", "cifar100": "none",
    "imagenet16_120": "none", "slow": False, "data_dir": None, "num_seeds": 3,
    "live_reports": [], "nasbench101_valid": None, "candidates_per_step": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    truth201().save(folder / "truth.npz")
    scores201().save(folder / "scores.npz")
    truth101_table().save(folder / "truth101.npz")
    live_report(folder / "report.json")
    return folder


def main(monkeypatch, tables, out, **given):
    paths = {"benchmark": "truth.npz", "scores": "scores.npz", "nasbench101": "truth101.npz"}
    paths = {name: str(tables / path) for name, path in paths.items()}
    values = DEFAULTS | paths | {"out": str(out)} | given
    monkeypatch.setattr(reproduce_main, "FLAGS", Flags(**values))
    monkeypatch.setattr(flags, "configure", lambda: None)
    monkeypatch.setattr(flags, "num_together", lambda: 1)
    reproduce_main.main()


@pytest.mark.parametrize("is_real", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_binary_writes_tables_7_to_9(monkeypatch, tables, tmp_path, capsys, is_real):
    if not is_real:  # searches of JAX take long to compile, and documents to write after every group
        monkeypatch.setattr(searches, "make_runner", make_runner)
        quick = tuple(name for group in table7.GROUPS for name in group if name not in layout.SLOW)
        monkeypatch.setattr(table7, "GROUPS", (quick, layout.SLOW))
    monkeypatch.setattr(run_scores, "score_archs", made_up_scores)
    report = str(tables / "report.json")
    main(monkeypatch, tables, tmp_path, table=["8", "9", "7"], live_reports=[report])
    said = capsys.readouterr().out
    assert said.index("table 9: 9 of 9") < said.index("table 7: ") < said.index("table 8: 13 of 13")
    last = said.splitlines()[-1]
    assert last.endswith("table9_maxima.csv, table7.md, table7.csv, table8.md, table8.csv, table8_cells.csv")
    rows = rows_of(tmp_path, "table8")  # over the cells that Table 7 has scored a moment ago
    assert next(row["ours"] for row in rows if row["row"] == f"R-{OWN_VOTE}")
    assert next(row["score"] for row in rows if row["how"] == "random over 100 scored cells") == "wrcor"
    assert {row["row"] for row in rows if row["how"].startswith("live")} == {"RE-WRCor"}
    grasp = [row for row in rows_of(tmp_path, "table7") if row["score"] == "grasp" and row["condition"] == "NB101"]
    assert grasp[0]["ours"] == ""  # slow


def test_a_group_that_fails_ends_in_an_error_after_the_rest(monkeypatch, tables, tmp_path):
    def score_archs(store, space, archs, proxies, *args, **options):
        if proxies[0].name == "synflow":
            raise RuntimeError("no memory")
        made_up_scores(store, space, archs, proxies)

    monkeypatch.setattr(run_scores, "score_archs", score_archs)
    with pytest.raises(ValueError, match="1 runs failed: the tables say which and why"):
        main(monkeypatch, tables, tmp_path, table=["7"])
    assert "- failed: synflow: no memory" in (tmp_path / "table7.md").read_text()


BAD = [
    ({"table": ["10"]}, "table '10': allowed are 2, 3, 4, 5, 6, 7, 8, 9"),
    ({"table": ["7"], "nasbench101": None}, "tables 7 and 8 need --nasbench101, the published .tfrecord or an .npz"),
    ({"table": ["7"], "cifar10": "none"}, "table 7 cannot be computed: no pictures of cifar10 were given"),
    ({"table": ["9"], "num_architectures": 20}, "num_architectures is 20: a search needs at least 100"),
    ({"table": ["8"], "num_seeds": 0}, "num_seeds is 0: at least 1 is needed"),
    ({"table": ["9"], "scores": "nothing"}, "unknown benchmark 'nothing': allowed are"),
    ({"table": ["8"], "live_reports": ["nothing.json"]}, "nothing.json"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_bad_flags_end_before_anything_is_written(monkeypatch, tables, tmp_path, given, message):
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        main(monkeypatch, tables, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_without_a_table_of_scores_the_validation_accuracy_is_searched(monkeypatch, tables, tmp_path):
    monkeypatch.setattr(searches, "make_runner", make_runner)
    main(monkeypatch, tables, tmp_path, table=["9"], scores="none")
    rows = {row["row"] for row in rows_of(tmp_path, "table9") if row["ours"]}
    assert rows == {"R-ValAcc", "RL-ValAcc", "RE-ValAcc", "Optimum"}
    assert "the table of scores (none) lacks wrcor, synflow" in (tmp_path / "table9.md").read_text()

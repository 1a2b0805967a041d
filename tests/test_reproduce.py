"""The paper's tables: their figures, their cells, and documents of a small study, whole, in part, and resumed."""

import csv
import dataclasses
import re

import conftest
import golden
import numpy as np
import pytest
import tiny

from projects.wrcor import comparison, paper, study
from projects.wrcor import tables as paper_tables
from projects.wrcor.materials import Materials, Pictures, open_pictures
from zsnas_jax import datasets, votes
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.proxies import PROXIES, WEIGHTINGS
from zsnas_jax.reports import metrics
from zsnas_jax.runs import ranking
from zsnas_jax.runs.ranking import ScoreSettings
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage import files

BASE = ScoreSettings(batch_size=4)
GROUPS = (("params",), ("pnorm",))  # which compile in no time
NUM_ARCHS = 6
NAN = float("nan")


def truth():
    """Accuracies that mean nothing: CIFAR-10 and CIFAR-100, the validation accuracy of the former alone."""
    rng = np.random.default_rng(0)
    names = ("cifar10_test_200_mean", "cifar10_valid_12_single", "cifar100_test_200_mean")
    columns = {name: rng.random(nasbench201.NUM_ARCHS, np.float32) for name in names}
    return TabularBenchmark(columns, "nasbench201", "made-up", "a table of noise", "abc")


def materials(out, names=("cifar10", "cifar100", "imagenet16_120")):
    pictures = {name: Pictures("small", datasets.noise(image_size=8), "f00d") for name in names}
    return Materials(tiny.space(), pictures, truth(), out)


def rows_of(folder, name):
    with open(folder / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


# The figures


def test_the_figures_are_the_ones_that_their_docstring_names():
    assert files.sha256(paper.FILE) in paper.__doc__.replace("\n", " ")
    assert "paper_tables.csv" in (conftest.ROOT / "setup.py").read_text()


def test_the_figures_are_the_published_ones():
    assert paper.FILE.read_bytes() == golden.shared_file("data/paper_tables_2_to_7.csv").read_bytes()


def test_every_row_of_the_figures_has_a_name_of_ours():
    for table in range(2, 8):
        known = paper.WEIGHTINGS if table == 3 else paper.NAMES
        figures = paper.paper_figures(table)
        assert {row for row, _ in figures} == set(known), table
        assert all(np.isnan(rho) or 0 <= rho < 1 for (_, column), rho in figures.items() if column not in ("Δ", "%"))
    assert set(paper.NAMES.values()) <= {*PROXIES, *votes.VOTES, paper.VALIDATION_ACCURACY}
    assert set(paper.WEIGHTINGS.values()) == set(WEIGHTINGS) and len(set(paper.NAMES.values())) == 26


def test_every_column_of_the_figures_is_in_a_table_or_left_out_with_a_reason():
    for number in range(2, 8):
        figures = paper.paper_figures(number)
        left = {(row, column) for row, column in figures if (number, column) in paper.NOT_COVERED}
        cells = paper_tables.make_table(number, BASE).cells if number != 7 else ()
        ours = {(cell.row, cell.column) for cell in cells if cell.row}
        carried = {(row, "real") for row, _ in figures} if number == 2 else set()
        assert ours | left | carried == set(figures) and not ours & left
    assert all(paper.NOT_COVERED.values())


def test_figures_are_read_as_they_are_printed():
    assert paper.paper_figures(2)["WRCor", "est."] == 0.811 and paper.paper_figures(4)["SJW", "im120"] == 0.847
    assert np.isnan(paper.paper_figures(2)["ZiCo", "est."])
    with pytest.raises(ValueError, match=r"table 8 of the WRCor paper is not carried: allowed are 2, 3, 4, 5, 6, 7"):
        paper.paper_figures(8)


# The tables


def test_the_tables_vary_what_the_paper_varies():
    every = {number: paper_tables.make_table(number, BASE).runs for number in paper_tables.TABLES}
    assert [len(every[number]) for number in (2, 3, 4, 5, 6)] == [2, 4, 6, 6, 6]  # EPE's second measured resamples
    runs = {number: [run for run in every[number] if not run.settings.resample] for number in every}
    assert [len(runs[number]) for number in (2, 3, 4, 5, 6)] == [1, 4, 3, 3, 3]
    assert {run.settings.weighting for run in runs[3]} == {"linear", "quad", "expb2t", "expt2b"}
    assert [run.dataset for run in runs[4]] == ["cifar10", "cifar100", "imagenet16_120"]
    assert [run.settings.batch_size for run in runs[5]] == [32, 64, 128]
    assert [run.settings.init for run in runs[6]] == ["kaiming_uniform", "kaiming_normal", "normal"]
    assert [paper_tables.make_table(number, BASE).num_archs for number in paper_tables.TABLES] == [
        1000,
        1000,
        1000,
        300,
        300,
    ]
    assert paper_tables.make_table(5, BASE, 20).num_archs == 20
    weightings = {
        cell.row: (cell.score, cell.run.settings.weighting) for cell in paper_tables.make_table(3, BASE).cells
    }
    assert weightings["no (RCor)"] == ("rcor", "expb2t") and weightings["quad"] == ("wrcor", "quad")


@pytest.mark.parametrize(
    ("number", "count", "message"),
    [
        (7, 0, "table 7 is not one of 2, 3, 4, 5, 6"),
        (2, -1, "num_architectures is -1: allowed are 0"),
        (2, 1, "num_architectures is 1: allowed are 0 (each table's own) and 2 or more"),
    ],
)
def test_a_table_that_is_not_there_is_refused(number, count, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        paper_tables.make_table(number, BASE, count)


def test_every_proxy_of_the_tables_is_in_one_group():
    named = [name for group in paper_tables.GROUPS for name in group]
    needed = {
        name for n in paper_tables.TABLES for cell in paper_tables.make_table(n, BASE).cells for name in cell.proxies
    }
    assert len(set(named)) == len(named) and set(named) == needed
    assert all((name,) in paper_tables.GROUPS for name in paper_tables.SLOW)


def test_a_plan_shares_runs_and_ends_with_what_is_slow():
    base = ScoreSettings()
    tables = [paper_tables.make_table(number, base) for number in (2, 3, 4, 5)]
    steps = paper_tables.plan(tables, ["cifar10", "cifar100"])
    assert len(set(steps)) == len(steps)
    slow = [bool(set(step.proxies) & set(paper_tables.SLOW)) for step in steps]
    assert slow == sorted(slow) and any(slow)
    assert {step.run.dataset for step in steps} == {"cifar10", "cifar100"}
    shared = [step for step in steps if step.run == paper_tables.Run("cifar10", base) and "wrcor" in step.proxies]
    assert [step.num_archs for step in shared] == [1000, 300]  # Tables 2, 3 and 4; Table 5
    linear = [step for step in steps if step.run.settings.weighting == "linear"]
    assert [step.proxies for step in linear] == [("wrcor",)]
    fast = [group for group in paper_tables.GROUPS if not set(group) & set(paper_tables.SLOW)]
    assert not any(set(step.proxies) & set(paper_tables.SLOW) for step in paper_tables.plan(tables, ["cifar10"], fast))


def test_a_row_with_two_readings_stands_twice_beside_one_figure():
    for number in (2, 4, 5, 6):
        cells = [cell for cell in paper_tables.make_table(number, BASE).cells if cell.row == "Phi"]
        columns = {name: [c.column for c in cells if c.score == name] for name in ("phi", "phi_bn")}
        assert columns["phi"] == columns["phi_bn"] and len(cells) == 2 * len(columns["phi"])


def test_a_second_reading_may_be_another_run():
    table = paper_tables.make_table(4, BASE)
    runs = {
        name: [c.run for c in table.cells if c.row == "EPE" and c.score == name] for name in ("epe", "epe:resample")
    }
    resampled = [run and run._replace(settings=dataclasses.replace(run.settings, resample=True)) for run in runs["epe"]]
    assert runs["epe:resample"] == resampled and None in resampled  # the summaries
    steps = paper_tables.plan([table], ["cifar100"])
    assert [step.proxies for step in steps if step.run.settings.resample] == [("epe",)]


# Lines


def test_an_outcome_is_turned_by_its_sign_and_compared_with_the_paper():
    outcome = comparison.Outcome(metrics.Interval(-0.5, -0.7, -0.2), 3, 0.9)
    lines = [
        comparison.Line("SNIP", "snip", "c10", 0.6, NAN, outcome),
        comparison.Line("Zen", "zen", "c10", 0.8, NAN, outcome),
        comparison.Line("", "sjw:rank_sum", "c10", NAN, NAN, outcome._replace(rho=metrics.Interval(NAN, NAN, NAN))),
        comparison.Line("GraSP", "grasp", "c10", 0.1, NAN, None),
    ]
    assert comparison.as_csv(lines).splitlines() == [
        "row,score,condition,paper,ours,sign,low,high,difference,paper_in_interval,num_undefined,top_accuracy",
        "SNIP,snip,c10,0.6,0.5,-,0.2,0.7,-0.1,yes,3,0.9",
        "Zen,zen,c10,0.8,0.5,-,0.2,0.7,-0.3,no,3,0.9",
        ",sjw:rank_sum,c10,,nan,,,,,,3,0.9",
        "GraSP,grasp,c10,0.1,,,,,,,,",
    ]
    table = comparison.as_markdown(lines)
    assert "| [0.200, 0.700]  | -0.100       | yes " in table and "| undefined |" in table and "90.00 %" in table
    whole = lines[0]._replace(paper_all_cells=0.55)
    assert "paper, all cells" in comparison.as_markdown([whole]) and "paper_all_cells" in comparison.as_csv([whole])


def test_a_row_is_summed_up_over_sizes_of_rho():
    outcomes = [comparison.Outcome(metrics.Interval(value, NAN, NAN), 0, 0.5) for value in (0.684, -0.712, 0.711)]
    summary = comparison.summarise(outcomes)
    assert [round(summary[name].rho.value, 3) for name in ("avg.", "std.")] == [0.702, 0.013]  # as Table 4 of PNorm
    row = comparison.as_csv([comparison.Line("PNorm", "pnorm", "avg.", 0.702, NAN, summary["avg."])]).splitlines()[1]
    assert row == "PNorm,pnorm,avg.,0.702,0.702333333,,,,0.000333333333,,,"


# A study


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Tables 2 and 4 on six cells of a tiny network: (folder, study, lines of progress)."""
    out = tmp_path_factory.mktemp("study") / "out"
    tables = [paper_tables.make_table(number, BASE, NUM_ARCHS) for number in (2, 4)]
    said = []
    made = study.reproduce(tables, materials(out), groups=GROUPS, say=said.append)
    return out, made, said


def test_a_study_leaves_a_table_with_our_figures_beside_the_papers(finished):
    out, made, said = finished
    rows = {row["score"]: row for row in rows_of(out, "table2")}
    done = {score for score, row in rows.items() if row["ours"]}
    assert done == {"pnorm", "params", "valacc"}
    run = next(iter(made.tables[0].runs))
    values = made.scores(run, "pnorm", NUM_ARCHS)
    accuracy = truth().columns["cifar10_test_200_mean"][:NUM_ARCHS]
    rho = metrics.spearman(values, accuracy)
    assert float(rows["pnorm"]["ours"]) == pytest.approx(abs(rho), abs=1e-6)
    assert rows["pnorm"]["sign"] == ("-" if rho < 0 else "+")
    assert float(rows["pnorm"]["difference"]) == pytest.approx(abs(rho) - 0.684, abs=2e-6)
    assert (rows["pnorm"]["paper"], rows["pnorm"]["paper_all_cells"]) == ("0.684", "0.684")
    assert (rows["zico"]["paper"], rows["zico"]["paper_all_cells"]) == ("", "0.8")
    assert float(rows["params"]["top_accuracy"]) == pytest.approx(accuracy.mean(), abs=1e-6)
    assert "run 2 of 4: cifar10, batch 4, kaiming_uniform, expb2t: pnorm; 6 architectures" in said
    assert f"table 2: {len(done)} of {len(rows)} rows done" in said


def test_its_document_names_data_seeds_and_time(finished):
    out, _, _ = finished
    text = (out / "table2.md").read_text()
    for part in (
        "first 6 indices",
        "f00d",
        "cifar10_test_200_mean",
        "kaiming_uniform",
        "a table of noise",
        "abc",
        "jax",
    ):
        assert part in text, part
    seconds = float(re.search(r"([\d.]+) on cpu *\|\n", text).group(1))
    assert seconds > 0
    assert "rows without a figure of ours: pgnorm, snip, grasp" in text


def test_what_cannot_be_computed_is_left_empty_with_a_reason(finished):
    out, _, _ = finished
    rows = {(row["score"], row["condition"]): row for row in rows_of(out, "table4")}
    assert rows["pnorm", "c10"]["ours"] and rows["pnorm", "c100"]["ours"]
    assert not any(rows["pnorm", column]["ours"] for column in ("im120", "avg.", "std."))
    assert rows["valacc", "c10"]["ours"] and not rows["valacc", "c100"]["ours"]
    text = (out / "table4.md").read_text()
    assert "- im120 left out: the benchmark made-up has no test accuracy on imagenet16_120\n" in text
    assert "- ValAcc: the benchmark made-up has no cifar100_valid_12\n" in text
    alone = materials(out, names=["cifar10"])
    study.Study([paper_tables.make_table(4, BASE, NUM_ARCHS)], alone).write(paper_tables.make_table(4, BASE, NUM_ARCHS))
    assert "- c100 left out: no pictures of cifar100 were given\n" in (out / "table4.md").read_text()


def test_a_finished_study_is_written_again_without_scoring(finished, monkeypatch, tmp_path):
    out, made, _ = finished
    before = (out / "table2.csv").read_bytes(), (out / "table2.md").read_bytes()
    (out / "table2.csv").unlink()
    monkeypatch.setattr(ranking, "score_archs", None)
    again = study.Study(made.tables[:1], materials(out))
    again.write(made.tables[0])
    assert ((out / "table2.csv").read_bytes(), (out / "table2.md").read_bytes()) == before
    fewer = paper_tables.make_table(2, BASE, 4)
    moved = dataclasses.replace(materials(out), out=tmp_path)
    assert study.Study([fewer], moved).write(fewer).startswith("table 2: 1 of ")  # the validation accuracy
    assert study.Study([fewer], materials(out)).write(fewer) == again.write(made.tables[0])


def made_up_scores(store, space, archs, proxies, *args, **options):
    """Stands in for the scorer."""
    values = np.random.default_rng(len(proxies)).standard_normal((len(archs), len(proxies)))
    store.add([space.encode(arch) for arch in archs], [proxy.name for proxy in proxies], values)


def test_complete_tables_hold_every_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(ranking, "score_archs", made_up_scores)
    names = [
        f"{name}_{kind}" for name in ("cifar10", "cifar100", "imagenet16_120") for kind in ("test_200", "valid_12")
    ]
    columns = {name: np.random.default_rng(i).random(nasbench201.NUM_ARCHS) for i, name in enumerate(names)}
    with_all = dataclasses.replace(materials(tmp_path), benchmark=dataclasses.replace(truth(), columns=columns))
    tables = [paper_tables.make_table(number, ScoreSettings(), 40) for number in paper_tables.TABLES]
    said = []
    made = study.reproduce(tables, with_all, say=said.append)
    assert not made.failures
    for table, rows in zip(tables, (34, 5, 158, 158, 158), strict=True):
        assert f"table {table.number}: {rows} of {rows} rows done" in said
        assert "left out" not in (tmp_path / f"table{table.number}.md").read_text()
    run = next(iter(tables[0].runs))
    accuracy = columns["cifar10_test_200"][:40]
    rows = {row["score"]: row for row in rows_of(tmp_path, "table2")}
    for name, method in (("sjw", "copeland"), ("sjw", "rank_sum"), ("zerocost", "comparator")):
        ballot = votes.make_vote(name, method)
        values = votes.vote(ballot, {expert: made.scores(run, expert, 40) for expert in ballot.experts})
        assert float(rows[ballot.name]["ours"]) == pytest.approx(abs(metrics.spearman(values, accuracy)), abs=1e-6)
    rows = {row["condition"]: float(row["ours"]) for row in rows_of(tmp_path, "table6") if row["row"] == "BT"}
    assert rows["avg."] == pytest.approx(np.mean([rows[c] for c in ("uniform", "normal", "n01")]), abs=1e-6)
    assert rows["std."] == pytest.approx(np.std([rows[c] for c in ("uniform", "normal", "n01")]), abs=1e-6)


def test_a_run_that_fails_takes_nothing_with_it(tmp_path, monkeypatch):
    def score_archs(store, space, archs, proxies, *args, **options):
        if proxies[0].name == "synflow":
            raise RuntimeError("proxy synflow fails on every architecture:\n no memory")
        made_up_scores(store, space, archs, proxies)

    monkeypatch.setattr(ranking, "score_archs", score_archs)
    table = paper_tables.make_table(2, BASE, NUM_ARCHS)
    made = study.reproduce(
        [table], materials(tmp_path), groups=(("synflow",), ("pnorm", "snip")), say=lambda line: None
    )
    assert list(made.failures.values()) == ["proxy synflow fails on every architecture: no memory"]
    text = (tmp_path / "table2.md").read_text()
    assert "- failed: synflow of cifar10, batch 4, kaiming_uniform, expb2t: proxy synflow fails on every" in text
    assert {row["score"] for row in rows_of(tmp_path, "table2") if row["ours"]} == {"pnorm", "snip", "valacc"}


def test_more_architectures_than_there_are_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"num_architectures is 20000: nasbench201 has 15625 in its order"):
        study.Study([paper_tables.make_table(2, BASE, 20_000)], materials(tmp_path))


def test_the_accuracy_is_the_papers_where_the_benchmark_has_it(tmp_path):
    values = np.zeros(nasbench201.NUM_ARCHS, np.float32)
    names = ("cifar10_test_200_mean", "cifar10split_test_200_mean", "cifar10split_test_200_seed777")
    made = materials(tmp_path)
    with_split = TabularBenchmark(dict.fromkeys(names, values), "nasbench201", "nats", "archive", "")
    assert dataclasses.replace(made, benchmark=with_split).accuracy_column("cifar10") == "cifar10split_test_200_mean"
    single = TabularBenchmark({"cifar10_test_unstated_single": values}, "nasbench201", "analog", "", "")
    assert dataclasses.replace(made, benchmark=single).accuracy_column("cifar10") == "cifar10_test_unstated_single"
    assert dataclasses.replace(made, benchmark=single).accuracy_column("cifar100") is None


def test_pictures_of_a_file_are_named_with_its_hash(tmp_path):
    path = tmp_path / "small.npz"
    np.savez(path, x_train=np.zeros((20, 8, 8, 3), np.uint8), y_train=np.arange(20))
    pictures = open_pictures("cifar100", str(path))
    assert (pictures.name, pictures.source.num_classes, pictures.sha256) == ("small", 100, files.sha256(path))
    with pytest.raises(ValueError, match="label 19 does not fit 10 classes"):
        open_pictures("cifar10", str(path))
    assert open_pictures("imagenet16_120", "noise").sha256 is None

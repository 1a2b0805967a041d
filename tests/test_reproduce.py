"""Tables 2 to 6: the figures, the layout, and documents of small runs, whole, in part, and gone on with."""

import dataclasses
import re
import time

import golden
from made_up import made_up_scores, rows_of
import numpy as np
import pytest
import tiny

from projects.wrcor import correlations, layout, paper, tables_2_to_6
from projects.wrcor.inputs import Inputs
from projects.wrcor.pictures import Pictures, open_pictures
from projects.wrcor.scored_runs import ScoredRuns
from zsnas_jax import datasets, votes
from zsnas_jax.benchmarks import TabularBenchmark
from zsnas_jax.proxies import PROXIES, WEIGHTINGS
from zsnas_jax.proxies.labels import parse
from zsnas_jax.reports import metrics
from zsnas_jax.runs import scores as run_scores
from zsnas_jax.runs.settings import ScoreSettings
from zsnas_jax.search_spaces import nasbench201
from zsnas_jax.storage import files

BASE = ScoreSettings(batch_size=4)
GROUPS = (("params",), ("pnorm",))
NUM_ARCHS = 6
NAN = float("nan")


def truth():
    """Accuracies that mean nothing: CIFAR-10 and CIFAR-100, the validation accuracy of the former alone."""
    rng = np.random.default_rng(0)
    names = ("cifar10_test_200_mean", "cifar10_valid_12_single", "cifar100_test_200_mean")
    columns = {name: rng.random(nasbench201.NUM_ARCHS, np.float32) for name in names}
    return TabularBenchmark(columns, "nasbench201", "made-up", "a table of noise", "abc")


def inputs(out, names=("cifar10", "cifar100", "imagenet16_120")):
    pictures = {name: Pictures("small", datasets.noise(image_size=8), "f00d") for name in names}
    return Inputs(tiny.space(), pictures, truth(), out)


# The figures


def test_the_figures_are_the_ones_that_their_docstring_names():
    assert files.sha256(paper.FILE) in paper.__doc__.replace("\n", " ")


def test_the_figures_are_the_published_ones():
    assert paper.FILE.read_bytes() == golden.shared_file("data/paper_tables_2_to_7.csv").read_bytes()


def test_every_row_of_the_figures_has_a_name_of_ours():
    for table in range(2, 8):
        known = paper.WEIGHTED if table == 3 else paper.NAMES
        figures = paper.paper_figures(table)
        assert {row for row, _ in figures} == set(known), table
        assert all(np.isnan(rho) or 0 <= rho < 1 for (_, column), rho in figures.items() if column not in ("Δ", "%"))
    assert set(paper.NAMES.values()) <= {*PROXIES, *votes.VOTES, paper.VALIDATION_ACCURACY}
    assert {parse(label).settings["weighting"] for label in paper.WEIGHTED.values()} == set(WEIGHTINGS)
    assert len(set(paper.NAMES.values())) == 26


def test_every_column_of_the_figures_is_in_a_table_or_left_out_with_a_reason():
    for number in range(2, 8):
        figures = paper.paper_figures(number)
        left = {(row, column) for row, column in figures if (number, column) in paper.NOT_COVERED}
        entries = layout.make_table(number, BASE).entries if number != 7 else ()
        ours = {(entry.row, entry.column) for entry in entries if entry.row}
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
    every = {number: layout.make_table(number, BASE).runs for number in layout.TABLES}
    assert [len(every[number]) for number in (2, 3, 4, 5, 6)] == [2, 1, 6, 6, 6]  # EPE's second reading resamples
    runs = {number: [run for run in every[number] if not run.settings.resample] for number in every}
    assert [len(runs[number]) for number in (2, 3, 4, 5, 6)] == [1, 1, 3, 3, 3]
    assert [run.dataset for run in runs[4]] == ["cifar10", "cifar100", "imagenet16_120"]
    assert [run.settings.batch_size for run in runs[5]] == [32, 64, 128]
    assert [run.settings.init for run in runs[6]] == ["kaiming_uniform", "kaiming_normal", "normal"]
    assert [layout.make_table(number, BASE).num_archs for number in layout.TABLES] == [
        1000,
        1000,
        1000,
        300,
        300,
    ]
    assert layout.make_table(5, BASE, 20).num_archs == 20
    weighted = {entry.row: (entry.score, entry.shown) for entry in layout.make_table(3, BASE).entries}
    assert weighted["no (RCor)"] == ("rcor", "rcor") and weighted["expb2t (WRCor)"] == ("wrcor", "wrcor")
    assert weighted["quad"] == ("wrcor:weighting=quad", "wrcor")


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
        layout.make_table(number, BASE, count)


def test_every_proxy_of_the_tables_is_in_one_group():
    named = [name for group in layout.GROUPS for name in group]
    needed = {name for number in layout.TABLES for name in layout.make_table(number, BASE).proxies()}
    assert len(set(named)) == len(named) and set(named) == needed
    assert all((name,) in layout.GROUPS for name in layout.SLOW)


def test_a_plan_shares_runs_and_ends_with_what_is_slow():
    base = ScoreSettings()
    tables = [layout.make_table(number, base) for number in (2, 3, 4, 5)]
    steps = layout.plan(tables, ["cifar10", "cifar100"])
    assert len(set(steps)) == len(steps)
    slow = [bool(set(step.proxies) & set(layout.SLOW)) for step in steps]
    assert slow == sorted(slow) and any(slow)
    assert {step.run.dataset for step in steps} == {"cifar10", "cifar100"}
    shared = [step for step in steps if step.run == layout.Run("cifar10", base) and "wrcor" in step.proxies]
    assert [step.num_archs for step in shared] == [1000, 300]  # Tables 2, 3 and 4; Table 5
    linear = [step for step in steps if "wrcor:weighting=linear" in step.proxies]
    assert linear == shared[:1]  # every weighting in one folder, in the pass of the others
    fast = [group for group in layout.GROUPS if not set(group) & set(layout.SLOW)]
    assert not any(set(step.proxies) & set(layout.SLOW) for step in layout.plan(tables, ["cifar10"], fast))


def test_a_row_with_two_readings_stands_twice_beside_one_figure():
    for number in (2, 4, 5, 6):
        entries = [entry for entry in layout.make_table(number, BASE).entries if entry.row == "Phi"]
        columns = {name: [e.column for e in entries if e.score == name] for name in ("phi", "phi_bn")}
        assert columns["phi"] == columns["phi_bn"] and len(entries) == 2 * len(columns["phi"])


def test_a_second_reading_may_be_another_run():
    table = layout.make_table(4, BASE)
    entries = [entry for entry in table.entries if entry.row == "EPE"]
    runs = {shown: [e.run for e in entries if e.shown == shown] for shown in ("epe", "epe:resample")}
    assert {entry.score for entry in entries} == {"epe"}
    resampled = [run and run._replace(settings=dataclasses.replace(run.settings, resample=True)) for run in runs["epe"]]
    assert runs["epe:resample"] == resampled and None in resampled  # the summaries
    steps = layout.plan([table], ["cifar100"])
    assert [step.proxies for step in steps if step.run.settings.resample] == [("epe",)]


# Lines


def test_an_outcome_is_turned_by_its_sign_and_compared_with_the_paper():
    outcome = correlations.Outcome(metrics.Interval(-0.5, -0.7, -0.2), 3, 0.9)
    lines = [
        correlations.Line("SNIP", "snip", "c10", 0.6, NAN, outcome),
        correlations.Line("Zen", "zen", "c10", 0.8, NAN, outcome),
        correlations.Line("", "sjw:rank_sum", "c10", NAN, NAN, outcome._replace(rho=metrics.Interval(NAN, NAN, NAN))),
        correlations.Line("GraSP", "grasp", "c10", 0.1, NAN, None),
    ]
    assert correlations.as_csv(lines).splitlines() == [
        "row,score,condition,paper,ours,sign,low,high,difference,paper_in_interval,num_undefined,top_accuracy",
        "SNIP,snip,c10,0.6,0.5,-,0.2,0.7,-0.1,yes,3,0.9",
        "Zen,zen,c10,0.8,0.5,-,0.2,0.7,-0.3,no,3,0.9",
        ",sjw:rank_sum,c10,,nan,,,,,,3,0.9",
        "GraSP,grasp,c10,0.1,,,,,,,,",
    ]
    table = correlations.as_markdown(lines)
    assert "| [0.200, 0.700]  | -0.100       | yes " in table and "| undefined |" in table and "90.00 %" in table
    whole = lines[0]._replace(paper_all_cells=0.55)
    assert "paper, all cells" in correlations.as_markdown([whole]) and "paper_all_cells" in correlations.as_csv([whole])


def test_a_row_is_summed_up_over_sizes_of_rho():
    outcomes = [correlations.Outcome(metrics.Interval(value, NAN, NAN), 0, 0.5) for value in (0.684, -0.712, 0.711)]
    summary = correlations.summarise(outcomes)
    assert [round(summary[name].rho.value, 3) for name in ("avg.", "std.")] == [0.702, 0.013]  # as Table 4 of PNorm
    row = correlations.as_csv([correlations.Line("PNorm", "pnorm", "avg.", 0.702, NAN, summary["avg."])]).splitlines()[
        1
    ]
    assert row == "PNorm,pnorm,avg.,0.702,0.702333333,,,,0.000333333333,,,"


# Documents


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Tables 2 and 4 on made-up scores of six cells: (folder, tables, scores, lines of progress)."""
    out = tmp_path_factory.mktemp("tables") / "out"
    tables = [layout.make_table(number, BASE, NUM_ARCHS) for number in (2, 4)]
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_scores, "score_archs", timed_scores)
        scored = tables_2_to_6.reproduce(tables, inputs(out), groups=GROUPS, say=said.append)
    return out, tables, scored, said


def timed_scores(store, space, archs, proxies, *args, progress, **options):
    made_up_scores(store, space, archs, proxies)
    with progress(total=len(archs)) as bar:
        time.sleep(0.1)
        bar.update(len(archs))


def test_a_table_has_our_figures_beside_the_papers(finished):
    out, tables, scored, said = finished
    rows = {row["score"]: row for row in rows_of(out, "table2")}
    done = {score for score, row in rows.items() if row["ours"]}
    assert done == {"pnorm", "params", "valacc"}
    run = next(iter(tables[0].runs))
    values = scored.scores(run, "pnorm", NUM_ARCHS)
    accuracy = truth().columns["cifar10_test_200_mean"][:NUM_ARCHS]
    rho = metrics.spearman(values, accuracy)
    assert float(rows["pnorm"]["ours"]) == pytest.approx(abs(rho), abs=1e-6)
    assert rows["pnorm"]["sign"] == ("-" if rho < 0 else "+")
    assert float(rows["pnorm"]["difference"]) == pytest.approx(abs(rho) - 0.684, abs=2e-6)
    assert (rows["pnorm"]["paper"], rows["pnorm"]["paper_all_cells"]) == ("0.684", "0.684")
    assert (rows["zico"]["paper"], rows["zico"]["paper_all_cells"]) == ("", "0.8")
    assert float(rows["params"]["top_accuracy"]) == pytest.approx(accuracy.mean(), abs=1e-6)
    assert "run 2 of 4: cifar10, batch 4, kaiming_uniform: pnorm; 6 architectures" in said
    assert f"table 2: {len(done)} of {len(rows)} rows done" in said


def test_its_document_names_data_seeds_and_time(finished):
    out, *_ = finished
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
    out, tables, *_ = finished
    rows = {(row["score"], row["condition"]): row for row in rows_of(out, "table4")}
    assert rows["pnorm", "c10"]["ours"] and rows["pnorm", "c100"]["ours"]
    assert not any(rows["pnorm", column]["ours"] for column in ("im120", "avg.", "std."))
    assert rows["valacc", "c10"]["ours"] and not rows["valacc", "c100"]["ours"]
    text = (out / "table4.md").read_text()
    assert "- im120 left out: the benchmark made-up has no test accuracy on imagenet16_120\n" in text
    assert "- ValAcc: the benchmark made-up has no cifar100_valid_12\n" in text
    alone = inputs(out, names=["cifar10"])
    tables_2_to_6.write(ScoredRuns(tables[1:], alone), tables[1])
    assert "- c100 left out: no pictures of cifar100 were given\n" in (out / "table4.md").read_text()


def test_finished_tables_are_written_again_without_scoring(finished, monkeypatch, tmp_path):
    out, tables, *_ = finished
    write = lambda table, inputs: tables_2_to_6.write(ScoredRuns([table], inputs), table)
    before = (out / "table2.csv").read_bytes(), (out / "table2.md").read_bytes()
    (out / "table2.csv").unlink()
    monkeypatch.setattr(run_scores, "score_archs", None)
    said = write(tables[0], inputs(out))
    assert ((out / "table2.csv").read_bytes(), (out / "table2.md").read_bytes()) == before
    fewer = layout.make_table(2, BASE, 4)
    moved = dataclasses.replace(inputs(out), out=tmp_path)
    assert write(fewer, moved).startswith("table 2: 1 of ")  # the validation accuracy
    assert write(fewer, inputs(out)) == said


def test_complete_tables_hold_every_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(run_scores, "score_archs", made_up_scores)
    # without the resamples of a bootstrap, which are most of the time
    estimate = lambda scores, accuracy: metrics.Interval(metrics.spearman(scores, accuracy), NAN, NAN)
    monkeypatch.setattr(metrics, "bootstrap_spearman", estimate)
    names = [
        f"{name}_{kind}" for name in ("cifar10", "cifar100", "imagenet16_120") for kind in ("test_200", "valid_12")
    ]
    columns = {name: np.random.default_rng(i).random(nasbench201.NUM_ARCHS) for i, name in enumerate(names)}
    with_all = dataclasses.replace(inputs(tmp_path), benchmark=dataclasses.replace(truth(), columns=columns))
    tables = [layout.make_table(number, ScoreSettings(), 40) for number in layout.TABLES]
    said, groups = [], (tuple(name for group in layout.GROUPS for name in group),)
    scored = tables_2_to_6.reproduce(tables, with_all, groups=groups, say=said.append)
    assert not scored.failures
    for table, rows in zip(tables, (34, 5, 158, 158, 158), strict=True):
        assert f"table {table.number}: {rows} of {rows} rows done" in said
        assert "left out" not in (tmp_path / f"table{table.number}.md").read_text()
    run = next(iter(tables[0].runs))
    accuracy = columns["cifar10_test_200"][:40]
    rows = {row["score"]: row for row in rows_of(tmp_path, "table2")}
    for name, method in (("sjw", "copeland"), ("sjw", "rank_sum"), ("zerocost", "comparator")):
        ballot = votes.make_vote(name, method)
        values = votes.vote(ballot, {expert: scored.scores(run, expert, 40) for expert in ballot.experts})
        assert float(rows[ballot.name]["ours"]) == pytest.approx(abs(metrics.spearman(values, accuracy)), abs=1e-6)
    rows = {row["row"]: row for row in rows_of(tmp_path, "table3")}
    assert {row["score"] for row in rows.values()} == {"rcor", "wrcor"}
    values = scored.scores(run, "wrcor:weighting=quad", 40)
    assert float(rows["quad"]["ours"]) == pytest.approx(abs(metrics.spearman(values, accuracy)), abs=1e-6)
    assert len({row["ours"] for row in rows.values()}) == 5
    assert "| linear, quad, expb2t, expt2b |" in (tmp_path / "table3.md").read_text()
    rows = {row["condition"]: float(row["ours"]) for row in rows_of(tmp_path, "table6") if row["row"] == "BT"}
    assert rows["avg."] == pytest.approx(np.mean([rows[c] for c in ("uniform", "normal", "n01")]), abs=1e-6)
    assert rows["std."] == pytest.approx(np.std([rows[c] for c in ("uniform", "normal", "n01")]), abs=1e-6)


def test_a_run_that_fails_takes_nothing_with_it(tmp_path, monkeypatch):
    def score_archs(store, space, archs, proxies, *args, **options):
        if proxies[0].name == "synflow":
            raise RuntimeError("proxy synflow fails on every architecture:\n no memory")
        made_up_scores(store, space, archs, proxies)

    monkeypatch.setattr(run_scores, "score_archs", score_archs)
    table = layout.make_table(2, BASE, NUM_ARCHS)
    groups = (("synflow",), ("pnorm", "snip"))
    scored = tables_2_to_6.reproduce([table], inputs(tmp_path), groups=groups, say=lambda line: None)
    assert list(scored.failures.values()) == ["proxy synflow fails on every architecture: no memory"]
    text = (tmp_path / "table2.md").read_text()
    assert "- failed: synflow of cifar10, batch 4, kaiming_uniform: proxy synflow fails on every" in text
    assert {row["score"] for row in rows_of(tmp_path, "table2") if row["ours"]} == {"pnorm", "snip", "valacc"}


def test_more_architectures_than_there_are_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"num_architectures is 20000: nasbench201 has 15625 in its order"):
        ScoredRuns([layout.make_table(2, BASE, 20_000)], inputs(tmp_path))


def test_the_accuracy_is_the_papers_where_the_benchmark_has_it(tmp_path):
    values = np.zeros(nasbench201.NUM_ARCHS, np.float32)
    names = ("cifar10_test_200_mean", "cifar10split_test_200_mean", "cifar10split_test_200_seed777")
    made = inputs(tmp_path)
    with_split = TabularBenchmark(dict.fromkeys(names, values), "nasbench201", "nats", "archive", "")
    assert dataclasses.replace(made, benchmark=with_split).accuracy_column("cifar10") == "cifar10split_test_200_mean"
    single = TabularBenchmark({"cifar10_test_unstated_single": values}, "nasbench201", "analog", "", "")
    assert dataclasses.replace(made, benchmark=single).accuracy_column("cifar10") == "cifar10_test_unstated_single"
    assert dataclasses.replace(made, benchmark=single).accuracy_column("cifar100") is None


def test_pictures_of_a_file_are_named_with_its_hash(tmp_path):
    path = tmp_path / "small.npz"
    np.savez(path, x_train=np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8), y_train=np.arange(20))
    pictures = open_pictures("cifar100", str(path))
    assert (pictures.name, pictures.source.num_classes, pictures.sha256) == ("small", 100, files.sha256(path))
    with pytest.raises(ValueError, match="label 19 does not fit 10 classes"):
        open_pictures("cifar10", str(path))
    assert open_pictures("imagenet16_120", "noise").sha256 is None

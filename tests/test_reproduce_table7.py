"""Table 7 on synthetic tables."""

import re

from made_up import OWN_VOTE, RUN, SPACE, SPACE101, inputs, made_up_scores, rows_of, scores201, truth101_table
import numpy as np
import pytest

from projects.wrcor import experts, paper, table7
from zsnas_jax.proxies import make_proxies
from zsnas_jax.reports import metrics
from zsnas_jax.runs import scores as run_scores
from zsnas_jax.runs.settings import ScoreSettings
from zsnas_jax.storage.store import ResultStore


def test_table_7_holds_both_spaces_beside_the_paper(tmp_path, monkeypatch):
    monkeypatch.setattr(run_scores, "score_archs", made_up_scores)
    first, second = inputs(tmp_path, SPACE101, truth101_table()), inputs(tmp_path)
    setup = table7.Setup(first, second, scores201(), table7.make_table(RUN.settings, 40))
    said = []
    assert table7.reproduce(setup, say=said.append) == ["table7.md", "table7.csv"]
    rows = {(row["score"], row["condition"]): row for row in rows_of(tmp_path, "table7")}
    assert all(row["ours"] for (_, condition), row in rows.items() if condition == "NB101")
    assert {score for (score, condition), row in rows.items() if condition == "NB201" and row["ours"]} == {
        "wrcor", "ncd_nwot", "params", "fisher", "valacc",
    }  # fmt: skip
    find = setup.find("NB101")
    expected = abs(metrics.spearman(experts.find_values("sjw:flipped", find), setup.accuracy("NB101")))
    assert float(rows["sjw:flipped", "NB101"]["ours"]) == pytest.approx(expected, abs=1e-6)
    assert rows["sjw:flipped", "NB101"]["paper"] == rows["sjw", "NB101"]["paper"] == "0.383"
    assert ("sjw:flipped", "NB201") not in rows and rows[OWN_VOTE, "NB101"]["row"] == ""
    assert said[-1] == "table 7: 37 of 62 rows done" and len(rows) == 62  # 32 of NB101, 5 of NB201
    text = (tmp_path / "table7.md").read_text()
    assert "- NB201 from scores, SHA-256 f00d: " in text and "- NB201 without a figure of ours: pnorm" in text
    assert "abc101" in text and "Kendall" not in text


def test_table_7_reads_what_other_tables_left(tmp_path):
    first, second = inputs(tmp_path, SPACE101, truth101_table()), inputs(tmp_path)
    stored = second.stored(RUN)
    with ResultStore(second.folder(RUN, stored), stored) as store:
        names = [SPACE.encode(arch) for arch in SPACE.from_index(np.arange(40))]
        store.add(names, make_proxies(["wrcor", "snip"]), np.tile(np.arange(40.0)[:, None], 2))
    setup = table7.Setup(first, second, scores201(), table7.make_table(RUN.settings, 40))
    assert setup.find("NB201")("wrcor").tolist() == list(range(40)) and "wrcor" not in setup.from_shipped
    assert set(setup.from_shipped) == {"fisher", "params", "ncd_nwot"}
    longer = table7.Setup(first, second, None, table7.make_table(RUN.settings, 300))
    assert longer.validation("NB101") is None and longer.validation("NB201") is not None  # 200 cells have one


def test_table_7_groups_hold_every_proxy_once_and_end_with_what_is_slow():
    named = [name for group in table7.GROUPS for name in group]
    table = table7.make_table(ScoreSettings())
    assert table.num_archs == 1000 and len(set(named)) == len(named)
    assert set(named) == set(table.proxies())
    assert [group[0] for group in table7.GROUPS[-2:]] == ["grasp", "dyniso"]
    assert {row for row, _ in paper.paper_figures(7)} == {entry.row for entry in table.entries} - {""}


def test_table_7_refuses_what_it_cannot_be_made_of(tmp_path):
    first, second = inputs(tmp_path, SPACE101, truth101_table()), inputs(tmp_path)
    table = table7.make_table(RUN.settings, 4)
    with pytest.raises(
        ValueError, match=re.escape("num_architectures is 1: allowed are 0 (each table's own) and 2 or")
    ):
        table7.make_table(RUN.settings, 1)
    with pytest.raises(ValueError, match="made-up-101 is of space nasbench101, not nasbench201"):
        table7.Setup(first, second, truth101_table(), table)
    with pytest.raises(ValueError, match="table 7 cannot be computed: no pictures of cifar10 were given"):
        table7.Setup(inputs(tmp_path, SPACE101, truth101_table(), with_pictures=False), second, None, table)

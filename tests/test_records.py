"""Results as text: numbers in one form each, for machines and for people."""

import csv

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from zsnas_jax.reports import documents
from zsnas_jax.reports.metrics import Interval

NAN = float("nan")


@given(st.floats(width=32))
def test_single_precision_comes_back_unchanged(value):
    np.testing.assert_array_equal(np.float32(documents.format_number(value)), np.float32(value))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (documents.format_figure(0.81149), "0.811"),
        (documents.format_figure(-0.0006), "-0.001"),
        (documents.format_figure(0.5, "+"), "+0.500"),
        (documents.format_figure(None), ""),
        (documents.format_figure(NAN), "undefined"),
        (documents.format_bounds(-0.25, 0.5), "[-0.250, 0.500]"),
        (documents.format_bounds(None, None), ""),
        (documents.format_interval(Interval(0.1, -0.25, 0.5)), "0.100 [-0.250, 0.500]"),
        (documents.format_interval(Interval(NAN, NAN, NAN)), "undefined"),
        (documents.format_interval(None), "undefined"),
    ],
)
def test_figures_for_people(found, expected):
    assert found == expected


def test_records_come_back(tmp_path):
    records = [
        {"index": 3, "arch": "|a~0|,b", "score": np.float32(0.1), "rho": 1 / 3},
        {"index": None, "arch": "", "score": -np.inf, "rho": NAN},
    ]
    documents.write_csv(tmp_path / "c.csv", iter(records))
    with open(tmp_path / "c.csv", newline="") as file:
        back = list(csv.DictReader(file))
    assert back == [
        {"index": "3", "arch": "|a~0|,b", "score": "0.100000001", "rho": "0.333333333"},
        {"index": "", "arch": "", "score": "-inf", "rho": "nan"},
    ]


def test_records_without_a_row_or_of_two_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no row to write"):
        documents.write_csv(tmp_path / "d.csv", [])
    with pytest.raises(ValueError, match="a row has columns b, a: the first has a, b"):
        documents.csv_text([{"a": 1, "b": 2}, {"b": 2, "a": 1}])
    assert not list(tmp_path.iterdir())


def test_a_markdown_table_keeps_texts_as_they_are():
    lines = documents.markdown_table([{"a": "1.50", "b": ""}, {"a": "x"}]).splitlines()
    assert [line.split("|")[1].strip() for line in lines] == ["a", "------", "1.50", "x"]

"""Folders against each other, by the real binary; the page and the catalogue."""

import csv
import html.parser
import json

import binaries
import numpy as np
import pytest

from zsnas_jax import proxies
from zsnas_jax.reports import catalogue, metrics, page
from zsnas_jax.reports.page import Section
from zsnas_jax.storage import stored
from zsnas_jax.storage.store import ResultStore

ARCHS = [f"arch {i}" for i in range(30)]


def store(folder, settings, columns):
    with ResultStore(folder, {"space": "line"} | settings) as held:
        for label, column in columns.items():
            held.add(column, proxies.make_proxies([label]), np.array(list(column.values()))[:, None])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three folders of one space, of which the second lacks five architectures, and one of another."""
    path, rng = tmp_path_factory.mktemp("folders"), np.random.default_rng(0)
    snip, noise = rng.random(30), 0.2 * rng.random((2, 30))
    column = lambda values, first=0: dict(zip(ARCHS[first:], np.asarray(values)[first:].tolist(), strict=True))
    store(path / "a", {"seed": 0}, {"snip": column(snip), "zen": column(snip)})
    other = snip + noise[0]
    other[7] = -np.inf
    store(path / "b", {"seed": 1, "init": "normal"}, {"snip": column(other, 5)})
    store(path / "c", {"seed": 0}, {"snip": column(snip + noise[1]), "zen": column(np.ones(30))})
    store(path / "d", {"space": "ring"}, {"snip": column(snip)})
    store(path / "e", {}, {"naswot": column(snip)})
    return path


class Reader(html.parser.HTMLParser):
    """What a page links to, and whether every tag is closed."""

    def __init__(self):
        super().__init__()
        self.sources, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self.open += [tag] if tag not in ("meta", "img", "br") else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read_page(path):
    reader = Reader()
    reader.feed(path.read_text())
    assert not reader.open
    return reader


def test_folders_are_compared_on_what_they_share(folder):
    code, out, err = binaries.run_forked(
        binaries.run_command, "compare_main", argv=["compare_main", "a", "b", "c", "--out=out"], cwd=folder
    )
    assert code == 0, err
    assert {path.name for path in (folder / "out").iterdir()} == {
        *("agreement.csv", "agreement.png", "settings.csv", "report.html"),
    }
    rows = list(csv.DictReader((folder / "out" / "agreement.csv").read_text().splitlines()))
    pairs = [(row["proxy"], row["first"], row["second"], row["num_archs"]) for row in rows]
    assert pairs == [
        ("snip", "a", "b", "25"),
        ("snip", "a", "c", "30"),
        ("zen", "a", "c", "30"),
        ("snip", "b", "c", "25"),
    ]
    scores = [np.array([held[arch] for arch in ARCHS[5:]]) for held in map(scores_of, (folder / "a", folder / "b"))]
    assert float(rows[0]["spearman"]) == pytest.approx(metrics.spearman(*scores))
    assert float(rows[0]["kendall_low"]) < float(rows[0]["kendall"]) < float(rows[0]["kendall_high"])
    assert rows[0]["num_undefined_second"] == "1" and rows[2]["spearman"] == ""
    different = list(csv.DictReader((folder / "out" / "settings.csv").read_text().splitlines()))
    assert different == [
        {"setting": "init", "a": "not stated", "b": '"normal"', "c": "not stated"},
        {"setting": "seed", "a": "0", "b": "1", "c": "0"},
    ]
    assert "settings that differ" in out and "a / b" in out
    [source] = read_page(folder / "out" / "report.html").sources
    assert source.startswith("data:image/png;base64,")


def scores_of(path):
    return stored.read(path).scores["snip"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a"], "folders a: two or more are compared, as in compare_main DIR DIR"),
        ([], "folders none: two or more are compared"),
        (["a", "b", "a"], "folders a, b, a: a is given twice"),
        (["a", "d"], "d is of space ring, a of line: scores of one space are compared"),
        (["a", "e"], "no two folders share 2 architectures scored by one proxy: a has 30 by snip, 30 by zen; e has 30 by naswot"),
        (["a", "nowhere"], "nowhere/results.sqlite does not exist"),
        (["a", "b", "--out=a/results.sqlite"], "cannot make the results folder a/results.sqlite"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_line(given, said, folder):
    argv = ["compare_main", *given]
    code, _, err = binaries.run_forked(binaries.run_command, "compare_main", argv=argv, cwd=folder)
    assert code == 1 and err.startswith(f"compare_main: error: {said}") and err.count("\n") == 1
    assert not (folder / "results").exists()


def test_help_says_what_stands_beside_the_flags(folder):
    argv = ["compare_main", "--help"]
    code, out, _ = binaries.run_forked(binaries.run_command, "compare_main", argv=argv, cwd=folder)
    assert code == 0 and "usage: compare_main [--FLAG=VALUE ...] DIR DIR ..." in out


# --- functions


def test_a_page_shows_what_it_is_given_as_text(tmp_path):
    sections = [
        Section("<A>", [{"name": "<b>", "value": "1 & 2"}], note="x < y"),
        Section("Nothing"),
        page.settings_section({"seed": 0, "limits": None}),
    ]
    assert page.write(tmp_path, "Scores & more", sections) == "report.html"
    text = (tmp_path / "report.html").read_text()
    assert "<h2>&lt;A&gt;</h2>" in text and "&lt;b&gt;" in text and "1 &amp; 2" in text and "x &lt; y" in text
    assert "Nothing" not in text and "<title>Scores &amp; more</title>" in text and "None" in text
    assert read_page(tmp_path / "report.html").sources == []


def test_whatever_can_be_named_has_a_line():
    listed = catalogue.listed()
    assert set(listed) == {"proxies", "votes", "spaces", "strategies", "recipes"}
    assert "log|det" in listed["proxies"]["wrcor"] and "15,625 cells" in listed["spaces"]["nasbench201"]
    assert "synflow, jaccor, wrcor" in listed["votes"]["sjw"] and "NSGA-II" in listed["strategies"]["nsga2"]
    for kind, entries in listed.items():
        for name, says in entries.items():
            assert len(says) > 10 and "\n" not in says, (kind, name)
    assert json.dumps(listed) and all(len(line) < 200 for line in catalogue.as_text().splitlines())

"""The documents' code runs as it stands, and their links lead somewhere; the space that the README defines."""

import contextlib
import dataclasses
import functools
import importlib
import io
import re
import sys
import types

import conftest
import jax
import numpy as np
import pytest

from zsnas_jax import datasets, proxies, scoring, search, search_spaces, training, votes
from zsnas_jax.reports import search_report
from zsnas_jax.reports.search_task import Task
from zsnas_jax.runs.scores import score_archs
from zsnas_jax.runs.selection import select_archs
from zsnas_jax.runs.settings import ScoreSettings
from zsnas_jax.search.seeds import Explored

ROOT = conftest.ROOT
sys.path.append(str(ROOT / "docs"))  # what the site is made of
from _site import docstrings, measured, pages, spaces, tables  # noqa: E402


def python_blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.S)


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "docs").rglob("*.md")
    if path.relative_to(ROOT / "docs").parts[0] not in ("_build", "generated", "measured")
)
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *PAGES]
QUICK = [
    *("docs/votes.md", "docs/searches.md"),
    *(f"docs/how_to/{name}.md" for name in ("calibrate", "own_data", "own_loss", "own_proxy", "resume")),
]
"""Pages whose code takes a few seconds."""
BLOCKS = python_blocks("README.md")
OWN_SPACE = next(i for i, block in enumerate(BLOCKS) if "SearchSpace(" in block)


@functools.cache
def run_block(number):
    """(the names that a block of the README leaves, what it prints)."""
    names = {"__name__": "readme"}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(BLOCKS[number], f"README block {number}", "exec"), names)
    return names, printed.getvalue()


@pytest.mark.slow  # half a minute each, of compilation
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_readme_code_runs(number):
    assert run_block(number)[1]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)  # up to a minute each, of compilation
        for name in (*filter(python_blocks, PAGES), *(f"examples/{path.name}" for path in EXAMPLES))
    ],
)
def test_pages_and_examples_run(name):
    code = "\n".join(python_blocks(name)) if name.endswith(".md") else (ROOT / name).read_text()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
    assert printed.getvalue() and "nan" not in printed.getvalue()


@pytest.mark.slow  # ten seconds
def test_a_space_of_ones_own_is_short_and_searched():
    names, printed = run_block(OWN_SPACE)
    space, found = names["space"], names["found"]
    assert len(BLOCKS[OWN_SPACE].splitlines()) < 60
    assert found.scores.shape == (5, 32, 1) and len(set(map(space.encode, found.archs[0]))) > 8
    for line, scores in zip(printed.splitlines(), found.scores, strict=True):
        string, score = line.split()
        assert space.encode(space.decode(string)) == string and float(score.strip("[]")) == pytest.approx(scores.max())


@pytest.mark.dear
def test_a_space_of_ones_own_is_scored_and_its_parameters_counted():
    space, batch = run_block(OWN_SPACE)[0]["space"], run_block(OWN_SPACE)[0]["batch"]
    strings = ["0-0-0-0", "8-0-0-32", "16-16-16-16"]
    archs = np.stack([space.decode(string) for string in strings])
    chosen = proxies.make_proxies(["wrcor", "params", "pnorm"])
    key = jax.random.key(1)
    scores = scoring.make_scorer(key, space, chosen, num_classes=10).score(archs, [0] * 3, batch)
    assert np.isneginf(scores[0, 0]) and np.isfinite(scores[1:]).all()
    hidden = [sum(int(width) for width in string.split("-")) for string in strings]
    blocks = [4 - string.split("-").count("0") for string in strings]
    expected = [(192 + 1) * 32 + (32 + 1) * 10 + 65 * h + 32 * b for h, b in zip(hidden, blocks, strict=True)]
    np.testing.assert_array_equal(scores[:, 1], expected)
    assert (np.diff(scores[:, 2]) > 0).all()


@pytest.mark.dear
def test_a_search_of_ones_own_space_is_reported_without_what_the_space_does_not_say(tmp_path):
    space, found = run_block(OWN_SPACE)[0]["space"], run_block(OWN_SPACE)[0]["found"]
    arrays = [np.asarray(field) for field in (found.archs, found.scores, found.incumbents, found.is_new)]
    task, explored = Task(space, ("wrcor",), 10, 8, None), Explored(*arrays, [[(32, 1.0)]] * 5)
    described = {"strategy": "evolution", "scores": "wrcor", "num_architectures": 32}
    run = {"num_explored_now": 160, "num_scored": 160, "how": "computed"}
    made = search_report.make_report(task, explored, {}, described, run)
    written = search_report.write_all(tmp_path, task, explored, made, is_live=True)
    assert written == ["report.json", "found.csv", "curve.csv", "curve.png", "report.html"]
    text = search_report.as_text(made)
    assert made["best"]["arch"] in text and "parameters" not in text and "FLOPs" not in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda space: search.constrained(space, max_params=1e4), "params at most 10,000: space mlp has no num_params"),
        (lambda space: search.constrained(space, max_flops=1e4), "flops at most 10,000: space mlp has no num_flops"),
        (lambda space: search.table_scores(space, np.zeros(256)), "space mlp has no published order"),
        (lambda space: select_archs(space, "0:5"), "archs '0:5': space mlp has no published order, use random:COUNT"),
        (lambda space: select_archs(space, "all"), "archs 'all': space mlp has no published order"),
        (lambda space: share_isomorphic(space), "share_isomorphic needs a space that can be enumerated, pruned and keyed, mlp cannot"),
        (lambda space: score_flops(space), "proxy flops needs the num_flops of a space, which this one lacks"),
    ],
)  # fmt: skip
def test_what_a_space_does_not_say_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(run_block(OWN_SPACE)[0]["space"])


def share_isomorphic(space):
    settings = ScoreSettings(share_isomorphic=True)
    score_archs(None, space, np.zeros((1, 4), np.int32), proxies.make_proxies(["params"]), None, settings)


def score_flops(space):
    batch = datasets.draw_batch(jax.random.key(0), datasets.noise(image_size=8), 4)
    scorer = scoring.make_scorer(jax.random.key(1), space, proxies.make_proxies(["flops"]), num_classes=10)
    scorer.score(np.zeros((1, 4), np.int32), [0], batch)


@pytest.mark.parametrize("name", ["WORKSPACE.md", *DOCUMENTS])
def test_named_files_exist(name):
    for path in re.findall(
        r"`((?:zsnas_jax|search_spaces|benchmarks|projects|tests|perf|notebooks|docs|examples)/[\w./]+)`",
        (ROOT / name).read_text(),
    ):
        assert (ROOT / path).exists(), path


def anchors_of(path):
    """Of the titles of a page, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def is_a_name(text):
    """Whether a link leads to something of the package."""
    module, _, name = text.rpartition(".")
    return hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.S)):
        path, _, anchor = target.partition("#")
        if target.startswith("https://") or "generated/" in path:
            continue  # tests run without a network, and without a site
        if anchor.startswith("zsnas_jax."):
            assert is_a_name(anchor), target
            continue
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors_of(there), target


BINARIES = {
    name: f"zsnas_jax/{name}.py" for name in ("score_main", "search_main", "train_main", "compare_main", "merge_main")
}
BINARIES["reproduce_main"] = "projects/wrcor/reproduce_main.py"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_flag_in_a_document_exists(name):
    recipes = {field.name for field in dataclasses.fields(training.Recipe)}
    shared = (ROOT / "zsnas_jax/flags.py").read_text()
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text(), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            binaries = re.findall(rf"\b({'|'.join(BINARIES)})\b", line)
            sources = shared + "".join((ROOT / BINARIES[binary]).read_text() for binary in binaries)
            for flag in re.findall(r"--(\w+)", line) if binaries else []:
                known = {flag, flag.removeprefix("no")}  # of a switch that is turned off
                assert any(f'"{word}"' in sources or word in recipes for word in known), flag


def test_every_document_is_reached_from_the_first_page():
    listed = re.findall(r"^([\w/]+)$", "\n".join((ROOT / name).read_text() for name in PAGES), re.M)
    for name in PAGES:
        words = name.removeprefix("docs/").removesuffix(".md")
        assert words == "index" or {words, words.rpartition("/")[2]} & set(listed), name


def test_the_tables_of_the_site_have_everything_that_is_registered():
    table = tables.proxies()
    for name, make in proxies.PROXIES.items():
        assert table.count(f"| [`{name}`](#{make.__module__}.{make.__name__}) |") == 1
    row = next(line for line in table.splitlines() if "[`grasp`]" in line)
    assert "| own | yes | dispatched, static | Wang et al., GraSP, ICLR 2020 |" in row
    assert {tables.passes(proxies.PROXIES[name]()) for name in ("params", "pnorm")} == {"none"}
    assert [tables.passes(proxies.PROXIES[name]()) for name in ("naswot", "wrcor", "zen")] == [
        "forward",
        "forward, back",
        "own",
    ]
    for registered, made in ((votes.VOTES, tables.named_votes()), (votes.METHODS, tables.methods())):
        assert all(f"| `{name}` |" in made for name in registered)
    assert all(f"| `{name}` |" in tables.strategies() for name in search.STRATEGIES)
    assert all(f"| `{name}` |" in tables.recipes() for name in training.RECIPES)


@pytest.mark.parametrize("name", spaces.EXAMPLES)
def test_a_space_says_its_figures(name):
    space, example = search_spaces.make_space(name), spaces.EXAMPLES[name]
    said = dict(spaces.facts(space, example))
    assert space.encode(space.decode(example.arch)) == example.arch
    assert said["genotype"].startswith("int32[") and said["programs"]


def test_every_space_has_a_page():
    text = "".join((ROOT / name).read_text() for name in PAGES if name.startswith("docs/spaces/"))
    for name in search_spaces.SPACES:
        assert name in text.replace("`_s`, `_b`", "autoformer_s autoformer_b") or name.startswith("darts_s"), name
    for folder in (ROOT / "search_spaces").glob("*/"):
        assert folder.name == "__pycache__" or f"docs/spaces/{folder.name}.md" in PAGES, folder


@pytest.mark.parametrize(
    ("plain", "marked"),
    [
        (["K = |corr(A_s)| * 2, sum_ of it."], [r"K = \|corr(A_s)\| * 2, sum\_ of it."]),
        (["Takes *args, `a.b` and `x`s of `f(a, b)`^2."], [r"Takes \*args, :py:obj:`a.b` and :py:obj:`x`\ s of ``f(a, b)``\ ^2."]),
        (["Code `that goes", "on` there."], ["Code ``that goes on`` there."]),
        (["Such:", "", "    a*b |c|", "", "And on."], ["Such:", "", "::", "", "    a*b |c|", "", "And on."]),
        (["Args:", "    x: one", "        and on.", "", "    y: two"],) * 2,
        (["* first", "* second*"], ["* first", r"* second\*"]),
    ],
)  # fmt: skip
def test_docstrings_become_markup_as_they_are_meant(plain, marked):
    lines = list(plain)
    docstrings.mark_up(None, "function", "f", None, None, lines)
    assert lines == marked


def test_links_out_of_the_documentation_lead_to_copies():
    def led(docname, text):
        source = [text]
        measured.lead_to_copies(types.SimpleNamespace(srcdir=ROOT / "docs"), docname, source)
        return source[0]

    assert led("concepts", "[r](../benchmarks/RESULTS.md#votes)") == "[r](measured/benchmarks/RESULTS.md#votes)"
    assert led("how_to/own_data", "[r](../../perf/RESULTS.md)") == "[r](../measured/perf/RESULTS.md)"
    assert (
        led("measured/perf/RESULTS", "![p](../benchmarks/spaces/darts.png)") == "![p](../benchmarks/spaces/darts.png)"
    )
    assert led("measured/projects/ncd/README", "[R](../../README.md)") == "R (`README.md`)"
    assert led("measured/projects/ncd/README", "x[0](../../a)") == "x[0](../../a)"
    for same in (
        "[a](https://x.y)",
        "[a](concepts.md#proxies-and-votes)",
        "[a](#here)",
        "[a](../examples/own_transformer.py)",
    ):
        assert led("index", same) == same


def test_plain_text_stays_itself_in_markdown():
    assert pages.plain("W * g_W of `a_b`, [x]") == r"W \* g\_W of `a_b`, \[x\]"
    assert pages.table(("a", "b"), [("x|y", "")]) == "| a | b |\n| --- | --- |\n| x\\|y |  |\n"

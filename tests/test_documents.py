"""The documents' code runs as it stands, and their links lead somewhere; the space that the README defines."""

import contextlib
import dataclasses
import functools
import io
import re

import conftest
import jax
import numpy as np
import pytest

from zsnas_jax import datasets, proxies, scoring, search, training
from zsnas_jax.reports import search_report
from zsnas_jax.reports.search_task import Task
from zsnas_jax.runs.scores import score_archs
from zsnas_jax.runs.selection import select_archs
from zsnas_jax.runs.settings import ScoreSettings
from zsnas_jax.search.seeds import Explored

ROOT = conftest.ROOT


def python_blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.S)


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
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


@pytest.mark.slow  # a minute each, of compilation
@pytest.mark.parametrize("name", ["docs/transformers.md", *(f"examples/{path.name}" for path in EXAMPLES)])
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


@pytest.mark.parametrize("name", ["README.md", "WORKSPACE.md", "docs/transformers.md"])
def test_named_files_exist(name):
    for path in re.findall(
        r"`((?:zsnas_jax|search_spaces|benchmarks|projects|tests|perf|notebooks|docs|examples)/[\w./]+)`",
        (ROOT / name).read_text(),
    ):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", ["README.md", "docs/transformers.md"])
def test_links_lead_somewhere(name):
    text, folder = (ROOT / name).read_text(), (ROOT / name).parent
    anchors = {
        "#" + re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue  # tests run without a network
        assert target in anchors if target.startswith("#") else (folder / target).exists(), target


def test_every_flag_in_the_readme_exists():
    commands = [f"zsnas_jax/{name}.py" for name in ("flags", "score_main", "search_main", "train_main")]
    sources = "".join((ROOT / name).read_text() for name in (*commands, "projects/wrcor/reproduce_main.py"))
    recipes = {field.name for field in dataclasses.fields(training.Recipe)}
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
        for flag in re.findall(r"--(\w+)", block):
            assert f'"{flag}"' in sources or flag in recipes, flag

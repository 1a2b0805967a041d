"""A user's own proxies and spaces, named on the command line."""

import csv
import json

import binaries
import pytest

from zsnas_jax import proxies, user_code
from zsnas_jax.proxies.labels import label, parse

CODE = '''
import jax.numpy as jnp
from zsnas_jax.base import Proxy

def weights(*, power: float = 1.0) -> Proxy:
    """Parameters to a power."""
    return Proxy("weights", lambda m: jnp.float32(m.network.num_params) ** power, frozenset(), {"power": power}, "mine")

square = weights(power=2.0)
taken = square._replace(name="wrcor")
number = 3

def fails():
    raise RuntimeError("no")
'''


@pytest.fixture
def code(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path / "mine.py"


def test_a_proxy_of_ones_own_is_told_apart_by_its_code(code):
    one = parse(f"{code}:square")
    assert one.name == "weights" and one.settings["power"] == 2 and len(one.settings["source"]) == 16
    assert parse(f"{code}:weights:power=2.0").identity == one.identity
    code.write_text(CODE + "\n")
    assert parse(f"{code}:square").identity != one.identity
    assert len({label(one), label(parse(f"{code}:square")), label(parse(f"{code}:weights"))}) == 3


def test_a_module_that_can_be_imported_does_too(code, monkeypatch):
    monkeypatch.syspath_prepend(code.parent)
    assert parse("mine:square").settings["power"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}:none", "mine.py:none: there is no none in it"),
        ("{}:number", "is a int, needed is a Proxy"),
        ("{}:fails", "RuntimeError: no"),
        ("{}:taken", "the name wrcor is that of a proxy of this package"),
        ("{}:square:power=3", "is a proxy, and takes no settings"),
        ("{}:weights:size=3", "unexpected keyword argument 'size'"),
        ("nowhere.py:square", "proxy nowhere.py:square: FileNotFoundError: there is no such file"),
        ("no_such_module:square", "ModuleNotFoundError: there is no such module"),
        ("wrcor:weighting", "needed is NAME or NAME:KEY=VALUE"),
    ],
)
def test_what_is_missing_is_named(code, text, message):
    with pytest.raises(ValueError) as error:
        parse(text.format(code))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_code_that_leaves_is_one_line(code):
    code.write_text("raise SystemExit(3)")
    with pytest.raises(ValueError, match="SystemExit: 3"):
        user_code.load(user_code.find_reference(f"{code}:square"), "proxy")


def test_the_command_scores_by_it_beside_others(code):
    flags = [
        "--archs=0:6",
        "--proxies=mine.py:weights:power=2.0,params",
        "--batch_size=4",
        "--benchmark=none",
        "--out=o",
    ]
    code_, out, err = binaries.run("score_main", *flags, cwd=code.parent, is_tiny=True)
    assert not code_, err
    with open(code.parent / "o/scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    own = next(name for name in rows[0] if name.startswith("weights"))
    for row in rows:
        assert float(row[own]) == pytest.approx(float(row["params"]) ** 2, rel=1e-5)
    report = json.loads((code.parent / "o/report.json").read_text())
    assert report["proxies"][own]["settings"]["power"] == 2.0 and "weights" in out
    assert set(proxies.PROXIES).isdisjoint({own})

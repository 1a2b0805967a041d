"""The documents' code runs as it stands, and their links lead somewhere."""

import re

import conftest
import pytest

ROOT = conftest.ROOT


def python_blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.S)


@pytest.mark.parametrize("number", range(len(python_blocks("README.md"))))
def test_readme_code_runs(number, capsys):
    exec(compile(python_blocks("README.md")[number], f"README block {number}", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", ["README.md", "WORKSPACE.md"])
def test_named_files_exist(name):
    for path in re.findall(r"`((?:zsnas_jax|search_spaces|benchmarks|tests|perf)/[\w./]+)`", (ROOT / name).read_text()):
        assert (ROOT / path).exists(), path


def test_every_flag_in_the_readme_exists():
    read = lambda name: (ROOT / "zsnas_jax" / name).read_text()
    sources = read("flags.py") + read("score_main.py") + read("reproduce_main.py")
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
        for flag in re.findall(r"--(\w+)", block):
            assert f'"{flag}"' in sources, flag

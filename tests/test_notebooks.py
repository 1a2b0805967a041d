"""The notebooks run from top to bottom with small settings, as Jupyter would run them, and are kept without outputs.

Cells are plain Python but for lines that start with "!", which go to a shell: no Jupyter is needed to test them.
"""

import json
import pathlib
import re
import subprocess
import sys
import types

import conftest
import matplotlib.pyplot as plt
import pytest

SMALL = {
    "quickstart.ipynb": {"NUM_ARCHITECTURES": 12, "BATCH_SIZE": 4},
    "search.ipynb": {"NUM_STEPS": 80, "NUM_SEEDS": 3, "NUM_LIVE": 16, "BATCH_SIZE": 4, "PROXY": "naswot"},
    "own_module.ipynb": {"WIDTHS": (4, 8), "BATCH_SIZE": 4, "IMAGE_SIZE": 8},
}
PRINTED = {"quickstart.ipynb": "12 cells", "search.ipynb": "found_at", "own_module.ipynb": "activity"}
every_notebook = pytest.mark.parametrize("name", SMALL)
run = pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in SMALL])  # they compile


def cells(name):
    return json.loads((conftest.ROOT / "notebooks" / name).read_text())["cells"]


def code_cells(name):
    return [cell for cell in cells(name) if cell["cell_type"] == "code"]


def is_parameters(cell):
    return "parameters" in cell["metadata"].get("tags", [])


def shell(command):
    """What a line with a "!" does: a command of this environment, with the tests' compiled programs."""
    program, *arguments = command.split()
    own = pathlib.Path(sys.executable).parent / program
    done = subprocess.run([own, *arguments, f"--compilation_cache={conftest.CACHE}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


def python(cell):
    return re.sub(r"^!(.*)$", r'shell(f"\1")', "".join(cell["source"]), flags=re.M)


@pytest.fixture
def shown(monkeypatch):
    """The pictures that a notebook displays, without IPython."""
    pictures = []
    fake = types.ModuleType("IPython.display")
    fake.Image, fake.display = (lambda path: pathlib.Path(path).read_bytes()), lambda *shown: pictures.extend(shown)
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    return pictures


@run
def test_a_notebook_runs(name, tmp_path, monkeypatch, capsys, shown):
    monkeypatch.chdir(tmp_path)
    namespace = {"shell": shell}
    for number, cell in enumerate(code_cells(name)):
        exec(compile(python(cell), f"{name}, code cell {number}", "exec"), namespace)
        if is_parameters(cell):
            assert namespace.keys() >= SMALL[name].keys()
            namespace |= SMALL[name]
    assert PRINTED[name] in capsys.readouterr().out
    assert [picture[:4] for picture in shown] == ([b"\x89PNG"] * 2 if name == "search.ipynb" else [])
    assert all(figure_has_data(number) for number in plt.get_fignums())
    plt.close("all")


def figure_has_data(number):
    return all(axes.has_data() for axes in plt.figure(number).axes)


@every_notebook
def test_a_notebook_is_kept_without_outputs(name):
    for cell in code_cells(name):
        assert cell["outputs"] == [] and cell["execution_count"] is None
    assert sum(map(is_parameters, cells(name))) == 1


def test_all_notebooks_are_tested_and_install_alike():
    assert {path.name for path in (conftest.ROOT / "notebooks").glob("*.ipynb")} == set(SMALL)
    assert len({python(code_cells(name)[0]) for name in SMALL}) == 1

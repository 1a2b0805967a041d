import pathlib
import re
import subprocess
import sys

import conftest
import pytest

from zsnas_jax import command

ROOT = conftest.ROOT


def test_every_package_is_listed():
    found = {"zsnas_jax", "zsnas_jax.search_spaces", "zsnas_jax.benchmarks"}
    for init in (ROOT / "zsnas_jax").glob("**/__init__.py"):
        found.add(".".join(init.parent.relative_to(ROOT).parts))
    for init in (ROOT / "search_spaces").glob("*/__init__.py"):  # behind a link, which a glob does not follow
        found.add(f"zsnas_jax.search_spaces.{init.parent.name}")
    listed = re.search(r"packages=\[(.*?)\]", (ROOT / "setup.py").read_text(), re.S).group(1)
    assert set(re.findall(r'"([\w.]+)"', listed)) == found


def test_the_source_tree_looks_like_the_installed_one():
    for name in ("search_spaces", "benchmarks"):
        link = ROOT / "zsnas_jax" / name
        assert link.is_symlink() and link.readlink() == pathlib.Path("..") / name


def test_no_module_is_imported_by_its_bare_name():
    for source in ROOT.glob("**/*.py"):
        if ".jax_cache" not in source.parts:
            assert not re.search(r"^\s*(from|import) (search_spaces|benchmarks)\b", source.read_text(), re.M), source


def test_the_public_names_are_there():
    import zsnas_jax

    for name in zsnas_jax.__all__:
        assert getattr(zsnas_jax, name).__name__ == f"zsnas_jax.{name}" and name in dir(zsnas_jax)
    with pytest.raises(AttributeError, match="module 'zsnas_jax' has no attribute 'colour'"):
        _ = zsnas_jax.colour


def test_what_scoring_takes_is_installed_without_extras():
    """In a process of its own, in which what only the extras bring cannot be imported."""
    code = f"""
import sys
for name in {command._EXTRAS!r}:
    if name != "orbax":  # Flax brings it
        sys.modules[name] = None
import zsnas_jax
for name in ("scoring", "search", "proxies", "votes", "datasets", "runs", "calibration", "search_spaces", "storage"):
    getattr(zsnas_jax, name)
import zsnas_jax.score_main
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_command_says_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        command._check_installed("zsnas_jax.train_main")
    assert command.describe(caught.value) == "grain is not installed: pip install 'zsnas-jax[all]' brings it"
    command._check_installed("projects.ncd.reproduce_main")


def test_what_is_cited_is_this_version():
    import zsnas_jax

    cited = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {zsnas_jax.__version__}\n" in cited
    assert f": {zsnas_jax.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()

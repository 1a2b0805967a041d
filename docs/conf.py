"""The documentation site: `sphinx-build -W --keep-going -b html docs docs/_build`, with `pip install -e ".[docs]"`.

Nothing is fetched while it is built. What the package can say itself is made here, before the pages are read: tables of
what is registered (`_site.tables`), a drawing and the figures of each space (`_site.spaces`), a page for each module
(`_site.modules`), and copies of the documents of what was measured (`_site.measured`). All of it lies in folders that
git ignores.
"""

import pathlib
import sys

from sphinx.application import Sphinx

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from _site import docstrings, measured, modules, spaces, tables  # noqa: E402 the paths say where they are

import zsnas_jax  # noqa: E402

project = "zsnas_jax"
author = "the authors of zsnas_jax"
version = release = zsnas_jax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_site", "generated/parts"]

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = True
# What was measured is copied as it stands: some of it begins without a title, or leads on to the code.
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

default_role = "py:obj"
highlight_language = "text"
smartquotes = False
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # a function's address is not the same in two builds
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # they stand in the signature
napoleon_use_rtype = False
python_maximum_signature_line_length = 100
add_module_names = False

html_theme = "sphinx_book_theme"
html_title = "zsnas_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"show_navbar_depth": 1, "show_toc_level": 2, "home_page_in_toc": True, "navbar_persistent": []}
html_copy_source = False
html_show_sourcelink = False


def make(app: Sphinx) -> None:
    """Writes what the package says of itself, before the pages are read."""
    made, asked = HERE / "generated", tables.ask_for_help()
    spaces.write(made / "parts", made / "pictures")
    modules.write(made / "api", made / "parts")
    measured.copy(HERE.parent, HERE / "measured")
    tables.write(made / "parts", asked)


def setup(app: Sphinx) -> None:
    """Connects what is made here to Sphinx."""
    app.connect("builder-inited", make)
    app.connect("source-read", measured.lead_to_copies)
    app.connect("autodoc-process-docstring", docstrings.mark_up, priority=400)  # before napoleon reads the sections
    app.connect("autodoc-skip-member", docstrings.is_left_out)

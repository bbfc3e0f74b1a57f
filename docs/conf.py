"""The documentation as a site: ``sphinx-build -W docs BUILD``, without a network."""

from importlib.metadata import version as version_of

project, author = "kronsbl", "the kronsbl developers"
version = release = version_of("kronsbl")
root_doc = "index"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["figures"]
nb_execution_mode = "force"  # what a notebook shows is what it gives with this code
nb_execution_in_temp = True  # it makes a store
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_show_tb = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
# Links to files and folders of the repository; tests/test_docs.py checks that all lead somewhere.
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]
autosummary_generate = True
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False
html_theme = "alabaster"
html_theme_options = {"description": "Monte Carlo campaigns for Kronecker-structured SBL"}

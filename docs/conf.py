"""Configuration of the documentation: ``sphinx-build -nW docs docs/_build``."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "ocidist"
author = "The ocidist maintainers"
project_copyright = "The ocidist maintainers"
release = installed_version("ocidist")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "changes", "examples"]
nitpicky = True

html_theme = "furo"
html_title = f"ocidist {release}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

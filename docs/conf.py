"""Configuration of the documentation: ``sphinx-build -nW docs docs/_build``."""

from __future__ import annotations

import re
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING

import attrs

import ocidist

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "ocidist"
author = "The ocidist maintainers"
project_copyright = "The ocidist maintainers"
release = installed_version("ocidist")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "changes", "examples"]
nitpicky = True
nitpick_ignore_regex = [
    # What other projects document; nothing is fetched while building, so that it works without a network.
    (
        r"py:.*",
        r"(httpx|typing|cryptography|logging|opentelemetry|socket|ssl|collections\.abc|pathlib|datetime|enum)\..*",
    ),
    # Annotations name what is imported for type checkers only, and type variables, without their modules.
    (r"py:class", r"\w+"),
    (r"py:class", r"ocidist\.[\w.]+\.T"),
    # What is private has a protocol that says what it does.
    (r"py:class", r"ocidist\.[\w.]+\._\w+"),
    # The classes of the specification's table are read in the code.
    (r"py:class", r"ocidist\.wire\.endpoints\.Endpoint"),
]

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
napoleon_attr_annotations = False


def _public_name(
    app: Sphinx, environment: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """Find what annotations and docstrings call by the module it is written in, under the name users import."""
    name = str(node.get("reftarget", "")).rpartition(".")[2]
    name = "BlobWriter" if name == "ResumedWriter" else name
    if name not in ocidist.__all__:
        return None
    module = "ocidist.errors" if name in ocidist.errors.__all__ else "ocidist"
    found = environment.get_domain("py").resolve_any_xref(
        environment, node["refdoc"], app.builder, f"{module}.{name}", node, text
    )
    return found[0][1] if found else None


def _no_type_before_a_colon(  # noqa: PLR0917 -- what Sphinx calls it with
    app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]
) -> None:
    """Keep napoleon from reading the first words of a property's sentence as its type."""
    del app, name, found, options
    if what in {"attribute", "property"}:
        lines.insert(0, "\\")  # an escaped end of line is nothing


def _readable_signature(  # noqa: PLR0917 -- what Sphinx calls it with
    app: Sphinx, what: str, name: str, found: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Leave out what readers never call, and write the defaults of attrs classes as values instead of placeholders."""
    del app, name, options
    if what == "exception" or getattr(found, "_is_protocol", False):
        return "", None
    if signature is None or not isinstance(found, type) or not attrs.has(found):
        return signature, returns
    fields = attrs.fields_dict(found)
    signature = re.sub(r"attr_dict\['(\w+)'\]\.default", lambda hit: repr(fields[hit[1]].default), signature)
    return signature.replace("NOTHING", "..."), returns


def setup(app: Sphinx) -> None:
    """Register what this project adds to Sphinx."""
    app.connect("missing-reference", _public_name)
    app.connect("autodoc-process-signature", _readable_signature)
    app.connect("autodoc-process-docstring", _no_type_before_a_colon, priority=400)

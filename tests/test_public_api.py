"""The public names: what can be imported, what type checkers see and what is exported agree; nothing loads early."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ocidist

ROOT = Path(ocidist.__file__).parent


def _seen_by_type_checkers() -> set[str]:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names} - {"errors"}


def _loaded_by(statement: str) -> set[str]:
    program = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    return set(json.loads(run.stdout))


@pytest.mark.parametrize("name", ocidist.__all__)
def test_every_exported_name_can_be_imported_and_has_a_docstring(name: str) -> None:
    found = getattr(ocidist, name)
    assert not inspect.isclass(found) or inspect.getdoc(found)


def test_type_checkers_see_exactly_the_exported_names() -> None:
    assert _seen_by_type_checkers() == set(ocidist.__all__) - set(ocidist.errors.__all__)
    assert len(ocidist.__all__) == len(set(ocidist.__all__))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        ocidist.Nothing  # noqa: B018 -- that is the point


def test_nothing_is_printed_by_a_program_that_does_not_configure_logging() -> None:
    program = (
        "import logging, ocidist; ocidist.Client; logging.getLogger('ocidist.http').error('heard');"
        "logging.basicConfig(); logging.getLogger('ocidist.http').error('seen')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert (run.stdout, run.stderr) == ("", "ERROR:ocidist.http:seen\n")


def test_errors_end_in_error_and_share_one_root() -> None:
    for name in set(ocidist.errors.__all__) - {"ErrorInfo"}:
        assert name.endswith("Error")
        assert issubclass(getattr(ocidist.errors, name), ocidist.OciError)


@pytest.mark.parametrize("statement", ["import ocidist", "import ocidist.wire", "import ocidist.wire.endpoints"])
def test_importing_the_package_or_the_protocol_loads_no_network_library(statement: str) -> None:
    heavy = {"httpx", "anyio", "asyncio", "trio", "cattrs", "jwt", "stamina", "ssl", "socket"}
    assert not heavy & _loaded_by(statement)


def test_the_client_does_not_load_what_it_may_never_need() -> None:
    late = {"cattrs", "jwt", "stamina", "uvicorn", "cryptography", "trio", "ocidist.server.app"}
    assert not late & _loaded_by("from ocidist import Client")


def test_what_docker_had_before_is_not_loaded_unasked() -> None:
    everything = "import ocidist; [getattr(ocidist, name) for name in ocidist.__all__]"
    assert not [name for name in _loaded_by(everything) if name.startswith(("ocidist.engine", "ocidist.legacy"))]


def test_values_do_not_load_the_client() -> None:
    assert not {"httpx", "anyio"} & _loaded_by("from ocidist import Digest, Reference, Descriptor, Manifest")

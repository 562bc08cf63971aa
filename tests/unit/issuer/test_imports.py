from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from ocidist import issuer

HEAVY = {"jwt", "cryptography", "bcrypt", "anyio"}


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def loaded_by(statement: str) -> set[str]:
    return set(run(f"import sys; {statement}; print(*sys.modules)").split())


@pytest.mark.parametrize("name", issuer.__all__)
def test_every_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    found = getattr(issuer, name)
    if inspect.isclass(found) or inspect.isfunction(found):
        assert inspect.getdoc(found)
        assert found.__module__ == f"ocidist.issuer.{issuer._MODULES[name]}"


def test_type_checkers_see_exactly_the_exported_names() -> None:
    tree = ast.parse(Path(inspect.getfile(issuer)).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(seen) == sorted(issuer.__all__) == sorted(issuer._MODULES)
    with pytest.raises(AttributeError, match="Nothing"):
        issuer.Nothing  # noqa: B018 -- that is the point


def test_nothing_is_loaded_before_it_is_needed() -> None:
    assert not HEAVY & loaded_by("import ocidist.issuer")
    assert "ocidist.issuer" not in loaded_by("import ocidist")
    assert not {"jwt", "cryptography"} & loaded_by("from ocidist.issuer import Htpasswd")
    assert "ocidist.issuer.htpasswd" not in loaded_by("from ocidist.issuer import TokenApp, TokenVerifier")


def test_the_embedded_registry_loads_no_issuer_until_it_asks_somebody() -> None:
    statement = "from ocidist.server import PasswordGuard, RegistryApp, TokenGuard"
    assert not {"jwt", "cryptography", "bcrypt", "ocidist.issuer"} & loaded_by(statement)


@pytest.mark.parametrize(("name", "library"), [("TokenIssuer", "cryptography"), ("Htpasswd", "bcrypt")])
def test_without_the_extra_the_error_names_it(name: str, library: str) -> None:
    program = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {library!r}:
            raise ModuleNotFoundError(f"No module named {{name}}", name=name)
sys.meta_path.insert(0, Missing())
try:
    from ocidist.issuer import {name}
except ImportError as error:
    print(error)
"""
    assert run(program) == f"{name} needs {library}: pip install 'ocidist[issuer]'"

"""Rules about the project itself: what it says of itself, how it is laid out, and that exceptions have reasons."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import warnings
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import ocidist

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TEST_COMMAND = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s tests"
FOLDERS = {"src", "tests", "benchmarks", "docs"}
MOST_LINES = 600


def _python_files() -> list[Path]:
    """Return the project's own Python files."""
    return [ROOT / "noxfile.py", *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]


def _lines(pattern: str) -> list[tuple[str, str]]:
    """Return where lines of Python that contain a pattern stand, with the rest of the line from there."""
    found = []
    for path in _python_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if path != Path(__file__) and (hit := re.search(pattern, line)):
                found.append((f"{path.relative_to(ROOT)}:{number}", line[hit.start() :]))
    return found


def test_the_version_is_that_of_the_installed_distribution() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert ocidist.__version__ == metadata.version("ocidist")
    assert not caught


def test_an_attribute_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        ocidist.no_such_name  # noqa: B018 -- the access is the test


def test_the_metadata_says_what_the_architecture_says() -> None:
    about = metadata.metadata("ocidist")
    assert about["Requires-Python"] == ">=3.11"
    assert about["License-Expression"] == "Apache-2.0"
    assert set(about.get_all("Provides-Extra") or ()) == {
        *("cli", "dask", "http2", "issuer", "mirror", "otel", "server", "testing", "uvloop"),
    }
    required = [Requirement(text) for text in metadata.requires("ocidist") or ()]
    assert {each.name for each in required if each.marker is None} == {
        *("anyio", "attrs", "cattrs", "httpx", "pyjwt"),  # the owner's five
        *("httptools", "publicsuffixlist", "stamina", "truststore"),
    }
    assert next(str(each.specifier) for each in required if each.name == "httpx" and each.marker is None) == "<1,>=0.28"


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(ocidist.__path__[0]) / "py.typed").is_file()


def test_importing_the_package_or_the_wire_protocol_loads_no_network_library() -> None:
    script = (
        "import sys, ocidist, ocidist.wire.challenge, ocidist.wire.egress, ocidist.wire.errorbody, ocidist.wire.token\n"
        "print(sorted({'anyio', 'asyncio', 'cattrs', 'httpx', 'jwt', 'socket', 'ssl', 'stamina'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_the_top_level_has_no_other_folders() -> None:
    ignored = {
        line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines() if line.endswith("/")
    }
    found = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert found - ignored == FOLDERS


def test_no_python_file_is_longer_than_anybody_can_hold_in_mind() -> None:
    counts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in _python_files()}
    assert {path: count for path, count in counts.items() if count > MOST_LINES} == {}


def test_every_ignored_lint_rule_has_its_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.isort]")]
    rules = re.findall(r'^  "[A-Z]+[0-9]*",(.*)$', section, re.MULTILINE)
    lint = PYPROJECT["tool"]["ruff"]["lint"]
    assert len(rules) == len(lint["ignore"]) + sum(map(len, lint["per-file-ignores"].values()))
    assert [rule for rule in rules if not re.fullmatch(r" # .{5,}", rule)] == []


def test_every_exception_in_the_code_has_its_reason_beside_it() -> None:
    unexplained = [
        *(
            found
            for found in _lines(r"# noqa")
            if not re.match(r"# noqa: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)* +(-- )?\w.{4,}", found[1])
        ),
        *(
            found
            for found in _lines(r"# type: ignore")
            if not re.match(r"# type: ignore\[[a-z, -]+\]  # .{5,}", found[1])
        ),
        *(
            found
            for found in _lines(r"# pyright: ignore")
            if not re.match(r"# pyright: ignore\[\w+\]  # .{5,}", found[1])
        ),
        *(found for found in _lines(r"# pragma: no cover") if not re.match(r"# pragma: no cover -- .{5,}", found[1])),
    ]
    assert unexplained == []


@pytest.mark.parametrize("place", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_one_command_runs_the_tests_everywhere(place: str) -> None:
    assert TEST_COMMAND in (ROOT / place).read_text(encoding="utf-8")


def test_changelog_fragments_have_names_that_towncrier_collects() -> None:
    kinds = "|".join(kind["directory"] for kind in PYPROJECT["tool"]["towncrier"]["type"])
    names = [path.name for path in (ROOT / "docs" / "changes").iterdir() if path.name != "README.md"]
    assert [name for name in names if not re.fullmatch(rf"([0-9]+|\+[a-z0-9-]+)\.({kinds})(\.[0-9]+)?\.md", name)] == []

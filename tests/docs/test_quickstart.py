"""The quickstart does what the README promises and the tutorial shows, and its failures are failures."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from functools import partial

import pytest

import ocidist.server
from ocidist import UnsupportedError
from tests.docs.pages import DOCS, ROOT

QUICKSTART = DOCS / "examples" / "quickstart.py"
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOUR = "python3 -m venv .venv && .venv/bin/pip install '.[server]' && .venv/bin/python docs/examples/quickstart.py"
COMMANDS = (
    "python3 -m venv .venv && .venv/bin/pip install '.[cli,server]' && .venv/bin/ocidist demo",
    "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s tests",
)
LONGEST_EXAMPLE = 10

# What differs from one run to the next.
VARYING = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=Done in )[\d.]+|[\d.]+(?= s$)|\d+(?= mounted| skipped)", re.MULTILINE)


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_quickstart_prints_what_the_tutorial_shows() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(QUICKSTART)], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    tutorial = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    command, _, shown = _blocks(tutorial, "console")[0].partition("\n")
    assert command == f"$ {TOUR}"
    assert VARYING.sub("_", done.stdout) == VARYING.sub("_", shown)


def test_the_demonstration_prints_what_the_readme_shows() -> None:
    command = [sys.executable, "-W", "error", "-m", "ocidist", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    first, _, shown = _blocks(README, "console")[0].partition("\n")
    assert first == f"$ {COMMANDS[0]}"
    assert VARYING.sub("_", done.stderr + done.stdout) == VARYING.sub("_", shown)


def test_a_quickstart_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    read_only = partial(ocidist.server.RegistryApp, read_only=True)
    monkeypatch.setattr(ocidist.server, "RegistryApp", read_only)
    with pytest.raises(UnsupportedError):
        runpy.run_path(str(QUICKSTART), run_name="__main__")


@pytest.mark.parametrize("command", COMMANDS, ids=["demo", "tests"])
def test_the_readme_has_its_commands(command: str) -> None:
    assert [block for block in _blocks(README, "console") if block.startswith(f"$ {command}\n")]


def test_the_readmes_first_example_is_short() -> None:
    lines = [line for line in _blocks(README, "python")[0].splitlines() if line]
    assert len(lines) <= LONGEST_EXAMPLE


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_the_readme_links_to_what_is_there(target: str) -> None:
    assert (ROOT / target).is_file()


def test_the_readme_promises_nothing_that_is_not_there() -> None:
    assert not re.search(r"planned|not there yet|coming soon", README, re.IGNORECASE)

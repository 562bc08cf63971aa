"""The reference of the command line says what there is: verbs, exit statuses, environment, and fields of JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from ocidist.cli import failure
from ocidist.cli.running import SIGNALS
from tests.cli.support import SNAPSHOTS
from tests.cli.test_verbs import CASES
from tests.docs.pages import DOCS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
DESCRIPTOR = {"mediaType", "digest", "size", "artifactType", "annotations", "platform"}


def fields(value: Any, within: str = "") -> Iterator[str]:  # noqa: ANN401 -- JSON may be anything
    """Yield the names of fields; what manifests and annotations hold is theirs."""
    if isinstance(value, dict) and within not in {"manifest", "annotations"}:
        for name, inner in value.items():
            yield name
            yield from fields(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from fields(inner, within)


def test_every_verb_has_a_section() -> None:
    assert set(SECTIONS) == {*CASES, "Errors"}


@pytest.mark.parametrize("verb", CASES)
def test_every_option_and_field_of_a_verb_is_there(verb: str) -> None:
    name = verb.replace(" ", "-")
    usage = (SNAPSHOTS / f"{name}.help.txt").read_text().partition(" Output\n")[0]
    options = {found for found in re.findall(r"^ (--[a-z-]+)", usage, re.MULTILINE) if found != "--help"}
    if verb != "serve":
        assert {option for option in options if option not in SECTIONS[verb]} == set()
    path = SNAPSHOTS / f"{name}.json.txt"
    if path.exists():
        known = set(re.findall(r"`(\w+)`", SECTIONS[verb])) | DESCRIPTOR
        assert set(fields(json.loads(path.read_text()))) <= known


def test_every_field_of_an_error_is_there() -> None:
    known = set(re.findall(r"`(\w+)`", SECTIONS["Errors"]))
    for verb in CASES:
        text = (SNAPSHOTS / f"{verb.replace(' ', '-')}.error.txt").read_text()
        assert set(fields(json.loads(text[text.index("\n{") :]))) <= known


def test_every_status_and_variable_is_there() -> None:
    statuses = {int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    ours = {failure.FAILED, failure.USAGE, failure.NOT_FOUND, failure.AUTH, failure.INTEGRITY, failure.PARTIAL}
    assert statuses == {0, *ours, failure.BROKEN_PIPE, *(failure.SIGNAL + number for number in SIGNALS)}
    helps = "".join(path.read_text() for path in SNAPSHOTS.glob("*.help.txt"))
    assert set(re.findall(r"OCIDIST_\w+", helps)) == set(re.findall(r"OCIDIST_\w+", PAGE))

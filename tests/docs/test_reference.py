"""The reference is complete and true: public names, errors, limits and quirks."""

from __future__ import annotations

import inspect
import re

import attrs
import pytest

import ocidist
from ocidist import errors
from ocidist.wire.errorbody import CODES
from tests.docs.pages import DOCS, ROOT, Row, names, quoted, resolve, rows
from tests.docs.seed_names import NAMES

REFERENCE = DOCS / "reference"
DOCUMENTED = {
    found[1]
    for page in REFERENCE.glob("*.md")
    for found in re.finditer(r"^\.\. auto(?:class|exception|data|function):: ([\w.]+)", page.read_text(), re.MULTILINE)
}
MAPPED = [row for row in rows(REFERENCE / "errors.md") if row.header == ("kind", "name", "class")]
LIMITS = [row for row in rows(REFERENCE / "limits.md") if row.header == ("what", "limit", "held by")]
QUIRKS = [row for row in rows(REFERENCE / "quirks.md") if row.header[-1] == "test"]
UNITS = {"": 1, "bytes": 1, "KiB": 1024, "MiB": 1024**2, "s": 1}

# The outcomes that the fault tests are written in.
OUTCOMES = """
AuthError AuthRealmRefused BodyNotReplayable ClosedError ConnectError CredentialStoreError CredentialsRejected
DigestMismatch LimitExceeded LocationRefused NotFound ProtocolError ProtocolError(loop) RateLimited RedirectRefused
ScopeDenied SizeMismatch StorageError Timeout TlsError TruncatedBody UnexpectedStatus UnexpectedStatus(413)
UnverifiableDigest UploadConflict UploadExpired
"""
# A comment of the seed mentions it, and no code does.
NOT_THERE = {"ErrTagUntrusted"}


# --- public names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(ocidist.__all__) - set(errors.__all__)))
def test_every_public_name_is_documented(name: str) -> None:
    assert name in DOCUMENTED


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_documented_and_says_when_it_is_raised(name: str) -> None:
    assert f"ocidist.errors.{name}" in DOCUMENTED
    text = inspect.getdoc(getattr(errors, name)) or ""
    assert text.startswith("Raised when") or name in {"OciError", "ErrorInfo"}


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"ErrorInfo"}))
def test_every_error_class_is_named_as_one(name: str) -> None:
    assert name.endswith("Error")
    assert issubclass(getattr(errors, name), errors.OciError)


@pytest.mark.parametrize("row", MAPPED, ids=lambda row: row.cells[1])
def test_every_mapped_name_is_one_class(row: Row) -> None:
    assert len(quoted(row.cells[1])) == 1
    (found,) = map(resolve, names(row.cells[2]))
    assert isinstance(found, type)
    assert issubclass(found, errors.OciError) or found is ocidist.Mounted


def _mapped(kind: str) -> dict[str, object]:
    found = [row for row in MAPPED if row.cells[0] == kind]
    table = {quoted(row.cells[1])[0]: resolve(names(row.cells[2])[0]) for row in found}
    assert len(table) == len(found)
    return table


def test_every_code_of_a_registry_is_mapped_as_the_client_does_it() -> None:
    assert _mapped("code") == dict(CODES)


def test_every_sentinel_and_error_type_of_the_distribution_seed_is_mapped() -> None:
    expected = {name for name in NAMES["docker `distribution`"] if re.fullmatch(r"Err\w+", name)}
    assert set(_mapped("seed")) == expected - NOT_THERE


def test_every_outcome_of_the_fault_tests_is_mapped() -> None:
    assert set(_mapped("fault")) == set(OUTCOMES.split())


def test_the_error_table_and_the_seed_map_agree() -> None:
    seeds = {
        name: names(row.cells[1])[0]
        for row in rows(REFERENCE / "seeds.md")
        if row.section == "docker `distribution`" and row.cells[2] == "here"
        for name in quoted(row.cells[0])
    }
    for name, found in _mapped("seed").items():
        assert resolve(seeds[name]) is found


# --- limits ----------------------------------------------------------------------------------------------------------


def _number(text: str) -> float:
    found = re.fullmatch(r"([\d ]*\d) ?([A-Za-z]*)", text)
    assert found
    return int(found[1].replace(" ", "")) * UNITS[found[2]]


def _actual(name: str) -> object:
    path, _, argument = name.removesuffix("=)").partition("(")
    if argument:
        found = resolve(path)
        assert callable(found)
        return inspect.signature(found).parameters[argument].default
    owner, _, attribute = path.rpartition(".")
    holder = resolve(owner)
    if isinstance(holder, type) and attrs.has(holder):
        return attrs.fields_dict(holder)[attribute].default
    return resolve(path)


@pytest.mark.parametrize("row", LIMITS, ids=lambda row: row.cells[2])
def test_every_limit_is_what_the_page_says(row: Row) -> None:
    (held_by,) = names(row.cells[2])
    assert _actual(held_by) == _number(row.cells[1])


# --- quirks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", QUIRKS, ids=lambda row: row.cells[3])
def test_every_quirk_has_its_test(row: Row) -> None:
    (start,) = quoted(row.cells[3])
    wanted = re.compile(rf"def {start}_", re.ASCII)
    assert any(wanted.search(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py"))


# --- loggers ---------------------------------------------------------------------------------------------------------


def test_every_logger_is_in_the_table() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    used = {name for text in sources for name in re.findall(r'"(ocidist\.(?!observe)[a-z]+)"', text)}
    loggers = {name for text in sources for name in re.findall(r'getLogger\("(ocidist\.[\w.]*)"\)', text)}
    table = {quoted(row.cells[0])[0] for row in rows(REFERENCE / "events.md") if row.header == ("logger", "says")}
    assert loggers <= table <= used | loggers


def test_no_table_of_the_reference_is_empty() -> None:
    assert min(len(MAPPED), len(LIMITS), len(QUIRKS)) > len(UNITS)

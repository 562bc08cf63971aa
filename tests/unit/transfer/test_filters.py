from __future__ import annotations

import builtins
import time
from typing import TYPE_CHECKING

import pytest

from ocidist import UsageError
from ocidist.transfer import filters
from ocidist.transfer.filters import MAX_PATTERN, MAX_PATTERNS, TagFilter, name_matcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAGS = [
    "v1",
    "1.2",
    "1.2.0",
    "v2.9.9",
    "3.0.0",
    "3.0.0-rc1",
    "2.0.0-rc1",
    "0.9.1",
    "0.10.0",
    "latest",
    "20240101",
    "1.2.3_build",
    "1.02.3",
]
VERSIONS = ["0.0.3", "0.0.4", "0.3.1", "0.4.0", "1.0.0", "1.2.3-rc.2", "1.2.3", "1.3.0", "2.0.0"]


def accepted(tags: Sequence[str], **rules: object) -> list[str]:
    return [tag for tag in tags if TagFilter(**rules).accepts(tag)]  # type: ignore[arg-type]  # as the test has them


def test_without_rules_every_tag_is_meant() -> None:
    assert accepted(TAGS) == TAGS
    assert TagFilter().is_empty
    assert not TagFilter(deny=["x"]).is_empty


def test_globs_allow_and_deny() -> None:
    assert accepted(TAGS, allow=["v*", "latest"], deny=["v1"]) == ["v2.9.9", "latest"]
    assert accepted(TAGS, deny=["*-rc[0-9]", "*.*"]) == ["v1", "latest", "20240101"]
    assert accepted(["a", "A", "b"], allow=["[!b]"]) == ["a", "A"]
    assert accepted(["v1", "xv1", "v1x"], allow=["v?"]) == ["v1"]
    assert accepted(["v1", "V1"], allow=["v1"]) == ["v1"]


def test_a_range_of_versions() -> None:
    assert accepted(TAGS, semver=">=1.2, <3 || 0.9.x") == ["1.2", "1.2.0", "v2.9.9", "0.9.1", "1.2.3_build"]
    assert accepted(TAGS, semver="^2", allow=["latest"], deny=["v*"]) == ["latest"]


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("*", "0.0.3", "2.0.0"),
        ("x", "0.0.3", "2.0.0"),
        ("^1.2", "1.2.3", "1.3.0"),
        ("^0.3", "0.3.1", "0.3.1"),
        ("^0.0.3", "0.0.3", "0.0.3"),
        ("^0", "0.0.3", "0.4.0"),
        ("~1.2", "1.2.3", "1.2.3"),
        ("~1", "1.0.0", "1.3.0"),
        ("1", "1.0.0", "1.3.0"),
        ("=1.2.3", "1.2.3", "1.2.3"),
        ("==v1.2.3", "1.2.3", "1.2.3"),
        (">1", "2.0.0", "2.0.0"),
        (">=1.3", "1.3.0", "2.0.0"),
        ("<=1.2", "0.0.3", "1.2.3"),
        ("<1.2", "0.0.3", "1.0.0"),
        (">=0.4 <1.3", "0.4.0", "1.2.3"),
    ],
)
def test_what_ranges_mean(text: str, first: str, last: str) -> None:
    released = [version for version in VERSIONS if "-" not in version]
    assert accepted(VERSIONS, semver=text) == released[released.index(first) : released.index(last) + 1]


def test_a_prerelease_is_meant_only_where_the_range_names_one() -> None:
    assert accepted(VERSIONS, semver=">1.2.3-rc.1 <2") == ["1.2.3-rc.2", "1.2.3", "1.3.0"]
    assert accepted(["1.2.3-alpine", "1.2.3"], semver="1.2.x") == ["1.2.3"]
    assert accepted(["1.2.3-alpine", "1.2.3"], semver="!=1.2.3 || 1.2.3-alpine") == ["1.2.3-alpine"]


@pytest.mark.parametrize(
    "text", ["", " ", "||", "foo", ">", "!=1", "<*", ">=1.2.3.4", "1..2", "1 - 2", "v", "1.2.3-01"]
)
def test_a_malformed_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"range|version"):
        TagFilter(semver=text)


@pytest.mark.parametrize(
    "rules",
    [
        {"allow": [""]},
        {"allow": ["v1:*"]},
        {"deny": ["a b"]},
        {"deny": ["é"]},
        {"allow": "v*"},
        {"allow": [1]},
        {"semver": 1},
        {"allow": ["v" * (MAX_PATTERN + 1)]},
        {"semver": "1" + " " * MAX_PATTERN},
        {"deny": ["v"] * (MAX_PATTERNS + 1)},
    ],
)
def test_patterns_that_can_match_nothing_or_take_too_long_are_refused(rules: Mapping[str, object]) -> None:
    with pytest.raises(UsageError):
        TagFilter(**rules)  # type: ignore[arg-type]  # wrong on purpose


def test_limits_are_met_exactly() -> None:
    TagFilter(allow=["v" * MAX_PATTERN], deny=["v"] * MAX_PATTERNS, semver="1" + " " * (MAX_PATTERN - 1))


def test_no_pattern_takes_long() -> None:
    began = time.process_time()
    for pattern in ("*a" * 100 + "b", "?*" * 100 + "b", "[ab]*" * 50 + "c"):
        assert not TagFilter(allow=[pattern]).accepts("a" * 128)
        assert not name_matcher(pattern)("a" * 255)
    assert time.process_time() - began < 1


def test_many_globs_are_compiled_once_and_not_for_each_tag() -> None:
    several = [TagFilter(allow=[f"v{number}.{kind}.*" for number in range(MAX_PATTERNS)]) for kind in range(2)]
    began = time.process_time()
    for number in range(40):
        assert [each.accepts(f"v{number}.1.0") for each in several] == [False, True]
    assert time.process_time() - began < 3


@pytest.mark.parametrize("pattern", ["[", "v[", "[a", "[]", "v1[-"])
def test_what_can_match_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="matches no tag"):
        TagFilter(allow=[pattern])


def test_names_of_repositories_match_with_slashes() -> None:
    matches = name_matcher("acme/*")
    assert matches("acme/app")
    assert matches("acme/team/app")
    assert not matches("acme")
    assert not matches("acmes/app")
    with pytest.raises(UsageError):
        name_matcher("Acme/*")


def test_without_the_package_a_range_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def importing(name: str, *args: object, **kwargs: object) -> object:
        if name == "semver":
            raise ImportError
        return real(name, *args, **kwargs)  # type: ignore[arg-type]  # as the interpreter gave them

    filters.version_range.cache_clear()
    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(UsageError, match=r"ocidist\[mirror\]"):
        TagFilter(semver=">=77")
    assert TagFilter(allow=["v*"]).accepts("v1")

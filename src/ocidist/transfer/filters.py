"""Which tags are mirrored: globs that allow or deny, and ranges of versions."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from ocidist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from semver import Version

MAX_PATTERN: Final = 256
"""Longest glob or range that is read, in characters."""

MAX_PATTERNS: Final = 1000
"""Most globs of one kind."""

_TAG_GLOB: Final = re.compile(r"[A-Za-z0-9_.*?!^\[\]-]+", re.ASCII)
_NAME_GLOB: Final = re.compile(r"[a-z0-9_./*?!^\[\]-]+", re.ASCII)
WILD: Final = frozenset("*?[")
"""What makes a name a glob."""

_NUMBER: Final = r"(?:0|[1-9][0-9]{0,17})"
_WILDCARD: Final = r"(?:[xX*])"
_COMPARATOR: Final = re.compile(
    rf"(?P<op>>=|<=|!=|==|=|>|<|\^|~)?\s*v?(?P<major>{_NUMBER}|{_WILDCARD})"
    rf"(?:\.(?P<minor>{_NUMBER}|{_WILDCARD}))?(?:\.(?P<patch>{_NUMBER}|{_WILDCARD}))?"
    rf"(?:-(?P<pre>[0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?",
    re.ASCII,
)


class _Matches(Protocol):
    def __call__(self, text: str, /) -> object: ...


@lru_cache(maxsize=256)
def _compiled(*globs: str) -> Callable[[str], object]:
    # As one: there may be a thousand, for each of ten thousand tags.
    return re.compile("|".join(map(translate, globs))).match


def is_glob(text: str) -> bool:
    """Return whether a name holds a wildcard."""
    return not WILD.isdisjoint(text)


def name_matcher(glob: str) -> _Matches:
    """Return what tells whether a repository's name matches a glob; ``*`` stands for slashes, too.

    Raises:
        UsageError: It is too long, or can match no name.
    """
    return _compiled(_checked(glob, _NAME_GLOB, "repository"))


def _checked(glob: str, grammar: re.Pattern[str], what: str) -> str:
    if not isinstance(glob, str):
        raise UsageError(f"a pattern is a string, not {type(glob).__name__}")
    if len(glob) > MAX_PATTERN:
        raise UsageError(f"a pattern has at most {MAX_PATTERN} characters, this one has {len(glob)}")
    # A bracket that is not closed stands for itself, and no name has one.
    if grammar.fullmatch(glob) is None or r"\[" in translate(glob):
        why = "it holds characters that none has, and is no regular expression: any characters are '*', not '.*'"
        raise UsageError(f"{glob!r} matches no {what}: {why if glob else 'it is empty'}")
    return glob


def _globs(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise UsageError(f"patterns are given as a list: [{value!r}]")
    try:
        found = tuple(value)
    except TypeError:
        raise UsageError(f"patterns are given as a list, not {type(value).__name__}") from None
    if len(found) > MAX_PATTERNS:
        raise UsageError(f"there are at most {MAX_PATTERNS} patterns, not {len(found)}")
    return tuple(_checked(glob, _TAG_GLOB, "tag") for glob in found)


def _range(value: str | None) -> str | None:
    if value is not None:
        version_range(value)
    return value


@attrs.frozen(kw_only=True)
class TagFilter:
    """Which tags are meant: those that a glob allows or that are in a range of versions, and that no glob denies.

    Without ``allow`` and ``semver`` that is every tag but the denied ones. Globs are those of the shell: ``*``, ``?``,
    ``[0-9]``, ``[!0-9]``; they take the tag as a whole, and upper and lower case differ.

    Attributes:
        allow: Globs, one of which a tag must match, unless it is in the range.
        deny: Globs none of which it may match.
        semver: Range of versions: ``>=1.2, <3 || 0.9.x``, ``^1.4``, ``~2.1``. Tags that are no versions are not in it;
            ``v1.2`` is version 1.2.0, and pre-releases (``1.3.0-rc1``, ``1.3.0-alpine``) are in it only where the range
            names one itself. Needs the package ``semver``.

    Raises:
        UsageError: A glob or the range is malformed or too long, or there is a range and no package to read it.
    """

    allow: tuple[str, ...] = attrs.field(default=(), converter=_globs)
    deny: tuple[str, ...] = attrs.field(default=(), converter=_globs)
    semver: str | None = attrs.field(default=None, converter=_range)

    def accepts(self, tag: str) -> bool:
        """Return whether a tag is meant."""
        if self.deny and _compiled(*self.deny)(tag):
            return False
        if self.semver is None and not self.allow:
            return True
        if self.allow and _compiled(*self.allow)(tag):
            return True
        return self.semver is not None and version_range(self.semver).holds(tag)

    @property
    def is_empty(self) -> bool:
        """Whether every tag is meant."""
        return not self.allow and not self.deny and self.semver is None


# --- versions --------------------------------------------------------------------------------------------------------


@attrs.frozen
class _Comparison:
    op: str
    version: Version

    def holds(self, version: Version) -> bool:
        order = version.compare(self.version)
        return {
            ">=": order >= 0,
            "<=": order <= 0,
            ">": order > 0,
            "<": order < 0,
            "=": order == 0,
            "!=": order != 0,
        }[self.op]


@attrs.frozen
class VersionRange:
    """Versions that one of several alternatives takes; each is a number of comparisons that all have to hold."""

    alternatives: tuple[tuple[_Comparison, ...], ...]

    def holds(self, tag: str) -> bool:
        """Return whether a tag is a version in the range."""
        version = _version(tag)
        return version is not None and any(_all_hold(comparisons, version) for comparisons in self.alternatives)


def _all_hold(comparisons: tuple[_Comparison, ...], version: Version) -> bool:
    # 3.0.0-rc1 comes before 3.0.0, and is not what "<3" means to anybody.
    if version.prerelease and not any(each.version.prerelease for each in comparisons):
        return False
    return all(each.holds(version) for each in comparisons)


@lru_cache(maxsize=64)
def version_range(text: str) -> VersionRange:
    """Read a range of versions.

    Raises:
        UsageError: It is malformed or too long, or the package ``semver`` is not installed.
    """
    if not isinstance(text, str):
        raise UsageError(f"a range of versions is a string, not {type(text).__name__}")
    if len(text) > MAX_PATTERN:
        raise UsageError(f"a range has at most {MAX_PATTERN} characters, this one has {len(text)}")
    return VersionRange(tuple(tuple(_comparisons(part)) for part in text.split("||")))


def _comparisons(text: str) -> list[_Comparison]:
    found: list[_Comparison] = []
    position = 0
    while True:
        position += len(text[position:]) - len(text[position:].lstrip(" ,\t"))
        if position == len(text):
            break
        matched = _COMPARATOR.match(text, position)
        if matched is None or text[matched.end() : matched.end() + 1] not in {"", " ", ",", "\t"}:
            raise UsageError(f"{text.strip()!r} is not a range of versions (like '>=1.2, <3', '^1.4' or '0.9.x')")
        found += _bounds(**matched.groupdict())
        position = matched.end()
    if not found:
        raise UsageError("a range of versions is empty: '*' takes every version")
    return found


def _bounds(
    op: str | None, major: str, minor: str | None, patch: str | None, pre: str | None
) -> tuple[_Comparison, ...]:
    """Return the comparisons that one comparator stands for: ``1.2`` is ``>=1.2.0`` and ``<1.3.0``."""
    numbers: list[int] = []
    for part in (major, minor, patch):
        if part is None or not part.isdigit():
            break
        numbers.append(int(part))
    low = _make(numbers, pre)
    # The first version above all that begin with the numbers that are stated.
    above = None if not numbers else _make([*numbers[:-1], numbers[-1] + 1])
    whole = len(numbers) == 3
    if op == "^":
        return _between(low, _above_caret(numbers))
    if op == "~":
        return _between(low, _make([*numbers[:1], numbers[1] + 1]) if len(numbers) > 1 else above)
    return _compared(op or "=", low, above, whole=whole)


def _compared(op: str, low: Version, above: Version | None, *, whole: bool) -> tuple[_Comparison, ...]:
    if op in {"=", "=="} and not whole:
        return _between(low, above)
    if whole:
        return (_Comparison("=" if op == "==" else op, low),)
    if above is None:
        return _anything(op, low)
    # All of 1.2.x is meant: none of it is above 1.2, and none of it is below.
    ends = {">": (">=", above), "<=": ("<", above), ">=": (">=", low), "<": ("<", low)}
    if op in ends:
        return (_Comparison(*ends[op]),)
    raise UsageError(f"{op!r} takes a version with three numbers")


def _anything(op: str, low: Version) -> tuple[_Comparison, ...]:
    if op in {">=", "<="}:
        return (_Comparison(">=", low),)
    raise UsageError(f"no version is {op}*")


def _between(low: Version, above: Version | None) -> tuple[_Comparison, ...]:
    return (_Comparison(">=", low),) if above is None else (_Comparison(">=", low), _Comparison("<", above))


def _above_caret(numbers: list[int]) -> Version | None:
    """Return the first version that may break what uses this one: the next major, or minor below 1.0."""
    for index, number in enumerate(numbers):
        if number or index == len(numbers) - 1:
            return _make([*numbers[:index], number + 1])
    return None


def _make(numbers: list[int], pre: str | None = None) -> Version:
    padded = [*numbers, 0, 0, 0][:3]
    text = ".".join(map(str, padded)) + (f"-{pre}" if pre else "")
    found = _parse(text)
    if found is None:
        raise UsageError(f"{text!r} is not a version")
    return found


def _version(tag: str) -> Version | None:
    # Where a version has build metadata, its tag has "_" for the "+" that tags cannot hold; Helm began it.
    return _parse(tag.removeprefix("v").replace("_", "+", 1))


def _parse(text: str) -> Version | None:
    try:
        from semver import Version  # noqa: PLC0415 -- an extra, for those who have ranges
    except ImportError:
        raise UsageError("ranges of versions need the package semver: pip install 'ocidist[mirror]'") from None

    try:
        return Version.parse(text, optional_minor_and_patch=True)
    except ValueError:
        return None

"""A cursor over one header value: the lexical rules that challenges, links and warnings share.

Spec: RFC 9110, section 5.6 ("Common Rules for Defining Field Values").
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TCHAR = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
"""The characters of an RFC 9110 token."""

MAX_HEADER_CHARS = 16 * 1024
"""More than this in one header, all its lines together, is an attack: real challenges and links stay below 2 KiB."""

BLANK = " \t"

# Possessive, so that no input makes them go back.
_QUOTED = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class ScanError(ValueError):
    """The text does not follow the grammar; each parser turns it into its own error."""


def within_cap(values: Sequence[str]) -> bool:
    """Tell whether all lines of a header together stay below ``MAX_HEADER_CHARS``."""
    return sum(map(len, values)) <= MAX_HEADER_CHARS


def has_control(text: str) -> bool:
    """Tell whether a text holds a character that may not appear in a header value at all."""
    return _CONTROL.search(text) is not None


@lru_cache(maxsize=32)
def _run_of(chars: Iterable[str], *, but: bool = False) -> re.Pattern[str]:
    return re.compile(f"[{'^' if but else ''}{re.escape(''.join(chars))}]*+")


class Scanner:
    """A position in a text that only moves forward."""

    __slots__ = ("end", "pos", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.end = len(text)

    def done(self) -> bool:
        """Tell whether the whole text was read."""
        return self.pos >= self.end

    @property
    def char(self) -> str:
        """The character at the cursor, or an empty string at the end."""
        return self.text[self.pos] if self.pos < self.end else ""

    def skip(self, chars: str | frozenset[str] = BLANK) -> int:
        """Move past all of *chars*; return how many there were."""
        start = self.pos
        self._read(_run_of(chars))
        return self.pos - start

    def _read(self, run: re.Pattern[str]) -> str:
        found = self.take_match(run)
        return "" if found is None else found[0]

    def until(self, stops: str) -> str:
        """Read up to, not including, the first character of *stops* or the end."""
        return self._read(_run_of(stops, but=True))

    def take(self, char: str) -> bool:
        """Move past *char* if it is next."""
        if self.char == char:
            self.pos += 1
            return True
        return False

    def take_match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Move past what *pattern* finds at the cursor, and return it; None if it finds nothing."""
        found = pattern.match(self.text, self.pos)
        if found is not None:
            self.pos = found.end()
        return found

    def token(self) -> str:
        """Read a token, possibly empty."""
        return self._read(_run_of(TCHAR))

    def quoted(self) -> str:
        """Read a quoted string, quotes included; return what it says.

        Raises:
            ScanError: It does not end, or holds a control character.
        """
        found = self.take_match(_QUOTED)
        if found is None:
            self.pos = self.end
            msg = "a quoted string does not end"
            raise ScanError(msg)
        value = _PAIR.sub(r"\1", found[1]) if "\\" in found[1] else found[1]
        if has_control(value):
            msg = "a quoted string holds a control character"
            raise ScanError(msg)
        return value

"""A cursor over one header value: the lexical rules that challenges, links and warnings share.

Spec: RFC 9110, section 5.6 ("Common Rules for Defining Field Values").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TCHAR = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
"""The characters of an RFC 9110 token."""

MAX_HEADER_CHARS = 16 * 1024
"""More than this in one header, all its lines together, is an attack: real challenges and links stay below 2 KiB."""

BLANK = " \t"


class ScanError(ValueError):
    """The text does not follow the grammar; each parser turns it into its own error."""


def within_cap(values: Sequence[str]) -> bool:
    """Tell whether all lines of a header together stay below ``MAX_HEADER_CHARS``."""
    return sum(map(len, values)) <= MAX_HEADER_CHARS


def is_control(char: str) -> bool:
    """Tell whether a character may not appear in a header value at all."""
    return (char < " " and char != "\t") or char == "\x7f"


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
        while self.pos < self.end and self.text[self.pos] in chars:
            self.pos += 1
        return self.pos - start

    def until(self, stops: str) -> str:
        """Read up to, not including, the first character of *stops* or the end."""
        start = self.pos
        while self.pos < self.end and self.text[self.pos] not in stops:
            self.pos += 1
        return self.text[start : self.pos]

    def take(self, char: str) -> bool:
        """Move past *char* if it is next."""
        if self.char == char:
            self.pos += 1
            return True
        return False

    def token(self) -> str:
        """Read a token, possibly empty."""
        start = self.pos
        self.skip(TCHAR)
        return self.text[start : self.pos]

    def quoted(self) -> str:
        """Read a quoted string, quotes included; return what it says.

        Raises:
            ScanError: It does not end, or holds a control character.
        """
        self.pos += 1
        parts: list[str] = []
        while True:
            run = self.until('"\\')
            parts.append(run)
            if self.done():
                msg = "a quoted string does not end"
                raise ScanError(msg)
            closing = self.text[self.pos] == '"'
            self.pos += 1
            if closing:
                break
            if self.done():
                msg = "a quoted string does not end"
                raise ScanError(msg)
            parts.append(self.text[self.pos])
            self.pos += 1
        value = "".join(parts)
        if any(map(is_control, value)):
            msg = "a quoted string holds a control character"
            raise ScanError(msg)
        return value

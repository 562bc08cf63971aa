"""JSON as the Docker Engine writes and reads it.

The model's converter is for OCI's documents, whose readers refuse a field in another case. Go programs, which the
Engine and its clients are, take it; and they write ``<``, ``>`` and ``&`` as escapes, which matters to whoever compares
headers or signs them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from ocidist.errors import ProtocolError
from ocidist.model import strictjson

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")

MAX_DOCUMENT: Final = 8 * 1024 * 1024
"""Bytes of a document that are read."""

_ESCAPED: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_LONG: Final = {r"\b": r"\u0008", r"\f": r"\u000c"}
_ESCAPE: Final = re.compile(r"\\.")


def write(value: Mapping[str, object]) -> bytes:
    """Return a document, compact and in the order of its fields.

    None of the characters that are escaped occurs in JSON outside of strings.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = _ESCAPE.sub(lambda found: _LONG.get(found[0], found[0]), text)
    return text.translate(_ESCAPED).encode()


class Fields:
    """The fields of an object, found in any case; what is absent or null is the field's empty value.

    Args:
        value: What was read.
        what: What it is, for messages.

    Raises:
        ProtocolError: It is no object, or names a field in two ways.
    """

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise ProtocolError(f"{what} is not a JSON object")
        self._what = what
        self._values = {name.casefold(): entry for name, entry in value.items()}
        if len(self._values) != len(value):
            raise ProtocolError(f"{what} has a field twice, in different case")

    @classmethod
    def load(cls, data: bytes | str, what: str) -> Fields:
        """Read a document.

        Raises:
            ProtocolError: It is not JSON, too large, or no object.
        """
        if len(data) > MAX_DOCUMENT:
            raise ProtocolError(f"{what} is larger than {MAX_DOCUMENT} bytes")
        return cls(strictjson.loads(data, what=what, unique_keys=True), what)

    def text(self, name: str) -> str:
        """Return a string."""
        return self._typed(name, str) or ""

    def number(self, name: str) -> int:
        """Return an integer."""
        return self._typed(name, int) or 0

    def flag(self, name: str) -> bool:
        """Return a boolean."""
        return bool(self._typed(name, bool))

    def items(self, name: str) -> list[object]:
        """Return a list."""
        return self._typed(name, list) or []

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        return tuple(entry if isinstance(entry, str) else self._refuse(name) for entry in self.items(name))

    def objects(self, name: str) -> tuple[Fields, ...]:
        """Return a list of objects."""
        return tuple(Fields(entry, f"an entry of {name} in {self._what}") for entry in self.items(name))

    def mapping(self, name: str) -> Mapping[str, object]:
        """Return an object as it was read."""
        return self._typed(name, dict) or {}

    def _typed(self, name: str, kind: type[_T]) -> _T | None:
        found = self._values.get(name.casefold())
        if found is None:
            return None
        # A boolean is an integer to isinstance().
        if type(found) is not kind:
            self._refuse(name)
        return found

    def _refuse(self, name: str) -> NoReturn:
        raise ProtocolError(f"{name} in {self._what} is of another type")

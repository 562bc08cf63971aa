"""A JSON reader for bytes that a stranger wrote.

The standard reader accepts more than JSON (``NaN``, UTF-16, halves of surrogate pairs), keeps the last of two equal
keys, and may recurse or multiply digits for as long as the sender likes. This one reads RFC 8259 JSON in UTF-8 and
nothing else, within fixed limits. ``orjson`` was considered: it keeps the last of two equal keys and cannot be asked
not to.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NoReturn

from ocidist.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH: Final = 64
"""Deepest nesting of arrays and objects that is read; manifests need 5."""

MAX_NUMBER_LENGTH: Final = 100
"""Longest number that is read, in characters; the largest 64-bit integer has 20."""

_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_OTHERS = bytes(sorted(set(range(256)) - set(b"[{]}")))
# Possessive, so that no input makes it go back; the last branch takes a string that never ends.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SHOWN = 40


def loads(data: bytes | str, *, what: str, unique_keys: bool = False, merged_keys: bool = False) -> object:
    """Read one JSON document.

    Args:
        data: The document: UTF-8 bytes, or text.
        what: What it is, for the message ("token", "manifest").
        unique_keys: Refuse an object that names the same key twice.
        merged_keys: Put the values of equal keys together where they are objects, as Go does.

    Returns:
        The document as dicts, lists, strings, ints, floats, bools and None.

    Raises:
        ProtocolError: It is not JSON, starts with a byte order mark, is nested deeper than ``MAX_DEPTH``, or holds a
            number longer than ``MAX_NUMBER_LENGTH``, a number beyond a double, or half a surrogate pair.
    """
    try:
        text = _text(data)
        _check_depth(text)
        value = _read(text, _UNIQUE if unique_keys else _MERGED if merged_keys else _ANY)
        if "\\u" in text and _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        msg = f"the {what} is not valid Unicode"
    except (ValueError, RecursionError) as error:
        msg = f"the {what} is not valid JSON: {error}"
    else:
        return value
    raise ProtocolError(msg)


def _text(data: bytes | str) -> str:
    if isinstance(data, str):
        data.encode()
        text = data
    else:
        text = data.decode("utf-8")
    if text.startswith("\ufeff"):
        msg = "it starts with a byte order mark"
        raise ValueError(msg)
    return text


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    # Only brackets outside strings count: +1 for each that opens, -1 for each that closes, as signed bytes.
    steps = _STRING.sub("", text).encode().translate(_STEPS, delete=_OTHERS)
    if max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH:
        msg = f"it is nested deeper than {MAX_DEPTH} levels"
        raise ValueError(msg)


def _read(text: str, made: json.JSONDecoder) -> object:
    # Making a decoder takes as long as reading a small document.
    return json.loads(text, cls=lambda: made)  # type: ignore[arg-type]  # anything that makes one will do


def _integer(text: str) -> int:
    return int(text) if len(text) <= MAX_NUMBER_LENGTH else _too_long(text)


def _float(text: str) -> float:
    value = float(text) if len(text) <= MAX_NUMBER_LENGTH else _too_long(text)
    if math.isinf(value):
        msg = f"the number {text} is too large"
        raise ValueError(msg)
    return value


def _too_long(text: str) -> NoReturn:
    msg = f"it holds a number of {len(text)} characters"
    raise ValueError(msg)


def _constant(name: str) -> object:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
    msg = f"the key {twice[:_SHOWN]!r} appears twice in one object"
    raise ValueError(msg)


def merged(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Return pairs as an object: of equal keys the last one counts, and objects under them are put together."""
    value: dict[str, object] = {}
    for key, item in pairs:
        known = value.get(key)
        value[key] = known | item if isinstance(known, dict) and isinstance(item, dict) else item
    return value


_ANY: Final = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_constant)
_UNIQUE: Final = json.JSONDecoder(
    parse_int=_integer, parse_float=_float, parse_constant=_constant, object_pairs_hook=_unique
)
_MERGED: Final = json.JSONDecoder(
    parse_int=_integer, parse_float=_float, parse_constant=_constant, object_pairs_hook=merged
)

"""The rows of the fault matrix that are met here, and those that are not, with the reason."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANGES: Final = """
1-17 20-27 30-41 45-57 60-66 70-84 90-106 110-124 130-151 155-158 160-169 175-179 185-191 195-200 205-209 215-220
"""


def _rows() -> frozenset[str]:
    found = set()
    for word in _RANGES.split():
        first, _, last = word.partition("-")
        found |= {f"F{number:03}" for number in range(int(first), int(last or first) + 1)}
    return frozenset(found)


ROWS: Final = _rows()
"""Every row that belongs to what is built so far."""

NOT_BUILT: Final[Mapping[str, str]] = MappingProxyType({})

"""Where the parts of a file lie that is written in no order, and how the file itself says which of them are there.

Behind the content there is a record for each part, the SHA-256 of its bytes once they are written, and a footer that
tells how long content and parts are. What a process that was killed leaves is checked part by part, and nothing of it
is believed for being written down.
"""

from __future__ import annotations

import struct
from typing import Final, Self

import attrs

RECORD: Final = 32
"""Bytes of one record; all zero while the part is not there."""
FOOTER: Final = struct.Struct(">16sQQQ32s")
_MAGIC: Final = b"ocidist parts 1\n"
_MOST: Final = 2**63 - 1
MAX_PARTS: Final = 4096


@attrs.frozen
class Plan:
    """How a file is divided.

    Attributes:
        size: Bytes of the content.
        base: Offset at which the first part begins; what lies before it was there when the plan was made.
        step: Bytes of each part but the last.
        head: SHA-256 of what lies before the first part.
    """

    size: int
    base: int
    step: int
    head: bytes

    @property
    def count(self) -> int:
        """How many parts there are."""
        return -(-(self.size - self.base) // self.step)

    @property
    def length(self) -> int:
        """Bytes of the file with records and footer."""
        return self.footer_at + FOOTER.size

    @property
    def footer_at(self) -> int:
        """Offset of the footer."""
        return self.size + self.count * RECORD

    def span(self, index: int) -> tuple[int, int]:
        """Return the offsets of a part's first byte and behind its last one."""
        start = self.base + index * self.step
        return start, min(start + self.step, self.size)

    def record_at(self, index: int) -> int:
        """Return the offset of a part's record."""
        return self.size + index * RECORD

    def footer(self) -> bytes:
        """Return the footer."""
        return FOOTER.pack(_MAGIC, self.size, self.base, self.step, self.head)

    @classmethod
    def parse(cls, footer: bytes, length: int) -> Self | None:
        """Return the plan that a file's last bytes tell of; None if they tell of none for a file of this length."""
        if len(footer) != FOOTER.size:
            return None
        magic, size, base, step, head = FOOTER.unpack(footer)
        if magic != _MAGIC or not 0 <= base <= size <= _MOST or not 0 < step <= _MOST:
            return None
        plan = cls(size, base, step, head)
        return plan if plan.count <= MAX_PARTS and plan.length == length else None

"""The bytes of a memory store: lists of pieces, shared by digest between repositories, within one limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ocidist._io.body import PIECE
from ocidist.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocidist.model.digest import Buffer, Digest

HASH_AT_ONCE: Final = 4 * PIECE
"""Bytes hashed and copied before other tasks get their turn: a few milliseconds at most."""


class Budget:
    """Counts the bytes a store holds, unfinished uploads included.

    Args:
        limit: Most bytes, or None for no limit.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.used: int = 0

    def take(self, count: int) -> None:
        """Count bytes that are about to be kept.

        Raises:
            StorageError: There is no room for them; nothing was counted.
        """
        if self.limit is not None and self.used + count > self.limit:
            raise StorageError(f"the memory store is full: it may hold {self.limit} bytes")
        self.used += count

    def give(self, count: int) -> None:
        """Forget bytes that are not kept any more."""
        self.used -= count


class Pieces:
    """Bytes that grow at the end and can be read from any offset. All pieces but the last have the same length."""

    def __init__(self) -> None:
        self.size: int = 0
        self._full: list[bytes] = []
        self._tail = bytearray()

    def append(self, data: Buffer) -> None:
        """Copy bytes to the end."""
        with octets(data) as view:
            self.size += view.nbytes
            start = 0
            while start < view.nbytes:
                stop = start + PIECE - len(self._tail)
                part = view[start:stop]
                if part.nbytes == PIECE:
                    self._full.append(bytes(part))
                else:
                    self._tail += part
                if len(self._tail) == PIECE:
                    self._full.append(bytes(self._tail))
                    self._tail = bytearray()
                start = stop

    def piece(self, offset: int, limit: int) -> bytes:
        """Return at most *limit* bytes from an offset, fewer at the end of a piece, ``b""`` at the end of all."""
        index, start = divmod(offset, PIECE)
        if index < len(self._full):
            found = self._full[index]
            return found if not start and limit >= PIECE else found[start : start + limit]
        return bytes(self._tail[start : start + limit])

    def __iter__(self) -> Iterator[bytes]:
        yield from self._full
        if self._tail:
            yield bytes(self._tail)


class Pool:
    """Blobs by digest, each with the number of repositories that link it; the last link that goes frees the bytes."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._blobs: dict[Digest, Pieces] = {}
        self._links: dict[Digest, int] = {}

    def __getitem__(self, digest: Digest) -> Pieces:
        return self._blobs[digest]

    def __iter__(self) -> Iterator[Digest]:
        return iter(self._blobs)

    def __contains__(self, digest: object) -> bool:
        return digest in self._blobs

    def add(self, digest: Digest, pieces: Pieces) -> None:
        """Keep bytes that the budget counts already; a second copy of the same blob is let go."""
        if digest in self._blobs:
            self._budget.give(pieces.size)
        else:
            self._blobs[digest] = pieces
            self._links[digest] = 0

    def link(self, digest: Digest) -> None:
        """Count one more repository that has the blob."""
        self._links[digest] += 1

    def unlink(self, digest: Digest) -> None:
        """Count one repository less. Readers that are open keep the bytes to themselves."""
        self._links[digest] -= 1
        if not self._links[digest]:
            del self._links[digest]
            self._budget.give(self._blobs.pop(digest).size)


def octets(data: Buffer) -> memoryview:
    """Return any buffer as a view of its single bytes."""
    view = memoryview(data)
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())

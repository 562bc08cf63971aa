"""Sharing out repositories among machines that do not know of each other."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final, Self

import attrs

from ocidist.errors import UsageError

MAX_SHARDS: Final = 1000
"""Most machines that a job is shared out among."""

_TEXT: Final = re.compile(r"([0-9]{1,5})/([0-9]{1,5})", re.ASCII)


@attrs.frozen
class Shard:
    """One of several machines that share a mirror out by the repositories they write to.

    Every repository belongs to exactly one of them, the same on every machine; with another number of machines, only
    as many repositories change hands as must (rendezvous hashing).

    Attributes:
        index: Which one this is, counted from 0.
        count: How many there are.

    Raises:
        UsageError: There is no such shard.
    """

    index: int
    count: int

    def __attrs_post_init__(self) -> None:
        for value in (self.index, self.count):
            if type(value) is not int:
                raise UsageError(f"a shard is two whole numbers, not {value!r}")
        if not 1 <= self.count <= MAX_SHARDS:
            raise UsageError(f"there are 1 to {MAX_SHARDS} shards, not {self.count}")
        if not 0 <= self.index < self.count:
            raise UsageError(f"of {self.count} shards the last is {self.count - 1}: they are counted from 0")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``index/count``: ``0/4`` is the first of four.

        Raises:
            UsageError: It is something else, or there is no such shard.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            unset = "; perhaps a variable is not set" if text.startswith("/") or text.endswith("/") else ""
            raise UsageError(f"{text[:40]!r} is not a shard: write 0/4 for the first of four{unset}")
        return cls(int(found[1]), int(found[2]))

    def owns(self, repository: str) -> bool:
        """Return whether a repository (``host/repository``) is this shard's to write to."""
        return owner(repository, self.count) == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@lru_cache(maxsize=65536)
def owner(repository: str, count: int) -> int:
    """Return which of *count* shards a repository belongs to: the one with the highest score for it."""
    name = repository.encode()

    def score(index: int) -> bytes:
        return hashlib.blake2b(name, digest_size=8, salt=index.to_bytes(16, "big")).digest()

    return max(range(count), key=score)

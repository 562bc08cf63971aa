"""What hooks are told about one blob on its way."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Final, Self

from ocidist.errors import OciError
from ocidist.observe.events import (
    BlobMounted,
    TransferFailed,
    TransferFinished,
    TransferProgressed,
    TransferResumed,
    TransferStarted,
)

if TYPE_CHECKING:
    from types import TracebackType

    from ocidist.model.digest import Digest
    from ocidist.remote._channel import Channel

PULL: Final = "pull blob"
PUSH: Final = "push blob"
STEP: Final = 1024 * 1024
"""Bytes that are moved between one report and the next."""
_numbers = count(1)


class Transfer:
    """Tells hooks about one transfer: a context manager that begins it, and ends it as finished or failed.

    Args:
        channel: The repository.
        operation: ``PULL`` or ``PUSH``.
        digest: The blob, if it is known.
        size: Its size, if it is known.

    Attributes:
        digest: See above; may be set later.
        size: See above; may be set later.
        done: Bytes so far.
        complete: Whether leaving without an error means that the blob is there.
        joined: Whether it was gone on with after a failure, so that it is made of parts.
    """

    def __init__(self, channel: Channel, operation: str, digest: Digest | None = None, size: int | None = None) -> None:
        self._channel = channel
        self._operation = operation
        self._number = next(_numbers)
        self._told = 0
        self._moved = 0
        self._began = 0.0
        self._named: tuple[Digest | None, tuple[str, int, str, str]] | None = None
        self.digest: Digest | None = digest
        self.size: int | None = size
        self.done: int = 0
        self.complete: bool = operation == PULL
        self.joined: bool = False

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._channel.sender.emit(TransferStarted(*self._about(), self.size))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None and self.complete:
            self._tell()
            seconds = time.monotonic() - self._began
            self._channel.sender.emit(TransferFinished(*self._about(), self._moved, self.size, seconds))
            return
        if error is None:
            reason = "given up before the end"
        elif not isinstance(error, Exception):
            reason = "cancelled"
        else:
            reason = error.message if isinstance(error, OciError) else type(error).__name__
        name = type(error).__name__ if isinstance(error, Exception) else ""
        self._channel.sender.emit(TransferFailed(*self._about(), self.done, reason, name))

    def progress(self, done: int, size: int | None) -> None:
        """Take note of how many bytes are there by now; a ``Progress``."""
        self._moved += max(done - self.done, 0)
        self.done = done
        self.size = self.size if size is None else size
        if abs(done - self._told) >= STEP:
            self._tell()

    def resumed(self, offset: int, reason: str) -> None:
        """Tell that the transfer goes on at *offset* after what *reason* says."""
        self.done = self._told = offset
        self.joined = offset > 0
        self._channel.sender.emit(TransferResumed(*self._about(), offset, reason))

    def went_on(self, offset: int, reason: str) -> None:
        """Tell the same where all before *offset* was moved by this transfer, whether that was reported or not."""
        self.progress(offset, None)
        self.resumed(offset, reason)

    def mounted(self, source: str) -> None:
        """Tell that the blob was mounted from the repository *source*."""
        self._channel.sender.emit(BlobMounted(*self._about(), source))

    def _tell(self) -> None:
        if self.done != self._told:
            self._told = self.done
            self._channel.sender.emit(TransferProgressed(*self._about(), self.done, self.size))

    def _about(self) -> tuple[str, int, str, str]:
        # The same three times for most blobs, and many are small.
        named = self._named
        if named is None or named[0] is not self.digest:
            reference = self._channel.name_of(self.digest)
            self._named = named = (self.digest, (self._channel.host, self._number, self._operation, reference))
        return named[1]

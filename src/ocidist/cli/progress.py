"""What is under way, shown on standard error: bars on a terminal, lines, or JSON."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import anyio.to_thread
import attrs

from ocidist.cli.options import Showing
from ocidist.cli.output import document
from ocidist.cli.people import PATIENCE_S, is_terminal
from ocidist.observe.counting import counted, in_bytes
from ocidist.observe.events import (
    CANCELLED,
    BlobMounted,
    ContentCopied,
    ContentMounted,
    ContentSkipped,
    CopyEvent,
    CopyFinished,
    CopyStarted,
    Event,
    TransferEvent,
    TransferFailed,
    TransferFinished,
    TransferProgressed,
    TransferResumed,
    TransferStarted,
)
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ocidist.cli.people import Voice

_TOLD_EVERY_S: Final = 5.0


class View(Protocol):
    """Shows events."""

    def hook(self, event: Event) -> None:
        """Take an event; never waits."""
        ...

    def expect(self, copies: int) -> None:
        """Take note of how many copies there will be."""
        ...

    def aside(self, write: Callable[[], None]) -> None:
        """Let something else write to the terminal; blocks."""
        ...


@contextlib.asynccontextmanager
async def view_of(showing: Showing, voice: Voice) -> AsyncIterator[View]:
    """Open the view that was asked for."""
    match showing:
        case Showing.AUTO if is_terminal():
            from ocidist.cli.bars import Bars  # noqa: PLC0415 -- loads rich, which pipes do without

            bars = Bars(Tally(), voice)
            try:
                await anyio.to_thread.run_sync(bars.begin)
                yield bars
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(PATIENCE_S):
                    await anyio.to_thread.run_sync(bars.end, abandon_on_cancel=True)
        case Showing.PLAIN:
            yield Lines(voice)
        case Showing.JSON:
            yield JsonLines(voice)
        case _:
            yield Nothing()


class Nothing:
    """Shows nothing."""

    def hook(self, event: Event) -> None:
        """Take an event."""

    def expect(self, copies: int) -> None:
        """Take note of how many copies there will be."""

    def aside(self, write: Callable[[], None]) -> None:
        """Let something else write."""
        write()


class JsonLines(Nothing):
    """Shows every event as a line of JSON.

    Args:
        voice: Who says it.
    """

    def __init__(self, voice: Voice) -> None:
        self._voice = voice

    def hook(self, event: Event) -> None:
        """Take an event."""
        fields: dict[str, Any] = attrs.asdict(event, value_serializer=_plain)
        self._voice.line(document({"event": type(event).__name__, **fields}))


def _plain(_instance: object, _attribute: object, value: object) -> object:
    return value if value is None or isinstance(value, str | int | float | bool | list | tuple | dict) else str(value)


class Lines(Nothing):
    """Shows what becomes of each blob in a line, and now and then how far long ones are.

    Args:
        voice: Who says it.
    """

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._told: dict[int, float] = {}
        self._copying = False

    def hook(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, CopyEvent):
            self._copying = True
            if (text := _copy_line(event)) is not None:
                self._voice.say(clean_text(text))
        elif isinstance(event, TransferEvent):
            self._transfer(event)

    def _transfer(self, event: TransferEvent) -> None:
        now = time.monotonic()
        if isinstance(event, TransferStarted):
            self._told[event.transfer] = now
        elif isinstance(event, TransferProgressed):
            if now - self._told.get(event.transfer, now) < _TOLD_EVERY_S:
                return
            self._told[event.transfer] = now
        elif isinstance(event, TransferFinished | TransferFailed):
            self._told.pop(event.transfer, None)
        if self._copying and (
            isinstance(event, BlobMounted) or (isinstance(event, TransferFinished) and not event.done)
        ):
            # The copy says so itself.
            return
        if (text := _line(event)) is not None:
            self._voice.say(clean_text(f"{event.operation} {event.reference}: {text}"))


def _copy_line(event: CopyEvent) -> str | None:
    match event:
        case CopyStarted():
            what = f"{counted(event.manifests, 'manifest')} and {counted(event.blobs, 'blob')}, {in_bytes(event.size)}"
            return f"copy {event.source} to {event.destination}: {what}"
        case ContentMounted():
            return f"{event.source}: mounted from {event.mounted_from}"
        case ContentSkipped():
            return f"{event.source}: is there"
        case CopyFinished():
            return f"copy {event.source} to {event.destination}: done in {event.seconds:.1f} s"
        case _:
            return None


def _line(event: TransferEvent) -> str | None:
    match event:
        case TransferProgressed():
            return f"{in_bytes(event.done)} of {in_bytes(event.size)}"
        case TransferResumed():
            return f"goes on at {in_bytes(event.offset)} ({event.reason})"
        case BlobMounted():
            return f"mounted from {event.source}"
        case TransferFinished() if event.done:
            return f"{in_bytes(event.done)} in {event.seconds:.1f} s"
        case TransferFinished():
            return "is there"
        case TransferFailed() if event.reason != CANCELLED:
            return f"failed ({event.reason})"
        case _:
            return None


@attrs.define
class Moving:
    """A transfer under way.

    Attributes:
        label: What it is about.
        size: Bytes in all, or None.
        done: Bytes so far.
    """

    label: str
    size: int | None
    done: int = 0


@attrs.define
class Tally:
    """What the events so far add up to. Written by the event loop, read by the thread that draws.

    Of copies, what they say themselves is counted; their transfers are only shown.

    Attributes:
        moving: Transfers under way, by their number.
        finished: Blobs, and manifests of copies, that were sent or read.
        mounted: Blobs that were linked.
        skipped: Content that was there already.
        done: Bytes of what is finished.
        copies: Copies that were begun.
        copied: Copies that are complete.
        expected: Copies that there will be, if somebody knows; else 0.
        began: When the first event came.
    """

    moving: dict[int, Moving] = attrs.field(factory=dict)
    finished: int = 0
    mounted: int = 0
    skipped: int = 0
    done: int = 0
    copies: int = 0
    copied: int = 0
    expected: int = 0
    began: float | None = None

    def take(self, event: Event) -> None:
        """Add an event."""
        if not isinstance(event, TransferEvent | CopyEvent):
            return
        if self.began is None:
            self.began = time.monotonic()
        if isinstance(event, CopyEvent):
            self._copied(event)
        else:
            self._moved(event)

    def _copied(self, event: CopyEvent) -> None:
        match event:
            case CopyStarted():
                self.copies += 1
            case ContentCopied():
                self.finished += 1
                self.done += event.size
            case ContentMounted():
                self.mounted += 1
            case ContentSkipped():
                self.skipped += 1
            case CopyFinished():
                self.copied += 1

    def _moved(self, event: TransferEvent) -> None:
        match event:
            case TransferStarted():
                self.moving[event.transfer] = Moving(_label(event), event.size)
            case TransferProgressed():
                moving = self.moving.setdefault(event.transfer, Moving(_label(event), event.size))
                moving.done, moving.size = event.done, event.size
            case TransferResumed():
                self.moving.setdefault(event.transfer, Moving(_label(event), None)).done = event.offset
            case TransferFinished():
                self.moving.pop(event.transfer, None)
                if not self.copies:
                    self.finished += 1
                    self.done += event.done
            case TransferFailed():
                self.moving.pop(event.transfer, None)
            case BlobMounted() if not self.copies:
                self.mounted += 1

    @property
    def moved(self) -> int:
        """Bytes that were moved so far."""
        return self.done + sum(each.done for each in self.shown())

    def shown(self) -> list[Moving]:
        """Return the transfers under way, each blob once."""
        return list({each.label: each for each in list(self.moving.values())}.values())


def _label(event: TransferEvent) -> str:
    # The first characters of a digest tell a blob from others; without one, its repository has to do.
    name, _, digest = event.reference.partition("@")
    return digest.partition(":")[2][:12] or clean_text(name).rpartition("/")[2]

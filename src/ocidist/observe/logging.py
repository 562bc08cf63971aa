"""A hook that writes every event to a logger, one line each."""

from __future__ import annotations

import logging
from functools import singledispatch
from typing import TYPE_CHECKING, Any, Final

import attrs

from ocidist.observe.counting import counted
from ocidist.observe.events import (
    CANCELLED,
    BlobMounted,
    ConcurrencyChanged,
    ContentCopied,
    ContentMounted,
    ContentSkipped,
    CopyFinished,
    CopyStarted,
    Event,
    MirrorFailed,
    NamesSkipped,
    RateLimitSeen,
    RequestRedirected,
    RequestRetried,
    TransferFailed,
    TransferFinished,
    TransferProgressed,
    TransferResumed,
    TransferStarted,
    WarningReceived,
)
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from ocidist.observe.hooks import Hook

LOGGER: Final = "ocidist.events"
"""The logger events are written to unless told otherwise."""

_Line = tuple[int, str]


def log_events(logger: logging.Logger | str = LOGGER) -> Hook:
    """Return a hook that writes events to a logger: ``Client(hooks=[log_events()])``.

    DEBUG has what happens all the time: transfers that begin and get on, redirects, quotas. INFO has what completed,
    was resumed, mounted or tried again; WARNING what failed, was skipped or is used up, and the registry's warnings. A
    record's ``ocidist`` attribute is a dictionary of the event's name and fields, for handlers that write JSON.

    What a handler does it does in the event loop: give the logger a ``QueueHandler`` if that may block.

    Args:
        logger: The logger, or its name.
    """
    log = logging.getLogger(logger) if isinstance(logger, str) else logger

    def hook(event: Event) -> None:
        level, text = _line(event)
        if log.isEnabledFor(level):
            fields: dict[str, Any] = {"event": type(event).__name__, **attrs.asdict(event)}
            log.log(level, "%s", clean_text(text), extra={"ocidist": fields})

    return hook


@singledispatch
def _line(event: Event) -> _Line:
    return logging.INFO, repr(event)


@_line.register(WarningReceived)
def _(event: WarningReceived) -> _Line:
    return logging.WARNING, f"{event.host}: {event.text}"


@_line.register(RequestRetried)
def _(event: RequestRetried) -> _Line:
    again = f"attempt {event.attempt}, again in {event.wait:.1f} s"
    return logging.INFO, f"{event.host}: {event.operation} failed ({event.reason}), {again}"


@_line.register(RequestRedirected)
def _(event: RequestRedirected) -> _Line:
    return logging.DEBUG, f"{event.host}: {event.operation} goes to {event.target}"


@_line.register(RateLimitSeen)
def _(event: RateLimitSeen) -> _Line:
    return logging.WARNING if event.quota.spent else logging.DEBUG, f"{event.host}: requests: {event.quota}"


@_line.register(ConcurrencyChanged)
def _(event: ConcurrencyChanged) -> _Line:
    rate = "" if event.rate is None else f", {event.rate:.1f} in a second"
    return logging.INFO, f"{event.host}: at most {event.limit} requests to {event.kind} at once{rate}"


@_line.register(MirrorFailed)
def _(event: MirrorFailed) -> _Line:
    aside = f", not asked for {event.aside:.0f} s" if event.aside else ""
    level = logging.WARNING if event.wrong else logging.INFO
    return level, f"{event.host}: the mirror {event.mirror} failed to {event.operation} ({event.reason}){aside}"


@_line.register(NamesSkipped)
def _(event: NamesSkipped) -> _Line:
    return logging.WARNING, f"{event.host}: {event.what} that are no names were skipped: {', '.join(event.names)}"


@_line.register(TransferStarted)
def _(event: TransferStarted) -> _Line:
    return logging.DEBUG, f"{event.operation} {event.reference}: started, {_size(event.size)}"


@_line.register(TransferProgressed)
def _(event: TransferProgressed) -> _Line:
    return logging.DEBUG, f"{event.operation} {event.reference}: {event.done} of {_size(event.size)}"


@_line.register(TransferResumed)
def _(event: TransferResumed) -> _Line:
    return logging.INFO, f"{event.operation} {event.reference}: goes on at {event.offset} ({event.reason})"


@_line.register(BlobMounted)
def _(event: BlobMounted) -> _Line:
    return logging.INFO, f"{event.operation} {event.reference}: mounted from {event.source}"


@_line.register(TransferFinished)
def _(event: TransferFinished) -> _Line:
    moved = f"{event.done} of {_size(event.size)} in {event.seconds:.3f} s"
    return logging.INFO, f"{event.operation} {event.reference}: finished, moved {moved}"


@_line.register(TransferFailed)
def _(event: TransferFailed) -> _Line:
    level = logging.INFO if event.reason == CANCELLED else logging.WARNING
    return level, f"{event.operation} {event.reference}: failed after {counted(event.done, 'byte')} ({event.reason})"


@_line.register(CopyStarted)
def _(event: CopyStarted) -> _Line:
    parts = f"{counted(event.blobs, 'blob')} and {counted(event.manifests, 'manifest')}"
    return logging.INFO, f"copy {event.source} to {event.destination}: {parts}, {_size(event.size)}"


@_line.register(ContentCopied)
def _(event: ContentCopied) -> _Line:
    return logging.DEBUG, f"copy {event.source} to {event.destination}: sent, {_size(event.size)}"


@_line.register(ContentMounted)
def _(event: ContentMounted) -> _Line:
    return logging.DEBUG, f"copy {event.source} to {event.destination}: mounted from {event.mounted_from}"


@_line.register(ContentSkipped)
def _(event: ContentSkipped) -> _Line:
    return logging.DEBUG, f"copy {event.source} to {event.destination}: not sent"


@_line.register(CopyFinished)
def _(event: CopyFinished) -> _Line:
    return logging.INFO, f"copy {event.source} to {event.destination}: finished in {event.seconds:.3f} s"


def _size(count: int | None) -> str:
    return "an unknown number of bytes" if count is None else counted(count, "byte")

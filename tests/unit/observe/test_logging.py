"""Events as lines of a log."""

from __future__ import annotations

import json
import logging

import attrs
import pytest

import ocidist
from ocidist import (
    BlobMounted,
    ConcurrencyChanged,
    ContentCopied,
    ContentMounted,
    ContentSkipped,
    CopyEvent,
    CopyFinished,
    CopyStarted,
    Event,
    MirrorFailed,
    NamesSkipped,
    RateLimit,
    RateLimitSeen,
    RequestRedirected,
    RequestRetried,
    TransferEvent,
    TransferFailed,
    TransferFinished,
    TransferProgressed,
    TransferResumed,
    TransferStarted,
    WarningReceived,
    log_events,
)

HOST = "registry.acme.io:5000"
ABOUT = (HOST, 7, "pull blob", f"{HOST}/acme/app@sha256:{'a' * 64}")
NAME = f"pull blob {ABOUT[3]}"

COPY = (HOST, "oci:app:v1", f"{HOST}/acme/app")
COPIED = f"copy oci:app:v1 to {HOST}/acme/app"
LINES = [
    (WarningReceived(HOST, "going away"), "WARNING", f"{HOST}: going away"),
    (
        RequestRetried(HOST, "pull blob", 2, 0.25, "the server failed"),
        "INFO",
        f"{HOST}: pull blob failed (the server failed), attempt 2, again in 0.2 s",
    ),
    (RequestRedirected(HOST, "pull blob", "cdn.acme.io"), "DEBUG", f"{HOST}: pull blob goes to cdn.acme.io"),
    (RateLimitSeen(HOST, RateLimit(100, 20, 3600)), "DEBUG", f"{HOST}: requests: 20 of 100 left in 3600 seconds"),
    (RateLimitSeen(HOST, RateLimit(100, 0)), "WARNING", f"{HOST}: requests: 0 of 100 left"),
    (ConcurrencyChanged(HOST, "read", 4, None), "INFO", f"{HOST}: at most 4 requests to read at once"),
    (
        ConcurrencyChanged(HOST, "write", 2, 1.5),
        "INFO",
        f"{HOST}: at most 2 requests to write at once, 1.5 in a second",
    ),
    (
        MirrorFailed(HOST, "https://mirror.acme.io", "pull manifest", "it did not answer", 30.0),
        "INFO",
        f"{HOST}: the mirror https://mirror.acme.io failed to pull manifest (it did not answer), not asked for 30 s",
    ),
    (
        MirrorFailed(HOST, "https://mirror.acme.io", "pull blob", "wrong digest", wrong=True),
        "WARNING",
        f"{HOST}: the mirror https://mirror.acme.io failed to pull blob (wrong digest)",
    ),
    (
        NamesSkipped(HOST, "tags", ("a b", "-c")),
        "WARNING",
        f"{HOST}: tags that are no names were skipped: a b, -c",
    ),
    (TransferStarted(*ABOUT, 10), "DEBUG", f"{NAME}: started, 10 bytes"),
    (TransferStarted(*ABOUT, None), "DEBUG", f"{NAME}: started, an unknown number of bytes"),
    (TransferProgressed(*ABOUT, 5, 10), "DEBUG", f"{NAME}: 5 of 10 bytes"),
    (TransferResumed(*ABOUT, 5, "lost"), "INFO", f"{NAME}: goes on at 5 (lost)"),
    (BlobMounted(*ABOUT, "acme/base"), "INFO", f"{NAME}: mounted from acme/base"),
    (TransferFinished(*ABOUT, 5, 10, 1.5), "INFO", f"{NAME}: finished, moved 5 of 10 bytes in 1.500 s"),
    (TransferFailed(*ABOUT, 5, "the disk is full"), "WARNING", f"{NAME}: failed after 5 bytes (the disk is full)"),
    (TransferFailed(*ABOUT, 5, "cancelled"), "INFO", f"{NAME}: failed after 5 bytes (cancelled)"),
    (CopyStarted(*COPY, 10, 2, 1), "INFO", f"{COPIED}: 2 blobs and 1 manifest, 10 bytes"),
    (ContentCopied(*COPY, 10), "DEBUG", f"{COPIED}: sent, 10 bytes"),
    (ContentMounted(*COPY, 10, "acme/base"), "DEBUG", f"{COPIED}: mounted from acme/base"),
    (ContentSkipped(*COPY, 10), "DEBUG", f"{COPIED}: not sent"),
    (CopyFinished(*COPY, 10, 1.5), "INFO", f"{COPIED}: finished in 1.500 s"),
]


@pytest.mark.parametrize(("event", "level", "line"), LINES, ids=lambda value: type(value).__name__)
def test_n13_each_event_is_a_line_with_its_fields(
    event: Event, level: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "ocidist.events")
    log_events()(event)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("ocidist.events", level, line)
    fields = vars(record)["ocidist"]
    assert fields == {"event": type(event).__name__, **attrs.asdict(event)}
    assert json.loads(json.dumps(fields))["host"] == HOST


def test_every_event_has_a_line_of_its_own() -> None:
    exported = {found for name in ocidist.__all__ if isinstance(found := getattr(ocidist, name), type)}
    events = {found for found in exported if issubclass(found, Event)} - {Event, TransferEvent, CopyEvent}
    assert {type(event) for event, *_ in LINES} == events


def test_an_event_that_nobody_knows_is_written_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ocidist.events")
    log_events()(Event(HOST))
    assert caplog.messages == [f"Event(host='{HOST}')"]


@pytest.mark.parametrize("text", ["two\nlines", "an \x1b[31mescape", "a \u202eturn"])
def test_whatever_a_registry_says_is_one_line(text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ocidist.events")
    log_events()(TransferFailed(*ABOUT, 0, text))
    (line,) = caplog.messages
    assert line.isprintable()


def test_what_is_below_the_level_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ocidist.events")
    hook = log_events()
    for event, *_ in LINES:
        hook(event)
    assert {record.levelname for record in caplog.records} == {"INFO", "WARNING"}


@pytest.mark.parametrize("logger", ["mirror.transfers", logging.getLogger("mirror.transfers")])
def test_the_logger_can_be_chosen(logger: str | logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mirror.transfers")
    log_events(logger)(BlobMounted(*ABOUT, "acme/base"))
    assert [record.name for record in caplog.records] == ["mirror.transfers"]

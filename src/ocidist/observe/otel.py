"""A hook that tells OpenTelemetry about events: spans, and metrics. It needs the extra ``otel``.

Names follow OpenTelemetry's semantic conventions where there are any (``server.address``, ``error.type``); what those
have no name for begins with ``ocidist.``.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import singledispatchmethod
from time import monotonic
from typing import TYPE_CHECKING, Final

import attrs

try:
    from opentelemetry import metrics, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ModuleNotFoundError as _missing:
    if _missing.name != "opentelemetry":
        raise
    _message = "ocidist.observe.otel needs opentelemetry-api: pip install 'ocidist[otel]'"
    raise ModuleNotFoundError(_message, name=_missing.name) from None

from ocidist._version import version
from ocidist.observe.events import (
    CANCELLED,
    BlobMounted,
    ConcurrencyChanged,
    Event,
    MirrorFailed,
    NamesSkipped,
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
)

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import AttributeValue

SCOPE: Final = "ocidist"
"""The name under which spans and metrics are made."""
SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Buckets of durations, from a small blob nearby to a large one far away."""
OTHER: Final = "_OTHER"
"""What the conventions call a failure that has no name of few words."""

_Attributes = dict[str, "AttributeValue"]


@attrs.define(eq=False)
class _Transfer:
    """A transfer under way.

    Attributes:
        span: Its span. It is never made the current one: a transfer may end in another task than it began in.
        labels: What its metrics are told apart by.
        host: The registry.
        began: When it began, on the monotonic clock.
        outer: What the same task was at before.
        done: Bytes so far.
        counted: Bytes that were counted as moved.
        resumed: Times it went on after an interruption.
        retried: Requests of it that were sent again.
        over: Whether it ended.
    """

    span: Span
    labels: _Attributes
    host: str
    began: float
    outer: _Transfer | None
    done: int = 0
    counted: int = 0
    resumed: int = 0
    retried: int = 0
    over: bool = False


class OpenTelemetryHook:
    """A hook that makes a span of each transfer, and metrics of all: ``Client(hooks=[OpenTelemetryHook()])``.

    The parent of a transfer's span is the span that was current where the transfer began; the span itself is never made
    the current one. What happens to a request is an event of the transfer its task is at, or else of the current span.
    One hook may serve many clients.

    Args:
        tracer_provider: Where spans go; None takes the global provider.
        meter_provider: Where metrics go; None takes the global provider.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._tracer = trace.get_tracer(SCOPE, version(), tracer_provider)
        self._meters = _Meters(metrics.get_meter(SCOPE, version(), meter_provider))
        self._open: dict[int, _Transfer] = {}
        # Tasks inherit it from those that start them, so that what a transfer leaves to other tasks is told of it as
        # well. Each hook has its own: the spans of another may go elsewhere.
        self._begun: ContextVar[_Transfer | None] = ContextVar("ocidist_otel_transfer", default=None)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        self._tell(event)

    @singledispatchmethod
    def _tell(self, event: Event) -> None:
        """Leave out what is not known here."""

    # --- transfers ---------------------------------------------------------------------------------------------------

    @_tell.register(TransferStarted)
    def _started(self, event: TransferStarted) -> None:
        labels = {**_server(event.host), "ocidist.operation": event.operation}
        about = {**labels, **_content(event), **_size(event.size)}
        span = self._tracer.start_span(event.operation, kind=SpanKind.CLIENT, attributes=about)
        found = _Transfer(span, labels, event.host, monotonic(), _still_open(self._begun.get()))
        self._open[event.transfer] = found
        self._begun.set(found)
        self._meters.active.add(1, labels)

    @_tell.register(TransferProgressed)
    def _progressed(self, event: TransferProgressed) -> None:
        found = self._open.get(event.transfer)
        if found is not None:
            self._moved(found, event.done - found.done)
            found.done = event.done

    @_tell.register(TransferResumed)
    def _resumed(self, event: TransferResumed) -> None:
        found = self._open.get(event.transfer)
        if found is not None:
            found.done = event.offset
            found.resumed += 1
            self._meters.resumes.add(1, found.labels)
            found.span.add_event("ocidist.resumed", {"ocidist.offset": event.offset, "ocidist.reason": event.reason})

    @_tell.register(BlobMounted)
    def _mounted(self, event: BlobMounted) -> None:
        found = self._open.get(event.transfer)
        if found is not None:
            found.span.add_event("ocidist.mounted", {"ocidist.source": event.source})

    @_tell.register(TransferFinished)
    def _finished(self, event: TransferFinished) -> None:
        found = self._open.pop(event.transfer, None)
        if found is not None:
            self._moved(found, event.done - found.counted)
            self._ended(found, {**_content(event), **_size(event.size)}, {})

    @_tell.register(TransferFailed)
    def _failed(self, event: TransferFailed) -> None:
        found = self._open.pop(event.transfer, None)
        if found is not None:
            self._moved(found, event.done - found.done)
            found.span.set_status(Status(StatusCode.ERROR, event.reason))
            kind = CANCELLED if event.reason == CANCELLED else event.error or OTHER
            self._ended(found, _content(event), {"error.type": kind})

    def _moved(self, found: _Transfer, count: int) -> None:
        # A part that is sent or read again counts again; going back does not.
        if count > 0:
            found.counted += count
            self._meters.io.add(count, found.labels)

    def _ended(self, found: _Transfer, about: _Attributes, error: _Attributes) -> None:
        found.over = True
        if self._begun.get() is found:
            self._begun.set(_still_open(found.outer))
        self._meters.active.add(-1, found.labels)
        self._meters.duration.record(monotonic() - found.began, {**found.labels, **error})
        counted: _Attributes = {
            "ocidist.transfer.bytes": found.counted,
            "ocidist.transfer.resumes": found.resumed,
            "ocidist.request.retries": found.retried,
        }
        found.span.set_attributes({**about, **error, **counted})
        found.span.end()

    # --- requests and hosts ------------------------------------------------------------------------------------------

    @_tell.register(RequestRetried)
    def _retried(self, event: RequestRetried) -> None:
        about: _Attributes = {**_server(event.host), "ocidist.operation": event.operation}
        self._meters.retries.add(1, about)
        found = self._at(event.host)
        if found is not None:
            found.retried += 1
        about |= {"ocidist.attempt": event.attempt, "ocidist.wait": event.wait, "ocidist.reason": event.reason}
        _span(found).add_event("ocidist.retried", about)

    @_tell.register(RequestRedirected)
    def _redirected(self, event: RequestRedirected) -> None:
        about = {**_server(event.host), "ocidist.operation": event.operation, "ocidist.target": event.target}
        _span(self._at(event.host)).add_event("ocidist.redirected", about)

    @_tell.register(MirrorFailed)
    def _mirror_failed(self, event: MirrorFailed) -> None:
        labels = {**_server(event.host), "ocidist.mirror": event.mirror, "ocidist.mirror.wrong": event.wrong}
        self._meters.mirrors.add(1, labels)
        about = {**labels, "ocidist.operation": event.operation, "ocidist.reason": event.reason}
        _span(self._at(event.host)).add_event("ocidist.mirror_failed", about)

    @_tell.register(WarningReceived)
    def _warned(self, event: WarningReceived) -> None:
        about = {**_server(event.host), "ocidist.text": event.text}
        _span(self._at(event.host)).add_event("ocidist.warning", about)

    @_tell.register(NamesSkipped)
    def _skipped(self, event: NamesSkipped) -> None:
        about = {**_server(event.host), "ocidist.listed": event.what, "ocidist.names": event.names}
        trace.get_current_span().add_event("ocidist.names_skipped", about)

    @_tell.register(RateLimitSeen)
    def _quota(self, event: RateLimitSeen) -> None:
        labels = _server(event.host)
        if event.quota.limit is not None:
            self._meters.limit.set(event.quota.limit, labels)
        if event.quota.remaining is not None:
            self._meters.remaining.set(event.quota.remaining, labels)

    @_tell.register(ConcurrencyChanged)
    def _concurrency(self, event: ConcurrencyChanged) -> None:
        self._meters.at_once.set(event.limit, {**_server(event.host), "ocidist.kind": event.kind})

    def _at(self, host: str) -> _Transfer | None:
        """Return the transfer that this task is at: with this host, or else, where that is a mirror, the innermost."""
        innermost = found = _still_open(self._begun.get())
        while found is not None and found.host != host:
            found = _still_open(found.outer)
        return found or innermost


class _Meters:
    def __init__(self, meter: Meter) -> None:
        self.io = meter.create_counter("ocidist.transfer.io", "By", "Bytes of blobs that were moved")
        self.duration = meter.create_histogram(
            "ocidist.transfer.duration", "s", "How long transfers took", explicit_bucket_boundaries_advisory=SECONDS
        )
        self.active = meter.create_up_down_counter("ocidist.transfer.active", "{transfer}", "Transfers under way")
        self.resumes = meter.create_counter("ocidist.transfer.resumes", "{resume}", "Times that transfers went on")
        self.retries = meter.create_counter("ocidist.request.retries", "{request}", "Requests that were sent again")
        self.mirrors = meter.create_counter("ocidist.mirror.failures", "{failure}", "Times that mirrors failed")
        self.limit = meter.create_gauge("ocidist.rate_limit.limit", "{request}", "Requests allowed in a window")
        self.remaining = meter.create_gauge("ocidist.rate_limit.remaining", "{request}", "Requests left in the window")
        self.at_once = meter.create_gauge("ocidist.concurrency.limit", "{request}", "Most requests under way at once")


def _still_open(found: _Transfer | None) -> _Transfer | None:
    while found is not None and found.over:
        found = found.outer
    return found


def _span(found: _Transfer | None) -> Span:
    return trace.get_current_span() if found is None else found.span


def _server(host: str) -> _Attributes:
    name, colon, port = host.rpartition(":")
    if colon and port.isdecimal():
        return {"server.address": name.strip("[]"), "server.port": int(port)}
    return {"server.address": host.strip("[]")}


def _content(event: TransferEvent) -> _Attributes:
    repository, _, digest = event.reference.removeprefix(f"{event.host}/").partition("@")
    found: _Attributes = {"ocidist.repository": repository}
    return {**found, "ocidist.blob.digest": digest} if digest else found


def _size(size: int | None) -> _Attributes:
    return {} if size is None else {"ocidist.blob.size": size}

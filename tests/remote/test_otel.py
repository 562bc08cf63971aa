"""Spans and metrics of OpenTelemetry, as its own SDK collects them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import attrs
import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ocidist import (
    BlobUnknownError,
    ConcurrencyChanged,
    Descriptor,
    Digest,
    Event,
    MirrorFailed,
    NamesSkipped,
    RateLimit,
    RateLimitSeen,
    RequestRedirected,
    RequestRetried,
    TransferFinished,
    TransferStarted,
    WarningReceived,
)
from ocidist.observe import otel
from ocidist.observe.otel import OpenTelemetryHook
from tests.docs.pages import DOCS
from tests.peers.answers import respond
from tests.peers.images import noise
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Tracer

    from ocidist import Blobs, Client
    from tests.peers.peer import Peer
    from tests.peers.wire_server import WireServer

MIB = 1024 * 1024
BLOB = noise(2 * MIB + 5)
KNOWN = Descriptor.of(BLOB)
HOST = "registry.acme.io:5000"
_POINTS = (NumberDataPoint, HistogramDataPoint)


@attrs.frozen
class Telemetry:
    """A hook, and what came out of it."""

    spans_out: InMemorySpanExporter
    metrics_out: InMemoryMetricReader
    tracer: Tracer
    hook: OpenTelemetryHook
    seen: dict[str, list[NumberDataPoint | HistogramDataPoint]] = attrs.field(factory=dict)

    def spans(self) -> list[ReadableSpan]:
        """Return the spans of transfers that ended."""
        return [span for span in self.spans_out.get_finished_spans() if span.kind is SpanKind.CLIENT]

    def points(self, name: str) -> list[NumberDataPoint | HistogramDataPoint]:
        """Return what was measured under a name; older SDKs report a gauge once only."""
        data = self.metrics_out.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        for metric in [metric for scope in scopes for metric in scope.metrics]:
            points = [point for point in metric.data.data_points if isinstance(point, _POINTS)]
            if points:
                self.seen[metric.name] = points
        return self.seen.get(name, [])

    def numbers(self, name: str) -> list[NumberDataPoint]:
        """Return the numbers that were measured under a name."""
        return [point for point in self.points(name) if isinstance(point, NumberDataPoint)]

    def number(self, name: str, operation: str | None = None) -> float:
        """Return the only number that was measured under a name, or the only one of an operation."""
        found = self.numbers(name)
        if operation is not None:
            found = [point for point in found if (point.attributes or {})["ocidist.operation"] == operation]
        (point,) = found
        return point.value


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    spans, metrics = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([metrics], shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    hook = OpenTelemetryHook(tracer_provider=tracers, meter_provider=meters)
    yield Telemetry(spans, metrics, tracers.get_tracer("the test"), hook)
    tracers.shutdown()
    meters.shutdown()


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def told(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


def blobs_of(client: Client, peer: Peer, name: str) -> Blobs:
    return client.repository(f"{peer.host}/{name}").blobs


# --- transfers -------------------------------------------------------------------------------------------------------


async def test_n13_a_transfer_is_a_span_with_what_moved_and_where(
    docker_registry: Peer, fresh_name: str, telemetry: Telemetry
) -> None:
    async with docker_registry.client(hooks=[telemetry.hook]) as client:
        blobs = blobs_of(client, docker_registry, fresh_name)
        await blobs.push(BLOB, chunk_size=MIB)
        await blobs.get(KNOWN)
    pushed, pulled = telemetry.spans()
    assert (pushed.name, pulled.name) == ("push blob", "pull blob")
    address, _, port = docker_registry.host.rpartition(":")
    for span in (pushed, pulled):
        assert span.status.status_code is StatusCode.UNSET
        assert attributes(span) == {
            "server.address": address,
            "server.port": int(port),
            "ocidist.operation": span.name,
            "ocidist.repository": fresh_name,
            "ocidist.blob.digest": str(KNOWN.digest),
            "ocidist.blob.size": len(BLOB),
            "ocidist.transfer.bytes": len(BLOB),
            "ocidist.transfer.resumes": 0,
            "ocidist.request.retries": 0,
        }
        assert told(span) == []
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "ocidist"


async def test_n13_transfers_are_measured(docker_registry: Peer, fresh_name: str, telemetry: Telemetry) -> None:
    async with docker_registry.client(hooks=[telemetry.hook]) as client:
        blobs = blobs_of(client, docker_registry, fresh_name)
        await blobs.push(BLOB)
        for _ in range(2):
            async with blobs.open(KNOWN) as reader:
                assert telemetry.number("ocidist.transfer.active", "pull blob") == 1
                await reader.read()
    assert telemetry.number("ocidist.transfer.io", "push blob") == len(BLOB)
    assert telemetry.number("ocidist.transfer.io", "pull blob") == 2 * len(BLOB)
    assert {point.value for point in telemetry.numbers("ocidist.transfer.active")} == {0}
    counts = {
        str((point.attributes or {})["ocidist.operation"]): point.count
        for point in telemetry.points("ocidist.transfer.duration")
        if isinstance(point, HistogramDataPoint)
    }
    assert counts == {"push blob": 1, "pull blob": 2}


async def test_n13_a_transfer_that_failed_is_a_span_with_the_reason(
    docker_registry: Peer, fresh_name: str, telemetry: Telemetry
) -> None:
    async with docker_registry.client(hooks=[telemetry.hook]) as client:
        with pytest.raises(BlobUnknownError):
            await blobs_of(client, docker_registry, fresh_name).get(Digest.of(b"missing"))
    (span,) = telemetry.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description
    assert attributes(span)["error.type"] == "BlobUnknownError"
    (point,) = telemetry.points("ocidist.transfer.duration")
    assert (point.attributes or {})["error.type"] == "BlobUnknownError"
    assert telemetry.number("ocidist.transfer.active") == 0


async def test_n13_a_transfer_that_is_cancelled_ends_its_span(
    docker_registry: Peer, fresh_name: str, telemetry: Telemetry
) -> None:
    async with docker_registry.client(hooks=[telemetry.hook]) as client:
        with anyio.CancelScope() as scope:
            await blobs_of(client, docker_registry, fresh_name).push(
                BLOB, chunk_size=MIB, progress=lambda *_: scope.cancel()
            )
    (span,) = telemetry.spans()
    assert attributes(span)["error.type"] == "cancelled"
    assert telemetry.number("ocidist.transfer.active") == 0


async def test_n13_what_happens_to_a_transfer_is_an_event_of_its_span(
    docker_registry: Peer, fresh_name: str, telemetry: Telemetry
) -> None:
    async with docker_registry.client(hooks=[telemetry.hook]) as client:
        blobs = blobs_of(client, docker_registry, fresh_name)
        async with blobs.writer(chunk_size=MIB) as writer:
            await writer.write(BLOB)
        async with blobs.resume(writer.state, source=BLOB) as writer:
            await writer.commit()
        await blobs_of(client, docker_registry, f"{fresh_name}-2").push(BLOB, mount_from=[fresh_name])
    _, resumed, mounted = telemetry.spans()
    assert (told(resumed), told(mounted)) == (["ocidist.resumed"], ["ocidist.mounted"])
    assert dict(resumed.events[0].attributes or {})["ocidist.offset"] == 2 * MIB
    assert dict(mounted.events[0].attributes or {}) == {"ocidist.source": fresh_name}
    assert attributes(resumed)["ocidist.transfer.resumes"] == 1
    assert attributes(resumed)["ocidist.transfer.bytes"] == 5
    assert attributes(mounted)["ocidist.transfer.bytes"] == 0


# --- parents ---------------------------------------------------------------------------------------------------------


async def test_n13_the_parent_is_the_span_that_was_current_in_the_task(
    docker_registry: Peer, fresh_name: str, telemetry: Telemetry
) -> None:
    async def work(client: Client, number: int) -> None:
        blobs = blobs_of(client, docker_registry, f"{fresh_name}-{number}")
        with telemetry.tracer.start_as_current_span(f"job {number}") as job:
            data = noise(2 * MIB + number)
            pushed = await blobs.push(data, chunk_size=MIB)
            assert trace.get_current_span() is job
            async with blobs.open(pushed) as reader:
                assert trace.get_current_span() is job
                await reader.read()
            assert trace.get_current_span() is job

    before = context.get_current()
    async with docker_registry.client(hooks=[telemetry.hook]) as client, anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(work, client, number)
    assert context.get_current() == before
    jobs = {span.name: span.context for span in telemetry.spans_out.get_finished_spans() if "job" in span.name}
    spans = telemetry.spans()
    assert len(spans) == 16
    for span in spans:
        job = jobs["job " + str(attributes(span)["ocidist.repository"]).rpartition("-")[2]]
        assert span.parent == job


async def test_n13_a_transfer_may_end_in_another_task_than_it_began_in(
    docker_registry: Peer, fresh_name: str, telemetry: Telemetry
) -> None:
    async with docker_registry.client(hooks=[telemetry.hook]) as client:
        blobs = blobs_of(client, docker_registry, fresh_name)
        writer = blobs.writer(chunk_size=MIB)
        with telemetry.tracer.start_as_current_span("the beginning") as beginning:
            await writer.__aenter__()

        async def end() -> None:
            await writer.write(BLOB)
            await writer.commit()
            await writer.__aexit__(None, None, None)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
        assert trace.get_current_span() is trace.INVALID_SPAN
        await blobs.get(KNOWN)
    pushed, pulled = telemetry.spans()
    assert pushed.parent == beginning.get_span_context()
    assert pulled.parent is None
    assert attributes(pushed)["ocidist.transfer.bytes"] == len(BLOB)


# --- requests --------------------------------------------------------------------------------------------------------


async def test_n13_a_retry_is_an_event_of_the_transfer_it_belongs_to(
    wire_server: WireServer, telemetry: Telemetry
) -> None:
    small = [noise(1000 + number) for number in range(4)]
    for data in small:
        answers = [respond(503), respond(503), respond(200, body=data)]
        wire_server.on("GET", f"/v2/{NAME}/blobs/{Digest.of(data)}", *answers)
    async with repository_on(wire_server, hooks=[telemetry.hook]) as repository, anyio.create_task_group() as tasks:
        for data in small:
            tasks.start_soon(repository.blobs.get, Digest.of(data))
    spans = telemetry.spans()
    assert [told(span) for span in spans] == [["ocidist.retried", "ocidist.retried"]] * 4
    assert {attributes(span)["ocidist.request.retries"] for span in spans} == {2}
    assert dict(spans[0].events[0].attributes or {})["ocidist.attempt"] == 1
    assert telemetry.number("ocidist.request.retries") == 8


def test_n13_what_belongs_to_no_transfer_is_an_event_of_the_current_span(telemetry: Telemetry) -> None:
    with telemetry.tracer.start_as_current_span("a job"):
        for event in (
            RequestRetried(HOST, "list tags", 1, 0.1, "it failed"),
            RequestRedirected(HOST, "pull manifest", "cdn.acme.io"),
            MirrorFailed(HOST, "https://mirror.acme.io", "pull manifest", "it failed"),
            WarningReceived(HOST, "going away"),
            NamesSkipped(HOST, "tags", ("a b",)),
        ):
            telemetry.hook(event)
    (span,) = telemetry.spans_out.get_finished_spans()
    assert told(span) == [
        "ocidist.retried",
        "ocidist.redirected",
        "ocidist.mirror_failed",
        "ocidist.warning",
        "ocidist.names_skipped",
    ]
    assert all((event.attributes or {})["server.address"] == "registry.acme.io" for event in span.events)
    assert telemetry.number("ocidist.request.retries") == 1
    assert telemetry.number("ocidist.mirror.failures") == 1


def test_n13_of_transfers_within_each_other_the_one_with_the_host_is_told(telemetry: Telemetry) -> None:
    started = [
        TransferStarted("a.acme.io", 1, "pull blob", "a.acme.io/x", 10),
        TransferStarted("b.acme.io", 2, "push blob", "b.acme.io/x", 10),
    ]
    for event in started:
        telemetry.hook(event)
    telemetry.hook(RequestRetried("a.acme.io", "pull blob", 1, 0.1, "it failed"))
    telemetry.hook(RequestRetried("b.acme.io", "push chunk", 1, 0.1, "it failed"))
    telemetry.hook(RequestRetried("mirror.acme.io", "pull blob", 1, 0.1, "it failed"))
    telemetry.hook(TransferFinished("b.acme.io", 2, "push blob", "b.acme.io/x", 10, 10, 1.0))
    telemetry.hook(RequestRetried("mirror.acme.io", "pull blob", 1, 0.1, "it failed"))
    telemetry.hook(TransferFinished("a.acme.io", 1, "pull blob", "a.acme.io/x", 10, 10, 1.0))
    telemetry.hook(RequestRetried("a.acme.io", "pull blob", 1, 0.1, "it failed"))
    inner, outer = telemetry.spans()
    assert (len(inner.events), len(outer.events)) == (2, 2)
    assert "server.port" not in attributes(inner)


def test_n13_quotas_and_limits_are_gauges(telemetry: Telemetry) -> None:
    telemetry.hook(RateLimitSeen(HOST, RateLimit(100, 21, 3600)))
    telemetry.hook(RateLimitSeen(HOST, RateLimit(None, 20)))
    telemetry.hook(RateLimitSeen(HOST, RateLimit()))
    telemetry.hook(ConcurrencyChanged("[::1]:5000", "read", 4, None))
    assert telemetry.number("ocidist.rate_limit.limit") == 100
    assert telemetry.number("ocidist.rate_limit.remaining") == 20
    (point,) = telemetry.points("ocidist.concurrency.limit")
    assert point.attributes == {"server.address": "::1", "server.port": 5000, "ocidist.kind": "read"}
    assert telemetry.number("ocidist.concurrency.limit") == 4


def test_events_that_are_not_known_and_ends_without_a_beginning_are_left_out(telemetry: Telemetry) -> None:
    telemetry.hook(Event(HOST))
    telemetry.hook(TransferFinished(HOST, 1, "pull blob", f"{HOST}/x", 10, 10, 1.0))
    assert telemetry.spans() == []


def test_every_name_that_is_sent_is_in_the_reference() -> None:
    source = Path(otel.__file__).read_text(encoding="utf-8")
    sent = set(re.findall(r'"(ocidist\.[a-z_.]+|server\.[a-z]+|error\.type)"', source))
    page = (DOCS / "reference" / "events.md").read_text(encoding="utf-8")
    assert len(sent) > 20
    assert {name for name in sent if f"`{name}`" not in page} == set()


# --- without an SDK, and without OpenTelemetry -----------------------------------------------------------------------


async def test_without_an_sdk_nothing_happens(docker_registry: Peer, fresh_name: str, tmp_path: Path) -> None:
    async with docker_registry.client(hooks=[OpenTelemetryHook()]) as client:
        blobs = blobs_of(client, docker_registry, fresh_name)
        await blobs.push(BLOB)
        await blobs.download(KNOWN, tmp_path / "blob")


def test_nothing_else_loads_opentelemetry() -> None:
    use_all = "[getattr(ocidist, name) for name in ocidist.__all__]"
    program = f"import sys, ocidist; {use_all}; print('opentelemetry' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert run.stdout.strip() == "False"

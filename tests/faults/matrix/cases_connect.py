"""Rows A and B: connections and TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist import (
    ConnectError,
    ProtocolError,
    Timeouts,
    TlsError,
    TransportError,
    TransportTimeoutError,
    UploadExpiredError,
)
from tests.faults.matrix import reads, writes
from tests.faults.matrix.accepting import AcceptDelay, AcceptReset, AcceptSays, AcceptSilence, Refuse
from tests.faults.matrix.actions import Drop, Hang, Lose, Raw, changed, closed_after
from tests.faults.matrix.changes import Header, Twice
from tests.faults.matrix.deliveries import Interim, doubled, then_closed, then_reset
from tests.faults.matrix.fault import DOCKER, EMBEDDED, Fault
from tests.faults.matrix.rules import ACCEPTS, BLOB_GETS, DIALS, GETS, PATCHES, POSTS, Where, always, once
from tests.faults.matrix.stage import Setting
from tests.faults.matrix.standing import BLOB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.matrix.rules import Action

SHORT = (("timeout", Timeouts(connect=0.5, read=0.5, write=0.5, finalize=0.5)),)
"""For what never answers; long enough for a registry that does."""
HALF = len(BLOB) // 2
LAST = len(BLOB) - 1
READS = (
    reads.ping,
    reads.get,
    reads.read,
    reads.manifest_by_tag,
    reads.manifest_stat,
    reads.stat,
    reads.tags,
    reads.catalog,
    reads.referrers,
)
_READING = {reads.stat: "HEAD", reads.manifest_stat: "HEAD"}
_BIG_HEADER = b"HTTP/1.1 200 OK\r\nX-Big: " + b"a" * 1024 * 1024 + b"\r\nContent-Length: 0\r\n\r\n"
_MALFORMED: dict[str, Action] = {
    "garbage": Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "a header of 1 MiB": Raw(_BIG_HEADER),
    "NUL in a header": Raw(b"HTTP/1.1 200 OK\r\nX-Odd: a\0b\r\nContent-Length: 0\r\n\r\n"),
    "a status of two digits": Raw(b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
}
_FRAMED: dict[str, Action] = {
    "length and chunks": changed(Header("Content-Length", "5"), Twice("Transfer-Encoding", "chunked")),
    "two lengths": changed(Header("Content-Length", "10"), Twice("Content-Length", "20")),
    "a negative length": changed(Header("Content-Length", "-1")),
}


def _connections() -> Iterator[Fault]:
    for each in (
        reads.ping,
        reads.get,
        reads.download,
        reads.manifest_by_tag,
        reads.tags,
        writes.push_bytes,
        writes.write,
        writes.attach,
        writes.mount,
    ):
        yield Fault("F005", "refused once", each, (once(Refuse(), DIALS),))
    for each in (
        reads.ping,
        reads.get,
        reads.manifest_by_tag,
        reads.tags,
        writes.push_bytes,
        writes.push_stream,
        writes.attach,
    ):
        yield Fault("F006", "refused always", each, (always(Refuse(), DIALS),), (ConnectError,))
    for each in READS:
        method = _READING.get(each, "GET")
        yield Fault("F007", "reset before the answer", each, (once(Drop(), Where(method=method)),), more=1)
        yield Fault("F007", "closed before the answer", each, (once(Drop(reset=False), Where(method=method)),), more=1)
    yield Fault("F007", "closed within the answer", reads.ping, (once(closed_after(1)),), more=1)
    yield Fault("F007", "reset when accepted", reads.get, (once(AcceptReset(), ACCEPTS),))
    yield Fault("F007", "reset always", reads.get, (always(Drop()),), (TransportError,), more=3)
    for each in (reads.get, reads.manifest_by_tag, reads.tags):
        rule = once(Hang(), GETS)
        yield Fault("F009", "no answer once", each, (rule,), more=1, options=SHORT)
    for each in (reads.get, writes.push_bytes):
        yield Fault("F009", "accepted late", each, (once(AcceptDelay(0.3), ACCEPTS),))
    yield Fault("F009", "no answer ever", reads.get, (always(Hang()),), (TransportTimeoutError,), more=3, options=SHORT)
    yield Fault("F009", "black hole", reads.tags, (once(AcceptSilence(), ACCEPTS),), options=SHORT)
    for each in (reads.pull, writes.push_bytes, writes.write, writes.attach, writes.mount, writes.push_manifest):
        yield Fault("F010", "closed after every answer", each, (always(changed(delivery=then_closed)),))
        yield Fault("F010", "reset after the first answer", each, (once(changed(delivery=then_reset)),), more=1)


def _patches() -> Iterator[Fault]:
    for each in (writes.push_stream, writes.push_chunked, writes.write):
        for nth in (1, 2):
            dropped = once(Drop(), PATCHES, first=nth)
            yield Fault("F008", f"chunk {nth} reset unread", each, (dropped,), more=3)
    yield Fault("F011", "reset under a POST", writes.push_bytes, (once(Drop(), POSTS),), more=1)
    yield Fault("F011", "reset under a POST", writes.write, (once(Drop(), POSTS),), more=1)
    yield Fault("F011", "reset under a POST", writes.mount, (once(Drop(), POSTS),), more=1)


def _http() -> Iterator[Fault]:
    for name, action in _MALFORMED.items():
        for each in (reads.ping, reads.get, reads.manifest_by_tag, reads.tags):
            yield Fault("F014", name, each, (always(action, GETS),), (ProtocolError,))
        yield Fault("F014", name, writes.push_bytes, (always(action, POSTS),), (ProtocolError,))
    for each in (reads.pull, reads.tags, writes.push_bytes, writes.write, writes.push_manifest, writes.attach):
        # What comes behind an answer is not the answer to what is asked next.
        yield Fault("F014", "every answer twice", each, (always(changed(delivery=doubled)),), more=1)
    for name, action in _FRAMED.items():
        for each in (reads.get, reads.manifest_by_tag, reads.tags):
            yield Fault("F015", name, each, (always(action, GETS),), (ProtocolError,))
    for each in (reads.get, reads.manifest_by_tag, reads.tags, writes.push_bytes):
        yield Fault("F016", "1000 hints", each, (once(changed(delivery=Interim(1000))),))
    for each in (writes.push_bytes, writes.push_manifest, writes.write):
        yield Fault(
            "F016", "100 nobody asked for", each, (always(changed(delivery=Interim(1, 100)), Where(method="PUT")),)
        )


def _tls() -> Iterator[Fault]:
    tls = Setting.TLS
    hang = always(AcceptSilence(), ACCEPTS)
    yield Fault("F021", "no handshake", reads.get, (hang,), (TransportTimeoutError,), setting=tls, options=SHORT)
    plain = always(AcceptSays(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), ACCEPTS)
    for each in (reads.get, writes.push_bytes):
        yield Fault("F022", "http where TLS should be", each, (plain,), (TlsError,), setting=tls)
    for each in (reads.get, reads.read, reads.download):
        for name, count in (("at byte 0", 0), ("at byte 1", 1), ("half-way", HALF), ("before the last byte", LAST)):
            rule = once(closed_after(count), BLOB_GETS)
            yield Fault("F025", f"closed {name}", each, (rule,), more=1, setting=tls)
    for nth in (1, 2):
        rule = once(Drop(), PATCHES, first=nth)
        yield Fault("F026", f"chunk {nth} reset unread", writes.write, (rule,), more=3, setting=tls)
        rule = once(Lose(), PATCHES, first=nth)
        lost = Fault("F026", f"chunk {nth} lost", writes.write, (rule,), more=3, setting=tls, only=EMBEDDED)
        yield lost
    rule = once(Lose(), PATCHES, first=2)
    yield Fault(
        *("F026", "chunk 2 lost", writes.write, (rule,), (UploadExpiredError,)),
        more=3,
        setting=tls,
        only=DOCKER,
        sessions=1,
    )


FAULTS = (*_connections(), *_patches(), *_http(), *_tls())

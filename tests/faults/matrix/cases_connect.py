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
from tests.faults.matrix import operations as do
from tests.faults.matrix.actions import (
    AcceptReset,
    AcceptSays,
    AcceptSilence,
    Drop,
    Hang,
    Header,
    Interim,
    Lose,
    Raw,
    Refuse,
    Twice,
    changed,
    closed_after,
    then_closed,
    then_reset,
)
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
READS = (do.ping, do.get, do.read, do.manifest_by_tag, do.manifest_stat, do.stat, do.tags, do.catalog, do.referrers)
_READING = {do.stat: "HEAD", do.manifest_stat: "HEAD"}
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
        do.ping,
        do.get,
        do.download,
        do.manifest_by_tag,
        do.tags,
        do.push_bytes,
        do.write,
        do.attach,
        do.mount,
    ):
        yield Fault("F005", "refused once", each, (once(Refuse(), DIALS),))
    for each in (do.ping, do.get, do.manifest_by_tag, do.tags, do.push_bytes, do.push_stream, do.attach):
        yield Fault("F006", "refused always", each, (always(Refuse(), DIALS),), (ConnectError,))
    for each in READS:
        method = _READING.get(each, "GET")
        yield Fault("F007", "reset before the answer", each, (once(Drop(), Where(method=method)),), more=1)
        yield Fault("F007", "closed before the answer", each, (once(Drop(reset=False), Where(method=method)),), more=1)
    yield Fault("F007", "closed within the answer", do.ping, (once(closed_after(1)),), more=1)
    yield Fault("F007", "reset when accepted", do.get, (once(AcceptReset(), ACCEPTS),))
    yield Fault("F007", "reset always", do.get, (always(Drop()),), (TransportError,), more=3)
    for each in (do.get, do.manifest_by_tag, do.tags):
        rule = once(Hang(), GETS)
        yield Fault("F009", "no answer once", each, (rule,), more=1, options=SHORT)
    yield Fault("F009", "no answer ever", do.get, (always(Hang()),), (TransportTimeoutError,), more=3, options=SHORT)
    yield Fault("F009", "black hole", do.tags, (once(AcceptSilence(), ACCEPTS),), options=SHORT)
    for each in (do.pull, do.push_bytes, do.write, do.attach, do.mount, do.push_manifest):
        yield Fault("F010", "closed after every answer", each, (always(changed(delivery=then_closed)),))
        yield Fault("F010", "reset after the first answer", each, (once(changed(delivery=then_reset)),), more=1)


def _patches() -> Iterator[Fault]:
    for each in (do.push_stream, do.push_chunked, do.write):
        for nth in (1, 2):
            dropped = once(Drop(), PATCHES, first=nth)
            yield Fault("F008", f"chunk {nth} reset unread", each, (dropped,), more=3)
    yield Fault("F011", "reset under a POST", do.push_bytes, (once(Drop(), POSTS),), more=1)
    yield Fault("F011", "reset under a POST", do.write, (once(Drop(), POSTS),), more=1)
    yield Fault("F011", "reset under a POST", do.mount, (once(Drop(), POSTS),), more=1)


def _http() -> Iterator[Fault]:
    for name, action in _MALFORMED.items():
        for each in (do.ping, do.get, do.manifest_by_tag, do.tags):
            yield Fault("F014", name, each, (always(action, GETS),), (ProtocolError,), more=3)
        yield Fault("F014", name, do.push_bytes, (always(action, POSTS),), (ProtocolError,), more=3)
    for name, action in _FRAMED.items():
        for each in (do.get, do.manifest_by_tag, do.tags):
            yield Fault("F015", name, each, (always(action, GETS),), (ProtocolError,), more=3)
    for each in (do.get, do.manifest_by_tag, do.tags, do.push_bytes):
        yield Fault("F016", "1000 hints", each, (once(changed(delivery=Interim(1000))),))
    for each in (do.push_bytes, do.push_manifest, do.write):
        yield Fault(
            "F016", "100 nobody asked for", each, (always(changed(delivery=Interim(1, 100)), Where(method="PUT")),)
        )


def _tls() -> Iterator[Fault]:
    tls = Setting.TLS
    hang = always(AcceptSilence(), ACCEPTS)
    yield Fault("F021", "no handshake", do.get, (hang,), (TransportTimeoutError,), setting=tls, options=SHORT)
    plain = always(AcceptSays(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), ACCEPTS)
    for each in (do.get, do.push_bytes):
        yield Fault("F022", "http where TLS should be", each, (plain,), (TlsError,), setting=tls)
    for each in (do.get, do.read, do.download):
        for name, count in (("at byte 0", 0), ("at byte 1", 1), ("half-way", HALF), ("before the last byte", LAST)):
            rule = once(closed_after(count), BLOB_GETS)
            yield Fault("F025", f"closed {name}", each, (rule,), more=1, setting=tls)
    for nth in (1, 2):
        rule = once(Drop(), PATCHES, first=nth)
        yield Fault("F026", f"chunk {nth} reset unread", do.write, (rule,), more=3, setting=tls)
        rule = once(Lose(), PATCHES, first=nth)
        lost = Fault("F026", f"chunk {nth} lost", do.write, (rule,), more=5, setting=tls, only=EMBEDDED)
        yield lost
    rule = once(Lose(), PATCHES, first=2)
    yield Fault(
        *("F026", "chunk 2 lost", do.write, (rule,), (UploadExpiredError,)),
        more=5,
        setting=tls,
        only=DOCKER,
        sessions=1,
    )


FAULTS = (*_connections(), *_patches(), *_http(), *_tls())

"""Row F: manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist import (
    DigestMismatchError,
    LimitExceededError,
    ManifestBlobUnknownError,
    NotFoundError,
    PayloadTooLargeError,
    ProtocolError,
    SizeMismatchError,
    TruncatedBodyError,
)
from tests.faults.matrix import reads, writes
from tests.faults.matrix.actions import LOST, Act, Bomb, Lose, Said, changed, header, reset_after, says
from tests.faults.matrix.changes import Coded, Corrupt, Header, Status, Swap, Truncate
from tests.faults.matrix.deliveries import Cut, chunked, endless
from tests.faults.matrix.fault import Fault
from tests.faults.matrix.rules import DELETES, MANIFEST_GETS, MANIFEST_HEADS, MANIFEST_PUTS, always, once
from tests.faults.matrix.standing import DIGEST, IMAGE, PLAIN
from tests.peers.images import OCI_INDEX, OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = len(IMAGE.manifest.data)
_LIMIT = 4 * 1024 * 1024
_PLACES = {"first": 0, "middle": SIZE // 2, "last": -1}
_UNKNOWN = b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "?", "detail": "%s"}]}' % DIGEST.encode()


def _reads() -> Iterator[Fault]:
    wrong = (DigestMismatchError,)
    for name, at in _PLACES.items():
        flip = changed(Corrupt(at))
        yield Fault(
            "F070", f"{name} byte, always", reads.manifest_by_digest, (always(flip, MANIFEST_GETS),), wrong, more=1
        )
        yield Fault("F070", f"{name} byte, once", reads.manifest_by_digest, (once(flip, MANIFEST_GETS),), more=1)
    other = changed(Swap(PLAIN.manifest.data))
    yield Fault("F070", "another manifest", reads.manifest_by_digest, (always(other, MANIFEST_GETS),), wrong, more=1)
    claimed = changed(Swap(PLAIN.manifest.data), Header("Docker-Content-Digest", IMAGE.digest))
    yield Fault("F070", "another, claimed", reads.manifest_by_digest, (always(claimed, MANIFEST_GETS),), wrong, more=1)
    for name, at in _PLACES.items():
        rule = always(changed(Corrupt(at)), MANIFEST_GETS)
        yield Fault("F071", f"{name} byte of a tag's", reads.manifest_by_tag, (rule,), wrong, more=1)
    rule = always(header("Docker-Content-Digest", PLAIN.digest), MANIFEST_GETS)
    yield Fault("F071", "a digest that is not its own", reads.manifest_by_tag, (rule,), wrong, more=1)
    for each in (reads.manifest_by_digest, reads.manifest_by_tag):
        for kind in (OCI_INDEX, "text/html"):
            rule = always(header("Content-Type", kind), MANIFEST_GETS)
            yield Fault("F072", kind.rpartition("/")[2], each, (rule,), (ProtocolError,), more=1)
        vague = always(header("Content-Type", "application/octet-stream"), MANIFEST_GETS)
        yield Fault("F072", "octets", each, (vague,))
        page = Act(Said(200, (("Content-Type", "text/html"),), b"<html>log in</html>"))
        yield Fault(
            "F072", "a web page", each, (always(page, MANIFEST_GETS),), (ProtocolError, DigestMismatchError), more=1
        )


def _sizes() -> Iterator[Fault]:
    large = (LimitExceededError,)
    kind = (("Content-Type", OCI_MANIFEST),)
    for each in (reads.manifest_by_digest, reads.manifest_by_tag):
        rule = always(changed(Swap(b" " * (_LIMIT + 1))), MANIFEST_GETS)
        yield Fault("F073", "a byte above the limit", each, (rule,), large, more=1)
        rule = always(changed(Swap(b" " * (_LIMIT + 1)), delivery=chunked), MANIFEST_GETS)
        yield Fault("F073", "a byte above it, in chunks", each, (rule,), large, more=1)
        rule = always(Act(Said(200, kind, b"{"), delivery=endless), MANIFEST_GETS)
        yield Fault("F073", "without end", each, (rule,), large, more=1)
        rule = always(header("Content-Length", str(10**15)), MANIFEST_GETS)
        yield Fault("F073", "a length of a petabyte", each, (rule,), large, more=1)
        rule = once(changed(Header("Content-Length", str(SIZE + 10)), delivery=Cut(SIZE, reset=False)), MANIFEST_GETS)
        yield Fault("F073", "a length that is too large", each, (rule,), more=1)
        yield Fault("F074", "gzip", each, (always(changed(Coded("gzip")), MANIFEST_GETS),))
        for coding in ("gzip", "deflate"):
            rule = always(Bomb(coding=coding, media_type=OCI_MANIFEST), MANIFEST_GETS)
            refused = (LimitExceededError, ProtocolError, DigestMismatchError)
            yield Fault("F074", f"a {coding} bomb", each, (rule,), refused, more=1)
        rule = always(changed(Truncate(10)), MANIFEST_GETS)
        yield Fault("F075", "cut, always", each, (rule,), (DigestMismatchError,), more=1)
    for each in (reads.manifest_by_digest, reads.manifest_by_tag):
        rule = once(reset_after(10), MANIFEST_GETS, count=3)
        yield Fault("F075", "reset within, three times", each, (rule,), more=3)
        for name, reset in {"reset": True, "closed": False}.items():
            rule = once(changed(delivery=Cut(10, reset=reset)), MANIFEST_GETS)
            yield Fault("F075", f"{name} within, once", each, (rule,), more=1)
    yield Fault("F075", "cut, once", reads.manifest_by_digest, (once(changed(Truncate(10)), MANIFEST_GETS),), more=1)
    cut = (TruncatedBodyError, SizeMismatchError)
    rule = always(changed(delivery=Cut(10)), MANIFEST_GETS)
    yield Fault("F075", "reset within, always", reads.manifest_by_digest, (rule,), cut, more=3)


def _heads() -> Iterator[Fault]:
    answers = {
        "405": says(405),
        "no headers": says(200),
        "no digest": header("Docker-Content-Digest", None),
        "no type": header("Content-Type", None),
        "no length": header("Content-Length", None),
        "a digest that is none": header("Docker-Content-Digest", "sha256:zz"),
    }
    for name, action in answers.items():
        yield Fault("F076", name, reads.manifest_stat, (always(action, MANIFEST_HEADS),), more=2)


def _writes() -> Iterator[Fault]:
    for each in (writes.push_manifest, writes.push_tag):
        for name, action in LOST.items():
            yield Fault("F077", name, each, (once(action, MANIFEST_PUTS),), more=2)
        for part in (0.0, 0.5):
            yield Fault("F077", f"{part:.0%} arrived", each, (once(Lose(part), MANIFEST_PUTS),), more=2)
        rule = always(header("Docker-Content-Digest", PLAIN.digest), MANIFEST_PUTS)
        yield Fault("F078", "another digest", each, (rule,), (DigestMismatchError,))
        rule = always(says(400, _UNKNOWN, Content_Type="application/json"), MANIFEST_PUTS)
        yield Fault("F079", "a blob is missing", each, (rule,), (ManifestBlobUnknownError,))
        yield Fault("F080", "404 once", each, (once(says(404), MANIFEST_PUTS),), more=1)
        yield Fault("F080", "404 always", each, (always(says(404), MANIFEST_PUTS),), (NotFoundError,), more=2)
        for name, delivery in {"then FIN": Cut(1000, reset=False), "then RST": Cut(1000)}.items():
            rule = always(says(413, early=True, delivery=delivery), MANIFEST_PUTS)
            yield Fault("F081", f"413 {name}", each, (rule,), (PayloadTooLargeError,))
        for status in (200, 202, 204):
            rule = always(says(status), MANIFEST_PUTS)
            yield Fault("F078", f"{status} and nothing stored", each, (rule,), (ProtocolError,), more=4)
            yield Fault("F078", f"{status} for 201", each, (always(changed(Status(status)), MANIFEST_PUTS),), more=2)
    for each in (writes.delete, writes.delete_blob):
        for name, action in LOST.items():
            yield Fault("F083", name, each, (once(action, DELETES),), more=2)


FAULTS = (*_reads(), *_sizes(), *_heads(), *_writes())

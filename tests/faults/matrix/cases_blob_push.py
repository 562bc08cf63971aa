"""Rows J and K: writing blobs, and mounting them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist import (
    AuthError,
    DeniedError,
    DigestInvalidError,
    DigestMismatchError,
    LocationRefusedError,
    PayloadTooLargeError,
    ProtocolError,
    RateLimitedError,
    ResponseError,
    ServerError,
    SizeMismatchError,
    UploadConflictError,
    UploadExpiredError,
)
from tests.faults.matrix import operations, writes
from tests.faults.matrix.actions import (
    LOST,
    PARTS,
    Act,
    Asked,
    Filled,
    Hang,
    Lose,
    Revoke,
    Taken,
    changed,
    header,
    says,
)
from tests.faults.matrix.changes import Relative, Status
from tests.faults.matrix.deliveries import Cut
from tests.faults.matrix.fault import DOCKER, EMBEDDED, Errors, Fault
from tests.faults.matrix.rules import BLOB_HEADS, CANCELS, MOUNTS, PATCHES, POSTS, PUTS, Rule, always, once
from tests.faults.matrix.stage import Setting
from tests.faults.matrix.standing import DIGEST, OTHER, sha512
from tests.peers.images import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.matrix.rules import Action

CHUNKED = (writes.push_stream, writes.push_chunked, writes.write, writes.push_journal)
WHOLE = (writes.push_bytes, writes.push_file)
_INVALID = b'{"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match"}]}'
_UNKNOWN = b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN", "message": "blob upload unknown to registry"}]}'


def _patch(action: Action, nth: int = 1) -> Rule:
    return once(action, PATCHES, first=nth)


def _once_only(operation: operations.Operation) -> bool:
    return operation in {writes.push_stream, writes.write}


def _starts() -> Iterator[Fault]:
    for each in (*WHOLE, writes.write, writes.mount):
        missing = always(header("Location", None), POSTS)
        if each is not writes.mount:
            yield Fault("F130", "no Location", each, (missing,), (ProtocolError,), sessions=1)
            for name, url in {"foreign": "<stranger>/upload", "a file": "file:///tmp/x"}.items():
                rule = always(Filled("Location", url), POSTS)
                # Another server may take uploads, but gets no secret; this one says yes to all, and is not believed.
                expect = (LocationRefusedError, ProtocolError)
                yield Fault("F130", f"a Location that is {name}", each, (rule,), expect, more=4, sessions=1)
            yield Fault("F130", "a relative Location", each, (always(changed(Relative()), POSTS),))
        for name, action in LOST.items():
            yield Fault("F131", name, each, (once(action, POSTS),), more=3, sessions=1)
        yield Fault("F131", "500 once", each, (once(says(500), POSTS),), more=1)
        # A mount that fails is followed by an upload.
        more = 7 if each is writes.mount else 3
        yield Fault("F131", "503 always", each, (always(says(503), POSTS),), (ServerError,), more=more)
        yield Fault("F131", "429 once", each, (once(says(429, Retry_After="0"), POSTS),), more=1)
        if each is not writes.mount:
            for text in ("0", "nonsense", "-5", "99999999999999"):
                rule = always(header("OCI-Chunk-Min-Length", text), POSTS)
                yield Fault("F143", f"a minimum of {text}", each, (rule,), more=1)
    plain = always(header("Location", "http://127.0.0.1/upload"), POSTS)
    refused = (LocationRefusedError,)
    yield Fault("F130", "http from https", writes.push_bytes, (plain,), refused, setting=Setting.TLS, sessions=1)
    yield Fault(
        "F132", "202 for all in one", writes.push_single, (once(Act(Asked(query=False)), POSTS),), more=2, sessions=1
    )
    others: dict[str, Action] = {"413": says(413), "405": says(405)}
    for name, action in {**LOST, **others}.items():
        yield Fault("F132", f"all in one, {name}", writes.push_single, (once(action, POSTS),), more=4, sessions=1)


def _lost_chunks() -> Iterator[Fault]:
    for each in CHUNKED:
        for nth in (1, 2, 3):
            for name, action in PARTS.items():
                text = f"chunk {nth}, {name} applied"
                rule = _patch(action, nth)
                yield Fault("F133", text, each, (rule,), more=7, only=EMBEDDED)
                # docker-registry 2.8.2 does not know the session any more under the only name that is known of it.
                moved = name in {"half of it", "all of it"}
                fatal = moved and nth > 1 and _once_only(each)
                expect = (UploadExpiredError,) if fatal else ()
                yield Fault("F133", text, each, (rule,), expect, more=7, only=DOCKER, sessions=int(moved))
        rule = _patch(Lose(reset=True), 1)
        yield Fault("F008", "RST under the answer", each, (rule,), more=5, only=EMBEDDED)
        yield Fault("F008", "RST under the answer", each, (rule,), more=5, only=DOCKER, sessions=1)


def _chunks() -> Iterator[Fault]:
    for each in CHUNKED:
        range_of = {"with a Range": says(416, Range="0-65535"), "without": says(416)}
        for name, action in range_of.items():
            yield Fault("F134", f"416 {name}", each, (_patch(action, 2),), more=4)
        yield Fault("F135", "half of a chunk taken", each, (_patch(Act(Taken(0.5)), 1),), more=3)
        yield Fault("F135", "half of the second taken", each, (_patch(Act(Taken(0.5)), 2),), more=3)
        rule = _patch(header("Range", "0-9999999"), 1)
        expect: Errors = (UploadConflictError,) if _once_only(each) else ()
        yield Fault("F136", "more than was sent", each, (rule,), expect, more=2)
        back = _patch(header("Range", "0-100"), 2)
        yield Fault("F136", "less than before", each, (back,), more=2)
        yield Fault("F137", "no Range", each, (always(header("Range", None), PATCHES),), more=1)
        yield Fault("F137", "bytes=", each, (_patch(header("Range", "bytes=0-65535"), 1),), more=1)
        yield Fault("F137", "nonsense", each, (_patch(header("Range", "many"), 1),), more=1)
        yield Fault("F138", "no Location", each, (always(header("Location", None), PATCHES),), more=1, only=EMBEDDED)
        yield Fault("F138", "a relative Location", each, (always(changed(Relative()), PATCHES),))
        rule = _patch(Filled("Location", "<stranger>/upload"), 1)
        expect = (LocationRefusedError, ProtocolError)
        yield Fault("F138", "foreign", each, (rule,), expect, more=4, sessions=1)
        yield Fault("F140", "429", each, (_patch(says(429, Retry_After="0"), 2),), more=2)
        yield Fault("F140", "503", each, (_patch(says(503, Retry_After="0"), 2),), more=2)
        yield Fault("F140", "500", each, (_patch(says(500), 2),), more=2)
        for nth in (1, 2, 3):
            name = f"chunk {nth}"
            rule = once(Revoke(), PATCHES, first=nth)
            yield Fault("F141", f"401 at {name}", each, (rule,), more=3, setting=Setting.TOKEN)
            vanished = _patch(says(404, _UNKNOWN), nth)
            fatal = nth > 1 and _once_only(each)
            expect = (UploadExpiredError,) if fatal else ()
            yield Fault("F139", f"404 at {name}", each, (vanished,), expect, more=6, sessions=1)
        for status in (405, 413):
            rule = always(says(status), PATCHES)
            works = status == 405 and each in {writes.push_chunked, writes.push_journal}
            expect = () if works else (ResponseError,)
            kept = int(not works and each is writes.push_journal)
            name = f"{status} always"
            yield Fault("F142", name, each, (rule,), expect, more=1, sessions=kept)
        rule = always(header("Docker-Content-Digest", sha256(OTHER)), PUTS)
        yield Fault("F147", "another digest", each, (rule,), (DigestMismatchError,), more=1)
    yield Fault("F140", "429 for long", writes.write, (_patch(says(429, Retry_After="9999"), 2),), (RateLimitedError,))


def _ends() -> Iterator[Fault]:
    for each in (*WHOLE, *CHUNKED):
        for name, action in PARTS.items():
            rule = once(action, PUTS)
            yield Fault("F144", f"{name} applied", each, (rule,), more=8, only=EMBEDDED)
            moved = name == "half of it"
            expect: Errors = (UploadExpiredError,) if moved and _once_only(each) else ()
            yield Fault("F144", f"{name} applied", each, (rule,), expect, more=8, only=DOCKER, sessions=int(moved))
        kept = int(each is writes.push_journal)
        invalid = always(says(400, _INVALID, Content_Type="application/json"), PUTS)
        expect = (DigestInvalidError, DigestMismatchError)
        yield Fault("F145", "the registry has other bytes", each, (invalid,), expect, more=2, sessions=kept)
        for status in (202, 204):
            rule = always(says(status), PUTS)
            lied = (ProtocolError,)
            yield Fault("F146", f"{status} and nothing stored", each, (rule,), lied, more=4, sessions=kept)
            yield Fault("F146", f"{status} for 201", each, (always(changed(Status(status)), PUTS),), more=3)
        rule = always(header("Docker-Content-Digest", sha512(b"")), PUTS)
        yield Fault("F147", "a digest of another algorithm", each, (rule,))
    untrue = always(says(201), PUTS)
    yield Fault("F146", "201 and nothing stored", writes.push_verified, (untrue,), (ProtocolError,), more=4, sessions=1)
    for count in (1, 2):
        lag = once(says(404), BLOB_HEADS, first=2, count=count)
        yield Fault("F146", f"201 and {count} times not there", writes.push_verified, (lag,), more=count)
    refusals = {401: AuthError, 403: DeniedError, 413: PayloadTooLargeError, 500: ServerError}
    for status, error in refusals.items():
        # After 413 what can be read again is sent in chunks.
        each = writes.push_huge_once if status == 413 else writes.push_huge
        for name, delivery in {"then RST": Cut(1000), "then FIN": Cut(1000, reset=False)}.items():
            rule = always(says(status, early=True, delivery=delivery), PUTS)
            yield Fault("F148", f"{status} {name}", each, (rule,), (error,), more=16)


def _sources() -> Iterator[Fault]:
    yield Fault("F149", "raises", writes.source_raises, (), more=4)
    yield Fault("F149", "raises in chunks", writes.source_raises_in_chunks, (), more=4)
    yield Fault("F149", "is too short", writes.source_short, (), (SizeMismatchError,), more=4)
    yield Fault("F149", "is too long", writes.source_long, (), (SizeMismatchError,), more=4)
    yield Fault("F149", "is something else", writes.source_other, (), (DigestMismatchError,), more=4)
    yield Fault("F149", "is cancelled", writes.push_cancelled, (), more=1)
    refused = once(says(403, b""), PUTS)
    answers: dict[str, Action] = {
        "404": says(404),
        "405": says(405),
        "500": says(500),
        "nothing": Hang(),
    }
    for name, action in answers.items():
        for each in (writes.push_bytes, writes.write):
            rules = (refused, always(action, CANCELS))
            yield Fault("F151", name, each, rules, (DeniedError,), more=4, sessions=1)


def _mounts() -> Iterator[Fault]:
    yield Fault("F155", "202", writes.mount, (always(Act(Asked(query=False)), MOUNTS),), more=1)
    for status in (400, 401, 403, 404, 405, 500):
        rule = always(says(status), MOUNTS)
        yield Fault("F155", f"{status}", writes.mount, (rule,), more=5)
    yield Fault("F155", "503 once", writes.mount, (once(says(503), MOUNTS),), more=1)
    rule = always(header("Docker-Content-Digest", sha256(OTHER)), MOUNTS)
    yield Fault("F156", "another digest", writes.mount, (rule,), more=5)
    rule = always(says(201, Location=f"/v2/x/blobs/{DIGEST}"), MOUNTS)
    yield Fault("F156", "nothing there", writes.mount, (rule,), more=5)
    for name, action in LOST.items():
        yield Fault("F157", name, writes.mount, (once(action, MOUNTS),), more=3)


FAULTS = (*_starts(), *_lost_chunks(), *_chunks(), *_ends(), *_sources(), *_mounts())

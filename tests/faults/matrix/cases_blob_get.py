"""Row I: reading blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist import (
    DigestMismatchError,
    IntegrityError,
    NotFoundError,
    ProtocolError,
    TransportTimeoutError,
    TruncatedBodyError,
)
from tests.faults.matrix import reads
from tests.faults.matrix.actions import Act, Asked, Begun, Bomb, changed, closed_after, header, reset_after, says
from tests.faults.matrix.cases_connect import SHORT
from tests.faults.matrix.changes import Coded, Corrupt, Extend, Header, Status, Swap, Truncate
from tests.faults.matrix.deliveries import Cut, Stall, Throttle, chunked, endless, unframed
from tests.faults.matrix.fault import Fault
from tests.faults.matrix.rules import BLOB_GETS, Rule, always, once
from tests.faults.matrix.stage import Setting
from tests.faults.matrix.standing import BLOB, OTHER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.matrix.rules import Action

SIZE = len(BLOB)
HALF = SIZE // 2
PLACES = {"byte 0": 0, "byte 1": 1, "the middle": HALF, "the last byte": SIZE - 1, "the end": SIZE}
READERS = (reads.get, reads.read, reads.download)


def _first(action: Action) -> Rule:
    return once(action, BLOB_GETS)


def _second(action: Action) -> Rule:
    return once(action, BLOB_GETS, first=2)


def _every(action: Action) -> Rule:
    return always(action, BLOB_GETS)


def _cuts() -> Iterator[Fault]:
    for each in READERS:
        for name, at in PLACES.items():
            yield Fault("F110", f"RST at {name}", each, (_first(reset_after(at)),), more=1)
            if at < SIZE:
                yield Fault("F110", f"FIN at {name}", each, (_first(closed_after(at)),), more=1)
                short = changed(Truncate(SIZE - at), delivery=unframed) if at else changed(Swap(b""), delivery=unframed)
                if each is not reads.get:
                    yield Fault("F111", f"end at {name}", each, (_first(short),), more=1)
        yield Fault("F110", "RST again and again", each, (once(reset_after(HALF), BLOB_GETS, count=3),), more=3)
        rule = _every(reset_after(0))
        lost = (TruncatedBodyError,)
        yield Fault("F110", "RST at byte 0, always", each, (rule,), lost, more=6)
    yield Fault("F110", "RST at the middle, TLS", reads.get, (_first(reset_after(HALF)),), more=1, setting=Setting.TLS)
    rule = _every(changed(Truncate(HALF), delivery=unframed))
    yield Fault("F111", "end at the middle, always", reads.get, (rule,), (IntegrityError,), more=1)


def _ranges() -> Iterator[Fault]:
    cut = _first(reset_after(HALF))
    second = {
        "a wrong first byte": header("Content-Range", f"bytes 5-{SIZE - 1}/{SIZE}"),
        "a wrong total": header("Content-Range", f"bytes {HALF}-{SIZE - 1}/{SIZE + 5}"),
        "no header": header("Content-Range", None),
        "a header that is none": header("Content-Range", "pages 1-2/3"),
        "many parts": header("Content-Type", "multipart/byteranges; boundary=x"),
        "a part too short": changed(Truncate(10)),
        "another total and first": header("Content-Range", f"bytes 0-{SIZE - 1}/{SIZE}"),
    }
    for each in READERS:
        whole = Act(Asked(without=("Range",)))
        yield Fault("F112", "200 for a part", each, (cut, _second(whole)), more=2)
        rules = (cut, always(whole, BLOB_GETS, first=2))
        yield Fault("F112", "200 for every part", each, rules, more=2)
        for name, action in second.items():
            yield Fault("F113", name, each, (cut, _second(action)), more=2)
        other = changed(Swap(OTHER[HALF:]))
        # Who has passed bytes on cannot take them back.
        expect = (DigestMismatchError,) if each is reads.read else ()
        yield Fault("F113", "another object", each, (cut, _second(other)), expect, more=2)
        rules = (cut, always(other, BLOB_GETS, first=2))
        yield Fault("F113", "another object, always", each, rules, (IntegrityError,), more=3)
        past = says(416, Content_Range=f"bytes */{SIZE}")
        yield Fault("F114", "416 before the end", each, (cut, _second(past)), more=4)
        yield Fault("F114", "416 without a size", each, (cut, _second(says(416))), more=4)
        tagged = (
            once(changed(Header("ETag", '"one"'), delivery=Cut(HALF)), BLOB_GETS),
            once(changed(Header("ETag", '"two"')), BLOB_GETS, first=2),
        )
        yield Fault("F122", "another ETag", each, tagged, more=2)
    unasked = changed(Status(206), Header("Content-Range", f"bytes 0-{SIZE - 1}/{SIZE}"))
    yield Fault("F113", "206 that nobody asked for", reads.read, (_every(unasked),), more=2)


def _bytes() -> Iterator[Fault]:
    for each in READERS:
        for name, at in {"first": 0, "middle": HALF, "last": -1}.items():
            wrong = (DigestMismatchError,)
            yield Fault("F115", f"{name} byte", each, (_every(changed(Corrupt(at))),), wrong, more=1)
        extra = (IntegrityError, ProtocolError)
        yield Fault("F116", "a byte more", each, (_every(changed(Extend(b"x"))),), extra, more=1)
        rule = _every(changed(Extend(b"x"), delivery=chunked))
        yield Fault("F116", "a byte more, in chunks", each, (rule,), extra, more=1)
        yield Fault("F116", "a byte less", each, (_every(changed(Truncate(1))),), extra, more=1)
        if each is not reads.get:
            yield Fault("F116", "without end", each, (_every(changed(delivery=endless)),), extra, more=1)
        yield Fault("F118", "gzip", each, (_every(changed(Coded("gzip"))),), extra, more=1)
        yield Fault("F118", "gzip, gzip", each, (_every(changed(Coded("gzip, gzip"))),), extra, more=1)
        for coding in ("br", "x-unknown"):
            # It is the blob itself that came, whatever it is said to be.
            yield Fault("F118", coding, each, (_every(changed(Coded(coding))),))
        bomb = Bomb(media_type="application/octet-stream")
        yield Fault("F118", "a bomb", each, (_every(bomb),), extra, more=1)
        yield Fault("F119", "gone after HEAD", each, (_every(says(404)),), (NotFoundError,), more=1)
        yield Fault("F120", "no length", each, (_every(changed(delivery=unframed)),), more=1)
        yield Fault("F120", "in chunks", each, (_every(changed(delivery=chunked)),), more=1)
    for name, delivery in {"in chunks": chunked, "no length": unframed}.items():
        yield Fault("F120", f"nothing, {name}", reads.get_empty, (_every(changed(delivery=delivery)),), more=1)
    yield Fault("F120", "nothing, asked for in vain", reads.get_empty, (_every(changed(Extend(b"x"))),), extra, more=1)


def _time() -> Iterator[Fault]:
    for each in READERS:
        yield Fault("F117", "a stall", each, (_first(changed(delivery=Stall(HALF, 2.0))),), more=1, options=SHORT)
        yield Fault("F117", "slow but steady", each, (_first(changed(delivery=Throttle(20_000, 0.01))),))
    stuck = (TransportTimeoutError, TruncatedBodyError)
    yield Fault("F117", "stalls", reads.get, (_every(changed(delivery=Stall(0, 2.0))),), stuck, more=6, options=SHORT)
    pieces = _every(Act(Begun(70_000), delivery=Cut(70_000)))
    yield Fault("F121", "cut a hundred times", reads.read_big, (pieces,), more=100)
    for each in reads.SINKS:
        yield Fault("F123", "a reader of its own kind", each, ())
        yield Fault("F123", "in pieces", each, (_every(changed(delivery=Throttle(50_000, 0.005))),))


FAULTS = (*_cuts(), *_ranges(), *_bytes(), *_time())

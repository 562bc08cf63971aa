"""Row E: redirects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist import BodyNotReplayableError, RedirectRefusedError, ResponseError, UnexpectedStatusError
from tests.faults.matrix import reads, writes
from tests.faults.matrix.actions import Act, Moved, closed_after, reset_after, says
from tests.faults.matrix.fault import Errors, Fault
from tests.faults.matrix.rules import (
    BLOB_GETS,
    CDN,
    GETS,
    MANIFEST_GETS,
    MANIFEST_PUTS,
    PATCHES,
    PUTS,
    Where,
    always,
    once,
)
from tests.faults.matrix.stage import Setting
from tests.faults.matrix.standing import BLOB

if TYPE_CHECKING:
    from collections.abc import Iterator

HALF = len(BLOB) // 2
_BAD = {
    "http from https": ("http://127.0.0.1/x", Setting.TLS),
    "a file": ("file:///etc/passwd", Setting.OPEN),
    "with a user": ("http://alice:secret@127.0.0.3/x", Setting.OPEN),
    "the metadata service": ("http://169.254.169.254/latest", Setting.OPEN),
    "no URL": ("http://[::1", Setting.OPEN),
    "a port that is none": ("http://127.0.0.1:99999/", Setting.OPEN),
    "empty": ("", Setting.OPEN),
}


def _reads() -> Iterator[Fault]:
    for status in (301, 302, 303, 307, 308):
        for each in (reads.get, reads.download):
            for setting in (Setting.OPEN, Setting.TOKEN):
                rule = always(Act(Moved(status)), BLOB_GETS)
                name = f"{status}, {setting.value}"
                yield Fault("F060", name, each, (rule,), more=2, setting=setting)
    rule = always(Act(Moved(307)), MANIFEST_GETS)
    for each in (reads.manifest_by_digest, reads.manifest_by_tag):
        yield Fault("F060", "307", each, (rule,), more=1)
    circle = always(Act(Moved(308, "<registry>")), GETS)
    chain = always(Act(Moved(307, "<registry>", "?hop=1")), GETS)
    for each in (reads.get, reads.manifest_by_tag, reads.tags):
        yield Fault("F063", "in a circle", each, (circle,), (RedirectRefusedError,), more=1)
        yield Fault("F063", "50 hops", each, (chain,), (RedirectRefusedError,), more=5)
    for name, (url, setting) in _BAD.items():
        rule = always(says(307, Location=url), GETS)
        for each in (reads.get, reads.tags):
            yield Fault("F064", name, each, (rule,), (RedirectRefusedError,), setting=setting)
    rule = always(says(307), GETS)
    yield Fault("F064", "nowhere", reads.get, (rule,), (RedirectRefusedError, UnexpectedStatusError))


def _cdn() -> Iterator[Fault]:
    away = always(Act(Moved(307, more="?X-Signature=canary-signature-c8d9")), BLOB_GETS)
    for each in (reads.get, reads.read, reads.download):
        cut = once(reset_after(HALF), CDN)
        for status in (400, 403):
            expired = once(says(status), CDN, first=2)
            yield Fault("F065", f"{status} when going on", each, (away, cut, expired), more=5)
        for name, action in {"reset": reset_after(HALF), "closed": closed_after(HALF)}.items():
            yield Fault("F066", f"{name} half-way", each, (away, once(action, CDN)), more=3)
        for status in (500, 503):
            yield Fault("F066", f"{status} once", each, (away, once(says(status), CDN)), more=3)


def _writes() -> Iterator[Fault]:
    for status in (301, 302, 303):
        rule = always(Act(Moved(status, "<stranger>")), MANIFEST_PUTS)
        refused: Errors = (UnexpectedStatusError, RedirectRefusedError)
        yield Fault("F061", f"{status} of a manifest", writes.push_manifest, (rule,), refused)
        rule = always(Act(Moved(status, "<stranger>")), PUTS)
        yield Fault("F061", f"{status} of a blob", writes.push_bytes, (rule,), refused, more=2)
    for status in (307, 308):
        home = Act(Moved(status, "<registry>", "?hop=1"))
        rule = once(home, PATCHES)
        for each in (writes.push_stream, writes.write):
            yield Fault("F062", f"{status} of a chunk", each, (rule,), more=1)
        yield Fault("F062", f"{status} of a blob", writes.push_bytes, (once(home, PUTS),), more=1)
        yield Fault("F062", f"{status} of a manifest", writes.push_manifest, (once(home, Where(method="PUT")),), more=1)
        rule = once(home, PUTS)
        lost = (BodyNotReplayableError,)
        yield Fault("F062", f"{status} of a stream", writes.push_once, (rule,), lost, more=3)
        away = always(Act(Moved(status, "<stranger>")), PUTS)
        refused = (RedirectRefusedError, ResponseError)
        yield Fault("F062", f"{status} elsewhere", writes.push_bytes, (away,), refused, more=2)


FAULTS = (*_reads(), *_cdn(), *_writes())

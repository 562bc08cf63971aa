"""Row L: mirrors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist import TransportError
from tests.faults.matrix import reads
from tests.faults.matrix.actions import Act, Drop, Hang, Moved, changed, reset_after, says
from tests.faults.matrix.cases_connect import SHORT
from tests.faults.matrix.changes import Corrupt, Swap, Truncate
from tests.faults.matrix.fault import Fault
from tests.faults.matrix.rules import MIRROR, MIRROR_BLOBS, MIRROR_MANIFESTS, always, once
from tests.faults.matrix.stage import Setting
from tests.faults.matrix.standing import OTHER, PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.matrix.rules import Action

READS = (reads.get, reads.download, reads.manifest_by_digest, reads.manifest_by_tag, reads.pull)


def _mirrors() -> Iterator[Fault]:
    setting = Setting.MIRROR
    down: dict[str, Action] = {"reset": Drop(), "500": says(500), "503": says(503), "429": says(429, Retry_After="30")}
    for each in READS:
        for name, action in down.items():
            yield Fault("F160", f"{name} always", each, (always(action, MIRROR),), more=3, setting=setting)
        yield Fault("F162", "404", each, (always(says(404), MIRROR),), more=4, setting=setting)
        asks = always(says(401, WWW_Authenticate='Basic realm="mirror"'), MIRROR)
        yield Fault("F163", "asks for a password", each, (asks,), more=4, setting=setting)
    for each in (reads.get, reads.manifest_by_tag):
        rule = always(Hang(), MIRROR)
        yield Fault("F160", "no answer", each, (rule,), more=2, setting=setting, options=SHORT)
        rule = always(Act(Moved(307, "<stranger>")), MIRROR)
        yield Fault("F161", "leads elsewhere", each, (rule,), more=2, setting=setting)
        everywhere = (always(Drop(), MIRROR), always(Drop()))
        yield Fault("F164", "all dead", each, everywhere, (TransportError,), more=6, setting=setting)
    wrong = {
        "a byte changed": changed(Corrupt(7)),
        "another blob": changed(Swap(OTHER)),
        "a byte less": changed(Truncate(1)),
    }
    for each in (reads.get, reads.read, reads.download):
        if each is reads.read:
            continue
        for name, action in wrong.items():
            rule = always(action, MIRROR_BLOBS)
            yield Fault("F161", name, each, (rule,), more=2, setting=setting)
        rule = once(reset_after(100_000), MIRROR_BLOBS)
        yield Fault("F160", "reset half-way", each, (rule,), more=2, setting=setting)
    for each in (reads.manifest_by_digest, reads.manifest_by_tag):
        stale = always(changed(Swap(PLAIN.manifest.data)), MIRROR_MANIFESTS)
        yield Fault("F161", "another manifest", each, (stale,), more=2, setting=setting)


FAULTS = tuple(_mirrors())

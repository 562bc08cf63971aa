"""Rows G and H: lists and referrers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ocidist import (
    DeniedError,
    LimitExceededError,
    LinkRefusedError,
    NotFoundError,
    OciError,
    PaginationLoopError,
    ProtocolError,
    TruncatedBodyError,
    UnsupportedError,
)
from tests.faults.matrix import reads, writes
from tests.faults.matrix.actions import (
    LOST,
    Act,
    Bomb,
    Drop,
    Filled,
    Revoke,
    Said,
    changed,
    closed_after,
    header,
    reset_after,
    says,
)
from tests.faults.matrix.changes import Corrupt, Swap, Truncate
from tests.faults.matrix.deliveries import endless
from tests.faults.matrix.fault import DOCKER, EMBEDDED, Fault
from tests.faults.matrix.rules import CATALOG, MANIFEST_PUTS, REFERRERS, TAG_LISTS, Kind, Where, always, once
from tests.faults.matrix.stage import Setting
from tests.faults.matrix.standing import IMAGE, READ, TAGS
from tests.peers.images import OCI_INDEX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.matrix.rules import Action

_JSON = (("Content-Type", "application/json"),)
_LISTS = {reads.tags: TAG_LISTS, reads.catalog: CATALOG}
_FALLBACK = Where(Kind.MANIFEST, text="sha256-")
_FALLBACK_GETS = Where(Kind.MANIFEST, "GET", text="sha256-")
_FALLBACK_PUTS = Where(Kind.MANIFEST, "PUT", text="sha256-")
_BAD_LINKS = {
    "another host": '<<stranger>/v2/_catalog?n=1>; rel="next"',
    "another host without scheme": '<//127.0.0.3/v2/_catalog?n=1>; rel="next"',
    "another port": '<http://127.0.0.1:1/v2/_catalog?n=1>; rel="next"',
    "a user": '<http://alice:secret@127.0.0.1/v2/_catalog?n=1>; rel="next"',
    "a file": '<file:///etc/passwd>; rel="next"',
}
_BODIES = {
    "a string": {"tags": "v1", "repositories": "a"},
    "numbers": {"tags": [1, 2], "repositories": [1, 2]},
    "a list": [],
    "an object": {"tags": {}, "repositories": {}},
}


def _said(value: object) -> Act:
    return Act(Said(200, _JSON, json.dumps(value).encode()))


def _lists() -> Iterator[Fault]:
    for each, kind in _LISTS.items():
        itself = Filled("Link", '<<self>>; rel="next"')
        yield Fault("F090", "itself", each, (always(itself, kind),), (PaginationLoopError,), more=2)
        rules = (
            always(Filled("Link", '<<path>?n=4&last=a>; rel="next"'), kind, every=2),
            always(Filled("Link", '<<path>?n=4&last=b>; rel="next"'), kind),
        )
        yield Fault("F090", "two in a circle", each, rules, (PaginationLoopError,), more=3)
        for name, link in _BAD_LINKS.items():
            rule = always(Filled("Link", link), kind)
            yield Fault("F093", name, each, (rule,), (LinkRefusedError, ProtocolError))
        for name, value in _BODIES.items():
            yield Fault("F094", name, each, (always(_said(value), kind),), (ProtocolError,))
        rule = always(Act(Said(200, (("Content-Type", "text/html"),), b"<html>")), kind)
        yield Fault("F094", "a web page", each, (rule,), (ProtocolError,))
        yield Fault("F094", "half of it", each, (always(changed(Truncate(5)), kind),), (ProtocolError,))
        rule = always(Act(Said(200, _JSON, b'{"tags": ['), delivery=endless), kind)
        yield Fault("F091", "a page without end", each, (rule,), (LimitExceededError,))
        yield Fault("F091", "a bomb", each, (always(Bomb(), kind),), (ProtocolError,))
        for name, action in _transient().items():
            yield Fault("F095", f"{name} on the first page", each, (once(action, kind),), more=1)
        for count in (2, 3):
            rule = once(reset_after(10), kind, count=count)
            yield Fault("F095", f"reset within, {count} times", each, (rule,), more=count)
        rule = always(reset_after(10), kind)
        yield Fault("F095", "reset within, always", each, (rule,), (TruncatedBodyError,), more=3)
    empty = Act(Said(200, (*_JSON, ("Link", f'</v2/{READ}/tags/list?n=5>; rel="next"')), b'{"tags": []}'))
    yield Fault("F092", "an empty first page", reads.tags, (once(empty, TAG_LISTS),), more=1)
    null = Act(Said(200, (*_JSON, ("Link", f'</v2/{READ}/tags/list?n=5>; rel="next"')), b'{"tags": null}'))
    yield Fault("F092", "null on the first page", reads.tags, (once(null, TAG_LISTS),), more=1)
    for name, action in _transient().items():
        for nth in (2, 3):
            rule = once(action, TAG_LISTS, first=nth)
            yield Fault("F095", f"{name} on page {nth}", reads.tags, (rule,), more=1, only=EMBEDDED)
    for nth in (3, 4):
        rule = once(Revoke(), TAG_LISTS, first=nth)
        name = f"a token revoked at request {nth}"
        yield Fault("F096", name, reads.tags, (rule,), more=3, only=EMBEDDED, setting=Setting.TOKEN)


def _transient() -> dict[str, Action]:
    return {
        "500": says(500),
        "503": says(503, Retry_After="0"),
        "429": says(429, Retry_After="0"),
        "408": says(408),
        "reset": Drop(),
        "reset within": reset_after(10),
        "closed within": closed_after(10),
    }


def _catalog() -> Iterator[Fault]:
    for status in (401, 403):
        rule = always(says(status), CATALOG)
        yield Fault("F098", f"{status}", reads.catalog, (rule,), (DeniedError,), more=2)
    for status in (404, 405, 501):
        rule = always(says(status), CATALOG)
        yield Fault("F098", f"{status}", reads.catalog, (rule,), (UnsupportedError, OciError), more=2)
    odd = ["..", "../../etc", "Upper/Case", "a\r\nX: y", "a//b", READ, "", "-a"]
    rule = always(_said({"repositories": odd}), CATALOG)
    yield Fault("F099", "names that are none", reads.catalog, (rule,))
    rule = always(
        _said({"tags": ["..", "a b", "x\r\ny", "-", *TAGS, "plain", IMAGE.digest.replace(":", "-")]}), TAG_LISTS
    )
    yield Fault("F094", "names that are none", reads.tags, (rule,))


def _referrers() -> Iterator[Fault]:
    for status in (404, 405):
        rule = always(says(status), REFERRERS)
        yield Fault("F100", f"{status}", reads.referrers, (rule,), more=1)
    bodies: dict[str, Action] = {
        "an image": changed(Swap(IMAGE.manifest.data)),
        "garbage": Act(Said(200, (("Content-Type", OCI_INDEX),), b"\0\1\2")),
        "a web page": Act(Said(200, (("Content-Type", "text/html"),), b"<html>")),
        "a byte that was changed": changed(Corrupt(20)),
        "without end": Act(Said(200, (("Content-Type", OCI_INDEX),), b"{"), delivery=endless),
        "a bomb": Bomb(media_type=OCI_INDEX),
    }
    absent = always(says(404), REFERRERS)
    for name, action in bodies.items():
        rules = (absent, always(action, _FALLBACK))
        yield Fault("F101", name, reads.referrers, rules, (OciError,), more=2)
    rule = always(header("OCI-Filters-Applied", None), REFERRERS)
    yield Fault("F102", "not said to be filtered", reads.referrers, (rule,), only=EMBEDDED)
    rule = always(Filled("Link", '<<self>>; rel="next"'), REFERRERS)
    loop = (PaginationLoopError,)
    yield Fault("F103", "itself", reads.referrers, (rule,), loop, more=2, only=EMBEDDED)
    rules = (
        once(Filled("Link", '<<path>?page=2>; rel="next"'), REFERRERS),
        always(says(404), REFERRERS),
    )
    yield Fault("F103", "the next page is missing", reads.referrers, rules, (NotFoundError,), more=1, only=EMBEDDED)
    for name, action in _transient().items():
        yield Fault("F103", f"{name} once", reads.referrers, (once(action, REFERRERS),), more=1)
    for status in (500, 503):
        rule = always(says(status), REFERRERS)
        yield Fault("F103", f"{status} always", reads.referrers, (rule,), (OciError,), more=3)


def _attach() -> Iterator[Fault]:
    rule = always(header("OCI-Subject", None), MANIFEST_PUTS)
    yield Fault("F104", "no OCI-Subject", writes.attach, (rule,), more=3, only=EMBEDDED)
    for name, action in LOST.items():
        yield Fault("F105", name, writes.attach, (once(action, _FALLBACK_PUTS),), more=2, only=DOCKER)
        rule = once(action, _FALLBACK_GETS)
        yield Fault("F105", f"what is there {name}", writes.attach, (rule,), more=2, only=DOCKER)
        rule = once(action, MANIFEST_PUTS)
        yield Fault("F105", f"the artifact {name}", writes.attach, (rule,), more=2)
    rule = always(says(500), _FALLBACK_PUTS)
    yield Fault("F105", "500 always", writes.attach, (rule,), (OciError,), more=3, only=DOCKER)


FAULTS = (*_lists(), *_catalog(), *_referrers(), *_attach())

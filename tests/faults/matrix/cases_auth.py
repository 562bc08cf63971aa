"""Rows C and D: challenges, refusals, and token servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist import (
    AuthError,
    AuthRealmRefusedError,
    BodyNotReplayableError,
    ChallengeError,
    CredentialsRejectedError,
    DeniedError,
    LimitExceededError,
    ResponseError,
    ServerError,
    TokenError,
    TokenRedirectRefusedError,
    TransportTimeoutError,
    UnauthorizedError,
)
from tests.faults.matrix import reads, writes
from tests.faults.matrix.actions import Act, Bomb, Drop, Hang, Moved, Revoke, Said, changed, says
from tests.faults.matrix.cases_connect import SHORT
from tests.faults.matrix.changes import Fields, Renamed, Truncate
from tests.faults.matrix.deliveries import endless
from tests.faults.matrix.fault import Errors, Fault
from tests.faults.matrix.rules import (
    BLOB_GETS,
    CDN,
    DELETES,
    GETS,
    MANIFEST_PUTS,
    POSTS,
    PUTS,
    TOKENS,
    Kind,
    Rule,
    Where,
    always,
    once,
)
from tests.faults.matrix.stage import Setting
from tests.peers.token_server import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.matrix.operations import Operation
    from tests.faults.matrix.rules import Action

READS = (reads.get, reads.manifest_by_tag, reads.tags, reads.referrers)
WRITES = (writes.push_bytes, writes.write, writes.push_manifest)
DENIED = b'{"errors": [{"code": "DENIED", "message": "requested access is denied"}]}'
_MALFORMED = {
    "unterminated": 'Bearer realm="http://',
    "two realms": 'Bearer realm="http://a/",realm="http://b/"',
    "no realm": 'Bearer service="x"',
    "nonsense": ",,,=",
    "an unknown scheme": "Negotiate oYG2MIGzoAMKAQ=",
}
_REALMS = {
    "elsewhere": "<stranger>/token",
    "at the metadata service": "http://169.254.169.254/token",
    "with a user": "http://alice:secret@127.0.0.3/token",
    "a file": "file:///etc/passwd",
    "empty": "",
    "relative to nothing": "//",
    "the metadata service in other digits": "http://0xa9fea9fe/token",
}
_BAD_TOKENS: dict[str, Action] = {
    "a web page": says(200, b"<html>log in</html>", Content_Type="text/html"),
    "nothing": says(200),
    "no token": says(200, b"{}", Content_Type="application/json"),
    "an empty token": changed(Fields((("token", ""), ("access_token", None)))),
    "a number": changed(Fields((("token", 7), ("access_token", 7)))),
    "a list": says(200, b"[]", Content_Type="application/json"),
    "half of it": changed(Truncate(40)),
    "null": changed(Fields((("token", None), ("access_token", None)))),
}
_LIVES: dict[str, object] = {"absent": None, "0": 0, "-1": -1, "1e12": 1e12, "a string": "300", "true": True}


def _challenge(realm: str, scope: str = "") -> str:
    asked = f',scope="{scope}"' if scope else ""
    return f'Bearer realm="{realm}",service="{SERVICE}"{asked}'


def _at(operation: Operation, action: Action) -> Rule:
    """Return a rule for the request that an operation is about."""
    if operation in WRITES:
        return always(action, MANIFEST_PUTS if operation is writes.push_manifest else POSTS)
    return always(action, GETS)


def _challenges() -> Iterator[Fault]:
    for each in (*READS, *WRITES):
        yield Fault("F030", "no challenge", each, (_at(each, says(401)),), (AuthError,), more=3)
        yield Fault("F036", "denied", each, (_at(each, says(403, DENIED)),), (DeniedError,), more=1)
    yield Fault(
        "F036", "denied", writes.mount, (always(says(403, DENIED), Where(Kind.UPLOADS)),), (DeniedError,), more=1
    )
    yield Fault("F036", "denied", writes.delete, (always(says(403, DENIED), DELETES),), (DeniedError,), more=1)
    for name, text in _MALFORMED.items():
        rule = always(says(401, WWW_Authenticate=text))
        for each in (reads.get, reads.tags, writes.push_bytes):
            yield Fault("F031", name, each, (rule,), (ChallengeError,), more=1)
    loop = always(says(401, WWW_Authenticate=_challenge("<tokens>/token", "repository:zz/read:pull")))
    for each in (reads.get, reads.manifest_by_tag, reads.tags, writes.push_bytes):
        yield Fault("F033", "for ever", each, (loop,), (CredentialsRejectedError,), more=2, setting=Setting.TOKEN)
    basic = always(says(401, WWW_Authenticate='Basic realm="r"'))
    for each in (reads.get, writes.push_bytes):
        yield Fault("F033", "a password for ever", each, (basic,), (UnauthorizedError,), more=2, setting=Setting.BASIC)


def _revoked() -> Iterator[Fault]:
    token = Setting.TOKEN
    for each in (reads.pull, writes.push_bytes, writes.push_stream, writes.write, writes.attach):
        for nth in (3, 4):
            rule = once(Revoke(), first=nth)
            yield Fault("F034", f"revoked at request {nth}", each, (rule,), more=3, setting=token)
    for each in (writes.push_manifest, writes.mount):
        yield Fault("F034", "revoked at request 3", each, (once(Revoke(), first=3),), more=3, setting=token)
    for nth in (1, 3):
        rule = always(Revoke(), every=4, first=nth)
        yield Fault("F034", f"revoked again and again from {nth}", reads.pull, (rule,), more=3, setting=token)
    wider = _challenge("<tokens>/token", "repository:zz/read:pull,push,delete") + ',error="insufficient_scope"'
    for each in (reads.get, reads.tags):
        rule = once(says(401, WWW_Authenticate=wider), GETS, first=2)
        yield Fault("F035", "a larger scope", each, (rule,), more=2, setting=token)
    early = Said(401, (("WWW-Authenticate", _challenge("<tokens>/token")),), early=True)
    rule = once(Act(early), PUTS)
    for each in (writes.push_bytes, writes.push_file, writes.write):
        yield Fault("F037", "within a body", each, (rule,), more=3, setting=token)
    lost = (BodyNotReplayableError,)
    yield Fault("F037", "within a body", writes.push_once, (rule,), lost, more=3, setting=token)


def _places() -> Iterator[Fault]:
    elsewhere = always(Act(Moved(307)), BLOB_GETS)
    refused = always(says(401, WWW_Authenticate=_challenge("<stranger>/token")), CDN)
    for each in (reads.get, reads.read, reads.download):
        for setting in (Setting.OPEN, Setting.TOKEN):
            name = f"a CDN that asks, {setting.value}"
            yield Fault("F038", name, each, (elsewhere, refused), (ResponseError,), more=1, setting=setting)
    for name, realm in _REALMS.items():
        rule = always(says(401, WWW_Authenticate=_challenge(realm, "repository:zz/read:pull")))
        # Elsewhere a token may be asked for, by nobody: what comes back there is no token.
        allowed: Errors = (TokenError,) if name == "elsewhere" else (AuthRealmRefusedError, ChallengeError)
        for each in (reads.get, reads.tags, writes.push_bytes):
            yield Fault("F039", name, each, (rule,), allowed, more=1)
    rule = always(says(401, WWW_Authenticate=_challenge("http://127.0.0.1/token")))
    yield Fault("F039", "http from https", reads.get, (rule,), (AuthRealmRefusedError,), setting=Setting.TLS)


def _tokens() -> Iterator[Fault]:
    token = Setting.TOKEN
    for status in (500, 502, 503):
        for each in (reads.get, writes.push_bytes):
            rule = once(says(status), TOKENS, count=2)
            yield Fault("F045", f"{status} twice", each, (rule,), more=2, setting=token)
    yield Fault("F045", "reset twice", reads.get, (once(Drop(), TOKENS, count=2),), more=2, setting=token)
    rule = always(says(503), TOKENS)
    yield Fault("F045", "503 always", reads.get, (rule,), (AuthError, ServerError), more=3, setting=token)
    for each in (reads.get, writes.push_bytes):
        rule = once(says(429, Retry_After="0"), TOKENS)
        yield Fault("F046", "429 once", each, (rule,), more=1, setting=token)
    rule = once(Hang(), TOKENS)
    yield Fault("F047", "no answer once", reads.get, (rule,), more=1, setting=token, options=SHORT)
    rule = always(Hang(), TOKENS)
    timeout = (TransportTimeoutError,)
    yield Fault("F047", "no answer ever", reads.get, (rule,), timeout, more=3, setting=token, options=SHORT)


def _token_bodies() -> Iterator[Fault]:
    token = Setting.TOKEN
    for name, action in _BAD_TOKENS.items():
        for each in (reads.get, writes.push_bytes):
            rule = always(action, TOKENS)
            yield Fault("F048", name, each, (rule,), (TokenError,), setting=token)
    bodies: dict[str, Action] = {
        "without end": Act(Said(200, (("Content-Type", "application/json"),), b"{"), delivery=endless),
        "a gzip bomb": Bomb(),
        "a deflate bomb": Bomb(coding="deflate"),
    }
    for name, action in bodies.items():
        rule = always(action, TOKENS)
        yield Fault("F049", name, reads.get, (rule,), (LimitExceededError, TokenError), setting=token)
    fields: dict[str, Action] = {
        "access_token only": changed(Renamed("token", "access_token")),
        "token only": changed(Fields((("access_token", None),))),
        "null beside it": changed(Fields((("refresh_token", None), ("scope", None)))),
    }
    for name, action in fields.items():
        yield Fault("F050", name, reads.get, (always(action, TOKENS),), setting=token)
    for name, value in _LIVES.items():
        rule = always(changed(Fields((("expires_in", value),))), TOKENS)
        yield Fault("F051", f"expires_in {name}", reads.pull, (rule,), more=1, setting=token)
    for name, when in {"in the past": "1970-01-01T00:00:00Z", "in the future": "9999-12-31T23:59:59Z"}.items():
        rule = always(changed(Fields((("issued_at", when),))), TOKENS)
        yield Fault("F051", f"issued_at {name}", reads.pull, (rule,), more=1, setting=token)
    for status in (301, 302, 307, 308):
        rule = always(Act(Moved(status, "<stranger>")), TOKENS)
        refused = (TokenRedirectRefusedError,)
        yield Fault("F054", f"{status} elsewhere", reads.get, (rule,), refused, setting=token)
    for name, text in {"a line break": "a\r\nX-Injected: 1", "another script": "t\u00f6ken", "NUL": "a\0b"}.items():
        rule = always(changed(Fields((("token", text), ("access_token", text)))), TOKENS)
        yield Fault("F056", name, reads.get, (rule,), (TokenError,), setting=token)


FAULTS = (*_challenges(), *_revoked(), *_places(), *_tokens(), *_token_bodies())

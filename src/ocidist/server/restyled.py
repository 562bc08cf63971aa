"""Parts of an answer written the way other registries write them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from ocidist.server.quirks import (
    ChallengeStyle,
    DigestHeader,
    ErrorBody,
    LinkStyle,
    LocationStyle,
    ManifestType,
    UploadRange,
)

if TYPE_CHECKING:
    from ocidist.model.digest import Digest
    from ocidist.server.exchange import Answer
    from ocidist.storage.protocols import BlobStore

_DIGEST: Final = "Docker-Content-Digest"
_WRONG: Final = "sha256:" + "0" * 64
_SCOPE: Final = re.compile(r'scope="([^"]*)"')
_PLACEHOLDER: Final = 'scope="repository:user/image:pull"'


def location(answer: Answer, style: LocationStyle, origin: str) -> None:
    """Write the Location as an absolute URL, if it is to be."""
    target = answer.header("Location")
    if target is not None and target.startswith("/") and style is not LocationStyle.RELATIVE:
        answer.set("Location", _absolute(origin, http=style is LocationStyle.ABSOLUTE_HTTP) + target)


def upload_range(answer: Answer, style: UploadRange) -> None:
    """Write how far an upload session is."""
    found = answer.header("Range")
    if found is None:
        return
    last = int(found.partition("-")[2])
    written = {
        UploadRange.EXACT: found,
        UploadRange.MISSING: None,
        UploadRange.STALE: "0-0",
        UploadRange.OFF_BY_ONE: f"0-{last + 1 if last else 0}",
        UploadRange.PREFIXED: f"bytes={found}",
    }
    answer.set("Range", written[style])


def link(answer: Answer, style: LinkStyle, origin: str) -> None:
    """Write how to get the next page of a list."""
    found = answer.header("Link")
    if found is None:
        return
    target = found[1 : found.index(">")]
    written = {
        LinkStyle.STANDARD: found,
        LinkStyle.UNQUOTED: f"<{target}>; rel=next",
        LinkStyle.DENSE: f'<{target}>;rel="next"',
        LinkStyle.WITHOUT_REL: f"<{target}>",
        LinkStyle.BARE: f'{target}; rel="next"',
        LinkStyle.ABSOLUTE: f'<{origin}{target}>; rel="next"',
        LinkStyle.ABSOLUTE_HTTP: f'<{_absolute(origin, http=True)}{target}>; rel="next"',
        LinkStyle.MISSING: None,
    }
    answer.set("Link", written[style])


def digest(answer: Answer, style: DigestHeader) -> None:
    """Write the digest of the content."""
    found = answer.header(_DIGEST)
    if found is None:
        return
    algorithm, _, encoded = found.partition(":")
    written = {
        DigestHeader.MISSING: None,
        DigestHeader.UPPER_CASE: f"{algorithm}:{encoded.upper()}",
        DigestHeader.WRONG: _WRONG,
    }
    answer.set(_DIGEST, written.get(style, found))


async def sha256(answer: Answer, blobs: BlobStore, pushed: Digest) -> None:
    """Answer for a blob that was pushed as sha512 as if it had been sha256; it can be read as both."""
    found = answer.header(_DIGEST)
    if found is None or pushed.algorithm == "sha256":
        return
    async with blobs.open(pushed) as reader:
        other = await blobs.push(aiter(reader))
    answer.set(_DIGEST, other.digest)
    answer.set("Location", (answer.header("Location") or "").replace(pushed, other.digest))


def manifest_type(answer: Answer, style: ManifestType, data: bytes) -> None:
    """Write what kind of manifest it is."""
    match style:
        case ManifestType.JSON:
            answer.set("Content-Type", "application/json")
        case ManifestType.MISSING:
            answer.set("Content-Type", None)
        case ManifestType.RELABELLED if "mediaType" not in json.loads(data):
            answer.set("Content-Type", "text/plain; charset=utf-8")


def schema1(data: bytes, name: str, tag: str) -> bytes:
    """Return a schema 1 manifest with the layers of a schema 2 one."""
    layers = [layer["digest"] for layer in reversed(json.loads(data)["layers"])]
    value = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": digest} for digest in layers],
        "history": [{"v1Compatibility": json.dumps({"id": digest.partition(":")[2]})} for digest in layers],
    }
    return json.dumps(value, indent=3).encode()


def challenge(answer: Answer, style: ChallengeStyle, *, is_ping: bool, reverse: bool) -> None:
    """Write how somebody is asked who they are."""
    found = answer.header("WWW-Authenticate")
    if found is None:
        return
    match style:
        case ChallengeStyle.NEGOTIATE_FIRST:
            answer.headers.insert(0, ("WWW-Authenticate", "Negotiate"))
        case ChallengeStyle.PLACEHOLDER if is_ping:
            answer.set("WWW-Authenticate", f"{found},{_PLACEHOLDER}")
        case ChallengeStyle.SHUFFLED if reverse:
            answer.set("WWW-Authenticate", _SCOPE.sub(lambda scope: f'scope="{_reversed(scope[1])}"', found))


def _reversed(scopes: str) -> str:
    parts = [scope.rpartition(":") for scope in reversed(scopes.split(" "))]
    return " ".join(f"{head}{colon}{','.join(reversed(actions.split(',')))}" for head, colon, actions in parts)


def error(answer: Answer, style: ErrorBody) -> None:
    """Write the body of an error."""
    if style is ErrorBody.STANDARD:
        return
    first = json.loads(answer.body or b"{}").get("errors", [{"code": "UNKNOWN", "message": "failed"}])[0]
    kind, body = {
        ErrorBody.EMPTY: (None, b""),
        ErrorBody.HTML: ("text/html", f"<html><h1>{answer.status} error</h1></html>\n".encode()),
        ErrorBody.TEXT: ("text/plain; charset=utf-8", f"{answer.status} error\n".encode()),
        ErrorBody.SINGLE: ("application/json", json.dumps({"message": first["message"]}).encode()),
        ErrorBody.NULL: ("application/json", b'{"errors":null}'),
        ErrorBody.LOWER_CASE: (
            "application/json",
            json.dumps({"errors": [{**first, "code": first["code"].lower()}]}).encode(),
        ),
    }[style]
    answer.set("Content-Type", kind)
    answer.body, answer.length = body, len(body)


def _absolute(origin: str, *, http: bool) -> str:
    return f"http://{origin.partition('://')[2]}" if http else origin

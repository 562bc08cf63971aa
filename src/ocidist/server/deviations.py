"""What the switches of ``Quirks`` do: to a request before it is carried out, and to its answer before it is sent."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from ocidist.errors import (
    BlobUnknownError,
    BlobUploadInvalidError,
    DigestInvalidError,
    ManifestUnknownError,
    NotFoundError,
    PaginationInvalidError,
    RangeInvalidError,
    RateLimitedError,
    UnsupportedError,
)
from ocidist.model.digest import Digest
from ocidist.model.mediatype import DOCKER_MANIFEST, DOCKER_SCHEMA1
from ocidist.model.reference import Tag
from ocidist.server import restyled
from ocidist.server.actions import needed
from ocidist.server.exchange import too_large
from ocidist.server.quirks import (
    ChallengeStyle,
    Chunks,
    Deletion,
    DigestHeader,
    ManifestType,
    Mounts,
    ReferrersApi,
    UploadRange,
)
from ocidist.server.refusal import JSON, RefusedError, body_of, said
from ocidist.server.uploads import where
from ocidist.wire import endpoints

if TYPE_CHECKING:
    from typing import TypeAlias

    from ocidist.server.exchange import Answer, Exchange
    from ocidist.server.quirks import Quirks
    from ocidist.server.service import Service
    from ocidist.wire.endpoints import Endpoint

    UploadEndpoint: TypeAlias = (
        endpoints.PatchUpload | endpoints.PutUpload | endpoints.UploadStatus | endpoints.CancelUpload
    )

MAX_SESSIONS: Final = 10_000
"""Upload sessions whose newest Location is known."""

HUB_WINDOW_S: Final = 21_600

_STATE: Final = re.compile(r"(?:^|&)_state=(\d+)(?:&|$)", re.ASCII)
_T = TypeVar("_T")
_DELETED: Final = {
    Deletion.UNSUPPORTED: (UnsupportedError, 405, "the operation is unsupported"),
    Deletion.DIGEST_INVALID: (DigestInvalidError, 400, "provided digest did not match uploaded content"),
}
_NO_REFERRERS: Final = {
    ReferrersApi.MISSING: (404, "text/plain; charset=utf-8", b"404 page not found\n"),
    ReferrersApi.UNACCEPTABLE: (406, "text/plain; charset=utf-8", b"406 not acceptable\n"),
    ReferrersApi.FORBIDDEN: (401, "text/plain; charset=utf-8", b"unauthorized\n"),
    ReferrersApi.WEB_PAGE: (200, "text/html; charset=utf-8", b"<!doctype html><title>Welcome</title>\n"),
}


class Deviations:
    """The switches of one registry, and what they have to remember.

    Args:
        quirks: The switches.
    """

    def __init__(self, quirks: Quirks) -> None:
        self.quirks = quirks
        # By session: the number of its newest Location, and whether its last chunk was a small one.
        self._turns: OrderedDict[str, int] = OrderedDict()
        self._small: OrderedDict[str, bool] = OrderedDict()
        self._read = 0
        self._challenges = 0

    def begin(self, exchange: Exchange, service: Service, endpoint: Endpoint | None) -> None:
        """Let every answer to a request be altered."""
        exchange.alter = partial(self._alter, exchange, service, endpoint)

    async def prepare(self, exchange: Exchange, service: Service, endpoint: Endpoint) -> Endpoint | None:
        """Return what to do instead of *endpoint*, or None if it was answered.

        Raises:
            ResponseError: It is refused.
            RefusedError: It is refused, with header fields.
        """
        limit = self.quirks.max_body
        if limit is not None and (exchange.announced or 0) > limit:
            raise too_large(limit)
        match endpoint:
            case endpoints.GetBlob() | endpoints.StatBlob():
                return await self._blob(exchange, service, endpoint)
            case endpoints.GetManifest() | endpoints.StatManifest():
                return await self._manifest(exchange, service, endpoint)
            case endpoints.ListReferrers():
                return await self._referrers(exchange, endpoint)
            case endpoints.ListTags() | endpoints.ListRepositories():
                return self._list(endpoint)
        return await self._write(exchange, service, endpoint)

    async def _write(self, exchange: Exchange, service: Service, endpoint: Endpoint) -> Endpoint:
        match endpoint:
            case endpoints.MountBlob():
                return await self._mount(service, endpoint)
            case endpoints.PostBlob():
                return endpoint if self.quirks.single_post else endpoints.StartUpload(endpoint.repository)
            case endpoints.PatchUpload() | endpoints.PutUpload() | endpoints.UploadStatus() | endpoints.CancelUpload():
                return self._session(exchange, service, endpoint)
            case endpoints.DeleteBlob():
                _refuse(self.quirks.delete_blob)
            case endpoints.DeleteManifest():
                of_tag = isinstance(endpoint.reference, Tag)
                _refuse(self.quirks.delete_tag if of_tag else self.quirks.delete_manifest)
            case endpoints.PutManifest() if not self.quirks.multi_tag:
                return attrs.evolve(endpoint, tags=())
        return endpoint

    # --- before ------------------------------------------------------------------------------------------------------

    async def _mount(self, service: Service, endpoint: endpoints.MountBlob) -> Endpoint:
        match self.quirks.mounts:
            case Mounts.DECLINED:
                return endpoints.StartUpload(endpoint.repository)
            case Mounts.NAMED_ONLY if endpoint.source is None:
                raise said(NotFoundError, 404, "a mount names its source")
            case Mounts.REFUSED if endpoint.source is not None:
                if not await service.store.repository(endpoint.source).blobs.exists(endpoint.digest):
                    raise said(BlobUnknownError, 404, "the blob is not known")
        return endpoint

    def _session(self, exchange: Exchange, service: Service, endpoint: UploadEndpoint) -> Endpoint:
        session = service.sessions.find(endpoint.repository, endpoint.session, exchange.account)
        if self.quirks.upload_state:
            said_turn = _STATE.search(exchange.query)
            if said_turn is None or int(said_turn[1]) != self._turns.get(session.id, 0):
                raise said(BlobUploadInvalidError, 404, "blob upload invalid")
        match endpoint:
            case endpoints.UploadStatus() if not self.quirks.upload_status:
                raise said(BlobUploadInvalidError, 400, "the status of an upload cannot be asked for")
            case endpoints.CancelUpload() if not self.quirks.cancel:
                raise said(UnsupportedError, 405, "an upload cannot be cancelled")
            case endpoints.PatchUpload() | endpoints.PutUpload():
                return self._chunk(exchange, service, endpoint)
        return endpoint

    def _chunk(
        self, exchange: Exchange, service: Service, endpoint: endpoints.PatchUpload | endpoints.PutUpload
    ) -> Endpoint:
        quirks = self.quirks
        session = service.sessions.find(endpoint.repository, endpoint.session, exchange.account)
        size = exchange.announced or 0
        is_patch = isinstance(endpoint, endpoints.PatchUpload)
        if is_patch and quirks.chunks is Chunks.NONE:
            raise said(UnsupportedError, 405, "chunks are not taken")
        problem = ""
        if is_patch and quirks.chunks is Chunks.ONE and session.size:
            problem = "one chunk is taken"
        if quirks.max_chunk is not None and size > quirks.max_chunk and (is_patch or session.size):
            problem = f"a chunk has at most {quirks.max_chunk} bytes"
        if self._small.get(session.id) and (is_patch or size):
            problem = f"every chunk but the last has at least {quirks.min_chunk} bytes"
        if problem:
            raise RefusedError(said(RangeInvalidError, 416, problem), where(exchange, session))
        if is_patch and quirks.min_chunk is not None:
            _remember(self._small, session.id, size < quirks.min_chunk)
        return attrs.evolve(endpoint, start=None, stop=None) if quirks.appends else endpoint

    async def _blob(
        self, exchange: Exchange, service: Service, endpoint: endpoints.GetBlob | endpoints.StatBlob
    ) -> Endpoint | None:
        if self.quirks.redirect_blobs is not None:
            await service.store.repository(endpoint.repository).blobs.stat(endpoint.digest)
            target = self.quirks.redirect_blobs.rstrip("/") + endpoint.target
            await exchange.respond(self.quirks.redirect_status, [("Location", target)])
            return None
        if isinstance(endpoint, endpoints.GetBlob) and not self.quirks.ranges:
            return endpoints.GetBlob(endpoint.repository, endpoint.digest)
        return endpoint

    async def _manifest(
        self, exchange: Exchange, service: Service, endpoint: endpoints.GetManifest | endpoints.StatManifest
    ) -> Endpoint | None:
        manifests = service.store.repository(endpoint.repository).manifests
        if self.quirks.schema1 or self.quirks.manifest_type is ManifestType.ACCEPTED_ONLY:
            found = await manifests.stat(endpoint.reference)
            listed = {part.partition(";")[0].strip() for part in endpoint.accept.split(",")}
            if self.quirks.schema1 and found.media_type == DOCKER_MANIFEST and found.media_type not in listed:
                data = (await manifests.get(endpoint.reference)).data
                made = restyled.schema1(data, endpoint.repository, endpoint.reference)
                headers = (("Content-Type", DOCKER_SCHEMA1), ("Docker-Content-Digest", Digest.of(made)))
                await exchange.respond(200, headers, made)
                return None
            if self.quirks.manifest_type is ManifestType.ACCEPTED_ONLY and found.media_type not in listed:
                raise said(ManifestUnknownError, 404, "OCI manifest found, but accept header does not support it")
        if isinstance(endpoint, endpoints.GetManifest) and self.quirks.quota is not None:
            self._count()
        return endpoint

    def _count(self) -> None:
        limit = self.quirks.quota or 0
        self._read += 1
        if self._read > limit:
            error = said(RateLimitedError, 429, "You have reached your pull rate limit.")
            error.retry_after = self.quirks.retry_after
            told = [(f"ratelimit-{what}", f"{n};w={HUB_WINDOW_S}") for what, n in (("limit", limit), ("remaining", 0))]
            raise RefusedError(error, told)

    async def _referrers(self, exchange: Exchange, endpoint: endpoints.ListReferrers) -> Endpoint | None:
        if (missing := _NO_REFERRERS.get(self.quirks.referrers)) is not None:
            status, kind, body = missing
            await exchange.respond(status, [("Content-Type", kind)], body)
            return None
        unfiltered = self.quirks.referrers is ReferrersApi.UNFILTERED
        return attrs.evolve(endpoint, artifact_type=None) if unfiltered else endpoint

    def _list(self, endpoint: endpoints.ListTags | endpoints.ListRepositories) -> Endpoint:
        if isinstance(endpoint, endpoints.ListRepositories) and not self.quirks.catalog:
            raise said(NotFoundError, 404, "repositories are not listed")
        if self.quirks.max_n is not None and (endpoint.n or 0) > self.quirks.max_n:
            raise said(PaginationInvalidError, 400, f"n is at most {self.quirks.max_n}")
        if isinstance(endpoint, endpoints.ListTags) and not self.quirks.paginated:
            return attrs.evolve(endpoint, n=None, last=None)
        return endpoint

    # --- after -------------------------------------------------------------------------------------------------------

    async def _alter(self, exchange: Exchange, service: Service, endpoint: Endpoint | None, answer: Answer) -> None:
        quirks = self.quirks
        match endpoint:
            case endpoints.Ping() if answer.status == 200:
                answer.status = quirks.ping_status
            case endpoints.ListTags() | endpoints.ListRepositories() if answer.status == 200:
                self._list_answer(answer, endpoint)
            case endpoints.GetManifest() | endpoints.StatManifest() if answer.status == 200:
                await self._manifest_answer(service, endpoint, answer)
            case None:
                pass
            case _:
                await self._upload_answer(service, endpoint, answer)
        self._content_answer(exchange, answer)
        if answer.status >= 400:
            self._failure(answer, endpoint)
        if exchange.method == "HEAD" and not quirks.head_length:
            answer.length = None
        if quirks.warning is not None:
            answer.headers.append(("Warning", f'299 - "{quirks.warning}"'))
        if quirks.cookie is not None:
            answer.headers.append(("Set-Cookie", quirks.cookie))

    def _content_answer(self, exchange: Exchange, answer: Answer) -> None:
        quirks = self.quirks
        if quirks.referrers not in {ReferrersApi.UNFILTERED, ReferrersApi.WORKS}:
            answer.set("OCI-Subject", None)
        if answer.status == 201 and not quirks.created_location:
            answer.set("Location", None)
        restyled.digest(answer, quirks.digest_header)
        restyled.location(answer, quirks.location, exchange.origin)
        restyled.link(answer, quirks.link, exchange.origin)

    async def _manifest_answer(
        self, service: Service, endpoint: endpoints.GetManifest | endpoints.StatManifest, answer: Answer
    ) -> None:
        data = answer.body or b""
        if isinstance(endpoint, endpoints.StatManifest) and self.quirks.manifest_type is ManifestType.RELABELLED:
            data = (await service.store.repository(endpoint.repository).manifests.get(endpoint.reference)).data
        restyled.manifest_type(answer, self.quirks.manifest_type, data)

    def _failure(self, answer: Answer, endpoint: Endpoint | None) -> None:
        if answer.status == 401:
            self._challenge(answer, endpoint)
        total = answer.header("Content-Range")
        if answer.status == 416 and self.quirks.lying_416 and total is not None:
            answer.length, answer.cut = int(total.rpartition("/")[2]), True
        elif answer.header("Content-Type") == JSON[1]:
            restyled.error(answer, self.quirks.errors)

    async def _upload_answer(self, service: Service, endpoint: Endpoint, answer: Answer) -> None:
        quirks = self.quirks
        is_patch = isinstance(endpoint, endpoints.PatchUpload)
        if answer.status == 202 and is_patch:
            answer.status = quirks.patch_status
        if answer.status == 201 and isinstance(endpoint, endpoints.PutUpload):
            answer.status = quirks.put_status
        if answer.status == 416 and not quirks.conflict_range:
            answer.set("Range", None)
        restyled.upload_range(answer, UploadRange.EXACT if answer.status == 416 else quirks.upload_range)
        session = answer.header("Docker-Upload-UUID")
        if quirks.upload_state and session is not None:
            turn = self._turns.get(session, 0) + (not isinstance(endpoint, endpoints.UploadStatus))
            _remember(self._turns, session, turn)
            answer.set("Location", f"{answer.header('Location')}?_state={turn}")
        if quirks.digest_header is not DigestHeader.SHA256:
            return
        if isinstance(endpoint, endpoints.PutUpload | endpoints.PostBlob):
            await restyled.sha256(answer, service.store.repository(endpoint.repository).blobs, endpoint.digest)

    def _list_answer(self, answer: Answer, endpoint: endpoints.ListTags | endpoints.ListRepositories) -> None:
        found = json.loads(answer.body or b"{}")
        key = "tags" if isinstance(endpoint, endpoints.ListTags) else "repositories"
        if key == "tags" and not self.quirks.paginated:
            # Any order but the right one, and the same each time.
            found[key] = sorted(found[key], key=lambda name: name[::-1], reverse=True)
        if self.quirks.null_lists:
            found[key] = found[key] or None
        body = json.dumps(found, separators=(",", ":")).encode()
        answer.body, answer.length = body, len(body)

    def _challenge(self, answer: Answer, endpoint: Endpoint | None) -> None:
        style, is_ping = self.quirks.challenge, isinstance(endpoint, endpoints.Ping)
        self._challenges += 1
        if style is ChallengeStyle.HIDDEN and not is_ping:
            hidden = body_of(said(NotFoundError, 404, "not found"))
            answer.status, answer.body, answer.length = 404, hidden, len(hidden)
        if style is ChallengeStyle.MISSING or (
            style in {ChallengeStyle.ON_PING_ONLY, ChallengeStyle.HIDDEN} and not is_ping
        ):
            answer.set("WWW-Authenticate", None)
        found = answer.header("WWW-Authenticate")
        if style is ChallengeStyle.SCOPED_BASIC and found is not None and endpoint is not None:
            answer.set("WWW-Authenticate", f'{found},scope="{needed(endpoint)}"')
        restyled.challenge(answer, style, is_ping=is_ping, reverse=bool(self._challenges % 2))


def _refuse(policy: Deletion) -> None:
    if policy is not Deletion.WORKS:
        raise said(*_DELETED[policy])


def _remember(known: OrderedDict[str, _T], session: str, value: _T) -> None:
    known[session] = value
    known.move_to_end(session)
    if len(known) > MAX_SESSIONS:
        known.popitem(last=False)

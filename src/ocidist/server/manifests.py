"""Serving manifests. They are sent as they were pushed, whatever types the client says it accepts.

Spec: distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting Manifests", "Deleting tags".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio.to_thread

from ocidist.errors import (
    DigestMismatchError,
    MalformedManifestError,
    NotFoundError,
    PreconditionFailedError,
)
from ocidist.model.digest import Digest
from ocidist.model.manifest import Manifest
from ocidist.model.reference import Tag
from ocidist.server.refusal import RefusedError, of_pushed_content, said
from ocidist.server.service import etag, names_entity

if TYPE_CHECKING:
    from ocidist.model.descriptor import Descriptor
    from ocidist.model.result import PushResult
    from ocidist.server.exchange import Exchange
    from ocidist.server.service import Service
    from ocidist.storage.protocols import Repository
    from ocidist.wire.endpoints import DeleteManifest, GetManifest, PutManifest, StatManifest

MAX_READ_AT_ONCE: Final = 64 * 1024
"""Bytes of a manifest that are parsed at once; more, in a worker thread, so that nobody waits for it."""


async def stat(exchange: Exchange, service: Service, endpoint: StatManifest) -> None:
    """Say that a manifest is there, its type, digest and size (end-3)."""
    found = await service.store.repository(endpoint.repository).manifests.stat(endpoint.reference)
    if _known_to_client(exchange, found.digest):
        await exchange.respond(304, _headers(found))
        return
    await exchange.respond(200, _headers(found), length=found.size)


async def get(exchange: Exchange, service: Service, endpoint: GetManifest) -> None:
    """Send a manifest (end-3)."""
    found = await service.store.repository(endpoint.repository).manifests.get(endpoint.reference)
    if _known_to_client(exchange, found.digest):
        await exchange.respond(304, _headers(found.descriptor))
        return
    await exchange.respond(200, _headers(found.descriptor), found.data)


async def put(exchange: Exchange, service: Service, endpoint: PutManifest) -> None:
    """Take a manifest and set its tags (end-7a, end-7b)."""
    data = await exchange.read(service.limits.max_manifest)
    repository = service.store.repository(endpoint.repository)
    expected = endpoint.reference if isinstance(endpoint.reference, Digest) else None
    own = (endpoint.reference,) if isinstance(endpoint.reference, Tag) else ()
    try:
        manifest = await _read(data, endpoint.media_type or None, expected)
        async with service.turns.of(endpoint.repository):
            await _check_conditions(exchange, repository, endpoint.reference)
            result = await repository.manifests.push(manifest, tags=(*own, *endpoint.tags))
    except (DigestMismatchError, MalformedManifestError) as error:
        raise RefusedError(of_pushed_content(error), ()) from error
    _check_set(result, own)
    headers = [
        ("Location", f"{exchange.root}/v2/{endpoint.repository}/manifests/{manifest.digest}"),
        ("Docker-Content-Digest", manifest.digest),
        ("ETag", etag(manifest.digest)),
    ]
    if (subject := manifest.subject) is not None:
        headers.append(("OCI-Subject", subject.digest))
    headers += [("OCI-Tag", tag) for tag in result.tags if tag in endpoint.tags]
    await exchange.respond(201, headers)


async def delete(exchange: Exchange, service: Service, endpoint: DeleteManifest) -> None:
    """Delete a manifest with all its tags, or only a tag (end-9)."""
    repository = service.store.repository(endpoint.repository)
    async with service.turns.of(endpoint.repository):
        await _check_conditions(exchange, repository, endpoint.reference)
        if isinstance(endpoint.reference, Tag):
            await repository.tags.delete(endpoint.reference)
        else:
            await repository.manifests.delete(endpoint.reference)
    await exchange.respond(202)


async def _read(data: bytes, media_type: str | None, expected: Digest | None) -> Manifest:
    if len(data) <= MAX_READ_AT_ONCE:
        return _parsed(data, media_type, expected)
    return await anyio.to_thread.run_sync(_parsed, data, media_type, expected)


def _parsed(data: bytes, media_type: str | None, expected: Digest | None) -> Manifest:
    manifest = Manifest.of(data, media_type, expected=expected)
    _ = manifest.subject  # the whole view is made here, and kept
    return manifest


def _headers(found: Descriptor) -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Type", found.media_type),
        ("Docker-Content-Digest", found.digest),
        ("ETag", etag(found.digest)),
    )


def _known_to_client(exchange: Exchange, digest: Digest) -> bool:
    return names_entity(exchange.headers.get("if-none-match", ""), digest, weak=True)


async def _check_conditions(exchange: Exchange, repository: Repository, reference: Tag | Digest) -> None:
    wanted, unwanted = exchange.headers.get("if-match"), exchange.headers.get("if-none-match")
    if wanted is None and unwanted is None:
        return
    try:
        current = (await repository.manifests.stat(reference)).digest
    except NotFoundError:
        current = None
    if (wanted is not None and not names_entity(wanted, current, weak=False)) or (
        unwanted is not None and names_entity(unwanted, current, weak=True)
    ):
        raise said(PreconditionFailedError, 412, f"{reference} is another manifest now")


def _check_set(result: PushResult, own: tuple[Tag, ...]) -> None:
    for tag in own:
        if tag in result.failed:
            raise result.failed[tag]

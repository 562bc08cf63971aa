"""Serving blobs.

Spec: distribution-spec, "Pulling blobs", "Deleting Blobs"; RFC 9110, section 14.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist._io.body import PIECE
from ocidist.errors import RangeInvalidError
from ocidist.model.mediatype import OCTET_STREAM
from ocidist.server.refusal import RefusedError, said
from ocidist.server.service import etag, names_entity

if TYPE_CHECKING:
    from ocidist.server.exchange import Exchange
    from ocidist.server.service import Service
    from ocidist.wire.endpoints import DeleteBlob, GetBlob, StatBlob


async def stat(exchange: Exchange, service: Service, endpoint: StatBlob) -> None:
    """Say that a blob is there, and its size (end-2)."""
    found = await service.store.repository(endpoint.repository).blobs.stat(endpoint.digest)
    headers = _headers(endpoint)
    if names_entity(exchange.headers.get("if-none-match", ""), endpoint.digest, weak=True):
        await exchange.respond(304, headers)
        return
    await exchange.respond(200, headers, length=found.size)


async def get(exchange: Exchange, service: Service, endpoint: GetBlob) -> None:
    """Send a blob, or the part of it that a Range asks for (end-2)."""
    blobs = service.store.repository(endpoint.repository).blobs
    size = (await blobs.stat(endpoint.digest)).size
    headers = _headers(endpoint)
    if names_entity(exchange.headers.get("if-none-match", ""), endpoint.digest, weak=True):
        await exchange.respond(304, headers)
        return
    part = _part(endpoint, size) if _wants_part(exchange, endpoint) else None
    start, stop = (0, size) if part is None else part
    if part is not None:
        headers = (*headers, ("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
    status = 200 if part is None else 206
    async with blobs.open(endpoint.digest, offset=start, length=None if stop == size else stop - start) as reader:
        if stop - start <= PIECE:
            await exchange.respond(status, headers, await reader.read())
        else:
            await exchange.stream(status, headers, stop - start, reader)


async def delete(exchange: Exchange, service: Service, endpoint: DeleteBlob) -> None:
    """Take a blob from a repository (end-10)."""
    await service.store.repository(endpoint.repository).blobs.delete(endpoint.digest)
    await exchange.respond(202)


def _headers(endpoint: GetBlob | StatBlob) -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Type", OCTET_STREAM),
        ("Docker-Content-Digest", endpoint.digest),
        ("ETag", etag(endpoint.digest)),
        ("Accept-Ranges", "bytes"),
    )


def _wants_part(exchange: Exchange, endpoint: GetBlob) -> bool:
    condition = exchange.headers.get("if-range")
    return endpoint.ranged and (condition is None or condition.strip(" \t") == etag(endpoint.digest))


def _part(endpoint: GetBlob, size: int) -> tuple[int, int]:
    """Return start and stop of the bytes asked for."""
    start = endpoint.offset if endpoint.suffix is None else max(size - endpoint.suffix, 0)
    if start >= size or endpoint.length == 0:
        message = f"the blob has {size} bytes"
        raise RefusedError(said(RangeInvalidError, 416, message), [("Content-Range", f"bytes */{size}")])
    return start, size if endpoint.length is None else min(start + endpoint.length, size)

"""Serving uploads: sessions, chunks, and blobs in one request.

A closing PUT whose digest does not match ends its session: the bytes are of no use to anybody. So does a body that
turns out to be larger than a blob may be. Every other refusal leaves the session open, with what had been taken of the
body until then; its status says how much that is.

Spec: distribution-spec, "Pushing blobs".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocidist.errors import (
    DigestUnsupportedError,
    IntegrityError,
    NotFoundError,
    PayloadTooLargeError,
    RangeInvalidError,
    ServerError,
    SizeInvalidError,
)
from ocidist.model.digest import Hasher
from ocidist.model.result import Mounted, OnExit
from ocidist.server.exchange import too_large
from ocidist.server.refusal import RefusedError, of_pushed_content, said

if TYPE_CHECKING:
    from ocidist.model.digest import Digest
    from ocidist.model.reference import RepositoryName
    from ocidist.server.exchange import Exchange
    from ocidist.server.service import Service
    from ocidist.server.sessions import Session
    from ocidist.storage.protocols import BlobWriter
    from ocidist.wire.endpoints import (
        CancelUpload,
        MountBlob,
        PatchUpload,
        PostBlob,
        PutUpload,
        StartUpload,
        UploadStatus,
    )


async def start(exchange: Exchange, service: Service, endpoint: StartUpload) -> None:
    """Open a session (end-4a, end-4c)."""
    await _start(exchange, service, endpoint.repository, endpoint.algorithm or "sha256")


async def post(exchange: Exchange, service: Service, endpoint: PostBlob) -> None:
    """Take a blob in one request (end-4b); nothing is kept of one that fails."""
    _check_verifiable(endpoint.digest)
    _check_size(exchange, service)
    blobs = service.store.repository(endpoint.repository).blobs
    opening = blobs.writer(algorithm=endpoint.digest.algorithm, on_exit=OnExit.CANCEL)
    async with service.sessions.room(), opening as writer:
        await _feed(exchange, service, writer)
        await _commit(writer, endpoint.digest)
    await _created(exchange, endpoint.repository, endpoint.digest)


async def mount(exchange: Exchange, service: Service, endpoint: MountBlob) -> None:
    """Link a blob of another repository, or open a session for it (end-11)."""
    _check_verifiable(endpoint.digest)
    if endpoint.source is None and not service.anonymous_mounts:
        await _start(exchange, service, endpoint.repository, endpoint.digest.algorithm)
        return
    blobs = service.store.repository(endpoint.repository).blobs
    try:
        async with service.sessions.room():
            result = await blobs.mount(endpoint.digest, source=endpoint.source)
            session = (
                None
                if isinstance(result, Mounted)
                else service.sessions.add(endpoint.repository, exchange.account, result.state)
            )
    except NotFoundError:
        await _start(exchange, service, endpoint.repository, endpoint.digest.algorithm)
        return
    if session is None:
        await _created(exchange, endpoint.repository, endpoint.digest)
    else:
        await _accepted(exchange, service, session)


async def patch(exchange: Exchange, service: Service, endpoint: PatchUpload) -> None:
    """Take a chunk, or a stream of unknown length (end-5). A client that goes away leaves what had arrived."""
    async with service.sessions.use(endpoint.repository, endpoint.session, exchange.account) as session:
        await _append(exchange, service, session, endpoint)
        await _accepted(exchange, service, session)


async def put(exchange: Exchange, service: Service, endpoint: PutUpload) -> None:
    """Close a session, with or without its last bytes (end-6)."""
    _check_verifiable(endpoint.digest)
    async with service.sessions.use(endpoint.repository, endpoint.session, exchange.account) as session:
        await _append(exchange, service, session, endpoint)
        blobs = service.store.repository(session.repository).blobs
        async with blobs.resume(session.state) as writer:
            try:
                await _commit(writer, endpoint.digest)
            except RefusedError:
                service.sessions.drop(session)
                await writer.cancel()
                raise
            service.sessions.drop(session)
    await _created(exchange, endpoint.repository, endpoint.digest)


async def status(exchange: Exchange, service: Service, endpoint: UploadStatus) -> None:
    """Say how many bytes a session has (end-13); does not wait for a chunk that is under way."""
    session = service.sessions.find(endpoint.repository, endpoint.session, exchange.account)
    await exchange.respond(204, where(exchange, session))


async def cancel(exchange: Exchange, service: Service, endpoint: CancelUpload) -> None:
    """End a session (end-14)."""
    async with service.sessions.use(endpoint.repository, endpoint.session, exchange.account) as session:
        service.sessions.drop(session)
        async with service.store.repository(session.repository).blobs.resume(session.state) as writer:
            await writer.cancel()
    await exchange.respond(204)


async def _start(exchange: Exchange, service: Service, repository: RepositoryName, algorithm: str) -> None:
    Hasher(algorithm)  # refuses what cannot be verified before the store is asked
    opening = service.store.repository(repository).blobs.writer(algorithm=algorithm)
    async with service.sessions.room(), opening as writer:
        session = service.sessions.add(repository, exchange.account, writer.state)
    await _accepted(exchange, service, session)


async def _append(exchange: Exchange, service: Service, session: Session, endpoint: PatchUpload | PutUpload) -> None:
    _check_start(exchange, session, endpoint.start)
    _check_length(exchange, endpoint)
    _check_size(exchange, service, session.size)
    blobs = service.store.repository(session.repository).blobs
    async with blobs.resume(session.state) as writer:
        # The last bytes of a client that went away may have failed to reach the disk.
        service.sessions.grow(session, writer.size)
        _check_start(exchange, session, endpoint.start)
        try:
            await _feed(exchange, service, writer, session, endpoint.stop)
        except PayloadTooLargeError:
            service.sessions.drop(session)
            await writer.cancel()
            raise
        if endpoint.stop is not None and writer.size != endpoint.stop:
            raise said(SizeInvalidError, 400, "the chunk is shorter than its Content-Range")


async def _feed(
    exchange: Exchange,
    service: Service,
    writer: BlobWriter,
    session: Session | None = None,
    stop: int | None = None,
) -> None:
    limit = service.limits.max_blob
    pending = service.limits.max_pending
    try:
        while (piece := await exchange.next_piece()) is not None:
            if limit is not None and writer.size + len(piece) > limit:
                raise too_large(limit)
            if session is not None and pending is not None and service.sessions.pending + len(piece) > pending:
                raise said(ServerError, 507, "uploads that are not finished take all the room there is for them")
            if stop is not None and writer.size + len(piece) > stop:
                raise said(SizeInvalidError, 400, "the chunk is longer than its Content-Range")
            await writer.write(piece)
            if session is not None:
                service.sessions.grow(session, writer.size)
        await writer.flush()
    finally:
        if session is not None:
            session.state = writer.state
            service.sessions.grow(session, writer.size)


async def _commit(writer: BlobWriter, digest: Digest) -> None:
    try:
        await writer.commit(digest)
    except IntegrityError as error:
        raise RefusedError(of_pushed_content(error), ()) from error


def _check_verifiable(digest: Digest) -> None:
    if not digest.verifiable:
        raise DigestUnsupportedError(digest.algorithm)


def _check_start(exchange: Exchange, session: Session, offset: int | None) -> None:
    if offset is not None and offset != session.size:
        message = f"the session has {session.size} bytes, the chunk begins at {offset}"
        raise RefusedError(said(RangeInvalidError, 416, message), where(exchange, session))


def _check_length(exchange: Exchange, endpoint: PatchUpload | PutUpload) -> None:
    if endpoint.start is None or endpoint.stop is None or exchange.announced is None:
        return
    if exchange.announced != endpoint.stop - endpoint.start:
        raise said(SizeInvalidError, 400, "Content-Length and Content-Range do not agree")


def _check_size(exchange: Exchange, service: Service, before: int = 0) -> None:
    limit = service.limits.max_blob
    if limit is not None and before + (exchange.announced or 0) > limit:
        raise too_large(limit)


def where(exchange: Exchange, session: Session) -> tuple[tuple[str, str], ...]:
    """Return the header fields that say where a session is, and how far."""
    # "0-0" also stands for nothing: the header cannot say so, and real registries do the same.
    return (
        ("Location", exchange.root + session.location),
        ("Range", f"0-{max(session.size - 1, 0)}"),
        ("Docker-Upload-UUID", session.id),
    )


async def _accepted(exchange: Exchange, service: Service, session: Session) -> None:
    wish = service.limits.min_chunk
    minimum = (("OCI-Chunk-Min-Length", str(wish)),) if wish else ()
    await exchange.respond(202, (*where(exchange, session), *minimum))


async def _created(exchange: Exchange, repository: RepositoryName, digest: Digest) -> None:
    headers = (("Location", f"{exchange.root}/v2/{repository}/blobs/{digest}"), ("Docker-Content-Digest", digest))
    await exchange.respond(201, headers)

"""A web service that hands out blobs of a registry, and is a registry itself under ``/registry``.

With Starlette; FastAPI takes the same handlers. Run it on loopback:

    uvicorn --factory webservice:create_app
"""

from __future__ import annotations

import math
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypedDict

import anyio
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from ocidist import (
    Client,
    DigestUnsupportedError,
    InvalidDigestError,
    InvalidReferenceError,
    MemoryRegistry,
    NotFoundError,
    OciError,
    RateLimitedError,
    TransportTimeoutError,
)
from ocidist.server import RegistryApp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from ocidist import BlobReader


class State(TypedDict):
    """What lives as long as the service does."""

    client: Client


def create_app(upstream: str = "", new_client: Callable[[], Client] = Client) -> Starlette:
    """Make the application.

    Args:
        upstream: The registry it reads from; what the variable ``UPSTREAM`` says, or the one on this machine.
        new_client: Makes the one client of the service.
    """
    registry = upstream or os.environ.get("UPSTREAM", "localhost:5000")

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[State]:
        # One client for all requests: connections, tokens and what was learned about registries are kept in it.
        async with new_client() as client:
            yield {"client": client}

    async def blob(request: Request) -> Response:
        repository = request.state.client.repository(f"{registry}/{request.path_params['name']}")
        found = await repository.blobs.stat(request.path_params["digest"])
        headers = {
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            "ETag": f'"{found.digest}"',  # what a digest names never changes
        }
        if is_known(request.headers, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        start, stop, status = 0, found.size, 200
        if request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
            start, stop, status = part(request.headers.get("range", ""), found.size)
        if status == 416:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{found.size}"})
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
        headers["Content-Length"] = str(stop - start)
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        length = None if stop == found.size else stop - start
        return BlobResponse(repository.blobs.open(found, offset=start, length=length), status, headers)

    return Starlette(
        routes=[
            Route("/images/{name:path}/blobs/{digest}", blob),
            Mount("/registry", RegistryApp(MemoryRegistry())),
        ],
        exception_handlers={OciError: told},
        lifespan=lifespan,
    )


class BlobResponse(Response):
    """Sends a blob as it comes, and stops reading it as soon as nobody listens any more.

    Args:
        reader: The blob, or a part of it.
        status: HTTP status.
        headers: Header fields.
    """

    def __init__(self, reader: BlobReader, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status_code=status, headers=headers)
        self.reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request: ASGI's entry point."""
        del scope
        # The reader is left, and its connection given back or closed, before anything else happens.
        async with self.reader as pieces, anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_when_gone, receive, tasks.cancel_scope)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            tasks.cancel_scope.cancel()


async def cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    """Cancel what is done for a client that went away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def is_known(headers: Mapping[str, str], etag: str) -> bool:
    """Return whether the client has the blob already."""
    known = [tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")]
    return etag in known or "*" in known


def part(wanted: str, size: int) -> tuple[int, int, int]:
    """Return the first byte, the one after the last, and the status for a Range; several ranges are not served."""
    unit, _, span = wanted.partition("=")
    first, dash, last = span.strip().partition("-")
    digits = first + last
    if unit.strip().lower() != "bytes" or not dash or not (digits.isascii() and digits.isdigit()) or len(digits) > 40:
        return 0, size, 200
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size:
        return 0, 0, 416
    return (start, stop, 206) if start < stop else (0, size, 200)


async def told(  # noqa: RUF029 -- Starlette would call a function in a thread
    _request: Request, error: Exception
) -> Response:
    """Say what went wrong. The messages of ocidist's errors hold no secrets."""
    headers: dict[str, str] = {}
    match error:
        case NotFoundError():
            status = 404
        case InvalidReferenceError() | InvalidDigestError() | DigestUnsupportedError():
            status = 400
        case RateLimitedError():
            status = 503
            if error.retry_after is not None:
                headers["Retry-After"] = str(math.ceil(error.retry_after))
        case TransportTimeoutError():
            status = 504
        case _:
            # Refused credentials too: they are the service's own, and its caller can do nothing about them.
            status = 502
    return JSONResponse({"error": type(error).__name__, "message": str(error)}, status, headers)

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from ocidist import Client, Descriptor, HostConfig, OciError, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CONTENT = b"x" * 3000


class Hasty(httpx.AsyncBaseTransport):
    """A transport that leaves a body where it is as soon as the answer is there, as those of others may."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, whatever was read."""
        if request.method != "PUT":
            return httpx.Response(202, headers={"Location": "/v2/acme/app/blobs/uploads/1"})
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for _ in request.stream:
            break
        return httpx.Response(413)


async def test_a_source_that_a_transport_left_half_read_is_closed_before_the_error_is_told() -> None:
    opened, closed = 0, 0

    async def source() -> AsyncGenerator[bytes, None]:
        nonlocal opened, closed
        opened += 1
        try:
            for start in range(0, len(CONTENT), 1000):
                yield CONTENT[start : start + 1000]
        finally:
            closed += 1

    hosts = {"registry.test": HostConfig(scheme="http")}
    async with Client(transport=Hasty(), hosts=hosts, retry=RetryPolicy(attempts=1), trust_env=False) as client:
        blobs = client.repository("registry.test/acme/app").blobs
        with pytest.raises(OciError) as caught:
            await blobs.push(source, Descriptor.of(CONTENT), check_exists=False)
        assert opened >= 1
        assert closed == opened, caught.value

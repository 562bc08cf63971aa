from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    Descriptor,
    Digest,
    DigestInvalidError,
    DigestMismatchError,
    PayloadTooLargeError,
    ProtocolError,
    ServerError,
)
from ocidist.remote import _pushing
from tests.faults.uploads import (
    BLOB,
    DIGEST,
    KNOWN,
    UploadRegistry,
    refuse,
    saying,
)
from tests.remote.support import repository_on

if TYPE_CHECKING:
    from tests.peers.wire_server import WireServer


# --- the end of an upload --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [202, 204])
async def test_q43_a_blob_that_is_there_was_stored_whatever_success_the_registry_says(
    wire_server: WireServer, registry: UploadRegistry, status: int
) -> None:
    registry.script("PUT", saying(status, Location="https://cdn.example/elsewhere"))
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB) == KNOWN
    assert registry.methods()[-1] == "HEAD"


@pytest.mark.parametrize("status", [202, 204])
async def test_q43_a_success_that_stored_nothing_is_a_protocol_error(
    wire_server: WireServer, registry: UploadRegistry, status: int
) -> None:
    registry.script("PUT", refuse(status))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError, match="does not have the blob"):
            await repository.blobs.push(BLOB)
    assert registry.open == {}


async def test_f147_a_registry_that_stored_something_else_is_not_believed(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PUT", saying(Docker_Content_Digest=Digest.of(b"else")))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.blobs.push(BLOB)


async def test_f147_a_registry_that_answers_in_another_algorithm_is(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    """docker-registry 2.8.2 calls a sha512 blob by its sha256 digest."""
    registry.script("PUT", saying(Docker_Content_Digest=DIGEST))
    wanted = Descriptor.of(BLOB, algorithm="sha512")
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB, wanted) == wanted
    assert registry.of("POST")[0].query == [("digest-algorithm", "sha512")]


@pytest.mark.parametrize(("status", "kind"), [(400, DigestInvalidError), (413, PayloadTooLargeError)])
async def test_f145_a_refused_blob_is_not_sent_again_and_leaves_no_session(
    wire_server: WireServer, registry: UploadRegistry, status: int, kind: type[Exception]
) -> None:
    body = b'{"errors":[{"code":"DIGEST_INVALID"}]}' if status == 400 else b""
    registry.script("PUT", refuse(status, {}, body))
    async with repository_on(wire_server) as repository:
        with pytest.raises(kind):
            await repository.blobs.push(BLOB)
    assert len(registry.of("PUT")) == 1
    assert registry.open == {}


async def test_a_server_that_keeps_failing_is_given_up_and_leaves_no_session(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PUT", *[refuse(500)] * 20)
    async with repository_on(wire_server) as repository:
        with pytest.raises(ServerError):
            await repository.blobs.push(BLOB)
    assert len(registry.of("PUT")) == _pushing.MAX_ATTEMPTS
    assert registry.open == {}

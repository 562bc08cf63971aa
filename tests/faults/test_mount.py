from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ocidist import (
    AuthError,
    BlobUnknownError,
    DeniedError,
    Descriptor,
    Digest,
    DigestMismatchError,
    InvalidReferenceError,
    Mounted,
    NotFoundError,
    OciError,
    ProtocolError,
    ServerError,
    UnsupportedError,
    UploadStarted,
    UsageError,
)
from tests.faults.uploads import BLOBS, UPLOADS, UploadRegistry, lost, refuse, saying
from tests.peers.images import noise
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.uploads import Step
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = noise(1000)
DIGEST = Digest.of(BLOB)
KNOWN = Descriptor.of(BLOB)


def mounting(**headers: str | None) -> Step:
    """Link the blob and say so."""

    def step(registry: UploadRegistry, request: Request, connection: Connection) -> None:
        registry.blobs[DIGEST] = BLOB
        usual: dict[str, str | None] = {"Location": BLOBS + DIGEST, "Docker-Content-Digest": DIGEST}
        usual |= {name.replace("_", "-"): value for name, value in headers.items()}
        refuse(201, {name: value for name, value in usual.items() if value is not None})(registry, request, connection)

    return step


# --- mount() ---------------------------------------------------------------------------------------------------------


async def test_s01_a_mount_is_a_post_with_digest_and_source(wire_server: WireServer, registry: UploadRegistry) -> None:
    registry.script("POST", mounting())
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.mount(DIGEST, source="acme/base") == Mounted(
            DIGEST, repository.registry.repository("acme/base").name
        )
    request = registry.requests[0]
    assert (request.method, request.path) == ("POST", UPLOADS)
    assert request.query == [("mount", DIGEST), ("from", "acme/base")]
    assert (request.body, request.header("Content-Length")) == (b"", "0")


async def test_s02_a_declined_mount_says_so_and_moves_no_bytes(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        answer = await repository.blobs.mount(DIGEST, source="acme/base")
        assert isinstance(answer, UploadStarted)
        assert registry.methods() == ["POST"]
        # Sending the blob is another decision, and goes to the session that is open already.
        async with repository.blobs.resume(answer.state) as writer:
            await writer.write(BLOB)
            assert await writer.commit() == KNOWN
    assert len(registry.of("POST")) == 1
    assert registry.blobs == {DIGEST: BLOB}


async def test_a_declined_mount_can_be_let_go(wire_server: WireServer, registry: UploadRegistry) -> None:
    async with repository_on(wire_server) as repository:
        found = await repository.blobs.mount(DIGEST, source="acme/base")
        assert isinstance(found, UploadStarted)
        await repository.blobs.cancel_upload(found.state)
        assert registry.methods() == ["POST", "DELETE"]
        with pytest.raises(UsageError, match="belongs to"):
            await repository.registry.repository("acme/other").blobs.cancel_upload(found.state)
    assert not registry.open


async def test_a_mount_without_a_source_lets_the_registry_look(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("POST", mounting())
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.mount(DIGEST, source=None) == Mounted(DIGEST)
    assert registry.requests[0].query == [("mount", DIGEST)]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "UNAUTHORIZED", AuthError),
        (403, "DENIED", DeniedError),
        (404, "BLOB_UNKNOWN", BlobUnknownError),
        (404, "NAME_UNKNOWN", NotFoundError),
        (405, "UNSUPPORTED", UnsupportedError),
        (500, "UNKNOWN", ServerError),
    ],
)
async def test_f155_a_mount_that_is_refused_raises_the_registrys_reason(
    wire_server: WireServer, registry: UploadRegistry, status: int, code: str, kind: type[OciError]
) -> None:
    registry.script("POST", *[refuse(status, {}, b'{"errors":[{"code":"%s"}]}' % code.encode())] * 5)
    async with repository_on(wire_server) as repository:
        with pytest.raises(kind) as caught:
            await repository.blobs.mount(DIGEST, source="acme/base")
    assert "mount" in str(caught.value)


async def test_f156_a_mount_of_another_blob_is_a_mismatch(wire_server: WireServer, registry: UploadRegistry) -> None:
    other = Digest.of(b"other")
    registry.script("POST", mounting(Docker_Content_Digest=other))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError) as caught:
            await repository.blobs.mount(DIGEST, source="acme/base")
    assert (caught.value.expected, caught.value.actual) == (DIGEST, other)


async def test_f156_a_mount_that_the_registry_only_claims_is_a_protocol_error(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("POST", refuse(201, {"Location": BLOBS + DIGEST, "Docker-Content-Digest": DIGEST}))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError, match="does not have the blob"):
            await repository.blobs.mount(DIGEST, source="acme/base")


async def test_f156_a_mount_that_shows_after_a_moment_is_good(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("POST", mounting(Docker_Content_Digest=None))
    registry.script("HEAD", refuse(404), refuse(404))
    async with repository_on(wire_server) as repository:
        assert isinstance(await repository.blobs.mount(DIGEST, source="acme/base"), Mounted)


async def test_f157_a_mount_whose_answer_was_lost_is_asked_for_again(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    def unheard(usual: UploadRegistry, _request: Request, connection: Connection) -> None:
        usual.blobs[DIGEST] = BLOB
        connection.close()

    registry.script("POST", unheard, mounting())
    async with repository_on(wire_server) as repository:
        assert isinstance(await repository.blobs.mount(DIGEST, source="acme/base"), Mounted)


@pytest.mark.parametrize("source", ["Upper/Case", "a//b", "", "http://r.example/a", "a?b", "a&from=b", "../a"])
async def test_a_source_that_is_no_repository_never_reaches_a_url(
    wire_server: WireServer, registry: UploadRegistry, source: str
) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(InvalidReferenceError):
            await repository.blobs.mount(DIGEST, source=source)
        with pytest.raises(InvalidReferenceError):
            await repository.blobs.push(BLOB, mount_from=[source], check_exists=False)
    assert registry.requests == []


# --- push(mount_from=...) --------------------------------------------------------------------------------------------


async def test_a03_a_mounted_blob_is_not_sent(wire_server: WireServer, registry: UploadRegistry) -> None:
    registry.script("POST", mounting())
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB, mount_from=["acme/base"], check_exists=False) == KNOWN
    assert registry.methods() == ["POST", "HEAD"]


async def test_a03_the_session_of_a_declined_mount_takes_the_upload(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB, mount_from=["acme/base"], check_exists=False) == KNOWN
    assert registry.methods() == ["POST", "PUT"]
    assert (registry.blobs, registry.open) == ({DIGEST: BLOB}, {})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 429, 500, 503])
async def test_f155_a_refused_mount_falls_back_to_an_ordinary_upload(
    wire_server: WireServer, registry: UploadRegistry, status: int
) -> None:
    def only_mounts(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        (refuse(status) if dict(request.query).get("mount") else UploadRegistry.usual)(usual, request, connection)

    registry.script("POST", *[only_mounts] * 10)
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB, mount_from=["acme/base"]) == KNOWN
    assert (registry.blobs, registry.open) == ({DIGEST: BLOB}, {})


@pytest.mark.parametrize(
    "claim",
    [
        saying(201, Docker_Content_Digest=Digest.of(b"other")),
        refuse(201, {"Docker-Content-Digest": DIGEST}),
        refuse(202),
        refuse(202, {"Location": "http://169.254.169.254/"}),
    ],
    ids=["other digest", "blob absent", "no session", "session elsewhere"],
)
async def test_f156_a_mount_that_is_not_believed_falls_back_to_an_ordinary_upload(
    wire_server: WireServer, registry: UploadRegistry, claim: Step
) -> None:
    registry.script("POST", lambda _registry, request, connection: claim(UploadRegistry(), request, connection))
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB, mount_from=["acme/base"]) == KNOWN
    assert (registry.blobs, registry.open) == ({DIGEST: BLOB}, {})


async def test_q42_a_mount_that_never_gets_an_answer_falls_back_to_an_ordinary_upload(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    def only_mounts(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        if dict(request.query).get("mount"):
            connection.close()
        else:
            usual.usual(request, connection)

    registry.script("POST", *[only_mounts] * 10)
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB, mount_from=["acme/base"]) == KNOWN
    assert registry.blobs == {DIGEST: BLOB}


async def test_t75_sources_are_tried_in_order_and_only_the_last_session_stays_open(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB, mount_from=["acme/one", "acme/two", "acme/three"], check_exists=False)
    assert [dict(request.query)["from"] for request in registry.of("POST")] == ["acme/one", "acme/two", "acme/three"]
    assert registry.methods() == ["POST", "POST", "DELETE", "POST", "DELETE", "PUT"]
    assert (registry.blobs, registry.open) == ({DIGEST: BLOB}, {})


async def test_t75_a_mount_after_a_declined_one_cancels_the_session_of_that(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("POST", None, mounting())
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB, mount_from=["acme/one", "acme/two"], check_exists=False)
    assert registry.of("PUT") == []
    assert registry.open == {}


async def test_a_stream_of_unknown_digest_cannot_be_mounted_and_is_sent(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield BLOB

    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(pieces, mount_from=["acme/base"]) == KNOWN
    assert [request.query for request in registry.of("POST")] == [[]]


async def test_a_single_string_is_not_a_list_of_sources(wire_server: WireServer, registry: UploadRegistry) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(UsageError, match="several"):
            await repository.blobs.push(BLOB, mount_from="acme/base", check_exists=False)
    assert registry.requests == []


# --- tokens ----------------------------------------------------------------------------------------------------------


def guarded(token_server: TokenServer, *, refusing: bool) -> Step:
    """Want a token for everything; with *refusing*, never let a mount through."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{token_server.realm}",service="s",error="insufficient_scope"'}

    def step(registry: UploadRegistry, request: Request, connection: Connection) -> None:
        mount = refusing and dict(request.query).get("mount")
        allowed = request.header("Authorization") and not mount
        (UploadRegistry.usual if allowed else refuse(401, challenge))(registry, request, connection)

    return step


async def test_s03_one_token_covers_pulling_from_the_source_and_pushing_to_the_target(
    wire_server: WireServer, registry: UploadRegistry, token_server: TokenServer
) -> None:
    for method in ("HEAD", "POST", "PUT"):
        registry.script(method, *[guarded(token_server, refusing=False)] * 10)
    async with repository_on(wire_server) as repository:
        await repository.blobs.mount(DIGEST, source="acme/base")
    assert [call.scopes for call in token_server.calls] == [
        [f"repository:{NAME}:pull,push", "repository:acme/base:pull"]
    ]


async def test_q19_the_source_needs_pull_even_if_it_is_the_second_scope(
    wire_server: WireServer, registry: UploadRegistry, token_server: TokenServer
) -> None:
    registry.script("POST", *[guarded(token_server, refusing=False)] * 10)
    async with repository_on(wire_server) as repository:
        await repository.blobs.mount(DIGEST, source="acme/base")
    # Servers that read only the first scope read the one that matters more.
    assert token_server.calls[0].params["scope"][0] == f"repository:{NAME}:pull,push"


async def test_f158_a_token_that_may_not_pull_from_the_source_leads_to_an_upload_without_a_loop(
    wire_server: WireServer, registry: UploadRegistry, token_server: TokenServer
) -> None:
    for method in ("HEAD", "POST", "PUT"):
        registry.script(method, *[guarded(token_server, refusing=True)] * 20)
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB, mount_from=["acme/base"], check_exists=False) == KNOWN
    mounts = [request for request in registry.of("POST") if dict(request.query).get("mount")]
    assert len(mounts) <= 3
    assert len(token_server.calls) <= 3
    assert (registry.blobs, registry.open) == ({DIGEST: BLOB}, {})


async def test_a_mount_whose_first_answer_was_lost_leaves_one_orphan_at_most(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("POST", lost())
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB, mount_from=["acme/base"], check_exists=False)
    assert registry.blobs == {DIGEST: BLOB}
    assert len(registry.open) == 1

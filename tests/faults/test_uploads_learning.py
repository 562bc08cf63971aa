"""Registries that want blobs in their own way: what is tried, what is remembered, and what it costs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    Client,
    Descriptor,
    Digest,
    HostConfig,
    OciError,
    PayloadTooLargeError,
    RegistryProfile,
    UnsupportedError,
    UploadConflictError,
    UploadExpiredError,
)
from ocidist.wire import upload
from tests.faults.uploads import (
    BLOB,
    DIGEST,
    KNOWN,
    UploadRegistry,
    bodies,
    lost,
    refuse,
    saying,
    stream,
    write_in_chunks,
)
from tests.peers.answers import respond
from tests.peers.images import noise
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from tests.faults.uploads import Step
    from tests.peers.wire_server import Connection, Request, WireServer

OTHER = noise(1001)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "LEAST_CHUNK", 50)


def no_more_than(most: int, status: int) -> Step:
    """Refuse larger bodies, after reading them."""

    def step(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        request.read()
        (refuse(status) if len(request.body) > most else UploadRegistry.usual)(usual, request, connection)

    return step


def no_smaller_than(least: int) -> Step:
    """Refuse smaller chunks."""

    def step(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        request.read()
        (refuse(400) if len(request.body) < least else UploadRegistry.usual)(usual, request, connection)

    return step


def sizes(registry: UploadRegistry, method: str) -> list[int]:
    """Return the sizes of the bodies of a method."""
    return [len(body) for body in bodies(registry, method)]


# --- Q31: chunks that are too large ----------------------------------------------------------------------------------


async def test_q31_a_chunk_refused_with_416_at_the_right_offset_is_sent_in_smaller_ones_from_then_on(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    """As GitHub's registry, which takes 4 MiB per chunk and says nothing of it."""
    registry.moves = False
    registry.script("PATCH", *[no_more_than(100, 416)] * 40)
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(lambda: stream(BLOB), chunk_size=400)
        # 400 is refused twice, the second time after asking; 100 are taken, and the rest goes in parts of 100.
        assert sizes(registry, "PATCH")[:3] == [400, 400, 100]
        assert max(sizes(registry, "PATCH")[2:]) <= 100
        assert len(registry.of("GET")) == 1
        refused = len(registry.of("PATCH"))
        await repository.blobs.push(lambda: stream(OTHER), chunk_size=400)
        known = repository.registry.profile
    assert max(sizes(registry, "PATCH")[refused:]) <= 100
    assert len(registry.of("GET")) == 1
    assert known == RegistryProfile(max_chunk=100)
    assert set(registry.blobs) == {DIGEST, Digest.of(OTHER)}
    assert registry.open == {}


async def test_q31_a_blob_of_known_size_goes_in_one_request_whatever_the_limit_for_chunks_is(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    hosts = {wire_server.host: HostConfig(profile=RegistryProfile(max_chunk=100))}
    async with Client(hosts=hosts) as client:
        await client.repository(f"{wire_server.host}/{NAME}").blobs.push(BLOB)
    assert sizes(registry, "PUT") == [1000]
    assert registry.of("PATCH") == []


async def test_q31_a_limit_that_is_known_beforehand_is_never_tried(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    hosts = {wire_server.host: HostConfig(profile=RegistryProfile(max_chunk=100))}
    async with Client(hosts=hosts) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        async with blobs.writer() as writer:
            assert writer.chunk_size == 100
            await writer.write(BLOB)
            await writer.commit(DIGEST)
        await blobs.push(lambda: stream(OTHER), chunk_size=400)
    assert sizes(registry, "PATCH") == [100] * 9 + [100] * 10
    assert sizes(registry, "PUT") == [100, 1]


# --- Q32: chunks that are too small ----------------------------------------------------------------------------------


async def test_q32_ecr_takes_chunks_of_5_mib_answers_201_and_reports_a_range_that_does_not_move(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    hosts = {wire_server.host: HostConfig(profile=RegistryProfile(min_chunk=300, exact_range=False))}

    def as_ecr(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        request.read()
        step = no_smaller_than(300) if len(request.body) < 300 else saying(201, Range="0-299")
        step(usual, request, connection)

    registry.script("PATCH", *[as_ecr] * 10)
    async with Client(hosts=hosts) as client:
        await client.repository(f"{wire_server.host}/{NAME}").blobs.push(lambda: stream(BLOB), chunk_size=10)
    assert sizes(registry, "PATCH") == [300, 300, 300]
    assert registry.of("GET") == []
    assert registry.blobs == {DIGEST: BLOB}


# --- Q30, F135: what a Range after a chunk means ---------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 1, 150, 299])
@pytest.mark.parametrize("chunk", [0, 1, 2])
async def test_f135_a_chunk_that_was_taken_in_part_is_completed(
    wire_server: WireServer, registry: UploadRegistry, chunk: int, kept: int
) -> None:
    registry.moves = False

    def partial(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        status, headers = usual.apply(request, kept)
        respond(status, {name: value for name, value in headers.items() if value is not None})(request, connection)

    registry.script("PATCH", *[None] * chunk, partial)
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(lambda: stream(BLOB), chunk_size=300)
    assert registry.blobs == {DIGEST: BLOB}
    if kept <= 1 and not chunk:
        # "0-0" says nothing; the next chunk is refused, and then the blob goes in one request.
        assert sizes(registry, "PUT") == [1000]
        return
    following = (*registry.of("PATCH")[chunk + 1 :], *registry.of("PUT"))[0]
    assert (following.header("Content-Range") or "").startswith(f"{300 * chunk + kept}-")
    assert len(registry.of("GET")) == 1


@pytest.mark.parametrize("range_", ["0-5", "0-299"], ids=["stuck at the start", "only about the chunk"])
async def test_q30_a_range_that_the_status_contradicts_is_ignored_from_then_on(
    wire_server: WireServer, registry: UploadRegistry, range_: str
) -> None:
    """As zot and Aliyun, whose Range is only about the chunk."""
    registry.script("PATCH", *[saying(Range=range_)] * 10)
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
        assert registry.blobs == {DIGEST: BLOB}
        assert len(registry.of("GET")) == 1
        await repository.blobs.push(lambda: stream(OTHER), chunk_size=300)
    assert len(registry.of("GET")) == 1
    assert sum(sizes(registry, "PATCH")) + sum(sizes(registry, "PUT")) == len(BLOB) + len(OTHER)


async def test_q30_a_range_and_a_status_that_are_both_stuck_cost_one_refused_chunk(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PATCH", *[saying(Range="0-5"), None, saying(Range="0-5"), saying(Range="0-5")] * 3)
    registry.script("GET", *[saying(Range="0-5")] * 10)
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    # The chunk that the registry says it lacks, and that it refuses because it has it.
    assert sizes(registry, "PATCH") == [300, 294, 300, 300]


@pytest.mark.parametrize("status", [404, 405, 500])
async def test_q30_a_registry_that_does_not_answer_for_the_status_is_believed_to_have_what_it_accepted(
    wire_server: WireServer, registry: UploadRegistry, status: int
) -> None:
    registry.script("PATCH", *[saying(Range="0-5")] * 3)
    registry.script("GET", *[refuse(status)] * 20)
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}


async def test_q30_after_a_second_disagreement_the_blob_goes_in_one_request(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.moves = False
    registry.script("PATCH", None, *[refuse(416)] * 30)
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(lambda: stream(BLOB), chunk_size=60)
    assert registry.blobs == {DIGEST: BLOB}
    assert sizes(registry, "PUT") == [1000]
    assert registry.open == {}


# --- Q33, F142: no chunks at all -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [405, 501])
@pytest.mark.parametrize("known", [True, False])
async def test_q33_a_registry_without_chunks_gets_the_blob_in_one_request_from_then_on(
    wire_server: WireServer, registry: UploadRegistry, status: int, *, known: bool
) -> None:
    """As Google's registries."""
    registry.script("PATCH", *[refuse(status)] * 10)
    async with repository_on(wire_server) as repository:
        found = await repository.blobs.push(lambda: stream(BLOB), KNOWN if known else None, chunk_size=300)
        assert found == KNOWN
        assert sizes(registry, "PUT") == [1000]
        assert sizes(registry, "PATCH") == [300]
        await repository.blobs.push(lambda: stream(OTHER))
    # The source was read once more, to be measured, and no chunk was tried again.
    assert sizes(registry, "PUT") == [1000, 1001]
    assert sizes(registry, "PATCH") == [300]
    assert set(registry.blobs) == {DIGEST, Digest.of(OTHER)}
    assert registry.open == {}


async def test_q33_what_can_be_read_once_and_is_larger_than_a_chunk_cannot_be_sent_there(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PATCH", *[refuse(405)] * 10)
    async with repository_on(wire_server) as repository:
        with pytest.raises(UnsupportedError):
            await repository.blobs.push(stream(BLOB), chunk_size=300)
        assert registry.open == {}
        # What fits into one chunk goes with the closing request.
        await repository.blobs.push(stream(OTHER), chunk_size=5000)
    assert set(registry.blobs) == {Digest.of(OTHER)}


async def test_q33_a_profile_without_chunks_is_heeded_although_the_caller_wants_them(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    hosts = {wire_server.host: HostConfig(profile=RegistryProfile(chunked=False))}
    async with Client(hosts=hosts) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        await blobs.push(lambda: stream(BLOB), chunk_size=300)
        await blobs.push(stream(OTHER), Descriptor.of(OTHER), chunk_size=300)
    assert registry.of("PATCH") == []
    assert sizes(registry, "PUT") == [1000, 1001]


@pytest.mark.parametrize("status", [400, 404, 405, 411, 415, 416])
async def test_f142_whatever_a_chunk_is_refused_with_the_blob_arrives_if_it_can_be_read_again(
    wire_server: WireServer, registry: UploadRegistry, status: int
) -> None:
    registry.script("PATCH", *[refuse(status)] * 40)
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(lambda: stream(BLOB), KNOWN, chunk_size=300) == KNOWN
    assert registry.blobs == {DIGEST: BLOB}
    assert registry.open == {}


@pytest.mark.parametrize("status", [401, 403, 409, 413])
async def test_f142_a_refusal_that_is_about_something_else_stands(
    wire_server: WireServer, registry: UploadRegistry, status: int
) -> None:
    registry.script("PATCH", *[refuse(status)] * 40)
    async with repository_on(wire_server) as repository:
        with pytest.raises(OciError, match=str(status)):
            await repository.blobs.push(lambda: stream(BLOB), KNOWN, chunk_size=300)
    assert registry.of("PUT") == []
    assert registry.open == {}


# --- Q34: proxies that limit what comes in one request ---------------------------------------------------------------


async def test_q34_a_blob_that_is_too_large_for_one_request_goes_in_chunks_from_then_on(
    wire_server: WireServer, registry: UploadRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ocidist.remote")
    registry.script("PUT", *[no_more_than(500, 413)] * 40)
    registry.script("PATCH", *[no_more_than(500, 413)] * 40)
    hosts = {wire_server.host: HostConfig(chunk_size=400)}
    async with Client(hosts=hosts) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        await blobs.push(BLOB)
        assert sizes(registry, "PUT") == [1000, 200]
        assert sizes(registry, "PATCH") == [400, 400]
        await blobs.push(OTHER)
        assert sizes(registry, "PUT") == [1000, 200, 201]
        # What is small still goes in one.
        await blobs.push(b"small")
    assert sizes(registry, "PUT")[-1] == 5
    assert len(registry.blobs) == 3
    assert registry.open == {}
    assert "max_body=400" in caplog.text


async def test_q34_chunks_that_are_still_too_large_are_made_smaller(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PUT", *[no_more_than(120, 413)] * 40)
    registry.script("PATCH", *[no_more_than(120, 413)] * 40)
    hosts = {wire_server.host: HostConfig(chunk_size=400)}
    async with Client(hosts=hosts) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        await blobs.push(BLOB)
        assert sizes(registry, "PATCH")[:2] == [400, 100]
        await blobs.push(stream(OTHER))
    assert max(sizes(registry, "PATCH")[1:]) <= 100
    assert set(registry.blobs) == {DIGEST, Digest.of(OTHER)}


async def test_q34_what_can_be_read_once_or_is_small_anyway_is_refused(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PUT", *[refuse(413)] * 40)
    hosts = {wire_server.host: HostConfig(chunk_size=400)}
    async with Client(hosts=hosts) as client:
        blobs = client.repository(f"{wire_server.host}/{NAME}").blobs
        with pytest.raises(PayloadTooLargeError):
            await blobs.push(stream(BLOB), KNOWN)
        with pytest.raises(PayloadTooLargeError):
            await blobs.push(BLOB[:40])
    assert registry.open == {}


# --- F133, F134, F136-F141: single chunks ----------------------------------------------------------------------------


@pytest.mark.parametrize("applied", [0, 150, 300], ids=["nothing", "a part", "all"])
async def test_f133_a_chunk_whose_answer_is_lost_is_reconciled(
    wire_server: WireServer, registry: UploadRegistry, applied: int
) -> None:
    registry.moves = False
    registry.script("PATCH", None, lost(applied))
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    assert sum(sizes(registry, "PATCH")) + sum(sizes(registry, "PUT")) == len(BLOB) + 300 - applied


@pytest.mark.parametrize("range_", ["0-299", None], ids=["with a Range", "without"])
async def test_f134_a_416_is_settled_by_the_status(
    wire_server: WireServer, registry: UploadRegistry, range_: str | None
) -> None:
    registry.script("PATCH", None, refuse(416, {} if range_ is None else {"Range": range_}))
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    assert len(registry.of("GET")) == 1


async def test_f136_a_registry_that_goes_backwards_ends_the_upload_and_one_that_can_be_repeated_goes_in_one(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.moves = False

    def forgetful(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        for each in usual.open.values():
            del each.data[100:]
        refuse(416)(usual, request, connection)

    registry.script("PATCH", None, forgetful)
    async with repository_on(wire_server) as repository:
        with pytest.raises(UploadConflictError):
            await write_in_chunks(repository)
        assert registry.open == {}
        registry.script("PATCH", None, forgetful)
        await repository.blobs.push(lambda: stream(BLOB), chunk_size=300)
    assert registry.blobs == {DIGEST: BLOB}


@pytest.mark.parametrize("range_", [None, "bytes=0-299", "0-0"])
async def test_f137_a_range_in_any_form_is_lived_with(
    wire_server: WireServer, registry: UploadRegistry, range_: str | None
) -> None:
    registry.script("PATCH", saying(Range=range_), saying(Range=range_ and range_.replace("299", "599")))
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    assert registry.of("GET") == []


@pytest.mark.parametrize("status", [429, 503])
async def test_f140_a_registry_that_asks_to_wait_gets_the_same_bytes_later(
    wire_server: WireServer, registry: UploadRegistry, status: int
) -> None:
    registry.script("PATCH", None, refuse(status, {"Retry-After": "0"}))
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    assert bodies(registry, "PATCH")[1] == bodies(registry, "PATCH")[2] == BLOB[300:600]


# --- one request that breaks -----------------------------------------------------------------------------------------


def keeps(count: int) -> Step:
    """Take the first bytes of the body, as the embedded registry does, and cut the connection."""

    def step(registry: UploadRegistry, request: Request, connection: Connection) -> None:
        request.read()
        upload_ = registry._find(request)
        assert upload_ is not None
        upload_.data += request.body[:count]
        connection.close()

    return step


@pytest.mark.parametrize("kept", [0, 2, 500, 999, 1000])
@pytest.mark.parametrize("source", ["bytes", "callable"])
async def test_n04_a_broken_request_is_completed_where_the_registry_kept_its_beginning(
    wire_server: WireServer, registry: UploadRegistry, kept: int, source: str
) -> None:
    registry.moves = False
    registry.script("PUT", keeps(kept))
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB if source == "bytes" else lambda: stream(BLOB[:700], BLOB[700:]), KNOWN)
    assert registry.blobs == {DIGEST: BLOB}
    assert sizes(registry, "PUT") == [1000, 1000 - kept]
    assert len(registry.of("POST")) == (1 if kept else 2)


async def test_n04_a_request_that_breaks_again_and_again_goes_on_as_long_as_it_gets_further(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.moves = False
    registry.script("PUT", *[keeps(50)] * 19)
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB)
    assert registry.blobs == {DIGEST: BLOB}
    assert sizes(registry, "PUT") == list(range(1000, 0, -50))
    assert len(registry.of("POST")) == 1


@pytest.mark.parametrize("chunked", [False, True])
async def test_n04_a_registry_that_kept_something_else_gets_the_whole_blob_once_more(
    wire_server: WireServer, registry: UploadRegistry, *, chunked: bool
) -> None:
    registry.moves = False

    def spoiled(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        request.read()
        upload_ = usual._find(request)
        assert upload_ is not None
        upload_.data += b"?" * 100
        connection.close()

    registry.script("PATCH" if chunked else "PUT", spoiled)
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(lambda: stream(BLOB), KNOWN, chunk_size=300 if chunked else None)
    assert registry.blobs == {DIGEST: BLOB}
    assert len(registry.of("POST")) == 2
    assert registry.open == {}


async def test_f145_a_blob_that_was_sent_in_one_piece_and_is_refused_is_not_sent_again(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.script("PUT", *[refuse(400)] * 5)
    async with repository_on(wire_server) as repository:
        with pytest.raises(OciError, match="400"):
            await repository.blobs.push(lambda: stream(BLOB), KNOWN)
    assert len(registry.of("PUT")) == 1
    assert registry.open == {}


async def test_q37_a_session_that_is_gone_is_answered_with_404_and_one_that_is_not_with_200_or_204(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    registry.moves = False
    for status in (200, 204):
        registry.script("PATCH", None, lost(100))
        registry.script("GET", saying(status))
        async with repository_on(wire_server) as repository:
            await write_in_chunks(repository)
        assert registry.blobs.pop(DIGEST) == BLOB
    registry.script("PATCH", None, lost(100))
    registry.script("GET", refuse(404))
    async with repository_on(wire_server) as repository:
        with pytest.raises(UploadExpiredError):
            await write_in_chunks(repository)

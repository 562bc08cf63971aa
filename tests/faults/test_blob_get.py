from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest

from ocidist import (
    BlobUnknownError,
    Descriptor,
    Digest,
    DigestMismatchError,
    LimitExceededError,
    ProtocolError,
    SizeMismatchError,
    TransportError,
    TruncatedBodyError,
    UsageError,
)
from ocidist.remote import _stream
from tests.peers import answers
from tests.peers.answers import chain, close, error, raw, reset, respond, respond_chunked
from tests.peers.images import noise
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from pathlib import Path

    from ocidist import Repository
    from tests.conftest import StartWireServer
    from tests.peers.answers import Handler
    from tests.peers.wire_server import Connection, Request, WireServer

BLOB = noise(200_000)
DIGEST = Digest.of(BLOB)
KNOWN = Descriptor.of(BLOB)
TARGET = f"/v2/{NAME}/blobs/{DIGEST}"


def ranged(data: bytes = BLOB) -> Handler:
    """Answer as a registry that knows ranges."""

    def answer(request: Request, connection: Connection) -> None:
        asked = request.header("Range")
        if asked is None:
            respond(200, (), data)(request, connection)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(data)) + 1, len(data))
        if start >= len(data):
            respond(416, {"Content-Range": f"bytes */{len(data)}"})(request, connection)
        else:
            part(start, data[start:stop], len(data))(request, connection)

    return answer


def part(start: int, data: bytes, total: object) -> Handler:
    return respond(206, {"Content-Range": f"bytes {start}-{start + len(data) - 1}/{total}"}, data)


def cut(data: bytes, length: int = len(BLOB), how: Handler = close) -> Handler:
    """Announce a whole blob and break off after *data*."""
    return chain(respond(200, {"Content-Length": str(length)}, data), how)


def flipped(place: int) -> bytes:
    data = bytearray(BLOB)
    data[place] ^= 0x80
    return bytes(data)


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def collect(repository: Repository, target: Digest | Descriptor = DIGEST) -> tuple[bytes, bool]:
    """Return what a reader hands out, and whether it was verified."""
    async with repository.blobs.open(target) as reader:
        return b"".join([piece async for piece in reader]), reader.verified


async def handed_out(repository: Repository, target: Digest | Descriptor = DIGEST) -> tuple[bytes, Exception | None]:
    """Return what a reader hands out before it fails."""
    got = b""
    try:
        async with repository.blobs.open(target) as reader:
            async for piece in reader:
                got += piece
    except (DigestMismatchError, SizeMismatchError, TransportError) as error:
        return got, error
    return got, None


# --- F110, F111: connections that break -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", [close, reset], ids=["FIN", "RST"])
@pytest.mark.parametrize("at", [0, 1, len(BLOB) // 2, len(BLOB) - 1])
async def test_f110_a_connection_that_breaks_is_taken_up_where_it_broke(
    wire_server: WireServer, at: int, how: Handler
) -> None:
    route = wire_server.on("GET", TARGET, cut(BLOB[:at], how=how), ranged())
    async with repository_on(wire_server) as repository:
        assert await collect(repository) == (BLOB, True)
    assert len(route.requests) == 2
    if how is close:
        # An RST may overtake what was sent before it; with a FIN every byte arrives.
        assert route.requests[1].header("Range") == (f"bytes={at}-" if at else None)


async def test_f110_a_connection_that_breaks_after_the_last_byte_is_no_failure(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TARGET, cut(BLOB, how=reset), ranged())
    async with repository_on(wire_server) as repository:
        assert (await collect(repository))[0] == BLOB
    assert len(route.requests) <= 2


async def test_f110_every_break_that_brought_bytes_is_forgiven(wire_server: WireServer) -> None:
    step = _stream.PROGRESS
    breaks = [
        chain(
            respond(
                206 if at else 200,
                {"Content-Range": f"bytes {at}-{len(BLOB) - 1}/{len(BLOB)}", "Content-Length": str(len(BLOB) - at)},
                BLOB[at : at + step],
            ),
            close,
        )
        for at in range(0, len(BLOB) - step, step)
    ]
    wire_server.on("GET", TARGET, *breaks, ranged())
    async with repository_on(wire_server) as repository:
        assert await collect(repository) == (BLOB, True)


async def test_f110_a_registry_that_always_breaks_off_is_given_up(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TARGET, cut(b""))
    async with repository_on(wire_server) as repository:
        with pytest.raises(TruncatedBodyError) as caught:
            await collect(repository)
    assert len(route.requests) == _stream.MAX_LOSSES + 1
    assert str(DIGEST) in str(caught.value)


@pytest.mark.parametrize("target", [DIGEST, KNOWN], ids=["digest", "descriptor"])
async def test_f111_a_body_without_a_length_that_ends_early_is_noticed(
    wire_server: WireServer, target: Digest | Descriptor
) -> None:
    early = chain(raw(answers.head(200, {"Connection": "close"}) + BLOB[:1000]), close)
    wire_server.on("GET", TARGET, early, ranged())
    async with repository_on(wire_server) as repository:
        got, failure = await handed_out(repository, target)
    if target is KNOWN:
        # The descriptor tells that there is more.
        assert (got, failure) == (BLOB, None)
    else:
        assert isinstance(failure, DigestMismatchError)


@pytest.mark.parametrize("target", [DIGEST, KNOWN], ids=["digest", "descriptor"])
async def test_t24_a_missing_content_length_is_allowed(wire_server: WireServer, target: Digest | Descriptor) -> None:
    wire_server.on("GET", TARGET, respond_chunked(200, {}, [BLOB[:70_000], BLOB[70_000:]]))
    async with repository_on(wire_server) as repository:
        assert await collect(repository, target) == (BLOB, True)


async def test_t24_a_chunked_body_without_an_end_is_taken_up(wire_server: WireServer) -> None:
    half = answers.head(200, {"Transfer-Encoding": "chunked"}) + b"3e8\r\n" + BLOB[:1000] + b"\r\n"
    route = wire_server.on("GET", TARGET, chain(raw(half), close), ranged())
    async with repository_on(wire_server) as repository:
        assert await collect(repository) == (BLOB, True)
    assert route.requests[1].header("Range") == "bytes=1000-"


# --- F112, F113, F114: answers to a range ----------------------------------------------------------------------------


async def test_f112_a_200_to_a_range_is_never_joined_to_what_came_before(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TARGET, cut(BLOB[:1000]), respond(200, (), BLOB))
    async with repository_on(wire_server) as repository:
        assert await collect(repository) == (BLOB, True)
    assert route.requests[1].header("Range") == "bytes=1000-"


async def test_f112_a_part_is_cut_out_of_a_whole_blob_if_the_registry_sends_that(wire_server: WireServer) -> None:
    wire_server.on("GET", TARGET, respond(200, (), BLOB))
    async with repository_on(wire_server) as repository, repository.blobs.open(DIGEST, offset=70_000, length=9) as r:
        assert await r.read() == BLOB[70_000:70_009]
        assert not r.verified


WRONG_PARTS: dict[str, Handler] = {
    "first byte": part(999, BLOB[999:], len(BLOB)),
    "total": part(1000, BLOB[1000:], len(BLOB) + 1),
    "multipart": respond(206, {"Content-Type": "multipart/byteranges; boundary=x"}, b"--x\r\n\r\n--x--"),
    "no header": respond(206, (), BLOB[1000:]),
    "garbage": respond(206, {"Content-Range": "bytes nonsense"}, BLOB[1000:]),
    "two headers": respond(
        206, [("Content-Range", f"bytes 1000-{len(BLOB) - 1}/{len(BLOB)}"), ("Content-Range", "bytes 0-1/2")], b""
    ),
    "length": respond(206, {"Content-Range": f"bytes 1000-1009/{len(BLOB)}"}, BLOB[1000:1005]),
}


@pytest.mark.parametrize("wrong", WRONG_PARTS)
async def test_f113_a_part_that_was_not_asked_for_leads_to_the_whole_blob_once(
    wire_server: WireServer, wrong: str
) -> None:
    route = wire_server.on("GET", TARGET, cut(BLOB[:1000]), WRONG_PARTS[wrong], respond(200, (), BLOB))
    async with repository_on(wire_server) as repository:
        assert await collect(repository) == (BLOB, True)
    assert [request.header("Range") for request in route.requests] == [None, "bytes=1000-", None]


async def test_f113_a_registry_that_only_sends_wrong_parts_is_given_up(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TARGET, cut(BLOB[:1000]), part(5, BLOB[5:], len(BLOB)))
    async with repository_on(wire_server) as repository:
        with pytest.raises(TruncatedBodyError):
            await collect(repository)
    assert len(route.requests) == 3


async def test_f113_the_rest_of_another_object_is_found_out_by_the_digest(wire_server: WireServer) -> None:
    wire_server.on("GET", TARGET, cut(BLOB[:1000]), part(1000, bytes(len(BLOB) - 1000), len(BLOB)))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await collect(repository)


async def test_f113_a_shorter_part_than_asked_for_is_completed_with_the_next_one(wire_server: WireServer) -> None:
    short = part(1000, BLOB[1000:3000], len(BLOB))
    route = wire_server.on("GET", TARGET, cut(BLOB[:1000]), short, ranged())
    async with repository_on(wire_server) as repository:
        assert await collect(repository) == (BLOB, True)
    assert [request.header("Range") for request in route.requests] == [None, "bytes=1000-", "bytes=3000-"]


async def test_f114_a_416_at_the_end_is_the_end(wire_server: WireServer) -> None:
    # Without a length nobody can tell a complete body from a broken one before asking for more.
    unended = answers.head(200, {"Transfer-Encoding": "chunked"}) + b"30d40\r\n" + BLOB + b"\r\n"
    wire_server.on("GET", TARGET, chain(raw(unended), close), ranged())
    wire_server.on("HEAD", TARGET, respond(200, {"Content-Length": str(len(BLOB))}))
    async with repository_on(wire_server) as repository:
        assert await collect(repository) == (BLOB, True)


async def test_f114_a_416_before_the_end_leads_to_the_whole_blob(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TARGET, cut(BLOB[:1000]), respond(416), respond(200, (), BLOB))
    async with repository_on(wire_server) as repository:
        assert await collect(repository) == (BLOB, True)
    assert [request.header("Range") for request in route.requests] == [None, "bytes=1000-", None]


async def test_f114_reading_from_beyond_the_end_returns_nothing(wire_server: WireServer) -> None:
    wire_server.on("GET", TARGET, ranged())
    wire_server.on("HEAD", TARGET, respond(200, {"Content-Length": str(len(BLOB))}))
    async with repository_on(wire_server) as repository, repository.blobs.open(DIGEST, offset=len(BLOB)) as reader:
        assert await reader.read() == b""


async def test_f114_a_416_with_a_lying_length_is_not_waited_for(wire_server: WireServer) -> None:
    """docker-registry 2.8.2 announces the blob's size there, sends an error body of 30 bytes and closes."""
    lying = chain(respond(416, {"Content-Length": str(len(BLOB))}, b"x" * 30), close)
    wire_server.on("GET", TARGET, lying)
    wire_server.on("HEAD", TARGET, respond(200, {"Content-Length": str(len(BLOB))}))
    async with repository_on(wire_server) as repository, repository.blobs.open(DIGEST, offset=len(BLOB)) as reader:
        assert await reader.read() == b""


# --- F115, F116, T24, T25: bytes that are wrong ----------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, len(BLOB) // 2, len(BLOB) - 1])
@pytest.mark.parametrize("target", [DIGEST, KNOWN], ids=["digest", "descriptor"])
async def test_f115_a_flipped_bit_is_found_before_the_last_piece_is_handed_out(
    wire_server: WireServer, place: int, target: Digest | Descriptor
) -> None:
    wire_server.on("GET", TARGET, respond(200, (), flipped(place)))
    async with repository_on(wire_server) as repository:
        got, failure = await handed_out(repository, target)
    assert isinstance(failure, DigestMismatchError)
    assert (failure.expected, failure.actual, failure.size) == (DIGEST, Digest.of(flipped(place)), len(BLOB))
    assert len(got) < len(BLOB)


async def test_f115_a_reader_that_found_a_wrong_blob_stays_failed(wire_server: WireServer) -> None:
    wire_server.on("GET", TARGET, respond(200, (), flipped(5)))
    async with repository_on(wire_server) as repository, repository.blobs.open(DIGEST) as reader:
        for _ in range(2):
            with pytest.raises(DigestMismatchError):
                await reader.read()
        assert not reader.verified


@pytest.mark.parametrize("place", [0, len(BLOB) // 2, len(BLOB) - 1])
async def test_t25_a_download_that_fails_leaves_no_file_at_any_time(
    wire_server: WireServer, tmp_path: Path, place: int
) -> None:
    path = tmp_path / "blob"
    seen: list[bool] = []

    def look(_request: Request, _connection: Connection) -> None:
        seen.append(path.exists())

    def send(start: int, stop: int) -> Handler:
        return lambda _request, connection: connection.send(flipped(place)[start:stop])

    # The last look comes before the last byte: behind it, the client may be done before the server looks.
    most = len(BLOB) - 1
    wire_server.on(
        "GET",
        TARGET,
        chain(cut(b"", how=look), send(0, most // 2), look, send(most // 2, most), look, send(most, most + 1)),
    )
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.blobs.download(DIGEST, path)
    assert seen == [False, False, False]
    assert names_in(tmp_path) == []


async def test_t25_a_small_blob_is_returned_verified_or_not_at_all(wire_server: WireServer) -> None:
    wire_server.on("GET", TARGET, respond(200, (), flipped(5)), respond(200, (), BLOB))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.blobs.get(DIGEST)
        assert await repository.blobs.get(DIGEST) == BLOB


@pytest.mark.parametrize("extra", [b"x", noise(300_000)], ids=["one byte", "many"])
async def test_f116_bytes_beyond_the_end_fail_the_read_at_the_first_of_them(
    wire_server: WireServer, extra: bytes
) -> None:
    wire_server.on("GET", TARGET, respond_chunked(200, {}, [BLOB, extra]))
    async with repository_on(wire_server) as repository:
        got, failure = await handed_out(repository, KNOWN)
    assert isinstance(failure, SizeMismatchError)
    assert (failure.expected, failure.actual) == (len(BLOB), len(BLOB) + 1)
    assert len(got) < len(BLOB)


async def test_f116_a_reader_that_met_extra_bytes_does_not_go_on_behind_them(wire_server: WireServer) -> None:
    route = wire_server.on("GET", TARGET, respond_chunked(200, {}, [BLOB + b"x" * 1000, b"y", b"z"]))
    async with repository_on(wire_server) as repository, repository.blobs.open(KNOWN) as reader:
        for _ in range(3):
            with pytest.raises(SizeMismatchError, match=f"got {len(BLOB) + 1}"):
                await reader.read()
    assert len(route.requests) == 1


async def test_f116_an_endless_body_is_given_up_at_once(wire_server: WireServer) -> None:
    def endless(_request: Request, connection: Connection) -> None:
        connection.send(answers.head(200, {"Transfer-Encoding": "chunked"}))
        while True:
            # Ends with an error when the client has closed the connection.
            connection.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    wire_server.on("GET", TARGET, endless)
    async with repository_on(wire_server) as repository:
        with pytest.raises(SizeMismatchError):
            await repository.blobs.get(KNOWN)
        with pytest.raises(LimitExceededError):
            await repository.blobs.get(DIGEST, max_size=len(BLOB))


@pytest.mark.parametrize("length", [0, len(BLOB) - 1, len(BLOB) + 1])
async def test_t24_a_length_that_contradicts_the_descriptor_fails_before_a_byte_is_read(
    wire_server: WireServer, length: int
) -> None:
    wire_server.on("GET", TARGET, respond(200, {"Content-Length": str(length)}, BLOB[:length]))
    async with repository_on(wire_server) as repository:
        with pytest.raises(SizeMismatchError) as caught:
            async with repository.blobs.open(KNOWN):
                pytest.fail("it was opened")
    assert (caught.value.expected, caught.value.actual) == (len(BLOB), length)


@pytest.mark.parametrize("headers", [[("Content-Length", "-1")], [("Content-Length", "5"), ("Content-Length", "6")]])
async def test_t24_a_length_that_is_none_is_a_protocol_error(
    wire_server: WireServer, headers: list[tuple[str, str]]
) -> None:
    wire_server.on("GET", TARGET, chain(respond(200, headers, b"12345"), close))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError):
            await repository.blobs.get(DIGEST)


async def test_t24_a_short_body_is_a_transport_failure_that_may_be_tried_again(wire_server: WireServer) -> None:
    wire_server.on("GET", TARGET, cut(BLOB[:5]))
    async with repository_on(wire_server) as repository:
        with pytest.raises(TransportError):
            await repository.blobs.get(DIGEST)


@pytest.mark.parametrize("size", [2**62, 2**63 - 1])
async def test_t30_a_huge_announced_size_costs_no_memory(wire_server: WireServer, size: int) -> None:
    wire_server.on("GET", TARGET, chain(respond(200, {"Content-Length": str(size)}, BLOB), close))
    wire_server.on("HEAD", TARGET, respond(200, {"Content-Length": str(size)}))
    huge = Descriptor("application/octet-stream", DIGEST, size)
    async with repository_on(wire_server) as repository:
        assert (await repository.blobs.stat(DIGEST)).size == size
        async with repository.blobs.open(huge) as reader:
            assert await reader.read(1000) == BLOB[:1000]
        for target in (DIGEST, huge):
            with pytest.raises(LimitExceededError):
                await repository.blobs.get(target)


@pytest.mark.parametrize(
    "size", [-1, 2**63, 1.5, True, "10", 10**5000], ids=["negative", "2**63", "float", "bool", "text", "vast"]
)
def test_t30_a_descriptor_states_a_size_a_blob_can_have(size: Any) -> None:  # noqa: ANN401 -- wrong on purpose
    with pytest.raises(UsageError):
        Descriptor("application/octet-stream", DIGEST, size)


# --- Q68, F118: encodings --------------------------------------------------------------------------------------------


async def test_q68_identity_is_asked_for_and_bytes_are_hashed_as_they_come(wire_server: WireServer) -> None:
    packed = gzip.compress(BLOB[:1000], mtime=0)
    digest = Digest.of(packed)
    route = wire_server.on("GET", f"/v2/{NAME}/blobs/{digest}", respond(200, {"Content-Encoding": "gzip"}, packed))
    async with repository_on(wire_server) as repository:
        # A layer that some store labels with its own compression is still that layer.
        assert await repository.blobs.get(digest) == packed
    assert route.requests[0].header("Accept-Encoding") == "identity"


@pytest.mark.parametrize("encoding", ["gzip", "br", "x-unknown", "gzip, gzip"])
async def test_f118_a_blob_that_was_encoded_on_the_way_is_another_blob(wire_server: WireServer, encoding: str) -> None:
    packed = gzip.compress(BLOB, mtime=0)
    wire_server.on("GET", TARGET, respond(200, {"Content-Encoding": encoding}, packed))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.blobs.get(DIGEST)
        with pytest.raises(SizeMismatchError):
            await repository.blobs.get(KNOWN)


# --- F119, Q72: asking first -----------------------------------------------------------------------------------------


async def test_f119_a_blob_that_vanished_after_it_was_found_is_unknown(wire_server: WireServer) -> None:
    wire_server.on("HEAD", TARGET, respond(200, {"Content-Length": str(len(BLOB))}))
    wire_server.on("GET", TARGET, error(404, "BLOB_UNKNOWN"))
    async with repository_on(wire_server) as repository:
        found = await repository.blobs.stat(DIGEST)
        with pytest.raises(BlobUnknownError) as caught:
            await repository.blobs.get(found)
    assert str(DIGEST) in str(caught.value)


STATS: dict[str, tuple[Handler, Handler]] = {
    "no length": (raw(answers.head(200, {"Connection": "close"})), part(0, BLOB[:1], len(BLOB))),
    "206 without length": (raw(answers.head(206, {"Connection": "close"})), part(0, BLOB[:1], len(BLOB))),
    "encoded": (respond(200, {"Content-Encoding": "gzip", "Content-Length": "5"}), part(0, BLOB[:1], len(BLOB))),
    "no HEAD": (respond(405), part(0, BLOB[:1], len(BLOB))),
    "no ranges": (respond(405), respond(200, (), BLOB)),
}


@pytest.mark.parametrize("kind", STATS)
async def test_q72_a_head_without_a_size_is_followed_by_asking_for_the_first_byte(
    wire_server: WireServer, kind: str
) -> None:
    head, get = STATS[kind]
    wire_server.on("HEAD", TARGET, chain(head, close))
    route = wire_server.on("GET", TARGET, get)
    async with repository_on(wire_server) as repository:
        assert (await repository.blobs.stat(DIGEST)).size == len(BLOB)
    assert [request.header("Range") for request in route.requests] == ["bytes=0-0"]


async def test_q72_the_size_of_the_empty_blob_is_known_without_a_first_byte(wire_server: WireServer) -> None:
    empty = Digest.of(b"")
    wire_server.on("HEAD", f"/v2/{NAME}/blobs/{empty}", respond(405))
    wire_server.on("GET", f"/v2/{NAME}/blobs/{empty}", respond(416))
    async with repository_on(wire_server) as repository:
        assert (await repository.blobs.stat(empty)).size == 0


async def test_q72_a_registry_that_never_states_a_size_is_a_protocol_error(wire_server: WireServer) -> None:
    wire_server.on("HEAD", TARGET, respond(405))
    wire_server.on("GET", TARGET, part(0, BLOB[:1], "*"))
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError, match="how large"):
            await repository.blobs.stat(DIGEST)


async def test_a_head_about_another_blob_is_a_mismatch(wire_server: WireServer) -> None:
    other = Digest.of(b"other")
    wire_server.on("HEAD", TARGET, respond(200, {"Content-Length": "5", "Docker-Content-Digest": other}))
    async with repository_on(wire_server) as repository:
        with pytest.raises(DigestMismatchError):
            await repository.blobs.stat(DIGEST)


# --- redirects -------------------------------------------------------------------------------------------------------


async def test_a_resumed_read_asks_the_registry_for_a_new_redirect(
    wire_server: WireServer, start_wire_server: StartWireServer
) -> None:
    """The URL that worked before may have expired meanwhile."""
    store = start_wire_server(address="127.0.0.2")
    store.on("GET", "/first", cut(BLOB[:1000]))
    second = store.on("GET", "/second", ranged())
    wire_server.on(
        "GET",
        TARGET,
        respond(307, {"Location": f"{store.origin}/first"}),
        respond(307, {"Location": f"{store.origin}/second"}),
    )
    async with repository_on(wire_server) as repository:
        assert await collect(repository) == (BLOB, True)
    assert second.requests[0].header("Range") == "bytes=1000-"


@pytest.mark.parametrize(
    "digest",
    ["sha256:../../x", "sha256:" + "A" * 64, "sha256:" + "0" * 63, "sha256:", "", "a?b", "sha256:x/../y", "x" * 5000],
)
async def test_t17_a_string_that_is_no_digest_never_reaches_a_url(wire_server: WireServer, digest: str) -> None:
    async with repository_on(wire_server) as repository:
        blobs = repository.blobs
        for call in (blobs.stat, blobs.exists, blobs.get, blobs.delete):
            with pytest.raises(UsageError):
                await call(digest)
        with pytest.raises(UsageError):
            blobs.open(digest)
        with pytest.raises(UsageError):
            await blobs.mount(digest, source="acme/base")
    assert wire_server.requests == []

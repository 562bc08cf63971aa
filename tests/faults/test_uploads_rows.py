"""Uploads through tokens that die, connections that are cut, and registries that say one thing and do another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ocidist import (
    Digest,
    InvalidReferenceError,
    ProtocolError,
    ResponseError,
    UnsupportedError,
    UploadState,
)
from ocidist.remote import _upload_answers
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
from tests.remote.support import NAME, repository_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.uploads import Step
    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import Connection, Request, WireServer


def reset(registry: UploadRegistry, request: Request, connection: Connection) -> None:
    """Cut the connection as soon as a request has come, before anything of it is read."""
    del registry, request
    connection.reset()


# --- F008, F133, F144: connections that are cut ----------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [0, 1, 2])
async def test_f008_a_reset_before_the_answer_to_a_chunk_is_settled_by_the_status(
    wire_server: WireServer, registry: UploadRegistry, chunk: int
) -> None:
    registry.moves = False
    registry.script("PATCH", *[None] * chunk, reset)
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    assert len(registry.of("POST")) == 1


@pytest.mark.parametrize("there", [True, False], ids=["stored", "not stored"])
@pytest.mark.parametrize("chunked", [True, False], ids=["in chunks", "in one"])
async def test_f144_a_lost_answer_to_the_end_is_made_up_for(
    wire_server: WireServer, registry: UploadRegistry, *, there: bool, chunked: bool
) -> None:
    def forget(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        request.read()
        connection.close()

    registry.moves = False
    registry.script("PUT", lost() if there else forget)
    async with repository_on(wire_server) as repository:
        if chunked:
            await write_in_chunks(repository)
        else:
            await repository.blobs.push(BLOB)
    assert registry.blobs == {DIGEST: BLOB}
    assert registry.open == {}
    assert len(registry.of("PUT")) == (1 if there else 2)


# --- F146: a registry that does not keep what it promised ------------------------------------------------------------


async def test_f146_a_blob_that_is_not_there_after_all_is_noticed_by_who_asks_for_it(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    def lie(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        saying(201)(usual, request, connection)
        usual.blobs.clear()

    registry.script("PUT", lie, lie)
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB) == KNOWN
        with pytest.raises(ProtocolError, match="does not have the blob"):
            await repository.blobs.push(BLOB, verify=True)
        # The time it took was limited: one question, and one for each of the waits.
        assert len(registry.of("HEAD")) == 2 + 1 + len(_upload_answers.LAG_WAITS)


async def test_f146_a_replica_that_lags_is_given_a_moment(wire_server: WireServer, registry: UploadRegistry) -> None:
    registry.script("HEAD", None, refuse(404), refuse(404))
    async with repository_on(wire_server) as repository:
        assert await repository.blobs.push(BLOB, verify=True) == KNOWN
    assert len(registry.of("HEAD")) == 4


async def test_f146_a_blob_of_another_size_is_not_the_blob(wire_server: WireServer, registry: UploadRegistry) -> None:
    def other(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        respond(200, {"Content-Length": "5"})(request, connection)

    registry.script("HEAD", None, other)
    async with repository_on(wire_server) as repository:
        with pytest.raises(ProtocolError):
            await repository.blobs.push(BLOB, verify=True)


# --- F148: an answer while the body is still on its way --------------------------------------------------------------


@pytest.mark.parametrize("where", ["whole", "chunk"])
async def test_f148_an_early_refusal_is_told_in_the_registrys_words(
    wire_server: WireServer, registry: UploadRegistry, where: str
) -> None:
    said = json.dumps({"errors": [{"code": "SIZE_INVALID", "message": "a quota of 1 MiB"}]}).encode()

    def early(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        head = f"HTTP/1.1 413 Too Large\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n"
        connection.send(head.encode() + said)
        connection.reset()

    registry.script("PUT" if where == "whole" else "PATCH", *[early] * 10)
    size = None if where == "whole" else 4 * 1024 * 1024
    async with repository_on(wire_server) as repository:
        with pytest.raises(ResponseError, match="a quota of 1 MiB") as caught:
            await repository.blobs.push(bytes(8 * 1024 * 1024), chunk_size=size)
    assert caught.value.status == 413


# --- Q18, F141, N5, A5: tokens that die on the way -------------------------------------------------------------------


CLOCKS = ("ocidist.http.auth", "ocidist.http.tokens", "ocidist.http.caches")


def guarded(token_server: TokenServer, dead: set[str | None], *, kill: Callable[[], bool] = lambda: False) -> Step:
    """Take only tokens that live; kill the one that comes if *kill* says so."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{token_server.realm}",service="s",error="invalid_token"'}

    def step(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        sent = request.header("Authorization")
        if kill():
            dead.add(sent)
        (refuse(401, challenge) if sent in dead else UploadRegistry.usual)(usual, request, connection)

    return step


async def test_a05_a_token_that_dies_before_every_chunk_makes_no_accepted_byte_go_twice(
    wire_server: WireServer, registry: UploadRegistry, token_server: TokenServer
) -> None:
    dead: set[str | None] = {None}
    registry.script("POST", *[guarded(token_server, dead)] * 2)
    turns = {"chunk": 0}

    def kill() -> bool:
        turns["chunk"] += 1
        return turns["chunk"] % 2 == 1

    registry.script("PATCH", *[guarded(token_server, dead, kill=kill)] * 6)
    registry.script("PUT", *[guarded(token_server, dead)] * 2)
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    # Each chunk was refused once, unread, and sent again; nothing that was accepted was.
    assert [len(body) for body in bodies(registry, "PATCH")] == [300] * 6
    assert registry.of("GET") == []
    assert len(token_server.calls) == 4


async def test_f141_a_401_to_a_chunk_is_answered_with_a_new_token_and_the_same_bytes(
    wire_server: WireServer, registry: UploadRegistry, token_server: TokenServer
) -> None:
    dead: set[str | None] = {None}
    steps = iter([False, True, False])
    registry.script("POST", *[guarded(token_server, dead)] * 2)
    registry.script("PATCH", *[guarded(token_server, dead, kill=lambda: next(steps, False))] * 6)
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert bodies(registry, "PATCH")[1] == bodies(registry, "PATCH")[2] == BLOB[300:600]
    assert registry.blobs == {DIGEST: BLOB}


async def test_q18_a_token_that_would_die_during_the_upload_is_renewed_before_each_request(
    wire_server: WireServer, registry: UploadRegistry, token_server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes on by 40 s with each chunk, and tokens live for 60."""
    now = {"t": 1000.0}
    for module in CLOCKS:
        monkeypatch.setattr(f"{module}.monotonic", lambda: now["t"], raising=False)
    token_server.lifetime_s = 60
    refused: list[str] = []
    dead: set[str | None] = {None}
    challenge = {"WWW-Authenticate": f'Bearer realm="{token_server.realm}",service="s"'}
    born: dict[str | None, float] = {}

    def step(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        sent = request.header("Authorization")
        if sent is not None:
            born.setdefault(sent, now["t"])
        old = sent is not None and now["t"] - born[sent] >= 60
        if sent in dead or old:
            refused.append(request.method)
            refuse(401, challenge)(usual, request, connection)
            return
        # Before the answer: whoever has it may look at the clock at once.
        now["t"] += 40
        UploadRegistry.usual(usual, request, connection)

    registry.script("POST", step, step)
    registry.script("PATCH", *[step] * 10)
    registry.script("PUT", *[step] * 4)
    async with repository_on(wire_server) as repository:
        await write_in_chunks(repository)
    assert registry.blobs == {DIGEST: BLOB}
    # The first request of all had no token yet; after that none came with one that was dead.
    assert refused == ["POST"]
    assert [len(body) for body in bodies(registry, "PATCH")] == [300, 300, 300]


async def test_n05_a_long_request_gets_a_token_that_lives_longer_than_it_takes(
    wire_server: WireServer, registry: UploadRegistry, token_server: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token with a little life left does for a small body, and not for one that takes longer to send."""
    now = {"t": 1000.0}
    for module in CLOCKS:
        monkeypatch.setattr(f"{module}.monotonic", lambda: now["t"], raising=False)
    token_server.lifetime_s = 120
    registry.script("POST", guarded(token_server, {None}))
    async with repository_on(wire_server) as repository:
        await repository.blobs.push(BLOB)
        calls = len(token_server.calls)
        now["t"] += 100
        await repository.blobs.push(BLOB[1:])
        assert len(token_server.calls) == calls
        await repository.blobs.push(bytes(64 * 1024 * 1024))
    assert len(token_server.calls) == calls + 1


# --- Q40, Q41: mounting ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["other.example:5000/acme/base", "https://other.example/acme/base", "Acme/Base", ""])
async def test_q40_a_mount_never_names_another_registry(
    wire_server: WireServer, registry: UploadRegistry, source: str
) -> None:
    async with repository_on(wire_server) as repository:
        with pytest.raises(InvalidReferenceError):
            await repository.blobs.mount(DIGEST, source=source)
        with pytest.raises(InvalidReferenceError):
            await repository.blobs.push(BLOB, mount_from=[source])
    assert registry.of("POST") == []


async def test_q41_a_mount_without_a_source_is_only_made_for_who_asks_for_it(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    """Quay fails on it."""

    def as_quay(usual: UploadRegistry, request: Request, connection: Connection) -> None:
        query = dict(request.query)
        (refuse(405) if "mount" in query and "from" not in query else UploadRegistry.usual)(usual, request, connection)

    registry.script("POST", *[as_quay] * 5)
    async with repository_on(wire_server) as repository:
        with pytest.raises(UnsupportedError):
            await repository.blobs.mount(DIGEST, source=None)
        await repository.blobs.push(BLOB, mount_from=["acme/base"])
        await repository.blobs.push(stream(BLOB))
    posts = [dict(request.query) for request in registry.of("POST")]
    assert [("mount" in query, "from" in query) for query in posts] == [(True, False), (True, True), (False, False)]


# --- N3: sessions that outlive their process -------------------------------------------------------------------------


async def test_n03_a_state_is_text_that_another_client_goes_on_from(
    wire_server: WireServer, registry: UploadRegistry
) -> None:
    async with repository_on(wire_server) as repository:
        async with repository.blobs.writer(chunk_size=300) as writer:
            await writer.write(BLOB[:700])
        text = writer.state.to_json()
    said = json.loads(text)
    assert (said["version"], said["offset"], said["repository"]) == (1, 600, NAME)
    assert said["prefix"] == Digest.of(BLOB[:600])
    state = UploadState.from_json(text)
    async with repository_on(wire_server) as repository, repository.blobs.resume(state, source=BLOB) as writer:
        assert writer.size == 600
        assert await writer.commit(KNOWN) == KNOWN
    assert registry.blobs == {DIGEST: BLOB}
    sent = sum(len(body) for body in bodies(registry, "PATCH") + bodies(registry, "PUT"))
    assert sent == len(BLOB)

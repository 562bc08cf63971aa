"""The invariants of the matrix notice what they are there for."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from ocidist import ConnectError
from tests.faults import dialling
from tests.faults.matrix import reads
from tests.faults.matrix.fault import EMBEDDED, Fault
from tests.faults.matrix.invariants import MEMORY, Baseline, check_error
from tests.faults.matrix.stage import Stage
from tests.faults.matrix.standing import BLOB, DIGEST, READ

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.matrix.conftest import Standings
    from tests.peers.tls import Authority

QUIET = Fault("F000", "nothing", reads.get, (), (ConnectError,))


@pytest.fixture
def stage(standings: Standings, tmp_path: Path, authority: Authority) -> Iterator[Stage]:
    """A stage where nothing happens."""
    with Stage(QUIET, standings(EMBEDDED), tmp_path, authority) as made:
        yield made


async def test_nothing_is_found_where_nothing_is(stage: Stage) -> None:
    before = Baseline.of(stage)
    async with stage.client() as client:
        found = await reads.get.run(stage, client)
    reads.get.prove(stage, found)
    await before.check(stage, QUIET, 1)


async def test_an_open_socket_is_found(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "_PATIENCE_S", 0.05)
    before = Baseline.of(stage)
    with socket.socket(), pytest.raises(AssertionError, match="I7: open sockets"):
        await before.check(stage, QUIET, 0)


async def test_files_that_are_left_are_found(stage: Stage, tmp_path: Path) -> None:
    before = Baseline.of(stage)
    (tmp_path / "left.part").touch()
    with pytest.raises(AssertionError, match="I7: files"):
        await before.check(stage, QUIET, 0)


async def test_an_upload_that_is_left_is_found(stage: Stage) -> None:
    stage.name = stage.standing.fresh()
    before = Baseline.of(stage)
    assert stage.standing.ask("POST", f"/v2/{stage.name}/blobs/uploads/").status == 202
    with pytest.raises(AssertionError, match="I7: 1 uploads"):
        await before.check(stage, QUIET, 0)


async def test_too_many_requests_are_found(stage: Stage) -> None:
    before = Baseline.of(stage)
    async with stage.client() as client:
        for _ in range(2):
            await reads.stat.run(stage, client)
    with pytest.raises(AssertionError, match="I8: 2 requests"):
        await before.check(stage, QUIET, 1)


async def test_memory_is_found(stage: Stage) -> None:
    before = Baseline.of(stage)
    held = bytearray(b"x") * (MEMORY + 8 * 1024 * 1024)
    with pytest.raises(AssertionError, match="I3"):
        await before.check(stage, QUIET, 0)
    del held


async def test_a_secret_elsewhere_is_found(stage: Stage) -> None:
    before = Baseline.of(stage)
    with socket.create_connection(("127.0.0.3", stage.stranger.port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nAuthorization: Basic YWxpY2U6czNjcmV0\r\n\r\n")
        assert sock.recv(10)
    with pytest.raises(AssertionError):
        await before.check(stage, QUIET, 9)


async def test_wrong_bytes_are_found(stage: Stage) -> None:
    async with stage.client() as client:
        found = await reads.get.run(stage, client)
    assert stage.standing.blob(READ, DIGEST) == BLOB
    with pytest.raises(AssertionError):
        reads.get.prove(stage, type(found)(found.digest, BLOB[:-1]))


def test_an_error_that_does_not_say_where_is_found(stage: Stage) -> None:
    error = ConnectError("no connection")
    with pytest.raises(AssertionError, match="I5: the host"):
        check_error(error, stage, QUIET)
    error.locate(host=stage.proxy.host, operation="pull blob", reference=READ)
    with pytest.raises(AssertionError, match="I5: no number"):
        check_error(error, stage, QUIET)
    check_error(error.locate(attempts=3), stage, QUIET)

"""What a client does with the credentials of the environment."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from ocidist import Client, CredentialsRejectedError, CredentialStoreError, HostConfig
from ocidist.credentials import CredentialHelper, files
from ocidist.credentials.disk import MAX_FILE_SIZE
from ocidist.credentials.files import FileCredentials
from tests.credentials.support import config, put_json, told
from tests.credentials.test_helper import is_gone
from tests.peers.answers import respond, respond_json

if TYPE_CHECKING:
    from pathlib import Path

    from tests.credentials.conftest import MakeHelper
    from tests.peers.wire_server import Connection, Request, WireServer

SECRET = "hunter2"


@pytest.fixture
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def client_for(server: WireServer) -> Client:
    return Client(hosts={server.host: HostConfig(scheme="http")})


@pytest.mark.parametrize(
    "value", [{"credsStore": "missing"}, {"auths": {"HOST": {"auth": SECRET}}}, {"auths": [SECRET]}, SECRET]
)
async def test_f175_a_request_that_needs_what_cannot_be_read_is_not_sent_anonymously(
    wire_server: WireServer, docker_config: Path, value: object
) -> None:
    put_json(docker_config, json.loads(json.dumps(value).replace("HOST", wire_server.host)))
    wire_server.on("GET", "/v2/*", respond(200))
    async with client_for(wire_server) as client:
        with pytest.raises(CredentialStoreError) as caught:
            await client.registry(wire_server.host).ping()
        assert SECRET not in told(caught.value)
        assert wire_server.host in str(caught.value)
        with pytest.raises(httpx.HTTPError) as raw:
            await client.get(f"{wire_server.origin}/v2/")
        assert SECRET not in told(raw.value)
    assert wire_server.connections == []


async def test_s12_the_repository_chooses_among_namespaces(wire_server: WireServer, docker_config: Path) -> None:
    entry = {"auth": base64.b64encode(b"ci:ns").decode()}
    put_json(docker_config, {"auths": {f"{wire_server.host}/acme/app": entry}})
    seen: dict[str, list[str | None]] = {}

    def answer(request: Request, connection: Connection) -> None:
        seen.setdefault(request.path, []).append(request.header("authorization"))
        if request.header("authorization") is None:
            respond(401, headers={"WWW-Authenticate": 'Basic realm="x"'})(request, connection)
        else:
            respond_json(200, {"name": "x", "tags": ["v1"]})(request, connection)

    wire_server.on("GET", "/v2/*", answer)
    async with client_for(wire_server) as client:
        tags = client.repository(f"{wire_server.host}/acme/app").tags
        assert [tag async for tag in tags.list()] == ["v1"]
        with pytest.raises(CredentialsRejectedError, match="there is none for it"):
            await client.repository(f"{wire_server.host}/other/app").tags.list().collect()
    mine = [header for path, headers in seen.items() if "acme/app" in path for header in headers]
    others = [header for path, headers in seen.items() if "other/app" in path for header in headers]
    assert f"Basic {entry['auth']}" in mine
    assert set(others) == {None}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_t47_asyncios_own_cancellation_kills_a_helper_too(
    make_helper: MakeHelper, tmp_path: Path, anyio_backend: str
) -> None:
    make_helper("slow", f"echo $$ > {tmp_path}/self; sleep 60")
    task = asyncio.create_task(CredentialHelper("slow").get("x.io"))
    with anyio.fail_after(30):
        while not (tmp_path / "self").exists():  # noqa: ASYNC110 -- another process sets no event
            await anyio.sleep(0.01)
    task.cancel()
    started = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 30
    assert await is_gone(tmp_path / "self")


async def test_a_large_file_is_read_beside_the_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    entry = {"auth": base64.b64encode(b"ci:x").decode()}
    put_json(path, {"auths": {f"{number}.io": entry for number in range(10_000)}})
    assert path.stat().st_size < MAX_FILE_SIZE
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.001)
            ticks += 1

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        found = await FileCredentials(path).get("9999.io")
        group.cancel_scope.cancel()
    assert str(found) == "Basic(username='ci', password='***')"
    assert ticks > 3


async def test_asking_again_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_text(config(x="ci"))
    monkeypatch.setattr(files, "RECHECK", 1e6)
    found = FileCredentials(path)
    await found.get("x.io")
    monkeypatch.setattr(files, "_read", None)
    for _ in range(2000):
        assert await found.get("x.io", repository="acme/app")

"""What the embedded registry withstands: guesses, floods, and clients that break off."""

from __future__ import annotations

import json
import logging
import os
import resource
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocidist.errors import UsageError
from ocidist.issuer import Htpasswd
from ocidist.model.digest import Digest
from ocidist.server import Caller, FailedLogins, Limits, PasswordGuard, RegistryApp
from ocidist.server.rate import MAX_CALLERS
from ocidist.storage.layout import LayoutRegistry
from ocidist.storage.memory import MemoryRegistry
from tests.peers import images
from tests.unit.server.support import call
from tests.unit.server.test_auth import PASSWORD, USERS, basic

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.server.support import Answer

DATA = images.noise(10_000)
DIGEST = Digest.of(DATA)
MIB = 1024 * 1024


# --- T61 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/v2/_catalog", "/v2/a/tags/list"])
@pytest.mark.parametrize(
    ("n", "status", "entries"),
    [("1000000000000", 200, 3), ("-1", 400, 0), ("0", 200, 0), ("abc", 400, 0), ("2", 200, 2), ("%31", 200, 1)],
)
async def test_t61_a_page_is_never_larger_than_the_limit(target: str, n: str, status: int, entries: int) -> None:
    store = MemoryRegistry(check_references=False)
    for number in range(5):
        await store.repository(f"a{number}").blobs.push(b"x")
    await store.repository("a").manifests.push(images.image().manifest.data, tags=[f"t{n}" for n in range(5)])
    app = RegistryApp(store, limits=Limits(page=3))
    answer = await call(app, "GET", f"{target}?n={n}")
    assert answer.status == status
    if status == 200:
        assert len(json.loads(answer.body)["tags" if "tags" in target else "repositories"]) == entries
    else:
        assert answer.code == "PAGINATION_NUMBER_INVALID"


async def test_t61_heads_and_targets_have_limits() -> None:
    app = RegistryApp(MemoryRegistry(), limits=Limits(max_target=100, max_head=200))
    assert (await call(app, "GET", "/v2/" + "a" * 96)).status == 404
    assert (await call(app, "GET", "/v2/" + "a" * 97)).status == 414
    assert (await call(app, "GET", "/v2/?" + "a" * 97)).status == 414
    assert (await call(app, "GET", "/v2/", headers=[("X", "a" * 199)])).status == 200
    assert (await call(app, "GET", "/v2/", headers=[("X", "a" * 200)])).status == 431


async def test_t61_unfinished_uploads_share_their_room() -> None:
    app = RegistryApp(MemoryRegistry(), limits=Limits(max_pending=15_000))
    locations = [(await call(app, "POST", "/v2/a/blobs/uploads/")).headers["location"] for _ in range(2)]
    assert (await call(app, "PATCH", locations[0], body=[DATA])).status == 202
    assert (await call(app, "PATCH", locations[1], body=[DATA])).status == 507
    assert (await call(app, "PUT", f"{locations[0]}?digest={DIGEST}")).status == 201
    assert (await call(app, "PATCH", locations[1], body=[DATA])).status == 202
    assert (await call(app, "DELETE", locations[1])).status == 204
    third = (await call(app, "POST", "/v2/a/blobs/uploads/")).headers["location"]
    assert (await call(app, "PATCH", third, body=[DATA])).status == 202


async def test_t61_a_session_that_nobody_used_is_over() -> None:
    now = [0.0]
    app = RegistryApp(MemoryRegistry(), limits=Limits(upload_ttl=10), clock=lambda: now[0])
    location = (await call(app, "POST", "/v2/a/blobs/uploads/")).headers["location"]
    now[0] = 9
    assert (await call(app, "PATCH", location, body=[DATA])).status == 202
    now[0] = 18
    assert (await call(app, "GET", location)).status == 204
    now[0] = 19.5
    assert (await call(app, "GET", location)).status == 404
    assert (await call(app, "PATCH", location, body=[DATA])).status == 404


async def test_t61_the_rate_limit_is_asked_first_and_told_last() -> None:
    seen: list[tuple[Caller, int]] = []

    class Slow:
        wanted: float | None = None

        async def wait(self, _caller: Caller) -> float | None:
            return self.wanted

        def answered(self, caller: Caller, status: int) -> None:
            seen.append((caller, status))

    hook = Slow()
    app = RegistryApp(MemoryRegistry(), rate_limit=hook, auth=PasswordGuard(USERS))
    for headers, path in (([], "/v2/"), ([basic()], "/v2/"), ([basic()], "/elsewhere"), ([basic()], "/healthz")):
        await call(app, "GET", path, headers=headers)
    assert [(caller.path, caller.has_login, status) for caller, status in seen] == [
        ("/v2/", False, 401),
        ("/v2/", True, 200),
        ("/elsewhere", True, 404),
        ("/healthz", True, 200),
    ]
    hook.wanted = 2.5
    refused = await call(app, "GET", "/v2/", headers=[basic()])
    assert (refused.status, refused.headers["retry-after"], len(seen)) == (429, "3", 4)


async def test_t61_guessing_passwords_takes_long() -> None:
    now = [0.0]
    limit = FailedLogins(3, 60, clock=lambda: now[0])
    app = RegistryApp(MemoryRegistry(), rate_limit=limit, auth=PasswordGuard(USERS))

    async def attempt(password: str) -> Answer:
        now[0] += 1
        return await call(app, "GET", "/v2/", headers=[basic("alice", password)])

    assert [(await attempt(f"guess{n}")).status for n in range(5)] == [401, 401, 401, 429, 429]
    assert (await attempt(PASSWORD)).status == 429
    # Who says nothing is told how to, and is not counted.
    assert (await call(app, "GET", "/v2/")).status == 401
    now[0] = 61.5
    assert (await attempt(PASSWORD)).status == 200
    assert [(await attempt(f"guess{n}")).status for n in range(3)] == [401, 401, 401]


async def test_t61_addresses_are_counted_one_by_one_and_not_without_end() -> None:
    limit = FailedLogins(1, 60, clock=lambda: 0.0)

    def caller(client: str) -> Caller:
        return Caller(client, "GET", "/v2/", has_login=True)

    limit.answered(caller("2001:db8::1"), 401)
    assert await limit.wait(caller("2001:db8::ffff")) == 60
    assert await limit.wait(caller("2001:db8:0:1::1")) is None
    limit.answered(caller("10.0.0.1"), 401)
    assert await limit.wait(caller("10.0.0.1")) == 60
    assert await limit.wait(caller("10.0.0.2")) is None
    for number in range(MAX_CALLERS):
        limit.answered(caller(f"name{number}"), 401)
    assert await limit.wait(caller("10.0.0.1")) is None


@pytest.mark.parametrize("wrong", [{"most": 0}, {"within": 0}])
def test_t61_a_rate_limit_has_to_make_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        FailedLogins(**wrong)


async def test_the_health_of_the_store_can_be_asked_for_by_anybody() -> None:
    app = RegistryApp(MemoryRegistry(), auth=PasswordGuard(USERS), read_only=True)
    assert (await call(app, "GET", "/healthz")).body == b'{"status":"ok"}'
    assert (await call(app, "POST", "/healthz")).status == 405


async def test_the_access_log_says_what_was_asked_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    app = RegistryApp(MemoryRegistry(), auth=PasswordGuard(USERS))
    with caplog.at_level(logging.INFO, "ocidist.server.access"):
        location = (await call(app, "POST", "/v2/a/blobs/uploads/", headers=[basic()])).headers["location"]
        await call(app, "PUT", f"{location}?digest={DIGEST}&_state=secret", headers=[basic()], body=[DATA])
        await call(app, "GET", "/v2/a%0aforged", headers=[("Authorization", "Basic c2VjcmV0")])
    told = [record.__dict__["oci_request"] for record in caplog.records]
    assert [(each["account"], each["method"], each["status"]) for each in told] == [
        ("alice", "POST", 202),
        ("alice", "PUT", 201),
        ("", "GET", 404),
    ]
    assert told[1]["received"] == len(DATA)
    assert told[1]["target"] == f"/v2/a/blobs/uploads/***?digest={DIGEST}&_state=***"
    session = location.rpartition("/")[2]
    for secret in (session, "secret", PASSWORD, "c2VjcmV0"):
        assert secret not in caplog.text


# --- F217-F220 -------------------------------------------------------------------------------------------------------


async def _upload(app: RegistryApp) -> str:
    return (await call(app, "POST", "/v2/a/blobs/uploads/")).headers["location"]


async def _chunk(app: RegistryApp, location: str, start: int, *pieces: bytes, gone_after: int | None = None) -> Answer:
    size = sum(map(len, pieces))
    headers = [("Content-Range", f"{start}-{start + size - 1}")]
    return await call(app, "PATCH", location, headers=headers, body=pieces, gone_after=gone_after)


async def test_f217_a_client_that_breaks_off_leaves_what_had_arrived() -> None:
    app = RegistryApp(MemoryRegistry())
    location = await _upload(app)
    gone = await _chunk(app, location, 0, DATA[:3000], DATA[3000:], gone_after=1)
    assert gone.status == 0
    assert (await call(app, "GET", location)).headers["range"] == "0-2999"
    assert (await _chunk(app, location, 0, DATA)).status == 416
    assert (await _chunk(app, location, 3000, DATA[3000:])).status == 202
    assert (await call(app, "PUT", f"{location}?digest={DIGEST}")).status == 201
    assert (await call(app, "GET", f"/v2/a/blobs/{DIGEST}")).body == DATA


async def test_f217_of_two_chunks_at_once_one_is_taken() -> None:
    app = RegistryApp(MemoryRegistry())
    location = await _upload(app)
    statuses: list[int] = []

    async def send(data: bytes) -> None:
        statuses.append((await _chunk(app, location, 0, data[:100], data[100:])).status)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, DATA)
        tasks.start_soon(send, DATA)
    assert sorted(statuses) == [202, 416]
    assert (await call(app, "PUT", f"{location}?digest={DIGEST}")).status == 201


def _file_of(directory: Path, size: int) -> Path:
    (found,) = [path for path in directory.rglob("*") if path.is_file() and path.stat().st_size == size]
    return found


async def test_f217_bytes_that_did_not_reach_the_disk_are_asked_for_again(tmp_path: Path) -> None:
    """As when a disk refuses the last bytes of a client that is gone: nobody is there to be told."""
    app = RegistryApp(LayoutRegistry(tmp_path))
    location = (await call(app, "POST", "/v2/a/blobs/uploads/")).headers["location"]
    await call(app, "PATCH", location, body=[DATA[:6000]])
    os.truncate(_file_of(tmp_path, 6000), 4000)
    assert (await call(app, "GET", location)).headers["range"] == "0-5999"
    refused = await call(app, "PATCH", location, body=[DATA[6000:]], headers=[("Content-Range", "6000-9999")])
    assert (refused.status, refused.headers["range"]) == (416, "0-3999")
    assert (await call(app, "GET", location)).headers["range"] == "0-3999"
    rest = await call(app, "PATCH", location, body=[DATA[4000:]], headers=[("Content-Range", "4000-9999")])
    assert rest.status == 202
    assert (await call(app, "PUT", f"{location}?digest={DIGEST}")).status == 201


async def test_f217_a_gap_is_refused_with_where_to_go_on() -> None:
    app = RegistryApp(MemoryRegistry())
    location = await _upload(app)
    assert (await _chunk(app, location, 0, DATA[:100])).status == 202
    refused = await _chunk(app, location, 200, DATA[200:])
    assert (refused.status, refused.code, refused.headers["range"]) == (416, "RANGE_INVALID", "0-99")
    closing = await call(
        app, "PUT", f"{location}?digest={DIGEST}", headers=[("Content-Range", "200-9999")], body=[DATA[200:]]
    )
    assert closing.status == 416
    assert (await _chunk(app, location, 100, DATA[100:])).status == 202
    assert (await call(app, "PUT", f"{location}?digest={DIGEST}")).status == 201


@pytest.mark.parametrize("way", ["PUT", "PATCH", "POST"])
async def test_f218_content_with_another_digest_is_not_kept(way: str) -> None:
    store = MemoryRegistry()
    app = RegistryApp(store)
    wrong = Digest.of(b"something else")
    if way == "POST":
        answer = await call(app, "POST", f"/v2/a/blobs/uploads/?digest={wrong}", body=[DATA])
    else:
        location = await _upload(app)
        if way == "PATCH":
            await _chunk(app, location, 0, DATA)
        body = [DATA] if way == "PUT" else [b""]
        answer = await call(app, "PUT", f"{location}?digest={wrong}", body=body)
        assert (await call(app, "GET", location)).status == 404
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    for digest in (wrong, DIGEST):
        assert (await call(app, "HEAD", f"/v2/a/blobs/{digest}")).status == 404
    assert store.used_bytes == 0


async def test_f219_floods_are_refused_and_take_no_memory() -> None:
    app = RegistryApp(MemoryRegistry(), limits=Limits(max_uploads=100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    statuses = [(await call(app, "POST", "/v2/a/blobs/uploads/")).status for _ in range(1000)]
    assert statuses == [202] * 100 + [429] * 900
    piece = bytes(MIB)
    headers = [("Content-Length", str(10**12))]
    assert (await call(app, "PUT", "/v2/a/manifests/v1", headers=headers)).status == 413
    # Without a length, it is refused as soon as there is more than the limit: 64 MiB never pass.
    assert (await call(app, "PUT", "/v2/a/manifests/v1", body=[piece] * 64)).status == 413
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024  # Linux counts KiB
    assert grown < 32 * MIB


async def test_f219_a_manifest_of_4_mib_is_taken_and_not_one_byte_more() -> None:
    app = RegistryApp(MemoryRegistry(check_references=False))
    data = images.image().manifest.data
    whole = data[:-1] + b" " * (4 * MIB - len(data)) + data[-1:]
    for extra, status in ((0, 201), (1, 413)):
        answer = await call(app, "PUT", "/v2/a/manifests/v1", body=[whole + b" " * extra])
        assert answer.status == status


async def test_f220_users_are_read_again_and_a_malformed_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "htpasswd"
    users = Htpasswd(file, rounds=4)
    await users.replace({"alice": PASSWORD})
    app = RegistryApp(MemoryRegistry(), auth=PasswordGuard(users))

    async def statuses() -> list[int]:
        return [
            (await call(app, "GET", "/v2/", headers=[basic(name, password)])).status
            for name, password in (("alice", PASSWORD), ("bob", "b0b"))
        ]

    assert await statuses() == [200, 401]
    await users.replace({"bob": "b0b"})
    assert await statuses() == [401, 200]
    with caplog.at_level(logging.WARNING, "ocidist.issuer"):
        await anyio.Path(file).write_text("bob:not a hash\n")
        assert await statuses() == [401, 200]
        assert await statuses() == [401, 200]
    assert caplog.text.count("the users of before stay") == 1
    assert "not a hash" not in caplog.text
    await users.replace({"alice": PASSWORD})
    assert await statuses() == [200, 401]

"""Tokens between runs: what is in the file, who may read it, and what is believed of it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from ocidist import Basic, CredentialStoreError, Token, TokenOwner
from ocidist.http import tokenfile
from ocidist.http.tokenfile import FileTokenCache
from ocidist.http.tokens import identity
from ocidist.wire.scope import NO_SCOPES, ScopeSet
from tests.http.support import ALICE, PULL, PUSH, SOME_TAGS, TAGS, alice_at, guarded, list_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.peers.token_server import TokenServer
    from tests.peers.wire_server import WireServer

NOW = 1000.0
OWNER = TokenOwner("https://registry.acme.io", "https://auth.acme.io/token", "registry", identity(ALICE))
OTHER = TokenOwner("https://registry.acme.io", "https://auth.acme.io/token", "registry", identity(Basic("bob", "b0b")))
ONE, BOTH = ScopeSet.parse(PULL), ScopeSet.parse(PUSH)
SECRET = "canary-kept-token-7a1b"
REFRESH = "canary-kept-refresh-8b2c"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is; its directory does not exist yet."""
    return tmp_path / "cache" / "tokens.json"


def monotonic() -> float:
    """Return what the cache takes for the time."""
    now: float = vars(tokenfile)["monotonic"]()
    return now


def kept_in(path: Path) -> list[dict[str, object]]:
    """Return the entries of a file."""
    entries: list[dict[str, object]] = json.loads(path.read_text())["tokens"]
    return entries


def mode_of(path: Path) -> int:
    """Return who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


def put(path: Path, text: str) -> None:
    """Write a private file."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)


def change_mode(path: Path, mode: int) -> None:
    """Say who may do what with a file."""
    path.chmod(mode)


def make_pipe(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    """Put a directory where the file should be."""
    path.mkdir(parents=True)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a file, as another process would."""
    path.parent.mkdir()
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def text_of(path: Path) -> str:
    """Return what is in a file."""
    return path.read_text()


def token(value: str = SECRET, scopes: ScopeSet = BOTH, life: float = 300.0) -> Token:
    return Token(value, monotonic() + life, scopes, REFRESH, life)


async def keep(path: Path, *tokens: Token, owner: TokenOwner = OWNER) -> None:
    """Let one run end with these tokens."""
    async with FileTokenCache(path) as cache:
        for each in tokens:
            cache.store(owner, each)


async def found(path: Path, scopes: ScopeSet = ONE, owner: TokenOwner = OWNER) -> str | None:
    """Return what the next run finds."""
    async with FileTokenCache(path) as cache:
        known = cache.find(owner, scopes, now=monotonic())
        return None if known is None else known.value


async def test_a_token_of_one_run_is_used_in_the_next(
    wire_server: WireServer, token_server: TokenServer, path: Path
) -> None:
    wire_server.on("GET", TAGS, guarded(token_server.realm, SOME_TAGS))
    for _ in range(3):
        async with FileTokenCache(path) as cache, alice_at(wire_server, token_server, token_cache=cache) as client:
            assert await list_tags(client, wire_server) == ["v1"]
    assert len(token_server.calls) == 1
    # Another identity has nothing of it.
    async with FileTokenCache(path) as cache:
        stranger = {wire_server.host: Basic("alice", "another password")}
        async with alice_at(wire_server, token_server, token_cache=cache, credentials=stranger) as client:
            with pytest.raises(Exception, match=r"refuse|answered 401"):
                await list_tags(client, wire_server)
    assert len(token_server.calls) == 2


async def test_a_token_that_may_do_more_is_found_for_less(path: Path) -> None:
    await keep(path, token())
    assert await found(path, ONE) == SECRET
    assert await found(path, NO_SCOPES) == SECRET
    assert await found(path, ScopeSet.parse("repository:acme/app:delete")) is None
    assert await found(path, ONE, OTHER) is None
    assert await found(path, ONE, TokenOwner("https://h", OWNER.realm, OWNER.service, OWNER.identity)) is None


async def test_the_file_is_private_and_says_nothing_of_who_it_is_for(path: Path) -> None:
    before = os.umask(0)
    try:
        await keep(path, token())
    finally:
        os.umask(before)
    assert mode_of(path) == 0o600
    text = text_of(path)
    for secret in (REFRESH, ALICE.password, ALICE.username, OWNER.identity, "acme.io", "auth", 'registry"'):
        assert secret not in text
    document = json.loads(text)
    assert document["version"] == 1
    assert [set(entry) for entry in document["tokens"]] == [{"key", "scopes", "token", "expires", "lifetime"}]
    assert 290 < document["tokens"][0]["expires"] - time.time() <= 300
    # The same owner has another key in another file.
    await keep(path.with_name("other.json"), token())
    assert json.loads(path.with_name("other.json").read_text())["tokens"][0]["key"] != document["tokens"][0]["key"]
    assert SECRET not in repr(FileTokenCache(path))


async def test_a_token_that_was_refused_does_not_come_back(path: Path) -> None:
    await keep(path, token())
    async with FileTokenCache(path) as cache:
        known = cache.find(OWNER, ONE, now=monotonic())
        assert known is not None
        cache.discard(OWNER, known)
        assert cache.find(OWNER, ONE, now=monotonic()) is None
    assert await found(path) is None


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later", "there"), [(0, True), (200, True), (280, False), (301, False), (-60, False), (86_400, False)]
)
async def test_ends_are_in_wall_time(path: Path, monkeypatch: pytest.MonkeyPatch, later: float, *, there: bool) -> None:
    await keep(path, token())
    real = time.time()
    # The monotonic clock of another boot is somewhere else altogether.
    monkeypatch.setattr(tokenfile, "monotonic", lambda: 5.0)
    monkeypatch.setattr(time, "time", lambda: real + later)
    assert (await found(path) is not None) is there


async def test_what_has_ended_is_dropped_from_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await keep(path, token("old", ONE, 60.0))
    real, start = time.time(), monotonic()
    monkeypatch.setattr(time, "time", lambda: real + 100)
    monkeypatch.setattr(tokenfile, "monotonic", lambda: start + 100)
    await keep(path, token("new", BOTH))
    assert [entry["token"] for entry in kept_in(path)] == ["new"]


async def test_the_file_has_so_many_entries(path: Path) -> None:
    async with FileTokenCache(path, max_entries=10) as cache:
        for number in range(50):
            cache.store(OWNER, token(f"t{number}", ScopeSet.parse(f"repository:a/r{number}:pull"), 60.0 + number))
    values = [entry["token"] for entry in kept_in(path)]
    assert values == [f"t{number}" for number in range(49, 39, -1)]


# --- what is not believed --------------------------------------------------------------------------------------------

GOOD = '{"version":1,"salt":"%s","tokens":[%%s]}' % ("0" * 32)
BROKEN = {
    "empty": "",
    "cut": '{"version":1,"salt":"00',
    "not JSON": f"<html>{SECRET}",
    "a list": "[]",
    "no version": "{}",
    "another version": '{"version":0,"salt":"","tokens":[]}',
    "a version that is no number": '{"version":"1","salt":"","tokens":[]}',
    "no salt": '{"version":1,"tokens":[]}',
    "a salt that is none": '{"version":1,"salt":"zz","tokens":[]}',
    "tokens that are none": f'{{"version":1,"salt":"{"0" * 32}","tokens":{{"a":"{SECRET}"}}}}',
    "deep": "[" * 100_000,
    "too large": " " * (4 * 1024 * 1024 + 1),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_file_that_is_corrupt_is_ignored_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    put(path, BROKEN[name])
    with caplog.at_level(logging.WARNING, "ocidist"):
        assert await found(path) is None
    assert str(path) in caplog.text
    assert SECRET not in caplog.text
    # And is replaced by what is good.
    await keep(path, token())
    assert await found(path) == SECRET


ENTRY = {"key": "00", "scopes": PULL, "token": "t", "expires": 0, "lifetime": 300}
ODD: list[dict[str, object]] = [
    {"token": "a b"},
    {"token": "a\r\nX-Evil: 1"},
    {"token": 7},
    {"token": ""},
    {"scopes": 'a"b'},
    {"scopes": None},
    {"lifetime": 1e300},
    {"lifetime": -1},
    {"lifetime": True},
    {"expires": "soon"},
    {"expires": 4e9},
    {"key": 7},
]


@pytest.mark.parametrize("change", ODD, ids=repr)
def test_an_entry_that_is_odd_is_left_out(change: dict[str, object]) -> None:
    good = ENTRY | {"expires": time.time() + 200}
    assert tokenfile._token(good) is not None
    data = json.dumps({"version": 1, "salt": "0" * 32, "tokens": [good | change, "x", None, good]}).encode()
    contents = tokenfile._understood(data, Path("x"))
    assert not isinstance(contents, str)
    assert [len(tokens) for tokens in contents.tokens.values()] == [1]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
async def test_a_file_that_others_can_read_or_write_is_not_used(
    path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    await keep(path, token())
    change_mode(path, mode)
    with caplog.at_level(logging.WARNING, "ocidist"):
        assert await found(path) is None
    assert "not private" in caplog.text
    await keep(path, token("new"))
    assert mode_of(path) == 0o600
    assert SECRET not in text_of(path)


async def test_a_newer_file_is_left_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(path, '{"version":2,"what":"ever"}')
    with caplog.at_level(logging.WARNING, "ocidist"):
        await keep(path, token())
    assert "newer program" in caplog.text
    assert text_of(path) == '{"version":2,"what":"ever"}'


@pytest.mark.parametrize("make", [make_directory, make_pipe])
async def test_something_that_is_no_file_is_a_warning_and_an_error_for_those_who_save(
    path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None]
) -> None:
    make(path)
    with caplog.at_level(logging.WARNING, "ocidist"):
        await keep(path, token())
    assert "not kept" in caplog.text
    cache = FileTokenCache(path)
    cache.store(OWNER, token())
    with pytest.raises(CredentialStoreError) as caught:
        await cache.save()
    assert SECRET not in str(caught.value)
    # As root, it could be /dev/null.
    assert not await anyio.Path(path).is_file()


# --- several at once -------------------------------------------------------------------------------------------------


async def test_several_writers_add_to_each_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenfile, "SAVE_SECONDS", 30)

    async def one(number: int) -> None:
        async with FileTokenCache(path) as cache:
            cache.store(OWNER, token(f"t{number}", ScopeSet.parse(f"repository:a/r{number}:pull")))

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(one, number)
    values = {entry["token"] for entry in kept_in(path)}
    assert values == {f"t{number}" for number in range(12)}
    assert list(path.parent.glob("*.part")) == []


PROGRAM = """
import sys, anyio
from ocidist import Token, TokenOwner
from ocidist.http import tokenfile
from ocidist.wire.scope import ScopeSet
tokenfile.SAVE_SECONDS = 30
async def main(path, number):
    async with tokenfile.FileTokenCache(path) as cache:
        scopes = ScopeSet.parse(f"repository:a/p{number}:pull")
        owner = TokenOwner("https://h", "r", "s", "i")
        cache.store(owner, Token(f"p{number}", tokenfile.monotonic() + 300, scopes, lifetime=300.0))
anyio.run(main, sys.argv[1], sys.argv[2])
"""


async def test_several_processes_add_to_each_other(path: Path) -> None:
    async def one(number: int) -> None:
        await anyio.run_process([sys.executable, "-c", PROGRAM, str(path), str(number)])

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(one, number)
    assert {entry["token"] for entry in kept_in(path)} == {f"p{n}" for n in range(4)}


async def test_leaving_takes_no_longer_than_promised_where_somebody_holds_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokenfile, "SAVE_SECONDS", 0.1)
    with held(path), caplog.at_level(logging.WARNING, "ocidist"):
        started = time.monotonic()
        await keep(path, token())
        assert time.monotonic() - started < 20
    assert "not kept" in caplog.text
    assert await found(path) is None


async def test_a_run_that_is_cancelled_keeps_its_tokens(path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with FileTokenCache(path) as cache:
            cache.store(OWNER, token())
            scope.cancel()
            await anyio.sleep(10)
    assert await found(path) == SECRET

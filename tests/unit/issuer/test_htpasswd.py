from __future__ import annotations

import hmac
import os
import stat
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import bcrypt
import pytest

from ocidist.errors import CredentialStoreError, InvalidCredentialError, UsageError
from ocidist.issuer import HashedUser, Htpasswd, StaticUsers, Users, htpasswd, paths
from ocidist.issuer.htpasswd import MAX_FILE
from tests.http.test_leaks import told
from tests.peers.tools import program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SECRET = "s3cret-of-alice"
ROUNDS = 4


def made(path: Path, **options: Any) -> Htpasswd:  # noqa: ANN401 -- any keyword argument of the class
    return Htpasswd(path, **{"rounds": ROUNDS, **options})


def hashed(password: str = SECRET, prefix: bytes = b"2y", rounds: int = ROUNDS) -> str:
    text = bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()
    return f"${prefix.decode()}${text[4:]}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "htpasswd"


def _put(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _get(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _remove(path: Path) -> None:
    path.unlink()


def _make(path: Path) -> None:
    path.mkdir()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _owner(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


def _link(path: Path, to: Path) -> None:
    path.symlink_to(to)


def _names(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


# --- writing ---------------------------------------------------------------------------------------------------------


async def test_users_are_written_with_2y_hashes_that_only_the_owner_reads(path: Path) -> None:
    old = os.umask(0)
    try:
        await made(path).replace({"alice": SECRET, "bob": "b0b"})
    finally:
        os.umask(old)
    lines = _get(path).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["alice", "bob"]
    assert all(line.partition(":")[2].startswith("$2y$04$") for line in lines)
    assert SECRET not in _get(path)
    assert _mode(path) == 0o600
    assert _names(path.parent) == ["htpasswd"]


async def one_by_one() -> AsyncIterator[tuple[str, str]]:
    for user in [("alice", SECRET), ("bob", "b0b")]:
        await anyio.lowlevel.checkpoint()
        yield user


async def fetched() -> dict[str, str]:
    await anyio.lowlevel.checkpoint()
    return {"alice": SECRET, "bob": "b0b"}


@pytest.mark.parametrize(
    "users",
    [
        {"alice": SECRET, "bob": "b0b"},
        [("alice", SECRET), ("bob", "b0b")],
        (HashedUser("alice", hashed()), ("bob", "b0b")),
        one_by_one,
        fetched,
        lambda: [HashedUser("alice", hashed()), HashedUser("bob", hashed("b0b"))],
    ],
    ids=["mapping", "pairs", "hashed", "async source", "async callable", "callable"],
)
async def test_users_come_from_anywhere(path: Path, users: Any) -> None:  # noqa: ANN401 -- whatever replace takes
    users_file = made(path)
    await users_file.replace(users)
    assert await users_file.names() == ("alice", "bob")
    assert await users_file.check("alice", SECRET)
    assert await users_file.check("bob", "b0b")
    assert not await users_file.check("bob", SECRET)


@pytest.mark.parametrize(
    "users",
    [
        *(None, "alice:x", 7, lambda: None),
        *(
            {"alice": None},
            {"alice": SECRET.encode()},
            {7: SECRET},
            [("alice",)],
            [("alice", SECRET, "x")],
            [7],
            ["ab"],
        ),
    ],
)
async def test_what_is_no_source_is_refused(path: Path, users: Any) -> None:  # noqa: ANN401 -- that is the point
    with pytest.raises(UsageError) as caught:
        await made(path).replace(users)
    assert SECRET not in str(caught.value)
    assert _names(path.parent) == []


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", "a\rb", "a\0b", " a", "a ", "#a", "a\tb", "\ufeffa", "\u202ea"])
async def test_names_that_would_break_the_file_are_refused_and_nothing_is_written(path: Path, name: str) -> None:
    users = made(path)
    await users.replace({"alice": SECRET})
    before = _get(path)
    with pytest.raises(InvalidCredentialError, match="user name") as caught:
        await users.replace([("bob", "b0b"), (name, SECRET)])
    assert _get(path) == before
    assert SECRET not in told(caught.value)
    with pytest.raises(InvalidCredentialError):
        HashedUser(name, hashed())


@pytest.mark.parametrize(("password", "why"), [("", "empty"), ("a\0b", "NUL"), ("x" * 73, "72"), ("é" * 37, "72")])
async def test_t60_passwords_that_bcrypt_would_not_take_whole_are_refused(path: Path, password: str, why: str) -> None:
    with pytest.raises(InvalidCredentialError, match=why) as caught:
        await made(path).replace({"alice": password})
    if password:
        assert password not in told(caught.value)
    with pytest.raises(InvalidCredentialError, match=why) as caught:
        HashedUser.create("alice", password, rounds=ROUNDS)
    if password:
        assert password not in told(caught.value)


async def test_t60_the_longest_password_counts_to_its_last_byte(path: Path) -> None:
    users = made(path)
    for password in ("x" * 72, "é" * 36):
        await users.replace({"alice": password})
        assert await users.check("alice", password)
        assert not await users.check("alice", password + "x")
        assert not await users.check("alice", password[:-1])


@pytest.mark.parametrize(
    ("name", "password"), [("alice", SECRET.encode()), ("alice", None), (b"alice", SECRET), (["alice"], SECRET)]
)
async def test_t60_what_is_no_text_is_nobodys_name_or_password(path: Path, name: Any, password: Any) -> None:  # noqa: ANN401 -- that is the point
    users = made(path)
    await users.replace({"alice": SECRET})
    with pytest.raises(UsageError, match="are text") as caught:
        await users.check(name, password)
    assert SECRET not in str(caught.value)


async def test_a_user_that_is_there_twice_is_refused(path: Path) -> None:
    with pytest.raises(InvalidCredentialError, match="twice"):
        await made(path).replace([("alice", SECRET), ("alice", "other")])


async def test_a_place_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CredentialStoreError, match="No such file"):
        await made(tmp_path / "none" / "htpasswd").replace({"alice": SECRET})
    _make(tmp_path / "directory")
    with pytest.raises(CredentialStoreError, match="directory"):
        await made(tmp_path / "directory").replace({"alice": SECRET})
    os.mkfifo(tmp_path / "pipe")
    # Root could, and that would be the end of /dev/null.
    with pytest.raises(CredentialStoreError, match="a device, a pipe or a socket"):
        await made(tmp_path / "pipe").replace({"alice": SECRET})
    assert _names(tmp_path) == ["directory", "pipe"]


async def test_a_file_larger_than_could_be_read_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(htpasswd, "MAX_FILE", 100)
    with pytest.raises(CredentialStoreError, match="larger"):
        await made(path).replace({"alice": SECRET, "bob": "b0b"})
    assert _names(path.parent) == []


async def test_a13_readers_see_the_old_users_or_the_new_ones(path: Path) -> None:
    writer, reader = made(path), made(path)
    users = [HashedUser(f"user{n}", hashed()) for n in range(50)]
    await writer.replace(users)
    torn = 0

    async def write() -> None:
        for n in range(30):
            await writer.replace(users[: 25 + 25 * (n % 2)])
        scope.cancel()

    async def read() -> None:
        nonlocal torn
        while True:
            torn += len(await reader.names()) not in {25, 50}
            text = await anyio.to_thread.run_sync(path.read_bytes)
            torn += text.count(b"\n") not in {25, 50}

    async with anyio.create_task_group() as tasks:
        scope = tasks.cancel_scope
        for _ in range(3):
            tasks.start_soon(read)
        tasks.start_soon(write)
    assert torn == 0
    assert _names(path.parent) == ["htpasswd"]


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [b"2y", b"2b", b"2a"])
async def test_every_spelling_of_bcrypt_is_read(path: Path, prefix: bytes) -> None:
    _put(path, f"alice:{hashed(prefix=prefix)}\n")
    assert await made(path).check("alice", SECRET)


async def test_files_of_apaches_program_are_read_and_ours_by_it(path: Path) -> None:
    apache = program("htpasswd", package="apache2-utils")
    await anyio.run_process([apache, "-Bbc", str(path), "alice", SECRET])
    users = made(path)
    assert await users.check("alice", SECRET)
    await users.replace({"bob": "b0b"})
    await anyio.run_process([apache, "-vb", str(path), "bob", "b0b"])


@pytest.mark.parametrize(
    "text",
    ["{0}", "{0}\n", "{0}\r\n", "\ufeff{0}\n", "# a comment: with a colon\n\n  \n{0}\n\n"],
    ids=["no end", "line feed", "carriage return", "byte order mark", "comments"],
)
async def test_t60_what_editors_do_to_a_file_is_understood(path: Path, text: str) -> None:
    _put(path, text.format(f"alice:{hashed()}"))
    users = made(path)
    assert await users.names() == ("alice",)
    assert await users.check("alice", SECRET)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("alice:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "bcrypt"),
        ("alice:$apr1$abcdefgh$0123456789012345678901", "bcrypt"),
        (f"alice:{SECRET}", "bcrypt"),
        ("alice:", "bcrypt"),
        ("alice", "bcrypt"),
        (f"alice:{hashed()[:-1]}", "bcrypt"),
        (f"alice:{hashed()} ", "bcrypt"),
        (f"alice:{hashed().replace('$04$', '$31$')}", "bcrypt"),
        (f"alice:{hashed().replace('$04$', '$03$')}", "bcrypt"),
        (f"alice:{hashed()}\nalice:{hashed()}", "line 2: a user is there twice"),
        (f":{hashed()}", "user name"),
        (f" alice:{hashed()}", "user name"),
    ],
    ids=range(12),
)
async def test_t60_anything_but_bcrypt_is_an_error_that_quotes_nothing(path: Path, text: str, why: str) -> None:
    _put(path, text)
    with pytest.raises(CredentialStoreError, match=why) as caught:
        await made(path).check("alice", SECRET)
    assert SECRET not in told(caught.value)
    assert "line" in str(caught.value)


async def test_files_that_are_missing_too_large_or_not_text_are_errors(path: Path) -> None:
    with pytest.raises(CredentialStoreError, match="No such file") as caught:
        await made(path).check("alice", SECRET)
    assert SECRET not in told(caught.value)
    _put(path, b"\xff:x")
    with pytest.raises(CredentialStoreError, match="UTF-8"):
        await made(path).check("alice", SECRET)
    _put(path, b"#" * (MAX_FILE + 1))
    with pytest.raises(CredentialStoreError, match="larger"):
        await made(path).names()
    _put(path, b"#" * MAX_FILE)
    assert await made(path).names() == ()


async def test_a_fifo_in_its_place_holds_nobody_up(path: Path) -> None:
    os.mkfifo(path)
    # A thread that waited for somebody to write would never end, and its lock would stop all logins.
    with anyio.fail_after(5), pytest.raises(CredentialStoreError, match="not a file"):
        await made(path).check("alice", SECRET)


async def test_a_link_stays_a_link_and_the_owner_of_the_file_its_owner(path: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    real = tmp_path / "data" / "users"
    _put(real, "")
    if os.geteuid() == 0:
        os.chown(real, 65534, 65534)
    before = _owner(real)
    _link(path, real)
    await made(path).replace({"alice": SECRET})
    assert _get(real).startswith("alice:")
    assert _owner(real) == before
    assert _mode(real) == 0o600
    assert await made(path).check("alice", SECRET)
    assert _names(tmp_path / "data") == ["users"]


async def test_a_change_is_seen_at_once(path: Path) -> None:
    users = made(path)
    await users.replace({"alice": SECRET})
    assert await users.check("alice", SECRET)
    before = await users.stamp("alice")
    await made(path).replace({"alice": "changed", "bob": "b0b"})
    assert not await users.check("alice", SECRET)
    assert await users.check("alice", "changed")
    assert await users.check("bob", "b0b")
    assert await users.stamp("alice") not in {None, before}
    assert await users.stamp("carol") is None


async def test_a_change_that_cannot_be_read_leaves_the_users_of_before(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    users = made(path)
    await users.replace({"alice": SECRET})
    assert await users.check("alice", SECRET)
    _put(path, f"alice:{SECRET}\n")
    for _ in range(3):
        assert await users.check("alice", SECRET)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert SECRET not in caplog.text
    _remove(path)
    assert await users.check("alice", SECRET)
    assert len(caplog.records) == 2
    await users.replace({"alice": "changed"})
    assert await users.check("alice", "changed")


async def test_a_change_is_read_once_however_many_log_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = made(path)
    await users.replace({"alice": SECRET})
    reads = 0
    true = paths.read_capped

    def counted(path: Path, limit: int) -> bytes:
        nonlocal reads
        reads += 1
        return true(path, limit)

    monkeypatch.setattr(htpasswd, "read_capped", counted)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(users.check, "alice", SECRET)
    assert reads == 1


# --- checking --------------------------------------------------------------------------------------------------------


async def test_wrong_names_and_passwords_are_told_apart_from_right_ones_only(path: Path) -> None:
    users = made(path)
    await users.replace({"alice": SECRET, "é": SECRET})
    assert await users.check("é", SECRET)
    wrong = [("alice", "x"), ("alice", ""), ("alice", SECRET + "\0"), ("Alice", SECRET), ("", SECRET), ("bob", SECRET)]
    for name, password in [*wrong, ("alice", "\ud800"), ("alice", SECRET * 10), ("é", SECRET)]:
        assert await users.check(name, password) is ((name, password) == ("é", SECRET))


async def test_t60_unknown_users_take_as_long_as_known_ones(path: Path) -> None:
    users = made(path)
    await users.replace({"alice": SECRET, **{f"user{n}": SECRET for n in range(5)}})
    known: list[float] = []
    unknown: list[float] = []
    for _ in range(300):
        for name, taken in (("alice", known), ("nobody", unknown)):
            started = time.perf_counter()
            assert not await users.check(name, "wrong")
            taken.append(time.perf_counter() - started)
    # One more or one less in the cost would be a factor of two.
    assert 0.75 < statistics.median(unknown) / statistics.median(known) < 1.33


@pytest.mark.parametrize(("costs", "expected"), [((4, 6), 6), ((5,), 5), ((), ROUNDS)])
async def test_t60_the_work_for_unknown_users_has_the_highest_cost_of_the_file(
    path: Path, costs: tuple[int, ...], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(path, "".join(f"user{cost}:{hashed(rounds=cost)}\n" for cost in costs))
    seen = []
    true = bcrypt.checkpw

    def watched(password: bytes, against: bytes) -> bool:
        seen.append(against)
        return true(password, against)

    monkeypatch.setattr(bcrypt, "checkpw", watched)
    # A password that bcrypt cannot take is work as well.
    for password in ("x", "", "x" * 100):
        assert not await made(path).check("nobody", password)
    assert [each.split(b"$")[2] for each in seen] == [f"{expected:02}".encode()] * 3


async def test_t60_no_password_is_hashed_on_the_event_loop_and_only_some_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = threading.get_ident()
    running, most, threads = 0, 0, set()
    true = bcrypt.checkpw

    def watched(password: bytes, against: bytes) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        threads.add(threading.get_ident())
        time.sleep(0.005)
        running -= 1
        return true(password, against)

    users = made(path, concurrency=2)
    await users.replace({"alice": SECRET})
    monkeypatch.setattr(bcrypt, "checkpw", watched)
    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(users.check, "alice", SECRET)
    assert most == 2
    assert loop not in threads


@pytest.mark.parametrize("rounds", [3, 17])
def test_costs_that_are_too_low_or_too_high_are_refused(rounds: int, path: Path) -> None:
    with pytest.raises(UsageError, match="from 4 to 16"):
        Htpasswd(path, rounds=rounds)
    with pytest.raises(UsageError, match="at least 1"):
        Htpasswd(path, concurrency=rounds - 17)


# --- static users ----------------------------------------------------------------------------------------------------


async def test_static_users_are_users() -> None:
    users = StaticUsers({"ci": SECRET, "bob": "b0b"})
    assert isinstance(users, Users)
    assert isinstance(Htpasswd("x"), Users)
    assert await users.check("ci", SECRET)
    for name, password in [("ci", "x"), ("ci", ""), ("", ""), ("nobody", SECRET), ("bob", SECRET)]:
        assert not await users.check(name, password)
    assert await users.stamp("ci") == await users.stamp("ci") != await users.stamp("bob")
    assert await users.stamp("nobody") is None
    assert SECRET not in repr(users) + repr(vars(users))


async def test_t60_static_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def watched(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return left == right

    users = StaticUsers({"ci": SECRET})
    monkeypatch.setattr(hmac, "compare_digest", watched)
    assert await users.check("ci", SECRET)
    assert not await users.check("nobody", SECRET)
    assert not await users.check("ci", "x")
    assert len(compared) == 3
    assert {len(side) for pair in compared for side in pair} == {32}


@pytest.mark.parametrize("users", [{"": "x"}, {"a:b": "x"}, {"ci": ""}])
def test_static_users_need_a_name_and_a_secret(users: dict[str, str]) -> None:
    with pytest.raises(InvalidCredentialError):
        StaticUsers(users)


def _shown(call: Callable[[], object]) -> str:
    return repr(call())


def test_a_hash_is_not_shown() -> None:
    user = HashedUser.create("alice", SECRET, rounds=ROUNDS)
    assert user.hash not in _shown(lambda: user)
    with pytest.raises(InvalidCredentialError, match="no bcrypt hash") as caught:
        HashedUser("alice", SECRET)
    assert SECRET not in str(caught.value)


def test_one_object_serves_several_event_loops(path: Path) -> None:
    users = made(path, concurrency=1)

    async def log_in() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(users.check, "alice", SECRET)

    anyio.run(users.replace, {"alice": SECRET})
    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(log_in, backend=backend)

"""Which logins token servers refuse, and how often that is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from ocidist.errors import CredentialsRejectedError, OciError, ScopeDeniedError, TokenError
from ocidist.http import logins
from ocidist.http.caches import TokenOwner
from ocidist.wire.scope import NO_SCOPES, ScopeSet, repository_scope
from ocidist.wire.token import Token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

OWNER = TokenOwner("https://registry.acme.io", "https://auth.acme.io/token", "registry", "alice")
ONE, TWO, THREE = (repository_scope(name, "pull") for name in ("one", "two", "three"))
WRONG = CredentialsRejectedError("wrong password")


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(logins, "monotonic", lambda: made.now)
    return made


class Server:
    """A token server that refuses some scopes.

    Attributes:
        refused: What it says to whom asks for these scopes; under None, to everybody else.
        asked: What was asked for.
    """

    def __init__(self, refused: dict[ScopeSet | None, OciError] | None = None) -> None:
        self.refused = refused or {}
        self.asked: list[ScopeSet] = []

    async def ask(self, scopes: ScopeSet) -> Token:
        """Give out a token, or refuse it."""
        self.asked.append(scopes)
        await anyio.lowlevel.checkpoint()
        error = self.refused.get(scopes) or self.refused.get(None)
        if error is not None:
            raise error
        return Token("t0ken", 0.0, scopes)


async def outcome(work: Callable[[], Awaitable[Token]]) -> OciError | Token:
    try:
        return await work()
    except OciError as error:
        return error


async def ask_all(known: logins.Logins, server: Server, count: int) -> list[OciError | Token]:
    """Ask for tokens of many repositories at once."""
    found: list[OciError | Token] = []

    async def one(number: int) -> None:
        scopes = repository_scope(f"r{number}", "pull")
        found.append(await outcome(lambda: known.fetch(OWNER, scopes, server.ask)))

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)
    return found


async def test_t64_a_wrong_password_is_sent_twice_however_many_repositories_there_are(clock: Clock) -> None:
    known, server = logins.Logins(), Server({None: WRONG})
    found = await ask_all(known, server, 100)
    assert {type(each) for each in found} == {CredentialsRejectedError}
    assert server.asked[1:] == [NO_SCOPES]
    # One a second from then on.
    for _ in range(3):
        server.asked.clear()
        clock.now += logins.HOLD - 0.1
        await ask_all(known, server, 20)
        assert server.asked == []
        clock.now += 0.1
        await ask_all(known, server, 20)
        assert server.asked == [NO_SCOPES]


async def test_t64_a_login_is_held_for_a_second_and_is_good_again_once_it_was_taken(clock: Clock) -> None:
    known, server = logins.Logins(), Server({None: WRONG})
    for _ in range(20):
        await ask_all(known, server, 1)
        clock.now += logins.HOLD
    server.refused, server.asked = {}, []
    assert isinstance(await known.fetch(OWNER, ONE, server.ask), Token)
    assert server.asked == [NO_SCOPES, ONE]
    clock.now += logins.KNOWN_SECONDS
    server.refused = {None: WRONG}
    await ask_all(known, server, 2)
    clock.now += logins.HOLD
    server.asked.clear()
    await ask_all(known, server, 1)
    assert server.asked == [NO_SCOPES]


@pytest.mark.usefixtures("clock")
async def test_t64_what_is_refused_for_its_scopes_keeps_no_others_out() -> None:
    known, server = logins.Logins(), Server({ONE: WRONG, THREE: WRONG})
    for scopes in (ONE, TWO, THREE, THREE):
        await outcome(lambda scopes=scopes: known.fetch(OWNER, scopes, server.ask))  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
    # The login by itself is tried once, and not for each of them.
    assert server.asked == [ONE, NO_SCOPES, TWO, THREE, THREE]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("says", [ScopeDeniedError("denied"), TokenError("no scope")])
async def test_t64_a_server_that_gives_nothing_without_scopes_is_asked_with_them(says: OciError) -> None:
    known, server = logins.Logins(), Server({ONE: WRONG, THREE: WRONG, NO_SCOPES: says})
    await outcome(lambda: known.fetch(OWNER, ONE, server.ask))
    await outcome(lambda: known.fetch(OWNER, THREE, server.ask))
    assert isinstance(await known.fetch(OWNER, TWO, server.ask), Token)
    assert server.asked == [ONE, NO_SCOPES, THREE, TWO]


async def test_t64_a_password_that_is_changed_meanwhile_is_found_out_by_one(clock: Clock) -> None:
    known, server = logins.Logins(), Server()
    assert all(isinstance(each, Token) for each in await ask_all(known, server, 10))
    server.refused, server.asked = {None: WRONG}, []
    clock.now += logins.KNOWN_SECONDS
    await ask_all(known, server, 50)
    assert server.asked[1:] == [NO_SCOPES]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("problem", [TokenError("no token"), OciError("down")])
async def test_t64_nobody_queues_up_at_a_server_that_is_down(problem: OciError) -> None:
    known, server, everybody = logins.Logins(), Server({ONE: problem}), anyio.Event()
    here: list[ScopeSet] = []
    ahead, wait = anyio.Event(), anyio.Event()

    async def go_ahead(scopes: ScopeSet) -> Token:
        ahead.set()
        await wait.wait()
        return await server.ask(scopes)

    async def ask(scopes: ScopeSet) -> Token:
        here.append(scopes)
        if len(here) == 10:
            everybody.set()
        with anyio.fail_after(20):
            await everybody.wait()
        return await server.ask(scopes)

    async def first() -> None:
        await outcome(lambda: known.fetch(OWNER, ONE, go_ahead))

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await ahead.wait()
        for number in range(10):
            group.start_soon(known.fetch, OWNER, repository_scope(f"r{number}", "pull"), ask)
        await anyio.wait_all_tasks_blocked()
        assert here == []
        wait.set()
    assert len(server.asked) == 11


@pytest.mark.usefixtures("clock")
async def test_t64_another_takes_the_place_of_the_one_that_went_ahead_and_was_cancelled() -> None:
    known, server, gone = logins.Logins(), Server({None: WRONG}), anyio.Event()

    async def hang(_scopes: ScopeSet) -> Token:
        gone.set()
        await anyio.sleep_forever()
        raise AssertionError

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(ask_all, known, server, 30)

            async def give_up() -> None:
                await gone.wait()
                await anyio.wait_all_tasks_blocked()
                assert server.asked == []
                scope.cancel()

            group.start_soon(give_up)
            await known.fetch(OWNER, ONE, hang)
    assert len(server.asked) == 2


@pytest.mark.usefixtures("clock")
async def test_t64_a_slow_server_is_not_waited_for_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "PATIENCE", 0.01)
    known, server = logins.Logins(), Server()
    asked = anyio.Event()

    async def slow(scopes: ScopeSet) -> Token:
        await asked.wait()
        return await server.ask(scopes)

    async with anyio.create_task_group() as group:
        group.start_soon(known.fetch, OWNER, ONE, slow)
        await anyio.wait_all_tasks_blocked()
        await known.fetch(OWNER, TWO, server.ask)
        asked.set()
    assert server.asked == [TWO, ONE]


@pytest.mark.usefixtures("clock")
async def test_t11_what_is_known_of_one_login_says_nothing_of_another_and_does_not_pile_up() -> None:
    known, server = logins.Logins(), Server({None: WRONG})
    await ask_all(known, server, 2)
    for number in range(logins.MAX_LOGINS + 10):
        other = TokenOwner(OWNER.origin, OWNER.realm, OWNER.service, f"bob {number}")
        assert isinstance(await known.fetch(other, ONE, Server().ask), Token)
    assert len(known._logins) == logins.MAX_LOGINS

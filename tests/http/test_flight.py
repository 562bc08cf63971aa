from __future__ import annotations

import asyncio

import anyio
import pytest

from ocidist import ServerError, TransportTimeoutError
from ocidist._io.flight import SingleFlight
from tests.http.support import outcomes, until


class Work:
    """Something that takes until it is released, and counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.release = anyio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        """Count, wait, and give the count or the error."""
        self.begun += 1
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return self.begun


async def test_those_who_want_the_same_share_one_attempt() -> None:
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    found: list[object] = []

    async def everybody() -> None:
        found.extend(await outcomes(50, lambda: flight.do("key", work)))

    async with anyio.create_task_group() as group:
        group.start_soon(everybody)
        await until(lambda: work.begun == 1)
        work.release.set()
    assert (found, work.begun) == ([1] * 50, 1)
    assert await flight.do("key", work) == 2


async def test_each_waiter_gets_its_own_copy_of_a_failure_with_everything_in_it() -> None:
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    cause = OSError("no route")
    work.error = TransportTimeoutError("timed out").locate(operation="fetch a token", host="h", attempts=3)
    work.error.__cause__ = cause
    found: list[object] = []

    async def everybody() -> None:
        found.extend(await outcomes(5, lambda: flight.do("key", work)))

    async with anyio.create_task_group() as group:
        group.start_soon(everybody)
        await until(lambda: work.begun == 1)
        work.release.set()
    errors = [failure for failure in found if isinstance(failure, TransportTimeoutError)]
    assert len({id(failure) for failure in errors}) == 5
    assert {(str(failure), failure.operation, failure.host, failure.attempts) for failure in errors} == {
        ("fetch a token h: timed out (after 3 attempts)", "fetch a token", "h", 3)
    }
    assert all(failure.__cause__ is cause for failure in errors)
    assert work.begun == 1


async def test_a_failure_is_kept_only_where_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("ocidist._io.flight.time.monotonic", lambda: now)
    work = Work()
    work.release.set()
    work.error = ServerError(500)
    for keep, begun in ((0.0, 2), (1.0, 3)):
        flight: SingleFlight[int] = SingleFlight(keep_failures=keep)
        for _ in range(2):
            with pytest.raises(ServerError):
                await flight.do("key", work)
        assert work.begun == begun
    now = 101.0
    with pytest.raises(ServerError):
        await flight.do("key", work)
    assert work.begun == 4
    work.error = None
    assert await flight.do("other", work) == 5
    now = 102.0
    assert await flight.do("key", work) == 6


async def test_cancelling_the_one_at_work_hands_it_to_one_of_those_who_wait() -> None:
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    found: list[object] = []

    async def followers() -> None:
        found.extend(await outcomes(9, lambda: flight.do("key", work)))

    first = anyio.CancelScope()

    async def leader() -> None:
        with first:
            await flight.do("key", work)

    async with anyio.create_task_group() as group:
        group.start_soon(leader)
        await until(lambda: work.begun == 1)
        group.start_soon(followers)
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        await until(lambda: work.begun == 2)
        work.release.set()
    assert found == [2] * 9


async def test_cancelling_one_who_waits_disturbs_nobody() -> None:
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    found: list[int] = []

    async def leader() -> None:
        found.append(await flight.do("key", work))

    async with anyio.create_task_group() as group:
        group.start_soon(leader)
        await until(lambda: work.begun == 1)
        with anyio.move_on_after(0.01) as scope:
            await flight.do("key", work)
        assert scope.cancelled_caught
        work.release.set()
    assert (found, work.begun) == ([1], 1)


async def test_a_native_cancellation_of_the_one_at_work_does_the_same(anyio_backend_name: str) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("trio has scopes only")
    flight: SingleFlight[int] = SingleFlight()
    work = Work()
    first = asyncio.ensure_future(flight.do("key", work))
    await until(lambda: work.begun == 1)
    others = [asyncio.ensure_future(flight.do("key", work)) for _ in range(9)]
    await asyncio.sleep(0)
    first.cancel()
    await until(lambda: work.begun == 2)
    work.release.set()
    assert await asyncio.gather(*others) == [2] * 9
    assert first.cancelled()

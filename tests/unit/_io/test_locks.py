from __future__ import annotations

import anyio
import pytest

from ocidist._io.locks import Locks


async def test_one_at_a_time_for_each_name_and_others_beside() -> None:
    locks, inside, most = Locks(), {"a": 0, "b": 0}, {"a": 0, "b": 0, "both": 0}

    async def use(name: str) -> None:
        async with locks.hold("thing", name):
            inside[name] += 1
            most[name] = max(most[name], inside[name])
            most["both"] = max(most["both"], sum(inside.values()))
            await anyio.sleep(0.001)
            inside[name] -= 1

    async with anyio.create_task_group() as group:
        for name in "abab":
            group.start_soon(use, name)
    assert most == {"a": 1, "b": 1, "both": 2}
    assert not locks._locks


async def test_whoever_is_cancelled_or_fails_leaves_no_lock_behind() -> None:
    locks, entered = Locks(), []

    async def wait_in_vain() -> None:
        with anyio.move_on_after(0.01):
            async with locks.hold("name"):
                entered.append(1)

    async with locks.hold("name"), anyio.create_task_group() as group:
        group.start_soon(wait_in_vain)
    assert not entered
    with pytest.raises(ValueError, match="mine"):
        async with locks.hold("name"):
            raise ValueError("mine")
    assert not locks._locks

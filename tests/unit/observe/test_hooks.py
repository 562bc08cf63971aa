from __future__ import annotations

import functools

import pytest

from ocidist import Client, UsageError


async def later(_event: object) -> None:
    raise AssertionError


class Later:
    """A hook that would have to be awaited."""

    async def __call__(self, _event: object) -> None:
        """Never get here."""
        raise AssertionError


@pytest.mark.parametrize("hook", [later, Later(), functools.partial(later), "print", None])
def test_what_could_never_be_called_as_a_hook_is_refused(hook: object) -> None:
    """An async function would make a coroutine that nobody awaits, and tell nobody anything."""
    with pytest.raises(UsageError, match="a hook is"):
        Client(hooks=[hook])  # type: ignore[list-item]  # that is what it is about


def test_whatever_can_be_called_is_a_hook() -> None:
    Client(hooks=[print, functools.partial(print, "event"), list[object]().append, lambda _event: None])

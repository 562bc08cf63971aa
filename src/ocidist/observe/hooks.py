"""Hooks: plain callables that are given event records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction

from ocidist.errors import UsageError
from ocidist.observe.events import Event

Hook = Callable[[Event], None]
"""A callable given each event record. It must not block; what it raises is logged and goes no further."""

_log = logging.getLogger("ocidist.hooks")


def checked(hooks: Iterable[Hook]) -> tuple[Hook, ...]:
    """Return the hooks.

    Raises:
        UsageError: One of them is no callable, or is a coroutine function: nobody would await it; or it is no list.
    """
    if not isinstance(hooks, Iterable):
        raise UsageError(f"hooks are a list of callables, not {type(hooks).__name__}")
    found = tuple(hooks)
    for hook in found:
        if not callable(hook):
            raise UsageError(f"a hook is a callable, not {type(hook).__name__}")
        if iscoroutinefunction(hook) or iscoroutinefunction(getattr(hook, "__call__", None)):  # noqa: B004 -- its method
            raise UsageError("a hook is called, not awaited: it cannot be an async function")
    return found


def emit(hooks: Iterable[Hook], event: Event) -> None:
    """Give *event* to every hook, in order; a failing hook never fails the transfer."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:  # noqa: BLE001 -- whatever a user's hook raises
            _log.exception("a hook failed on %s", type(event).__name__)

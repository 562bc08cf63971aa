"""Hooks: plain callables that are given event records."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ocidist.observe.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterable

Hook = Callable[[Event], None]
"""A callable given each event record. It must not block; what it raises is logged and goes no further."""

_log = logging.getLogger("ocidist.hooks")


def emit(hooks: Iterable[Hook], event: Event) -> None:
    """Give *event* to every hook, in order; a failing hook never fails the transfer."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:  # noqa: BLE001 -- whatever a user's hook raises
            _log.exception("a hook failed on %s", type(event).__name__)

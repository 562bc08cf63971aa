"""Event records: frozen values handed to hooks while a client works. They hold no secret."""

from __future__ import annotations

import attrs


@attrs.frozen
class Event:
    """Root of the event records.

    Attributes:
        host: The registry host the event is about (``host[:port]``).
    """

    host: str


@attrs.frozen
class WarningReceived(Event):
    """A registry sent a ``Warning: 299`` text that this client has not shown before.

    Spec: distribution-spec, "Warnings".

    Attributes:
        text: The registry's words, control characters removed.
    """

    text: str


@attrs.frozen
class RequestRetried(Event):
    """A request failed and is sent again.

    Attributes:
        operation: What was attempted.
        attempt: Number of the attempt that failed, from 1.
        wait: Seconds until the next attempt.
        reason: Why it failed.
    """

    operation: str
    attempt: int
    wait: float
    reason: str


@attrs.frozen
class MirrorFailed(Event):
    """A mirror did not answer in its registry's place, or answered with something wrong; another host is asked.

    That a mirror does not have something is no failure.

    Attributes:
        mirror: The mirror (``https://host[:port]``).
        operation: What was attempted.
        reason: What came back.
        aside: Seconds for which the mirror is not asked at all; 0 if it goes on being asked for other things.
        wrong: Whether it sent something that is not what was asked for: corrupt content, or a stale tag.
    """

    mirror: str
    operation: str
    reason: str
    aside: float = 0.0
    wrong: bool = False


@attrs.frozen
class NamesSkipped(Event):
    """A list held names that do not follow the grammar; they are neither given out nor used in a URL.

    Attributes:
        what: What was listed, ``tags`` or ``repositories``.
        names: The names, control characters removed.
    """

    what: str
    names: tuple[str, ...]

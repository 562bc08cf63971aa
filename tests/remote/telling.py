"""What hooks were told of transfers, and whether it makes sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ocidist import (
    TransferEvent,
    TransferFailed,
    TransferFinished,
    TransferProgressed,
    TransferResumed,
    TransferStarted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocidist import Event

PULL, PUSH = "pull blob", "push blob"


@attrs.frozen
class Told:
    """What hooks were told.

    Attributes:
        events: All of it, in order.
    """

    events: list[Event] = attrs.field(factory=list)

    def transfers(self) -> list[list[TransferEvent]]:
        """Return what was told of each transfer, in the order they began; every one of them has to make sense."""
        found: dict[int, list[TransferEvent]] = {}
        for event in self.events:
            if isinstance(event, TransferEvent):
                found.setdefault(event.transfer, []).append(event)
        for story in found.values():
            check(story)
        return list(found.values())

    def only(self) -> list[TransferEvent]:
        """Return what was told of the only transfer."""
        (story,) = self.transfers()
        return story


def check(story: Sequence[TransferEvent]) -> None:
    """Check what holds for each transfer: one beginning, one end, and numbers that agree."""
    first, *between, last = story
    assert isinstance(first, TransferStarted)
    assert isinstance(last, TransferFinished | TransferFailed)
    assert not any(isinstance(event, TransferStarted | TransferFinished | TransferFailed) for event in between)
    assert len({(event.host, event.operation) for event in story}) == 1
    assert all(event.reference.startswith(f"{event.host}/") for event in story)
    named = [event.reference for event in story if "@" in event.reference]
    assert len(set(named)) <= 1
    assert [event.reference for event in story][len(story) - len(named) :] == named
    done = moved = 0
    for event in between:
        match event:
            case TransferProgressed():
                assert event.size is None or 0 <= event.done <= event.size
                moved += max(event.done - done, 0)
                done = event.done
            case TransferResumed():
                assert event.offset >= 0
                assert event.reason
                done = event.offset
    if isinstance(last, TransferFinished):
        assert last.seconds >= 0
        assert last.done >= moved
        # A reader may be left before the end.
        assert not moved or done == last.size or last.operation == PULL
    else:
        assert last.reason
        assert last.done >= 0


def names(story: Sequence[TransferEvent]) -> list[str]:
    """Return the kinds of events, those about progress together."""
    found = [type(event).__name__ for event in story]
    return [name for at, name in enumerate(found) if at == 0 or found[at - 1] != name or name != "TransferProgressed"]

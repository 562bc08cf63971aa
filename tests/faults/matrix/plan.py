"""Random faults: a plan that follows from its seed, and the least part of a plan that still fails."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from tests.faults.matrix.actions import Drop, Lose, Slow, changed, closed_after, reset_after, says
from tests.faults.matrix.deliveries import Cut, Stall, Throttle, chunked, then_closed
from tests.faults.matrix.rules import ANYTHING, Rule

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.matrix.rules import Action

SHARE: Final = 0.1
"""Part of the requests that something happens to."""
LENGTH: Final = 400
"""Requests a plan is made for; later ones are left alone."""

MENU: Final[tuple[Action, ...]] = (
    Drop(),
    Drop(reset=False),
    Lose(),
    Lose(reset=True),
    Lose(0.5),
    Lose(0.0),
    Slow(0.02),
    says(500),
    says(502),
    says(503, Retry_After="0"),
    says(429, Retry_After="0"),
    says(408),
    reset_after(0),
    reset_after(50_000),
    closed_after(1),
    closed_after(100_000),
    changed(delivery=Cut(-1)),
    changed(delivery=Stall(1000, 0.05)),
    changed(delivery=Throttle(50_000, 0.002)),
    changed(delivery=chunked),
    changed(delivery=then_closed),
)
"""What a client is to survive whenever it happens, as long as it does not happen always."""


@attrs.frozen
class Misfortune:
    """A fault at one request.

    Attributes:
        number: The request, from 1 on, in the order in which their heads arrive.
        action: What happens to it.
    """

    number: int
    action: Action

    def rule(self) -> Rule:
        """Return it as a rule of a proxy."""
        return Rule(self.action, ANYTHING, self.number, 1)


Plan: TypeAlias = "tuple[Misfortune, ...]"


def plan(seed: int) -> Plan:
    """Return the plan of a seed, the same one each time."""
    luck = random.Random(seed)  # noqa: S311 -- it is to be repeated
    numbers = (number for number in range(1, LENGTH + 1) if luck.random() < SHARE)
    return tuple(Misfortune(number, luck.choice(MENU)) for number in numbers)


async def shrunk(found: Plan, fails: Callable[[Plan], Awaitable[bool]]) -> Plan:
    """Return a part of a plan that fails, and of which nothing can be left out.

    Args:
        found: A plan that fails.
        fails: Tries a plan.
    """
    size = max(len(found) // 2, 1)
    start = 0
    while True:
        less = found[:start] + found[start + size :]
        if start < len(found) and await fails(less):
            # What comes after moved here.
            found = less
        else:
            start += size
        if start >= len(found):
            if size == 1:
                return found
            size, start = max(size // 2, 1), 0

"""Mirrors between registries that fail at random."""

from __future__ import annotations

import os
import random
import secrets
from typing import TYPE_CHECKING, Final

import pytest

from ocidist import RetryPolicy, mirror
from ocidist.server import Fault
from ocidist.testing import serve
from tests.faults.scoreboard import EVERYTHING
from tests.transfer.mirrors import client_of, config, contents, fill, traffic

if TYPE_CHECKING:
    from ocidist.testing import LoopbackRegistry
    from ocidist.wire.endpoints import Endpoint

FULL: Final = any(os.environ.get(name) for name in (EVERYTHING, "NIGHTLY"))
REPOSITORIES: Final = 1000 if FULL else 20
SHARE: Final = 0.01 if FULL else 0.05
"""Of all requests; more of them where there are few requests."""
# Not 429 and 503: registries say that to be asked less, and the client does so, for long.
WRONG: Final = (
    Fault(status=500),
    Fault(status=502, body=b"<html>Bad Gateway</html>"),
    Fault(drop_answer_after=0),
    Fault(drop_answer_after=20),
    Fault(drop_request_after=100),
    Fault(corrupt_at=5),
    Fault(latency=0.05),
)


class Chaos:
    """Lets some of a registry's requests fail, each in another way."""

    def __init__(self, registry: LoopbackRegistry, chance: random.Random) -> None:
        self.met = 0
        self._chance = chance
        registry.faults.meet = self.meet  # type: ignore[method-assign,assignment]  # by chance, not in an order

    def meet(self, _: Endpoint) -> Fault | None:
        """Return what happens to a request, or None."""
        if self._chance.random() >= SHARE:
            return None
        self.met += 1
        return self._chance.choice(WRONG)


@pytest.mark.in_turn
@pytest.mark.timeout(900)
async def test_f169_a_mirror_is_complete_although_requests_fail_at_random() -> None:
    seed = secrets.randbits(32)
    chance = random.Random(seed)  # noqa: S311 -- has to be repeatable
    async with serve() as source, serve() as destination:
        fill(source, REPOSITORIES, ["v1", "v2", "v3"], base_size=4096, own_size=512)
        wrong = [Chaos(registry, chance) for registry in (source, destination)]
        retry = RetryPolicy(wait_initial=0.001, wait_max=0.01)
        async with client_of(source, destination, retry=retry) as client:
            report = await mirror(config(source, destination), client=client)
        for registry in (source, destination):
            del registry.faults.meet
        told = f"seed {seed}: {report}"
        assert all(each.met > 2 for each in wrong), told
        assert report.failures == (), told
        assert report.copied == 3 * REPOSITORIES, told
        assert contents(destination) == contents(source), told
        # Where an answer was lost a blob may be there although its sender does not know it.
        sent = traffic(destination).sent
        assert sent.total() <= len(sent) + wrong[1].met, told

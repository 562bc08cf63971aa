"""What is known of how one host copes: its limits, its retries, whether it is down, and what it says of its own limits.

A request takes a ``Place`` before it is sent, and says afterwards what came of it.
"""

from __future__ import annotations

import enum
import logging
from typing import TYPE_CHECKING, Final

import anyio
import attrs
import httpx

from ocidist.errors import OciError, TransportError
from ocidist.http.budget import RetryBudget
from ocidist.http.failure import translate
from ocidist.http.lanes import Lane
from ocidist.http.limits import Slot
from ocidist.http.outage import Outage
from ocidist.http.pace import Pace
from ocidist.http.retry import BusyError, DownError, monotonic, worth_another_try
from ocidist.observe.events import ConcurrencyChanged, RateLimitSeen

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocidist.hosts.host import HostConfig
    from ocidist.http.limits import HostLimits
    from ocidist.http.retry import RetryPolicy
    from ocidist.http.sender import Call
    from ocidist.model.ratelimit import RateLimit
    from ocidist.observe.events import Event

GAUGE_SECONDS: Final = 1.0
"""Shortest time between two records of what is left of a host's allowance, unless nothing is."""

_COMPLAINTS: Final = frozenset({429, 503})
_log = logging.getLogger("ocidist.http")


def operation_of(request: httpx.Request, call: Call) -> str:
    """Return what a request asks for, for errors and records."""
    return request.method if call.endpoint is None else call.endpoint.operation


class Kind(enum.Enum):
    """What a request does, as far as limits are concerned."""

    STREAM = "stream"
    READ = "read"
    WRITE = "write"


@attrs.frozen
class Rules:
    """What holds for all hosts of a client.

    Attributes:
        limits: The limits.
        retry: The retry policy.
        emit: Tells the hooks.
        sending: The tasks that send a body at this moment.
    """

    limits: HostLimits
    retry: RetryPolicy
    emit: Callable[[Event], None]
    sending: set[int] = attrs.field(factory=set)


class Traffic:
    """The requests to one host.

    Streams of blobs, other reads and writes have limits of their own, so that a task that pipes a download into an
    upload of the same host does not wait for itself, whatever it has to ask meanwhile; token requests need no place.

    Args:
        host: The host.
        config: What is configured for it.
        rules: What holds for all hosts.

    Attributes:
        stream: Streams of blobs.
        read: Other reads.
        write: Writes.
        outage: Whether the host is down.
        retried: Requests that were sent again.
        sending: The tasks that send a body at this moment, to whichever host.
    """

    def __init__(self, host: str, config: HostConfig, rules: Rules) -> None:
        self._host = host
        self.sending: set[int] = rules.sending
        self._emit = rules.emit
        self._patient = rules.retry.attempts > 1
        self._patience = rules.retry.max_retry_after
        self.outage: Outage = Outage(rules.retry, self._changed)
        self._budget = RetryBudget(rules.retry.budget, rules.retry.reserve)
        self.retried: int = 0
        self._quota: RateLimit | None = None
        self._gauged = 0.0
        rate = config.rate or rules.limits.rate
        steady = None if rate is None else Pace(rate)
        most = config.concurrency or rules.limits.concurrency

        def lane(kind: Kind) -> Lane:
            def changed(limit: int, rate: float | None) -> None:
                _log.debug("%s: at most %d requests to %s at once, rate %s", host, limit, kind.value, rate)
                rules.emit(ConcurrencyChanged(host, kind.value, limit, rate))

            return Lane(most, adaptive=rules.limits.adaptive, steady=steady, changed=changed)

        self.stream: Lane = lane(Kind.STREAM)
        self.read: Lane = lane(Kind.READ)
        self.write: Lane = lane(Kind.WRITE)

    @property
    def _lanes(self) -> tuple[Lane, Lane, Lane]:
        return self.stream, self.read, self.write

    @property
    def answered(self) -> int:
        """Requests that the host answered as one that works."""
        return sum(lane.answered for lane in self._lanes)

    def _changed(self) -> None:
        for lane in self._lanes:
            lane.down = self.outage.down
            lane.update()
        if self.outage.down:
            _log.info("%s fails every request; one at a time finds out whether it is back", self._host)
        else:
            _log.info("%s answers again", self._host)

    def close(self) -> None:
        """Let those go who wait for the host to come back: the client is closed."""
        for lane in self._lanes:
            lane.down = False
        self.outage.down = False
        self.outage.given_up()

    def may_retry(self) -> bool:
        """Take one retry from the host's budget, and return whether there was one."""
        begun = sum(lane.begun for lane in self._lanes)
        if not self._budget.spend(begun - self.retried):
            return False
        self.retried += 1
        return True

    def gauge(self, found: RateLimit) -> None:
        """Tell the hooks what the host says of its limits, if that is news."""
        old, now = self._quota, monotonic()
        if old is not None:
            if (old.limit, old.remaining, old.window) == (found.limit, found.remaining, found.window):
                return
            brief = old.limit == found.limit and old.window == found.window and not found.spent
            if brief and now - self._gauged < GAUGE_SECONDS:
                return
        self._quota, self._gauged = found, now
        self._emit(RateLimitSeen(self._host, found))

    def failed(self, place: Place, error: Exception, *, away: bool) -> Exception:
        """Draw conclusions from a failure, and return what to raise.

        Args:
            place: The request.
            error: What went wrong.
            away: Whether it went wrong where the host had sent the request.
        """
        failure = translate(error) if isinstance(error, httpx.RequestError) else error
        busy = isinstance(failure, BusyError)
        if not place.gated:
            # A mirror that fails is set aside by those who ask it.
            return error
        if isinstance(failure, BusyError) and failure.status in _COMPLAINTS and not failure.spent:
            # Where a wait is too long to be waited for, everybody is told so at once.
            asked = failure.retry_after if (failure.retry_after or 0.0) <= self._patience else None
            place.lane.complained(place.number, failure.status, asked)
        if not self._patient:
            return error
        told = isinstance(failure, OciError) and failure.operation is not None
        broken = failure.status >= 500 if isinstance(failure, BusyError) else isinstance(failure, TransportError)
        if away or told or not broken or not worth_another_try(failure):
            if self.outage.down and (away or busy):
                self.outage.answered()
            elif place.probing:
                self.outage.given_up()
            return error
        self.outage.failed(
            error,
            answered=self.answered,
            probe=place.probing,
            operation=place.operation if busy else "",
            asked=failure.retry_after if isinstance(failure, BusyError) else None,
        )
        return DownError(error, sent=True, probe=place.probing) if self.outage.down else error


class Place(Slot):
    """One place at a host: taken before a request is sent, and given back exactly once.

    Args:
        traffic: The host.
        lane: The kind of request.
        request: The request.
        call: The operation.

    Attributes:
        traffic: See above.
        lane: See above.
        number: How many requests of the kind had begun, this one included.
        probing: Whether this is the one request that finds out whether the host is back.
    """

    __slots__ = ("_call", "_request", "_task", "lane", "number", "probing", "traffic")

    def __init__(self, traffic: Traffic, lane: Lane, request: httpx.Request, call: Call) -> None:
        # Not the constructor of slots: every request makes one of these.
        self._limiter = lane.limiter
        self._call = call
        self._request = request
        self._task = 0
        self.traffic: Traffic = traffic
        self.lane: Lane = lane
        self.number: int = 0
        self.probing: bool = False

    @property
    def operation(self) -> str:
        """What is asked."""
        return operation_of(self._request, self._call)

    @property
    def gated(self) -> bool:
        """Whether to wait while the host is down: nobody waits for a mirror."""
        return self._call.trial is None

    def take_now(self) -> bool:
        """Take the place if nothing has to be waited for, and return whether that was so."""
        lane = self.lane
        if not lane.clear or self._limiter is None:
            return False
        try:
            self._limiter.acquire_on_behalf_of_nowait(self)
        except anyio.WouldBlock:
            return False
        lane.begun = self.number = lane.begun + 1
        if self._call.body is not None:
            self._send()
        return True

    async def take(self) -> None:
        """Wait for the place, and for whatever else there is to wait for.

        Raises:
            DownError: The host is down.
        """
        lane = self.lane
        while True:
            if self.gated and lane.down:
                self.probing = await self.traffic.outage.admit(self.operation)
            try:
                if self.traffic.sending and anyio.get_current_task().id in self.traffic.sending:
                    # What is sent has to be read first, and others may wait for the place that it is sent from.
                    self._limiter = None
                await super().take()
                if not lane.clear:
                    await lane.wait()
            except BaseException:
                self.given_up()
                raise
            if self.probing or not (self.gated and lane.down):
                break
            # It went down while others were served.
            self.release()
            self._limiter = lane.limiter
        lane.begun = self.number = lane.begun + 1
        if self._call.body is not None:
            self._send()

    def _send(self) -> None:
        self._task = anyio.get_current_task().id
        self.traffic.sending.add(self._task)

    def release(self) -> None:
        """Give the place back; a second time does nothing."""
        if self._task:
            self.traffic.sending.discard(self._task)
            self._task = 0
        limiter, self._limiter = self._limiter, None
        if limiter is not None:
            limiter.release_on_behalf_of(self)

    def given_up(self) -> None:
        """Give the place back; nothing was learned of the host."""
        self.release()
        if self.probing:
            self.probing = False
            self.traffic.outage.given_up()

    def passed(self) -> None:
        """Note that the host answered as one that works, after it was not quite so."""
        if self.lane.easing:
            self.lane.eased()
        if self.lane.down:
            self.probing = False
            self.traffic.outage.answered()

    def failed(self, error: Exception, *, away: bool) -> Exception:
        """Give the place back, and return what to raise for a failure; see ``Traffic.failed``."""
        self.release()
        return self.traffic.failed(self, error, away=away)

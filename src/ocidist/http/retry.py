"""When a request is sent again, and how long to wait before that.

stamina does the waiting and counting; what is worth trying again is decided here.
"""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from ocidist._io.load import load_module
from ocidist.errors import OciError, TlsError, TransportError, UsageError
from ocidist.http.failure import names_nothing, refuses
from ocidist.wire.retryafter import parse_http_date, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

T = TypeVar("T")

RETRIED_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})

DOWN_WAIT: Final = 0.05
"""Longest time until a request that failed because its host is down waits for its turn again, in seconds."""

NO_BUDGET: Final = "It was not tried again, because too many of the requests to this host are repetitions already"


@attrs.frozen
class RetryPolicy:
    """How often and for how long failed requests are tried again.

    Attributes:
        attempts: Most requests per operation, the first included. 1 never tries again.
        timeout: Seconds after which no further attempt begins.
        wait_initial: Longest wait before the second attempt, in seconds, doubled for each one after it.
        wait_max: Longest wait that is not asked for by the registry, in seconds.
        jitter: How much of each wait is left to chance: 0 waits for as long as it may be, 1 for anything between that
            and nothing. To a wait that the registry asks for, at most as many seconds are added.
        max_retry_after: Longest ``Retry-After`` that is waited for, in seconds; beyond it the error is raised at once.
        budget: Part of the requests to one host that may be sent again, however many of them fail.
        reserve: Requests that may be sent again beyond that part, until as many others were made that it covers them.
        refused: Most requests to a host that refuses connections and has answered none so far: nobody is there, or not
            yet. None for as many as otherwise.

    Raises:
        UsageError: A value is out of range.
    """

    attempts: int = 5
    timeout: float = 300.0
    wait_initial: float = 0.5
    wait_max: float = 30.0
    jitter: float = 1.0
    max_retry_after: float = 60.0
    budget: float = 0.1
    reserve: int = 100
    refused: int | None = None

    def __attrs_post_init__(self) -> None:
        times = (self.timeout, self.wait_initial, self.wait_max, self.max_retry_after, self.budget, self.reserve)
        least = self.attempts if self.refused is None else min(self.attempts, self.refused)
        if least < 1 or min(times) < 0:
            msg = "attempts and refused must be at least 1 and nothing else may be negative"
            raise UsageError(msg)
        if not 0 <= self.jitter <= 1:
            msg = "jitter is a part of each wait, from 0 to 1"
            raise UsageError(msg)

    def wait(self, attempt: int, asked: float | None) -> float | None:
        """Return the seconds to wait after a failed attempt; None when the registry asks for more than is allowed.

        Args:
            attempt: Number of the attempt that failed, from 1.
            asked: What the registry's ``Retry-After`` says, or None.
        """
        # Everybody who was turned away at once must not come back at once.
        chance = random.uniform(0, self.jitter)  # noqa: S311 -- nobody gains by guessing it
        if asked is not None:
            return None if asked > self.max_retry_after else asked + chance
        # The exponent is bounded so that a large number of attempts is no huge number.
        return (1 - chance) * min(self.wait_max, self.wait_initial * 2.0 ** min(attempt - 1, 32))


class BusyError(OciError):
    """An answer whose status asks for another attempt; it never leaves this package.

    Attributes:
        status: HTTP status code.
        retry_after: Seconds the registry asks to wait, or None.
        answer: What to give the caller when no further attempt is made.
        spent: Whether an allowance is used up, and another attempt would be in vain.
    """

    def __init__(
        self, status: int, retry_after: float | None, answer: httpx.Response | OciError, *, spent: bool = False
    ) -> None:
        super().__init__(f"answered {status}")
        self.status = status
        self.retry_after = retry_after
        self.answer = answer
        self.spent = spent


class DownError(OciError):
    """A failure of a host that fails everything; it never leaves this package.

    Attributes:
        failure: What went wrong.
        sent: Whether it went wrong for this very request, and not for another one that it waited for.
        probe: Whether the request was the one that found out.
    """

    def __init__(self, failure: Exception, *, sent: bool, probe: bool = False) -> None:
        super().__init__("the host is down")
        self.failure = failure
        self.sent = sent
        self.probe = probe


def retry_after_of(response: httpx.Response) -> float | None:
    """Return the seconds a response asks to wait, or None. A date counts from the response's own Date."""
    value = response.headers.get("Retry-After")
    return None if value is None else parse_retry_after(value, now=sent_at(response))


def sent_at(response: httpx.Response) -> float:
    """Return when a response was sent, in seconds since the epoch: by the clock of who sent it, if it says so."""
    date = parse_http_date(response.headers.get("Date", ""))
    return time.time() if date is None else date


def worth_another_try(error: Exception) -> bool:
    """Return whether a failure may pass by itself."""
    if isinstance(error, BusyError):
        return not error.spent
    if not isinstance(error, TransportError) or isinstance(error, TlsError):
        return False
    return not names_nothing(error)


async def retrying(
    work: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    again: Callable[[Exception], bool],
    report: Callable[[int, float, Exception], None],
    stranger: bool = False,
) -> tuple[T, int]:
    """Run *work* until it succeeds, fails for good, or the policy is exhausted.

    Args:
        work: One attempt.
        policy: The limits.
        again: Whether a failure is worth another attempt.
        report: Told the number of the failed attempt, the wait in seconds and the failure, before each wait.
        stranger: Whether the host has answered nothing so far.

    Returns:
        What *work* returned, and how many attempts it took.

    Raises:
        Exception: The last attempt's failure, with the number of attempts in it if it is one of ocidist's.
    """
    started = monotonic()
    try:
        return await work(), 1
    except Exception as error:  # noqa: BLE001 -- it is raised again
        # The usual case never gets here, and so does not pay for the machinery below.
        return await retried(error, work, policy, again=again, report=report, started=started, stranger=stranger)


async def retried(
    failure: Exception,
    work: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    again: Callable[[Exception], bool],
    report: Callable[[int, float, Exception], None],
    started: float,
    spend: Callable[[], bool] | None = None,
    stranger: bool = False,
) -> tuple[T, int]:
    """Go on after a first attempt that failed; see ``retrying``.

    Args:
        failure: What the first attempt raised.
        work: One attempt.
        policy: The limits.
        again: See ``retrying``.
        report: See ``retrying``.
        started: When the first attempt began, by ``monotonic()``.
        spend: Takes a retry from the host's budget, and returns whether there was one; None sets no limit.
        stranger: See ``retrying``.
    """
    policy = _against(failure, policy) if stranger else policy
    if isinstance(failure, OciError):
        failure.locate(attempts=1)
    if policy.attempts == 1 or not again(failure):
        raise failure
    first: Exception | None = failure
    made = 0

    async def attempt() -> T:
        nonlocal made, first
        made += 1
        if first is not None:
            failure, first = first, None
            raise failure
        return await work()

    def decide(error: Exception) -> bool | float:
        failure = error.failure if isinstance(error, DownError) else error
        wait = policy.wait(made, failure.retry_after if isinstance(failure, BusyError) else None)
        if wait is None or not again(error) or monotonic() - started + wait > policy.timeout:
            return False
        if made < policy.attempts:
            if spend is not None and not _affordable(error, failure, spend):
                return False
            # Where a host is down, the next attempt waits for its turn anyway, or for the news that it is back.
            wait = min(wait, DOWN_WAIT) if isinstance(error, DownError) else wait
            report(made, wait, failure)
        return wait

    await load_module("stamina")
    import stamina  # noqa: PLC0415 -- loaded only when something fails

    _quieten()
    try:
        return await stamina.retry(on=decide, attempts=policy.attempts, timeout=None)(attempt)(), made
    except OciError as error:
        error.locate(attempts=made)
        raise


def _against(failure: Exception, policy: RetryPolicy) -> RetryPolicy:
    """Return the policy for a host that has answered nothing so far, after a first failure."""
    if policy.refused is None or not refuses(failure):
        return policy
    return attrs.evolve(policy, attempts=min(policy.attempts, policy.refused))


def _affordable(error: Exception, failure: Exception, spend: Callable[[], bool]) -> bool:
    """Return whether the host's budget has room for a retry. What waits while a host is down costs nothing."""
    if (isinstance(error, DownError) and not error.probe) or spend():
        return True
    if isinstance(failure, OciError):
        failure.hint = NO_BUDGET
    return False


class _Told(logging.Filter):
    """Drops stamina's line about a retry of ours.

    stamina logs a warning for each retry. In a program that does not configure logging, Python prints warnings to
    stderr: there would be a bare ``stamina.retry_scheduled`` for each one, without a host or a reason. The logger
    ``ocidist.http`` and ``RequestRetried`` tell the same, and more. What stamina says about the retries of others is
    left alone, and so are its settings.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(getattr(record, "stamina.callable", "")).startswith(f"{__name__}.")


_TOLD = _Told()


def _quieten() -> None:
    logger = logging.getLogger("stamina")
    if _TOLD not in logger.filters:
        logger.addFilter(_TOLD)


def monotonic() -> float:
    """Return the clock that token and retry times are measured with, in seconds."""
    return time.monotonic()

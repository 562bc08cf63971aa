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
from ocidist.http.failure import names_nothing
from ocidist.wire.retryafter import parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

T = TypeVar("T")

RETRIED_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})


@attrs.frozen
class RetryPolicy:
    """How often and for how long failed requests are tried again.

    Attributes:
        attempts: Most requests per operation, the first included. 1 never tries again.
        timeout: Seconds after which no further attempt begins.
        wait_initial: Seconds before the second attempt, doubled for each one after it.
        wait_max: Longest wait that is not asked for by the registry, in seconds.
        jitter: Most seconds added to each wait at random.
        max_retry_after: Longest ``Retry-After`` that is waited for, in seconds; beyond it the error is raised at once.

    Raises:
        UsageError: A value is out of range.
    """

    attempts: int = 5
    timeout: float = 300.0
    wait_initial: float = 0.25
    wait_max: float = 30.0
    jitter: float = 0.25
    max_retry_after: float = 60.0

    def __attrs_post_init__(self) -> None:
        times = (self.timeout, self.wait_initial, self.wait_max, self.jitter, self.max_retry_after)
        if self.attempts < 1 or min(times) < 0:
            msg = "attempts must be at least 1 and no time may be negative"
            raise UsageError(msg)

    def wait(self, attempt: int, asked: float | None) -> float | None:
        """Return the seconds to wait after a failed attempt; None when the registry asks for more than is allowed.

        Args:
            attempt: Number of the attempt that failed, from 1.
            asked: What the registry's ``Retry-After`` says, or None.
        """
        if asked is not None and asked > self.max_retry_after:
            return None
        # The exponent is bounded so that a large number of attempts is no huge number.
        seconds = min(self.wait_max, self.wait_initial * 2 ** min(attempt - 1, 32)) if asked is None else asked
        # Everybody who was turned away at once must not come back at once.
        return seconds + random.uniform(0, self.jitter)  # noqa: S311 -- nobody gains by guessing it


class BusyError(OciError):
    """An answer whose status asks for another attempt; it never leaves this package.

    Attributes:
        status: HTTP status code.
        retry_after: Seconds the registry asks to wait, or None.
        answer: What to give the caller when no further attempt is made.
    """

    def __init__(self, status: int, retry_after: float | None, answer: httpx.Response | OciError) -> None:
        super().__init__(f"answered {status}")
        self.status = status
        self.retry_after = retry_after
        self.answer = answer


def retry_after_of(response: httpx.Response) -> float | None:
    """Return the seconds a response asks to wait, or None."""
    value = response.headers.get("Retry-After")
    return None if value is None else parse_retry_after(value, now=time.time())


def worth_another_try(error: Exception) -> bool:
    """Return whether a failure may pass by itself."""
    if isinstance(error, BusyError):
        return True
    if not isinstance(error, TransportError) or isinstance(error, TlsError):
        return False
    return not names_nothing(error)


async def retrying(
    work: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    again: Callable[[Exception], bool],
    report: Callable[[int, float, Exception], None],
) -> tuple[T, int]:
    """Run *work* until it succeeds, fails for good, or the policy is exhausted.

    Args:
        work: One attempt.
        policy: The limits.
        again: Whether a failure is worth another attempt.
        report: Told the number of the failed attempt, the wait in seconds and the failure, before each wait.

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
        return await retried(error, work, policy, again=again, report=report, started=started)


async def retried(
    failure: Exception,
    work: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    again: Callable[[Exception], bool],
    report: Callable[[int, float, Exception], None],
    started: float,
) -> tuple[T, int]:
    """Go on after a first attempt that failed; see ``retrying``.

    Args:
        failure: What the first attempt raised.
        work: One attempt.
        policy: The limits.
        again: See ``retrying``.
        report: See ``retrying``.
        started: When the first attempt began, by ``monotonic()``.
    """
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
        wait = policy.wait(made, error.retry_after if isinstance(error, BusyError) else None)
        if wait is None or not again(error) or monotonic() - started + wait > policy.timeout:
            return False
        if made < policy.attempts:
            report(made, wait, error)
        return wait

    await load_module("stamina")
    import stamina  # noqa: PLC0415 -- loaded only when something fails

    _quieten()
    try:
        return await stamina.retry(on=decide, attempts=policy.attempts, timeout=None)(attempt)(), made
    except OciError as error:
        error.locate(attempts=made)
        raise


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

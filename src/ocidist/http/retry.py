"""When a request is sent again, and how long to wait before that.

stamina does the waiting and counting; what is worth trying again is decided here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import attrs

from ocidist.errors import OciError, TlsError, TransportError, UsageError
from ocidist.http.failure import names_nothing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


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
        if self.attempts < 1 or min(self.timeout, self.wait_initial, self.wait_max, self.jitter) < 0:
            msg = "attempts must be at least 1 and no time may be negative"
            raise UsageError(msg)


class BusyError(OciError):
    """An answer whose status asks for another attempt; it never leaves this package.

    Attributes:
        status: HTTP status code.
        retry_after: Seconds the registry asks to wait, or None.
        answer: What to give the caller when no further attempt is made.
    """

    def __init__(self, status: int, retry_after: float | None, answer: object) -> None:
        super().__init__(f"answered {status}")
        self.status = status
        self.retry_after = retry_after
        self.answer = answer


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
        Exception: The last attempt's failure.
    """
    try:
        return await work(), 1
    except Exception as error:
        # The usual case never gets here, and so does not pay for the machinery below.
        first: Exception | None = error
        if policy.attempts == 1 or not again(error):
            raise
    import stamina  # noqa: PLC0415 -- loaded only when something fails

    made = 0

    def decide(error: Exception) -> bool | float:
        if not again(error):
            return False
        wait = error.retry_after if isinstance(error, BusyError) else None
        if wait is not None and wait > policy.max_retry_after:
            return False
        if made < policy.attempts:
            report(made, wait or 0.0, error)
        return True if wait is None else wait

    async for attempt in stamina.retry_context(
        on=decide,
        attempts=policy.attempts,
        timeout=policy.timeout,
        wait_initial=policy.wait_initial,
        wait_max=policy.wait_max,
        wait_jitter=policy.jitter,
    ):
        with attempt:
            made = attempt.num
            if first is not None:
                failure, first = first, None
                raise failure
            try:
                return await work(), made
            except OciError as error:
                error.locate(attempts=made)
                raise
    raise AssertionError  # stamina ends by returning or raising


def monotonic() -> float:
    """Return the clock that token and retry times are measured with, in seconds."""
    return time.monotonic()

"""Which requests may be sent again after which failures, and what becomes of the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx

from ocidist.errors import ConnectError, OciError
from ocidist.http.failure import translate
from ocidist.http.message import MAX_ERROR_BODY
from ocidist.http.redirect import replayable
from ocidist.http.reply import snapshot
from ocidist.http.retry import BusyError, DownError, retry_after_of, sent_at, worth_another_try
from ocidist.wire.errorbody import parse_errors
from ocidist.wire.ratelimit import is_spent, parse_rate_limit, parse_wait

if TYPE_CHECKING:
    from ocidist.http.sender import Call

MAX_RAW_ERROR_BODY: Final = 1024 * 1024
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


async def refuse_busy(request: httpx.Request, response: httpx.Response, call: Call, *, patience: float) -> None:
    """Raise BusyError for an answer that asks for another attempt, with a closed copy of it.

    Args:
        request: The request.
        response: Its answer, whose status is one that is retried.
        call: The operation.
        patience: Longest time that is waited for, in seconds.
    """
    if not call.endpoint and request.method not in SAFE:
        return
    kept = await snapshot(response, MAX_ERROR_BODY if call.endpoint else MAX_RAW_ERROR_BODY)
    wait, spent = retry_after_of(kept), False
    if kept.status_code == httpx.codes.TOO_MANY_REQUESTS:
        infos = parse_errors(kept.content)
        quota = parse_rate_limit(kept.headers.get, now=sent_at(kept))
        if wait is None:
            wait = parse_wait(infos)
        text = " ".join(info.message for info in infos) or kept.text[:1000]
        spent = is_spent(quota, text, retry_after=wait, patience=patience)
    raise BusyError(kept.status_code, wait, kept, spent=spent)


def may_repeat(request: httpx.Request, call: Call, error: Exception) -> bool:
    """Return whether a request may be sent again after a failure, as far as that depends on what it does."""
    if isinstance(error, DownError):
        if not error.sent:
            return True
        error = error.failure
    failure = translate(error) if isinstance(error, httpx.RequestError) else error
    if isinstance(failure, OciError) and failure.operation is not None:
        # A request within this one failed, and was tried again by itself.
        return False
    if not replayable(request, call):
        return False
    if call.endpoint is None:
        return request.method in SAFE and worth_another_try(failure)
    if call.endpoint.repeatable:
        return worth_another_try(failure)
    # Its effect may have taken place: only what surely did not reach the registry is sent again.
    turned_away = isinstance(failure, BusyError) and failure.status == httpx.codes.TOO_MANY_REQUESTS
    return (turned_away or isinstance(failure, ConnectError)) and worth_another_try(failure)


def final(error: BusyError | DownError, request: httpx.Request) -> httpx.Response:
    """Return the answer that is the last word on a request.

    Raises:
        Exception: There is none: what failed instead.
    """
    failure = error.failure if isinstance(error, DownError) else error
    if isinstance(failure, BusyError) and isinstance(failure.answer, httpx.Response):
        answer = failure.answer
        if isinstance(error, DownError) and not error.sent:
            # Another request's; those who wait for it have one each.
            headers, content = answer.headers.raw, answer.content
            answer = httpx.Response(answer.status_code, headers=headers, content=content, request=request)
        answer.extensions.update(ocidist_hint=failure.hint, ocidist_spent=failure.spent)
        return answer
    if isinstance(failure, httpx.RequestError):
        failure.request = request
    elif isinstance(failure, OciError):
        failure.locate(attempts=error.attempts)
    raise failure

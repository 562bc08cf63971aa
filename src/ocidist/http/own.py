"""Requests that a session makes for itself: probes of hosts, and those to token servers.

They carry none of a registry's credentials (a token request has its own), follow no redirect and need no slot.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import httpx

from ocidist.errors import OciError
from ocidist.http.failure import translate
from ocidist.http.lean import Request
from ocidist.http.message import MAX_ERROR_BODY
from ocidist.http.reply import HttpReply, snapshot
from ocidist.http.retry import RETRIED_STATUSES, BusyError, RetryPolicy, retry_after_of, retrying, worth_another_try
from ocidist.http.tokens import MAX_TOKEN_BODY, Answer
from ocidist.wire.errorbody import error_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ocidist.http.timeouts import Timeouts
    from ocidist.wire.egress import Origin

FETCH_TOKEN: Final = "fetch a token"  # noqa: S105 -- the name of an operation
ROOT: Final = "/v2/"


@attrs.frozen
class OwnRequests:
    """Sends them.

    Attributes:
        wire: Sends one request.
        headers: Returns the client's header fields.
        timeouts: The client's timeouts.
        retry: How often token servers are asked.
        report: Told host, operation, attempt, wait in seconds and failure before each retry.
    """

    wire: Callable[[httpx.Request], Awaitable[httpx.Response]]
    headers: Callable[[], httpx.Headers]
    timeouts: Timeouts
    retry: RetryPolicy
    report: Callable[[str, str, int, float, Exception], None]

    def _prepare(self, request: httpx.Request) -> httpx.Request:
        request.headers["User-Agent"] = self.headers()["User-Agent"]
        request.extensions = {**request.extensions, "timeout": self.timeouts.extension()}
        return request

    async def probe(self, request: httpx.Request) -> httpx.Response:
        """Send a request as it is and return a closed copy of the answer.

        Raises:
            httpx.RequestError: There was none.
        """
        return await snapshot(await self.wire(self._prepare(request)), MAX_ERROR_BODY)

    async def root_challenge(self, origin: Origin) -> tuple[str, ...]:
        """Return the challenge that a host sends for ``/v2/``; nothing where it sends none or does not answer."""
        try:
            response = await self.probe(Request("GET", f"{origin}{ROOT}", headers={"Accept-Encoding": "identity"}))
        except httpx.RequestError:
            return ()
        refused = response.status_code == httpx.codes.UNAUTHORIZED
        return tuple(response.headers.get_list("WWW-Authenticate")) if refused else ()

    async def token(self, request: httpx.Request) -> Answer:
        """Send a request to a token server, as often as the retry policy says, and return its bounded answer.

        Raises:
            TransportError: There was none.
            ResponseError: The token server was busy or failing to the end.
            LimitExceededError: The answer is too large.
        """
        host = self._prepare(request).url.netloc.decode("ascii")
        failure: OciError
        try:
            answer, _ = await retrying(
                partial(self._ask, request),
                self.retry,
                again=worth_another_try,
                report=partial(self.report, host, FETCH_TOKEN),
            )
        except OciError as error:
            final = error.answer if isinstance(error, BusyError) else error
            failure = final if isinstance(final, OciError) else error
            # Saying where it happened also says that it was tried often enough: whoever waits for the token must not
            # multiply the attempts.
            failure.locate(operation=FETCH_TOKEN, host=host, attempts=error.attempts)
        else:
            return answer
        raise failure

    async def _ask(self, request: httpx.Request) -> Answer:
        failure: OciError
        try:
            response = await self.wire(request)
        except httpx.RequestError as error:
            failure = translate(error)
        else:
            return await self._read(response)
        raise failure

    @staticmethod
    async def _read(response: httpx.Response) -> Answer:
        reply = HttpReply(response)
        try:
            body = await reply.read(MAX_TOKEN_BODY, "token")
        finally:
            await reply.aclose()
        if response.status_code in RETRIED_STATUSES:
            wait = retry_after_of(response)
            url = str(response.request.url)
            final = error_for(response.status_code, method=response.request.method, url=url, retry_after=wait)
            raise BusyError(response.status_code, wait, final)
        return Answer(response.status_code, body)

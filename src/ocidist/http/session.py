"""Everything that happens between an operation and the wire, in one place.

From the outside in: retries, a slot at the host, authentication, redirects, the transport. ``Client.send()`` enters at
``Session.send``; remote objects enter at ``Session.exchange``, which goes through ``Client.send()`` too.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import attrs
import httpx

from ocidist.credentials.store import ANONYMOUS
from ocidist.errors import (
    AuthError,
    BodyNotReplayableError,
    ChallengeError,
    ConnectError,
    OciError,
    RedirectRefusedError,
    ResponseError,
    UnexpectedStatusError,
)
from ocidist.http.auth import NOTHING, Answered, Authenticator, Proof, Turn
from ocidist.http.failure import translate
from ocidist.http.limits import HostLimits, Slot, Slots
from ocidist.http.redirect import next_hop, replayable
from ocidist.http.reply import HttpReply, RequestStream, TrackedStream, snapshot
from ocidist.http.retry import RETRIED_STATUSES, BusyError, RetryPolicy, retrying, worth_another_try
from ocidist.http.scheme import SchemeDetector
from ocidist.http.sender import Call
from ocidist.http.tokens import MAX_TOKEN_BODY, Answer, TokenOptions, TokenSource, retry_after_of
from ocidist.model.reference import RegistryName
from ocidist.observe.events import Event, RequestRetried, WarningReceived
from ocidist.observe.hooks import emit
from ocidist.wire import endpoints, routing
from ocidist.wire.egress import EgressPolicy, Origin
from ocidist.wire.errorbody import Subject, body_note, error_for, parse_errors
from ocidist.wire.redact import redact_url
from ocidist.wire.scope import NO_SCOPES, ScopeSet
from ocidist.wire.warning import parse_warnings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from ocidist._io.body import Body
    from ocidist.credentials.store import Credential, CredentialProvider
    from ocidist.hosts.config import HostConfig, HostsConfig
    from ocidist.http.caches import ChallengeCache, TokenCache
    from ocidist.http.timeouts import Timeouts
    from ocidist.observe.hooks import Hook
    from ocidist.wire.endpoints import Endpoint

MAX_ERROR_BODY = 64 * 1024
MAX_RAW_ERROR_BODY = 1024 * 1024
MAX_WARNINGS = 256
CLEANUP_SECONDS = 2.0

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_REQUEST_ID = ("X-Request-Id", "X-Amzn-RequestId", "X-GitHub-Request-Id", "X-Ms-Correlation-Request-Id")
_log = logging.getLogger("ocidist.http")
_warnings_log = logging.getLogger("ocidist.warnings")


class Request(httpx.Request):
    """A request whose ``repr`` does not show what its URL may hold."""

    def __repr__(self) -> str:
        return f"<Request {self.method} {redact_url(str(self.url))}>"


@attrs.frozen
class Parts:
    """What a session is made of; the client puts it together."""

    wire: Callable[[httpx.Request], Awaitable[httpx.Response]]
    dispatch: Callable[[httpx.Request], Awaitable[httpx.Response]]
    user_agent: str
    credentials: CredentialProvider
    hosts: HostsConfig
    egress: EgressPolicy
    token_options: TokenOptions
    challenges: ChallengeCache
    tokens: TokenCache
    retry: RetryPolicy
    limits: HostLimits
    hooks: Sequence[Hook]
    timeouts: Timeouts


class Session:
    """Sends requests to registries. See ``sender.Sender`` for the part that remote objects use."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._slots = Slots(parts.limits)
        self._schemes = SchemeDetector(self._probe, self._learn)
        source = TokenSource(self._ask_token_server, parts.egress, parts.token_options)
        self._auth = Authenticator(source, parts.challenges, parts.tokens, parts.token_options)
        self._shown: OrderedDict[tuple[str, str], None] = OrderedDict()

    # --- what remote objects use -------------------------------------------------------------------------------------

    @property
    def egress(self) -> EgressPolicy:
        """The client's egress policy."""
        return self._parts.egress

    def host_config(self, registry: RegistryName) -> HostConfig:
        """Return what is configured for a host."""
        return self._parts.hosts.for_host(registry)

    def emit(self, event: Event) -> None:
        """Hand an event record to the client's hooks."""
        emit(self._parts.hooks, event)

    async def base(self, registry: RegistryName) -> str:
        """Return the registry's base URL, detecting the scheme where it is not configured."""
        config = self.host_config(registry)
        detect = partial(self._schemes.base, registry, config)
        report = partial(self._report, str(registry), "detect the scheme")
        base, _ = await retrying(detect, self._parts.retry, again=worth_another_try, report=report)
        return base

    @asynccontextmanager
    async def exchange(
        self,
        registry: RegistryName,
        endpoint: Endpoint,
        *,
        body: Body | None = None,
        credential: Credential | None = None,
        reference: str | None = None,
    ) -> AsyncIterator[HttpReply]:
        """Send one endpoint and yield its answer; see ``sender.Sender.exchange``."""
        try:
            base = await self.base(registry)
            final = isinstance(endpoint, endpoints.PutUpload | endpoints.PutManifest)
            call = Call(endpoint, endpoint.scopes, body, registry=registry, credential=credential, final=final)
            response = await self._parts.dispatch(self._build(base, endpoint, call))
            reply = HttpReply(response)
            try:
                if response.status_code not in endpoint.success:
                    raise await self._failure(response, endpoint, base)
                yield reply
            finally:
                await reply.aclose()
        except OciError as error:
            error.locate(operation=endpoint.operation, reference=reference, host=str(registry))
            raise _scrubbed(error) from error.__cause__

    def _build(self, base: str, endpoint: Endpoint, call: Call) -> Request:
        target = endpoint.target
        url = target if target.startswith(("http://", "https://")) else base + target
        # Digests are of the bytes as they are stored, so no coding is wanted anywhere.
        headers = [*endpoint.headers, ("Accept-Encoding", "identity"), ("User-Agent", self._parts.user_agent)]
        extensions = {"ocidist": call, "timeout": self._parts.timeouts.extension(final=call.final)}
        if call.body is None:
            if endpoint.method in {"POST", "PUT", "PATCH"}:
                headers.append(("Content-Length", "0"))
            return Request(endpoint.method, url, headers=headers, extensions=extensions)
        if call.body.size is not None:
            headers.append(("Content-Length", str(call.body.size)))
        stream = RequestStream(call.body)
        request = Request(endpoint.method, url, headers=headers, content=stream, extensions=extensions)
        # httpx wraps what it is given in a stream that cannot be closed.
        request.stream = stream
        return request

    async def _failure(self, response: httpx.Response, endpoint: Endpoint, base: str) -> ResponseError:
        url = str(response.request.url)
        attempts = response.extensions.get("ocidist_attempts")
        kept = await snapshot(response, MAX_ERROR_BODY)
        abroad = Origin.of(url) != Origin.of(base)
        infos = () if abroad else parse_errors(kept.content)
        made = error_for(
            kept.status_code,
            infos=infos,
            method=response.request.method,
            url=url,
            subject=_subject(endpoint),
            request_id=next((kept.headers[name] for name in _REQUEST_ID if name in kept.headers), None),
            retry_after=retry_after_of(kept),
            note=body_note(kept.content),
        )
        if abroad and isinstance(made, AuthError):
            # Another host's refusal says nothing about the registry's opinion of these credentials.
            made = UnexpectedStatusError(made.status, method=made.method, url=made.url)
        return made.locate(attempts=attempts)

    # --- what Client.send() uses -------------------------------------------------------------------------------------

    async def send(self, request: httpx.Request, call: Call, *, follow: bool) -> httpx.Response:
        """Send a request with everything that belongs to it and return its answer, the body unread."""
        attempt = partial(self._attempt, request, call, follow=follow)
        host = call.registry or request.url.netloc.decode("ascii")
        operation = call.endpoint.operation if call.endpoint else request.method
        try:
            response, attempts = await retrying(
                attempt,
                self._parts.retry,
                again=partial(_again, request, call),
                report=partial(self._report, str(host), operation),
            )
        except BusyError as busy:
            response, attempts = _answer(busy), busy.attempts or 1
        response.extensions["ocidist_attempts"] = attempts
        return response

    async def _attempt(self, request: httpx.Request, call: Call, *, follow: bool) -> httpx.Response:
        slot = await self._slot(request, call)
        start = time.perf_counter()
        try:
            response = await self._authenticated(request, call, follow=follow)
            self._notice(response)
            await _refuse_busy(request, response, call)
        except BaseException:
            slot.release()
            raise
        response.stream = TrackedStream(response.stream, slot, response, start)  # type: ignore[arg-type]  # async side
        return response

    async def _slot(self, request: httpx.Request, call: Call) -> Slot:
        name = call.registry or _named(request.url)
        concurrency = None if name is None else self.host_config(name).concurrency
        host = request.url.netloc.decode("ascii")
        return await self._slots.take(host, writes=request.method not in _SAFE, concurrency=concurrency)

    async def _authenticated(self, request: httpx.Request, call: Call, *, follow: bool) -> httpx.Response:
        turn = await self._turn(request, call)
        if turn is None:
            return (await self._hops(request, call, NOTHING, follow=follow)).response
        attempt = partial(self._hops, request, call, follow=follow)
        if not replayable(request, call) and not self._auth.informed(turn):
            # The body can be sent once: find out first what has to come with it.
            await self._scout(request, turn)
        answered = await self._expired(await self._auth.first(turn, attempt))
        while answered.refused is not None:
            refusal = await snapshot(answered.response, MAX_ERROR_BODY)
            proof = await self._next_proof(request, call, turn, answered)
            if proof is None:
                return refusal
            if not replayable(request, call):
                msg = f"the registry wants other credentials for the {request.method}, and its body was sent already"
                raise BodyNotReplayableError(msg)
            answered = await self._expired(await attempt(proof))
        if answered.sent.refusal is not None and answered.response.status_code == 403 and call.endpoint is not None:
            await snapshot(answered.response, 0)
            raise answered.sent.refusal
        return answered.response

    @staticmethod
    async def _expired(answered: Answered) -> Answered:
        """Take a 403 for the 401 it means: Amazon ECR answers so when a token it once took has expired."""
        remembered = answered.sent.token is not None and not answered.sent.fresh
        if answered.response.status_code != 403 or not remembered:
            return answered
        kept = await snapshot(answered.response, MAX_ERROR_BODY)
        values = tuple(kept.headers.get_list("WWW-Authenticate"))
        refused = values if values or b"expired" in kept.content.lower() else None
        return Answered(refused, kept, answered.sent)

    async def _turn(self, request: httpx.Request, call: Call) -> Turn | None:
        if call.direct or "Authorization" in request.headers:
            return None
        origin = Origin.of(str(request.url))
        if call.registry is not None and origin != Origin.of(f"{origin.scheme}://{call.registry.api_host}"):
            return None
        name = call.registry or _named(request.url)
        if name is None:
            return None
        repository = getattr(call.endpoint, "repository", None)
        credential = call.credential
        if credential is None:
            credential = await self._parts.credentials.get(str(name), repository=repository)
        return Turn(origin, credential, NO_SCOPES if call.scopes is None else call.scopes)

    async def _next_proof(self, request: httpx.Request, call: Call, turn: Turn, answered: Answered) -> Proof | None:
        values = answered.refused or ()
        if not values and not self._auth.knows(turn.origin) and request.url.path != "/v2/":
            await self._scout(request, turn)
        try:
            return await self._auth.answer(turn, answered.sent, values)
        except AuthError:
            if call.endpoint is None:
                return None
            raise

    async def _scout(self, request: httpx.Request, turn: Turn) -> None:
        probe = Request("GET", request.url.copy_with(raw_path=b"/v2/"), extensions=request.extensions)
        response = await self._probe(probe)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._auth.learn(turn.origin, response.headers.get_list("WWW-Authenticate"), turn.credential)

    async def _hops(self, request: httpx.Request, call: Call, proof: Proof, *, follow: bool) -> Answered:
        home, current, at_home = str(request.url), request, True
        seen = {home}
        for _ in range(self._parts.egress.max_redirects + 1):
            response = await self._hop(current, proof if at_home else NOTHING, raw=call.endpoint is None)
            hop = None
            try:
                if follow:
                    hop = next_hop(current, response, call=call, policy=self._parts.egress, home=home, at_home=at_home)
            except BaseException:
                await snapshot(response, 0)
                raise
            if hop is None:
                refused = at_home and response.status_code == httpx.codes.UNAUTHORIZED
                values = tuple(response.headers.get_list("WWW-Authenticate")) if refused else None
                return Answered(values, response, proof)
            await snapshot(response, MAX_ERROR_BODY)
            current, at_home = hop.request, hop.at_home
            if str(current.url) in seen:
                break
            seen.add(str(current.url))
        here, there = str(Origin.of(home)), str(Origin.of(str(current.url)))
        raise RedirectRefusedError(here, there, f"it goes in a circle, or on for more than {len(seen) - 1} steps")

    async def _hop(self, request: httpx.Request, proof: Proof, *, raw: bool) -> httpx.Response:
        sent = Request(request.method, request.url, headers=request.headers, extensions=request.extensions)
        sent.stream = request.stream
        if proof.header is not None:
            sent.headers["Authorization"] = proof.header
        failure: Exception
        try:
            return await self._parts.wire(sent)
        except httpx.HTTPError as error:
            failure = error if raw else translate(error)
        finally:
            if isinstance(sent.stream, RequestStream):
                with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
                    await sent.stream.aclose()
        raise failure

    # --- requests of the session's own -------------------------------------------------------------------------------

    async def _probe(self, request: httpx.Request) -> httpx.Response:
        request.headers["User-Agent"] = self._parts.user_agent
        request.extensions = {"timeout": self._parts.timeouts.extension()}
        return await snapshot(await self._parts.wire(request), MAX_ERROR_BODY)

    def _learn(self, base: str, response: httpx.Response) -> None:
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return
        try:
            self._auth.learn(Origin.of(base), response.headers.get_list("WWW-Authenticate"), ANONYMOUS)
        except ChallengeError:
            _log.debug("%s sends a challenge that cannot be read", base)

    async def _ask_token_server(self, request: httpx.Request) -> Answer:
        request.headers["User-Agent"] = self._parts.user_agent
        request.extensions = {"timeout": self._parts.timeouts.extension()}
        host = request.url.netloc.decode("ascii")
        report = partial(self._report, host, "fetch a token")
        attempt = partial(self._token_attempt, request)
        try:
            answer, _ = await retrying(attempt, self._parts.retry, again=worth_another_try, report=report)
        except BusyError as busy:
            failure = busy.answer
        else:
            return answer
        raise failure if isinstance(failure, OciError) else AssertionError

    async def _token_attempt(self, request: httpx.Request) -> Answer:
        failure: OciError
        try:
            response = await self._parts.wire(request)
        except httpx.HTTPError as error:
            failure = translate(error)
        else:
            return await self._token_answer(response)
        raise failure

    async def _token_answer(self, response: httpx.Response) -> Answer:
        reply = HttpReply(response)
        try:
            if response.status_code in RETRIED_STATUSES:
                wait = retry_after_of(response)
                url = str(response.request.url)
                final = error_for(response.status_code, method=response.request.method, url=url, retry_after=wait)
                raise BusyError(response.status_code, wait, final)
            return Answer(response.status_code, await reply.read(MAX_TOKEN_BODY, "token"))
        finally:
            await reply.aclose()

    # --- telling -----------------------------------------------------------------------------------------------------

    def _notice(self, response: httpx.Response) -> None:
        if "warning" not in response.headers:
            return
        host = response.request.url.netloc.decode("ascii")
        for text in parse_warnings(response.headers.get_list("Warning")):
            if (host, text) in self._shown or len(self._shown) >= MAX_WARNINGS:
                continue
            self._shown[host, text] = None
            _warnings_log.warning("%s: %s", host, text)
            self.emit(WarningReceived(host, text))

    def _report(self, host: str, operation: str, attempt: int, wait: float, error: Exception) -> None:
        reason = error.message if isinstance(error, OciError) else type(error).__name__
        _log.info("%s: %s failed (%s), attempt %d; trying again", host, operation, reason, attempt)
        self.emit(RequestRetried(host, operation, attempt, wait, reason))


async def _refuse_busy(request: httpx.Request, response: httpx.Response, call: Call) -> None:
    """Raise BusyError for an answer that asks for another attempt, with a closed copy of it."""
    if response.status_code in RETRIED_STATUSES and (call.endpoint or request.method in _SAFE):
        limit = MAX_ERROR_BODY if call.endpoint else MAX_RAW_ERROR_BODY
        raise BusyError(response.status_code, retry_after_of(response), await snapshot(response, limit))


def _answer(busy: BusyError) -> httpx.Response:
    if isinstance(busy.answer, httpx.Response):
        return busy.answer
    raise busy


def _again(request: httpx.Request, call: Call, error: Exception) -> bool:
    if not replayable(request, call):
        return False
    failure = translate(error) if isinstance(error, httpx.HTTPError) else error
    if call.endpoint is None:
        return request.method in _SAFE and worth_another_try(failure)
    if call.endpoint.repeatable:
        return worth_another_try(failure)
    # Its effect may have taken place: only what surely did not reach the registry is sent again.
    turned_away = isinstance(failure, BusyError) and failure.status == httpx.codes.TOO_MANY_REQUESTS
    return turned_away or (isinstance(failure, ConnectError) and worth_another_try(failure))


def _named(url: httpx.URL) -> RegistryName | None:
    """Return the registry a user's own URL names, or None if it is no registry URL."""
    if "/v2/" not in f"{url.path}/":
        return None
    try:
        return RegistryName.parse(url.netloc.decode("ascii"))
    except OciError:
        return None


def _subject(endpoint: Endpoint) -> Subject:
    match endpoint:
        case endpoints.GetManifest() | endpoints.StatManifest() | endpoints.DeleteManifest():
            return Subject.MANIFEST if ":" in endpoint.reference else Subject.TAG
        case endpoints.GetBlob() | endpoints.StatBlob() | endpoints.DeleteBlob():
            return Subject.BLOB
        case endpoints.PatchUpload() | endpoints.PutUpload() | endpoints.UploadStatus() | endpoints.CancelUpload():
            return Subject.UPLOAD
        case endpoints.Ping() | endpoints.ListRepositories():
            return Subject.OTHER
        case _:
            return Subject.REPOSITORY


def _scrubbed(error: OciError) -> OciError:
    """Forget the frames below: their variables hold headers and URLs that no traceback may show."""
    error.__traceback__ = None
    error.__context__ = None
    if error.__cause__ is not None:
        error.__cause__.__traceback__ = None
        error.__cause__.__context__ = None
    return error


def raw_call(request: httpx.Request, *, direct: bool) -> Call:
    """Return the call behind a request that a user built: the scopes its path and method need."""
    scopes: ScopeSet | None = None
    try:
        found = routing.parse(request.method, request.url.path, request.url.query.decode("ascii", "replace"))
        scopes = found.scopes
    except OciError:
        # No endpoint of the API: the registry's own challenge says what it wants.
        pass
    return Call(scopes=scopes, direct=direct)

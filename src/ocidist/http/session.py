"""Everything that happens between an operation and the wire, in one place.

From the outside in: retries, a slot at the host, authentication, redirects, the transport. ``Client.send()`` enters at
``Session.send``; remote objects enter at ``Session.exchange``, which goes through ``Client.send()`` too.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import attrs
import httpx

from ocidist.credentials.store import ANONYMOUS, checked_credential
from ocidist.errors import (
    AuthError,
    BodyNotReplayableError,
    ChallengeError,
    ClientClosedError,
    InvalidReferenceError,
    LocationRefusedError,
    OciError,
    RedirectRefusedError,
    SchemeDetectionError,
    TransportError,
    TransportTimeoutError,
)
from ocidist.http.asking import Asking
from ocidist.http.auth import NOTHING, Answered, Authenticator, Proof, Turn, explained, unsent
from ocidist.http.failure import bare, translate
from ocidist.http.guard import CHECK, AddressGuard
from ocidist.http.lean import LeanRequest, Request, is_authorized, origin_of
from ocidist.http.message import MAX_ERROR_BODY, ClientFields, build, failure_of
from ocidist.http.mirrors import Mirrors, blocked
from ocidist.http.own import ROOT, OwnRequests
from ocidist.http.redirect import FOLLOWED, next_hop, replayable
from ocidist.http.repeat import SAFE, final, may_repeat, refuse_busy
from ocidist.http.reply import WITHHELD, HttpReply, RequestStream, TrackedStream, fields_of, is_whole, snapshot
from ocidist.http.retry import (
    RETRIED_STATUSES,
    BusyError,
    DownError,
    RetryPolicy,
    monotonic,
    retried,
    retrying,
    sent_at,
    worth_another_try,
)
from ocidist.http.scheme import TLS_PORT_ANSWER, SchemeDetector
from ocidist.http.sender import Call
from ocidist.http.site import Site
from ocidist.http.tokens import TokenOptions, TokenSource
from ocidist.http.traffic import Place, Rules, Traffic, operation_of
from ocidist.model.reference import RegistryName
from ocidist.observe.events import Event, RequestRedirected, RequestRetried, WarningReceived
from ocidist.observe.hooks import emit
from ocidist.wire import endpoints
from ocidist.wire.egress import EgressPolicy, Origin
from ocidist.wire.errorbody import words_of
from ocidist.wire.ratelimit import any_noted, parse_rate_limit
from ocidist.wire.scope import NO_SCOPES
from ocidist.wire.warning import parse_warnings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from ocidist._io.body import Body
    from ocidist.credentials.store import Basic, Credential, CredentialProvider, IdentityToken
    from ocidist.errors import EgressError
    from ocidist.hosts.config import HostsConfig
    from ocidist.hosts.host import HostConfig
    from ocidist.http.caches import ChallengeCache, TokenCache
    from ocidist.http.limits import HostLimits
    from ocidist.http.standing import Trial
    from ocidist.http.timeouts import Timeouts
    from ocidist.observe.hooks import Hook
    from ocidist.wire.endpoints import Endpoint

MAX_WARNINGS: Final = 256
MAX_SITES: Final = 1024
CLEANUP_SECONDS: Final = 2.0

_ONCE: Final = RetryPolicy(attempts=1)
_log = logging.getLogger("ocidist.http")
_warnings_log = logging.getLogger("ocidist.warnings")


_AWAY: Final = "ocidist_away"
_REFUSALS: Final = frozenset({401, 403})


@attrs.frozen
class Parts:
    """What a session is made of; the client puts it together."""

    wire: Callable[[httpx.Request], Awaitable[httpx.Response]]
    dispatch: Callable[[httpx.Request], Awaitable[httpx.Response]]
    headers: Callable[[], httpx.Headers]
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
        self._sites: dict[RegistryName, Site] = {}
        self._retries: set[anyio.CancelScope] = set()
        self._fields = ClientFields(parts.headers)
        self._timeouts = (parts.timeouts.extension(), parts.timeouts.extension(final=True))
        self._rules = Rules(parts.limits, parts.retry, self.emit)
        self._traffic: dict[str, Traffic] = {}
        own = OwnRequests(parts.wire, parts.headers, parts.timeouts, parts.retry, self._report)
        self._schemes = SchemeDetector(own.probe, self._learn)
        source = TokenSource(own.token, parts.egress, parts.token_options)
        self._auth = Authenticator(source, parts.challenges, parts.tokens, parts.token_options, own.root_challenge)
        self._shown: set[tuple[str, str]] = set()
        self._mirrors = Mirrors(parts.hosts, self.ask, self.emit) if parts.hosts.routed else None

    # --- what remote objects use -------------------------------------------------------------------------------------

    @property
    def egress(self) -> EgressPolicy:
        """The client's egress policy."""
        return self._parts.egress

    @property
    def patience(self) -> float:
        """Longest time that a registry may ask to wait, in seconds."""
        return self._parts.retry.max_retry_after

    def host_config(self, registry: RegistryName) -> HostConfig:
        """Return what is configured for a host."""
        return self._parts.hosts.for_host(registry)

    def emit(self, event: Event) -> None:
        """Hand an event record to the client's hooks."""
        emit(self._parts.hooks, event)

    async def site(self, registry: RegistryName, *, policy: RetryPolicy | None = None) -> Site:
        """Return what is known of a registry, detecting its scheme where that is not configured.

        Args:
            registry: The registry.
            policy: How often to try; None is the client's own.
        """
        known = self._sites.get(registry)
        if known is not None:
            return known
        config = self.host_config(registry)
        if config.blocked:
            raise blocked(registry)
        detect = partial(self._schemes.base, registry, config)
        report = partial(self._report, str(registry), "detect the scheme")
        retry = policy or self._parts.retry
        base, _ = await retrying(detect, retry, again=worth_another_try, report=report, stranger=True)
        plain = self._parts.egress.allow_plaintext_credentials
        made = self._sites[registry] = Site(registry, config, base, guessed=config.scheme is None, plaintext=plain)
        if len(self._sites) > MAX_SITES:
            del self._sites[next(iter(self._sites))]
        return made

    async def base_of(self, registry: RegistryName) -> str:
        """Return a registry's base URL. See ``Sender``."""
        return (await self.site(registry)).base

    async def identify(self, registry: RegistryName, credential: Credential | None = None) -> Credential:
        """Return who asks at a registry. See ``Sender``."""
        found = credential or await self._parts.credentials.get(str(registry))
        if found != ANONYMOUS and (await self.site(registry)).too_plain:
            raise unsent(str(registry))
        return found

    async def identity_token(self, registry: RegistryName, credential: Basic) -> IdentityToken | None:
        """Return what a registry's token server gives in place of a password. See ``Sender``."""
        site = await self.site(registry)
        return None if site.too_plain else await self._auth.identity_token(site.origin, credential)

    def exchange(
        self,
        registry: RegistryName,
        endpoint: Endpoint,
        *,
        body: Body | None = None,
        credential: Credential | None = None,
        reference: Callable[[], str] | None = None,
    ) -> AbstractAsyncContextManager[HttpReply]:
        """Send one endpoint and yield its answer; see ``sender.Sender.exchange``."""
        call = Call(
            endpoint,
            endpoint.scopes,
            body,
            direct=endpoint.direct,
            registry=registry,
            credential=credential,
            final=endpoint.final,
        )
        ask = None if self._mirrors is None else self._mirrors.asking(registry, endpoint)
        return Asking(ask or self.ask, registry, endpoint, call, reference)

    async def ask(self, registry: RegistryName, endpoint: Endpoint, call: Call) -> HttpReply:
        """Send an endpoint and return its answer, whose status is one of success; close it."""
        timeouts = self._timeouts[call.final]
        if call.trial is None:
            site = await self.site(registry)
        else:
            site = await self.site(registry, policy=_ONCE)
            timeouts = call.trial.shorten(timeouts)
            call.trial.pause()
        request = build(site, endpoint, call, self._fields, timeouts)
        try:
            response = await self._parts.dispatch(request)
        except TransportError as error:
            other = await self._moved(site, error, call.trial)
            if other is None or not replayable(request, call):
                raise
            site = other
            response = await self._parts.dispatch(build(site, endpoint, call, self._fields, timeouts))
        reply = HttpReply(response)
        if response.status_code in endpoint.success:
            return reply
        try:
            failure = await failure_of(response, endpoint, request.origin if endpoint.roams else site.origin)
        finally:
            await reply.aclose()
        if failure.status == TLS_PORT_ANSWER and not failure.errors and site.origin.scheme == "http":
            # So says a server that is spoken to in plain http where it wants TLS.
            other = await self._moved(site, failure, call.trial)
            if other is not None and replayable(request, call):
                return await self.ask(registry, endpoint, call)
        raise failure

    async def _moved(self, site: Site, error: OciError, trial: Trial | None) -> Site | None:
        """Return what a registry is now that speaks another scheme than it was found to; None if it does not."""
        if not site.guessed or isinstance(error, TransportTimeoutError | SchemeDetectionError):
            return None
        self._sites.pop(site.registry, None)
        self._schemes.forget(site.registry)
        if trial is not None:
            # Another host is asked now; what this one speaks is found out the next time.
            return None
        try:
            found = await self.site(site.registry)
        except OciError:
            return None
        return None if found.base == site.base else found

    # --- what Client.send() uses -------------------------------------------------------------------------------------

    async def send(self, request: httpx.Request, call: Call, *, follow: bool) -> httpx.Response:
        """Send a request with everything that belongs to it and return its answer, the body unread."""
        started = monotonic()
        try:
            response, attempts = await self._attempt(request, call, follow=follow), 1
        except Exception as error:
            if call.trial is not None:
                # There is another host to ask.
                raise
            response, attempts = await self._more(error, request, call, follow=follow, started=started)
        response.extensions["ocidist_attempts"] = attempts
        return response

    async def _more(
        self, failure: Exception, request: httpx.Request, call: Call, *, follow: bool, started: float
    ) -> tuple[httpx.Response, int]:
        host, operation = _host_of(request, call), operation_of(request, call)
        traffic = self._traffic.get(host)
        with anyio.CancelScope() as scope:
            self._retries.add(scope)
            try:
                return await retried(
                    failure,
                    partial(self._attempt, request, call, follow=follow),
                    self._parts.retry,
                    again=partial(may_repeat, request, call),
                    report=partial(self._report, host, operation),
                    started=started,
                    spend=None if traffic is None else traffic.may_retry,
                    stranger=traffic is None or traffic.answered == 0,
                )
            except (BusyError, DownError) as error:
                ended = error
            finally:
                self._retries.discard(scope)
            return final(ended, request), ended.attempts or 1
        raise ClientClosedError("the client was closed")

    def close(self) -> None:
        """Tell those who wait for another attempt that there will be none."""
        for scope in list(self._retries):
            scope.cancel()
        for traffic in self._traffic.values():
            traffic.close()

    async def _attempt(self, request: httpx.Request, call: Call, *, follow: bool) -> httpx.Response:
        place = self._place(request, call)
        if not place.take_now():
            await place.take()
        if call.trial is not None:
            call.trial.begin()
        try:
            response = await self._authenticated(request, call, follow=follow)
            self._notice(response, place)
            if response.status_code in RETRIED_STATUSES:
                await refuse_busy(request, response, call, patience=self._parts.retry.max_retry_after)
        except Exception as error:
            failure = place.failed(error, away=request.extensions.pop(_AWAY, False) or _roams(request, call))
            if failure is error:
                raise
            raise failure from None
        except BaseException:
            place.given_up()
            raise
        lane = place.lane
        lane.answered += 1
        if lane.easing or lane.down:
            place.passed()
        if response.is_closed or is_whole(response):
            # Nobody has to be waited for any more.
            place.release()
        else:
            response.stream = TrackedStream(response.stream, place)  # type: ignore[arg-type]  # the async side of httpx
        return response

    def _place(self, request: httpx.Request, call: Call) -> Place:
        if isinstance(request, LeanRequest):
            # Upload sessions may go on at other hosts; the registry's limit holds for all that is its doing.
            host, config = request.site.name, request.site.config
        else:
            config = self._parts.hosts.for_origin(origin_of(request))
            if config.blocked:
                raise blocked(RegistryName.parse(request.url.netloc.decode("ascii")))
            host = _host_of(request, call)
        traffic = self._traffic.get(host)
        if traffic is None:
            traffic = self._traffic[host] = Traffic(host, config, self._rules)
            if len(self._traffic) > MAX_SITES:
                del self._traffic[next(iter(self._traffic))]
        if isinstance(call.endpoint, endpoints.GetBlob):
            lane = traffic.stream
        else:
            lane = traffic.read if request.method in SAFE else traffic.write
        return Place(traffic, lane, request, call)

    async def _authenticated(self, request: httpx.Request, call: Call, *, follow: bool) -> httpx.Response:
        turn = None if call.direct or is_authorized(request) else await self._turn(request, call)
        if turn is None:
            return (await self._try(NOTHING, request, call, follow=follow)).response
        again = replayable(request, call)
        attempt = partial(self._try, request=request, call=call, follow=follow)
        if not again and not self._auth.informed(turn):
            # The body can be sent once: find out first what has to come with it.
            await self._auth.inquire(turn)
        try:
            known = self._auth.known(turn)
            answered = await (self._auth.first(turn, attempt) if known is None else attempt(known))
        except AuthError as error:
            if call.endpoint is not None and not (again and turn.credential == ANONYMOUS):
                raise
            # Whoever made the request themselves gets the registry's own answer; and what is wanted elsewhere need not
            # be wanted here of those who have nothing to show.
            answered = await attempt(NOTHING)
            if call.endpoint is not None and answered.refused is not None:
                raise explained(turn, error) from error.__cause__
            return answered.response
        while answered.refused is not None:
            proof = await self._next_proof(call, turn, answered)
            if proof is None or (call.endpoint is None and not again):
                break
            if not again:
                msg = f"the registry wants other credentials for the {request.method}, and its body was sent already"
                raise BodyNotReplayableError(msg)
            answered = await attempt(proof)
        refusal = self._noted(call, turn, answered)
        if refusal is not None:
            await snapshot(answered.response, 0)
            raise refusal
        return answered.response

    def _noted(self, call: Call, turn: Turn, answered: Answered) -> AuthError | None:
        """Take note of credentials that were not sent; return what to raise where that is why the answer is no."""
        refusal = answered.sent.refusal
        if answered.response.status_code == httpx.codes.FORBIDDEN:
            self._auth.denied(turn, answered.sent)
            if call.endpoint is not None:
                return refusal
        if refusal is not None or turn.withheld:
            answered.response.extensions[WITHHELD] = refusal or unsent(turn.host)
        return None

    async def _turn(self, request: httpx.Request, call: Call) -> Turn | None:
        if isinstance(request, LeanRequest):
            site = request.site
            if request.origin is not site.origin and request.origin != site.origin:
                return None
            origin, name, host, root = site.origin, site.name, site.base, isinstance(call.endpoint, endpoints.Ping)
        else:
            origin = origin_of(request)
            registry = call.registry or _named(request.url)
            if registry is None or (call.registry and Origin.of(f"{origin.scheme}://{registry.api_host}") != origin):
                return None
            name, host, root = str(registry), str(origin), request.url.path == ROOT
        credential = call.credential
        if credential is None:
            repository = getattr(call.endpoint, "repository", None)
            credential = checked_credential(await self._parts.credentials.get(name, repository=repository))
        withheld = (
            isinstance(request, LeanRequest)
            and request.site.too_plain
            and (credential != ANONYMOUS or bool(request.site.config.headers))
        )
        return Turn(
            origin,
            ANONYMOUS if withheld else credential,
            NO_SCOPES if call.scopes is None else call.scopes,
            root=root,
            host=host,
            size=None if call.body is None else call.body.size,
            withheld=withheld,
        )

    async def _next_proof(self, call: Call, turn: Turn, answered: Answered) -> Proof | None:
        try:
            return await self._auth.answer(turn, answered.sent, answered.refused or ())
        except AuthError as error:
            if call.endpoint is None:
                return None
            if turn.withheld:
                raise explained(turn, error) from None
            said = words_of(answered.response.content) if isinstance(error, ChallengeError) else ""
            if said:
                # Some registries refuse without a challenge, and their words are all there is to go by.
                raise ChallengeError(f"{error.message}: {said}") from None
            raise

    async def _try(self, proof: Proof, request: httpx.Request, call: Call, *, follow: bool) -> Answered:
        """Send a request with this proof and say whether the registry itself refused it."""
        guard = self._guard(request, call) if isinstance(request, LeanRequest) else None
        response, at_home = await self._hop(request, proof, call, guard), True
        if follow and response.status_code in FOLLOWED:
            response, at_home = await self._redirected(request, response, call, proof)
        if not at_home or response.status_code not in _REFUSALS:
            return Answered(None, response, proof)
        values = tuple(response.headers.get_list("WWW-Authenticate"))
        remembered = proof.token is not None and proof.asked is None
        if response.status_code == httpx.codes.UNAUTHORIZED:
            return Answered(values, await snapshot(response, MAX_ERROR_BODY), proof)
        if not remembered:
            return Answered(None, response, proof)
        # Amazon ECR answers 403 when a token that it took before has expired.
        kept = await snapshot(response, MAX_ERROR_BODY)
        return Answered(values if values or b"expired" in kept.content.lower() else None, kept, proof)

    # --- redirects ---------------------------------------------------------------------------------------------------

    async def _redirected(
        self, request: httpx.Request, response: httpx.Response, call: Call, proof: Proof
    ) -> tuple[httpx.Response, bool]:
        """Follow redirects and return the answer at their end, and whether they never left their origin."""
        home, current, at_home = str(request.url), request, True
        first = Origin.of(home)
        registry = request.site.origin if isinstance(request, LeanRequest) else first
        seen = {home}
        history: list[httpx.Response] = []
        for _ in range(self._parts.egress.max_redirects + 1):
            try:
                hop = next_hop(current, response, call=call, policy=self._parts.egress, home=home, at_home=at_home)
            except BaseException:
                await snapshot(response, 0)
                raise
            response.history = history
            if hop is None:
                return response, at_home
            history = [*history, await snapshot(response, MAX_ERROR_BODY)]
            current, at_home = hop.request, hop.at_home
            if str(current.url) in seen or len(history) > self._parts.egress.max_redirects:
                break
            seen.add(str(current.url))
            target = Origin.of(str(current.url))
            request.extensions[_AWAY] = not at_home
            self.emit(RequestRedirected(_host_of(request, call), operation_of(request, call), target.netloc))
            # Also where the chain began elsewhere and stays there: a name may lead to another address by now.
            guard = self._guarded(registry, target, RedirectRefusedError)
            response = await self._hop(current, proof if at_home else NOTHING, call, guard)
        here, there = str(first), str(Origin.of(str(current.url)))
        raise RedirectRefusedError(here, there, f"it goes in a circle, or on for more than {len(seen) - 1} steps")

    async def _hop(
        self, request: httpx.Request, proof: Proof, call: Call, guard: AddressGuard | None
    ) -> httpx.Response:
        if isinstance(request, LeanRequest):
            sent: httpx.Request = request.again(proof.header)
        else:
            sent = Request(request.method, request.url, headers=request.headers, extensions=request.extensions)
            sent.stream = request.stream
            if proof.header is not None:
                sent.headers["Authorization"] = proof.header
        if guard is not None:
            sent.extensions = {**sent.extensions, CHECK: guard}
        failure: Exception
        try:
            return await self._parts.wire(sent)
        except httpx.RequestError as error:
            failure = bare(error) if call.endpoint is None else translate(error)
            if guard is not None and isinstance(failure, TransportError):
                # Otherwise it would read as if the registry itself did not answer.
                failure.message = f"{failure.message}, at {guard.target}, which {guard.registry} named"
        finally:
            if isinstance(sent.stream, RequestStream) and sent.stream.half_read:
                with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
                    await sent.stream.aclose()
        raise failure

    def _guard(self, request: LeanRequest, call: Call) -> AddressGuard | None:
        """Return the check for a request to a place that the registry named: an upload session, another page."""
        home = request.site.origin
        if request.origin is home or request.origin == home:
            return None
        refuse = LocationRefusedError if call.endpoint is None else call.endpoint.refused
        return self._guarded(home, request.origin, refuse)

    def _guarded(self, home: Origin, target: Origin, refuse: type[EgressError]) -> AddressGuard | None:
        return None if target == home else AddressGuard(home, target, self._parts.egress, refuse)

    # --- telling -----------------------------------------------------------------------------------------------------

    def _learn(self, base: str, response: httpx.Response) -> None:
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return
        try:
            self._auth.learn(Origin.of(base), response.headers.get_list("WWW-Authenticate"))
        except ChallengeError:
            _log.debug("%s sends a challenge that cannot be read", base)

    def _notice(self, response: httpx.Response, place: Place) -> None:
        fields = fields_of(response)
        if any_noted(fields):
            quota = parse_rate_limit(response.headers.get, now=sent_at(response))
            # Those of another host are not the registry's.
            if quota is not None and not response.history:
                place.traffic.gauge(quota)
        if b"warning" not in fields:
            return
        host = response.request.url.netloc.decode("ascii")
        for text in parse_warnings(response.headers.get_list("Warning")):
            if (host, text) in self._shown or len(self._shown) >= MAX_WARNINGS:
                continue
            self._shown.add((host, text))
            _warnings_log.warning("%s: %s", host, text)
            self.emit(WarningReceived(host, text))

    def _report(self, host: str, operation: str, attempt: int, wait: float, error: Exception) -> None:
        reason = error.message if isinstance(error, OciError) else type(error).__name__
        _log.info("%s: %s failed (%s), attempt %d; trying again", host, operation, reason, attempt)
        self.emit(RequestRetried(host, operation, attempt, wait, reason))


def _roams(request: httpx.Request, call: Call) -> bool:
    """Return whether a request goes to another server on behalf of the registry."""
    if call.endpoint is None or not call.endpoint.roams or not isinstance(request, LeanRequest):
        return False
    return request.origin != request.site.origin


def _host_of(request: httpx.Request, call: Call) -> str:
    if isinstance(request, LeanRequest):
        return request.site.name
    return str(call.registry or request.url.netloc.decode("ascii"))


def _named(url: httpx.URL) -> RegistryName | None:
    """Return the registry a user's own URL names, or None if it is no registry URL."""
    if ROOT not in f"{url.path}/":
        return None
    try:
        return RegistryName.parse(url.netloc.decode("ascii"))
    except InvalidReferenceError:
        return None

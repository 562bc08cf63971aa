"""The client: an ``httpx.AsyncClient`` that knows registries."""

from __future__ import annotations

import logging
import ssl
import time
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypedDict

import httpx

from ocidist._version import version
from ocidist.credentials.environment import client_credentials
from ocidist.errors import ClientClosedError, OciError, UsageError
from ocidist.hosts.config import HostsConfig
from ocidist.http.affinity import Affinity
from ocidist.http.caches import MemoryChallengeCache, MemoryTokenCache
from ocidist.http.failure import as_httpx
from ocidist.http.lean import LeanRequest
from ocidist.http.limits import HostLimits
from ocidist.http.message import raw_call, scrubbed
from ocidist.http.reply import TimedStream
from ocidist.http.retry import RetryPolicy
from ocidist.http.sender import Call
from ocidist.http.session import Parts, Session
from ocidist.http.timeouts import Timeouts
from ocidist.http.tokens import TokenOptions
from ocidist.http.transport.direct import MAX_IDLE, DirectTransport
from ocidist.http.transport.fallback import POOL, FallbackTransports, silence_headers
from ocidist.http.transport.handshake import no_handshake_left
from ocidist.http.transport.trust import HostTls, SystemTrust
from ocidist.model.reference import Reference, RegistryName, located
from ocidist.observe.hooks import checked
from ocidist.wire.egress import EgressPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from types import TracebackType

    from httpx._client import UseClientDefault
    from httpx._types import AuthTypes, CertTypes, HeaderTypes, ProxyTypes, QueryParamTypes
    from typing_extensions import Unpack

    from ocidist.credentials.store import Credential, Credentials
    from ocidist.hosts.host import HostConfig
    from ocidist.http.caches import ChallengeCache, TokenCache
    from ocidist.http.sender import Sender
    from ocidist.observe.hooks import Hook
    from ocidist.remote.registry import Registry
    from ocidist.remote.repository import Repository


# Read here once: looking up the version reads files, which nobody should wait for inside an event loop.
USER_AGENT = f"ocidist/{version()}"


class HttpxOptions(TypedDict, total=False):
    """httpx's own keyword arguments that a client passes on as they are."""

    params: QueryParamTypes | None
    headers: HeaderTypes | None
    auth: AuthTypes | None
    http1: bool
    http2: bool
    proxy: ProxyTypes | None
    mounts: Mapping[str, httpx.AsyncBaseTransport | None] | None
    follow_redirects: bool
    event_hooks: Mapping[str, list[Callable[..., Any]]] | None
    transport: httpx.AsyncBaseTransport | None
    verify: ssl.SSLContext | bool
    default_encoding: str | Callable[[bytes], str]


# A program that does not configure logging gets no lines of ours on its stderr.
logging.getLogger("ocidist").addHandler(logging.NullHandler())


class Client(httpx.AsyncClient):
    """A client for any number of registries, to be used within one event loop.

    Challenges, tokens, schemes and limits are kept per host. ``send()`` authenticates every request for the registry
    its caller named, so plain calls like ``client.get("https://host/v2/...")`` work as well; they raise httpx's errors.

    Args:
        credentials: Who asks: a mapping from host to credential, a provider, or a callable. None means what Docker's
            and Podman's files and helpers have (``DefaultCredentials``) if ``trust_env`` is on, else nobody.
        hosts: Configuration by registry name, by a namespace in one (``ghcr.io/acme``) or by domain (``*.lan``): TLS,
            mirrors to read from, limits. ``HostsConfig.from_hosts_toml`` and its like read it from files. What a
            ``registries.conf`` says of credential helpers is heeded where ``credentials`` is None.
        egress: Where server-supplied URLs may lead.
        token_options: How tokens are asked for.
        challenge_cache: Where challenges are remembered; in memory by default.
        token_cache: Where tokens are remembered; in memory by default.
        retry: How often failed requests are tried again.
        limits: How many requests may be under way at once on one host.
        hooks: Callables that are given event records.
        timeout: Idle timeouts of each phase; httpx's forms are taken too.
        trust_env: Whether to use what the environment has: credentials, and proxies (never for loopback hosts). If not,
            no credential file and no helper is looked at.
        **options: httpx's own arguments. A ``transport``, or those of ``mounts``, carry the requests that are theirs as
            they are: per-host TLS settings do not apply there. ``headers`` go with every request to a registry.
            ``auth`` and ``params`` are for requests made with httpx's methods only; registries and repositories use
            ``credentials``.

    Certificate files are read when a connection first needs them, in a worker thread.

    Raises:
        UsageError: An argument cannot be used.
    """

    def __init__(
        self,
        *,
        credentials: Credentials | None = None,
        hosts: Mapping[str, HostConfig] | HostsConfig | None = None,
        egress: EgressPolicy | None = None,
        token_options: TokenOptions | None = None,
        challenge_cache: ChallengeCache | None = None,
        token_cache: TokenCache | None = None,
        retry: RetryPolicy | None = None,
        limits: HostLimits | None = None,
        hooks: Iterable[Hook] = (),
        timeout: Timeouts | httpx.Timeout | float | None = Timeouts(),  # noqa: B008 -- a frozen value
        trust_env: bool = True,
        **options: Unpack[HttpxOptions],
    ) -> None:
        timeouts = Timeouts.of(timeout)
        self._hosts = hosts if isinstance(hosts, HostsConfig) else HostsConfig(hosts)
        trust = SystemTrust(None if "verify" not in options else httpx.create_ssl_context(options["verify"]))
        options["verify"] = trust.context
        self._tls = HostTls(self._hosts, trust.get)
        self._direct: DirectTransport | None = None
        self._affinity = Affinity()
        self._widest = self._hosts.widest((limits or HostLimits()).concurrency)
        self._transports = FallbackTransports(
            self._hosts,
            self._tls,
            trust_env=trust_env,
            http1=options.get("http1", True),
            http2=options.get("http2", False),
            proxy=options.get("proxy"),
        )
        self._given = options.get("transport") is not None
        self._mounted = bool(options.get("mounts"))
        super().__init__(
            timeout=timeouts.as_httpx(),
            trust_env=trust_env,
            limits=POOL,
            # Registries set session cookies, and sending them back turns on cross-site checks meant for browsers.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            **options,
        )
        if "User-Agent" not in httpx.Headers(options.get("headers")):
            self.headers["User-Agent"] = USER_AGENT
        # httpx would ask for compressed answers, and digests are of the bytes as they are stored.
        self.headers["Accept-Encoding"] = "identity"
        silence_headers()
        self._session = Session(
            Parts(
                wire=self._wire,
                dispatch=self._dispatch,
                headers=lambda: self.headers,
                credentials=client_credentials(
                    credentials, trust_env=trust_env, helpers=self._hosts.credential_helpers
                ),
                hosts=self._hosts,
                egress=egress or EgressPolicy(),
                token_options=token_options or TokenOptions(),
                challenges=challenge_cache or MemoryChallengeCache(),
                tokens=token_cache or MemoryTokenCache(),
                retry=retry or RetryPolicy(),
                limits=limits or HostLimits(),
                hooks=checked(hooks),
                timeouts=timeouts,
            )
        )

    # --- registries --------------------------------------------------------------------------------------------------

    def registry(self, name: str | RegistryName, *, credential: Credential | None = None) -> Registry:
        """Return the registry of this name. No request is made.

        Args:
            name: ``host[:port]``, with ``http://`` or ``https://`` before it to fix the scheme.
            credential: Identity to use instead of the client's own for this host.

        Raises:
            InvalidReferenceError: The name does not follow the grammar.
            UsageError: *credential* is none.
        """
        from ocidist.remote.registry import Registry  # noqa: PLC0415 -- see __init__.py: imported on first use

        found = name if isinstance(name, RegistryName) else RegistryName.parse(name)
        return Registry(self._session, found, credential=credential)

    def repository(self, reference: str | Reference, *, credential: Credential | None = None) -> Repository:
        """Return the repository that a reference names; its tag or digest is ignored. No request is made.

        Args:
            reference: ``host[:port]/repository``, with ``http://`` or ``https://`` before it to fix the scheme;
                Docker's short names mean Docker Hub.
            credential: Identity to use instead of the client's own for this host.

        Raises:
            InvalidReferenceError: The reference does not follow the grammar.
            UsageError: *credential* is none.
        """
        found = reference if isinstance(reference, Reference) else located(reference)
        return self.registry(found.registry, credential=credential).repository(found.repository)

    @property
    def sender(self) -> Sender:
        """What other protocols than OCI's send through, with all that belongs to it; see ``ocidist.legacy``."""
        return self._session

    async def detect_scheme(self, name: str | RegistryName) -> str:
        """Return ``"https"`` or ``"http"``, whichever the registry speaks, and remember it.

        Raises:
            TlsError: Its certificate is not trusted; plain http is not tried then.
            SchemeDetectionError: Nothing answers.
        """
        found = name if isinstance(name, RegistryName) else RegistryName.parse(name)
        try:
            base = (await self._session.site(found)).base
        except OciError as error:
            error.locate(operation="detect the scheme", host=str(found))
            raise scrubbed(error) from error.__cause__
        return base.partition(":")[0]

    # --- httpx -------------------------------------------------------------------------------------------------------

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: AuthTypes | UseClientDefault | None = httpx.USE_CLIENT_DEFAULT,
        follow_redirects: bool | UseClientDefault = httpx.USE_CLIENT_DEFAULT,
    ) -> httpx.Response:
        """Send a request with authentication, redirects, retries and limits; see ``httpx.AsyncClient.send``.

        A request that already has an Authorization header, a user name in its URL, or comes with ``auth=``, keeps it.

        Raises:
            httpx.HTTPError: No complete answer arrived, or a redirect is refused.
            ClientClosedError: The client was closed.
            UsageError: The client belongs to another event loop, or to the process this one was forked from.
        """
        self._check_open()
        self._affinity.check()
        call = request.extensions.get("ocidist")
        if isinstance(call, Call) and call.endpoint is not None:
            response = await self._session.send(request, call, follow=True)
        else:
            response = await self._send_raw(request, auth, follow_redirects)
        if not stream:
            try:
                await response.aread()
            finally:
                await response.aclose()
        return response

    def _check_open(self) -> None:
        if self.is_closed:
            msg = "the client was closed"
            raise ClientClosedError(msg)

    async def _send_raw(
        self,
        request: httpx.Request,
        auth: AuthTypes | UseClientDefault | None,
        follow_redirects: bool | UseClientDefault,  # noqa: FBT001 -- httpx's own parameter
    ) -> httpx.Response:
        follow = self.follow_redirects if not isinstance(follow_redirects, bool) else follow_redirects
        chosen = self._build_request_auth(request, auth)
        if type(chosen) is not httpx.Auth:
            # The caller brings an identity of their own: httpx's flow does exactly what they expect.
            return await super().send(request, stream=True, auth=auth, follow_redirects=follow)
        # Requests that were made without the client have no timeouts yet.
        self._set_timeout(request)
        if request.url.scheme not in {"http", "https"}:
            msg = "only http and https URLs can be asked"
            raise httpx.UnsupportedProtocol(msg, request=request)
        given = request.extensions.get("ocidist")
        call = raw_call(request, direct=isinstance(given, Call) and given.direct)
        failure: httpx.HTTPError
        try:
            return await self._session.send(request, call, follow=follow)
        except UsageError:
            raise
        except OciError as error:
            failure = as_httpx(error, request)
        raise failure

    def _dispatch(self, request: httpx.Request) -> Awaitable[httpx.Response]:
        return self.send(request, stream=True)

    def _wire(self, request: httpx.Request) -> Awaitable[httpx.Response]:
        """Send one request with the user's event hooks around it: no authentication, no redirect."""
        hooks = self.event_hooks
        return self._hooked(request) if hooks["request"] or hooks["response"] else self._send_single_request(request)

    async def _hooked(self, request: httpx.Request) -> httpx.Response:
        for hook in self.event_hooks["request"]:
            await hook(request)
        response = await self._send_single_request(request)
        try:
            for hook in self.event_hooks["response"]:
                await hook(response)
        except BaseException:
            await response.aclose()
            raise
        return response

    def _send_single_request(self, request: httpx.Request) -> Awaitable[httpx.Response]:  # type: ignore[override]  # awaited by httpx
        """Send one request over its transport. httpx's own version would keep cookies, and log the whole URL."""
        self._check_open()
        if self._direct is not None and not self._mounts and isinstance(request, LeanRequest):
            return self._send_lean(request, self._direct)
        return self._send_any(request)

    async def _send_any(self, request: httpx.Request) -> httpx.Response:
        start = time.perf_counter()
        dialled = None
        try:
            transport = await self._transport_of(request.url)
            if transport is self._direct or request.url.scheme != "https":
                response = await transport.handle_async_request(request)
            else:
                async with no_handshake_left(request) as dialled:
                    response = await transport.handle_async_request(request)
        except httpx.RequestError as error:
            error.request = request
            if self._is_proxied(request.url) and not (dialled is not None and dialled.secured):
                proxy = self._transports.proxy_of(request.url)
                raise httpx.ProxyError(f"{proxy}: {error or type(error).__name__}", request=request) from error
            raise
        except ssl.SSLError as error:
            # An alert after the handshake, as for a missing client certificate: nobody below turns it into httpx's.
            raise httpx.ReadError(str(error), request=request) from error
        response.request = request
        response.default_encoding = self._default_encoding
        response.stream = TimedStream(response.stream, response, start)  # type: ignore[arg-type]  # the async side
        return response

    async def _send_lean(self, request: LeanRequest, transport: DirectTransport) -> httpx.Response:
        """Send what ocidist itself asks over its own transport: the stream needs no help, and nobody asks how long."""
        try:
            response = await transport.handle_async_request(request)
        except httpx.RequestError as error:
            error.request = request
            raise
        response.request = request
        return response

    def _init_transport(  # noqa: PLR0917 -- httpx's own signature
        self,
        verify: ssl.SSLContext | str | bool = True,  # noqa: FBT001, FBT002 -- httpx's own parameters, here and below
        cert: CertTypes | None = None,
        trust_env: bool = True,  # noqa: FBT001, FBT002 -- see above
        http1: bool = True,  # noqa: FBT001, FBT002 -- see above
        http2: bool = False,  # noqa: FBT001, FBT002 -- see above
        limits: httpx.Limits = POOL,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> httpx.AsyncBaseTransport:
        """Return the transport for everything that is not mounted or proxied; httpx calls this."""
        if transport is not None or http2 or not http1:
            return super()._init_transport(verify, cert, trust_env, http1, http2, limits, transport)
        # A fan-out that comes and goes should find its connections again.
        self._direct = DirectTransport(tls=self._tls.get, max_idle=max(MAX_IDLE, 2 * self._widest))
        return self._direct

    def _is_proxied(self, url: httpx.URL) -> bool:
        proxied = self._transport_for_url(url) is not self._transport
        return proxied and not (self._given or self._mounted or self._transports.stays_here(url))

    async def _transport_of(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        chosen = self._transport_for_url(url)
        proxied = chosen is not self._transport
        if self._given or (proxied and self._mounted):
            return chosen
        if proxied and self._transports.stays_here(url):
            chosen, proxied = self._transport, False
        if url.scheme != "https" or chosen is self._direct:
            return chosen
        return await self._transports.get(url, proxied=proxied) or chosen

    async def aclose(self) -> None:
        """Close every connection. Closing twice is harmless."""
        self._session.close()
        try:
            await super().aclose()
        finally:
            await self._transports.aclose()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Close every connection."""
        self._session.close()
        try:
            await super().__aexit__(exc_type, exc_value, traceback)
        finally:
            await self._transports.aclose()

    def __repr__(self) -> str:
        return f"<ocidist.Client {'closed' if self.is_closed else 'open'}>"

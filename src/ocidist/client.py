"""The client: an ``httpx.AsyncClient`` that knows registries."""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypedDict

import httpx

from ocidist._version import version
from ocidist.credentials.store import as_provider
from ocidist.errors import ClientClosedError, EgressError, OciError, UsageError
from ocidist.hosts.config import HostConfig, HostsConfig
from ocidist.http.caches import MemoryChallengeCache, MemoryTokenCache
from ocidist.http.limits import HostLimits
from ocidist.http.retry import RetryPolicy
from ocidist.http.sender import Call
from ocidist.http.session import Parts, Session, raw_call
from ocidist.http.timeouts import Timeouts
from ocidist.http.tokens import TokenOptions
from ocidist.http.transport.default import POOL, make_transport, silence_headers, tls_context
from ocidist.model.reference import Reference, RegistryName
from ocidist.wire.egress import EgressPolicy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from httpx._client import UseClientDefault
    from httpx._types import AuthTypes, HeaderTypes, ProxyTypes, QueryParamTypes
    from typing_extensions import Unpack

    from ocidist.credentials.store import Credential, Credentials
    from ocidist.http.caches import ChallengeCache, TokenCache
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


class Client(httpx.AsyncClient):
    """A client for any number of registries, to be used within one event loop.

    Challenges, tokens, schemes and limits are kept per host. ``send()`` authenticates every request for the registry
    its caller named, so plain calls like ``client.get("https://host/v2/...")`` work as well; they raise httpx's errors.

    Args:
        credentials: Who asks: a mapping from host to credential, a provider, or a callable. None is anonymous.
        hosts: Configuration by registry name.
        egress: Where server-supplied URLs may lead.
        token_options: How tokens are asked for.
        challenge_cache: Where challenges are remembered; in memory by default.
        token_cache: Where tokens are remembered; in memory by default.
        retry: How often failed requests are tried again.
        limits: How many requests may be under way at once on one host.
        hooks: Callables that are given event records.
        timeout: Idle timeouts of each phase; httpx's forms are taken too.
        trust_env: Whether to use the proxies of the environment.
        **options: httpx's own arguments. A ``transport`` or ``mounts`` given here carries every request; per-host TLS
            settings then do not apply.

    Raises:
        UsageError: An argument cannot be used.
        TlsError: A certificate file cannot be read.
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
        self._own_transports = options.get("transport") is None
        self._host_transports: dict[str, httpx.AsyncBaseTransport] = {}
        self._http2 = options.get("http2", False)
        if "verify" not in options:
            options["verify"] = tls_context(HostConfig())
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
                user_agent=self.headers["User-Agent"],
                credentials=as_provider(credentials),
                hosts=self._hosts,
                egress=egress or EgressPolicy(),
                token_options=token_options or TokenOptions(),
                challenges=challenge_cache or MemoryChallengeCache(),
                tokens=token_cache or MemoryTokenCache(),
                retry=retry or RetryPolicy(),
                limits=limits or HostLimits(),
                hooks=tuple(hooks),
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
        """
        scheme, separator, rest = ("", "", reference)
        if isinstance(reference, str):
            scheme, separator, rest = reference.partition("://")
            rest = rest if separator else reference
        found = Reference.parse(rest) if isinstance(rest, str) else rest
        host = f"{scheme}://{found.registry}" if separator else found.registry
        return self.registry(host, credential=credential).repository(found.repository)

    async def detect_scheme(self, name: str | RegistryName) -> str:
        """Return ``"https"`` or ``"http"``, whichever the registry speaks, and remember it.

        Raises:
            TlsError: Its certificate is not trusted; plain http is not tried then.
            SchemeDetectionError: Nothing answers.
        """
        found = name if isinstance(name, RegistryName) else RegistryName.parse(name)
        base = await self._session.base(found)
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
        """
        if self.is_closed:
            msg = "the client was closed"
            raise ClientClosedError(msg)
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
        given = request.extensions.get("ocidist")
        call = raw_call(request, direct=isinstance(given, Call) and given.direct)
        failure: httpx.HTTPError
        try:
            return await self._session.send(request, call, follow=follow)
        except UsageError:
            raise
        except OciError as error:
            kind = httpx.TooManyRedirects if isinstance(error, EgressError) else httpx.RemoteProtocolError
            failure = kind(str(error), request=request)
        raise failure

    async def _dispatch(self, request: httpx.Request) -> httpx.Response:
        return await self.send(request, stream=True)

    async def _wire(self, request: httpx.Request) -> httpx.Response:
        """Send one request over a transport: no authentication, no redirect, no cookie, no log of its URL."""
        if self.is_closed:
            msg = "the client was closed"
            raise ClientClosedError(msg)
        for hook in self.event_hooks["request"]:
            await hook(request)
        response = await self._transport_of(request.url).handle_async_request(request)
        response.request = request
        response.default_encoding = self._default_encoding
        for hook in self.event_hooks["response"]:
            await hook(response)
        return response

    def _transport_of(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        chosen = self._transport_for_url(url)
        if not self._own_transports or chosen is not self._transport:
            return chosen
        host = url.netloc.decode("ascii")
        found = self._host_transports.get(host)
        if found is None:
            config = self._hosts.for_host(RegistryName.parse(host))
            custom = config.custom_tls and url.scheme == "https"
            found = make_transport(config, trust_env=self.trust_env, http2=self._http2) if custom else chosen
            self._host_transports[host] = found
        return found

    async def aclose(self) -> None:
        """Close every connection. Closing twice is harmless."""
        try:
            await super().aclose()
        finally:
            await self._close_host_transports()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Close every connection."""
        try:
            await super().__aexit__(exc_type, exc_value, traceback)
        finally:
            await self._close_host_transports()

    async def _close_host_transports(self) -> None:
        transports, self._host_transports = set(self._host_transports.values()), {}
        for transport in transports - {self._transport}:
            await transport.aclose()

    def __repr__(self) -> str:
        return f"<ocidist.Client {'closed' if self.is_closed else 'open'}>"

"""A registry for tests: the embedded one, on loopback, started in a few milliseconds.

``with serve() as registry`` and ``async with serve() as registry`` do the same; the registry runs in a thread of its
own, so what talks to it may run on asyncio, on trio, or on neither.
"""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

import anyio
import anyio.to_thread

from ocidist.errors import UsageError
from ocidist.server.app import RegistryApp
from ocidist.server.faults import Faults
from ocidist.server.quirks import PRESETS
from ocidist.storage.memory import MemoryRegistry
from ocidist.testing.content import Content
from ocidist.testing.requests import SeenRequest, Watched
from ocidist.testing.runner import LOOPBACK, loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from ocidist.client import Client
    from ocidist.issuer.keys import KeyMaterial
    from ocidist.server.auth import Guard
    from ocidist.server.faults import Fault
    from ocidist.server.limits import Limits
    from ocidist.server.quirks import Quirks
    from ocidist.storage.protocols import Namespace
    from ocidist.testing.pieces import Built
    from ocidist.testing.runner import LoopbackServer
    from ocidist.wire.scope import ScopeSet

T = TypeVar("T")

TOKEN_PATH: Final = "/token"  # noqa: S105 -- a path
"""Where the token server of a registry is that wants tokens."""

_SERVICE: Final = "ocidist.testing"
_STOP_S: Final = 10


class LoopbackRegistry:
    """A registry that runs on this machine for a test. Get it from ``serve`` or the fixture ``oci_registry``.

    Attributes:
        host: Where it listens, ``127.0.0.1:port``: what references to it begin with.
        url: The same with the scheme before it.
        store: What it serves. It belongs to the registry's thread: use it through ``call``.
        requests: What it was asked so far, in the order of the answers; ``requests.clear()`` begins anew.
        faults: What goes wrong: ``faults.add(Fault(...))`` lets more of it do so, ``faults.met`` is what did.
        ca: PEM file of the certificate to trust, or None without TLS.
        username: Who may do everything, where it asks; else None.
        password: Their password.
    """

    def __init__(
        self,
        server: LoopbackServer,
        store: Namespace,
        requests: list[SeenRequest],
        faults: Faults,
        *,
        ca: Path | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        self._server = server
        self.host: str = server.host
        self.url: str = server.url
        self.store: Namespace = store
        self.requests: list[SeenRequest] = requests
        self.faults: Faults = faults
        self.ca: Path | None = ca
        self.username: str | None = login[0] if login else None
        self.password: str | None = login[1] if login else None

    def __repr__(self) -> str:
        return f"<LoopbackRegistry {self.url}>"

    @property
    def connections(self) -> int:
        """Connections that are open at the moment, those that clients keep for later included."""
        return self._server.connections

    @property
    def client_options(self) -> dict[str, Any]:
        """What ``ocidist.Client`` has to be given to do everything here, whatever the environment says."""
        from ocidist import Basic, HostConfig  # noqa: PLC0415 -- who brings a client of their own does not need them

        scheme: Any = self.url.partition(":")[0]
        login = None if self.username is None or self.password is None else Basic(self.username, self.password)
        return {
            "credentials": {} if login is None else {self.host: login},
            "hosts": {self.host: HostConfig(scheme=scheme, ca=self.ca)},
        }

    def client(self, **overrides: Any) -> Client:  # noqa: ANN401 -- as the client has them
        """Return a new client for this registry; close it, or use it with ``async with``.

        Args:
            **overrides: Arguments of ``Client`` that replace or complete ``client_options``.

        Raises:
            UsageError: See ``Client``.
        """
        from ocidist import Client  # noqa: PLC0415 -- see client_options

        return Client(**(self.client_options | overrides))

    @overload
    def call(self, function: Callable[..., Awaitable[T]], *args: object) -> T: ...

    @overload
    def call(self, function: Callable[..., T], *args: object) -> T: ...

    def call(self, function: Callable[..., Any], *args: object) -> Any:
        """Call a function, or a coroutine function, in the registry's thread and return what it returns.

        For example ``registry.call(registry.store.repository("demo/app").manifests.get, "v1")``. The caller waits, no
        longer than the function takes; that goes inside an event loop too.

        Args:
            function: What to call.
            *args: Its arguments.

        Raises:
            RuntimeError: The registry has stopped.
        """
        return self._server.call(function, *args)

    def add(self, repository: str, content: Content | Mapping[str, Any]) -> Built:
        """Put content into a repository, past authentication, limits and the request log.

        Args:
            repository: Its name; it need not exist.
            content: What to put there, or the mapping that ``Content.of`` takes.

        Returns:
            What was put there, by its ids.

        Raises:
            UsageError: The content refers to what it does not have, or in a circle.
            InvalidReferenceError: The name is none.
        """
        found = content if isinstance(content, Content) else Content.of(content)
        return self.call(found.push_to, self.store.repository(repository))


class Serving:
    """A registry that runs while the block does: ``with`` and ``async with`` both work. Get it from ``serve``."""

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin = begin
        self._running: Any = None
        self._lock = threading.Lock()
        self._abandoned = False

    def __enter__(self) -> LoopbackRegistry:
        """Start the registry.

        Raises:
            UsageError: It runs already.
        """
        running = self._begin()
        registry: LoopbackRegistry = running.__enter__()
        with self._lock:
            if not self._abandoned:
                self._running = running
                return registry
        running.__exit__(None, None, None)
        raise UsageError("nobody waits for this registry any more")

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Stop the registry."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.__exit__(None, None, None)

    async def __aenter__(self) -> LoopbackRegistry:
        """Start the registry without holding up the event loop."""
        try:
            return await anyio.to_thread.run_sync(self.__enter__)
        except BaseException:
            # A native cancellation does not wait for the thread, which may have started it by now, or still will.
            with self._lock:
                self._abandoned = True
            self.__exit__()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Stop the registry without holding up the event loop."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_STOP_S):
            await anyio.to_thread.run_sync(self.__exit__)


def serve(
    store: Namespace | None = None,
    *,
    auth: tuple[str, str] | Mapping[str, str] | None = None,
    tokens: bool = False,
    tls: bool = False,
    read_only: bool = False,
    limits: Limits | None = None,
    quirks: Quirks | str | None = None,
    faults: Iterable[Fault] = (),
) -> Serving:
    """Return a registry on 127.0.0.1, on a port of the kernel's choice, that runs while its block does.

    Args:
        store: What to serve; an empty ``MemoryRegistry`` unless given.
        auth: Who may use it: a user name and a password, or passwords by user name, of which the first is the one of
            ``client_options``. None lets everybody in.
        tokens: Whether they are sent to a token server, the registry's own, instead of being asked for their password
            by each request. Needs the extra ``issuer``.
        tls: Whether it speaks https, with a certificate that nobody trusts but who is given ``ca``. Needs the extra
            ``issuer``.
        read_only: Whether it refuses everything but reading; ``add`` works all the same.
        limits: How much it takes.
        quirks: What it does as other registries do, or the name of one of them in ``ocidist.server.PRESETS``, such as
            ``"docker-registry-2"``.
        faults: What goes wrong from the beginning; ``LoopbackRegistry.faults`` takes more.

    Raises:
        UsageError: The arguments do not fit together, or no such registry is known.
        InvalidCredentialError: A user name cannot be sent, or a password is empty.
    """
    users = dict([auth] if isinstance(auth, tuple) else auth or {})
    if auth is not None and not users:
        raise UsageError("auth needs a user")
    if tokens and not users:
        raise UsageError("tokens are given to users: auth says who they are")
    if isinstance(quirks, str) and quirks not in PRESETS:
        raise UsageError(f"no registry {quirks!r} is known, only {', '.join(PRESETS)}")
    login = next(iter(users.items())) if users else None
    ways = PRESETS[quirks] if isinstance(quirks, str) else quirks
    wrong = Faults(*faults)

    @contextmanager
    def running() -> Iterator[LoopbackRegistry]:
        served = MemoryRegistry() if store is None else store
        seen: list[SeenRequest] = []
        with tempfile.TemporaryDirectory(prefix="ocidist-") as folder, socket.create_server((LOOPBACK, 0)) as listener:
            origin = f"{'https' if tls else 'http'}://{LOOPBACK}:{listener.getsockname()[1]}"
            app: Callable[..., Awaitable[None]]
            guard, token_app = _doors(users, origin, tokens=tokens)
            app = RegistryApp(served, auth=guard, read_only=read_only, limits=limits, quirks=ways, faults=wrong)
            app = app if token_app is None else _Beside(app, token_app)
            ca, context = _tls(Path(folder)) if tls else (None, None)
            with loopback(Watched(app, seen), tls=context, lifespan="off", listener=listener) as server:
                yield LoopbackRegistry(server, served, seen, wrong, ca=ca, login=login)

    return Serving(running)


class _Beside:
    """A registry with its token server on the same port, so that credentials for one are credentials for the other."""

    def __init__(self, registry: Callable[..., Awaitable[None]], token_app: Callable[..., Awaitable[None]]) -> None:
        self._registry = registry
        self._token_app = token_app

    async def __call__(self, scope: Mapping[str, Any], receive: object, send: object) -> None:
        app = self._token_app if scope["path"] == TOKEN_PATH else self._registry
        await app(scope, receive, send)


def _doors(
    users: Mapping[str, str], origin: str, *, tokens: bool
) -> tuple[Guard | None, Callable[..., Awaitable[None]] | None]:
    if not users:
        return None, None
    from ocidist.issuer.users import StaticUsers  # noqa: PLC0415 -- for registries that ask only
    from ocidist.server.auth import PasswordGuard, TokenGuard  # noqa: PLC0415 -- see above

    known = StaticUsers(users)
    if not tokens:
        return PasswordGuard(known), None
    from ocidist.issuer import TokenApp, TokenIssuer, TokenVerifier, TrustedKeys  # noqa: PLC0415 -- an extra

    issuer = TokenIssuer(_key(), issuer=_SERVICE, service=_SERVICE)
    verifier = TokenVerifier(TrustedKeys.of(issuer.key), issuer=_SERVICE, service=_SERVICE)
    return (
        TokenGuard(verifier, realm=f"{origin}{TOKEN_PATH}"),
        TokenApp(issuer, known, _everything, anonymous=False, path=TOKEN_PATH),
    )


async def _everything(_account: str, requested: ScopeSet) -> ScopeSet:
    await anyio.lowlevel.checkpoint()
    return requested


@cache
def _key() -> KeyMaterial:
    from ocidist.issuer import KeyKind, KeyMaterial  # noqa: PLC0415 -- an extra

    return KeyMaterial.generate(kind=KeyKind.EC, ips=(LOOPBACK,))


def _tls(folder: Path) -> tuple[Path, ssl.SSLContext]:
    files = _key().to_files()
    key, certificate = folder / "key.pem", folder / "ca.pem"
    key.touch(mode=0o600)
    key.write_bytes(files.key)
    certificate.write_bytes(files.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    key.unlink()
    return certificate, context

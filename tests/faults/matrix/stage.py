"""What one fault needs: a registry, the proxies before it, a client that talks to them, and nothing else."""

from __future__ import annotations

import enum
import socket
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import attrs

from ocidist import Basic, Client, EgressPolicy, HostConfig, Mirror, RetryPolicy, Timeouts
from ocidist.http.transport import dial
from tests.canary import ALICE_PASSWORD, USER
from tests.faults.matrix.actions import Bomb, bomb
from tests.faults.matrix.gate import Gate
from tests.faults.matrix.proxy import FaultProxy
from tests.faults.matrix.rules import Kind, Place
from tests.faults.matrix.standing import READ
from tests.peers.answers import respond
from tests.peers.token_server import SigningKey, TokenServer
from tests.peers.wire_server import WireServer

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from ocidist import Event, Registry, Repository
    from tests.faults.matrix.fault import Fault
    from tests.faults.matrix.standing import Standing
    from tests.peers.tls import Authority
    from tests.peers.wire_server import Request

QUICK = RetryPolicy(attempts=4, wait_initial=0.005, wait_max=0.02, jitter=0.0, max_retry_after=0.2)
TIMEOUTS = Timeouts(connect=5, read=5, write=5, finalize=5)
NAME = "registry.test"


@cache
def _key() -> SigningKey:
    return SigningKey()  # making one takes longer than everything else


class Setting(enum.Enum):
    """How the registry is reached."""

    OPEN = "without credentials"
    TOKEN = "with a token"
    BASIC = "with a password"
    TLS = "over TLS"
    MIRROR = "with a mirror before it"


class Stage:
    """The servers and the client of one fault; a context manager.

    Args:
        fault: The fault.
        standing: The registry.
        folder: An empty directory.
        authority: Who issues certificates.

    Attributes:
        standing: The registry.
        folder: See above.
        proxy: What stands before the registry.
        stranger: A server that nobody should tell anything.
        name: The repository the operation is about.
        events: What the client reported.
    """

    def __init__(self, fault: Fault, standing: Standing, folder: Path, authority: Authority) -> None:
        self.standing = standing
        self.folder = folder
        self.events: list[Event] = []
        self._fault = fault
        self._stack = ExitStack()
        origins: dict[str, str] = {"repository": READ}
        rules = {place: [rule for rule in fault.rules if rule.where.place is place] for place in Place}
        self._tokens = TokenServer(key=_key()) if fault.setting is Setting.TOKEN else None
        gate = Gate(fault.setting, origins) if fault.setting in {Setting.TOKEN, Setting.BASIC} else None
        tls = authority if fault.setting is Setting.TLS else None
        host = standing.peer.host
        self.proxy = FaultProxy(host, rules[Place.REGISTRY], gate=gate, origins=origins, tls=tls)
        self.cdn = FaultProxy(host, rules[Place.CDN], origins=origins, address="127.0.0.2")
        self.mirror = FaultProxy(host, rules[Place.MIRROR], origins=origins, address="127.0.0.4")
        self.stranger = WireServer(respond(200, {"Content-Type": "text/html"}, b"hello"), address="127.0.0.3")
        self.tokens: FaultProxy | None = None
        if self._tokens is not None:
            self.tokens = FaultProxy(self._tokens.wire.host, rules[Place.TOKENS], origins=origins)
            origins["tokens"] = self.tokens.origin
        origins |= {"cdn": self.cdn.origin, "registry": self.proxy.origin, "stranger": self.stranger.origin}
        self._authority = authority
        self.name = READ
        self.before: list[str] = []

    def __enter__(self) -> Self:
        for rule in self._fault.rules:
            if isinstance(rule.action, Bomb):
                bomb(rule.action.coding)  # made now, so that nobody waits for it, or counts its memory
        for server in (self._tokens, *self.servers):
            if server is not None:
                self._stack.enter_context(server)
        if any(rule.where.kind is Kind.DIAL for rule in self._fault.rules):
            self._stack.enter_context(_Dialling(self.proxy))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    @property
    def servers(self) -> tuple[WireServer, ...]:
        """Every server that a client may reach."""
        tokens = () if self.tokens is None else (self.tokens,)
        return (self.proxy, self.cdn, self.mirror, self.stranger, *tokens)

    @property
    def proxies(self) -> tuple[FaultProxy, ...]:
        """Those that have rules, perhaps."""
        return tuple(server for server in self.servers if isinstance(server, FaultProxy))

    @property
    def foreign(self) -> tuple[WireServer, ...]:
        """Those that are not to be told secrets."""
        return (self.cdn, self.mirror, self.stranger)

    @property
    def requests(self) -> list[Request]:
        """Every request that any of them got."""
        return [request for server in self.servers for request in server.requests]

    def client(self) -> Client:
        """Return a client that knows them."""
        config: dict[str, Any] = {"scheme": "https" if self._fault.setting is Setting.TLS else "http"}
        if self._fault.setting is Setting.TLS:
            config["ca"] = self._authority.ca_path
        if self._fault.setting is Setting.MIRROR:
            config["mirrors"] = [Mirror(self.mirror.origin)]
        options: dict[str, Any] = {
            "hosts": {self.proxy.host: HostConfig(**config)},
            "credentials": {self.proxy.host: Basic(USER, ALICE_PASSWORD)},
            "retry": QUICK,
            "timeout": TIMEOUTS,
            "hooks": [self.events.append],
        }
        if self.tokens is not None:
            options["egress"] = EgressPolicy(trusted_realms=(self.tokens.origin,))
        return Client(**(options | dict(self._fault.options)))

    def registry_of(self, client: Client) -> Registry:
        """Return the registry as the client sees it."""
        return client.registry(self.proxy.host)

    def repository_of(self, client: Client) -> Repository:
        """Return the repository of the operation as the client sees it."""
        return client.repository(f"{self.proxy.host}/{self.name}")


class _Dialling:
    """Leads the client to a closed port where a rule says so; a context manager."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._real = dial.open_socket
        self._closed = socket.socket()
        self._closed.bind(("127.0.0.1", 0))

    async def _open(self, family: int, address: tuple[str, int]) -> socket.socket:
        refused = address[1] == self._proxy.port and self._proxy.decide(Kind.DIAL) is not None
        return await self._real(family, self._closed.getsockname() if refused else address)

    def __enter__(self) -> Self:
        dial.open_socket = self._open
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        dial.open_socket = self._real
        self._closed.close()


@attrs.frozen
class Evidence:
    """What an operation says it did.

    Attributes:
        digest: Of what.
        data: The bytes it returned, or sent.
        listed: The names it returned.
    """

    digest: str = ""
    data: bytes | None = None
    listed: tuple[str, ...] = ()

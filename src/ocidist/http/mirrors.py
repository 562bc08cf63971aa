"""Reads that go to mirrors first: who is asked, for how long, and what becomes of a mirror that fails.

Content asked for by digest is verified, whoever sends it; whoever sent what turns out wrong is reported and not asked
for it again. What nothing proves (tags, sizes, parts of a blob) is believed of mirrors only as far as they are trusted.
A mirror that does not answer properly is set aside for a while, longer each time, and one request finds out whether it
is back. Whatever mirrors do, the registry itself is asked last, as if there were none.

Spec: architecture, decision 5 (hosts that the user named); containerd, "Registry Configuration".
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import (
    AuthError,
    ClientClosedError,
    ConnectError,
    DigestMismatchError,
    InvalidDigestError,
    NotFoundError,
    NotModifiedError,
    OciError,
    ProtocolError,
    RegistryBlockedError,
    ResponseError,
    TlsError,
    TransportError,
    TransportTimeoutError,
)
from ocidist.hosts.host import MirrorTags
from ocidist.http.elsewhere import movable, of_tag, relocated, serves, unproven
from ocidist.http.retry import BusyError, monotonic
from ocidist.http.sender import Call
from ocidist.http.standing import Standing, Trial
from ocidist.model.digest import Digest
from ocidist.observe.events import MirrorFailed
from ocidist.wire import endpoints
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from ocidist.hosts.config import HostsConfig, Route
    from ocidist.hosts.host import Mirror
    from ocidist.http.reply import HttpReply
    from ocidist.model.reference import RegistryName
    from ocidist.observe.events import Event
    from ocidist.wire.endpoints import Endpoint

    Ask: TypeAlias = Callable[[RegistryName, Endpoint, Call], Awaitable[HttpReply]]

WRONG_SECONDS: Final = 3600.0
"""Seconds for which a mirror is not asked again for what it sent wrong."""

HOME_SECONDS: Final = 600.0
"""Seconds for which a repository is read from its registry after this client wrote to it: mirrors lag behind."""

MAX_KEPT: Final = 4096
"""Most repositories, and most things that were sent wrong, that are remembered."""

MAX_REASON: Final = 300
"""Characters of a mirror's failure that are told."""

_log = logging.getLogger("ocidist.http")


# --- what comes of asking --------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Source:
    """The mirror behind an answer, for those who find out what the answer is worth.

    Attributes:
        mirrors: Where that is remembered.
        mirror: The mirror.
        registry: The registry that was meant.
        endpoint: What was asked, as it is asked of the registry.
        began: When, by ``monotonic()``.
    """

    mirrors: Mirrors
    mirror: Mirror
    registry: RegistryName
    endpoint: Endpoint
    began: float

    def failed(self, error: OciError) -> None:
        """Tell that the body did not arrive."""
        self.mirrors.failed(self, error)

    def disproved(self, error: OciError) -> None:
        """Tell that the content is not what was asked for."""
        self.mirrors.disproved(self, error)


class Mirrors:
    """Knows the mirrors of every registry, and how they have behaved.

    Args:
        hosts: The configuration.
        ask: Sends an endpoint to a registry and returns its answer; see ``Session.ask``.
        emit: Hands an event record to the client's hooks.
    """

    def __init__(self, hosts: HostsConfig, ask: Ask, emit: Callable[[Event], None]) -> None:
        self._hosts = hosts
        self._ask = ask
        self._emit = emit
        self._routes: dict[tuple[RegistryName, str | None], Route | None] = {}
        self._standings: dict[str, Standing] = {}
        self._wrong: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._written: OrderedDict[tuple[str, str], float] = OrderedDict()

    def asking(self, registry: RegistryName, endpoint: Endpoint) -> Ask | None:
        """Return what sends an endpoint where it has to go; None if that is the registry and nothing else.

        Args:
            registry: The registry that is meant.
            endpoint: What to ask.
        """
        repository = getattr(endpoint, "repository", None)
        if isinstance(endpoint, endpoints.MountBlob) and endpoint.source is not None:
            there = self._route(registry, endpoint.source)
            if there is not None and there.config.blocked:
                # Mounting reads from it.
                return _refused
        route = self._route(registry, repository)
        if route is None:
            return None
        if route.config.blocked and not (route.config.mirrors and movable(endpoint)):
            return _refused
        if not movable(endpoint):
            if endpoint.method not in {"GET", "HEAD"} and repository is not None:
                _remember(self._written, (registry.api_host, repository), HOME_SECONDS)
            return None
        if _remembered(self._written, (registry.api_host, repository or "")):
            return None
        return partial(self._asked, route)

    def _route(self, registry: RegistryName, repository: str | None) -> Route | None:
        key = (registry, repository)
        if key not in self._routes:
            self._routes[key] = self._hosts.route(registry, repository)
            if len(self._routes) > MAX_KEPT:
                del self._routes[next(iter(self._routes))]
        return self._routes[key]

    async def _asked(self, route: Route, registry: RegistryName, endpoint: Endpoint, call: Call) -> HttpReply:
        """Ask the mirrors, and then the registry."""
        read = _Read(route, registry, endpoint, call)
        truth = _Truth(partial(self._tag_now, read))
        spare: list[Mirror] = []
        for mirror in route.config.mirrors:
            if not serves(mirror, endpoint):
                continue
            if mirror.tags is not MirrorTags.TRUSTED and unproven(endpoint):
                spare += [mirror] if mirror.tags is MirrorTags.CHECKED else []
                continue
            if not read.tag or mirror.tags is not MirrorTags.CHECKED:
                reply = await self._mirrored(mirror, read)
            else:
                reply = await self._checked(mirror, read, truth)
            if reply is not None:
                return reply
        reply = await self._unchecked(read, spare) if spare else None
        if reply is not None:
            return reply
        try:
            return await self._ask(*self._home(route, registry, endpoint, call))
        except OciError as error:
            error.mirrors = tuple(read.passed)
            raise

    async def _unchecked(self, read: _Read, mirrors: list[Mirror]) -> HttpReply | None:
        """Ask for what nothing would prove: the registry, and mirrors only while it cannot be reached."""
        try:
            reply = await self._reached(read, read.endpoint, read.call)
        except OciError as error:
            error.mirrors = tuple(read.passed)
            raise
        for mirror in mirrors:
            if reply is None:
                reply = await self._mirrored(mirror, read)
        return reply

    def _home(
        self, route: Route, registry: RegistryName, endpoint: Endpoint, call: Call
    ) -> tuple[RegistryName, Endpoint, Call]:
        """Return what to ask of the registry itself, or of what is configured in its place.

        Raises:
            RegistryBlockedError: Nobody may be asked.
        """
        if route.config.blocked:
            raise blocked(registry)
        location = route.config.location
        if location is None:
            return registry, endpoint, call
        if not serves(location, endpoint):
            raise RegistryBlockedError(f"the configuration does not let {location} answer that for {registry}")
        return self._moved(location, route, registry, endpoint, call)

    def _moved(
        self, other: Mirror, route: Route, registry: RegistryName, endpoint: Endpoint, call: Call
    ) -> tuple[RegistryName, Endpoint, Call]:
        """Return what to ask of another host.

        Raises:
            InvalidReferenceError: The other host cannot have a repository of that name.
            RegistryBlockedError: What is to be read there is blocked.
        """
        moved = relocated(endpoint, other, route.key, registry)
        there = self._route(other.registry, getattr(moved, "repository", None))
        if there is not None and there.config.blocked:
            raise blocked(other.registry)
        # An identity that was given for the registry is good in another part of its host, and nobody else's business.
        same = other.registry.api_host == registry.api_host
        identity = call.credential if same and other.registry.scheme in {None, "https", registry.scheme} else None
        call = Call(moved, moved.scopes, registry=other.registry, credential=identity, trial=call.trial)
        return other.registry, moved, call

    # --- one mirror --------------------------------------------------------------------------------------------------

    async def _mirrored(self, mirror: Mirror, read: _Read) -> HttpReply | None:
        """Ask a mirror, and return its answer; None, with the reason in ``passed``, if it has none to give."""
        registry, endpoint, passed, name = read.registry, read.endpoint, read.passed, str(mirror)
        if _remembered(self._wrong, (name, _about(registry, endpoint))):
            passed.append(f"{name}: what it sent before was wrong")
            return None
        standing = self._standings.setdefault(name, Standing())
        left = standing.left(mirror.patience)
        if left is not None:
            reason = f" ({standing.reason})" if standing.reason else ""
            passed.append(f"{name}: set aside for {left:.0f} more seconds{reason}")
            return None
        source = Source(self, mirror, registry, endpoint, monotonic())
        try:
            reply = await self._tried(mirror.patience, *self._moved(mirror, read.route, registry, endpoint, read.call))
        except ClientClosedError:
            raise
        except OciError as error:
            if isinstance(error, NotModifiedError) and getattr(endpoint, "if_none_match", None) is not None:
                standing.clear()
                raise
            passed.append(f"{name}: {self.failed(source, error)}")
            return None
        standing.clear()
        reply.source = source
        stated = _stated(reply)
        wanted = getattr(endpoint, "digest", None) or getattr(endpoint, "reference", None)
        if (
            isinstance(wanted, Digest)
            and stated is not None
            and stated.algorithm == wanted.algorithm
            and stated != wanted
        ):
            await reply.aclose()
            mismatch = DigestMismatchError(wanted, stated)
            self.disproved(source, mismatch)
            passed.append(f"{name}: {mismatch.message}")
            return None
        return reply

    async def _tried(self, patience: float, registry: RegistryName, endpoint: Endpoint, call: Call) -> HttpReply:
        """Ask a host once, within its time; twice where a connection turned out to be dead.

        Raises:
            OciError: It did not answer, or not with success.
        """
        trial = Trial(patience)
        call = attrs.evolve(call, trial=trial)
        reply: HttpReply | None = None
        with trial.scope:
            try:
                reply = await self._ask(registry, endpoint, call)
            except TransportError as error:
                if isinstance(error, ConnectError | TlsError | TransportTimeoutError):
                    raise
                reply = await self._ask(registry, endpoint, call)
        if reply is None:
            raise TransportTimeoutError(f"no answer within {patience:g} seconds")
        return reply

    def failed(self, source: Source, error: OciError) -> str:
        """Set a mirror aside, where its failure calls for that, and return the failure in words."""
        reason = _reason(error)
        standing = self._standings.setdefault(str(source.mirror), Standing())
        busy = isinstance(error, BusyError) or (isinstance(error, ResponseError) and error.status >= 500)
        seconds = 0.0
        if isinstance(error, ResponseError | AuthError) and not busy:
            # Whatever it says, it is back.
            standing.clear()
        if isinstance(error, NotFoundError):
            # That is no failure: a mirror need not have everything.
            return reason
        if busy or isinstance(error, TransportError | ProtocolError):
            known = standing.struck
            seconds = standing.strike(reason, began=source.began, asked=getattr(error, "retry_after", None))
            if standing.struck == known:
                # Told already, by another request that was under way then.
                return reason
        _log.info("%s: the mirror %s failed (%s)", source.registry, source.mirror, reason)
        self._tell(source, reason, seconds)
        return reason

    def disproved(self, source: Source, error: OciError) -> None:
        """Remember that a mirror sent something wrong, and report it."""
        about = _about(source.registry, source.endpoint)
        _remember(self._wrong, (str(source.mirror), about), WRONG_SECONDS)
        reason = _reason(error)
        _log.warning("%s: the mirror %s sent something wrong for %s: %s", source.registry, source.mirror, about, reason)
        self._tell(source, reason, 0.0, wrong=True)

    def _tell(self, source: Source, reason: str, seconds: float, *, wrong: bool = False) -> None:
        event = MirrorFailed(
            str(source.registry), str(source.mirror), source.endpoint.operation, reason, aside=seconds, wrong=wrong
        )
        self._emit(event)

    # --- tags --------------------------------------------------------------------------------------------------------

    async def _checked(self, mirror: Mirror, read: _Read, truth: _Truth) -> HttpReply | None:
        """Ask a mirror what a tag names, and return its answer if the registry says the same or cannot be asked."""
        if isinstance(read.endpoint, endpoints.StatManifest) and await truth.reachable():
            # The mirror would say no more than the registry just said itself.
            return None
        try:
            reply = await self._mirrored(mirror, read)
        except NotModifiedError:
            if await truth.allows(getattr(read.endpoint, "if_none_match", None)):
                raise
            return None
        if reply is None:
            return None
        try:
            stale = await self._stale(reply, truth)
        except BaseException:
            await reply.aclose()
            raise
        if stale is None:
            return reply
        await reply.aclose()
        read.passed.append(f"{mirror}: {stale}")
        return None

    async def _stale(self, reply: HttpReply, truth: _Truth) -> str | None:
        """Return why a mirror's answer for a tag is not to be used; None if it is."""
        if not await truth.reachable():
            return None
        stated, now = _stated(reply), truth.digest
        if now is None:
            return "the registry does not say by itself what the tag names"
        if stated == now:
            return None
        if stated is None:
            return "it does not say what the tag names"
        error = ProtocolError(f"the tag is stale: {stated} there, {now} at the registry")
        if reply.source is not None:
            _log.warning("%s: the mirror %s: %s", reply.source.registry, reply.source.mirror, error.message)
            self._tell(reply.source, error.message, 0.0, wrong=True)
        return error.message

    async def _tag_now(self, read: _Read) -> tuple[bool, Digest | None]:
        """Ask the registry what a tag names: whether it could be asked, and the digest if it says one."""
        endpoint = read.endpoint
        assert isinstance(endpoint, endpoints.GetManifest | endpoints.StatManifest)  # noqa: S101 -- only these have tags
        question = endpoints.StatManifest(endpoint.repository, endpoint.reference, accept=endpoint.accept)
        call = Call(question, question.scopes, registry=read.registry, credential=read.call.credential)
        try:
            reply = await self._reached(read, question, call)
        except ClientClosedError:
            raise
        except OciError:
            # It can be asked, and tells the same, as an error, when it is asked for the manifest itself.
            return True, None
        if reply is None:
            return False, None
        try:
            return True, _stated(reply)
        finally:
            await reply.aclose()

    async def _reached(self, read: _Read, endpoint: Endpoint, call: Call) -> HttpReply | None:
        """Ask the registry once, within the time that mirrors have; None if it cannot be reached, or must not be.

        Raises:
            OciError: What it answers instead.
        """
        route, registry = read.route, read.registry
        if route.config.blocked:
            return None
        standing = self._standings.setdefault(f"the registry {registry.api_host}", Standing())
        patience = min(mirror.patience for mirror in route.config.mirrors)
        if standing.left(patience) is not None:
            return None
        began = monotonic()
        try:
            reply = await self._tried(patience, *self._home(route, registry, endpoint, call))
        except ClientClosedError:
            raise
        except (BusyError, TransportError) as error:
            seconds = standing.strike(_reason(error), began=began, asked=getattr(error, "retry_after", None))
            _log.info("%s cannot be asked (%s); not asked for %.0f seconds", registry, _reason(error), seconds)
            return None
        except OciError:
            standing.clear()
            raise
        standing.clear()
        return reply


@attrs.define
class _Read:
    """A read on its way past the mirrors, with what was passed over and why."""

    route: Route
    registry: RegistryName
    endpoint: Endpoint
    call: Call
    passed: list[str] = attrs.field(factory=list)

    @property
    def tag(self) -> bool:
        """Whether it is about a tag."""
        return of_tag(self.endpoint)


class _Truth:
    """What the registry says about a tag, asked for once and only if it matters."""

    def __init__(self, ask: Callable[[], Awaitable[tuple[bool, Digest | None]]]) -> None:
        self._ask = ask
        self._known: tuple[bool, Digest | None] | None = None

    async def reachable(self) -> bool:
        if self._known is None:
            self._known = await self._ask()
        return self._known[0]

    @property
    def digest(self) -> Digest | None:
        return None if self._known is None else self._known[1]

    async def allows(self, digest: Digest | None) -> bool:
        return not await self.reachable() or self.digest == digest


async def _refused(  # noqa: RUF029 -- in the place of what sends requests
    registry: RegistryName, _endpoint: Endpoint, _call: Call
) -> HttpReply:
    raise blocked(registry)


def blocked(registry: RegistryName) -> RegistryBlockedError:
    """Return the error for a registry that must not be used."""
    return RegistryBlockedError(f"{registry} is blocked by the configuration")


def _about(registry: RegistryName, endpoint: Endpoint) -> str:
    """Return what a read is about: a digest says that alone, wherever the content lies."""
    about = getattr(endpoint, "digest", None) or getattr(endpoint, "reference", "")
    return str(about) if isinstance(about, Digest) else f"{registry}/{getattr(endpoint, 'repository', '')}:{about}"


def _stated(reply: HttpReply) -> Digest | None:
    try:
        return Digest((reply.header("Docker-Content-Digest") or "").strip())
    except InvalidDigestError:
        return None


def _reason(error: OciError) -> str:
    text = f"answered {error.status}" if isinstance(error, BusyError) else error.message
    return clean_text(text, MAX_REASON)


def _remember(kept: OrderedDict[tuple[str, str], float], key: tuple[str, str], seconds: float) -> None:
    kept[key] = monotonic() + seconds
    kept.move_to_end(key)
    if len(kept) > MAX_KEPT:
        kept.popitem(last=False)


def _remembered(kept: OrderedDict[tuple[str, str], float], key: tuple[str, str]) -> bool:
    until = kept.get(key)
    if until is not None and monotonic() >= until:
        del kept[key]
        return False
    return until is not None

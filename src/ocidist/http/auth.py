"""Authentication of requests: what a registry asks for, and what is sent in answer.

The first request to a host whose habits are unknown goes out alone and tells the others: so hundreds of tasks with cold
caches cause one challenge and one token request. A token that a registry refuses is fetched once more and no oftener.

Operations ask for all they need at once. Where a token server refuses that much, exactly what the registry's challenge
names is asked for instead: some give nothing where one word is too many.

Where a registry offers both, a token is preferred to sending the password with each request.

Spec: docker token authentication, "How to authenticate"; RFC 9110, section 11.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from ocidist._io.flight import SingleFlight
from ocidist.credentials.store import ANONYMOUS, Basic, Credential, IdentityToken, RegistryToken
from ocidist.errors import (
    AuthError,
    AuthRealmRefusedError,
    ChallengeError,
    CredentialsRejectedError,
    ScopeDeniedError,
    TokenError,
)
from ocidist.http.retry import RETRIED_STATUSES, monotonic
from ocidist.http.tokens import TokenOptions, TokenSource, basic_header, identity
from ocidist.wire.challenge import BASIC, BEARER, Challenge, CredentialKind, choose, parse_challenges
from ocidist.wire.scope import NO_SCOPES, ScopeSet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeAlias

    import httpx

    from ocidist.http.caches import ChallengeCache, TokenCache, TokenOwner
    from ocidist.wire.egress import Origin
    from ocidist.wire.token import Token

MAX_ROUNDS: Final = 3
MAX_SEEN: Final = 4096

PATIENCE: Final = 5.0
"""Seconds that requests wait for the one that goes ahead: a slow answer, or a long upload, must not stop everybody."""

KEEP_FAILURES: Final = 1.0
"""Seconds for which a token server's refusal is not asked for again."""

SLOW: Final = 1024 * 1024
"""Bytes a second that a transfer is expected to move at least: a token has to last for as long as that takes."""


@attrs.frozen
class Proof:
    """What was sent to prove an identity: nothing, a password, or a token.

    Attributes:
        header: The Authorization value, or None.
        token: The token in it, if it was fetched.
        asked: The scopes the token was fetched with for this very request; None if it was there already.
        refusal: Why the stored credentials were not used for it, if they were not.
    """

    header: str | None = attrs.field(default=None, repr=False)
    token: Token | None = None
    asked: ScopeSet | None = None
    refusal: AuthRealmRefusedError | None = None


NOTHING: Final = Proof()

# What token servers say that give all or nothing.
_NO_RIGHTS: Final = "Perhaps there is no such repository, or these credentials have no rights to it"
_NOBODY: Final = "Perhaps there is no such repository, or it is not for everybody, and no credentials were given"
_TOO_MUCH: Final = (ScopeDeniedError, CredentialsRejectedError, TokenError)


@attrs.define
class Answered:
    """What came of one attempt, as far as authentication is concerned.

    Attributes:
        refused: The WWW-Authenticate fields of a 401 of the registry itself; None for any other answer.
        response: The answer, for the caller; a refusal was read and closed.
        sent: What was sent with it.
    """

    refused: tuple[str, ...] | None
    response: httpx.Response
    sent: Proof


Attempt: TypeAlias = "Callable[[Proof], Awaitable[Answered]]"


@attrs.define
class Turn:
    """One request's dealings with authentication.

    Attributes:
        origin: The registry's origin.
        credential: Who asks.
        scopes: What the request needs.
        root: Whether the request is for ``/v2/`` itself. The scope in its challenge belongs to no repository: some
            registries write an example there.
        rounds: Refusals so far.
        widened: Whether a fresh token was already replaced by one with more scopes.
        told: What ``/v2/`` said when it was asked on behalf of this request; None if it was not.
        host: The origin as text.
        size: Bytes of the request's body, as far as they are known: its token should outlive the sending.
        withheld: Whether there is a credential that may not be sent over this connection.
        key: What decides whether requests may share what was learned.
    """

    origin: Origin
    credential: Credential
    scopes: ScopeSet
    root: bool = False
    rounds: int = 0
    widened: bool = False
    told: tuple[str, ...] | None = attrs.field(default=None, repr=False)
    host: str = attrs.field(default="")
    size: int | None = None
    withheld: bool = False
    key: tuple[str, str, ScopeSet] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.host = self.host or str(self.origin)
        self.key = (self.host, identity(self.credential), self.scopes)

    @property
    def takes(self) -> float:
        """Seconds that the request may take to send."""
        return (self.size or 0) / SLOW


def kind_of(credential: Credential) -> CredentialKind:
    """Return what sort of answer a credential can give."""
    match credential:
        case Basic():
            return CredentialKind.PASSWORD
        case IdentityToken():
            return CredentialKind.IDENTITY_TOKEN
        case RegistryToken():
            return CredentialKind.REGISTRY_TOKEN
        case _:
            return CredentialKind.ANONYMOUS


class _Scout:
    """The one request that goes ahead where nothing is known."""

    def __init__(self) -> None:
        self.back = anyio.Event()
        self.failed = False


class Authenticator:
    """Knows the challenges and tokens of every host.

    Args:
        source: Fetches tokens.
        challenges: The challenge cache.
        tokens: The token cache.
        options: How tokens are asked for.
        ask_root: Returns the WWW-Authenticate fields of a host's ``/v2/``, none if it sends none. Never raises.
    """

    def __init__(
        self,
        source: TokenSource,
        challenges: ChallengeCache,
        tokens: TokenCache,
        options: TokenOptions,
        ask_root: Callable[[Origin], Awaitable[tuple[str, ...]]],
    ) -> None:
        self._source = source
        self._challenges = challenges
        self._tokens = tokens
        self._margin = options.margin
        self._ask_root = ask_root
        self._fetches: SingleFlight[Token] = SingleFlight(keep_failures=KEEP_FAILURES)
        self._roots: SingleFlight[tuple[str, ...]] = SingleFlight()
        self._scouts: dict[object, _Scout] = {}
        # Hosts that answered without a challenge, and the requests they did so for: True where those were let in.
        self._met: set[str] = set()
        self._seen: OrderedDict[object, bool] = OrderedDict()
        # What is asked for in place of all that is needed, where a token server refused that.
        self._narrow: OrderedDict[object, ScopeSet] = OrderedDict()
        # Tokens for less than was asked for: asking again would give no more.
        self._less: OrderedDict[tuple[TokenOwner, ScopeSet], Token] = OrderedDict()

    async def identity_token(self, origin: Origin, credential: Basic) -> IdentityToken | None:
        """Return what a host's token server gives in place of a password; None if there is none, or it gives nothing.

        Raises:
            AuthError: It refuses the credentials.
        """
        challenge = self._challenges.get(str(origin))
        if challenge is None or challenge.scheme != BEARER:
            return None
        return await self._source.identity_token(origin, challenge, credential)

    # --- before anything is known ------------------------------------------------------------------------------------

    def informed(self, turn: Turn) -> bool:
        """Return whether it is known what a request has to send."""
        if isinstance(turn.credential, RegistryToken) or turn.key in self._seen:
            return True
        return self._challenges.get(turn.host) is not None

    def learn(self, origin: Origin, values: Sequence[str]) -> Challenge | None:
        """Remember what a host asks for, if it is something that some credential can meet.

        Raises:
            ChallengeError: The header is malformed.
        """
        chosen = choose(parse_challenges(values), have=CredentialKind.PASSWORD)
        if chosen is not None:
            self._challenges.set(str(origin), chosen)
        return chosen

    async def inquire(self, turn: Turn) -> None:
        """Find out what a host asks for without sending the request itself.

        Raises:
            ChallengeError: Its challenge is malformed.
        """
        self.learn(turn.origin, await self._root(turn))

    async def _root(self, turn: Turn) -> tuple[str, ...]:
        if turn.told is None:
            ask = partial(self._ask_root, turn.origin)
            turn.told = () if turn.root else await self._roots.do(turn.host, ask)
        return turn.told

    async def first(self, turn: Turn, attempt: Attempt) -> Answered:
        """Make a request's first attempt; where nothing is known of the host, one request goes ahead of all others.

        Cancelling the one that goes ahead lets another one take its place; when it fails or is slow, the others go on
        by themselves, all at once.

        Raises:
            AuthError: A token is needed and cannot be had.
        """
        while not self.informed(turn):
            # A host that let somebody in may still ask others: then each sort of request has one that goes ahead.
            key = turn.key if turn.host in self._met else turn.host
            scout = self._scouts.get(key)
            if scout is None:
                return await self._go_ahead(key, turn, attempt)
            with anyio.move_on_after(PATIENCE):
                await scout.back.wait()
            if scout.failed or not scout.back.is_set():
                return await attempt(NOTHING)
        return await attempt(await self.prove(turn))

    async def _go_ahead(self, key: object, turn: Turn, attempt: Attempt) -> Answered:
        scout = self._scouts[key] = _Scout()
        try:
            answered = await attempt(NOTHING)
            scout.failed = not await self._note(turn, answered)
        except Exception:
            scout.failed = True
            raise
        finally:
            del self._scouts[key]
            scout.back.set()
        return answered

    async def _note(self, turn: Turn, answered: Answered) -> bool:
        """Remember what an answer to a bare request tells, and return whether others can go by it."""
        learned = None
        if answered.refused is not None:
            try:
                learned = self.learn(turn.origin, answered.refused or await self._root(turn))
            except ChallengeError:
                # Told again, with more to go by, when this answer is dealt with.
                return False
        elif answered.response.status_code in RETRIED_STATUSES:
            return False
        if learned is None:
            if len(self._met) >= MAX_SEEN:
                self._met.clear()
            self._met.add(turn.host)
            self._seen[turn.key] = answered.refused is None and answered.response.is_success
            if len(self._seen) > MAX_SEEN:
                self._seen.popitem(last=False)
        return True

    # --- what to send ------------------------------------------------------------------------------------------------

    def known(self, turn: Turn) -> Proof | None:
        """Return what to send with a first attempt where that is known without asking anybody; None elsewhere."""
        if isinstance(turn.credential, RegistryToken):
            return Proof("Bearer " + turn.credential.token)
        if self._seen.get(turn.key):
            return NOTHING
        challenge = self._challenges.get(turn.host)
        if challenge is None:
            # Either nobody knows, or those who may not come in have nothing to show.
            return NOTHING if turn.key in self._seen else None
        if challenge.scheme == BASIC:
            return Proof(basic_header(turn.credential)) if isinstance(turn.credential, Basic) else NOTHING
        if challenge.scheme != BEARER:
            return NOTHING
        return self._remembered(turn, challenge, self._narrow.get(turn.key, turn.scopes))

    async def prove(self, turn: Turn) -> Proof:
        """Return what to send with a first attempt.

        Raises:
            AuthError: A token is needed and cannot be had.
        """
        known = self.known(turn)
        challenge = self._challenges.get(turn.host)
        if known is not None or challenge is None:
            return known or NOTHING
        scopes = self._narrow.get(turn.key, turn.scopes)
        try:
            return await self._bearer(turn, challenge, scopes)
        except _TOO_MUCH:
            if not _is_several(scopes) or turn.size:
                raise
        # Perhaps less would do. What exactly is what the registry says to those who bring nothing.
        return NOTHING

    async def answer(self, turn: Turn, sent: Proof, values: Sequence[str]) -> Proof | None:
        """Return what to send after a 401, or None when there is nothing more to try.

        Args:
            turn: The request.
            sent: What was sent with it.
            values: The WWW-Authenticate fields of the 401.

        Raises:
            ChallengeError: The header is missing or malformed, or offers nothing that can be done.
            AuthRealmRefusedError: The credentials may not go where the challenge wants them.
            ScopeDeniedError: A fresh token does not grant what is needed.
            CredentialsRejectedError: A fresh token is refused.
        """
        if turn.key in self._seen:
            # Not let in any more; that others need not wait for the first of them stays true.
            self._seen[turn.key] = False
        if isinstance(turn.credential, RegistryToken):
            return None
        challenge = await self._challenge(turn, values)
        if challenge.scheme == BASIC:
            return self._basic(turn, sent)
        # Only this answer's own scope counts: what a challenge of /v2/ named belongs to no repository.
        own = NO_SCOPES if turn.root or not values else challenge.scopes
        if sent.token is None:
            return await self._enough(turn, challenge, own)
        return await self._replace(turn, sent, sent.token, challenge, turn.scopes | own)

    async def _challenge(self, turn: Turn, values: Sequence[str]) -> Challenge:
        # Some registries challenge on /v2/ only and answer a bare 401 elsewhere.
        known = None if values else self._challenges.get(turn.host)
        if known is not None:
            return known
        told = values or await self._root(turn)
        offered = parse_challenges(told)
        if not offered:
            msg = f"{turn.host} answered 401 without saying how to authenticate"
            raise ChallengeError(msg)
        self.learn(turn.origin, told)
        chosen = choose(offered, have=kind_of(turn.credential))
        if chosen is not None:
            return chosen
        schemes = {challenge.scheme for challenge in offered}
        if turn.credential == ANONYMOUS and BASIC in schemes:
            msg = f"{turn.host} wants a user name and password, and there is none for it"
            missing = CredentialsRejectedError(msg)
            missing.hint = f"Log in to {turn.host}, or give the client credentials for it"
            raise missing
        msg = f"{turn.host} offers {', '.join(sorted(schemes))}, which this credential cannot answer"
        raise ChallengeError(msg)

    @staticmethod
    def _basic(turn: Turn, sent: Proof) -> Proof | None:
        if not isinstance(turn.credential, Basic) or sent.header is not None:
            return None
        return Proof(basic_header(turn.credential))

    async def _enough(self, turn: Turn, challenge: Challenge, own: ScopeSet) -> Proof:
        """Return a token for all that is needed, or else for exactly what the registry asked for."""
        self._narrow.pop(turn.key, None)
        try:
            return await self._bearer(turn, challenge, turn.scopes | own)
        except _TOO_MUCH:
            if not own or own.covers(turn.scopes):
                raise
        turn.widened = True
        proof = await self._bearer(turn, challenge, own)
        self._challenges.set(turn.host, challenge)
        self._narrow[turn.key] = own
        if len(self._narrow) > MAX_SEEN:
            self._narrow.popitem(last=False)
        return proof

    def _remembered(self, turn: Turn, challenge: Challenge, scopes: ScopeSet) -> Proof | None:
        owner = self._source.owner(turn.origin, challenge, turn.credential)
        now = monotonic()
        found = self._tokens.find(owner, scopes, now=now) or self._less.get((owner, scopes))
        if found is None or not found.fresh(now, max(self._margin, turn.takes)):
            return None
        return Proof(_header(found), found, refusal=self._source.refusal(owner))

    async def _bearer(self, turn: Turn, challenge: Challenge, scopes: ScopeSet) -> Proof:
        known = self._remembered(turn, challenge, scopes)
        if known is not None:
            return known
        owner = self._source.owner(turn.origin, challenge, turn.credential)

        async def fetch() -> Token:
            try:
                token = await self._source.fetch(turn.origin, challenge, scopes, turn.credential)
            except (AuthRealmRefusedError, TokenError):
                # The registry may name another token server the next time it is asked.
                self._challenges.delete(turn.host)
                raise
            self._tokens.store(owner, token)
            if not token.scopes.covers(scopes):
                self._less[owner, scopes] = token
                if len(self._less) > MAX_SEEN:
                    self._less.popitem(last=False)
            return token

        token = await self._fetches.do((owner, scopes), fetch)
        return Proof(_header(token), token, scopes, self._source.refusal(owner))

    def denied(self, turn: Turn, sent: Proof) -> None:
        """Take note that a request was refused for good: what its token lacks may be granted by the next time."""
        challenge = self._challenges.get(turn.host)
        if challenge is not None and sent.token is not None:
            self._forget_less(self._source.owner(turn.origin, challenge, turn.credential), turn.scopes, sent.token)

    def _forget_less(self, owner: TokenOwner, scopes: ScopeSet, token: Token) -> None:
        if self._less.get((owner, scopes)) is token:
            del self._less[owner, scopes]

    async def _replace(self, turn: Turn, sent: Proof, token: Token, challenge: Challenge, needed: ScopeSet) -> Proof:
        owner = self._source.owner(turn.origin, challenge, turn.credential)
        self._tokens.discard(owner, token)
        self._forget_less(owner, turn.scopes, token)
        turn.rounds += 1
        if sent.asked is not None:
            newer = self._remembered(turn, challenge, needed)
            if newer is not None and newer.token is not token and turn.rounds <= MAX_ROUNDS:
                # Somebody had to replace it meanwhile: it was good once, and was revoked.
                return newer
            if turn.widened or sent.asked.covers(needed):
                raise self._refused(turn, sent, token, challenge)
            turn.widened = True
        if turn.rounds > MAX_ROUNDS:
            raise self._refused(turn, sent, token, challenge)
        return await self._bearer(turn, challenge, needed)

    @staticmethod
    def _refused(turn: Turn, sent: Proof, token: Token, challenge: Challenge) -> AuthError:
        if sent.refusal is not None:
            return sent.refusal
        if challenge.error == "insufficient_scope" or not token.scopes.covers(turn.scopes):
            msg = f"{turn.host} says that a fresh token does not grant {turn.scopes or 'what it needs'}"
            return ScopeDeniedError(msg, scope=str(turn.scopes))
        msg = f"{turn.host} refuses a token that was fetched just now"
        error = CredentialsRejectedError(msg)
        if challenge.error != "invalid_token":
            # The token server took the credentials, so that these are right.
            error.hint = _NOBODY if turn.credential == ANONYMOUS else _NO_RIGHTS
        return error


def explained(turn: Turn, error: AuthError) -> AuthError:
    """Return what to tell of a refusal: that there are credentials which were not sent, if so."""
    return unsent(turn.host) if turn.withheld else error


def unsent(host: str) -> CredentialsRejectedError:
    """Return the error that says that credentials were not sent over plain http."""
    msg = (
        f"{host} wants credentials, and those there are were not sent: that it speaks plain http was only found"
        ' out. Say so with HostConfig(scheme="http"), or allow it with EgressPolicy(allow_plaintext_credentials=True)'
    )
    return CredentialsRejectedError(msg)


def _header(token: Token) -> str:
    return "Bearer " + token.value


def _is_several(scopes: ScopeSet) -> bool:
    """Tell whether more than one thing is asked for, so that less could be."""
    return sum(len(scope.actions) for scope in scopes) > 1

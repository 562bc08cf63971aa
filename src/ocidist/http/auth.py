"""Authentication of requests: what a registry asks for, and what is sent in answer.

The first request to a host whose habits are unknown goes out alone and tells the others: so hundreds of tasks with cold
caches cause one challenge and one token request. A token that a registry refuses is fetched once more and no oftener.

Spec: docker token authentication, "How to authenticate"; RFC 9110, section 11.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import anyio
import attrs

from ocidist._io.flight import SingleFlight
from ocidist.credentials.store import ANONYMOUS, Basic, Credential, IdentityToken, RegistryToken
from ocidist.errors import AuthError, ChallengeError, CredentialsRejectedError, ScopeDeniedError
from ocidist.http.retry import monotonic
from ocidist.http.tokens import TokenOptions, TokenSource, basic_header, identity
from ocidist.wire.challenge import BASIC, BEARER, Challenge, CredentialKind, choose, parse_challenges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import httpx

    from ocidist.errors import AuthRealmRefusedError
    from ocidist.http.caches import ChallengeCache, TokenCache
    from ocidist.wire.egress import Origin
    from ocidist.wire.scope import ScopeSet
    from ocidist.wire.token import Token

MAX_ROUNDS = 3
MAX_OPEN = 4096


@attrs.frozen
class Proof:
    """What was sent to prove an identity: nothing, a password, or a token.

    Attributes:
        header: The Authorization value, or None.
        token: The token in it, if it was fetched.
        fresh: Whether it was fetched for this very request.
        refusal: Why the stored credentials were not used for it, if they were not.
    """

    header: str | None = attrs.field(default=None, repr=False)
    token: Token | None = None
    fresh: bool = False
    refusal: AuthRealmRefusedError | None = None


NOTHING = Proof()


@attrs.define
class Turn:
    """One request's dealings with authentication.

    Attributes:
        origin: The registry's origin.
        credential: Who asks.
        scopes: What the request needs.
        rounds: Refusals so far.
        widened: Whether a fresh token was already replaced by one with more scopes.
    """

    origin: Origin
    credential: Credential
    scopes: ScopeSet
    rounds: int = 0
    widened: bool = False

    @property
    def key(self) -> tuple[str, str, ScopeSet]:
        """What decides whether requests may share what was learned."""
        return str(self.origin), identity(self.credential), self.scopes


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
    """The one request that goes ahead to a host nothing is known of."""

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
    """

    def __init__(
        self, source: TokenSource, challenges: ChallengeCache, tokens: TokenCache, options: TokenOptions
    ) -> None:
        self._source = source
        self._challenges = challenges
        self._tokens = tokens
        self._margin = options.margin
        self._flights: SingleFlight[Token] = SingleFlight()
        self._scouts: dict[str, _Scout] = {}
        self._open: OrderedDict[tuple[str, str, ScopeSet], None] = OrderedDict()

    def knows(self, origin: Origin) -> bool:
        """Return whether the host's challenge is known."""
        return self._challenges.get(str(origin)) is not None

    def learn(self, origin: Origin, values: Sequence[str], credential: Credential) -> Challenge | None:
        """Remember the challenge of an answer, if there is one that this credential can meet.

        Raises:
            ChallengeError: The header is malformed.
        """
        chosen = choose(parse_challenges(values), have=kind_of(credential))
        if chosen is not None:
            self._challenges.set(str(origin), chosen)
        return chosen

    async def prove(self, turn: Turn) -> Proof:
        """Return what to send with a first attempt, from what is known already.

        Raises:
            AuthError: A token is needed and cannot be had.
        """
        if isinstance(turn.credential, RegistryToken):
            return Proof("Bearer " + turn.credential.token)
        challenge = self._challenges.get(str(turn.origin))
        if challenge is None or turn.key in self._open:
            return NOTHING
        if challenge.scheme == BASIC:
            return Proof(basic_header(turn.credential)) if isinstance(turn.credential, Basic) else NOTHING
        if challenge.scheme != BEARER:
            return NOTHING
        return await self._bearer(turn, challenge, turn.scopes)

    async def first(self, turn: Turn, attempt: Callable[[Proof], Awaitable[Answered]]) -> Answered:
        """Make a request's first attempt; where nothing is known of the host, one request goes ahead of all others.

        Cancelling the one that goes ahead lets another one take its place; when it fails, the others go on by
        themselves.
        """
        key = str(turn.origin)
        while not self.informed(turn):
            scout = self._scouts.get(key)
            if scout is None:
                return await self._scout(key, turn, attempt)
            await scout.back.wait()
            if scout.failed:
                return await attempt(NOTHING)
        return await attempt(await self.prove(turn))

    async def _scout(self, key: str, turn: Turn, attempt: Callable[[Proof], Awaitable[Answered]]) -> Answered:
        scout = self._scouts[key] = _Scout()
        try:
            answered = await attempt(NOTHING)
        except Exception:
            scout.failed = True
            raise
        else:
            self._note(turn, answered)
            return answered
        finally:
            del self._scouts[key]
            scout.back.set()

    def informed(self, turn: Turn) -> bool:
        """Return whether it is known what a request has to send."""
        if isinstance(turn.credential, RegistryToken) or turn.key in self._open:
            return True
        return self._challenges.get(str(turn.origin)) is not None

    def _note(self, turn: Turn, answered: Answered) -> None:
        if answered.refused is None:
            self._open[turn.key] = None
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
            return
        try:
            self.learn(turn.origin, answered.refused, turn.credential)
        except ChallengeError:
            # Told again, with more to go by, when this answer is dealt with.
            return

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
        self._open.pop(turn.key, None)
        if isinstance(turn.credential, RegistryToken):
            return None
        challenge = self.learn(turn.origin, values, turn.credential) if values else None
        if challenge is None:
            challenge = self._fallback(turn, values)
        if challenge.scheme == BASIC:
            return self._basic(turn, sent)
        # Only this answer's own scope counts: what a challenge of /v2/ named belongs to no repository.
        needed = turn.scopes | challenge.scopes if values else turn.scopes
        if sent.token is None:
            return await self._bearer(turn, challenge, needed)
        return await self._replace(turn, sent, sent.token, challenge, needed)

    def _fallback(self, turn: Turn, values: Sequence[str]) -> Challenge:
        # Some registries challenge on /v2/ only and answer a bare 401 elsewhere.
        known = None if values else self._challenges.get(str(turn.origin))
        if known is not None:
            return known
        if not values:
            msg = f"{turn.origin} answered 401 without saying how to authenticate"
            raise ChallengeError(msg)
        offered = ", ".join(sorted({c.scheme for c in parse_challenges(values)})) or "nothing"
        if isinstance(turn.credential, type(ANONYMOUS)) and BASIC in offered:
            msg = f"{turn.origin} wants a user name and password, and there is none for it"
            raise CredentialsRejectedError(msg)
        msg = f"{turn.origin} offers {offered}, which this credential cannot answer"
        raise ChallengeError(msg)

    @staticmethod
    def _basic(turn: Turn, sent: Proof) -> Proof | None:
        if not isinstance(turn.credential, Basic) or sent.header is not None:
            return None
        return Proof(basic_header(turn.credential), fresh=True)

    async def _bearer(self, turn: Turn, challenge: Challenge, scopes: ScopeSet) -> Proof:
        owner = self._source.owner(turn.origin, challenge, turn.credential)
        found = self._tokens.find(owner, scopes, now=monotonic() + self._margin)
        if found is not None:
            return Proof(_header(found), found, refusal=self._source.refusal(owner))

        async def fetch() -> Token:
            token = await self._source.fetch(turn.origin, challenge, scopes, turn.credential)
            self._tokens.store(owner, token)
            return token

        token = await self._flights.do((owner, scopes), fetch)
        return Proof(_header(token), token, fresh=True, refusal=self._source.refusal(owner))

    async def _replace(self, turn: Turn, sent: Proof, token: Token, challenge: Challenge, needed: ScopeSet) -> Proof:
        self._tokens.discard(self._source.owner(turn.origin, challenge, turn.credential), token)
        turn.rounds += 1
        wider = not token.scopes.covers(needed)
        if turn.rounds > MAX_ROUNDS or (sent.fresh and (turn.widened or not wider)):
            raise self._refused(turn, sent, challenge)
        turn.widened = turn.widened or sent.fresh
        return await self._bearer(turn, challenge, needed)

    @staticmethod
    def _refused(turn: Turn, sent: Proof, challenge: Challenge) -> AuthError:
        if sent.refusal is not None:
            return sent.refusal
        if challenge.error == "insufficient_scope":
            msg = f"{turn.origin} says that a fresh token does not grant {turn.scopes}"
            return ScopeDeniedError(msg, scope=str(turn.scopes))
        msg = f"{turn.origin} refuses a token that was fetched just now"
        return CredentialsRejectedError(msg)


@attrs.frozen
class Answered:
    """What came of one attempt, as far as authentication is concerned.

    Attributes:
        refused: The WWW-Authenticate fields of a 401 of the registry itself; None for any other answer.
        response: The answer, for the caller.
        sent: What was sent with it.
    """

    refused: tuple[str, ...] | None
    response: httpx.Response
    sent: Proof


def _header(token: Token) -> str:
    return "Bearer " + token.value

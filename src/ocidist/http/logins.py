"""Logins that token servers refuse: a wrong password is not sent again for each repository.

Each repository needs a token of its own, and token servers lock accounts after a few failed logins: a client with an
old password would lock its owner out within a second.

So where it is not known whether a token server takes a login, one request goes ahead of all others. What it refuses may
be the login or the scopes, and servers do not say which: the next request asks for a token without scopes first, which
is what ``docker login`` does. If that is refused as well, nobody asks with this login for a second.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from ocidist.errors import CredentialsRejectedError, ScopeDeniedError, TokenError
from ocidist.http.retry import monotonic
from ocidist.wire.scope import NO_SCOPES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from ocidist.http.caches import TokenOwner
    from ocidist.wire.scope import ScopeSet
    from ocidist.wire.token import Token

MAX_LOGINS: Final = 1024

KNOWN_SECONDS: Final = 60.0
"""Seconds for which a login that was taken counts as good."""

HOLD: Final = 1.0
"""Seconds for which a login that was refused is not tried again. No more: a token server may be mistaken."""

PATIENCE: Final = 5.0
"""Seconds that others wait for the one that goes ahead."""

_UNCLEAR: Final = 1.0
"""Seconds for which nobody waits, where the one that went ahead could not find out."""

Ask: TypeAlias = "Callable[[ScopeSet], Awaitable[Token]]"


@attrs.define
class _Login:
    """What is known of one login; times are those of the monotonic clock.

    Attributes:
        good_until: Until when it counts as good.
        scopes_until: Until when a refusal is about scopes: the login by itself was taken.
        suspect: Whether something was refused, and it is not known why.
        held_until: Until when it is not tried.
        refusal: What to tell those who would.
        ahead: Set when the one that went ahead is back; None if nobody did.
    """

    good_until: float = 0.0
    scopes_until: float = 0.0
    suspect: bool = False
    held_until: float = 0.0
    refusal: CredentialsRejectedError | None = None
    ahead: anyio.Event | None = None

    def taken(self) -> None:
        self.good_until = monotonic() + KNOWN_SECONDS
        self.suspect, self.refusal = False, None

    def refused(self, error: CredentialsRejectedError, scopes: ScopeSet) -> None:
        now = monotonic()
        if scopes and now < self.scopes_until:
            return
        self.good_until, self.suspect = 0.0, True
        if not scopes:
            self.held_until, self.refusal = now + HOLD, _fresh(error)


class Logins:
    """Knows which logins are refused, by owner."""

    def __init__(self) -> None:
        self._logins: dict[TokenOwner, _Login] = {}

    async def fetch(self, owner: TokenOwner, scopes: ScopeSet, ask: Ask) -> Token:
        """Return what *ask* returns for the scopes, unless its login was refused just now.

        Args:
            owner: Whose login it is.
            scopes: What is asked for.
            ask: Sends the login to the token server.

        Raises:
            CredentialsRejectedError: The login is refused, or was.
            Exception: What *ask* raises.
        """
        login = self._of(owner)
        while True:
            if login.refusal is not None and monotonic() < login.held_until:
                raise _fresh(login.refusal)
            if monotonic() < login.good_until:
                break
            if login.ahead is None:
                return await self._go_ahead(login, scopes, ask)
            with anyio.move_on_after(PATIENCE) as waiting:
                await login.ahead.wait()
            if waiting.cancelled_caught:
                break
        return await _asked(login, scopes, ask)

    def _of(self, owner: TokenOwner) -> _Login:
        login = self._logins.get(owner)
        if login is None:
            if len(self._logins) >= MAX_LOGINS:
                # Those of a hostile registry, that names another realm each time.
                del self._logins[next(iter(self._logins))]
            login = self._logins[owner] = _Login()
        return login

    async def _go_ahead(self, login: _Login, scopes: ScopeSet, ask: Ask) -> Token:
        back = login.ahead = anyio.Event()
        try:
            if login.suspect and scopes:
                await _try_alone(login, ask)
            return await _asked(login, scopes, ask)
        except (CredentialsRejectedError, ScopeDeniedError):
            raise
        except Exception:
            # Nobody is kept waiting for a server that is down.
            login.good_until = max(login.good_until, monotonic() + _UNCLEAR)
            raise
        finally:
            # The next one takes the place of one that was cancelled.
            login.ahead = None
            back.set()


async def _try_alone(login: _Login, ask: Ask) -> None:
    # A server that wants scopes says nothing of the login.
    with suppress(ScopeDeniedError, TokenError):
        await _asked(login, NO_SCOPES, ask)
    login.taken()
    login.scopes_until = monotonic() + KNOWN_SECONDS


async def _asked(login: _Login, scopes: ScopeSet, ask: Ask) -> Token:
    try:
        token = await ask(scopes)
    except CredentialsRejectedError as error:
        login.refused(error, scopes)
        raise
    except ScopeDeniedError:
        login.taken()
        raise
    login.taken()
    return token


def _fresh(error: CredentialsRejectedError) -> CredentialsRejectedError:
    # Without the traceback of who was told first.
    made = copy(error)
    made.__cause__ = error.__cause__
    return made

"""WWW-Authenticate: what a registry wants to see before it answers.

Spec: RFC 9110, section 11.6.1; RFC 6750, section 3; docker registry auth, "How to authenticate".
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Final

import attrs

from ocidist.errors import ChallengeError, UsageError
from ocidist.model.fields import FrozenMap
from ocidist.wire._scan import BLANK, MAX_HEADER_CHARS, TCHAR, ScanError, Scanner, has_control, within_cap
from ocidist.wire.scope import ScopeSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BEARER: Final = "bearer"
BASIC: Final = "basic"

# A parameter as nearly all registries write it: it is what the steps of ``_params`` find, in one.
_PLAIN: Final = re.compile(rf'[ \t,]*+([{re.escape("".join(sorted(TCHAR)))}]++)="([^"\\\x00-\x1f\x7f]*+)"')
_TOKEN68: Final = frozenset("-._~+/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


class CredentialKind(enum.Enum):
    """What kind of credential there is for a registry."""

    ANONYMOUS = "anonymous"
    PASSWORD = "password"  # noqa: S105 -- the name of a kind, not a secret
    IDENTITY_TOKEN = "identity token"  # noqa: S105 -- the name of a kind
    REGISTRY_TOKEN = "registry token"  # noqa: S105 -- the name of a kind


def _lower(text: str) -> str:
    return text.lower()


def _frozen(params: Mapping[str, str]) -> Mapping[str, str]:
    return FrozenMap({name.lower(): value for name, value in params.items()})


def _items(params: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(params.items()))


@attrs.frozen
class Challenge:
    """One way to authenticate that a server offers.

    Attributes:
        scheme: Authentication scheme, in lower case.
        params: Parameters; names in lower case, values unquoted.
        token68: The single word of schemes that have one instead of parameters (Negotiate), or None.
    """

    scheme: str = attrs.field(converter=_lower)
    params: Mapping[str, str] = attrs.field(
        factory=dict, converter=_frozen, eq=_items, repr=lambda params: repr(dict(params))
    )
    token68: str | None = attrs.field(default=None, repr=False)

    @property
    def realm(self) -> str | None:
        """Where to get a token (bearer), or what the password is for (basic)."""
        return self.params.get("realm")

    @property
    def service(self) -> str | None:
        """What the token server calls this registry."""
        return self.params.get("service")

    @property
    def scope(self) -> str | None:
        """The scopes the registry asks for, as it wrote them."""
        return self.params.get("scope")

    @property
    def error(self) -> str | None:
        """Why the last attempt was refused: ``invalid_token``, ``insufficient_scope``, ..."""
        return self.params.get("error")

    @property
    def scopes(self) -> ScopeSet:
        """The scopes the registry asks for; empty if it names none.

        Raises:
            ChallengeError: They hold characters that no scope may hold.
        """
        try:
            return ScopeSet.parse(self.scope or "")
        except UsageError as error:
            msg = f"the challenge's scope is unusable: {error.message}"
            raise ChallengeError(msg) from None


def parse_challenges(values: Sequence[str]) -> tuple[Challenge, ...]:
    """Read all challenges of an answer, in order, from all lines of its WWW-Authenticate header.

    Takes the whole list grammar: several challenges in one line, token68, blanks around ``=``, quoted pairs. Beyond
    it, parameters that are not quoted though they hold ``/`` or ``:``, empty values, and blanks instead of commas
    between parameters are understood.

    Raises:
        ChallengeError: A line does not follow the grammar, a parameter is there twice, or the header is larger than
            16 KiB.

    Spec: RFC 9110, section 11.6.1.
    """
    if not within_cap(values):
        msg = f"the WWW-Authenticate header is larger than {MAX_HEADER_CHARS} characters"
        raise ChallengeError(msg)
    try:
        return tuple(challenge for value in values for challenge in _challenges(Scanner(value)))
    except ScanError as error:
        msg = f"the WWW-Authenticate header is malformed: {error}"
        raise ChallengeError(msg) from None


def choose(challenges: Iterable[Challenge], *, have: CredentialKind) -> Challenge | None:
    """Pick the challenge to answer: the first bearer challenge, else the first basic one, else None.

    A bearer challenge needs a realm, unless the token is already there; a basic one needs a password. Other schemes
    are skipped.

    Args:
        challenges: What the registry offers, in any order.
        have: What there is to answer with.
    """
    offered = tuple(challenges)
    for challenge in offered:
        if challenge.scheme == BEARER and (challenge.realm or have is CredentialKind.REGISTRY_TOKEN):
            return challenge
    if have is CredentialKind.PASSWORD:
        return next((challenge for challenge in offered if challenge.scheme == BASIC), None)
    return None


def _challenges(scanner: Scanner) -> Iterable[Challenge]:
    while True:
        scanner.skip(" \t,")
        if scanner.done():
            return
        scheme = scanner.token()
        if not scheme:
            msg = "expected an authentication scheme"
            raise ScanError(msg)
        blanks = scanner.skip()
        if scanner.done() or scanner.char == ",":
            # Nothing or parameters follow: ``Bearer, realm="..."`` is no challenge without parameters.
            yield Challenge(scheme, _params(scanner))
            continue
        if not blanks:
            msg = "expected a blank after the authentication scheme"
            raise ScanError(msg)
        # Basic and Bearer never carry a token68, so that ``Bearer service=,realm="..."`` can be read.
        token68 = None if scheme.lower() in {BASIC, BEARER} else _token68(scanner)
        if token68 is not None:
            yield Challenge(scheme, {}, token68)
        else:
            params = _params(scanner)
            if not params:
                msg = "expected parameters after the authentication scheme"
                raise ScanError(msg)
            yield Challenge(scheme, params)


def _token68(scanner: Scanner) -> str | None:
    start = scanner.pos
    length = scanner.skip(_TOKEN68)
    scanner.skip("=")
    stop = scanner.pos
    scanner.skip()
    if length and (scanner.done() or scanner.char == ","):
        return scanner.text[start:stop]
    scanner.pos = start
    return None


def _params(scanner: Scanner) -> dict[str, str]:
    params: dict[str, str] = {}
    while True:
        plain = scanner.take_match(_PLAIN)
        if plain is not None:
            name, value = plain[1].lower(), plain[2]
        else:
            scanner.skip(" \t,")
            start = scanner.pos
            name = scanner.token().lower()
            scanner.skip()
            if not name or not scanner.take("="):
                # Not a parameter: the end, or the scheme of the next challenge.
                scanner.pos = start
                return params
            scanner.skip()
            value = scanner.quoted() if scanner.char == '"' else _unquoted(scanner)
        if name in params:
            msg = "a parameter is given twice"
            raise ScanError(msg)
        params[name] = value
        if not scanner.done() and scanner.char != "," and scanner.char not in BLANK:
            msg = "expected a comma after a parameter"
            raise ScanError(msg)


def _unquoted(scanner: Scanner) -> str:
    value = scanner.until(' \t,"')
    if has_control(value):
        msg = "a parameter holds a control character"
        raise ScanError(msg)
    return value


def format_challenge(challenge: Challenge) -> str:
    """Write a challenge as one header value, parameters quoted.

    Raises:
        UsageError: The scheme or a name is no token, or a value holds a control character.
    """
    if not challenge.scheme or not TCHAR.issuperset(challenge.scheme):
        msg = "an authentication scheme is a token"
        raise UsageError(msg)
    scheme = challenge.scheme.title()
    if challenge.token68 is not None:
        if not challenge.token68 or not _TOKEN68.issuperset(challenge.token68.rstrip("=")):
            msg = "a token68 holds letters, digits and -._~+/ only"
            raise UsageError(msg)
        return f"{scheme} {challenge.token68}"
    for name, value in challenge.params.items():
        if not name or not TCHAR.issuperset(name) or has_control(value):
            msg = f"the challenge parameter {name[:80]!r} cannot be written"
            raise UsageError(msg)
    params = ",".join(f'{name}="{_escape(value)}"' for name, value in challenge.params.items())
    return f"{scheme} {params}".strip()


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')

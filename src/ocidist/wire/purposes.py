"""One answer for every URL that somebody else names: may it be asked, with what, and is its address still to be judged.

``egress`` holds the rules. Here each purpose gets the one that is its own, so that no path of the client has to know
which that is, and no purpose is forgotten.

Spec: architecture, decision 5.
"""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

import attrs

from ocidist.errors import (
    AuthRealmRefusedError,
    EgressError,
    LinkRefusedError,
    LocationRefusedError,
    RedirectRefusedError,
)
from ocidist.wire.egress import (
    DEFAULT_POLICY,
    EgressPolicy,
    Origin,
    check_link,
    check_location,
    check_realm,
    check_redirect,
    resolve,
)

Place: TypeAlias = str | Origin


class Purpose(enum.Enum):
    """What a URL is for.

    Attributes:
        REALM: The token server in a challenge.
        TOKEN_REDIRECT: Where a token server sends on to.
        REDIRECT: Where a read is redirected to.
        LOCATION: Where an upload session goes on.
        LINK: The next page of a list.
        FOREIGN: One of the ``urls`` of a descriptor.
        MIRROR: A mirror that the user configured; the only one that no server names.
    """

    REALM = "realm"
    TOKEN_REDIRECT = "token redirect"  # noqa: S105 -- a purpose
    REDIRECT = "redirect"
    LOCATION = "location"
    LINK = "link"
    FOREIGN = "foreign"
    MIRROR = "mirror"


REFUSALS: Final[dict[Purpose, type[EgressError]]] = {
    Purpose.REALM: AuthRealmRefusedError,
    Purpose.TOKEN_REDIRECT: RedirectRefusedError,
    Purpose.REDIRECT: RedirectRefusedError,
    Purpose.LOCATION: LocationRefusedError,
    Purpose.LINK: LinkRefusedError,
    Purpose.FOREIGN: EgressError,
    Purpose.MIRROR: EgressError,
}
"""The error by which each purpose is refused, here and when an address is dialled."""


@attrs.frozen
class Verdict:
    """A URL that may be asked.

    Attributes:
        url: The absolute URL. May hold secrets, so it is not shown.
        credentials: Whether the registry's credentials may go along.
        guarded: Whether the address it leads to has to be judged when it is dialled.
    """

    url: str = attrs.field(repr=False)
    credentials: bool
    guarded: bool


def decide(
    purpose: Purpose,
    source: Place,
    target: str,
    *,
    registry: Place | None = None,
    policy: EgressPolicy = DEFAULT_POLICY,
) -> Verdict:
    """Decide about a URL.

    Args:
        purpose: What it is for.
        source: URL or origin that named it.
        target: What it named; may be relative to *source*.
        registry: URL or origin of the registry the user named, if *source* is a step away from it.
        policy: What the client's owner allows.

    Raises:
        EgressError: The class in ``REFUSALS``: nothing may be sent there.
        UsageError: *source* or *registry* is no URL that can be used.
    """
    named = _origin(source if registry is None else registry)
    url, credentials = _judged(purpose, source, target, named, policy)
    # A mirror is the user's own choice, and so is the registry.
    return Verdict(url, credentials, purpose is not Purpose.MIRROR and Origin.of(url) != named)


def _judged(purpose: Purpose, source: Place, target: str, named: Origin, policy: EgressPolicy) -> tuple[str, bool]:
    match purpose:
        case Purpose.REALM:
            realm = check_realm(source, target, policy=policy)
            return realm.url, realm.credentials
        case Purpose.LOCATION:
            location = check_location(source, target, policy, registry=named)
            return location.url, Origin.of(location.url) == named
        case Purpose.LINK:
            return check_link(source, target, policy), True
        case Purpose.MIRROR:
            url = resolve(source, target, refuse=REFUSALS[purpose])
            return url, Origin.of(url) == named
        case Purpose.TOKEN_REDIRECT:
            there = str(Origin.of(resolve(source, target, refuse=REFUSALS[purpose])))
            raise RedirectRefusedError(str(_origin(source)), there, "token servers are asked where they are")
        case Purpose.FOREIGN:
            return check_foreign(source, target, policy, registry=named), False
        case _:
            redirect = check_redirect(source, target, policy, registry=named)
            return redirect.url, redirect.same_origin and _origin(source) == named


def check_foreign(
    source: Place, target: str, policy: EgressPolicy = DEFAULT_POLICY, *, registry: Place | None = None
) -> str:
    """Decide about one of the ``urls`` of a descriptor, or where it redirects to; return the absolute URL to ask.

    Whoever wrote the manifest chose the URL, so what holds for redirects holds for it, and nothing ever goes along. It
    has to name its host: there is nothing it could be relative to.

    Args:
        source: URL or origin it came from: the registry, or the URL that redirects.
        target: The URL.
        policy: What the client's owner allows.
        registry: URL or origin of the registry the user named, if *source* is another.

    Raises:
        EgressError: It may not be asked.
    """
    named = source if registry is None else registry
    if source is named and "://" not in target:
        raise EgressError(str(_origin(source)), "an unreadable URL", "it is not an absolute URL")
    refusal: EgressError
    try:
        return check_redirect(source, target, policy, registry=registry).url
    except RedirectRefusedError as error:
        refusal = EgressError(error.source, error.target, error.reason)
    raise refusal


def _origin(place: Place) -> Origin:
    return place if isinstance(place, Origin) else Origin.of(place)

"""Redirects, followed by our own rules.

Reads follow within the egress policy and leave every secret behind when the origin changes. Writes follow 307 and 308
to the same origin only, with a body that can be opened again. No redirect ever turns one method into another.

Spec: distribution-spec, "API"; RFC 9110, section 15.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import httpx

from ocidist.errors import BodyNotReplayableError, RedirectRefusedError
from ocidist.wire.egress import Origin, check_redirect

if TYPE_CHECKING:
    from ocidist.http.sender import Call
    from ocidist.wire.egress import EgressPolicy

FOLLOWED = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
_SAFE = frozenset({"GET", "HEAD"})
_HARMLESS = ("Accept", "Accept-Encoding", "If-None-Match", "If-Range", "Range", "User-Agent")


@attrs.frozen
class Hop:
    """The next request of a redirect chain.

    Attributes:
        request: What to send.
        at_home: Whether it still goes to the origin the chain began at, without ever having left it.
    """

    request: httpx.Request
    at_home: bool


def next_hop(
    request: httpx.Request, response: httpx.Response, *, call: Call, policy: EgressPolicy, home: str, at_home: bool
) -> Hop | None:
    """Return the request a redirect asks for, or None when the answer is to be taken as it is.

    Args:
        request: The request that was answered.
        response: Its answer.
        call: The operation.
        policy: The egress policy.
        home: URL the chain began at.
        at_home: Whether the chain has not left its first origin so far.

    Raises:
        RedirectRefusedError: The target is one this client must not go to.
        BodyNotReplayableError: The body can be read only once.
    """
    if response.status_code not in FOLLOWED:
        return None
    reads = request.method in _SAFE
    if not reads and response.status_code not in _KEEP_METHOD:
        return None
    location = response.headers.get("Location")
    if not location:
        here = str(Origin.of(str(request.url)))
        raise RedirectRefusedError(here, "nowhere", f"the {response.status_code} has no Location")
    found = check_redirect(str(request.url), location, policy, registry=home)
    # Lists, say, are small and made by the registry itself: where one points elsewhere, it does not really offer it.
    stays = call.endpoint is not None and call.endpoint.stays_home
    if not found.same_origin and (stays or not reads):
        here, there = str(Origin.of(str(request.url))), str(Origin.of(found.url))
        what = "this comes from the registry itself" if reads else "what is written is not sent elsewhere"
        raise RedirectRefusedError(here, there, what)
    if not reads and not replayable(request, call):
        msg = f"the registry redirects the {request.method}, and its body can be read only once"
        raise BodyNotReplayableError(msg)
    return Hop(_again(request, found.url, same_origin=found.same_origin), at_home and found.same_origin)


def replayable(request: httpx.Request, call: Call) -> bool:
    """Return whether a request can be sent a second time."""
    if call.body is not None:
        return call.body.replayable
    return isinstance(request.stream, httpx.ByteStream)


def _again(request: httpx.Request, url: str, *, same_origin: bool) -> httpx.Request:
    if same_origin:
        # An Authorization field in here is the caller's own: what a session adds is added to a copy.
        headers = [(name, value) for name, value in request.headers.multi_items() if name != "host"]
    else:
        headers = [(name, request.headers[name]) for name in _HARMLESS if name in request.headers]
    hop = httpx.Request(request.method, url, headers=headers, extensions=request.extensions)
    hop.stream = request.stream
    return hop

"""``--debug-http``: every request and answer in lines of their own, without secrets, and without bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ocidist.wire.redact import MASK, clean_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ocidist.cli.people import Voice

SHOWN: Final = frozenset({
    *("accept", "accept-ranges", "cache-control", "connection", "content-encoding", "content-length", "content-range"),
    *("content-type", "date", "docker-content-digest", "docker-distribution-api-version", "docker-upload-uuid", "etag"),
    *("host", "if-none-match", "oci-chunk-min-length", "oci-filters-applied", "oci-subject", "oci-tag", "range"),
    *("ratelimit-limit", "ratelimit-remaining", "retry-after", "server", "transfer-encoding", "user-agent", "vary"),
    *("accept-encoding", "warning", "www-authenticate", "x-request-id"),
})  # fmt: skip
"""Header fields whose values say nothing that somebody else must not know; of all others only the name is shown."""

_URLS: Final = frozenset({"link", "location", "oci-location"})


def watching(voice: Voice) -> dict[str, list[Callable[[Any], Awaitable[None]]]]:
    """Return httpx's event hooks that tell a voice of every request and every answer."""

    async def asked(request: Any) -> None:  # noqa: ANN401, RUF029 -- httpx's request; its hooks are awaited
        voice.say(f"> {request.method} {redact_url(str(request.url))}")
        _tell(voice, ">", request.headers.multi_items())

    async def answered(response: Any) -> None:  # noqa: ANN401, RUF029 -- see above
        request = response.request
        voice.say(f"< {response.status_code} {request.method} {redact_url(str(request.url))}")
        _tell(voice, "<", response.headers.multi_items())

    return {"request": [asked], "response": [answered]}


def _tell(voice: Voice, sign: str, fields: Iterable[tuple[str, str]]) -> None:
    for name, value in fields:
        voice.say(f"{sign}   {clean_text(name)}: {_shown(name.lower(), value)}")


def _shown(name: str, value: str) -> str:
    if name in _URLS:
        return redact_url(value.strip("<>")) if name != "link" else redact_url(value.partition(">")[0].lstrip("<"))
    return clean_text(value) if name in SHOWN else MASK

"""Making text safe to show: URLs without secrets, server text without terminal escapes.

Nothing here raises: it is called while an error is being reported.
"""

from __future__ import annotations

from typing import Final

SHOWN_QUERY: Final = frozenset(
    {"n", "last", "digest", "mount", "from", "scope", "service", "artifactType", "ns", "tag"}
)
"""Query parameters whose values say what was asked; all others may carry a capability (``_state``, signatures)."""

MASK: Final = "***"
MAX_URL_CHARS: Final = 2048
MAX_TEXT_CHARS: Final = 4096


def clean_text(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Make server text safe for a terminal and a log line.

    Line breaks and tabs become blanks; every other character that does not print (escapes, bidirectional overrides,
    zero-width marks, lone surrogates) is removed; the result is at most *limit* characters long.
    """
    # Only so much is looked at: a text of nothing but invisible characters must not cost more than it shows.
    seen = text[: limit * 4]
    clean = "".join(char if char.isprintable() else " " if char.isspace() else "" for char in seen).strip()
    if len(clean) > limit or len(seen) < len(text):
        return clean[: max(limit - 3, 0)].rstrip() + "..."[:limit]
    return clean


def redact_url(url: str) -> str:
    """Drop user information, the fragment and the values of query parameters that are not known to be harmless.

    A text that is no URL comes back cleaned and shortened, never as an error.
    """
    head, mark, query = url.partition("#")[0].partition("?")
    head = _without_userinfo(head)
    if mark:
        head = f"{head}?{'&'.join(_redact_pair(pair) for pair in query[:MAX_URL_CHARS].split('&'))}"
    return clean_text(head, MAX_URL_CHARS)


def _without_userinfo(head: str) -> str:
    scheme, slashes, rest = head.partition("//")
    if not slashes:
        scheme, rest = "", head
    authority, slash, path = rest.partition("/")
    # The last @ ends the user information, however many there are.
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}"


def _redact_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        # A bare parameter may be the whole secret (``?<token>``).
        return pair if pair in SHOWN_QUERY or not pair else MASK
    return pair if name in SHOWN_QUERY else f"{name}={MASK}" if value else pair

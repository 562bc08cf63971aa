"""Rate limits: what registries say about them, and whether waiting a moment will help.

Understood are Docker Hub's ``RateLimit-Limit: 100;w=21600``, the drafts of the IETF (``RateLimit`` with
``RateLimit-Policy``, and the three fields that came before them), GitLab's, and ``X-RateLimit-*`` as GitHub and many
proxies send them.

Spec: draft-ietf-httpapi-ratelimit-headers; Docker Hub, "Pull usage and limits".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ocidist.model.ratelimit import RateLimit
from ocidist.wire.ranges import parse_int
from ocidist.wire.redact import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from ocidist.errors import ErrorInfo

MAX_SOURCE_CHARS: Final = 128

_MAX_ITEMS: Final = 16
_MAX_CHARS: Final = 1024
# What is larger is no number of seconds but a moment, in seconds since the epoch.
_MOMENTS: Final = 1_000_000_000
# And some count milliseconds.
_MILLISECONDS: Final = 100 * _MOMENTS
_PREFIXES: Final = ("RateLimit-", "X-RateLimit-", "X-Rate-Limit-")
_SOURCES: Final = ("Docker-RateLimit-Source", "X-RateLimit-Source")
# An allowance for hours, a day or a month is used up; nobody gets more of it by asking again.
_QUOTA_WORDS: Final = re.compile(
    r"pull rate limit|download rate limit|pull limit|data limit|download limit|monthly limit|daily limit|quota",
    re.ASCII,
)
_BRIEF_WORDS: Final = re.compile(r"(?:per|/)[ _-]?(?:minute|min|second|sec|s)\b", re.ASCII)
# GHCR says so in its message: retry-after, a duration as Go prints it, and how many are allowed in a minute.
_WAIT_WORDS: Final = re.compile(r"retry[- ]after:? ?((?:\d{1,9}(?:\.\d{1,9})?(?:ns|us|ms|s|m|h))+)", re.ASCII)
_DURATION: Final = re.compile(r"([\d.]+)(ns|us|ms|s|m|h)", re.ASCII)
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MICRO: Final = str.maketrans("\u00b5\u03bc", "uu")


def any_noted(names: Container[bytes]) -> bool:
    """Return whether header fields say how much is left.

    Args:
        names: Their names in lower case.
    """
    return (
        b"ratelimit-remaining" in names
        or b"x-ratelimit-remaining" in names
        or b"ratelimit" in names
        or b"x-rate-limit-remaining" in names
    )


def parse_rate_limit(header: Callable[[str], str | None], *, now: float) -> RateLimit | None:
    """Read what an answer says of its sender's rate limit; None if it says nothing that can be understood.

    Of several limits the one is read of which the least is left.

    Args:
        header: Returns the value of a header field by its name, in any case, or None.
        now: Seconds since the epoch, by the server's Date header if it sent one.
    """
    found = _structured(header("RateLimit"), header("RateLimit-Policy"))
    if found is None:
        found = next((one for prefix in _PREFIXES if (one := _separate(header, prefix, now))), None)
    if found is None:
        return None
    source = next((text for name in _SOURCES if (text := header(name))), None)
    limit, remaining, window, reset = found
    named = None if source is None else clean_text(source, MAX_SOURCE_CHARS) or None
    return RateLimit(limit, remaining, window, reset, named)


def parse_wait(infos: Sequence[ErrorInfo]) -> float | None:
    """Read how long an error body asks to wait, in seconds; None if it does not say."""
    for info in infos:
        found = _WAIT_WORDS.search(info.message.translate(_MICRO).lower())
        if found:
            return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(found[1]))
    return None


def is_spent(quota: RateLimit | None, text: str, *, retry_after: float | None, patience: float) -> bool:
    """Return whether a 429 means that an allowance is used up, and not only that requests come too fast.

    Args:
        quota: What the answer says of the rate limit.
        text: What its body says, an error's messages or anything else.
        retry_after: Seconds it asks to wait, or None.
        patience: Longest time that is waited for, in seconds.
    """
    text = text.lower()
    if _BRIEF_WORDS.search(text):
        return False
    if _QUOTA_WORDS.search(text):
        return True
    if retry_after is not None or quota is None or not quota.spent:
        # Retry-After is the policy's business, however long it is.
        return False
    return quota.horizon is not None and quota.horizon > patience


_Found = tuple[int | None, int | None, int | None, float | None]


def _structured(limit: str | None, policy: str | None) -> _Found | None:
    """Read ``RateLimit: "daily";r=0;t=60`` with ``RateLimit-Policy: "daily";q=100;w=3600``, or ``limit=100, ...``."""
    if limit is None or len(limit) > _MAX_CHARS:
        return None
    policies = dict(_items(policy or ""))
    found: list[_Found] = []
    plain: dict[str, int] = {}
    for name, numbers in _items(limit):
        more = policies.get(name, {})
        if "r" in numbers:
            found.append(
                (more.get("q", numbers.get("q")), numbers["r"], more.get("w", numbers.get("w")), numbers.get("t"))
            )
        elif "=" in name:
            key, _, value = name.partition("=")
            number = parse_int(value)
            if number is not None:
                plain[key.strip().lower()] = number
    if "remaining" in plain:
        window = next((numbers["w"] for numbers in policies.values() if "w" in numbers), None)
        found.append((plain.get("limit"), plain["remaining"], window, plain.get("reset")))
    return min(found, key=lambda one: (one[1] or 0, -(one[3] or 0)), default=None)


def _separate(header: Callable[[str], str | None], prefix: str, now: float) -> _Found | None:
    """Read a field for each number: ``RateLimit-Limit: 100;w=21600``, ``RateLimit-Remaining: 0;w=21600``."""
    limit, seconds = _first(header(f"{prefix}Limit"))
    remaining, again = _first(header(f"{prefix}Remaining"))
    if limit is None and remaining is None:
        return None
    reset, _ = _first(header(f"{prefix}Reset"))
    left = None if reset is None else float(reset)
    if left is not None and left > _MOMENTS:
        left = max(0.0, (left / 1000 if left > _MILLISECONDS else left) - now)
    return limit, remaining, again if seconds is None else seconds, left


def _first(value: str | None) -> tuple[int | None, int | None]:
    """Return the number that a field begins with, and its window."""
    if value is None or len(value) > _MAX_CHARS:
        return None, None
    name, numbers = next(_items(value), ("", {}))
    return parse_int(name), numbers.get("w")


def _items(text: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield each item of a list with its parameters, as far as those are whole numbers."""
    if len(text) > _MAX_CHARS:
        return
    for item in text.split(",")[:_MAX_ITEMS]:
        name, *parameters = item.split(";")
        numbers: dict[str, int] = {}
        for parameter in parameters[:_MAX_ITEMS]:
            key, _, value = parameter.partition("=")
            number = parse_int(value.strip(" \t"))
            if number is not None:
                numbers.setdefault(key.strip(" \t").lower(), number)
        yield name.strip(' \t"'), numbers

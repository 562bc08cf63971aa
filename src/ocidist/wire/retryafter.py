"""Retry-After: how long a server asks to wait.

The value is only read here; how much of it is honoured is the retry policy's decision.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from ocidist.wire.ranges import MAX_DIGITS, parse_int

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MAX_DATE_CHARS: Final = 64
_LEAP_SECOND: Final = 60
_CENTURY: Final = 100


def parse_retry_after(text: str, *, now: float) -> float | None:
    """Read a Retry-After value as seconds from now, never negative; None if it is neither a number nor a date.

    Args:
        text: The header value: whole or fractional seconds, or an HTTP date.
        now: Seconds since the epoch, by the server's Date header if it sent one: only the difference counts.

    Spec: RFC 9110, section 10.2.3.
    """
    text = text.strip(" \t")
    whole, dot, fraction = text.partition(".")
    seconds = parse_int(whole)
    if seconds is not None and (not dot or (len(fraction) <= MAX_DIGITS and parse_int(fraction) is not None)):
        return float(text)
    when = parse_http_date(text)
    return None if when is None else max(0.0, when - now)


def parse_http_date(text: str) -> float | None:
    """Read one of the three HTTP date forms as seconds since the epoch; None if it is no such date.

    Neither the locale nor the named day of the week matters.

    Spec: RFC 9110, section 5.6.7.
    """
    if len(text) > _MAX_DATE_CHARS:
        return None
    words = text.lower().replace(",", " ").split()
    if not words or words[0][:3] not in _DAYS:
        return None
    match words[1:]:
        case [day, month, year, clock, "gmt" | "utc"]:
            return _timestamp(year, month, day, clock)
        case [dashed, clock, "gmt" | "utc"] if dashed.count("-") == 2:
            day, month, year = dashed.split("-")
            return _timestamp(year, month, day, clock)
        case [month, day, clock, year]:
            return _timestamp(year, month, day, clock)
        case _:
            return None


def _timestamp(year: str, month: str, day: str, clock: str) -> float | None:
    numbers = [parse_int(part) for part in (year, day, *clock.split(":"))]
    match numbers:
        case [int(yyyy), int(dd), int(hour), int(minute), int(second)] if month in _MONTHS and second <= _LEAP_SECOND:
            pass
        case _:
            return None
    if yyyy < _CENTURY:
        # RFC 850 years: 70 to 99 lie in the last century.
        yyyy += 1900 if yyyy >= 70 else 2000
    try:
        # A leap second is read as the second before it.
        moment = datetime(yyyy, _MONTHS[month], dd, hour, minute, min(second, _LEAP_SECOND - 1), tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment.timestamp()

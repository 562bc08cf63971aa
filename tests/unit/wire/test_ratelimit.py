"""What registries say of their rate limits."""

from __future__ import annotations

import pytest

from ocidist import ErrorInfo
from ocidist.model.ratelimit import RateLimit
from ocidist.wire.ratelimit import is_spent, parse_rate_limit, parse_wait

NOW = 1_700_000_000.0
HUB = "You have reached your pull rate limit. You may increase the limit by authenticating and upgrading"
GHCR = "retry-after: 880.092\u00b5s, allowed: 44000/minute"
GOOGLE = "Quota exceeded for quota metric 'Requests per project per region' and limit 'Requests per minute per region'"


def read(fields: dict[str, str]) -> RateLimit | None:
    lower = {name.lower(): value for name, value in fields.items()}
    return parse_rate_limit(lambda name: lower.get(name.lower()), now=NOW)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        (
            {
                "RateLimit-Limit": "100;w=21600",
                "RateLimit-Remaining": "76;w=21600",
                "Docker-RateLimit-Source": "192.0.2.1",
            },
            RateLimit(100, 76, 21600, None, "192.0.2.1"),
        ),
        ({"ratelimit-remaining": "0;w=21600"}, RateLimit(None, 0, 21600)),
        (
            {"RateLimit-Limit": "10, 10;w=1, 50;w=60", "RateLimit-Remaining": "9", "RateLimit-Reset": "50"},
            RateLimit(10, 9, None, 50.0),
        ),
        ({"RateLimit": "limit=100, remaining=50, reset=5"}, RateLimit(100, 50, None, 5.0)),
        (
            {"RateLimit": "limit=100, remaining=50, reset=5", "RateLimit-Policy": "100;w=60"},
            RateLimit(100, 50, 60, 5.0),
        ),
        ({"RateLimit": '"default";r=50;t=30'}, RateLimit(None, 50, None, 30.0)),
        (
            {
                "RateLimit": '"burst";r=5;t=1, "daily";r=0;t=600',
                "RateLimit-Policy": '"burst";q=9;w=1,"daily";q=100;w=86400',
            },
            RateLimit(100, 0, 86400, 600.0),
        ),
        # GitLab's and GitHub's reset is a moment, not a number of seconds.
        (
            {"RateLimit-Limit": "60", "RateLimit-Remaining": "0", "RateLimit-Reset": "1700000030"},
            RateLimit(60, 0, None, 30.0),
        ),
        (
            {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000030500"},
            RateLimit(60, 0, None, 30.5),
        ),
        ({"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4999"}, RateLimit(5000, 4999)),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1600000000"}, RateLimit(None, 0, None, 0.0)),
        ({"X-Rate-Limit-Limit": "7", "X-Rate-Limit-Remaining": "1"}, RateLimit(7, 1)),
    ],
)
def test_n06_rate_limits_are_read_in_every_form(fields: dict[str, str], expected: RateLimit | None) -> None:
    assert read(fields) == expected


@pytest.mark.parametrize(
    "value",
    ["", "-1", "+5", "1_0", "1e3", "0x10", "ten", "\u0661", "99999999999999999999", ";w=5", ",", "1" * 2000, "5.5"],
)
def test_n06_what_is_no_whole_number_is_not_read(value: str) -> None:
    assert read({"RateLimit-Limit": value, "RateLimit-Remaining": value}) is None
    assert read({"RateLimit": f'"x";r={value};t={value}'}) is None
    assert read({"RateLimit": f"limit={value}, remaining={value}"}) is None


def test_a_window_that_is_no_number_is_not_there() -> None:
    assert read({"RateLimit-Limit": "100;w=-1", "RateLimit-Remaining": "3;w=x;w=60"}) == RateLimit(100, 3, 60)


def test_who_is_counted_is_shown_without_control_characters_and_not_at_length() -> None:
    found = read({"RateLimit-Remaining": "1", "Docker-RateLimit-Source": "\x1b[31m" + "a" * 5000})
    assert found is not None
    assert found.source is not None
    assert found.source.startswith("[31ma")
    assert len(found.source) <= 128


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        (GHCR, 880.092e-6),
        ("Retry-After: 1m30s", 90.0),
        ("retry after 2.5s please", 2.5),
        ("retry-after: 15ms", 0.015),
        ("retry later", None),
        ("retry-after: soon", None),
        ("retry-after: -1s", None),
        ("", None),
    ],
)
def test_a_wait_is_read_from_the_message_too(message: str, seconds: float | None) -> None:
    found = parse_wait([ErrorInfo("OTHER"), ErrorInfo("TOOMANYREQUESTS", message)])
    assert found == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("quota", "text", "retry_after", "spent"),
    [
        (RateLimit(100, 0, 21600), "", None, True),
        (None, HUB, None, True),
        (None, HUB, 1.0, True),
        (None, "Data limit exceeded", None, True),
        (None, "Monthly quota exceeded", None, True),
        (RateLimit(100, 0, 1), "", None, False),
        (RateLimit(100, 0, 21600, 5.0), "", None, False),
        (RateLimit(100, 0, None, 3000.0), "", None, True),
        (RateLimit(100, 3, 21600), "", None, False),
        (RateLimit(100, 0), "", None, False),
        (RateLimit(100, 0, 21600), "", 1.0, False),
        (None, "Rate exceeded", None, False),
        (None, "Too Many Requests", None, False),
        (None, GHCR, None, False),
        (None, GOOGLE, None, False),
        (None, "", None, False),
    ],
)
def test_n06_only_an_allowance_for_long_is_spent(
    quota: RateLimit | None, text: str, retry_after: float | None, *, spent: bool
) -> None:
    assert is_spent(quota, text, retry_after=retry_after, patience=60.0) is spent


@pytest.mark.parametrize(
    ("quota", "text"),
    [
        (RateLimit(100, 0, 21600), "0 of 100 left in 21600 seconds"),
        (RateLimit(None, 3), "3 left"),
        (RateLimit(5), "some of 5 left"),
        (RateLimit(5, 0, None, 29.6), "0 of 5 left, more in 30 seconds"),
    ],
)
def test_a_rate_limit_can_be_read_by_people(quota: RateLimit, text: str) -> None:
    assert str(quota) == text

from __future__ import annotations

import pytest

from ocidist.wire.retryafter import parse_http_date, parse_retry_after

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT
DAY = 86400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("120", 120.0), (" 7\t", 7.0), ("1.5", 1.5), ("0.25", 0.25), ("99999999999", 99999999999.0)],
)
def test_seconds_are_read_whole_and_fractional(text: str, seconds: float) -> None:
    assert parse_retry_after(text, now=NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "sun, 6 nov 1994 08:49:37 gmt",
        "Mon, 06 Nov 1994 08:49:37 UTC",
    ],
)
def test_all_three_date_forms_are_the_same_moment(text: str) -> None:
    assert parse_http_date(text) == NOW
    assert parse_retry_after(text, now=NOW - 30) == 30.0


@pytest.mark.parametrize(("now", "seconds"), [(NOW - DAY, DAY), (NOW + DAY, 0.0), (NOW, 0.0)])
def test_a_date_is_counted_from_the_given_clock_and_never_negative(now: float, seconds: float) -> None:
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now=now) == seconds


def test_a_date_far_away_is_a_large_number_of_seconds() -> None:
    seconds = parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", now=NOW)
    assert seconds is not None
    assert seconds > 8000 * 365 * DAY


def test_a_leap_second_is_a_date() -> None:
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == parse_http_date("Sat, 31 Dec 2016 23:59:59 GMT")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1_0",
        "1e3",
        "nan",
        "inf",
        ".5",
        "5.",
        "1.2.3",
        "\u0661",
        "soon",
        "9" * 20,
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:99 GMT",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sun, 06-11-94 08:49:37 GMT",
        "06 Nov 1994 08:49:37 GMT",
        "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
        "Sun, " * 10_000,
    ],
)
def test_garbage_is_no_wait_at_all(text: str) -> None:
    assert parse_retry_after(text, now=NOW) is None


def test_two_digit_years_lie_around_the_turn_of_the_century() -> None:
    assert parse_http_date("Friday, 31-Dec-99 00:00:00 GMT") == parse_http_date("Fri, 31 Dec 1999 00:00:00 GMT")
    assert parse_http_date("Friday, 31-Dec-27 00:00:00 GMT") == parse_http_date("Fri, 31 Dec 2027 00:00:00 GMT")

from __future__ import annotations

from typing import Any

import pytest

from ocidist.http.lean import NO_BODY, LeanRequest
from ocidist.wire.egress import Origin

LINES = b"Host: example.com\r\nUser-Agent: Content-Length: 9\r\nContent-Length: 12\r\nX-Empty: \r\n"


def request(lines: bytes = LINES) -> LeanRequest:
    site: Any = None
    origin = Origin.of("https://example.com")
    return LeanRequest("PUT", site, origin, "/v2/", lines, stream=NO_BODY, extensions={})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Length", "12"),
        ("content-length", "12"),
        ("Length", None),
        ("X-Empty", ""),
        ("Transfer-Encoding", None),
        ("Authorization", None),
    ],
)
def test_a_field_is_found_by_its_whole_name_with_and_without_httpx_headers(name: str, value: str | None) -> None:
    made = request()
    assert made.field(name) == value
    assert made.headers.get(name) == value
    assert made.field(name) == value


def test_a_field_that_somebody_changed_is_what_counts() -> None:
    made = request()
    made.headers["Content-Length"] = "3"
    assert made.field("Content-Length") == "3"


def test_a_request_is_authorized_once_it_has_the_field() -> None:
    assert not request().authorized
    assert request().again("Basic eA==").authorized

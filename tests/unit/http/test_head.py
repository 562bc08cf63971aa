from __future__ import annotations

import httpx
import pytest

from ocidist.http.transport.head import MAX_HEAD, MAX_INTERIM, ChunkReader, HeadReader, parse_head, request_head

OK = b"HTTP/1.1 200 OK\r\n"


def read_chunks(*pieces: bytes) -> tuple[bytes, ChunkReader]:
    reader = ChunkReader()
    return b"".join(b"".join(reader.feed(piece)) for piece in pieces), reader


# --- found by the fuzzer ---------------------------------------------------------------------------------------------


def test_the_body_of_a_second_message_is_no_part_of_the_first_ones() -> None:
    body, reader = read_chunks(b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworld")
    assert body == b"hello"
    assert reader.done
    assert not reader.clean


@pytest.mark.parametrize("start", [b"\n", b"\r\n", b" ", b"ICE/1.1 200 OK\r\n\r\n", b"RTSP/1.0 200 OK\r\n\r\n"])
def test_nothing_may_stand_before_the_status_line(start: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        parse_head(start + OK + b"\r\n", "GET")


@pytest.mark.parametrize("reason", [b"O\0K", b"O\x0bK", b"O\x7fK", b"O\x1bK"])
def test_a_reason_phrase_holds_no_control_characters(reason: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        parse_head(b"HTTP/1.1 200 " + reason + b"\r\n\r\n", "GET")


@pytest.mark.parametrize("value", [b"a\x0bb", b"a\x0cb", b"a\0b", b"a\rb", b"a\nb"])
def test_a_value_holds_nothing_that_somebody_may_read_as_the_end_of_a_line(value: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        parse_head(OK + b"X: " + value + b"\r\n\r\n", "GET")


def test_other_control_characters_in_values_come_through_as_they_are() -> None:
    value = bytes({*range(1, 32), 127} - set(b"\t\n\v\f\r"))
    assert parse_head(OK + b"Warning: " + value + b"\r\n\r\n", "GET").fields == [(b"Warning", value)]


def test_control_characters_are_not_taken_for_others_where_bytes_beyond_ascii_stand_too() -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        parse_head(OK + b"Warning: a\x1bb \x9b\r\n\r\n", "GET")


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_head_may_have_so_many_bytes(extra: int) -> None:
    head = OK + b"X: " + b"a" * (MAX_HEAD - len(OK) - 3 - 4 + extra) + b"\r\n\r\n"
    assert len(head) == MAX_HEAD + extra
    if extra <= 0:
        assert HeadReader("GET").feed(head) is not None
    else:
        with pytest.raises(httpx.RemoteProtocolError, match="longer"):
            HeadReader("GET").feed(head)


def test_a_head_without_an_end_is_given_up_at_the_limit() -> None:
    reader = HeadReader("GET")
    assert reader.feed(OK + b"X: ") is None
    with pytest.raises(httpx.RemoteProtocolError, match="longer"):
        assert all(reader.feed(b"a" * 1024) is None for _ in range(MAX_HEAD))


@pytest.mark.parametrize("count", [MAX_INTERIM - 1, MAX_INTERIM, MAX_INTERIM + 1])
def test_so_many_interim_answers_may_come_first(count: int) -> None:
    reader = HeadReader("GET")
    data = b"HTTP/1.1 103 Early Hints\r\n\r\n" * count + OK + b"Content-Length: 0\r\n\r\n"
    if count <= MAX_INTERIM:
        head = reader.feed(data)
        assert head is not None
        assert head.status == 200
    else:
        with pytest.raises(httpx.RemoteProtocolError, match="interim"):
            reader.feed(data)


def test_chunks_may_not_hide_endless_extensions_or_trailers() -> None:
    for start in (b"5;", b"0\r\nX: "):
        reader = ChunkReader()
        reader.feed(start)
        with pytest.raises(httpx.RemoteProtocolError):
            assert not any(reader.feed(b"a" * 1024) for _ in range(MAX_HEAD))


# --- what is sent ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "name", "value"),
    [
        (b"GET", b"/", b"X", b"a\r\nY: b"),
        (b"GET", b"/", b"X", b"a\nY: b"),
        (b"GET", b"/", b"X", b"a\0b"),
        (b"GET", b"/", b"X: a\r\nY", b"b"),
        (b"GET", b"/", b"", b"b"),
        (b"GET", b"/ HTTP/1.1\r\nX: y", b"X", b"b"),
        (b"GET", b"/\x7f", b"X", b"b"),
        (b"GET", b"", b"X", b"b"),
        (b"GET /", b"/", b"X", b"b"),
    ],
)
def test_what_would_be_read_as_another_line_is_not_sent(
    method: bytes, target: bytes, name: bytes, value: bytes
) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        request_head(method, target, [(name, value)])

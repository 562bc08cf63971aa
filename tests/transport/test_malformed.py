"""Answers that are not HTTP/1.1, or that could be understood in two ways: refused, and their connections closed.

Spec: RFC 9112, sections 2.2, 4, 5, 6.1, 6.3 and 11.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.transport.support import failures

if TYPE_CHECKING:
    from tests.transport.differences import Cases
    from tests.transport.support import Playback, Transports

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"\r\n5\r\nhello\r\n0\r\n\r\n"
HELLO = b"\r\nhello"

LINES = {
    "garbage": b"hello world\r\n\r\n",
    "a body without a head": b"{}\r\n\r\n",
    "HTML": b"<html><body>nginx</body></html>\r\n\r\n",
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 settings": b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff\r\n\r\n",
    "a TLS alert": b"\x15\x03\x03\0\x02\x02\x28\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\n" + SIZED + HELLO,
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n" + SIZED + HELLO,
    "HTTP/3.7": b"HTTP/3.7 200 OK\r\n" + SIZED + HELLO,
    "HTTP/1.11": b"HTTP/1.11 200 OK\r\n" + SIZED + HELLO,
    "HTTP/1": b"HTTP/1 200 OK\r\n" + SIZED + HELLO,
    "http in lower case": b"http/1.1 200 OK\r\n" + SIZED + HELLO,
    "another protocol": b"ICY/1.1 200 OK\r\n" + SIZED + HELLO,
    "no version": b"200 OK\r\n" + SIZED + HELLO,
    "no status": b"HTTP/1.1 \r\n" + SIZED + HELLO,
    "no status and no blank": b"HTTP/1.1\r\n" + SIZED + HELLO,
    "status 0": b"HTTP/1.1 0 OK\r\n" + SIZED + HELLO,
    "status 99": b"HTTP/1.1 99 OK\r\n" + SIZED + HELLO,
    "status 099": b"HTTP/1.1 099 OK\r\n" + SIZED + HELLO,
    "status 1000": b"HTTP/1.1 1000 OK\r\n" + SIZED + HELLO,
    "status 20": b"HTTP/1.1 20 OK\r\n" + SIZED + HELLO,
    "status abc": b"HTTP/1.1 abc OK\r\n" + SIZED + HELLO,
    "status +200": b"HTTP/1.1 +200 OK\r\n" + SIZED + HELLO,
    "status -200": b"HTTP/1.1 -200 OK\r\n" + SIZED + HELLO,
    "status 2e2": b"HTTP/1.1 2e2 OK\r\n" + SIZED + HELLO,
    "no blank before the reason": b"HTTP/1.1 200OK\r\n" + SIZED + HELLO,
    "a NUL in the reason": b"HTTP/1.1 200 O\0K\r\n" + SIZED + HELLO,
    "a bare CR in the reason": b"HTTP/1.1 200 O\rK\r\n" + SIZED + HELLO,
    "a blank before the version": b" HTTP/1.1 200 OK\r\n" + SIZED + HELLO,
    "an empty line first": b"\r\n\r\nHTTP/1.1 200 OK\r\n" + SIZED + HELLO,
}

FIELDS = {
    "no colon": b"X-Value\r\n",
    "no name": b": value\r\n",
    "a blank before the colon": b"X-Value : value\r\n",
    "a tab before the colon": b"X-Value\t: value\r\n",
    "a blank in the name": b"X Value: value\r\n",
    "a blank before the name": b" X-Value: value\r\n",
    "a continued line": b"X-Value: value\r\n more\r\n",
    "a continued line with a tab": b"X-Value: value\r\n\tmore\r\n",
    "a continued length": b"X-Value: value\r\n Content-Length: 4\r\n",
    "a NUL in a value": b"X-Value: a\0b\r\n",
    "a NUL in a name": b"X-\0Value: value\r\n",
    "a bare CR in a value": b"X-Value: a\rb\r\n",
    "a bare CR that hides a field": b"X-Value: a\rContent-Length: 4\r\n",
    "a bare CR in a name": b"X-\rValue: value\r\n",
    "two CRs": b"X-Value: value\r\r\n",
    "a bare LF that hides a field": b"X-Value: a\nX-Hidden: b\r\n",
    "a bare LF before the length": b"X-Value: a\nContent-Length: 4\r\n",
    "a bare LF in a name": b"X-\nValue: value\r\n",
    "latin-1 in a name": b"X-Val\xfce: value\r\n",
    "a parenthesis in a name": b"X(Value): value\r\n",
    "a DEL in a name": b"X-Val\x7fue: value\r\n",
}

LENGTHS = {
    "5,5": b"Content-Length: 5,5\r\n",
    "5, 5": b"Content-Length: 5, 5\r\n",
    "5, 6": b"Content-Length: 5, 6\r\n",
    "twice the same": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "two different ones": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "two different ones in other words": b"Content-Length: 5\r\ncontent-length: 05\r\n",
    "empty": b"Content-Length:\r\n",
    "empty and not": b"Content-Length:\r\nContent-Length: 5\r\n",
    "+5": b"Content-Length: +5\r\n",
    "-1": b"Content-Length: -1\r\n",
    "-0": b"Content-Length: -0\r\n",
    "0x5": b"Content-Length: 0x5\r\n",
    "5.0": b"Content-Length: 5.0\r\n",
    "5e0": b"Content-Length: 5e0\r\n",
    "5_0": b"Content-Length: 5_0\r\n",
    "5 5": b"Content-Length: 5 5\r\n",
    "5 with a semicolon": b"Content-Length: 5;\r\n",
    "in quotes": b'Content-Length: "5"\r\n',
    "with a vertical tab": b"Content-Length: \x0b5\r\n",
    "with a no-break space": b"Content-Length: 5\xa0\r\n",
    "arabic digits": b"Content-Length: \xd9\xa5\r\n",
    "abc": b"Content-Length: abc\r\n",
    "2 to the 64 and five": b"Content-Length: 18446744073709551621\r\n",
    "20 digits": b"Content-Length: 10000000000000000000\r\n",
    "1000 digits": b"Content-Length: " + b"9" * 1000 + b"\r\n",
    "continued": b"Content-Length: 5\r\n 6\r\n",
    "on the next line": b"Content-Length:\r\n 5\r\n",
}

CODINGS = {
    "and a length": SIZED + CHUNKED,
    "and a length behind it": CHUNKED + SIZED,
    "and a length of zero": b"Content-Length: 0\r\n" + CHUNKED,
    "with gzip": b"Transfer-Encoding: gzip, chunked\r\n",
    "with gzip in a field of its own": b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    "before gzip": b"Transfer-Encoding: chunked, gzip\r\n",
    "twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "twice in two fields": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "with identity": b"Transfer-Encoding: identity, chunked\r\n",
    "before identity": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "misspelt before": b"Transfer-Encoding: xchunked\r\n",
    "misspelt behind": b"Transfer-Encoding: chunkedx\r\n",
    "with a parameter": b"Transfer-Encoding: chunked;q=1\r\n",
    "in quotes": b'Transfer-Encoding: "chunked"\r\n',
    "with a comma": b"Transfer-Encoding: chunked,\r\n",
    "with a comma before": b"Transfer-Encoding: ,chunked\r\n",
    "with a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "with a vertical tab behind": b"Transfer-Encoding: chunked\x0b\r\n",
    "with a NUL": b"Transfer-Encoding: chunked\0\r\n",
    "with a continued line": b"Transfer-Encoding:\r\n chunked\r\n",
    "with a blank before the colon": b"Transfer-Encoding : chunked\r\n",
    "gzip only": b"Transfer-Encoding: gzip\r\n",
    "identity only": b"Transfer-Encoding: identity\r\n",
    "empty": b"Transfer-Encoding:\r\n",
    "empty and a length": b"Transfer-Encoding:\r\n" + SIZED,
    "identity and a length": b"Transfer-Encoding: identity\r\n" + SIZED,
}

CUT = {
    "at once": b"",
    "in the version": b"HTTP/1.",
    "in the status": b"HTTP/1.1 20",
    "in the reason": b"HTTP/1.1 200 O",
    "after the status line": OK,
    "in a name": OK + b"Content-Le",
    "in a value": OK + b"Content-Length: 5",
    "after a field": OK + SIZED,
    "in the last line end": OK + SIZED + b"\r",
    "before the body": OK + SIZED + b"\r\n",
    "in the body": OK + SIZED + b"\r\nhell",
    "in a body as long as memory": OK + b"Content-Length: 999999999999999999\r\n" + HELLO,
    "lines that end with LF only": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "a head that ends with LF only": OK + SIZED.replace(b"\r", b"") + b"\nhello",
    "a head that ends with a bare CR": b"HTTP/1.1 200 OK\rContent-Length: 5\r\rhello",
}


MIXED_ENDS = {
    "two LFs": OK + b"X-Value: a\n\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + HELLO,
    "LF, CRLF": OK + b"X-Value: a\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + HELLO,
    "CRLF, LF": OK + b"X-Value: a\r\n\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + HELLO,
    "LF, CRLF with a length": OK + b"Content-Length: 5\n\r\nhello\r\n\r\n",
    "LF in the status line": b"HTTP/1.1 200 OK\nContent-Length: 5\r\n" + HELLO,
}


async def test_f014_what_does_not_begin_as_an_answer_is_refused(
    playback: Playback, transports: Transports, cases: Cases
) -> None:
    async with transports.open() as transport:

        async def check(wire: bytes) -> None:
            await playback.is_refused(transport, wire)

        assert await failures(cases(LINES), check) == {}


async def test_f014_a_malformed_field_is_refused(playback: Playback, transports: Transports, cases: Cases) -> None:
    async with transports.open() as transport:

        async def check(field: bytes) -> None:
            await playback.is_refused(transport, OK + field + SIZED + HELLO)

        assert await failures(cases(FIELDS), check) == {}


async def test_f015_a_length_that_is_none_is_refused(playback: Playback, transports: Transports, cases: Cases) -> None:
    async with transports.open() as transport:

        async def check(field: bytes) -> None:
            await playback.is_refused(transport, OK + field + HELLO)

        assert await failures(cases(LENGTHS), check) == {}


async def test_f015_a_length_that_is_none_is_refused_even_where_there_is_no_body(
    playback: Playback, transports: Transports, cases: Cases
) -> None:
    async with transports.open() as transport:

        async def check(field: bytes) -> None:
            await playback.is_refused(transport, OK + field + b"\r\n", method="HEAD")

        assert await failures(cases(LENGTHS), check) == {}


async def test_f015_a_body_whose_end_is_told_in_two_ways_is_refused(
    playback: Playback, transports: Transports, cases: Cases
) -> None:
    async with transports.open() as transport:

        async def check(fields: bytes) -> None:
            await playback.is_refused(transport, OK + fields + CHUNKS)

        assert await failures(cases(CODINGS), check) == {}


async def test_f015_chunks_in_http_1_0_are_refused(playback: Playback, transports: Transports) -> None:
    async with transports.open() as transport:
        await playback.is_refused(transport, b"HTTP/1.0 200 OK\r\n" + CHUNKED + CHUNKS)


STATUSES = (b"204 No Content", b"304 Not Modified", b"206 Partial Content", b"404 Not Found")


@pytest.mark.parametrize(
    "fields", [SIZED + CHUNKED, b"Content-Length: 5\r\nContent-Length: 6\r\n"], ids=["two ways", "two lengths"]
)
async def test_f015_an_ambiguous_head_is_refused_whatever_its_status(
    playback: Playback, transports: Transports, fields: bytes
) -> None:
    async with transports.open() as transport:
        for status in STATUSES:
            await playback.is_refused(transport, b"HTTP/1.1 " + status + b"\r\n" + fields + b"\r\n")


async def test_an_answer_that_ends_early_is_no_answer(playback: Playback, transports: Transports, cases: Cases) -> None:
    async with transports.open() as transport:

        async def check(wire: bytes) -> None:
            await playback.is_refused(transport, wire, closed=True)

        assert await failures(cases(CUT), check) == {}


async def test_t77_a_head_that_others_would_end_elsewhere_is_refused(
    playback: Playback, transports: Transports, cases: Cases
) -> None:
    async with transports.open() as transport:

        async def check(wire: bytes) -> None:
            await playback.is_refused(transport, wire)

        assert await failures(cases(MIXED_ENDS), check) == {}

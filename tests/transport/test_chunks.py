"""Bodies in chunks: whatever the grammar allows is read, and whatever two readers could read differently is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.images import noise
from tests.transport.support import KIB, Counts, ask, counts, failures
from tests.transport.wire import byte_by_byte, send_in_pieces

if TYPE_CHECKING:
    from tests.conftest import StartWireServer
    from tests.peers.wire_server import Connection, Request
    from tests.transport.differences import Cases
    from tests.transport.support import Playback, Transports

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
DATA = noise(70_000)

READ = {
    "one byte": (b"1\r\nx\r\n" + LAST, b"x"),
    "two chunks": (b"5\r\nhello\r\n6\r\n world\r\n" + LAST, b"hello world"),
    "hex in lower case": (b"1f\r\n%b\r\n" % DATA[:31] + LAST, DATA[:31]),
    "hex in upper case": (b"1F\r\n%b\r\n" % DATA[:31] + LAST, DATA[:31]),
    "a size with leading zeros": (b"00000005\r\nhello\r\n" + LAST, b"hello"),
    "a last chunk of several zeros": (b"5\r\nhello\r\n0000\r\n\r\n", b"hello"),
    "data that looks like the last chunk": (b"5\r\n0\r\n\r\n\r\n" + LAST, b"0\r\n\r\n"),
    "an extension": (b"5;a\r\nhello\r\n" + LAST, b"hello"),
    "extensions with values": (b"5;a=b;c=d\r\nhello\r\n" + LAST, b"hello"),
    "an extension with a quoted value": (b'5;a="b c; d"\r\nhello\r\n' + LAST, b"hello"),
    "an extension of the last chunk": (b"5\r\nhello\r\n0;a=b\r\n\r\n", b"hello"),
    "an extension of 8 KiB": (b"5;a=" + b"b" * 8 * KIB + b"\r\nhello\r\n" + LAST, b"hello"),
    "a trailer": (b"5\r\nhello\r\n0\r\nX-Sum: abc\r\n\r\n", b"hello"),
    "many trailers": (b"5\r\nhello\r\n0\r\n" + b"X-Sum: abc\r\n" * 500 + b"\r\n", b"hello"),
    "a trailer without a value": (b"5\r\nhello\r\n0\r\nX-Sum:\r\n\r\n", b"hello"),
    "64 KiB and a byte": (b"10001\r\n%b\r\n" % DATA[:65537] + LAST, DATA[:65537]),
    "10 000 chunks of one byte": (b"".join(b"1\r\n%c\r\n" % byte for byte in DATA[:10_000]) + LAST, DATA[:10_000]),
}

REFUSED = {
    "a size in letters": b"xyz\r\nhello\r\n" + LAST,
    "a size that begins well": b"5g\r\nhello\r\n" + LAST,
    "a negative size": b"-5\r\nhello\r\n" + LAST,
    "a size with a plus": b"+5\r\nhello\r\n" + LAST,
    "a size with 0x": b"0x5\r\nhello\r\n" + LAST,
    "a size with an underscore": b"0_5\r\nhello\r\n" + LAST,
    "no size": b"\r\nhello\r\n" + LAST,
    "an extension only": b";a=b\r\nhello\r\n" + LAST,
    "a blank before the size": b" 5\r\nhello\r\n" + LAST,
    "a size of 2 to the 64": b"10000000000000000\r\nhello\r\n" + LAST,
    "a size of 2 to the 64 and five": b"10000000000000005\r\nhello\r\n" + LAST,
    "a size of 40 digits": b"1" * 40 + b"\r\nhello\r\n" + LAST,
    "more data than said": b"5\r\nhello!\r\n" + LAST,
    "much more data than said": b"5\r\nhello world\r\n" + LAST,
    "no line end after the data": b"5\r\nhello5\r\nworld\r\n" + LAST,
    "a bare LF after the size": b"5\nhello\r\n" + LAST,
    "a bare LF after the data": b"5\r\nhello\n" + LAST,
    "a bare CR after the size": b"5\rhello\r\n" + LAST,
    "a bare LF in an extension": b"5;a\nb\r\nhello\r\n" + LAST,
    "a bare LF at the end": b"5\r\nhello\r\n0\r\n\n",
    "a trailer without a colon": b"5\r\nhello\r\n0\r\nX-Sum\r\n\r\n",
    "a trailer with a NUL": b"5\r\nhello\r\n0\r\nX-Sum: a\0b\r\n\r\n",
    "an extension of 1 MiB": b"5;a=" + b"b" * 1024 * KIB + b"\r\nhello\r\n" + LAST,
    "a size with 1 MiB of leading zeros": b"0" * 1024 * KIB + b"5\r\nhello\r\n" + LAST,
    "trailers of 1 MiB": b"5\r\nhello\r\n0\r\n" + b"X-Sum: abc\r\n" * 90_000 + b"\r\n",
    "a trailer of 1 MiB": b"5\r\nhello\r\n0\r\nX-Sum: " + b"a" * 1024 * KIB + b"\r\n\r\n",
}

CUT = {
    "before the first chunk": b"",
    "in a size": b"5",
    "after a size": b"5\r\n",
    "in the data": b"5\r\nhel",
    "after the data": b"5\r\nhello",
    "between two chunks": b"5\r\nhello\r\n",
    "in the last chunk": b"5\r\nhello\r\n0",
    "after the last chunk": b"5\r\nhello\r\n0\r\n",
    "in a trailer": b"5\r\nhello\r\n0\r\nX-Sum: a",
    "after a trailer": b"5\r\nhello\r\n0\r\nX-Sum: abc\r\n",
    "in the last line end": b"5\r\nhello\r\n0\r\n\r",
    "in a chunk as long as memory": b"ffffffffffffffff\r\nhello",
}


async def test_chunks_of_any_shape_are_put_together(playback: Playback, transports: Transports, cases: Cases) -> None:
    async with transports.open() as transport:

        async def check(case: tuple[bytes, bytes]) -> None:
            wire, body = case
            assert (await ask(transport, playback.plays(HEAD + wire))).body == body
            assert counts(transport) == Counts(open=1, idle=1)

        assert await failures(cases(READ), check) == {}
    assert len(playback.server.connections) == 1


SPLIT = b'4;a="b"\r\nabcd\r\n1F\r\n%b\r\n0;c\r\nX-Sum: d\r\n\r\n' % DATA[:31]


async def test_chunks_may_be_split_anywhere(start_wire_server: StartWireServer, transports: Transports) -> None:
    wire = HEAD + SPLIT

    def split(request: Request, connection: Connection) -> None:
        at = int(request.path[1:])
        send_in_pieces(connection, (wire[:at], wire[at:]))

    server = start_wire_server(split)
    async with transports.open() as transport:
        for at in range(len(HEAD), len(wire)):
            answer = await ask(transport, f"{server.origin}/{at}")
            assert (at, answer.body) == (at, b"abcd" + DATA[:31])
    assert len(server.connections) == 1


async def test_chunks_may_arrive_byte_by_byte(start_wire_server: StartWireServer, transports: Transports) -> None:
    server = start_wire_server(byte_by_byte(HEAD + SPLIT))
    async with transports.open() as transport:
        for _ in range(2):
            assert (await ask(transport, server.origin)).body == b"abcd" + DATA[:31]
    assert len(server.connections) == 1


async def test_t77_chunks_that_are_ambiguous_or_never_end_are_refused_at_once(
    playback: Playback, transports: Transports, cases: Cases
) -> None:
    async with transports.open() as transport:

        async def check(wire: bytes) -> None:
            await playback.is_refused(transport, HEAD + wire)

        assert await failures(cases(REFUSED), check) == {}


async def test_a_body_in_chunks_is_not_complete_without_its_last_one(
    playback: Playback, transports: Transports, cases: Cases
) -> None:
    async with transports.open() as transport:

        async def check(wire: bytes) -> None:
            await playback.is_refused(transport, HEAD + wire, closed=True)

        assert await failures(cases(CUT), check) == {}

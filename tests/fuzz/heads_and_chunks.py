"""A fuzz target for what reads the heads and chunks of responses: ``nox -s fuzz``.

Three things must hold for every input. Nothing but ``RemoteProtocolError`` is raised. The result does not depend on how
the network cut the bytes. And whatever is accepted means the same to h11, which is written independently: where two
readers see different ends of a message, one answer's bytes become part of another.

Arguments are libFuzzer's: a folder for the corpus, ``-max_total_time=SECONDS`` (60 unless it is given), ``-runs=N``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import atheris
import h11
import httpx

with atheris.instrument_imports(include=["ocidist.http.transport.head"]):
    from ocidist.http.transport.head import MAX_HEAD, ChunkReader, HeadReader

if TYPE_CHECKING:
    from ocidist.http.transport.head import Head

METHODS = ("GET", "HEAD", "PUT")
TRAILER = re.compile(rb"\n0+(?:;[^\n]*)?\r\n(?!\r\n)")
SEEDS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;name=value\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b'HTTP/1.1 200 OK\r\nWarning: 299 - "\x1b\x9b"\r\nContent-Length: +5, 5\r\n\r\n',
)


class Outcome:
    """What became of an input: a head with what follows it and the body as far as it came, or a refusal."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self.body = b""
        self.done = False
        self.refused = False

    def __repr__(self) -> str:
        status = self.head and (self.head.status, self.head.length, self.head.chunked)
        return f"<{status}, body {self.body!r}, done {self.done}, refused {self.refused}>"


def read(pieces: list[bytes], method: str) -> Outcome:
    """Read a response as a connection would bring it."""
    outcome, reader = Outcome(), HeadReader(method)
    chunks: ChunkReader | None = None
    try:
        for piece in pieces:
            data = piece
            if outcome.head is None:
                outcome.head = reader.feed(piece)
                if outcome.head is None:
                    continue
                data = reader.rest
                chunks = ChunkReader() if outcome.head.chunked else None
            if chunks is None:
                outcome.body += data
            elif data and not chunks.done:
                outcome.body += b"".join(chunks.feed(data))
                outcome.done = chunks.done
    except httpx.RemoteProtocolError:
        outcome.refused = True
    if outcome.head is not None and outcome.head.length is not None:
        outcome.done = len(outcome.body) >= outcome.head.length
        outcome.body = outcome.body[: outcome.head.length]
    return outcome


def read_with_h11(data: bytes, method: str) -> tuple[int, bytes, bool]:
    """Return status, body and whether the body is complete, as h11 reads them; status 0 without a final head.

    Raises:
        h11.RemoteProtocolError: It refuses the head, or the body before its end.
    """
    connection = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a"), ("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    status, body = 0, b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            if status and TRAILER.search(data):
                # It reads trailers as if they were headers; they are skipped here.
                return status, body, False
            raise
        match event:
            case h11.Response():
                status = event.status_code
            case h11.Data():
                body += event.data
            case h11.EndOfMessage():
                return status, body, True
            case h11.InformationalResponse():
                pass
            case _:
                return status, body, False


def check(data: bytes) -> None:
    """Check one input: its first two bytes choose the method, and where the rest is cut."""
    if len(data) < 2:
        return
    method = METHODS[data[0] % len(METHODS)]
    cut, data = data[1], data[2:]
    whole = read([data], method)
    parts = read([data[:cut], *(data[at : at + 1 + cut] for at in range(cut, len(data), 1 + cut))], method)
    if whole.head is not None and not whole.refused:
        same = (whole.body, whole.done) == (parts.body, parts.done)
        if parts.head is None or parts.refused or not same:
            raise AssertionError(f"it matters how the bytes are cut: {whole} {parts}")
        compare(data, method, whole)


def compare(data: bytes, method: str, ours: Outcome) -> None:
    """Check that h11 sees the same message in an input that was accepted."""
    try:
        status, body, done = read_with_h11(data, method)
    except h11.RemoteProtocolError as error:
        raise AssertionError(f"h11 refuses what was accepted ({error}): {ours}") from error
    if ours.head is None or status != ours.head.status or not ours.body.startswith(body) or done > ours.done:
        raise AssertionError(f"h11 reads something else: {status} {body!r} {done}, {ours}")


def main() -> None:
    """Fuzz until the time is over."""
    arguments = [*sys.argv, "-max_len=2048"]
    for folder in (Path(each) for each in sys.argv[1:] if not each.startswith("-")):
        for number, seed in enumerate(SEEDS):
            (folder / f"seed-{number}").write_bytes(b"\0\7" + seed)
    if not any(each.startswith(("-max_total_time=", "-runs=")) for each in arguments):
        arguments.append("-max_total_time=60")
    atheris.Setup(arguments, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

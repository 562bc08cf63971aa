"""A registry that takes every upload and keeps nothing: ``python -m benchmarks.sink PORT``.

It knows of no blob, so nobody skips an upload, and it neither hashes nor stores: the client is what is measured.
``GET /received`` answers how many bytes of bodies came so far.
"""

from __future__ import annotations

import itertools
import socket
import sys
import threading
from io import BufferedReader
from urllib.parse import parse_qs, urlsplit

_BUFFER = 1024 * 1024
_REASONS = {200: "OK", 201: "Created", 202: "Accepted", 404: "Not Found"}


class Sink:
    """What all connections share.

    Args:
        host: ``host:port``, as it is to stand in locations.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._numbers = itertools.count(1)
        self._uploads: dict[str, int] = {}
        self._received = 0

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection until it ends."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        view = memoryview(bytearray(_BUFFER))
        with connection, BufferedReader(connection.makefile("rb", buffering=0), 65536) as reader:
            while head := reader.readline():
                method, target, _ = head.decode("latin-1").split(" ", 2)
                headers = _headers(reader)
                if headers.get("expect", "").lower() == "100-continue":
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                size = _discard(reader, headers, view)
                status, fields, body = self._answer(method, target, size)
                lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *fields, f"Content-Length: {len(body)}", "", body]
                connection.sendall("\r\n".join(lines).encode("latin-1"))

    def _answer(self, method: str, target: str, size: int) -> tuple[int, list[str], str]:
        self._received += size
        parts = urlsplit(target)
        match method:
            case "GET" if parts.path == "/received":
                return 200, [], str(self._received)
            case "GET" if parts.path == "/v2/":
                return 200, ["Docker-Distribution-Api-Version: registry/2.0"], ""
            case "POST":
                return 202, self._session(f"{parts.path.rstrip('/')}/{next(self._numbers)}", 0), ""
            case "PATCH":
                return 202, self._session(parts.path, size), ""
            case "PUT":
                digests = parse_qs(parts.query).get("digest")
                return 201, ["Location: /v2/", *(f"Docker-Content-Digest: {digest}" for digest in digests or ())], ""
            case _:
                return 404, [], ""

    def _session(self, path: str, size: int) -> list[str]:
        done = self._uploads[path] = self._uploads.get(path, 0) + size
        return [
            f"Location: http://{self._host}{path}",
            f"Docker-Upload-UUID: {path.rpartition('/')[2]}",
            f"Range: 0-{max(done - 1, 0)}",
        ]


def _headers(reader: BufferedReader[socket.SocketIO]) -> dict[str, str]:
    found = {}
    while line := reader.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        found[name.lower()] = value.strip()
    return found


def _discard(reader: BufferedReader[socket.SocketIO], headers: dict[str, str], view: memoryview) -> int:
    """Read a body and return its size."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return _discard_bytes(reader, int(headers.get("content-length", 0)), view)
    size = 0
    while count := int(reader.readline(), 16):
        size += _discard_bytes(reader, count, view)
        reader.readline()
    reader.readline()
    return size


def _discard_bytes(reader: BufferedReader[socket.SocketIO], size: int, view: memoryview) -> int:
    left = size
    while left:
        count = reader.readinto1(view[:left])
        if not count:
            raise ConnectionError("the client stopped in the middle of a body")
        left -= count
    return size


def main(port: int) -> None:
    """Listen until the process is ended."""
    sink = Sink(f"127.0.0.1:{port}")
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=sink.serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""A blocking socket, sha256 and a file in one thread: nothing in Python does the same work with less."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.job import ACCEPT, OCTETS, PIECE, check

if TYPE_CHECKING:
    from benchmarks.job import Job, Meter


class Connection:
    """A connection that speaks just enough HTTP.

    Args:
        job: Whom to connect to.
    """

    def __init__(self, job: Job) -> None:
        host, _, port = job.host.partition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if job.ca:
            context = ssl.create_default_context(cafile=job.ca)
            self.socket = context.wrap_socket(self.socket, server_hostname=host)
        self._host = job.host

    def ask(self, method: str, target: str, size: int = 0, *fields: str) -> None:
        """Send the head of a request."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", f"Content-Length: {size}", *fields, "", ""]
        self.socket.sendall("\r\n".join(lines).encode())

    def head(self) -> tuple[dict[str, str], bytes]:
        """Return an answer's header and what came of its body with it.

        Raises:
            ValueError: It is not a success.
        """
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.socket.recv(65536)
        head, _, rest = received.partition(b"\r\n\r\n")
        return parse(head), rest

    def answer(self) -> tuple[dict[str, str], bytes]:
        """Return an answer's header and body."""
        header, body = self.head()
        size = int(header["content-length"])
        while len(body) < size:
            body += self.socket.recv(65536)
        return header, body


def parse(head: bytes) -> dict[str, str]:
    """Return the header fields of a successful answer."""
    status, *lines = head.decode("latin-1").split("\r\n")
    if not status.startswith("HTTP/1.1 2"):
        raise ValueError(status)
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def pull(job: Job, meter: Meter) -> None:
    """Pull a blob to a file, verified."""
    connection = Connection(job)
    _pull(connection, job.warm_up())
    with meter:
        _pull(connection, job)


def _pull(connection: Connection, job: Job) -> None:
    connection.ask("GET", f"/v2/{job.name}/blobs/{job.digest}")
    header, rest = connection.head()
    left = int(header["content-length"]) - len(rest)
    hasher = hashlib.sha256(rest)
    view = memoryview(bytearray(PIECE))
    with Path(job.path).open("wb", buffering=0) as file:
        file.write(rest)
        while left:
            count = connection.socket.recv_into(view[:left])
            hasher.update(view[:count])
            file.write(view[:count])
            left -= count
    check(hasher.hexdigest(), job.digest)


def push(job: Job, meter: Meter) -> None:
    """Push a file of which only the size is known: one PATCH while it is hashed, then PUT."""
    connection = Connection(job)
    _push(connection, job.warm_up())
    with meter:
        _push(connection, job)


def _push(connection: Connection, job: Job) -> None:
    hasher = hashlib.sha256()
    connection.ask("PATCH", _begin(connection, job), job.size, f"Content-Type: {OCTETS}")
    view = memoryview(bytearray(PIECE))
    with Path(job.path).open("rb", buffering=0) as file:
        while count := file.readinto(view):
            hasher.update(view[:count])
            connection.socket.sendall(view[:count])
    location = _with_digest(connection.answer()[0]["location"], f"sha256:{hasher.hexdigest()}")
    connection.ask("PUT", location)
    connection.answer()


def push_known(job: Job, meter: Meter) -> None:
    """Push a file whose digest is known, with sendfile and without looking at a single byte of it."""
    connection = Connection(job)
    _push_known(connection, job.warm_up())
    with meter:
        _push_known(connection, job)


def _push_known(connection: Connection, job: Job) -> None:
    location = _with_digest(_begin(connection, job), job.digest)
    connection.ask("PUT", location, job.size, f"Content-Type: {OCTETS}")
    with Path(job.path).open("rb") as file:
        sent = 0
        while sent < job.size:
            sent += os.sendfile(connection.socket.fileno(), file.fileno(), sent, job.size - sent)
    connection.answer()


def _begin(connection: Connection, job: Job) -> str:
    connection.ask("POST", f"/v2/{job.name}/blobs/uploads/")
    location = connection.answer()[0]["location"]
    return location.removeprefix(f"http://{job.host}")


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def small(job: Job, meter: Meter) -> None:
    """Read manifests one after the other, verified."""
    connection = Connection(job)
    for tag in job.tags[: job.warm]:
        _manifest(connection, job, tag)
    with meter:
        for tag in job.tags[job.warm :]:
            _manifest(connection, job, tag)


def _manifest(connection: Connection, job: Job, tag: str) -> None:
    connection.ask("GET", f"/v2/{job.name}/manifests/{tag}", 0, f"Accept: {ACCEPT}")
    header, body = connection.answer()
    check(hashlib.sha256(body).hexdigest(), header["docker-content-digest"])

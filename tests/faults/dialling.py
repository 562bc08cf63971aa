"""What the tests of connections share: names that lead where a test wants, and a look at what is left open."""

from __future__ import annotations

import os
import socket
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from ocidist.http.transport import dial

if TYPE_CHECKING:
    import pytest

_PATIENCE_S = 10.0
_REAL_SOCKET = dial.open_socket


class Network:
    """The resolver and the wires of the client under test, as its own transport uses them.

    Nothing leaves this machine: an address that is not of it is either led to loopback by ``lead``, or its dialling
    fails the test.

    Attributes:
        lookups: Every name that was looked up, in order.
        dialled: Every address that was dialled, in order.
    """

    def __init__(self) -> None:
        self.lookups: list[str] = []
        self.dialled: list[str] = []
        self._names: dict[str, list[list[str]]] = {}
        self._led: dict[str, str] = {}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the resolver's and the socket's place."""
        monkeypatch.setattr(dial, "getaddrinfo", self._getaddrinfo)
        monkeypatch.setattr(dial, "open_socket", self._open_socket)

    def name(self, host: str, *answers: list[str]) -> None:
        """Say what a name resolves to, one list of addresses for each time; the last one stays."""
        self._names[host] = list(answers)

    def lead(self, address: str, to: str = "127.0.0.1") -> str:
        """Connect to an address of this machine whoever dials *address*, and return that."""
        self._led[address] = to
        return address

    async def _getaddrinfo(
        self, host: bytes | str, port: int, **_options: int
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        await anyio.lowlevel.checkpoint()
        name = host.decode() if isinstance(host, bytes) else host
        self.lookups.append(name)
        if name not in self._names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = self._names[name]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        kind = socket.SOCK_STREAM
        return [(int(family[ip_address(each).version]), int(kind), 6, "", (each, port)) for each in found]

    async def _open_socket(self, family: int, address: tuple[str, int]) -> socket.socket:
        host, port = address
        self.dialled.append(host)
        there = self._led.get(host, host)
        if not ip_address(there).is_loopback:
            message = f"{host} was dialled"
            raise AssertionError(message)
        return await _REAL_SOCKET(socket.AF_INET if there != host else family, (there, port))


def open_files() -> frozenset[str]:
    """Return what this process has open: sockets, pipes and files, by names that are not given to anything else."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(entry.readlink()))
        except OSError:
            continue  # closed meanwhile
    return frozenset(name for name in found if name != f"/proc/{os.getpid()}/fd")


async def left_open(before: frozenset[str]) -> list[str]:
    """Return what is open and was not before, as soon as that is nothing, or is still there after a long time.

    The servers of the tests live in this process, too, and notice a moment later that a client has gone.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while (left := sorted(open_files() - before)) and time.monotonic() < deadline:  # noqa: ASYNC110 -- nobody tells
        await anyio.sleep(0.01)
    return left

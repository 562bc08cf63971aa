"""Opening connections: names to addresses, the check of each address, the race between them, and the TLS handshake.

The address that was checked is the address that is dialled: names are resolved once, here, and nothing below looks at
the name again.

Spec: RFC 8305 (happy eyeballs); architecture, "Egress at connect time".
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import suppress
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import anyio.to_thread
import httpx
from anyio import getaddrinfo

from ocidist.errors import OciError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Address: TypeAlias = tuple[int, tuple[str, int]]
    AddressCheck: TypeAlias = Callable[[str], None]

STAGGER: Final = 0.25
"""Seconds before the next address is tried while the last one has not answered."""


async def dial(host: str, port: int, check: AddressCheck | None) -> tuple[socket.socket, str]:
    """Connect to a host and return the socket and the address at its other end.

    Args:
        host: A name, or an address without brackets.
        port: The port.
        check: Raises an error for an address that must not be dialled; None allows every address.

    Raises:
        httpx.ConnectError: The name means nothing, or no address answers.
        OciError: What *check* raised, where it refused every address.
    """
    addresses = _allowed(await _resolve(host, port), check)
    if len(addresses) == 1:
        family, address = addresses[0]
        try:
            return await open_socket(family, address), address[0]
        except OSError as error:
            raise _unreachable([error]) from error
    race = _Race(addresses)
    return await race.run()


async def _resolve(host: str, port: int) -> list[Address]:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return [(int(family), (host, port))]
    try:
        found = await getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(str(error)) from error
    kinds: dict[int, dict[tuple[str, int], None]] = {}
    for family, _, _, _, address in found:
        kinds.setdefault(int(family), {})[address] = None
    # The families take turns, the resolver's first choice first.
    mixed = chain.from_iterable(zip_longest(*([(kind, each) for each in kinds[kind]] for kind in kinds)))
    return [each for each in mixed if each is not None]


def _allowed(addresses: list[Address], check: AddressCheck | None) -> list[Address]:
    if not addresses:
        raise httpx.ConnectError("the name has no address")
    if check is None:
        return addresses
    allowed: list[Address] = []
    refusal: OciError | None = None
    for each in addresses:
        try:
            check(each[1][0])
        except OciError as error:
            refusal = error
        else:
            allowed.append(each)
    if not allowed and refusal is not None:
        raise refusal
    return allowed


async def open_socket(family: int, address: tuple[str, int]) -> socket.socket:
    """Return a non-blocking socket that is connected to an address.

    Raises:
        OSError: Nobody answers there.
    """
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A registry may work for minutes on the end of an upload; the gateways on the way must not forget it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await _connected(sock, address)
    except BaseException:
        with suppress(Exception):
            anyio.notify_closing(sock)
        sock.close()
        raise
    return sock


async def _connected(sock: socket.socket, address: tuple[str, int]) -> None:
    code = sock.connect_ex(address)
    if code in {errno.EINPROGRESS, errno.EWOULDBLOCK}:
        await anyio.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


class _Race:
    """Tries several addresses, each a moment after the one before it or as soon as that one failed."""

    def __init__(self, addresses: list[Address]) -> None:
        self._addresses = addresses
        self._errors: list[OSError] = []
        self._won: tuple[socket.socket, str] | None = None

    async def run(self) -> tuple[socket.socket, str]:
        try:
            async with anyio.create_task_group() as group:
                for family, address in self._addresses:
                    failed = anyio.Event()
                    group.start_soon(self._try, family, address, failed, group.cancel_scope)
                    with anyio.move_on_after(STAGGER):
                        await failed.wait()
        except BaseException:
            if self._won is not None:
                self._won[0].close()
            raise
        if self._won is None:
            raise _unreachable(self._errors) from self._errors[0]
        return self._won

    async def _try(self, family: int, address: tuple[str, int], failed: anyio.Event, scope: anyio.CancelScope) -> None:
        try:
            sock = await open_socket(family, address)
        except OSError as error:
            self._errors.append(error)
            failed.set()
            return
        if self._won is None:
            self._won = (sock, address[0])
            scope.cancel()
        else:
            sock.close()


def _unreachable(errors: Iterable[OSError]) -> httpx.ConnectError:
    told = dict.fromkeys(error.strerror or str(error) for error in errors)
    return httpx.ConnectError("; ".join(told))


async def secure(
    sock: socket.socket, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None
) -> ssl.SSLSocket:
    """Make the TLS handshake on a connected socket and return what takes its place.

    Args:
        sock: The socket; it is closed if this fails.
        context: What to trust, and what to show.
        name: The name the certificate has to be for.
        session: A session of an earlier connection to go on with.

    Raises:
        httpx.ConnectError: The handshake failed; the cause says why.
    """
    wrapped: socket.socket = sock
    try:
        if type(context) is not ssl.SSLContext:
            return await _secure_in_thread(sock, context, name)
        wrapped = tls = context.wrap_socket(
            sock,
            server_hostname=name,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            session=session,
        )
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await anyio.wait_readable(tls)
            except ssl.SSLWantWriteError:
                await anyio.wait_writable(tls)
            else:
                return tls
    except (OSError, ValueError) as error:
        wrapped.close()
        raise httpx.ConnectError(str(error)) from error
    except BaseException:
        with suppress(Exception):
            anyio.notify_closing(wrapped)
        wrapped.close()
        raise


async def _secure_in_thread(sock: socket.socket, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    """Let a context with a verifier of its own, as truststore's, do the handshake as it is used to: all at once.

    The operating system's verifier may go and ask for revocations: nothing for an event loop.
    """
    # The number outlives the socket object, which TLS takes over.
    twin = sock.dup()
    made: list[ssl.SSLSocket] = []

    def shake() -> None:
        sock.settimeout(None)
        made.append(context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False))
        made[0].settimeout(0)
        if abandoned:
            made[0].close()

    abandoned = False
    try:
        await anyio.to_thread.run_sync(shake, abandon_on_cancel=True)
    except BaseException:
        # This ends the thread's waiting. It may have been done already.
        abandoned = True
        with suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)
        for each in made:
            each.close()
        raise
    finally:
        twin.close()
    return made[0]

"""Connections that wait for their next request, found by origin in constant time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ocidist.http.transport.socketio import SocketIO

Key: TypeAlias = tuple[str, str, int]
"""Scheme, host and port."""


class Connection:
    """A connection to an origin.

    Args:
        io: The socket.
        key: The origin.

    Attributes:
        io: The socket.
        key: The origin.
        since: When it became idle, on the monotonic clock.
    """

    __slots__ = ("io", "key", "since")

    def __init__(self, io: SocketIO, key: Key) -> None:
        self.io: SocketIO = io
        self.key: Key = key
        self.since: float = 0.0


class IdleConnections:
    """The idle connections of every origin.

    The one used last is used next, so that the others can expire.

    Args:
        most: How many are kept; beyond it the one that has been idle longest is closed.
        expiry: Seconds after which an idle connection is closed rather than used.
    """

    def __init__(self, most: int, expiry: float) -> None:
        self._most = most
        self._expiry = expiry
        # Dictionaries as ordered sets: every step takes the same time, however many connections there are.
        self._by_key: dict[Key, dict[Connection, None]] = {}
        self._by_age: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._by_age)

    def take(self, key: Key) -> Connection | None:
        """Remove and return a connection to an origin that can be used, or None."""
        while idle := self._by_key.get(key):
            connection, _ = idle.popitem()
            del self._by_age[connection]
            if not idle:
                del self._by_key[key]
            if time.monotonic() - connection.since < self._expiry and connection.io.alive():
                return connection
            connection.io.close()
        return None

    def put(self, connection: Connection) -> None:
        """Keep a connection, or close it if it is one too many."""
        now = connection.since = time.monotonic()
        same = self._by_key.get(connection.key)
        if same is None:
            self._by_key[connection.key] = {connection: None}
        else:
            same[connection] = None
        self._by_age[connection] = None
        oldest = next(iter(self._by_age))
        while len(self._by_age) > self._most or now - oldest.since >= self._expiry:
            self.close_oldest()
            if not self._by_age:
                break
            oldest = next(iter(self._by_age))
        if not connection.io.closed:
            connection.io.idle()

    def close_oldest(self) -> None:
        """Close the connection that has been idle longest, if there is any."""
        if self._by_age:
            oldest = next(iter(self._by_age))
            self.discard(oldest)
            oldest.io.close()

    def discard(self, connection: Connection) -> None:
        """Forget a connection, if it is one of these."""
        if connection not in self._by_age:
            return
        del self._by_age[connection]
        same = self._by_key[connection.key]
        del same[connection]
        if not same:
            del self._by_key[connection.key]

    def stirred(self, connection: Connection) -> None:
        """Close an idle connection that the other side has closed, or over which it talks unasked."""
        if connection not in self._by_age:
            return
        if connection.io.alive():
            # A message of TLS itself, such as a new session ticket.
            connection.io.idle()
            return
        self.discard(connection)
        connection.io.close()

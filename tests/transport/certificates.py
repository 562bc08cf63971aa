"""Authorities whose servers are out of the ordinary."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from tests.peers.tls import Authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path


class OddAuthority(Authority):
    """An authority that issues odd certificates, or whose servers have odd settings.

    Args:
        directory: Where its file is written.
        alter: Changes the TLS settings of a server.
        names: What certificates are for, instead of the server's own names.
        expired: When they expired.
    """

    def __init__(
        self,
        directory: Path,
        alter: Callable[[ssl.SSLContext], None] | None = None,
        *,
        names: tuple[str, ...] = (),
        expired: datetime | None = None,
    ) -> None:
        super().__init__(directory)
        self._alter = alter
        self._names = names
        self._expired = expired

    def server_context(self, *names: str) -> ssl.SSLContext:
        """Return a server context."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*(self._names or dict.fromkeys(names)), not_after=self._expired).configure_cert(context)
        if self._alter is not None:
            self._alter(context)
        return context

    def known_client(self) -> ssl.SSLContext:
        """Return a client context with a certificate."""
        context = self.client_context()
        self._ca.issue_cert("client.example").configure_cert(context)
        return context


class StrictAuthority(OddAuthority):
    """An authority whose servers want a certificate of the client."""

    def server_context(self, *names: str) -> ssl.SSLContext:
        """Return a server context."""
        context = super().server_context(*names)
        self._ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

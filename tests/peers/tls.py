"""A private certificate authority for loopback servers."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path


class Authority:
    """Issues certificates that only those trust who were given its CA file.

    Args:
        directory: Where the files are written.

    Attributes:
        ca_path: PEM file of the authority's certificate.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._ca = trustme.CA()
        self._directory = directory
        self.ca_path = directory / "ca.crt"
        self._ca.cert_pem.write_to_path(str(self.ca_path))

    def server_context(self, *names: str) -> ssl.SSLContext:
        """Return a server context with a certificate for these host names and addresses."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*dict.fromkeys(names)).configure_cert(context)
        return context

    def server_files(self, *names: str) -> tuple[Path, Path]:
        """Return the PEM files of a new certificate chain and its key."""
        issued = self._ca.issue_cert(*names)
        chain, key = self._directory / "server.crt", self._directory / "server.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return chain, key

    def client_context(self) -> ssl.SSLContext:
        """Return a client context that trusts this authority only."""
        return ssl.create_default_context(cafile=str(self.ca_path))

"""What a test has to know about a registry in order to talk to it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Literal

import attrs

import ocidist

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers.token_server import TokenServer


class Mode(enum.StrEnum):
    """The ways in which a registry is run for tests."""

    PLAIN = "plain"
    HTPASSWD = "htpasswd"
    TOKEN = "token"
    TLS = "tls"
    CATALOG = "catalog"
    NODELETE = "nodelete"
    EMBEDDED = "embedded"


DEBIAN_MODES = tuple(mode for mode in Mode if mode is not Mode.EMBEDDED)
CATALOG_PAGE = 3


@attrs.frozen
class Peer:
    """A running registry.

    Attributes:
        mode: How it runs.
        host: Its name, ``127.0.0.1:port``.
        scheme: ``http``, or ``https`` with a private authority.
        ca_path: PEM file of that authority.
        username: Who may do everything, where it asks.
        password: Their password.
        token_server: The token server it sends clients to.
        log_path: Its access log.
    """

    mode: Mode
    host: str
    scheme: Literal["http", "https"] = "http"
    ca_path: Path | None = None
    username: str | None = None
    password: str | None = None
    token_server: TokenServer | None = None
    log_path: Path | None = None

    @property
    def origin(self) -> str:
        """``scheme://host:port``."""
        return f"{self.scheme}://{self.host}"

    @property
    def is_distribution(self) -> bool:
        """Whether it is docker-registry 2.8.2, with all that peers know of its ways."""
        return self.mode is not Mode.EMBEDDED

    @property
    def can_delete(self) -> bool:
        """Whether manifests and blobs can be deleted (405 UNSUPPORTED otherwise)."""
        return self.mode is not Mode.NODELETE

    @property
    def can_delete_tags(self) -> bool:
        """Whether DELETE of a tag works; docker-registry 2.8.2 answers 400 DIGEST_INVALID."""
        return not self.is_distribution

    @property
    def has_referrers(self) -> bool:
        """Whether the referrers API is there; docker-registry 2.8.2 answers 404 in plain text."""
        return not self.is_distribution

    @property
    def pages_tags(self) -> bool:
        """Whether ``n`` and ``last`` work on tag lists; docker-registry 2.8.2 ignores them and does not sort."""
        return not self.is_distribution

    def client_kwargs(self) -> dict[str, Any]:
        """Return what ``ocidist.Client`` has to be given to do everything here."""
        kwargs: dict[str, Any] = {
            "credentials": {},
            "hosts": {self.host: ocidist.HostConfig(scheme=self.scheme, ca=self.ca_path)},
        }
        if self.username is not None and self.password is not None:
            kwargs["credentials"] = {self.host: ocidist.Basic(self.username, self.password)}
        if self.token_server is not None:
            # A realm on another port is another place: on loopback it has to be named to be given credentials.
            kwargs["egress"] = ocidist.EgressPolicy(trusted_realms=(self.token_server.origin,))
        return kwargs

    def client(self, **overrides: Any) -> ocidist.Client:  # noqa: ANN401 -- any keyword argument of the client
        """Return a new ``ocidist.Client`` for this registry; the caller closes it.

        Args:
            **overrides: Keyword arguments of ``Client`` that replace or complete ``client_kwargs()``.
        """
        return ocidist.Client(**(self.client_kwargs() | overrides))
